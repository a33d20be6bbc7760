"""The operator page."""

from handlers.page import dialling, recordings
from handlers.page.views import bp

__all__ = ["bp", "dialling", "recordings"]
