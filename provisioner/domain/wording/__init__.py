"""What people read, a file a language; loads nothing by itself."""
