"""The process around the application: gunicorn's worker and the log."""
