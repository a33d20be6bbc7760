"""A list as a file for a spreadsheet: `;` between the columns, UTF-8 with its mark, and no cell that is a formula."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from flask import Response

FORMULA = tuple("=+-@\t\r")  # what a cell that a spreadsheet would compute begins with


def csv_file(name: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response:
    """The rows under their head, to be saved as `<name>.csv`."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
    writer.writerows([_cell(value) for value in row] for row in (head, *rows))
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response("\ufeff" + text.getvalue(), headers=headers, content_type="text/csv; charset=utf-8")


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%d.%m.%Y %H:%M:%S}"
    if value is None:
        return ""
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(FORMULA) else text
