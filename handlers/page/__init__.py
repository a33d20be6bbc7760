"""The operator page."""

from handlers.page import dead_letters, dialling, finding, night, recordings, rejecting, setting_up
from handlers.page.views import bp

__all__ = ["bp", "dead_letters", "dialling", "finding", "night", "recordings", "rejecting", "setting_up"]
