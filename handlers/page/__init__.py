"""The operator page."""

from handlers.page import (
    callbacks,
    dead_letters,
    dialling,
    finding,
    night,
    recordings,
    rejecting,
    setting_up,
    statistics,
)
from handlers.page.views import bp

__all__ = [
    "bp",
    "callbacks",
    "dead_letters",
    "dialling",
    "finding",
    "night",
    "recordings",
    "rejecting",
    "setting_up",
    "statistics",
]
