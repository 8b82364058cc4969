"""The HTTP API: parse, call one use-case or view, render; it decides nothing."""
