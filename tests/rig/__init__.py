"""The real components that the tests start themselves: gunicorn, MariaDB, a power cut."""
