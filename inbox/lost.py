"""Dead letters that may be calls which the call log lacks: whose number stands in a body that nobody can understand."""

import re
from typing import NamedTuple
from urllib.parse import unquote_plus

import schemas
from inbox.deliveries import DEAD
from inbox.file import InboxFile
from schemas.fields import phone
from schemas.reading import canonical

MOST = 200  # dead letters that are looked at: the newest
_PAIR = re.compile(r"""["']?([A-Za-z_]{4,40})["']?\s*[:=]\s*["']{0,2}([^"',&\r\n}]{1,128})""")
# Providers' keys, by their letters alone: whose call it is, the likeliest first; which call; which way it goes.
CLIENT = ("contactphonenumber", "callingphonenumber", "caller", "numbera", "phone")
CALL_ID = ("callsessionid", "sessionid", "h323confid", "callid")


class Lost(NamedTuple):
    """A dead letter that may be a call: of which provider, when it came (milliseconds), the client's number, and what may
    be the provider's id of the call ("" if there is none)."""

    id: int
    provider: str
    received_at: int
    client_number: str
    provider_call_id: str


def lost(file: InboxFile, since: int) -> list[Lost]:
    """The newest dead letters since then in which a client's number stands; not of calls outward."""
    feeds = schemas.feeds()
    rows = file.connection().execute(
        "SELECT id, feed, received_at, query, substr(body, 1, 4000) FROM deliveries INDEXED BY deliveries_dead "
        f"WHERE state = '{DEAD}' AND received_at >= ? ORDER BY id DESC LIMIT ?",
        (since, MOST),
    )
    found = []
    for id, feed, at, query, body in rows:
        told = _told(f"{query}&{(body or b'').decode('utf-8', 'replace')}")
        number = next((phone(told[key]) for key in CLIENT if _is_number(told.get(key, ""))), "")
        if number and feed in feeds and not told.get("direction", told.get("type", "")).lower().startswith("out"):
            call_id = next((told[key] for key in CALL_ID if key in told), "")
            found.append(Lost(id, feeds[feed].provider, at, number, call_id))
    return found


def _told(text: str) -> dict[str, str]:
    """Key -> value of whatever looks like a pair, the first of each key."""
    found: dict[str, str] = {}
    for key, value in _PAIR.findall(text):
        found.setdefault(canonical(key), unquote_plus(value).strip().strip("\"'"))
    return found


def _is_number(text: str) -> bool:
    return 7 <= sum(one.isdigit() for one in text) <= 15 and not any(one.isalpha() for one in text)
