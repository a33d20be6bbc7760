"""«Статистика» against a plain recomputation over the same rows: any span of days, within and outside of working hours,
in zones with summer time and over midnight; and each figure against the list behind it."""

import csv
import math
import random
import re
from datetime import datetime, timedelta
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from calllog.callbacks import HIDDEN
from models import CallAttributes, CallLegs
from tests.calllog.test_callbacks import START, Rig, Row, call, outcome, talk_of, traffic
from tests.conftest import DATABASES

ZONE = ZoneInfo("Europe/Berlin")  # 25.10.2026 has 25 hours there


@pytest.fixture(scope="module", params=DATABASES)
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rig:
    directory = tmp_path_factory.mktemp("statistics")
    url = f"sqlite:///{directory}/calllog/calls.db"
    if request.param == "mysql":
        url = request.getfixturevalue("mariadb").create("statistics")
    rig = Rig(directory, url, timezone=ZONE)
    dice = random.Random(16)
    calls = traffic(dice, 900)
    calls += [call(dice, START + timedelta(days=1, seconds=at)) for at in (-1, 0, 1)]  # round midnight
    rig.write(calls)
    incoming = [row for row in calls if row["direction"] == "in"]
    rig.write(
        [
            {
                "call_id": row["id"],
                "leg_key": ext,
                "employee_ext": ext,
                "answered_at": dice.choice((None, row["started_at"])),
            }
            for row in incoming
            for ext in ("101", "102")
            if dice.random() < 0.5
        ],
        CallLegs,
    )
    some = [row for row in incoming if dice.random() < 0.3]
    rig.write([{"call_id": row["id"], "name": "utm_campaign", "content": "=осень"} for row in some], CallAttributes)
    return rig


def numbers(rig: Rig, since: datetime, until: datetime, hours: str) -> Row:
    """Plainly, over every row there is. `until` is the last day's midnight."""
    rows = rig.rows()
    working = {"working": True, "off": False}.get(hours)

    def within(row: Row) -> bool:
        there = 9 <= row["started_at"].hour < 20
        return since <= row["started_at"] < until and (working is None or there is working)

    found: Row = dict.fromkeys(("incoming answered missed short waited in_time gave_up talked outgoing outgoing_answered "
                                "wait_answered wait_missed talk").split(), 0)  # fmt: skip
    settled: dict[tuple[str, int], list[Any]] = {}
    for row in filter(within, rows):
        wait = row["wait_seconds"] if row["wait_seconds"] is not None else row["total_seconds"]
        if row["direction"] == "in":
            found["incoming"] += 1
            if row["is_answered"]:
                found["answered"] += 1
                if row["wait_seconds"] is not None:
                    found["waited"] += 1
                    found["wait_answered"] += row["wait_seconds"]
                    found["in_time"] += row["wait_seconds"] <= 20
            elif row["is_missed"] and wait is not None and wait < 5:
                found["short"] += 1
            elif row["is_missed"]:
                found["missed"] += 1
                if wait is not None:
                    found["gave_up"] += 1
                    found["wait_missed"] += wait
        if row["direction"] == "out":
            found["outgoing"] += 1
            found["outgoing_answered"] += row["is_answered"]
        if row["is_answered"] and row["direction"] != "internal" and row["talk_seconds"] is not None:
            found["talked"] += 1
            found["talk"] += row["talk_seconds"]
        if row["is_missed"] and row["client_number"].lower() not in HIDDEN:
            talk, _ = outcome(rows, row)
            key = (row["client_number"], talk["id"] if talk else 0)
            settled.setdefault(key, [row["started_at"], talk])
            settled[key][0] = min(settled[key][0], row["started_at"])
    took = []
    for first, talk in settled.values():
        if talk and talk["direction"] == "out":
            took.append(max(0, int((at_utc(talk_of(talk)) - at_utc(first)).total_seconds())))
    took.sort()
    found["not_called_back"] = sum(talk is None for _, talk in settled.values())
    found["called_back"] = len(took)
    found["got_through"] = len(settled) - found["not_called_back"] - len(took)
    found["median"] = int(median(took)) if took else ""
    found["p90"] = took[math.ceil(len(took) * 0.9) - 1] if took else ""
    return found


def at_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=ZONE).astimezone(ZoneInfo("UTC"))


def table(rig: Rig, path: str = "/statistics", **query: Any) -> list[list[str]]:
    """A table as the page's file has it."""
    text = rig.page(path, **query)
    assert text[0] == "\ufeff"
    return list(csv.reader(text[1:].splitlines(), delimiter=";"))[1:]


def days(first: int, last: int, hours: str = "") -> dict[str, str]:
    return {
        "since": f"{START + timedelta(first):%Y-%m-%d}",
        "until": f"{START + timedelta(last):%Y-%m-%d}",
        "hours": hours,
    }


SPANS = [(0, 7), (1, 1), (5, 6), (6, 6), (2, 4)]


