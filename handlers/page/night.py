"""The runbook's sections, for whoever is woken at night: the sentence on top of every page links to the right one."""

import re
from pathlib import Path

from flask import Response, render_template

from handlers.page.guard import sentence
from handlers.page.views import bp

RUNBOOK = Path(__file__).parent.parent.parent / "docs" / "operations.md"


@bp.get("/runbook/<name>")
def runbook(name: str) -> Response | str:
    """A section of docs/operations.md as it stands there."""
    text = RUNBOOK.read_text(encoding="utf-8") if RUNBOOK.is_file() else ""
    found = re.search(rf"(?ms)^### {re.escape(name)}\n(.*?)(?=^##|\Z)", text)
    if not found:
        return sentence(404, "Раздела нет", f"Смотрите docs/operations.md, раздел «{name[:60]}».")
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", found[1]).strip()
    paragraphs = [" ".join(part.split()) for part in plain.split("\n\n")]
    return render_template("runbook.html", name=name, paragraphs=paragraphs)
