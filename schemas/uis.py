"""UIS (also CoMagic, Novofon 2.0, CallGear): the notifications that a 1C base took at /hs/UIScom/in, /out and /rec.

The document is the template of a public 1C configuration, quoted here as «seed»; what it says and what was seen in real
bodies is in docs/feeds/uis.md. The template is free text that owners edit, so what happened is decided from the route,
the mnemonic where it is one we know, the direction, and which keys have values; never from the notification's name.
"""

import csv
from dataclasses import dataclass
from datetime import tzinfo
from functools import cache
from pathlib import Path
from typing import Any

from schemas import event as words
from schemas.attributes import attributes
from schemas.event import CallEvent, Recording
from schemas.fields import (
    CallId,
    FeedSchema,
    Flag,
    Moment,
    Seconds,
    Text,
    Texts,
    ascii_url,
    joined,
    load,
    milliseconds,
    phone,
)
from schemas.reading import Delivery, Fields, Form, Ignored, Refusal, read, sha256

PROVIDER = "uis"
FORM = Form(body="«JSON для тела запроса»", url="«URL»", call_id="call_session_id", template=True)
SAMPLE_CALL_ID = "187020303"  # the account page's test button sends this call, with phones and dates of 2016
WAV = "https://app.uiscom.ru/system/media/wav/{}/{}/"  # seen in real bodies

DIRECTION = {"in": "in", "incoming": "in", "входящий": "in", "out": "out", "outgoing": "out", "исходящий": "out"}

# Names seen in public integrations of this platform (its own list is not public); a mnemonic that is not here decides
# nothing, and the route and the keys do.
KIND_OF_MNEMONIC = {
    "incallsession": words.RINGING,
    "outcallsession": words.RINGING,
    "callconnected": words.ANSWERED,
    "callsessionfinished": words.ENDED,
    "lostcall": words.LOST,
    "lostcallsession": words.LOST,
}

# Notifications of the same account page that are not about a call, by the keys that only they have.
NOT_A_CALL = {
    "chatid": "чат",
    "messageid": "чат",
    "offlinemessageid": "заявка",
    "balance": "баланс",
    "goalid": "достижение цели",
}


class Identity(FeedSchema):
    """What must be there."""

    call_session_id = CallId(data_key="callsessionid")


class Schema(Identity):
    """What UIS's placeholders render to. Every value may come as text, number or JSON text in quotes."""

    notification_mnemonic = Text(64, data_key="notificationmnemonic")
    notification_name = Text(255, data_key="notificationname")
    notification_time = Moment(data_key="notificationtime")
    notification_timestamp = Moment(data_key="notificationtimestamp")
    direction = Text(16)
    is_internal = Flag(data_key="isinternal")
    start_time = Moment(data_key="starttime")
    finish_time = Moment(data_key="finishtime")
    virtual_phone_number = Text(64, data_key="virtualphonenumber")
    calling_phone_number = Text(64, data_key="callingphonenumber")
    called_phone_number = Text(64, data_key="calledphonenumber")
    contact_phone_number = Text(64, data_key="contactphonenumber")
    employee_phone_number = Text(64, data_key="employeephonenumber")
    extension_phone_number = Text(32, data_key="extensionphonenumber")
    employee_ids = Texts(data_key="employeeids")
    employee_id = Texts(data_key="employeeid")
    contact_id = Text(64, data_key="contactid")
    contact_full_name = Text(255, data_key="contactfullname")
    scenario_name = Text(255, data_key="scenarioname")
    call_source = Text(64, data_key="callsource")
    external_id = Text(128, data_key="externalid")
    app_id = Text(64, data_key="appid")
    communication_id = Text(64, data_key="communicationid")
    total_time_duration = Seconds(data_key="totaltimeduration")
    wait_time_duration = Seconds(data_key="waittimeduration")
    talk_time_duration = Seconds(data_key="talktimeduration")
    finish_reason = Text(255, data_key="finishreason")
    is_lost = Flag(data_key="islost")
    lost_reason = Text(255, data_key="lostreason")
    full_record_file_link = Text(1024, data_key="fullrecordfilelink")
    wav_call_records = Texts(data_key="wavcallrecords")
    file_link = Text(1024, data_key="filelink")
    file_duration = Seconds(data_key="fileduration")
    leg_id = Text(64, data_key="legid")
    employee_full_name = Text(255, data_key="employeefullname")


IDENTITY, SCHEMA = Identity(), Schema()
_SPELLING = {field.data_key or name: name for name, field in SCHEMA.fields.items()} | {
    name.replace("_", ""): name
    for name in """
    communication_type contact_group_ids cpn_region_id cpn_region_name scenario_id tp_project visitor_country
    """.split()  # placeholders without a column; the Mgerm template has lost their underscores
}
_NO_COLUMN = frozenset({"communicationid", "lostreason"})  # read here, and kept as attributes too


