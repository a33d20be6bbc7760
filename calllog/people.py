"""Who is who among a call's employees: told by number here, by extension or id there, one employee is one person."""

from collections.abc import Sequence

from schemas.event import CallEvent

Person = list[str]  # number, extension, id, name as written; each may be empty

_NAMES = ("number", "ext", "id")


class People:
    """The employees that a call's events name. Whoever shares a number, an extension or an id is one person; two numbers
    are two people, and an extension that both have is the later one's."""

    def __init__(self, events: Sequence[CallEvent]) -> None:
        self.known: dict[tuple[str, str], Person] = {}
        told = {(e.employee_number, e.employee_ext, one_id(e)): None for e in events}  # as a set, in order
        told.pop(("", "", ""), None)
        for names in sorted(told, key=lambda names: (not names[0], names.count(""))) if len(told) > 1 else told:
            self.person(*names)  # the fullest first
        for event in events:
            if event.employee_name and (person := self.of(event)):
                person[3] = event.employee_name

    def of(self, event: CallEvent) -> Person | None:
        """Whom the event names; of several ids it names nobody alone."""
        for what, name in zip(_NAMES, (event.employee_number, event.employee_ext, one_id(event)), strict=True):
            if name:
                return self.known[what, name]
        return None

    def person(self, number: str = "", ext: str = "", id: str = "") -> Person | None:
        """The person with one of these names, the number's before the others'; None where all are empty."""
        names = [(what, name) for what, name in zip(_NAMES, (number, ext, id), strict=True) if name]
        if not names:
            return None
        sought = names[:1] if number else names
        person = next((self.known[name] for name in sought if name in self.known), None) or ["", "", "", ""]
        for what, name in names:
            place = _NAMES.index(what)
            person[place] = person[place] or name
            if number or (what, name) not in self.known:
                self.known[what, name] = person
        return person


def one_id(event: CallEvent) -> str:
    """The id of the event's employee; of several nobody knows whose it is."""
    return "" if "," in event.employee_ids else event.employee_ids


def key(person: Person) -> str:
    """A person's leg_key: the number, else the extension, else the id."""
    return person[0] or person[1] or person[2]
