"""The command line: parse, call one use-case or view, print; works on the database, also when the API is down."""
