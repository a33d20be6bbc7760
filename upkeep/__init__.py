"""Backup, retention, forgetting, copies and rebuilds: what is done to the data beside forwarding."""
