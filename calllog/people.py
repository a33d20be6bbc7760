"""Who is who among a call's employees: told by number here, by extension or id there, one employee is one person."""

from collections.abc import Sequence

from schemas import event as words
from schemas.event import CallEvent

Person = list[str]  # number, extension, id, name as written; each may be empty


class People:
    """The employees that a call's events name. Whoever shares a number, an extension or an id is one person; two numbers
    are two people, and an extension that both have is the later one's."""

    def __init__(self, events: Sequence[CallEvent]) -> None:
        self.known: dict[tuple[str, str], Person] = {}
        told = {
            (e.employee_number, e.employee_ext, one_id(e)): None for e in events if names_anybody(e)
        }  # a set, in order
        for names in sorted(told, key=_fullest) if len(told) > 1 else told:
            self.person(*names)
        for event in events:
            if event.talker_id and not event.employee_ids:
                self._tie(event, events)
            if event.employee_name and (person := self.of(event) or self.by_id(event.talker_id)):
                person[3] = event.employee_name

    def _tie(self, event: CallEvent, events: Sequence[CallEvent]) -> None:
        """The id of who talked last is that of the employee whom the event names, where no other one talked."""
        person, called = self.of(event), ("id", event.talker_id)
        if person is None or person[2] or called in self.known:
            return
        if all(self.of(e) in (None, person) for e in events if e.kind in words.OF_A_TALK or e.kind in words.REAL_ENDS):
            person[2], self.known[called] = event.talker_id, person

    def of(self, event: CallEvent) -> Person | None:
        """Whom the event names; of several ids it names nobody alone."""
        if event.employee_number:
            return self.known["number", event.employee_number]
        if event.employee_ext:
            return self.known["ext", event.employee_ext]
        id = one_id(event)
        return self.known["id", id] if id else None

    def by_id(self, id: str) -> Person | None:
        """The person with this id; None where it is empty."""
        return self.person(id=id)

    def person(self, number: str = "", ext: str = "", id: str = "") -> Person | None:
        """The person with one of these names, the number's before the others'; None where all are empty."""
        parts = (0, "number", number), (1, "ext", ext), (2, "id", id)
        called = [part for part in parts if part[2]]
        if not called:
            return None
        person = None
        for _, what, name in called[:1] if number else called:
            person = person or self.known.get((what, name))
        person = person or ["", "", "", ""]
        for place, what, name in called:
            person[place] = person[place] or name
            if number or (what, name) not in self.known:
                self.known[what, name] = person
        return person


def names_anybody(event: CallEvent) -> bool:
    """Whether the event names an employee, or several."""
    return bool(event.employee_number or event.employee_ext or event.employee_ids)


def _fullest(names: tuple[str, str, str]) -> tuple[bool, int]:
    return not names[0], names.count("")


def one_id(event: CallEvent) -> str:
    """The id of the event's employee; of several nobody knows whose it is."""
    return "" if "," in event.employee_ids else event.employee_ids


def key(person: Person) -> str:
    """A person's leg_key: the number, else the extension, else the id."""
    return person[0] or person[1] or person[2]