def recognise(delivery: Delivery) -> Fields:
    """The fields of a notification of a call; see schemas.recognise."""
    try:
        sent = read(delivery, FORM)
        return _call(sent)
    except Refusal as refusal:
        if delivery.method == "GET":  # the account page's preset: the template is not sent at all
            message = f"Уведомление пришло методом GET: выберите «Метод» — POST. {refusal.message}"
            raise Refusal(refusal.status, refusal.code, message) from None
        raise


def _call(sent: Fields) -> Fields:
    try:
        said = load(IDENTITY, sent, _refuse)
    except Refusal:
        for key, what in NOT_A_CALL.items():
            if key in sent:
                message = f"Уведомление не о звонке ({what}): принято, в журнал звонков не попадёт."
                raise Ignored("not_a_call", message) from None
        raise
    if said["call_session_id"] == SAMPLE_CALL_ID:
        raise Ignored(
            "test",
            f"Тестовое уведомление UIS получено, настройка верна. Полей со значениями: {len(sent.paths)} "
            f"({', '.join(_spelled(path) for path, _ in sent.paths[:40])}).",
        )
    return sent


def _spelled(path: str) -> str:
    """A canonical key as the template has it."""
    return _SPELLING.get(path, path)


def understand(delivery: Delivery, zone: tzinfo) -> CallEvent:
    """A UIS notification (routes in, out, rec; ended for mgerm) in our words; see schemas.understand."""
    sent = recognise(delivery)
    return _event(delivery, zone, sent, load(SCHEMA, sent, _refuse))


def _refuse(field: str, what: str) -> Refusal:
    if what == "too_long":
        return Refusal(
            422,
            "bad_call_id",
            f"Номер сессии звонка (ключ call_session_id) длиннее {CallId.longest} знаков: это не он. Проверьте строку "
            f'"call_session_id":{{{{call_session_id}}}} в поле {FORM.body}.',
        )
    return Refusal(
        422,
        "no_call_id",
        "Нет номера сессии звонка: ключ call_session_id отсутствует или пуст. Добавьте строку "
        f'"call_session_id":{{{{call_session_id}}}} (без кавычек вокруг {{{{…}}}}) в поле {FORM.body} уведомления.',
    )


def _event(delivery: Delivery, zone: tzinfo, sent: Fields, said: dict[str, Any]) -> CallEvent:
    kind = _kind(delivery.route, said)
    direction = _direction(delivery.route, kind, said)
    calling, called = said["calling_phone_number"], said["called_phone_number"]
    client = said["contact_phone_number"] or {"in": calling, "out": called}.get(direction, "")
    if direction == "internal":
        client = ""
    lost = _lost(kind, said)
    reason, hangup_by = _reason(kind, said)
    start, finish = milliseconds(said["start_time"], zone), milliseconds(said["finish_time"], zone)
    if start is not None and finish is not None and finish < start - 999:  # one may have milliseconds, the other not
        finish = None
    noted = milliseconds(said["notification_time"] or said["notification_timestamp"], zone)
    employee_number, employee_ext = phone(said["employee_phone_number"]), said["extension_phone_number"]
    return CallEvent(
        feed=delivery.feed,
        provider=PROVIDER,
        provider_call_id=said["call_session_id"],
        kind=kind,
        event_key=sent.event_key(PROVIDER),
        received_at=delivery.received_at,
        occurred_at=noted if noted is not None else start if kind == words.RINGING else finish,
        account=said["app_id"],
        direction=direction,
        client_number=phone(client),
        line_number=phone(said["virtual_phone_number"]),
        leg_key=(employee_number or employee_ext) if direction == "in" else "",
        employee_number=employee_number,
        employee_ext=employee_ext,
        employee_ids=joined(said["employee_ids"] or said["employee_id"]),
        caller_raw=calling,
        called_raw=called,
        client_name=said["contact_full_name"],
        provider_contact_id=said["contact_id"],
        scenario_name=said["scenario_name"],
        started_at=start,
        answered_at=noted if kind == words.ANSWERED else None,
        ended_at=finish,
        wait_seconds=said["wait_time_duration"],
        talk_seconds=said["talk_time_duration"],
        total_seconds=said["total_time_duration"],
        answered=_answered(kind, lost, said),
        lost=lost,
        reason=reason,
        reason_raw=said["finish_reason"] or said["lost_reason"],
        hangup_by=hangup_by,
        recordings=_recordings(said),
        call_source=said["call_source"],
        external_id=said["external_id"],
        notification_name=said["notification_name"],
        employee_name=said["employee_full_name"],
        attributes=attributes(sent, SCHEMA, _SPELLING, _NO_COLUMN),
    )


