"""«Статистика»: figures of a period beside those of the one before it, each with the list behind it; pictures; tables."""

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from flask import Response, render_template, request, url_for

from calllog import period, statistics
from calllog.callbacks import names, who_is
from calllog.period import Compared, Period
from calllog.statistics import CONDITIONS, LEVEL_SECONDS, OF_EMPLOYEE, SHORT_SECONDS, Chosen, Employee, Numbers
from handlers.answers import connector
from handlers.page.callbacks import WORKING, here_now, patiently
from handlers.page.finding import presets
from handlers.page.formats import grouped
from handlers.page.tables import csv_file
from handlers.page.views import ask, bp, latest
from handlers.page.words import DIRECTIONS, DISPOSITIONS

DAYS, MOST_DAYS = 7, 366
DATED_ROWS = 31  # of the picture of hours; a longer period has a row a weekday
SOURCES = {"": "не назван"}
LISTED, IN_FILE = 50, 10_000  # calls on a page of a list, in its file
WEEKDAYS = ("пн", "вт", "ср", "чт", "пт", "сб", "вс")


class Asked(NamedTuple):
    """Which days, and of them which hours."""

    first: date
    last: date
    hours: str

    @property
    def working(self) -> bool | None:
        """Only while somebody is there to answer, or only while nobody is."""
        return WORKING.get(self.hours)

    @property
    def address(self) -> dict[str, Any]:
        """As parameters of an address."""
        return {"since": self.first.isoformat(), "until": self.last.isoformat(), "hours": self.hours or None}


class Figure(NamedTuple):
    """One number: what it is called, how it is counted, its value as a person reads it, before it that of the period
    before; where its list is."""

    name: str
    definition: str
    value: str
    before: str
    link: str
    more: str = ""


@bp.get("/statistics")
def figures() -> Response | str:
    """The figures of a period."""
    here = connector()
    asked, wrong = _asked(here_now(here).date())
    clock = (here.settings.working_hours, here.settings.timezone)
    days = (asked.first, asked.last, asked.working)
    found, away = patiently(period.compared, here.days, clock, latest(here), days)
    known, _ = ask(names) if found and not found.unread else ({}, False)
    file = request.args.get("csv", "")
    if file in FILES and found and not found.unread:
        head, lines = FILES[file](found, asked, known or {})
        return csv_file(f"{file}-{asked.first}-{asked.last}", head, lines)
    return render_template(
        "statistics.html",
        found=found,
        away=away or not found,
        asked=asked,
        wrong=wrong,
        figures=_figures(found, asked) if found and not found.unread else [],
        rows=_rows(found.now, asked) if found and not found.unread else [],
        employees=_employees(found.now, known or {}) if found else [],
        presets=[*presets(here_now(here).date()), *_months(here_now(here).date())],
        hours=str(here.settings.working_hours),
        every=2000 if found and found.unread else 60_000,
        groups=_groups(found.now) if found else [],
        share=share,
    )


def _asked(today: date) -> tuple[Asked, list[str]]:
    given = {name: request.args.get(name, "").strip()[:10] for name in ("since", "until")}
    days = {name: _day(text) for name, text in given.items()}
    last = min(days["until"] or today, today + timedelta(days=1))
    first = min(days["since"] or last - timedelta(days=DAYS - 1), last)
    first = max(first, last - timedelta(days=MOST_DAYS - 1), date(1971, 1, 1))
    hours = request.args.get("hours", "")
    return Asked(first, max(first, last), hours if hours in WORKING else ""), [
        text for name, text in given.items() if text and days[name] is None
    ]


def _day(text: str) -> date | None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if found.year > 1971 else None


def _months(today: date) -> list[tuple[str, dict[str, str]]]:
    first = today.replace(day=1)
    before = first - timedelta(days=1)
    spans = (("этот месяц", first, today), ("прошлый месяц", before.replace(day=1), before))
    return [(name, {"since": since.isoformat(), "until": until.isoformat()}) for name, since, until in spans]


# ---------------------------------------------------------------------------------------------------------- the figures


