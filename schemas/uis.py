"""UIS (also CoMagic, Novofon 2.0, CallGear): the notifications that a 1C base took at /hs/UIScom/in, /out and /rec.

The document is the template of a public 1C configuration, quoted here as «seed»; what it says and what was seen in real
bodies is in docs/feeds/uis.md. The template is free text that owners edit, so what happened is decided from the route,
the mnemonic where it is one we know, the direction, and which keys have values; never from the notification's name.
"""

import csv
from dataclasses import dataclass
from datetime import tzinfo
from functools import cache, lru_cache
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
    SessionId,
    Text,
    Texts,
    ascii_url,
    joined,
    load,
    milliseconds,
    phone,
)
from schemas.reading import Delivery, Fields, Form, Ignored, Refusal, read, sha256, shown

PROVIDER = "uis"
FORM = Form(body="«JSON для тела запроса»", url="«URL»", call_id="call_session_id", template=True)
ADDRESS = "/hs/UIScom/{}"
SAMPLE_CALL_ID = "187020303"  # the account page's test button sends this call, with phones and dates of 2016
# Brands of one platform: app.uiscom.ru, app.comagic.ru, app.novofon.ru and app.callgear.ae are in public code beside
# /system/media/; media6.uiscom.ru was seen.
RECORDING_HOSTS = ("uiscom.ru", "comagic.ru", "novofon.ru", "novofon.com", "callgear.com", "callgear.ae")
MEDIA = "https://app.uiscom.ru/system/media/{}/{}/{}/"  # kind of record, communication_id, hash: seen in real bodies

# Keys of lists of recordings: (our kind, the kind of record in the address of a hash), the better ones last.
RECORDS = {
    "voice_mail_records": ("voice", "voice_mail"),
    "wav_call_records": ("leg", "wav"),
    "call_records": ("leg", "talk"),
    "record_file_links": ("leg", ""),
}

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

DIRECTION_OF_MNEMONIC = {"incallsession": "in", "outcallsession": "out"}

UNDEFINED = "неопределена"  # «Не определена», the text of a reason that says nothing
PLAIN = ("normal", "unknown")  # reasons that say no more than that the call ended
UNWANTED = ("numa_in_black_list", "numa_in_spam_list")  # nobody calls these callers back: never a missed call

# Notifications of the same account page that are not about a call, by the keys that only they have.
NOT_A_CALL = {
    "chatid": "чат",
    "messageid": "чат",
    "offlinemessageid": "заявка",
    "balance": "баланс",
    "goalid": "достижение цели",
}


# Keys that tell whose notification this is and nothing of the call.
NAMES_ONLY = frozenset({"callsessionid", "appid", "notificationname"})

# What the Data API posts after `upload.calls`: ext_id is the id of the call in the owner's own system.
UPLOAD = frozenset({"extid", "uploadid", "uploadstatus"})
OF_A_CALL = frozenset({
    "direction", "starttime", "finishtime", "callingphonenumber", "calledphonenumber", "contactphonenumber",
    "virtualphonenumber", "employeephonenumber", "totaltimeduration", "finishreason", "filelink",
})  # fmt: skip


class Identity(FeedSchema):
    """What must be there."""

    call_session_id = SessionId(data_key="callsessionid")


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
    last_talked_employee_id = Text(64, data_key="lasttalkedemployeeid")
    last_answered_employee_id = Text(64, data_key="lastansweredemployeeid")
    first_talked_employee_id = Text(64, data_key="firsttalkedemployeeid")
    last_talked_employee_full_name = Text(255, data_key="lasttalkedemployeefullname")
    last_answered_employee_full_name = Text(255, data_key="lastansweredemployeefullname")
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
    call_records = Texts(data_key="callrecords")
    record_file_links = Texts(data_key="recordfilelinks")
    voice_mail_records = Texts(data_key="voicemailrecords")
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
# Read here and without a column: kept as attributes too
_NO_COLUMN = frozenset({
    "communicationid", "lostreason", "legid", "notificationmnemonic", "firsttalkedemployeeid", "lasttalkedemployeefullname",
    "lastansweredemployeefullname",
})  # fmt: skip
_NAME_ALONE = _NO_COLUMN | {"employeefullname"}
_EMPLOYEE = (
    "employee_phone_number", "extension_phone_number", "employee_ids", "employee_id", "last_talked_employee_id",
    "last_answered_employee_id",
)  # fmt: skip


