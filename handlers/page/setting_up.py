"""«Настройка»: what to enter at the provider, what of it comes, and what is entered wrong."""

import threading
import time
from dataclasses import dataclass

from flask import Response, render_template, request

import setup
from handlers.answers import Connector, connector
from handlers.page.guard import sentence
from handlers.page.views import bp
from inbox import now
from inbox.judge import DAY
from setup import doctor
from setup.doctor import Report
from setup.feed import Address, SetUp, address, key_of
from setup.findings import Finding

LOOKED_AT = 500  # a feed's newest deliveries that the doctor looks at here; `pbx-connector feeds doctor` looks at all
DAYS = 7
MOST_BYTES = 4_000_000  # of their bodies
FRESH_SECONDS = 10  # a worker shows what it has found so long, however many look


@dataclass(frozen=True, slots=True)
class Entry:
    """One notification to set up: its name, the fields before the template, the address and the template."""

    name: str
    fields: list[str]
    url: str
    template: str


@bp.get("/setup")
def set_up() -> Response | str:
    """One feed's set-up; of the feeds that are open the first."""
    here = connector()
    known = setup.feeds()
    chosen = request.args.get("feed", "") or next(
        (name for name in known if not here.settings.feeds[name].closed), next(iter(known))
    )
    if chosen not in known:
        return sentence(404, "Такого потока нет", f"Коннектор не знает потока {chosen[:40]}.")
    settings, entered = here.settings.feeds[chosen], known[chosen]

    def url(path: str) -> str:
        return address(here.settings.public_url, settings, entered.feed, path)

    return render_template(
        "setup.html",
        chosen=chosen,
        feeds=here.settings.feeds,
        settings=settings,
        key=key_of(settings) if entered.feed.key_field else "",
        key_field=entered.feed.key_field,
        entries=_entries(entered, url),
        address=url(entered.feed.address),
        letter=entered.show(url, key_of(settings)),
        report=_examined(here, chosen),
        pasted=lambda finding: _pasted(finding, url),
        looked_at=LOOKED_AT,
        days=DAYS,
        url_field=entered.feed.form.url,
    )


def _entries(entered: SetUp, url: Address) -> list[Entry]:
    """The notifications whose owner writes them himself, one by one; none where the provider writes the body."""
    found = []
    for expected in entered.expected:
        lines = entered.to_enter(expected.name, url)
        if lines:
            of_url = next((line for line in lines if "://" in line or line.startswith("«URL»")), "")
            fields = [line for line in lines[:-2] if line != of_url]
            found.append(Entry(expected.name, fields, of_url.partition(": ")[2], lines[-1]))
    return found


def _pasted(finding: Finding, url: Address) -> str:
    """What to paste; of a right address all of it."""
    if finding.code != "wrong_url":
        return finding.paste
    return "\n".join(url(line.removeprefix("…").partition("?")[0]) for line in finding.paste.splitlines())


_examining = threading.Lock()
_reports: dict[tuple[str, str], tuple[float, Report]] = {}  # (inbox, feed) -> when, what


def _examined(here: Connector, feed: str) -> Report:
    """What the doctor says of the feed's newest deliveries; one thread looks, at most each FRESH_SECONDS."""
    place = (str(here.inbox.path), feed)
    made, report = _reports.get(place, (-FRESH_SECONDS, Report()))
    if time.monotonic() - made > FRESH_SECONDS and _examining.acquire(blocking=not report.total):
        try:
            since = now() - DAYS * DAY
            newest = here.inbox.latest(feed, since, LOOKED_AT, MOST_BYTES)
            report = doctor.examine(here.settings.feeds[feed], newest, here.inbox.counters(), since)
            _reports[place] = (time.monotonic(), report)
        finally:
            _examining.release()
    return report
