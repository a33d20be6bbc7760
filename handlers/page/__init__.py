"""The operator page."""

from handlers.page import dialling
from handlers.page.views import bp

__all__ = ["bp", "dialling"]
