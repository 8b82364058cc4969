"""Every fault of the outside world has a written end: the table, and the system that runs it."""
