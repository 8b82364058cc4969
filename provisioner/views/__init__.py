"""What can be seen of us: one question a file, read only; knows ports, domain and errors."""
