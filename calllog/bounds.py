"""How much a call may have. What is beyond is a dead letter: a constant call id, or one made to harm, must not make every
batch read and write all of it. Within the bounds the order of arrival does not matter."""

from schemas.event import CallEvent

MOST_EVENTS, MOST_RECORDINGS, MOST_PARTIES = 1000, 200, 500  # parties: legs are made of extensions, numbers and ids
MOST_CALL_TEXT = 2_000_000  # characters of its payloads
MOST_PAYLOAD = 65_535  # bytes: the column is a TEXT

# Why an event is beyond what its call may have: the reason of its dead letter, and how its sentence begins.
BEYOND = {
    "too_many_events": f"Больше {MOST_EVENTS} событий в одном звонке",
    "too_many_recordings": f"Больше {MOST_RECORDINGS} записей у одного звонка",
    "too_many_legs": f"Больше {MOST_PARTIES} участников в одном звонке",
    "call_too_large": f"Больше {MOST_CALL_TEXT} знаков в событиях одного звонка",
    "event_too_large": f"Событие больше {MOST_PAYLOAD} байт: в журнал оно не помещается. Звонок",
}


class Size:
    """How much of what is bounded a call has."""

    def __init__(self) -> None:
        self.events = self.text = 0
        self.recordings: set[str] = set()
        self.parties: set[str] = set()

    def add(self, event: CallEvent, text: int) -> None:
        """Count an event whose payload has so many characters."""
        self.events += 1
        self.text += text
        self.recordings.update(recording.url_hash for recording in event.recordings)
        self.parties |= _parties(event)

    def beyond(self, event: CallEvent, payload: str) -> str:
        """Why the call may not have this event too, "" where it may."""
        hashes = {recording.url_hash for recording in event.recordings}
        if self.events >= MOST_EVENTS:
            return "too_many_events"
        if len(payload) > MOST_PAYLOAD // 4 and len(payload.encode(errors="replace")) > MOST_PAYLOAD:
            return "event_too_large"
        if hashes and len(self.recordings | hashes) > MOST_RECORDINGS:
            return "too_many_recordings"
        if len(self.parties | _parties(event)) > MOST_PARTIES:
            return "too_many_legs"
        return "call_too_large" if self.text + len(payload) > MOST_CALL_TEXT else ""


def _parties(event: CallEvent) -> set[str]:
    """Whatever of the event a leg can be made of."""
    ids = f"{event.employee_ids},{event.talker_id}".split(",") if event.employee_ids or event.talker_id else ()
    return {event.leg_key, event.employee_number, event.employee_ext, *ids} - {""}
