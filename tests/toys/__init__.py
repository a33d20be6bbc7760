"""Feeds of providers that there are not: copied into a copy of the code, where nothing else names them."""
