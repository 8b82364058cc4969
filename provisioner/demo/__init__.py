"""The embedded profile: PostgreSQL, broker and workers as child processes of one supervisor."""
