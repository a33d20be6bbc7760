"""The house: imports go down only, a sixth feed is one schema and one handler, public names say what they are."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import app
import handlers
import schemas
import setup
from calllog import database
from config import FeedSettings, Settings, WrongSettings
from inbox import DEAD, RECEIVED
from models import Calls
from tests.rig.node import rows

ROOT = Path(__file__).resolve().parent.parent
LEVELS = [
    "wsgi __main__",
    "app",
    "cli handlers",
    "forwarder",
    "setup upkeep",
    "inbox",
    "calllog providers",
    "models",
    "schemas",
    "config",
    "server",
]
LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names.split()}
SHARED = {"webhook", "access", "answers", "crm", "make_call"}  # of the handlers, what the others use
CODE = [*ROOT.glob("*.py"), *(path for room in LEVEL for path in ROOT.glob(f"{room}/**/*.py"))]


def imports(path: Path) -> set[str]:
    """Top-level names and, for our packages, `package.module`, that a module imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for name in imports(path):
        other = name.split(".")[0]
        if other in LEVEL and other != room:
            assert LEVEL[room] < LEVEL[other], f"{path.name} imports {name}"
    if room == "handlers":
        mine = path.relative_to(ROOT).parts[1]
        ours = {name.split(".")[1] for name in imports(path) if name.startswith("handlers.")}
        assert ours - {mine} <= SHARED
    if room == "schemas":
        assert not {"flask", "peewee", "sqlite3"} & {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_room_and_every_public_name_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree) or path.name == "wsgi.py"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            small = isinstance(node, ast.FunctionDef) and path.name == "models.py" and len(node.body) <= 3
            assert ast.get_docstring(node) or small, f"{path.name}: {node.name}"


@pytest.mark.parametrize("path", [path for path in CODE if path.parent.name == "cli"], ids=lambda path: path.stem)
def test_every_command_prints_by_terminal_which_shows_escapes_as_codes(path: Path) -> None:
    lines = [
        line for line in path.read_text(encoding="utf-8").splitlines() if "click.echo(" in line or " print(" in line
    ]
    assert path.name == "terminal.py" or all("err=True" in line for line in lines)


