"""What the benchmark prints: a table of each measurement, and at the end the lines of the issue, each ok or short."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median (min..max)."""
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the issue: its figures, one a round, and its target. `least`: the median may not be below it,
    `most`: nor above that one; neither: for information."""

    what: str
    values: Sequence[float]
    least: float | None = None
    most: float | None = None
    note: str = ""
    failed: bool = False  # the measurement itself shows that the line does not hold

    @property
    def target(self) -> str:
        if self.least is not None:
            return f">= {self.least:g}"
        return f"<= {self.most:g}" if self.most is not None else ""

    @property
    def verdict(self) -> str:
        if self.least is None and self.most is None:
            return ""
        middle = median(self.values)
        short = self.failed or (self.least is not None and middle < self.least)
        return "short" if short or (self.most is not None and middle > self.most) else "ok"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns side by side, the first to the left, the others to the right."""
    lines = [list(head), *[list(row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    printed = []
    for line in lines:
        cells = [
            line[0].ljust(widths[0]),
            *[cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)],
        ]
        printed.append("  ".join(cells).rstrip())
    printed.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(printed)


def verdicts(lines: Sequence[Line]) -> str:
    """The final table."""
    rows = [(line.what, spread(line.values), line.target, line.verdict, line.note) for line in lines]
    head = ("line", "median (min..max)", "target", "", "")
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(4)]
    printed = []
    for row in [head, *rows]:
        cells = [row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].rjust(widths[2]), row[3].ljust(widths[3])]
        printed.append("  ".join([*cells, row[4]]).rstrip())
    printed.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(printed)
