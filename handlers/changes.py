"""GET /api/changes: changed calls, for a card that opens while the phone rings. 1C's clients ask every few seconds."""

from typing import Any

from flask import Blueprint, Response, request

from calllog.asking import QUEUE_SECONDS, Away
from calllog.changes import HIGHEST, PARTS, Changes, parts
from handlers.access import api_refusal
from handlers.answers import answer, call_log_away, connector, plain, refusal, whole
from handlers.webhook import log
from models import Calls, columns

bp = Blueprint("changes", __name__)

MOST, MOST_NAMES = 500, 20
COLUMNS = columns(Calls)
ALWAYS = ("id", "change_no", "legs", "for_you", "closed_for_you")


@bp.get("/api/changes")
def changed() -> Response:
    """`after`: a change_no; `ext`: extensions or numbers of a workplace; `limit`: 500 at most; `columns`: of calls, all
    unless they are named; `with`: legs (unless told otherwise), recordings, attributes, events. 503 while the call log
    is away."""
    stranger = api_refusal()
    if stranger is not None:
        return stranger
    after, limit = whole("after", 0, 0, HIGHEST), whole("limit", MOST, 1, MOST)
    names, chosen, wanted = _listed("ext"), _listed("columns"), _listed("with")
    wrong = _wrong(after, limit, names, chosen, wanted)
    if wrong or after is None or limit is None:
        return refusal(422, "bad_field", wrong)
    try:
        found = connector().latest_changes.after(after, names, limit)
        calls = _calls(found, chosen, wanted if "with" in request.args else ["legs"])
    except Away as why:
        log.debug("changes: %s", why)
        return call_log_away()
    body = {"position": found.position, "more": found.more, "calls": calls}
    return answer(200, {**body, "not_yours": list(found.others)} if names else body)


def _listed(name: str) -> list[str]:
    """The values of a parameter, several with commas or as several parameters."""
    given = request.args.getlist(name)
    return [value.strip()[:32] for several in given for value in several.split(",") if value.strip()]


def _wrong(after: int | None, limit: int | None, names: list[str], chosen: list[str], wanted: list[str]) -> str:
    """What is wrong with the parameters; empty when nothing is."""
    if after is None:
        return "Параметр after — это change_no последнего прочитанного звонка, целое число от 0."
    if limit is None:
        return f"Параметр limit — целое число от 1 до {MOST}."
    if len(names) > MOST_NAMES:
        return f"Параметр ext — не больше {MOST_NAMES} добавочных или номеров через запятую."
    for value in chosen:
        if value not in COLUMNS:
            return f"Параметр columns: колонки {value} в calls нет."
    for value in wanted:
        if value != "legs" and value not in PARTS:
            return f"Параметр with: {value} не бывает, есть legs, {', '.join(PARTS)}."
    return ""


def _calls(found: Changes, chosen: list[str], wanted: list[str]) -> list[dict[str, Any]]:
    """The calls with the columns and parts that are wanted, as JSON has them. Raises Away."""
    more = [name for name in PARTS if name in wanted]
    ids = [call["id"] for call in found.calls]
    of = connector().desk.ask(parts, more, ids, queue=QUEUE_SECONDS) if more and ids else {}
    shown = {*ALWAYS, *(chosen or COLUMNS)} - ({"legs"} if "legs" not in wanted else set())
    return [
        {name: plain(value) for name, value in {**call, **of.get(call["id"], {})}.items() if name in shown | {*more}}
        for call in found.calls
    ]
