"""The operator page."""

from handlers.page import dialling, finding, recordings, rejecting, setting_up
from handlers.page.views import bp

__all__ = ["bp", "dialling", "finding", "recordings", "rejecting", "setting_up"]