def recognise(delivery: Delivery) -> Fields:
    """The fields of a notification of a call; see schemas.recognise."""
    try:
        sent = read(delivery, FORM)
        return _call(sent, delivery.route)
    except Refusal as refusal:
        if delivery.method == "GET":  # the account page's preset: the template is not sent at all
            message = f"Уведомление пришло методом GET: выберите «Метод» — POST. {refusal.message}"
            raise Refusal(refusal.status, refusal.code, message) from None
        raise


def _call(sent: Fields, route: str) -> Fields:
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
            f"Тестовое уведомление UIS получено. Полей со значениями: {len(sent.paths)} "
            f"({', '.join(_spelled(path) for path, _ in sent.paths[:40])}).",
        )
    if sent.any_of(UPLOAD) and not sent.any_of(OF_A_CALL):
        raise Ignored(
            "upload", "Ответ на загрузку звонка через Data API (upload): принято, в журнал звонков не попадёт."
        )
    if (
        route in ("in", "out")
        and not sent.get("direction")
        and all(_names_only(key) or not sent.get(key) for key in sent)
    ):
        raise Ignored(
            "nothing_told",
            "Кроме номера сессии в уведомлении ничего нет: что случилось со звонком, неизвестно. Принято, в журнал звонков "
            f"не попадёт. Добавьте строки шаблона в поле {FORM.body}: страница «Настройка» или pbx-connector feeds show "
            "uis.",
        )
    return sent


def _names_only(key: str) -> bool:
    return key in NAMES_ONLY or "callsessionid".endswith(key) or key.endswith("callsessionid")  # the id, nested


def _spelled(path: str) -> str:
    """A canonical key as the template has it."""
    return _SPELLING.get(path, path)


def understand(delivery: Delivery, zone: tzinfo) -> CallEvent:
    """A UIS notification (routes in, out, rec; ended for mgerm) in our words; see schemas.understand."""
    sent = recognise(delivery)
    return _event(delivery, zone, sent, load(SCHEMA, sent, _refuse))


def _refuse(field: str, what: str) -> Refusal:
    what, _, sent = what.partition(":")
    line = (
        f'строка "{FORM.call_id}":{{{{{FORM.call_id}}}}} (без кавычек вокруг {{{{…}}}}) в поле {FORM.body} уведомления'
    )
    if what == "absent":
        return Refusal(
            422,
            "no_call_id",
            f"Нет номера сессии звонка: ключ {FORM.call_id} отсутствует или пуст. Нужна {line}.",
        )
    wrong = {
        "too_long": f"он длиннее {CallId.longest} знаков",
        "placeholder": f"«{shown(sent)}» — текст шаблона, значение в него не подставлено",
        "rounded": f"«{sent}» — округлённое число, цифры потеряны; передавайте его целым числом или строкой",
    }[what]
    return Refusal(422, "bad_call_id", f"В ключе {FORM.call_id} не номер сессии звонка: {wrong}. Нужна {line}.")


