"""The operator page."""

from handlers.page import callbacks, dialling, finding, recordings, rejecting, statistics
from handlers.page.views import bp

__all__ = ["bp", "callbacks", "dialling", "finding", "recordings", "rejecting", "statistics"]