def share(part: int, whole: int) -> str:
    """A percentage of a whole, "" of nothing."""
    return f"{100 * part / whole:.0f}\u00a0%" if whole else ""


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "—"
    hours, rest = divmod(round(seconds), 3600)
    parts = ((hours, "ч"), (rest // 60, "мин"), (rest % 60 if not hours else 0, "с"))
    return " ".join(f"{count}\u00a0{unit}" for count, unit in parts if count) or "0\u00a0с"


def _mean(numbers: Numbers, seconds: str, calls: str) -> float | None:
    return numbers[seconds] / numbers[calls] if numbers[calls] else None


def _spaced(count: int) -> str:
    return f"{count:,}".replace(",", "\u00a0")


def _figures(found: Compared, asked: Asked) -> list[Figure]:
    def link(figure: str) -> str:
        return url_for("page.statistics_calls", figure=figure, **asked.address)

    def people(state: str | None) -> str:
        return url_for("page.call_back", state=state, **asked.address)

    now, before = found.now.numbers, found.before.numbers

    def counted(name: str, text: str, figure: str, of: tuple[str, ...] = ()) -> Figure:
        """How many, with the share of the sum of others (the first one's without the short ones where it is incoming)."""

        def told(numbers: Numbers) -> tuple[str, str]:
            whole = sum(numbers[other] for other in of) - (numbers["short"] if of == ("incoming",) else 0)
            return _spaced(numbers[figure]), share(numbers[figure], whole) if of else ""

        (value, part), (was, part_was) = told(now), told(before)
        return Figure(name, text, value, " · ".join(filter(None, (was, part_was))), link(figure), part)

    def level(numbers: Numbers) -> str:
        return share(numbers["in_time"], numbers["waited"] + numbers["missed"]) or "—"

    def mean(name: str, text: str, seconds: str, calls: str) -> Figure:
        return Figure(
            name, text, _clock(_mean(now, seconds, calls)), _clock(_mean(before, seconds, calls)), link(calls)
        )

    def took(one: Period) -> str:
        return f"{_clock(one.median)}" + (f"; 90\u00a0% — {_clock(one.p90)}" if one.p90 is not None else "")

    short = f"Положили трубку раньше {SHORT_SECONDS}\u00a0с"
    return [
        counted("Входящие", "все входящие, которые начались в эти дни", "incoming"),
        counted(
            "Пропущено",
            f"входящие без ответа; кто положил трубку раньше {SHORT_SECONDS} с, — в числе рядом. Доля — от всех прочих",
            "missed", ("incoming",),
        ),
        counted(short, "входящие без ответа, ожидание короче: часто ошиблись номером", "short"),
        Figure(
            "Не перезвонили",
            "люди: после их пропущенного никто с ними так и не говорил. Скрытые номера не считаются",
            _spaced(found.now.not_called_back), _spaced(found.before.not_called_back), people(None),
        ),
        Figure(
            "Время до перезвона",
            "от первого пропущенного до исходящего, на который клиент ответил: половина не дольше первого числа, девять из "
            "десяти — второго. Кто дозвонился сам, не считается",
            _clock(found.now.median), took(found.before), people("called_back"),
            f"90\u00a0% — {_clock(found.now.p90)}" if found.now.p90 is not None else "",
        ),
        Figure(
            f"Ответ за {LEVEL_SECONDS}\u00a0с",
            f"доля тех, кому ответили не позже {LEVEL_SECONDS} с: среди отвеченных, чьё ожидание известно, и пропущенных",
            level(now), level(before), link("in_time"),
        ),
        mean("Ждали ответа", "среднее ожидание отвеченных входящих", "wait_answered", "waited"),
        mean("Ждали и положили трубку", "среднее ожидание пропущенных", "wait_missed", "gave_up"),
        mean("Средний разговор", "входящие и исходящие, у которых он был", "talk", "talked"),
        counted("Исходящие", "все исходящие, которые начались в эти дни", "outgoing"),
        counted("Исходящие с ответом", "на которые ответили; доля — от всех исходящих", "outgoing_answered", ("outgoing",)),
    ]  # fmt: skip


# --------------------------------------------------------------------------------------------------- pictures and tables


class Row(NamedTuple):
    """A row of the picture of hours: its name, what chooses its calls, its cells by hour."""

    name: str
    chosen: dict[str, Any]
    cells: list[Numbers]


def _rows(one: Period, asked: Asked) -> list[Row]:
    count = (asked.last - asked.first).days + 1
    empty: Numbers = Numbers()
    if count <= DATED_ROWS:
        days = [asked.first + timedelta(days=number) for number in range(count)]
        return [
            Row(f"{day:%d.%m} {WEEKDAYS[day.weekday()]}", {"since": day.isoformat(), "until": day.isoformat()},
                [one.cells.get((day, hour), empty) for hour in range(24)])
            for day in days
        ]  # fmt: skip
    weekly: dict[tuple[int, int], Numbers] = {}
    for (day, hour), numbers in one.cells.items():
        weekly.setdefault((day.weekday(), hour), Numbers()).update(numbers)
    return [
        Row(name, {"weekday": number}, [weekly.get((number, hour), empty) for hour in range(24)])
        for number, name in enumerate(WEEKDAYS)
    ]


def _groups(one: Period) -> list[tuple[str, str, str, list[tuple[str, dict[str, Any], Numbers]]]]:
    """(title, head, name of its file, rows of (what it is called, what chooses its calls, numbers)) of each table of groups
    that says more than the whole."""
    lines = [(grouped(line) or "не названа", {"line": line}, of) for line, of in one.lines.items()]
    sources = [(SOURCES.get(name, name), {"source": name}, of) for name, of in one.sources.items()]
    campaigns = [
        (f"{content} ({name})", {"name": name, "content": content}, of) for (name, content), of in one.campaigns.items()
    ]
    found = (("По линиям", "Линия", "lines", lines), ("По источникам", "Источник", "sources", sources),
             ("По кампаниям", "Кампания", "campaigns", campaigns))  # fmt: skip
    return [
        (title, head, name, sorted(rows, key=lambda row: (-row[2]["incoming"], row[0])))
        for title, head, name, rows in found
        if len(rows) > (name != "campaigns")
    ]


def _employees(one: Period, known: dict[str, str]) -> list[tuple[str, Employee]]:
    """(who, his calls), who talked longest first."""
    found = [(who_is((each.ext, each.number, each.name), known), each) for each in one.employees.values()]
    return sorted(((who, each) for who, each in found if who), key=lambda pair: (-pair[1].talk_seconds, pair[0]))


Lines = tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]
COUNTED = ("incoming", "answered", "missed", "short", "outgoing", "outgoing_answered")
COUNTED_NAMES = ("Входящие", "Отвечены", "Пропущены", "Раньше 5 с", "Исходящие", "Исходящие с ответом")


def _figures_file(found: Compared, asked: Asked, known: dict[str, str]) -> Lines:
    one, before = found.now, found.before
    rows = [(name, one.numbers[name], before.numbers[name]) for name in statistics.MEASURES]
    for name in ("not_called_back", "called_back", "got_through", "median", "p90"):
        rows.append((name, getattr(one, name), getattr(before, name)))
    return ("Показатель", "За период", "За предыдущий"), iter(rows)


def _hours_file(found: Compared, asked: Asked, known: dict[str, str]) -> Lines:
    return ("День", "Час", *COUNTED_NAMES), (
        (row.name, hour, *(cell[name] for name in COUNTED))
        for row in _rows(found.now, asked)
        for hour, cell in enumerate(row.cells)
    )


def _employees_file(found: Compared, asked: Asked, known: dict[str, str]) -> Lines:
    head = (
        "Сотрудник",
        "Вызывали",
        "Ответил",
        "Не ответил, пропущен",
        "Разговоров",
        "Говорил, секунд",
        "Из них исходящих",
    )
    return head, (
        (who, one.rung, one.answered, one.missed, one.talks, one.talk_seconds, one.outgoing)
        for who, one in _employees(found.now, known)
    )


def _grouped_file(head: str, numbers: Mapping[str, Numbers]) -> Lines:
    rows = sorted(numbers.items(), key=lambda item: (-item[1]["incoming"], item[0]))
    return (head, *COUNTED_NAMES), ((name, *(one[each] for each in COUNTED)) for name, one in rows)


FILES = {
    "figures": _figures_file,
    "hours": _hours_file,
    "employees": _employees_file,
    "lines": lambda found, asked, known: _grouped_file("Линия", found.now.lines),
    "sources": lambda found, asked, known: _grouped_file("Источник", found.now.sources),
    "campaigns": lambda found, asked, known: _grouped_file(
        "Кампания", {f"{name}: {content}": one for (name, content), one in found.now.campaigns.items()}
    ),
}


# ------------------------------------------------------------------------------------------------------------ the list

FIGURES = {
    "incoming": "Входящие", "answered": "Отвеченные входящие", "missed": "Пропущенные",
    "short": "Положили трубку раньше 5 с", "waited": "Отвеченные входящие с известным ожиданием",
    "in_time": "Ответ за 20 с", "gave_up": "Ждали и положили трубку", "talked": "Разговоры", "outgoing": "Исходящие",
    "outgoing_answered": "Исходящие с ответом", "rung": "Вызывали сотрудника", "picked_up": "Сотрудник ответил",
    "not_picked_up": "Сотрудника вызывали, звонок пропущен", "talks": "Разговоры сотрудника",
}  # fmt: skip
HEAD = ("Начало", "Направление", "Клиент", "Имя", "Линия", "Добавочный", "Сотрудник", "Итог", "Ожидание, с", "Разговор, с",
        "Источник", "Запись")  # fmt: skip


@bp.get("/statistics/calls")
def statistics_calls() -> Response | str:
    """The calls that a figure counts."""
    here = connector()
    asked, _ = _asked(here_now(here).date())
    figure = request.args.get("figure", "")
    figure = figure if figure in CONDITIONS or figure in OF_EMPLOYEE else "incoming"
    midnight = datetime.min.time()
    chosen = Chosen(
        figure,
        datetime.combine(asked.first, midnight),
        datetime.combine(asked.last + timedelta(days=1), midnight),
        asked.working,
        _within("hour", 23),
        _within("weekday", 6),
        _text("line"),
        _text("source"),
        (_text("name") or "", _text("content") or "") if _text("name") is not None else None,
        _text("ext") or "",
        _text("number") or "",
    )
    start = min(max(0, request.args.get("from", 0, type=int)), 1_000_000)
    as_file = bool(request.args.get("csv"))
    rows, away = ask(
        statistics.calls,
        chosen,
        here.settings.working_hours,
        IN_FILE if as_file else LISTED + 1,
        0 if as_file else start,
    )
    if as_file and not away:
        return csv_file(f"{figure}-{asked.first}-{asked.last}", HEAD, (_line(row) for row in rows))
    return render_template(
        "statistics_calls.html",
        title=FIGURES[figure],
        asked=asked,
        chosen=chosen,
        rows=(rows or [])[:LISTED],
        more=bool(rows and len(rows) > LISTED),
        start=start,
        per_page=LISTED,
        in_file=IN_FILE,
        away=away,
        weekdays=WEEKDAYS,
    )


COLUMNS = ("started_at", "direction", "client_number", "client_name", "line_number", "employee_ext", "employee_name",
           "disposition", "wait_seconds", "talk_seconds", "call_source", "recording_url")  # fmt: skip


def _line(row: dict[str, Any]) -> tuple[Any, ...]:
    words = {"direction": DIRECTIONS, "disposition": DISPOSITIONS}
    return tuple(words[name].get(row[name], row[name]) if name in words else row[name] for name in COLUMNS)


def _within(name: str, most: int) -> int | None:
    found = request.args.get(name, type=int)
    return found if found is not None and 0 <= found <= most else None


def _text(name: str) -> str | None:
    given = request.args.get(name)
    return None if given is None else given[:1024]