def _event(delivery: Delivery, zone: tzinfo, sent: Fields, said: dict[str, Any]) -> CallEvent:
    kind = _kind(delivery.route, said)
    direction, by_address = _direction(delivery.route, kind, said)
    calling, called = said["calling_phone_number"], said["called_phone_number"]
    client = said["contact_phone_number"] or {"in": calling, "out": called}.get("" if by_address else direction, "")
    known, reason = _reason(said)
    hangup_by, by_remark = _hangup_by(kind, known, said)
    answered, answered_by = _answered(kind, reason, said)
    start, finish = milliseconds(said["start_time"], zone), milliseconds(said["finish_time"], zone)
    if start is not None and finish is not None and finish < start - 999:  # one may have milliseconds, the other not
        finish = None
    noted = milliseconds(said["notification_time"] or said["notification_timestamp"], zone)
    of_a_leg = kind == words.LEG_RINGING  # its start_time is the call's: the leg rings when the notification is made
    employee_number, employee_ext = phone(said["employee_phone_number"]), said["extension_phone_number"]
    employee_ids, talker, employee_name = _employee(said)
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
        by_address=by_address or None,
        internal=said["is_internal"],
        client_number=phone(client) if direction != "internal" else "",
        line_number=phone(said["virtual_phone_number"]),
        leg_key=(employee_number or employee_ext) if direction == "in" else "",
        employee_number=employee_number,
        employee_ext=employee_ext,
        employee_ids=joined(employee_ids),
        talker_id=talker,
        caller_raw=calling,
        called_raw=called,
        client_name=said["contact_full_name"],
        provider_contact_id=said["contact_id"],
        scenario_name=said["scenario_name"],
        started_at=None if of_a_leg else start,
        call_started_at=start if of_a_leg else None,
        answered_at=noted if kind == words.ANSWERED else None,
        ended_at=None if of_a_leg else finish,
        wait_seconds=said["wait_time_duration"],
        talk_seconds=said["talk_time_duration"],
        total_seconds=said["total_time_duration"],
        answered=answered,
        answered_by=answered_by,
        lost=_lost(kind, said),
        reason=reason,
        reason_raw=said["finish_reason"] or said["lost_reason"],
        hangup_by=hangup_by,
        by_remark=by_remark or None,
        unwanted=True if known and known.mnemonic in UNWANTED else None,
        recordings=_recordings(said),
        call_source=said["call_source"],
        external_id=said["external_id"],
        notification_name=said["notification_name"],
        employee_name=employee_name,
        attributes=attributes(sent, SCHEMA, _SPELLING, _no_column(said)),
    )


def _kind(route: str, said: dict[str, Any]) -> str:
    """What happened. The seed's templates differ by which keys they have, so the keys that have values decide."""
    known = KIND_OF_MNEMONIC.get(_word(said["notification_mnemonic"]))
    if known:
        return known
    recorded = said["file_link"] or said["file_duration"] is not None or said["record_file_links"]
    if recorded and said["is_lost"] is None:
        return words.RECORDING  # «Записанный разговор»
    if route in ("rec", "ended"):
        return words.ENDED  # «Завершение звонка», also with keys left out
    employee = (
        said["employee_phone_number"] or said["extension_phone_number"] or said["employee_ids"] or said["employee_id"]
    )
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


def _direction(route: str, kind: str, said: dict[str, Any]) -> tuple[str, bool]:
    """(direction, whether the body does not say it and the address does). `direction` in the body wins over the URL: the
    "lost" notice goes to /in for outgoing calls too [seed], so of an end the address says nothing."""
    if said["is_internal"]:
        return "internal", False
    body = DIRECTION.get(said["direction"].lower().split(" ")[0])
    body = body or DIRECTION_OF_MNEMONIC.get(_word(said["notification_mnemonic"]), "")
    if body or kind not in (words.RINGING, words.ANSWERED, words.LEG_RINGING) or route not in ("in", "out"):
        return body, False
    return route, True


def _employee(said: dict[str, Any]) -> tuple[tuple[str, ...], str, str]:
    """(ids of the employees who took part, the id of who talked last, the employee's name). The name of who talked last
    stands for it where the body tells of nobody else."""
    first, last = said["first_talked_employee_id"], said["last_talked_employee_id"] or said["last_answered_employee_id"]
    ids = said["employee_ids"] or said["employee_id"]
    if not ids and first not in ("", last):
        ids = tuple(filter(None, (first, last)))
    talker = said["last_talked_employee_full_name"] or said["last_answered_employee_full_name"]
    return ids, last, said["employee_full_name"] or (talker if ids in ((), (last,)) else "")


def _no_column(said: dict[str, Any]) -> frozenset[str]:
    """What is also an attribute. An employee's name has a column where anything else tells of him."""
    return _NO_COLUMN if any(said[name] for name in _EMPLOYEE) else _NAME_ALONE


def _lost(kind: str, said: dict[str, Any]) -> bool | None:
    """`is_lost` true, a non-null `lost_reason`, or the lost event itself = lost (docs/feeds/uis.md); «Не определена» is no
    reason where `is_lost` is false."""
    is_lost: bool | None = said["is_lost"]
    if kind == words.LOST or _says_why(said) or (said["lost_reason"] and is_lost is None):
        return True
    return is_lost


def _says_why(said: dict[str, Any]) -> bool:
    """Whether `lost_reason` is a reason."""
    return bool(said["lost_reason"]) and _word(said["lost_reason"]) != UNDEFINED


