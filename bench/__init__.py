"""The benchmark: this connector beside an empty route, a plain handler and FastAPI. `python -m bench`, bench/README.md."""
