"""pbx-connector feeds: what to set up at each provider, and what is set up wrong."""

import json
import sys
from dataclasses import asdict
from datetime import datetime, timedelta

import click
from flask.cli import AppGroup

import schemas
import setup
from cli import terminal
from config import FeedSettings, Stop
from inbox import now
from setup import doctor
from setup.doctor import Report
from setup.feed import SetUp, address, key_of
from setup.findings import Finding

FEW = 10  # deliveries: three calls bring more

command = AppGroup("feeds", help="What to set up at each provider.")


@command.command("show")
@click.argument("feed")
@click.option("--curl", is_flag=True, help="Only a curl command that posts a first notification.")
def feeds_show(feed: str, curl: bool) -> None:
    """The exact URL with its key, and what to paste at the provider (in Russian: it is for the set-up person)."""
    entered, settings = _known(feed), terminal.settings().feeds[feed]
    if curl:
        terminal.echo(_curl(settings, entered))
    else:
        terminal.echo(entered.show(lambda path: _url(settings, path), key_of(settings)))


def _known(feed: str) -> SetUp:
    entered = setup.feeds().get(feed)
    if entered is None:
        raise Stop(f"there is no feed {feed}; there are: {', '.join(setup.feeds())}")
    return entered


@command.command("doctor")
@click.argument("feed")
@click.option(
    "--days",
    type=click.FloatRange(min=0, max=3650, min_open=True),
    default=7,
    show_default=True,
    help="So many last days.",
)
@terminal.since_option
@terminal.json_option
def feeds_doctor(feed: str, days: float, since: datetime | None, as_json: bool) -> None:
    """What is set up wrong at the provider, by what really came, and where to change it (in Russian). Exit status 1 when
    there is something to change. Shows no bodies, keys or whole phone numbers."""
    _known(feed)
    inbox = terminal.inbox()
    begin = terminal.milliseconds(since) or now() - int(timedelta(days=days).total_seconds() * 1000)
    hidden = as_json or not sys.stderr.isatty()
    with click.progressbar(inbox.stream(feed, begin), label="reading", hidden=hidden, file=sys.stderr) as found:
        report = doctor.examine(terminal.settings().feeds[feed], found, inbox.counters(), begin)
    if as_json:
        for finding in report.findings:
            terminal.echo_json(asdict(finding) | {"last_at": terminal.local(finding.last_at)})
    else:
        _print(feed, report, terminal.local(begin))
    if not report.healthy:
        sys.exit(1)


def _print(feed: str, report: Report, since: str) -> None:
    seen = f"уведомлений потока {feed} с {since} — {report.total}"
    seen += f", последнее {terminal.local(report.last_at)}" if report.last_at else ""
    tested = (
        f"тест кнопкой — {terminal.local(report.tested_at)}" if report.tested_at else "тестового уведомления не было"
    )
    # of a few calls it is too early to say so: a type may be missing that none of them needed
    healthy = "Всё настроено верно: " if report.total >= FEW else "Ошибок пока не видно, сделайте три-пять звонков: "
    terminal.echo(f"{healthy if report.healthy else ''}{seen}; {tested}.")
    for number, finding in enumerate(report.findings, 1):
        terminal.echo(
            f"\n{number}. {finding.title}{' (исправлено)' if finding.closed else ' (заметка)' if finding.note else ''}"
        )
        for what, text in (("Видно", _evidence(finding)), ("Что не так", finding.wrong), ("Где менять", finding.where)):
            if text:
                terminal.echo(f"   {what}: {text}")
        if finding.paste and not finding.closed:
            terminal.echo("   Что вставить:")
            terminal.echo("\n".join(f"      {line}" for line in finding.paste.splitlines()))


def _evidence(finding: Finding) -> str:
    count = f"{finding.seen} из {finding.of}" if finding.of else f"{finding.seen}" if finding.seen else ""
    last = f"последнее {terminal.local(finding.last_at)}" if finding.last_at else ""
    show = f"pbx-connector inbox show {finding.delivery}" if finding.delivery else ""
    right = f"после этого верных — {finding.right}" if finding.right else ""
    return ", ".join(part for part in (finding.notification, count, last, right, show) if part)


def _url(feed: FeedSettings, path: str) -> str:
    return address(terminal.settings().public_url, feed, schemas.feeds()[feed.name], path)


def _curl(feed: FeedSettings, entered: SetUp) -> str:
    if entered.first_notification is None:
        raise Stop(f"there is no example of a notification: first_notification in setup/{feed.name}.py")
    path, fields = entered.first_notification(datetime.now(feed.timezone))
    fields |= {entered.feed.key_field: key_of(feed)} if entered.feed.key_field else {}
    body = json.dumps(fields, ensure_ascii=False)
    return f"curl -sS -H 'Content-Type: application/json' -d {_quoted(body)} {_quoted(_url(feed, path))}"


def _quoted(text: str) -> str:
    """One word of a shell's command line; unlike shlex.quote always in quotes."""
    return "'" + text.replace("'", "'\\''") + "'"