def _kind(route: str, said: dict[str, Any]) -> str:
    """What happened. The seed's templates differ by which keys they have, so the keys that have values decide."""
    known = KIND_OF_MNEMONIC.get("".join(filter(str.isalnum, said["notification_mnemonic"])).lower())
    if known:
        return known
    if (said["file_link"] or said["file_duration"] is not None) and said["is_lost"] is None:
        return words.RECORDING  # «Записанный разговор»
    if route in ("rec", "ended"):
        return words.ENDED  # «Завершение звонка», also with keys left out
    employee = said["employee_phone_number"] or said["extension_phone_number"]
    finished = (
        said["finish_time"] is not None
        or said["finish_reason"]
        or said["total_time_duration"] is not None
        or (said["wait_time_duration"] is not None and not employee)  # a public «Lost call» template has only this one
    )
    if said["is_lost"] is not None:
        return words.ENDED  # only «Завершение звонка» has is_lost: it was pointed at the wrong URL
    if finished or said["lost_reason"]:
        # «Потерянный звонок» goes to /in, for outgoing calls too, and has neither is_lost nor a talk
        return words.ENDED if said["talk_time_duration"] else words.LOST
    if said["talk_time_duration"] is not None:
        return words.TALK_ENDED  # «Завершение разговора»: the call may go on
    if said["leg_id"]:
        return words.LEG_RINGING  # «Ожидание ответа»
    if route == "in" and employee:
        return words.ANSWERED  # «Начало разговора»: «Входящий звонок» has no employee yet
    return words.RINGING


def _direction(route: str, kind: str, said: dict[str, Any]) -> str:
    """`direction` in the body wins over the URL: the "lost" notice goes to /in for outgoing calls too [seed]."""
    if said["is_internal"]:
        return "internal"
    told = DIRECTION.get(said["direction"].lower().split(" ")[0])
    if told:
        return told
    if kind in (words.RINGING, words.ANSWERED, words.LEG_RINGING):
        return {"in": "in", "out": "out"}.get(route, "")
    return ""


def _lost(kind: str, said: dict[str, Any]) -> bool | None:
    """`is_lost` true, a non-null `lost_reason`, or the lost event itself = lost (docs/feeds/uis.md)."""
    is_lost: bool | None = said["is_lost"]
    return True if said["lost_reason"] or kind == words.LOST else is_lost


def _answered(kind: str, lost: bool | None, said: dict[str, Any]) -> bool | None:
    """Whether anybody talked (docs/feeds/uis.md); None where the body does not tell.

    The menu's time counts in total, so total > wait proves a talk only where UIS itself says "not lost".
    """
    total, wait, talk = said["total_time_duration"], said["wait_time_duration"], said["talk_time_duration"]
    if kind in (words.ANSWERED, words.TALK_ENDED) or talk:
        return True
    if lost or (talk == 0 and lost is None):
        return False
    if total is None or wait is None:
        return None
    if lost is False and total > wait:
        return True
    # total = wait and "not lost": a second's talk is rounded away, so only a reason that excludes a talk tells
    reason = reasons().get(said["finish_reason"].lower())
    return False if reason and reason.reason not in ("normal", "unknown") and total <= wait else None


@dataclass(frozen=True, slots=True)
class FinishReason:
    """A `finish_reason`: its Russian text at UIS, our reason, and who hung up where it says."""

    text: str
    reason: str
    hangup_by: str


@cache
def reasons() -> dict[str, FinishReason]:
    """UIS's end reasons by mnemonic, from uis_reasons.tsv beside this file. An open list: others are `unknown`."""
    with (Path(__file__).parent / "uis_reasons.tsv").open(encoding="utf-8", newline="") as lines:
        return {
            row["mnemonic"]: FinishReason(row["text"], row["reason"], row["hangup_by"] or "")
            for row in csv.DictReader(lines, delimiter="\t")
        }


def _reason(kind: str, said: dict[str, Any]) -> tuple[str, str]:
    """Our reason and who hung up. Where `finish_reason` does not say who, the document does: the lost event is dropped
    by the client, a `lost_reason` on «Завершение звонка» is «потерянный звонок, сброшен Оператором!» [seed]."""
    if not said["finish_reason"] and not said["lost_reason"] and kind not in words.REAL_ENDS:
        return "", ""
    known = reasons().get(said["finish_reason"].lower())
    reason = known.reason if known else "unknown" if said["finish_reason"] else ""
    hangup_by = known.hangup_by if known else ""
    if not hangup_by:
        hangup_by = "client" if kind == words.LOST else "employee" if said["lost_reason"] else ""
    return reason, hangup_by


def _recordings(said: dict[str, Any]) -> tuple[Recording, ...]:
    found: dict[str, Recording] = {}
    for url, seconds in ((said["file_link"], said["file_duration"]), (said["full_record_file_link"], None)):
        if url.startswith(("http://", "https://")):
            url = ascii_url(url)
            found.setdefault(sha256(url), Recording("full", sha256(url), url, "", seconds))
    communication = said["communication_id"]
    for record in said["wav_call_records"][:30]:  # a call of more legs than that is no call, and the payload is a TEXT
        if record.startswith(("http://", "https://")):
            url = ascii_url(record)
            found.setdefault(sha256(url), Recording("leg", sha256(url), url))
        elif record != "file.wav":  # the test button's sample
            url = WAV.format(communication, record) if communication and len(record) <= 128 else ""
            found.setdefault(sha256(record), Recording("leg", sha256(record), url, record[:64]))
    return tuple(found.values())


# ------------------------------------------------------------------------------------------- what `feeds show` prints


ADDRESS = "/hs/UIScom/{}"
