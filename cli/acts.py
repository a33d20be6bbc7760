"""pbx-connector acts: destruction records, as the act and the export that Roskomnadzor's order 179 asks for."""

from datetime import datetime

import click
from flask.cli import with_appcontext

from cli import terminal
from upkeep import acts


@click.command("acts")
@click.option("--since", type=click.DateTime(), help="Only those begun since this moment (TIMEZONE's wall clock).")
@terminal.json_option
@with_appcontext
def command(since: datetime | None, as_json: bool) -> None:
    """What purge and forget have deleted: acts in Russian, to be filled in, signed and kept for three years."""
    found = acts.records(terminal.settings().data_dir / "acts", since)
    if as_json:
        for fields in found:
            terminal.echo_json(fields)
    elif found := [fields for fields in found if fields["kind"] in acts.KINDS]:
        terminal.echo("\n\n".join(map(acts.as_text, found)))
    else:
        terminal.echo("Записей об уничтожении нет.")