TOY_SCHEMA = '''
"""A toy provider: {"id": …, "what": "ring" | "end" | "fault"}."""

from schemas import event as words
from schemas.event import CallEvent
from schemas.fields import CallId, FeedSchema, Text, load
from schemas.reading import Form, Ignored, Refusal, read

PROVIDER = "toy"
ADDRESS = "/toy"
FORM = Form("«Тело»", "«Адрес»")


class Schema(FeedSchema):
    id = CallId()
    what = Text(16)


SCHEMA = Schema()


def recognise(delivery):
    sent = read(delivery, FORM)
    said = load(SCHEMA, sent, lambda field, what: Refusal(422, "no_call_id", "Нет ключа id в поле «Тело»."))
    if said["what"] == "chat":
        raise Ignored("chat", "Чат.")
    if said["what"] == "fault":
        raise ZeroDivisionError("a fault of ours")
    return sent


def understand(delivery, zone):
    sent = recognise(delivery)
    said = SCHEMA.load(sent)
    return CallEvent(
        feed=delivery.feed,
        provider=PROVIDER,
        provider_call_id=said["id"],
        kind={"ring": words.RINGING, "end": words.ENDED}[said["what"]],
        event_key=sent.event_key(PROVIDER),
        received_at=delivery.received_at,
        direction="in",
    )
'''
TOY_HANDLER = '''
"""A toy provider's route."""

from flask import Blueprint

from handlers.webhook import receive

bp = Blueprint("toy", __name__)


@bp.route("/toy", methods=["GET", "POST"])
def toy():
    return receive("toy", "toy")
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The application with a sixth feed in a package of its own, and nothing else told of it."""
    for package, text in ((schemas, TOY_SCHEMA), (handlers, TOY_HANDLER)):
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / "toy.py").write_text(text, encoding="utf-8")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    schemas.feeds.cache_clear()
    setup.feeds.cache_clear()
    assert "toy" in schemas.feeds()
    url = f"sqlite:///{tmp_path}/calls.db"
    database.upgrade(url, lambda line: None)
    feeds = {name: FeedSettings(name, keys=("k",)) for name in schemas.feeds()}
    yield app.create_app(Settings(data_dir=tmp_path, database_url=url, feeds=feeds))
    for name in ("schemas.toy", "handlers.toy"):
        sys.modules.pop(name, None)
    schemas.feeds.cache_clear()
    setup.feeds.cache_clear()


def test_a_sixth_feed_is_one_schema_and_one_handler(toy: Any) -> None:
    client, here = toy.test_client(), toy.extensions["connector"]
    assert client.post("/toy?key=k", json={"id": 5, "what": "ring"}).json == {"status": "accepted"}
    assert client.post("/toy?key=k", json={"id": 5, "what": "end"}).json == {"status": "accepted"}
    assert client.post("/toy?key=k", json={"what": "end"}).status_code == 422
    assert client.post("/toy?key=k", json={"id": 5, "what": "chat"}).json == {"status": "ignored", "reason": "Чат."}
    assert client.get("/toy?key=k").text.startswith("Ключ верный")
    assert client.post("/toy?key=wrong", json={}).status_code == 401
    assert [stored.outcome.state for stored in here.inbox.deliveries(feed="toy")] == [
        "ignored",
        DEAD,
        RECEIVED,
        RECEIVED,
    ]
    here.forwarder.once()
    (row,) = rows(here.settings.database_url, Calls)
    assert (row["provider"], row["provider_call_id"], row["state"], row["events_count"]) == ("toy", "5", "ended", 2)
    here.forwarder.close()


def test_our_own_fault_is_accepted_and_kept_as_a_dead_letter_with_its_traceback(toy: Any) -> None:
    client, here = toy.test_client(), toy.extensions["connector"]
    answer = client.post("/toy?key=k", json={"id": 5, "what": "fault"})
    assert (answer.status_code, answer.json) == (200, {"status": "accepted"})
    (stored,) = here.inbox.deliveries(state=DEAD)
    assert stored.outcome.reason == "our_fault"
    assert "ZeroDivisionError: a fault of ours" in stored.outcome.detail
    # and a fault that only the forwarder meets: an event that the table of kinds does not have
    assert client.post("/toy?key=k", json={"id": 6, "what": "surprise"}).json == {"status": "accepted"}
    assert client.post("/toy?key=k", json={"id": 7, "what": "ring"}).json == {"status": "accepted"}
    report = here.forwarder.once()
    assert (report.forwarded, report.dead) == (1, 1)
    assert "KeyError: 'surprise'" in here.inbox.deliveries(state=DEAD)[0].outcome.detail
    here.forwarder.close()


# ------------------------------------------------------------------------------------------- what is wrong with a feed


@pytest.fixture
def rooms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory whose schemas/ and setup/ are looked into as ours are."""
    for package in (schemas, setup):
        (tmp_path / package.__name__).mkdir()
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / package.__name__)])
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    """The feeds are looked for again."""
    for name in list(sys.modules):
        if name.startswith(("schemas.zz", "setup.zz")):
            del sys.modules[name]
    schemas.feeds.cache_clear()
    setup.feeds.cache_clear()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('PROVIDER = "toy"', "", "PROVIDER is missing: who owns the call ids"),
        ('PROVIDER = "toy"', f'PROVIDER = "{17 * "y"}"', "PROVIDER must have 1 to 16 characters"),
        ('PROVIDER = "toy"', "PROVIDER = 5", "PROVIDER must be a str"),
        ('ADDRESS = "/toy"', "", "ADDRESS is missing: the path that the provider posts to"),
        ('ADDRESS = "/toy"', 'ADDRESS = "toy"', "ADDRESS must begin with /"),
        ('FORM = Form("«Тело»", "«Адрес»")', 'FORM = "«Тело»"', "FORM must be a Form: how its settings page calls"),
        ('ADDRESS = "/toy"', 'ADDRESS = "/toy"\nTELLS_TIME = "no"', "TELLS_TIME must be a bool"),
        ('ADDRESS = "/toy"', 'ADDRESS = "/toy"\nKEY_FIELD = None', "KEY_FIELD must be a str"),
        ("def understand(delivery, zone)", "def understand(delivery)", "understand must take delivery and zone"),
        ("def recognise(", "def recognize(", "recognise(delivery) is missing"),
    ],
)
def test_what_is_wrong_with_a_feed_is_one_sentence_at_the_start(old: str, new: str, sentence: str, rooms: Path) -> None:
    assert old in TOY_SCHEMA
    (rooms / "schemas" / "zz.py").write_text(TOY_SCHEMA.replace(old, new), encoding="utf-8")
    with pytest.raises(WrongSettings) as wrong:
        app.create_app()
    (line,) = wrong.value.message.splitlines()[1:]
    assert line.startswith(f"  schemas/zz.py: {sentence}")


def test_everything_that_is_wrong_is_named_at_once(rooms: Path) -> None:
    (rooms / "schemas" / "zz.py").write_text('PROVIDER = ""\n', encoding="utf-8")
    (rooms / "schemas" / "zz_of_a_long_name.py").write_text(TOY_SCHEMA, encoding="utf-8")
    with pytest.raises(WrongSettings) as wrong:
        schemas.feeds()
    found = wrong.value.message
    assert len(found.splitlines()) == 7
    assert "schemas/zz_of_a_long_name.py: the feed's name is the file's: at most 16 lower-case letters" in found


def test_a_wrong_set_up_page_is_named_too(rooms: Path) -> None:
    (rooms / "schemas" / "zz.py").write_text(TOY_SCHEMA, encoding="utf-8")
    module = '"""…"""\nEXPECTED = "end"\n\n\ndef self_test(mark):\n    return "/toy", {}\n'
    (rooms / "setup" / "zz.py").write_text(module, encoding="utf-8")
    (rooms / "setup" / "zz.txt").write_text("{adress} {{id}} {key}", encoding="utf-8")
    with pytest.raises(WrongSettings) as wrong:
        setup.feeds()
    assert wrong.value.message.splitlines()[1:] == [
        "  setup/zz.py: EXPECTED must be a tuple",
        "  setup/zz.py: self_test must take mark, settings",
        "  setup/zz.txt: nothing stands for {adress}; there are {address}, {key}, {body}, {url}",
    ]


def test_a_feed_without_a_route_is_named(rooms: Path, tmp_path: Path) -> None:
    (rooms / "schemas" / "zz.py").write_text(TOY_SCHEMA, encoding="utf-8")
    feeds = {name: FeedSettings(name) for name in schemas.feeds()}
    with pytest.raises(WrongSettings, match=r"handlers/zz\.py is missing, or its bp is not named zz"):
        app.create_app(Settings(data_dir=tmp_path / "data", database_url="sqlite:///none.db", feeds=feeds))


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_knows_a_feed_by_name_but_its_own(path: Path) -> None:
    if path.stem in (*schemas.feeds(), "make_call"):  # there they are providers that 1C may name
        return
    strings = {
        node.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert strings & schemas.feeds().keys() == set()
