"""flask feeds: what to set up at each provider."""

from datetime import datetime
from typing import Any
from urllib.parse import quote

import click
from flask.cli import AppGroup

import schemas
from cli import terminal
from config import FeedSettings

command = AppGroup("feeds", help="What to set up at each provider.")


@command.command("show")
@click.argument("feed")
@click.option("--curl", is_flag=True, help="Only a curl command that posts a first notification.")
def feeds_show(feed: str, curl: bool) -> None:
    """The exact URL with its key, and what to paste at the provider (in Russian: it is for the set-up person)."""
    module = schemas.feeds().get(feed)
    if module is None:
        terminal.fail(f"there is no feed {feed}; there are: {', '.join(schemas.feeds())}")
        return
    settings = terminal.settings().feeds[feed]
    click.echo(_curl(settings, module) if curl else module.guide(lambda path: _url(settings, path)))


def _url(feed: FeedSettings, path: str) -> str:
    key = quote(feed.keys[0], safe="") if feed.keys else f"<{feed.name.upper()}_KEY не задан>"
    return f"{terminal.settings().public_url}{path}" + ("" if feed.open else f"?key={key}")


def _curl(feed: FeedSettings, module: Any) -> str:
    path, body = module.first_notification(datetime.now(feed.timezone))
    return f"curl -sS -H 'Content-Type: application/json' -d '{body}' '{_url(feed, path)}'"
