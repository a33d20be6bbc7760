"""The operator page."""

from handlers.page.views import bp

__all__ = ["bp"]
