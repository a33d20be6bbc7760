"""What came from outside, as a person can see it: invisible characters made visible, the fragment at fault marked. Pure."""

import json
import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from markupsafe import Markup, escape

from schemas.reading import Delivery

LONGEST = 20_000  # characters of a body that a page shows; `flask inbox show` has the rest
PREVIEW = 120

# Controls, format characters (zero-width, right-to-left), lone surrogates and separators: unseen, or moving what is seen.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"})
_PLAIN = frozenset("\n\t")


def seen(text: object) -> Markup:
    """Escaped text in which each invisible character is shown as its code: ‹U+202E›."""
    shown = str(escape(str(text))).replace("\r\n", "\n")
    codes = {
        ord(character): f'<span class="unseen">‹U+{ord(character):04X}›</span>'
        for character in set(shown)
        if character not in _PLAIN and unicodedata.category(character) in _UNSEEN
    }
    return Markup(shown.translate(codes))  # noqa: S704 - escaped above; what is put in is ours


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


def body(delivery: Delivery, message: str = "") -> Body:
    """What came; `message` is the refusal's sentence, which says where to look."""
    other = None
    try:
        text = delivery.body.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = delivery.body.decode("utf-8", "backslashreplace")
        other = seen(delivery.body.decode("cp1251", "replace")[:LONGEST])
    cut = len(text) > LONGEST
    start, end = _at_fault(text, message)
    at = max(0, start - LONGEST // 2) if start > LONGEST - 200 else 0
    start, end, text = start - at, end - at, text[at : at + LONGEST]
    raw = seen(text)
    if start >= 0:
        raw = seen(text[:start]) + Markup("<mark>{}</mark>").format(seen(text[start:end] or "⏎")) + seen(text[end:])
    return Body(raw, None if cut else _laid_out(text, delivery.query), other, cut)


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


def _laid_out(text: str, query: str) -> Markup | None:
    """JSON with indents, a form one field a line; None where it would look as it came."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError):
            return None
        laid = json.dumps(parsed, ensure_ascii=False, indent=2)
    else:
        pairs = parse_qsl(text or query, keep_blank_values=True, errors="replace", max_num_fields=None)
        laid = "\n".join(f"{name} = {value}" for name, value in pairs)
    return seen(laid) if laid and laid != text.strip() else None
