"""«Звонки»: calls by what a person remembers of them, under an address that can be sent to somebody."""

from datetime import date, datetime, timedelta
from datetime import time as clock
from typing import NamedTuple

from flask import render_template, request

import schemas
from calllog.search import Wanted, search, seconds
from handlers.answers import connector
from handlers.page.views import LAST_ID, ask, bp, latest

TEXTS = ("sought", "employee", "line", "direction", "provider", "result", "source")
OLD_NAMES = {"employee": "ext"}  # of parameters in links of the releases before
MOMENTS = {"since": "%Y-%m-%d", "until": "%Y-%m-%d", "from": "%H:%M", "to": "%H:%M"}


class Asked(NamedTuple):
    """The form as it was filled in: what is looked for, the fields as written, the names of those that nobody can read."""

    wanted: Wanted
    fields: dict[str, str]
    wrong: tuple[str, ...]

    @property
    def folded(self) -> bool:
        """Whether no condition of the folded part is set."""
        return not any(
            self.fields[name] for name in ("source", "from", "to", "longer", "shorter", "provider", "direction")
        )


@bp.get("/calls")
def call_list() -> str:
    """Calls by what a person remembers of them."""
    here = connector()
    asked = _asked(latest(here))
    found, away = ask(search, asked.wanted)
    on = f"{found.on[0].isoformat()}_{found.on[1]}" if found and found.on else None
    providers = sorted({feed.provider for feed in schemas.feeds().values()})
    today = datetime.now(here.settings.timezone).date()
    return render_template(
        "calls.html", found=found, away=away, on=on, asked=asked, providers=providers, presets=presets(today)
    )


def presets(today: date) -> list[tuple[str, dict[str, str]]]:
    """(what a span of days is called, its parameters), as an address that stays right tomorrow has them."""
    spans = (("сегодня", today, today), ("вчера", today - timedelta(days=1), today - timedelta(days=1)),
             ("7 дней", today - timedelta(days=6), today), ("30 дней", today - timedelta(days=29), today))  # fmt: skip
    return [(name, {"since": since.isoformat(), "until": until.isoformat()}) for name, since, until in spans]


def _asked(last: datetime) -> Asked:
    arguments = request.args
    texts = {name: arguments.get(name, arguments.get(OLD_NAMES.get(name, ""), "")).strip()[:128] for name in TEXTS}
    texts["result"] = texts["result"] or ("missed_all" if arguments.get("missed") == "1" else "")
    fields = texts | {name: arguments.get(name, "").strip()[:16] for name in (*MOMENTS, "longer", "shorter")}
    moments = {name: _moment(fields[name], form) for name, form in MOMENTS.items()}
    lengths = {name: seconds(fields[name]) for name in ("longer", "shorter")}
    wrong = tuple(name for name, read in (moments | lengths).items() if read is None and fields[name])
    since, until = moments["since"], moments["until"]
    of_day: dict[str, clock | None] = {name: at.time() if (at := moments[name]) else None for name in ("from", "to")}
    recorded = arguments.get("recorded") == "1"
    wanted = Wanted(
        **texts,
        recorded=recorded,
        since=since,
        until=until.replace(hour=23, minute=59, second=59) if until else None,
        clock_from=of_day["from"],
        clock_to=of_day["to"],
        talk_from=lengths["longer"],
        talk_to=lengths["shorter"],
        before=_position(arguments.get("before", "")),
        latest=last,
    )
    return Asked(wanted, fields, wrong)


def _moment(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form)  # noqa: DTZ007 - wall clock, as the call log has it
    except ValueError:
        return None


def _position(text: str) -> tuple[datetime, int] | None:
    moment, _, id = text.partition("_")
    try:
        return (datetime.fromisoformat(moment).replace(tzinfo=None), min(int(id[:19]), LAST_ID)) if id else None
    except ValueError:
        return None
