"""The call log: the database that 1C reads, and everything that writes to it or reads from it."""
