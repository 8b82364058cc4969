"""Celery, coming in: the application, its tasks and its schedule; nobody imports this room."""
