"""What can be asked of us: one verb a file; the shell around `decide`. Knows steps, ports, domain, errors."""
