"""What came from outside, as a person can see it: invisible characters made visible, the fragment at fault marked. Pure."""

import json
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from markupsafe import Markup, escape

from schemas.reading import Delivery
from server.visible import unseen

LONGEST = 20_000  # characters of a body that a page shows; `pbx-connector inbox show --json` has the rest
PREVIEW = 120
PIECE = 500  # characters that are made visible at once: one may become forty


class Room:
    """How many characters of what came from outside one page may still have, whatever is sent: escaped and with codes a
    body of 20 KB would be megabytes."""

    def __init__(self, left: int = 400_000) -> None:
        self.left = left

    def seen(self, text: object) -> Markup:
        """Escaped text in which each invisible character is shown as its code: ‹U+202E›. With … where there is no room."""
        plain = str(text).replace("\r\n", "\n")
        shown = []
        for at in range(0, len(plain), PIECE):
            if self.left <= 0:
                shown.append("…")
                break
            shown.append(_escaped(plain[at : at + PIECE]))
            self.left -= len(shown[-1])
        return Markup("".join(shown))  # noqa: S704 - escaped above; what is put in is ours

    def link(self, url: str) -> str:
        """The address if a browser may follow it and there is room for it, else ""."""
        self.left -= len(url)
        return link(url) if self.left > 0 else ""


def seen(text: object) -> Markup:
    """The same of one text that has the page to itself."""
    return Room().seen(text)


def _escaped(text: str) -> str:
    shown = str(escape(text))
    codes = {ord(one): f'<span class="unseen">‹U+{ord(one):04X}›</span>' for one in unseen(shown)}
    return shown.translate(codes)


def link(url: str) -> str:
    """The address if a browser may follow it (http and https alone), else ""."""
    try:
        return url if urlsplit(url).scheme in ("http", "https") and urlsplit(url).netloc else ""
    except ValueError:
        return ""


def preview(body: bytes, query: str) -> str:
    """The beginning of what came, on one line."""
    return " ".join((body.decode("utf-8", "replace") or query).split())[:PREVIEW]


@dataclass(frozen=True, slots=True)
class Body:
    """A delivery's body for the page: as it came (with the fragment at fault in <mark>), and laid out where it is JSON
    or a form; `other` is how windows-1251 reads what is no UTF-8; `cut` says that there is more."""

    raw: Markup
    laid_out: Markup | None
    other: Markup | None
    cut: bool


def body(delivery: Delivery, message: str = "", room: Room | None = None) -> Body:
    """What came; `message` is the refusal's sentence, which says where to look; `room` is shared by a page's bodies."""
    room = room or Room()
    seen, other = room.seen, None
    try:
        text = delivery.body.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = delivery.body.decode("utf-8", "backslashreplace")
        other = delivery.body.decode("cp1251", "replace")[:LONGEST]
    cut = len(text) > LONGEST
    start, end = _at_fault(text, message)
    at = max(0, start - LONGEST // 2) if start > LONGEST - 200 else 0
    start, end, text = start - at, end - at, text[at : at + LONGEST]
    raw = seen(text)
    if start >= 0:
        raw = seen(text[:start]) + Markup("<mark>{}</mark>").format(seen(text[start:end] or "⏎")) + seen(text[end:])
    laid_out = "" if cut or room.left <= 0 else _laid_out(text, delivery.query)
    return Body(raw, seen(laid_out) if laid_out else None, seen(other) if other else None, cut or room.left <= 0)


def _at_fault(text: str, message: str) -> tuple[int, int]:
    """(from, to) of the fragment that a refusal speaks of, (-1, -1) where it speaks of none."""
    place = re.search(r"строка (\d{1,7}), столбец (\d{1,7})", message)
    if place:
        lines = text.split("\n")
        line, column = int(place[1]) - 1, int(place[2]) - 1
        if line < len(lines):
            start = min(sum(len(before) + 1 for before in lines[:line]) + column, len(text))
            word = re.compile(r'\s*("[^"\n]{0,60}"?|[^\s",:{}\[\]]{1,60}|.)', re.DOTALL).match(text, start)
            return start, word.end() if word else start
    key = re.search(r"(?:ключ|параметр) (\w{1,40})", message)
    if key:
        field = re.search(rf'"?\b{re.escape(key[1])}\b"?\s*[:=]\s*[^,&}}\n]{{0,200}}', text, re.IGNORECASE)
        if field:
            return field.span()
    return -1, -1


def _laid_out(text: str, query: str) -> str:
    """JSON with indents, a form one field a line; "" where it would look as it came. The beginning alone where the indents
    of deep brackets make much of it."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            pieces = json.JSONEncoder(ensure_ascii=False, indent=2).iterencode(json.loads(text))
            laid, size = [], 0
            while size < 2 * LONGEST and (piece := next(pieces, "")):
                laid.append(piece)
                size += len(piece)
        except (ValueError, RecursionError):
            return ""
        found = "".join(laid) + "…" * (size >= 2 * LONGEST)
    else:
        pairs = parse_qsl(text or query, keep_blank_values=True, errors="replace", max_num_fields=None)
        found = "\n".join(f"{name} = {value}" for name, value in pairs)
    return found if found != text.strip() else ""