def _answered(kind: str, reason: str, said: dict[str, Any]) -> tuple[bool | None, str]:
    """Whether anybody talked and what proves it, strongest first (docs/feeds/uis.md); None where the body does not tell.

    The menu's time counts in total, so total > wait proves a talk only where UIS itself says "not lost".
    """
    total, wait, talk = said["total_time_duration"], said["wait_time_duration"], said["talk_time_duration"]
    lost = _lost(kind, said)
    excluded = reason not in ("", *PLAIN, "answered_elsewhere")
    if kind == words.ANSWERED or talk:
        return True, ""
    if talk == 0 and kind != words.TALK_ENDED:
        return False, words.MENU if lost is False and not excluded else words.NO_TALK
    if lost:
        return False, words.LOST_CALL
    if lost is False and total is not None and wait is not None and total > wait:
        return True, words.LENGTHS
    return (False, words.EXCLUDED) if excluded else (None, "")


def _hangup_by(kind: str, known: "FinishReason | None", said: dict[str, Any]) -> tuple[str, bool]:
    """(who hung up, whether that is the document's remark): the lost event is dropped by the client, a `lost_reason` on
    «Завершение звонка» is «потерянный звонок, сброшен Оператором!» [seed]. Most reasons name neither side, and then nobody
    hung up; the remark counts where the reason is not known or says no more than that the call ended."""
    if known and (known.hangup_by or known.reason not in PLAIN):
        return known.hangup_by, False
    hangup_by = "client" if kind == words.LOST else "employee" if _says_why(said) else ""
    return hangup_by, bool(hangup_by)


@dataclass(frozen=True, slots=True)
class FinishReason:
    """A `finish_reason`: its Russian text at UIS, our reason, and who hung up where it says."""

    mnemonic: str
    text: str
    reason: str
    hangup_by: str


@cache
def reasons() -> dict[str, FinishReason]:
    """UIS's end reasons by mnemonic, from uis_reasons.tsv beside this file. An open list: others are `unknown`."""
    with (Path(__file__).parent / "uis_reasons.tsv").open(encoding="utf-8", newline="") as lines:
        return {
            row["mnemonic"]: FinishReason(row["mnemonic"], row["text"], row["reason"], row["hangup_by"] or "")
            for row in csv.DictReader(lines, delimiter="\t")
        }


@cache
def _reasons() -> dict[str, FinishReason | None]:
    """The same by mnemonic and by Russian text; «Не определена» says nothing."""
    by_text = {_word(reason.text): reason for reason in reasons().values()}
    return by_text | {_word(mnemonic): reason for mnemonic, reason in reasons().items()} | {UNDEFINED: None}


@lru_cache(maxsize=1024)
def _word(text: str) -> str:
    """Letters and digits alone, lower-cased, for comparing."""
    return "".join(filter(str.isalnum, text)).lower().replace("ё", "е")


def _reason(said: dict[str, Any]) -> tuple[FinishReason | None, str]:
    """(the reason that is known, the reason in our words): `finish_reason` by mnemonic, else by its Russian text, which
    is what `lost_reason` is; one that says something before one that only says that the call ended."""
    finish, lost = (_reasons().get(_word(said[key])) if said[key] else None for key in ("finish_reason", "lost_reason"))
    known = lost if finish is None or (finish.reason in PLAIN and not finish.hangup_by and lost) else finish
    return known, known.reason if known else "unknown" if said["finish_reason"] else ""


def _recordings(said: dict[str, Any]) -> tuple[Recording, ...]:
    """Every recording that a placeholder names; the better ones last, as the fold takes them."""
    found: dict[str, Recording] = {}
    for key, (kind, place) in RECORDS.items():
        for record in said[key][:30]:  # a call of more legs than that is no call, and the payload is a TEXT
            if record.startswith(("http://", "https://")):
                found.setdefault(sha256(url := ascii_url(record)), Recording(kind, sha256(url), url))
            elif place and record != "file.wav":  # the test button's sample
                communication = said["communication_id"]
                url = MEDIA.format(place, communication, record) if communication and len(record) <= 128 else ""
                found[sha256(record)] = Recording(kind, sha256(record), url, record[:64])
    for url, seconds in ((said["file_link"], said["file_duration"]), (said["full_record_file_link"], None)):
        if url.startswith(("http://", "https://")):
            url = ascii_url(url)
            found.setdefault(sha256(url), Recording("full", sha256(url), url, "", seconds))
    return tuple(found.values())