@pytest.mark.parametrize("hours", ["", "working", "off"])
def test_figures_are_those_of_a_plain_recomputation(hours: str, rig: Rig) -> None:
    for first, last in SPANS:
        told = {name: (now, before) for name, now, before in table(rig, csv="figures", **days(first, last, hours))}
        count = last - first + 1
        for at, (one, other) in enumerate(((first, last + 1), (first - count, first))):
            right = numbers(rig, START + timedelta(one), START + timedelta(other), hours)
            assert {name: values[at] for name, values in told.items()} == {k: str(v) for k, v in right.items()}


@pytest.mark.parametrize("figure", ["incoming", "missed", "short", "in_time", "outgoing_answered", "talked", "gave_up"])
def test_a_figure_opens_its_list(figure: str, rig: Rig) -> None:
    for hours in ("", "working", "off"):
        asked = days(1, 6, hours)
        figures = {name: now for name, now, _ in table(rig, csv="figures", **asked)}
        listed = table(rig, "/statistics/calls", csv=1, figure=figure, **asked)
        assert len(listed) == int(figures[figure]) > 0


def test_people_who_were_not_called_back_are_those_of_the_list(rig: Rig) -> None:
    for hours in ("", "working", "off"):
        asked = days(2, 5, hours)
        figures = {name: now for name, now, _ in table(rig, csv="figures", **asked)}
        assert len(table(rig, "/callbacks", csv=1, **asked)) == int(figures["not_called_back"]) > 0


def test_tables_add_up_and_open_their_lists(rig: Rig) -> None:
    asked = days(0, 7)
    figures = {name: now for name, now, _ in table(rig, csv="figures", **asked)}
    for name in ("hours", "lines", "sources"):
        rows = table(rig, csv=name, **asked)
        width = 2 if name == "hours" else 1
        assert sum(int(row[width]) for row in rows) == int(figures["incoming"])
        assert sum(int(row[width + 2]) for row in rows) == int(figures["missed"])
    for who, rung, answered, missed, talks, _, _ in table(rig, csv="employees", **asked):
        for figure, count in (("rung", rung), ("picked_up", answered), ("not_picked_up", missed), ("talks", talks)):
            assert len(table(rig, "/statistics/calls", csv=1, figure=figure, ext=who, **asked)) == int(count) > 0
    ((campaign, incoming, *_),) = table(rig, csv="campaigns", **asked)
    assert campaign == "utm_campaign: =осень"
    chosen = {"name": "utm_campaign", "content": "=осень", "figure": "incoming"}
    assert len(table(rig, "/statistics/calls", csv=1, **chosen, **asked)) == int(incoming) > 0
    cell = next(row for row in table(rig, csv="hours", **asked) if int(row[4]) > 1)
    day = f"2026-10-{cell[0][:2]}"
    listed = table(rig, "/statistics/calls", csv=1, figure="missed", hour=cell[1], since=day, until=day)
    assert len(listed) == int(cell[4])
    weekday = table(rig, "/statistics/calls", csv=1, figure="incoming", weekday=6, **asked)
    assert {row[0][:10] for row in weekday} == {"25.10.2026"}


def test_figures_are_right_again_after_a_change_of_a_day_that_is_over(rig: Rig) -> None:
    asked = days(0, 7)

    def told() -> Row:
        return {name: now for name, now, _ in table(rig, csv="figures", **asked)}

    def right() -> Row:
        return {k: str(v) for k, v in numbers(rig, START, START + timedelta(8), "").items()}

    assert told() == right()
    missed = [row for row in rig.rows() if row["is_missed"]]
    rig.delete(missed[0]["id"])
    assert told() == right()
    rig.change(missed[1]["id"], is_missed=0, is_answered=1, talk_seconds=30)
    assert told() == right()
    rig.change(missed[2]["id"], started_at=missed[2]["started_at"] + timedelta(days=1), answered_at=None)
    assert told() == right()


def test_the_page_is_read_without_a_script_and_names_what_it_counts(rig: Rig) -> None:
    page = rig.page(**{"path": "/statistics", **days(0, 7)})
    assert page.count('class="definition"') == 11
    assert len(re.findall(r"<svg", page)) > 3
    assert not re.search(r"<script(?! src=)|<style|\sstyle=|\son\w+=|https?://(?!here)", page)
    assert "25.10 вс" in page
    assert "Статистика" in rig.page("/statistics", since="x", until="9999-99-99", hours="x", csv="x")
    assert "«x» не учтено" in rig.page("/statistics", since="x")


def test_what_cannot_be_read_in_time_is_told_and_read_next_time(rig: Rig, monkeypatch: Any) -> None:
    monkeypatch.setattr("calllog.period.READ_SECONDS", 0.0)
    monkeypatch.setattr("handlers.page.callbacks.TRIES", 1)
    asked = {"since": "2026-08-01", "until": "2026-08-02"}
    for left in ("3\u00a0дня", "2\u00a0дня", "1\u00a0день"):
        page = rig.page("/statistics", **asked)
        assert f"осталось {left}" in page
        assert 'data-every="2000"' in page
    assert "осталось" not in rig.page("/statistics", **asked)
