"""Recordings are links only to hosts that their provider is known to use: whoever has a feed's key can send any address.

Known are the domains that the feed's module declares, those of <FEED>_RECORDING_HOSTS, the host of <FEED>_URL, and one
that a person has confirmed on the operator page. A link elsewhere is kept as text, in call_attributes.
"""

import logging
from collections.abc import Iterable

import schemas
from config import Settings
from inbox import FORWARDED, Inbox
from schemas.event import CallEvent
from schemas.fields import host_of, is_of

log = logging.getLogger("connector.inbox")

ELSEWHERE = "recording_elsewhere"  # the name of the attribute
REPLAYED = 10_000  # deliveries that a confirmation looks through


def known_hosts(settings: Settings, inbox: Inbox, feed: str) -> tuple[str, ...]:
    """The domains that this feed's recordings may be at."""
    if feed not in settings.feeds:
        return ()
    own = host_of(getattr(settings, f"{feed}_url", ""))
    found = (
        *schemas.feeds()[feed].recording_hosts,
        *settings.feeds[feed].recording_hosts,
        own,
        inbox.fact(f"recordings_confirmed:{feed}"),
    )
    return tuple(filter(None, found))


def hosts_of_provider(settings: Settings, inbox: Inbox, provider: str) -> tuple[str, ...]:
    """Those of all its feeds."""
    names = [name for name, feed in schemas.feeds().items() if feed.provider == provider]
    return tuple(host for name in names for host in known_hosts(settings, inbox, name))


def with_known_links(event: CallEvent, settings: Settings, inbox: Inbox) -> CallEvent:
    """The event, its recordings at other hosts without an address and their addresses as an attribute. Where the feed has
    no known host at all, the first one is proposed on the page."""
    if not any(recording.url for recording in event.recordings):
        return event
    known = known_hosts(settings, inbox, event.feed)
    elsewhere = [r.url for r in event.recordings if r.url and not is_of(host_of(r.url), known)]
    if not elsewhere:
        return event
    log.warning("%s: a recording is kept as text, its host %r is not known", event.feed, host_of(elsewhere[0])[:100])
    if not known and host_of(elsewhere[0]) and not inbox.fact(f"recordings_seen:{event.feed}"):
        inbox.remember(**{f"recordings_seen:{event.feed}": host_of(elsewhere[0])})
    return event._replace(
        recordings=tuple(r._replace(url="") if r.url in elsewhere else r for r in event.recordings),
        attributes=(*event.attributes, (ELSEWHERE, ", ".join(elsewhere)[:1024])),
    )


def proposed(settings: Settings, inbox: Inbox, feeds: Iterable[str]) -> dict[str, str]:
    """Feed -> the first host of its recordings that was seen while none was known."""
    seen = {feed: inbox.fact(f"recordings_seen:{feed}") for feed in feeds}
    return {feed: host for feed, host in seen.items() if host and not known_hosts(settings, inbox, feed)}


def confirm(inbox: Inbox, feed: str, host: str) -> int:
    """Recordings of the feed at this host are links from now on; returns how many notifications that had such a link are
    understood again."""
    inbox.remember(**{f"recordings_confirmed:{feed}": host})
    stored = inbox.deliveries(FORWARDED, feed, limit=REPLAYED)
    ids = [one.delivery.id for one in stored if host.encode() in one.delivery.body + one.delivery.query.encode()]
    return sum(inbox.replay(ids[at : at + 500]) for at in range(0, len(ids), 500))
