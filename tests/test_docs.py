"""The docs keep up with the code: every setting, command, table, column and feed has its line, and none leads nowhere."""

import os
import re
from dataclasses import fields, replace
from pathlib import Path
from unittest import mock

import click
import pytest

import cli
import config
import models
import schemas
import setup
from calllog import database
from config import Settings
from handlers.page import words as russian_words
from schemas import event as words
from setup import uis
from tests.rig.service import ROOT

SKIPPED = {
    ".venv",
    ".git",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    "data",
    "dist",
    "node_modules",
}
PAGES = [path for path in sorted(ROOT.rglob("*.md")) if not SKIPPED & set(path.relative_to(ROOT).parts[:-1])]
CONTRACT = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
FEED_SETTINGS = ("KEY", "ALLOW", "TIMEZONE", "SILENCE_MINUTES", "RECORDING_HOSTS")
LATER = re.compile(r"\b(later|позже)\b", re.IGNORECASE)


def section(number: int) -> str:
    """A section of the contract."""
    return re.split(r"(?m)^## ", CONTRACT)[number]


def mentions(text: str, name: str) -> bool:
    return re.search(rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])", text) is not None


def commands(group: click.Group, path: str = "") -> dict[str, click.Command]:
    """`db upgrade` -> its command (a hidden one only says what to type instead)."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= commands(command, f"{name} ")
        elif command.callback is not None and not command.hidden:
            found[path + name] = command
    return found


@pytest.fixture(scope="module")
def ours() -> dict[str, click.Command]:
    return commands(cli.program())


# ------------------------------------------------------------------------------------------------------------- settings


def setting_names() -> list[str]:
    plain = [field.name.upper() for field in fields(Settings) if field.name != "feeds"]
    return plain + [f"{feed.upper()}_{name}" for feed in schemas.feeds() for name in FEED_SETTINGS]


@pytest.mark.parametrize("name", setting_names())
def test_a_setting_is_in_the_contract_and_in_the_example(name: str):
    feed, _, what = name.partition("_")
    general = f"<FEED>_{what}" if feed.lower() in schemas.feeds() and what in FEED_SETTINGS[1:] else name
    assert mentions(section(4), name) or f"{general}`" in section(4)
    assert re.search(rf"(?m)^#?{name}=", EXAMPLE) or f"each feed: {general}." in EXAMPLE


def test_the_example_names_no_setting_that_is_none():
    assert set(re.findall(r"(?m)^#?([A-Z_]+)=", EXAMPLE)) <= set(setting_names())


def test_what_is_commented_out_in_the_example_is_the_default(tmp_path: Path):
    feeds = schemas.zones()
    dotenv = tmp_path / ".env"
    dotenv.write_text(re.sub(r"(?m)^#([A-Z_]+=)", r"\1", EXAMPLE), encoding="utf-8")
    with mock.patch.dict(os.environ, clear=True):
        defaults = config.load(feeds, database.parse_url, None)
    with mock.patch.dict(os.environ, clear=True):
        said = config.load(feeds, database.parse_url, dotenv)
    assert said.database_url.endswith("/<DATA_DIR>/calllog/calls.db")
    assert replace(said, database_url="") == replace(defaults, database_url="")


# ------------------------------------------------------------------------------------------------------------- commands


def test_every_command_is_in_the_contract(ours: dict[str, click.Command]):
    told = {name for line in section(7).splitlines() for name, _ in named_commands(line)}
    assert ours.keys() - told == set()


def test_nobody_is_told_of_flask():
    told = re.compile(rf"\bflask (?:--app|<|…|(?:{'|'.join(command.name or '' for command in cli.commands())})\b)")
    for path in ROOT.rglob("*"):
        inside = path.relative_to(ROOT)
        if inside.parts[0] in SKIPPED or not path.is_file() or path.suffix in (".png", ".xz", ".pyc", ".db"):
            continue
        if inside.parts[0] not in ("tests", ".ci") and inside.name not in ("install.sh", "CHANGELOG.md"):
            assert told.findall(path.read_text(encoding="utf-8", errors="ignore")) == [], inside


def named_commands(line: str) -> list[tuple[str, list[str]]]:
    """(command, its options) of each of ours in a line: in code marks, after a bin directory, or at its beginning."""
    found = []
    for code in [*re.findall(r"`([^`]*)`", line), line if "`" not in line else ""]:
        for group, rest in re.findall(r"(?:^|/)pbx-connector ([a-z]+)((?: [a-z<>|-]+)*)", code.strip()):
            subcommands = rest.split()[:1] if re.match(r" [a-z|]+(?: |$)", rest) else []
            options = re.findall(r"--[a-z-]+", rest)
            found += [(f"{group} {sub}".strip(), options) for sub in (subcommands or [""])[0].split("|")]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_no_command_that_does_not_exist(page: Path, ours: dict[str, click.Command]):
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
    wrong = []
    for line in page.read_text(encoding="utf-8").splitlines():
        if LATER.search(line):
            continue
        for name, options in named_commands(line):
            command = ours.get(name) or ours.get(name.split()[0])
            known = {option for parameter in command.params for option in parameter.opts} if command else set()
            if command is None or not set(options) <= known:
                wrong.append(f"pbx-connector {name} {' '.join(options)}".strip())
        wrong += [f"make {target}" for target in re.findall(r"(?:^|`)make ([a-z-]+)", line) if target not in targets]
    assert wrong == []


# --------------------------------------------------------------------------------------------------------------- tables


def contract_columns(table: str) -> list[tuple[str, int | None]]:
    """(column, length where one is told) of a table as the contract has it."""
    if table == "calls":
        rows = re.findall(r"(?m)^\| ([a-z_, ]+) \| ([A-Z][^|]*) \|", section(2))
        found: list[tuple[str, int | None]] = []
        for names, types in rows:
            columns, lengths = names.split(", "), re.findall(r"\((\d+)\)", types)
            if len(lengths) == 1:  # one length for all
                lengths *= len(columns)
            assert len(lengths) in (0, len(columns)), names
            found += zip(columns, map(int, lengths) if lengths else [None] * len(columns), strict=True)
        return found
    (line,) = re.findall(rf"(?m)^`{table}`: (.*)$", section(2))
    plain = re.sub(r"\((?!\d)[^)]*\)", "", line)  # remarks, but not VARCHAR(64)
    listed = re.split(r"[.:](?: |$)", plain)[0].split(",")
    pattern = re.compile(r"\s*([a-z_]+)(?: VARCHAR\((\d+)\)| TEXT| unique| )*\s*")
    return [(m[1], int(m[2]) if m[2] else None) for m in map(pattern.fullmatch, listed) if m]


@pytest.mark.parametrize("table", models.TABLES, ids=lambda table: table._meta.table_name)
def test_a_table_has_the_contracts_columns(table: type[models.Table]):
    told = contract_columns(table._meta.table_name)
    assert [name for name, _ in told] == list(models.columns(table))
    for name, length in told:
        if length is not None:
            assert table._meta.fields[name].max_length == length, name


@pytest.mark.parametrize("word", sorted({*words.DIRECTIONS, *words.STATES, *words.DISPOSITIONS, *words.REASONS} - {""}))
def test_a_word_of_the_vocabulary_is_in_the_contract(word: str):
    assert f"`{word}`" in section(2)


def test_the_words_are_told_in_russian_to_whoever_reads_them_in_1c():
    page = (
        (ROOT / "docs" / "1c.md")
        .read_text(encoding="utf-8")
        .partition("<!-- words:")[2]
        .partition("<!-- /words -->")[0]
    )
    tables = {
        "direction": russian_words.DIRECTIONS,
        "state": russian_words.STATES,
        "disposition": russian_words.DISPOSITIONS,
        "hangup_by": russian_words.HANGUP_BY,
        "reason": russian_words.REASONS,
    }
    told = re.findall(r"^\| `(\w+)` \| (?:`(\w+)`|пусто) \| (.*) \|$", page, re.M)
    assert told == [(column, word, russian) for column, table in tables.items() for word, russian in table.items()]


# ---------------------------------------------------------------------------------------------------------------- feeds


@pytest.mark.parametrize("feed", schemas.feeds())
def test_a_feed_has_its_address_in_the_contract_and_its_page(feed: str):
    address = schemas.feeds()[feed].address.partition("{")[0]
    assert address in section(1)
    assert f"(feeds/{feed}.md)" in section(1)
    text = (ROOT / "docs" / "feeds" / f"{feed}.md").read_text(encoding="utf-8")
    assert address in text
    assert f"pbx-connector feeds show {feed}" in text
    assert f"{feed.upper()}_KEY" in text


@pytest.mark.parametrize("page", sorted(Path(setup.__file__).parent.glob("*.txt")), ids=lambda page: page.stem)
def test_what_feeds_show_prints_is_a_block_of_the_feeds_page(page: Path):
    shown = setup.feeds()[page.stem].show(lambda path: f"https://calls.example.ru{path}?key=…", "…")
    text = (ROOT / "docs" / "feeds" / f"{page.stem}.md").read_text(encoding="utf-8")
    assert f"```\n{shown}\n```" in text


def test_the_uis_page_has_every_refusal_and_every_key_of_the_templates():
    page = (ROOT / "docs" / "feeds" / "uis.md").read_text(encoding="utf-8")
    sources = [ROOT / "schemas" / "reading.py", ROOT / "schemas" / "uis.py"]
    codes = {c for path in sources for c in re.findall(r'Refusal\(\s*4\d\d,\s*"(\w+)"', path.read_text("utf-8"))}
    assert {"bad_json", "no_call_id"} <= codes
    answers = (ROOT / "handlers" / "answers.py").read_text(encoding="utf-8")
    codes |= set(re.findall(r'\b(?:401|403|404|405|413|503),?:?\s*\(?\s*"(\w+)"', answers)) - {
        "api_closed",
        "call_log_away",
    }
    assert codes - set(re.findall(r"(?m)^\| \d{3} \| `(\w+)` \|", page)) == set()
    for notification in uis.NOTIFICATIONS:
        assert notification.name in page
        condition = notification.condition or "нет"
        assert f"| {notification.event_type} | {condition} | `/hs/UIScom/{notification.route}` |" in page
        assert [key for key in notification.keys if key not in page] == []


# ------------------------------------------------------------------------------------------------------------- security


def test_the_tests_that_the_threat_model_names_exist():
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 10
    for row in rows:
        worst, held = row.strip("| ").split(" | ")[-2:]
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", held)
        assert named or "**" in worst, f"neither a test nor what does not hold yet: {row}"
        for path, test in named:
            text = (ROOT / path).read_text(encoding="utf-8")
            assert not test or re.search(rf"(?m)^def {test}\(", text), (path, test)


# ---------------------------------------------------------------------------------------------------------------- links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_relative_link_leads_somewhere(page: Path):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        there = (page.parent / path).resolve() if path else page
        found = there.exists() and there.is_relative_to(ROOT)
        if not found or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings have."""
    headings = re.findall(r"(?m)^#+ (.*)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_module_is_in_its_room_on_the_map():
    rooms = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## Rooms")[2].partition("\n## ")[0]
    lines = re.split(r"(?m)^(?=\S+/? )", rooms)
    for room in ("inbox", "calllog", "server", "upkeep", "providers", "schemas", "handlers", "handlers/page", "setup"):
        place = room.rpartition("/")[2] + "/"
        here = next(line for part in lines for line in re.split(r"(?m)^  (?=page/)", part) if line.startswith(place))
        for path in (ROOT / room).glob("*.py"):
            if path.stem not in ("__init__", *schemas.feeds()) and room != "handlers":  # one module a feed or an API
                assert re.search(rf"\b{path.stem}\b", here), f"{room}/{path.name} is not in ARCHITECTURE.md"


def test_where_a_thing_is_said_to_be_it_is():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = text.partition("| where is | here |")[2].partition("\n\n")[0]
    found = re.findall(r"`([\w/]+\.py)` `(\w+)`", table)
    assert len(found) > 5
    for path, name in found:
        assert re.search(rf"(?m)^(?:    )?(?:def )?{name}\b", (ROOT / path).read_text(encoding="utf-8")), (path, name)
