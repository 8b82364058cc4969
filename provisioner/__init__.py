"""The house: turns a paid order into a handed-over dedicated server. README.md here maps its rooms."""

__version__ = "0.1.0"
