"""Every code block that a person copies is run or parsed, and what it names is there: commands, files, settings, accounts,
units, tables. A block says in its first line what it is."""

import re
import shlex
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

import cli
import config
import models
import schemas
from app import create_app
from calllog import database
from config import Settings
from tests.bsl.language import tree
from tests.rig import needs, nginx
from tests.rig.nginx import Nginx
from tests.rig.service import ROOT
from tests.test_docs import commands, setting_names

PAGES = ("docs/operations.md", "docs/1c.md", "README.md", "README.ru.md")
NAME = "pbx-connector"
INSTALLER = (ROOT / "deploy" / "install.sh").read_text(encoding="utf-8")
UNITS = {path.name for path in (ROOT / "deploy").glob(f"{NAME}*.*")}
OTHER_UNITS = {"nginx", "mariadb", "mysql"}
OTHER_ACCOUNTS = {"root", "www-data", "usr1cv8"}  # Debian's, and the one that 1C's platform makes
OTHER_VARIABLES = {"TARGET_URL", "PYTHON", "MARIADB_DATABASE", "MARIADB_USER", "MARIADB_PASSWORD"}
OTHER_VARIABLES |= {"MARIADB_RANDOM_ROOT_PASSWORD", "UID", "PWD", "CHARSET"}
ACCOUNT = re.compile(r"(?:usermod -aG (\w+)|chgrp|chown|install -d -o|-g) ([\w-]+)")


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for found in re.finditer(r"(?ms)^( *)```(\w*)\n(.*?)^\1```$", text):
            lines = [line.removeprefix(found[1]) for line in found[3].splitlines()]
            yield Block(page, text[: found.start()].count("\n") + 1, found[2], "\n".join(lines))


BLOCKS = list(blocks())


def of(*languages: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", [one for one in BLOCKS if one.language in languages], ids=str)


def test_every_block_says_what_it_is() -> None:
    known = {"sh", "nginx", "yaml", "sql", "query", "http", "powershell", "bsl", "text"}
    assert [str(block) for block in BLOCKS if block.language not in known] == []
    assert len(BLOCKS) > 20


# ---------------------------------------------------------------------------------------------------------------- shell


@of("sh")
def test_a_block_of_shell_is_shell_and_names_what_there_is(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    ours = commands(cli.program())
    for words in simple_commands(block.text):
        assert program_is_there(words[0]), words[0]
        for word in words:
            path = re.sub(rf"^(?:/opt/{NAME}/current/|/usr/local/src/{NAME}(?:-[\d.]+)?/)", "", word)
            if path.startswith("deploy/") and not path.endswith((".env", "*.env")):
                assert (ROOT / path).exists(), word
        if words[0].endswith(NAME):
            command = ours.get(" ".join(words[1:3])) or ours[words[1]]
            known = {option for parameter in command.params for option in parameter.opts}
            assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, words
    for name in re.findall(r"\b([A-Z][A-Z_]{2,})=", block.text):
        assert name.removesuffix("_FILE") in setting_names() or name in OTHER_VARIABLES, name
    for version in re.findall(rf"{NAME}-(\d+\.\d+\.\d+)", block.text):
        assert version == config.VERSION


def simple_commands(text: str) -> Iterator[list[str]]:
    """The words of each command, without redirections and assignments before it."""
    for line in text.splitlines():
        for part in re.split(r" (?:&&|\|\|?|;) ", re.sub(r"\s+#.*", "", line)):
            words = [word for word in shlex.split(part) if not re.match(r"\d?>", word)]
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            if words:
                yield words


DEBIAN = {
    "apt-get",
    "certbot",
    "chgrp",
    "chmod",
    "cp",
    "docker",
    "export",
    "grep",
    "groupadd",
    "isql",
    "make",
    "mysqldump",
}
DEBIAN |= {"openssl", "printf", "python3", "read", "scp", "sha256sum", "systemctl", "tar", "usermod"}


def program_is_there(word: str) -> bool:
    """Whether it is a program of Debian's, of a virtual environment, or ours."""
    ours = word.rpartition("/")[2] in (NAME, "install.sh")
    return ours or word in DEBIAN or word in (".venv/bin/pip", ".venv/bin/gunicorn")


# ----------------------------------------------------------------------------------------------------- the other languages


@of("nginx")
def test_a_block_of_nginx_is_taken_by_nginx(block: Block, tmp_path: Path) -> None:
    needs.present(nginx.missing())
    with Nginx(tmp_path, f"server {{ listen 127.0.0.1:%PORT%; {block.text}\n }}"):
        pass


@of("yaml")
def test_a_prometheus_job_is_taken_by_prometheus(block: Block, tmp_path: Path) -> None:
    program = needs.program("promtool", "prometheus")
    text = block.text.replace("/etc/prometheus/connector-alerts.yml", str(ROOT / "deploy" / "alerts.yml"))
    (tmp_path / "prometheus.yml").write_text(text)
    done = subprocess.run([program, "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@of("sql")
def test_a_block_of_sql_runs_on_our_tables(block: Block, tmp_path: Path) -> None:
    database.upgrade(f"sqlite:///{tmp_path}/calls.db", lambda line: None)
    statements = block.text.split("\n\n") if "\nFROM" in block.text else block.text.splitlines()
    with closing(sqlite3.connect(tmp_path / "calls.db")) as db:
        for statement in statements:
            db.execute(statement)


@of("query")
def test_a_query_of_1c_names_our_tables_and_columns(block: Block) -> None:
    tables = {table._meta.table_name: models.columns(table) for table in models.TABLES}
    aliases = {alias: table for table, alias in re.findall(r"\.Таблица\.(\w+) КАК (\w+)", block.text)}
    assert aliases
    for alias, column in re.findall(r"\b([А-Я]\w+)\.([a-z_]+)\b", block.text):
        if alias in aliases:
            assert column in tables[aliases[alias]], f"{alias}.{column}"


@of("bsl")
def test_a_block_of_1c_is_read_by_its_grammar(block: Block) -> None:
    tree(f"Процедура П()\n{block.text}\nКонецПроцедуры\n")


@of("http", "powershell")
def test_a_request_goes_to_an_address_that_there_is(block: Block, tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=tmp_path, feeds={name: config.FeedSettings(name) for name in schemas.feeds()}))
    asked = re.findall(r"(?m)^([A-Z]+) <[^>]+>(/[\w/-]+)", block.text)
    asked += [("GET", path) for path in re.findall(r"https://[\w.]+(/[\w/-]+)", block.text)]
    for method, path in asked:
        assert app.url_map.bind("").match(path, method)
    assert asked or "CommandText" in block.text


# --------------------------------------------------------------------------------------------- what whole pages name


@pytest.mark.parametrize("page", PAGES)
def test_accounts_units_and_directories_of_a_page_are_those_of_an_installation(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    made = {NAME, *re.findall(r"(?:groupadd|useradd --system) ([\w-]+)", text), *OTHER_ACCOUNTS}
    for group, account in ACCOUNT.findall(text):
        assert {group, account} - {""} <= made, (group, account)
    for unit in re.findall(r"(?:systemctl (?:\w+ )(?:--now )?|journalctl -u )([a-z][\w.-]+)", text):
        known = unit in OTHER_UNITS or unit in UNITS or f"{unit}.service" in UNITS
        assert known or unit in ("edit", "status"), unit
    installed = INSTALLER.replace("$NAME", NAME) + "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "deploy").glob("*.conf")
    )
    for path in set(re.findall(r"(?<![\w.])(/(?:etc(?!/prometheus)|opt|run|var)/[\w/.-]*connector[\w-]*)", text)):
        assert path in installed, path
