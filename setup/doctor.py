"""The doctor: what is set up wrong at the provider, told from what really came, and where to change it.

Pure over the inbox's deliveries, which it takes one by one: in memory are counts, never bodies. What it says is Russian and
for the person at the provider's settings; it names deliveries by id, and shows neither bodies nor whole phone numbers.
"""

import re
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from difflib import get_close_matches
from functools import partial
from itertools import accumulate
from typing import Any
from urllib.parse import parse_qsl

import schemas
from config import FeedSettings
from inbox import DEAD, REFUSED, Stored
from inbox.judge import judge
from schemas import event as words
from schemas.event import CallEvent
from schemas.reading import Delivery, Form, canonical
from schemas.uis import ADDRESS
from server.logs import masked
from setup import uis
from setup.findings import ENOUGH, Advice, Expected, Finding, Label, Mark, filled, line, shown
from setup.uis import _PAIR, NUMERIC, PLACEHOLDERS, TYPE_OF, _right_route

LOOKED_AT = 16_384  # characters of a body: a notification is a few hundred
MOST_LABELS = 200  # notifications told apart; the owner's names are free text
MOST_CALLS = 2_000  # the last calls, in which two notifications for one event are looked for
MOST_TOLD = 20  # kinds of events of one of them
TOGETHER_MS = 60_000  # two notifications for one event come within a minute
ONCE = (words.RINGING, words.LOST, words.ENDED)  # told once a call and direction
TEMPLATED = ("uis", "mgerm")  # feeds whose owner writes the body with {{placeholders}}
OWN = b'"self_test"'  # flask check --send


@dataclass(slots=True)
class Report:
    """What the doctor saw: how many deliveries, the last one, the last press of the test button (milliseconds)."""

    total: int = 0
    last_at: int | None = None
    tested_at: int | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        return all(finding.note for finding in self.findings)


# In the order in which they are told: what loses most comes first.
ADVICE = {
    "get": Advice(
        "GET вместо POST",
        "Уведомление приходит методом GET: шаблон из поля {body} при этом не отправляется, а GET без параметров коннектор "
        "принимает за проверку из браузера и не сохраняет.",
        "поле {method}: выберите POST",
    ),
    "wrong_url": Advice(
        "Чужой адрес",
        "Это событие пришло не на свой адрес: по адресу коннектор решает, что случилось, и без notification_mnemonic "
        "понимает звонок неверно.",
        "поле {url}: конец адреса должен быть таким, ключ прежний",
        "{details}",
    ),
    "quotes": Advice(
        "Кавычки вокруг плейсхолдеров",
        "В шаблоне стоят кавычки вокруг {{…}}: UIS ставит их сам, и выходит двойная кавычка, а числа и null становятся "
        "текстом.",
        "поле {body}: уберите кавычки вокруг {{…}} в этих строках",
        "{details}",
    ),
    "unknown_placeholder": Advice(
        "Плейсхолдер, которого нет",
        "UIS не знает такого плейсхолдера и оставил его текстом: значения у этого ключа нет.",
        "поле {body}: замените строку (или удалите её, если замены нет)",
        "{details}",
    ),
    "foreign_placeholder": Advice(
        "Плейсхолдер не для этого события",
        "Для этого типа события UIS такого плейсхолдера не подставляет: он остался текстом или пустым местом.",
        "поле {body}: удалите из шаблона этого уведомления строки {list} (или проверьте «Тип события»)",
    ),
    "form": Advice(
        "Тело не JSON",
        "Тело приходит формой (ключ=значение), а не шаблоном JSON: вложенных значений и списков так не передать.",
        "поле {body}: вставьте шаблон, который печатает flask feeds show",
    ),
    "no_lost_reason": Advice(
        "Нет причины потери",
        "У потерянных звонков нет поля lost_reason: в журнале не будет видно, что звонок потерян и почему.",
        "поле {body}: добавьте строку перед закрывающей скобкой, с запятой после предыдущей",
        '"lost_reason":{{lost_reason}}',
    ),
    "double": Advice(
        "Два уведомления об одном событии",
        "Об одном и том же событии звонка приходят два уведомления с разным содержанием: в кабинете их два (часто — "
        "старое и новое). Звонок остаётся одним, но событий у него больше, и второе может спорить с первым.",
        "«Активно»: выключите одно из них",
        "{details}",
    ),
    "content_type": Advice(
        "Content-Type не application/json",
        "Тело — JSON, а заголовок Content-Type говорит другое ({list}). Коннектор читает тело верно, менять ничего не "
        "обязательно.",
        "так настроен отправитель или прокси перед коннектором",
        note=True,
    ),
}
LINK_KEYS = {"filelink", "fullrecordfilelink", "wavcallrecords"}


EXPECTED = {
    "uis": (
        Expected("Завершение звонка", ("ended",), ("ringing", "answered", "lost"), 5),
        Expected("Входящий звонок", ("ringing.in",), ("answered.in", "ended.in", "lost.in")),
        Expected("Исходящий звонок", ("ringing.out",), ("ended.out", "answered.out")),
        Expected("Начало разговора", ("answered",), ("ended.in.answered",)),
        Expected("Потерянный звонок", ("lost",), ("ended.in.lost",)),
        Expected("Записанный разговор", ("recording", "linked", "wav.key"), ("ended.answered",)),
    ),
    "hooktype": (
        Expected("EndIncCall", ("ended.in", "lost.in"), ("ringing.in",), 5),
        Expected("EndOutCall", ("ended.out",), ("ringing.out",), 5),
        Expected("CreateIncCall", ("ringing.in",), ("ended.in", "lost.in")),
        Expected("CreateOutCall", ("ringing.out",), ("ended.out",)),
        Expected("ChangeIncCall", ("answered",), ("ended.in.answered",)),
        Expected("AttemptIncCallBegin", ("leg_ringing",), ("answered",)),
    ),
    "mtt": (
        Expected("h (Hungup)", ("hangup", "ended"), ("answered",)),
        Expected("o (Originate)", ("leg_ringing",), ("answered",)),
    ),
    "xvb": (
        Expected("COMPLETED («Отправить оповещение об окончании звонка»)", ("ended",), ("ringing",), 5),
        Expected("INCOMING («Отправить оповещение о начале звонка»)", ("ringing",), ("ended",)),
    ),
}
METHOD = {"uis": "«Метод»", "mgerm": "«Метод»", "hooktype": "«Тип запроса»"}
# Who is refused at the door is counted, not kept: reason -> where to mend it.
AT_THE_DOOR = {
    "no_key": "поле {url}: скопируйте адрес заново целиком, он кончается на ?key=… (flask feeds show {feed})",
    "wrong_key": "поле {url}: скопируйте адрес заново (flask feeds show {feed})",
    "address_not_allowed": "настройка {NAME}_ALLOW на сервере: добавьте адреса провайдера; за прокси — TRUSTED_PROXIES",
    "too_large": "поле {body}: оставьте в шаблоне только поля звонка",
    "feed_closed": "настройка {NAME}_KEY на сервере, затем перезапуск сервиса",
    "unknown_tenant": "настройка XVB_ACCESS_CODES на сервере",
    "access_code_differs": "запрос собран не той АТС: поддержка провайдера",
}
ZONES = {
    2: "Europe/Kaliningrad", 3: "Europe/Moscow", 4: "Europe/Samara", 5: "Asia/Yekaterinburg", 6: "Asia/Omsk",
    7: "Asia/Novosibirsk", 8: "Asia/Irkutsk", 9: "Asia/Yakutsk", 10: "Asia/Vladivostok", 11: "Asia/Magadan",
    12: "Asia/Kamchatka",
}  # fmt: skip
FARTHEST = 14 * 60 + 30  # minutes: two clocks differ by no more, a greater difference is a delivery come late
EVEN_MINUTES = 10  # a difference this near to whole hours is a zone

_KEY = re.compile(r'"([^"\\\n{}]{1,128})"\s{0,20}:')
_NAME = re.compile(r'"notification_?name"\s{0,20}:\s{0,20}"{1,2}([^"\n]{1,80})', re.IGNORECASE)
_EXCERPT = re.compile(r"(у текста «|начинается с «).*(»(?:: | \(так |\. В поле))", re.DOTALL)


def examine(feed: FeedSettings, found: Iterable[Stored], counters: Iterable[tuple[Any, ...]], since: int) -> Report:
    """What `found` (a feed's deliveries, the oldest first) and the inbox's `counters` of who was refused since then
    (milliseconds) say of the set-up."""
    examination = _Examination(feed)
    for stored in found:
        examination.add(stored)
    return examination.report(
        [row for row in counters if row[0] == feed.name and row[1] == REFUSED and row[4] >= since]
    )


class _Examination:
    """Counts of one feed's deliveries."""

    def __init__(self, feed: FeedSettings) -> None:
        self.feed = feed
        self.module = schemas.feeds()[feed.name]
        self.form: Form = self.module.FORM
        self.said = Report()
        self.labels: Counter[Label] = Counter()
        self.marks: dict[tuple[str, Label], Mark] = {}
        self.refusals: dict[tuple[str, Label], tuple[Mark, str]] = {}
        self.tags: dict[str, Mark] = {}
        self.minutes: Counter[int] = Counter()
        self.calls: OrderedDict[str, dict[str, tuple[Any, ...]]] = OrderedDict()

    # -- one delivery

    def add(self, stored: Stored) -> None:
        delivery, outcome = stored.delivery, stored.outcome
        if OWN in delivery.body:
            return
        self.said.total += 1
        self.said.last_at = delivery.received_at
        if outcome.reason == "test":
            self.said.tested_at = delivery.received_at
        _, said = judge(partial(schemas.understand, delivery, self.feed.timezone))
        event = said if isinstance(said, CallEvent) else None
        text = (delivery.body.decode("utf-8", "replace") or delivery.query)[:LOOKED_AT]
        is_json = text.lstrip("\ufeff \t\r\n")[:1] in ("{", "[")
        keys = {canonical(k) for k in (_KEY.findall(text) if is_json else (k for k, _ in parse_qsl(text, True)))}
        right = _right_route(delivery, event, keys) if event and delivery.feed == "uis" else ""
        label = self.label(delivery, event, text, is_json, right)
        if outcome.state == DEAD:
            mark, _ = self.refusals.setdefault((outcome.reason, label), (Mark(), ""))
            mark.add(delivery)
            self.refusals[outcome.reason, label] = (mark, outcome.detail)
        if delivery.method == "GET":
            self.mark("get", label, delivery)
        elif delivery.feed in TEMPLATED:
            if is_json:
                self.template(text, label, delivery)
            elif delivery.body.strip() and outcome.state != DEAD:
                self.mark("form", label, delivery)
        if is_json and delivery.body and "json" not in delivery.content_type.lower():
            self.mark(
                "content_type", label, delivery, [shown(delivery.content_type.partition(";")[0][:60]) or "нет его"]
            )
        if event is not None:
            self.event(delivery, event, keys, label, right)

    def label(self, delivery: Delivery, event: CallEvent | None, text: str, is_json: bool, right: str) -> Label:
        if delivery.feed not in TEMPLATED:
            return Label()
        name = event.notification_name if event else ""
        if not event:
            found = _NAME.search(text) if is_json else None
            pairs = {} if is_json else {canonical(key): value for key, value in parse_qsl(text)}
            name = found[1] if found else pairs.get("notificationname", "").strip('"')
        kind = TYPE_OF.get(event.kind, "") if event and not (right and delivery.route == "rec") else ""
        if event and event.kind == words.RINGING and event.direction != "in":
            kind = "Исходящий звонок"
        label = Label(shown(name.strip()[:60]), kind, delivery.route)
        if label not in self.labels and len(self.labels) >= MOST_LABELS:
            label = Label("прочие")
        self.labels[label] += 1
        return label

    def mark(self, code: str, label: Label, delivery: Delivery, details: Iterable[str] = ()) -> None:
        self.marks.setdefault((code, label), Mark()).add(delivery, details)

    def template(self, text: str, label: Label, delivery: Delivery) -> None:
        """Quotes round placeholders and placeholders left as they are, by the raw text: reading repairs them."""
        found: dict[str, list[str]] = {"quotes": [], "unknown_placeholder": [], "foreign_placeholder": []}
        for pair in _PAIR.finditer(text):
            key, left, bare = pair["key"], pair["left"], pair["bare"]
            name = PLACEHOLDERS.get(canonical(key))
            if left is not None:
                known = PLACEHOLDERS.get(canonical(left))
                near = get_close_matches(canonical(left), PLACEHOLDERS, 1, 0.75)
                meant = known or (PLACEHOLDERS[near[0]] if near else name)
                code = "foreign_placeholder" if known == left.strip() else "unknown_placeholder"
                found[code].append(line(key, None if code == "foreign_placeholder" else meant))
            elif pair["nothing"] is not None:
                found["foreign_placeholder"].append(line(key, None))
            elif pair["doubled"] or (bare and name and (not bare.isdigit() or canonical(key) in NUMERIC)):
                found["quotes"].append(line(key, name))
        for code, lines in found.items():
            if lines:
                self.mark(code, label, delivery, lines)

    def event(self, delivery: Delivery, event: CallEvent, keys: set[str], label: Label, right: str) -> None:
        if right:
            self.mark("wrong_url", label, delivery, [f"…{ADDRESS.format(right)}?key=<тот же ключ>"])
        if delivery.feed == "uis" and not right:
            untold = event.kind == words.ENDED and not keys & {"islost", "lostreason"}
            if (event.lost or untold) and "lostreason" not in keys:
                self.mark("no_lost_reason", label, delivery)
        if self.repeated(delivery, event, keys, label, right):
            return
        for tag in _tags(event, keys, right):
            self.tags.setdefault(tag, Mark()).add(delivery)
        if event.occurred_at is not None:
            minutes = round((event.occurred_at - delivery.received_at) / 60_000)
            if abs(minutes) <= FARTHEST:
                self.minutes[minutes] += 1

    def repeated(self, delivery: Delivery, event: CallEvent, keys: set[str], label: Label, right: str) -> bool:
        """Whether this very event was seen before, which proves nothing new. The same kind of event of one call in other
        words is no repeat: it came from a second notification."""
        seen = self.calls.setdefault(event.provider_call_id, {})
        self.calls.move_to_end(event.provider_call_id)
        if len(self.calls) > MOST_CALLS:
            self.calls.popitem(last=False)
        template = (label, frozenset(keys))
        told = f"{event.kind}.{event.direction}"
        there = seen.get(told)
        if there is None:
            if len(seen) < MOST_TOLD:
                seen[told] = (event.event_key, template, delivery.received_at)
            return False
        first_key, first_template, first_at = there
        together = delivery.received_at - first_at <= TOGETHER_MS
        # of answers there may be several (a transfer), but not by two templates
        one = event.kind in ONCE or (event.kind == words.ANSWERED and first_template != template)
        if first_key != event.event_key and delivery.feed in TEMPLATED and not right and together and one:
            self.mark("double", label, delivery, [str(first_template[0]), str(label)])
        return bool(first_key == event.event_key)

    # -- all of them

    def report(self, refused: list[tuple[Any, ...]]) -> Report:
        findings = self.said.findings
        if self.feed.closed:
            wrong = f"Ключ {self.name}_KEY не задан: коннектор отвечает 403."
            where = "настройка на сервере, затем перезапуск сервиса"
            findings.append(Finding("closed", "Приём выключен", wrong, where, f"{self.name}_KEY=…"))
        elif not self.said.total:
            findings.append(self.nothing())
        for _, _, reason, total, at, message in sorted(refused, key=lambda row: -row[4]):
            where = filled(AT_THE_DOOR.get(reason, "поле {url}"), self.names)
            code = f"refused.{reason}"
            findings.append(Finding(code, "Не впущены", masked(message), where, seen=total, last_at=at))
        findings += [self.refusal(*key, *said) for key, said in self.refusals.items()]
        for code, advice in ADVICE.items():
            findings += [self.advise(code, advice, label, mark) for (c, label), mark in self.marks.items() if c == code]
        of_all = (self.recording(), *map(self.expected, EXPECTED.get(self.feed.name, ())), self.zone())
        findings += [finding for finding in of_all if finding]
        findings.sort(key=lambda finding: finding.note)
        return self.said

    @property
    def name(self) -> str:
        return self.feed.name.upper()

    @property
    def names(self) -> dict[str, str]:
        method = METHOD.get(self.feed.name, "метода запроса")
        form = {"body": self.form.body, "url": self.form.url, "method": method}
        return form | {"feed": self.feed.name, "NAME": self.name}

    def nothing(self) -> Finding:
        where = "«Активно», «Способы уведомлений» → HTTP, «Метод» и {url}" if self.feed.name in TEMPLATED else "{url}"
        return Finding(
            "nothing",
            "Уведомлений не было",
            "За это время не пришло ни одного уведомления этого потока.",
            filled(where, self.names) + f"; адрес проверяется в браузере: flask feeds show {self.feed.name}",
        )

    def refusal(self, code: str, label: Label, mark: Mark, detail: str) -> Finding:
        if code in ("our_fault", "indigestible"):
            wrong, where = "Ошибка самого коннектора: уведомление сохранено, но не понято.", "сообщите администратору"
        else:
            wrong, where = shown(_EXCERPT.sub(r"\1…\2", detail)), f"поле {self.form.body}"
        return self.seen(f"dead.{code}", f"Отказы: {code}", wrong, where, "", label, mark)

    def seen(self, code: str, title: str, wrong: str, where: str, paste: str, label: Label, mark: Mark) -> Finding:
        of = self.labels[label] or self.said.total
        return Finding(code, title, wrong, where, paste, str(label), mark.seen, of, mark.last_at, mark.delivery,
                       code in ADVICE and ADVICE[code].note)  # fmt: skip

    def advise(self, code: str, advice: Advice, label: Label, mark: Mark) -> Finding:
        names = self.names | {"details": "\n".join(sorted(mark.details)), "list": ", ".join(sorted(mark.details))}
        wrong, where, paste = (filled(text, names) for text in advice[1:4])
        return self.seen(code, advice.title, wrong, where, paste, label, mark)

    def count(self, *tags: str) -> int:
        return sum(self.tags[tag].seen for tag in tags if tag in self.tags)

    def recording(self) -> Finding | None:
        """Recorded calls of which no recording has an address."""
        mark = self.tags.get("recorded")
        if mark is None or self.count("linked"):
            return None
        return Finding(
            "no_recording_link",
            "Нет ссылки на запись",
            "Разговоры записаны, но ссылок на запись нет: UIS прислал только отпечатки записей (wav_call_records).",
            f"уведомление «Завершение звонка», поле {self.form.body}: добавьте строку; или создайте уведомление "
            "«Записанный разговор» (flask feeds show uis, номер 6)",
            line("communication_id", "communication_id"),
            TYPE_OF[words.ENDED], mark.seen, self.count("ended"), mark.last_at, mark.delivery,
        )  # fmt: skip

    def expected(self, expected: Expected) -> Finding | None:
        proofs = [self.tags[tag] for tag in expected.proof if tag in self.tags]
        if self.count(*expected.tags) or self.count(*expected.proof) < expected.enough:
            return None
        last = max(proofs, key=lambda mark: mark.last_at or 0)
        notification = next((one for one in uis.NOTIFICATIONS if one.name == expected.name), None)
        if self.feed.name == "uis" and notification:
            where = (
                f"создайте уведомление «{expected.name}» (или включите «Активно», проверьте «Тип события» и «Условия»)"
            )
            paste = "\n".join(uis.to_enter(notification, lambda path: f"…{path}?key=<ключ из flask feeds show uis>"))
        else:
            where, paste = f"настройки событий у провайдера, {self.form.url}", ""
        return Finding(
            "never_seen",
            "Событие не приходит",
            f"«{expected.name}» не пришло ни разу, хотя звонки были.",
            where, paste, expected.name, 0, self.count(*expected.proof), last.last_at, last.delivery,
        )  # fmt: skip

    def zone(self) -> Finding | None:
        """A provider's clock that is whole hours off ours."""
        total = sum(self.minutes.values())
        if total < ENOUGH:
            return None
        ordered = sorted(self.minutes.items())
        passed = accumulate(count for _, count in ordered)
        median = next(minutes for (minutes, _), count in zip(ordered, passed, strict=True) if 2 * count >= total)
        hours = round(median / 60)
        near = sum(count for minutes, count in self.minutes.items() if abs(minutes - 60 * hours) <= EVEN_MINUTES)
        if not hours or near < 0.8 * total:
            return None
        offset = datetime.now(self.feed.timezone).utcoffset() or timedelta()
        east = round(offset.total_seconds() / 3600) + hours
        zone = ZONES.get(east, f"Etc/GMT{-east:+d}" if east else "UTC")
        ahead = f"впереди времени приёма на {hours} ч" if hours > 0 else f"отстаёт от времени приёма на {-hours} ч"
        return Finding(
            "zone",
            "Время другого пояса",
            f"Время в уведомлениях {ahead}: часы провайдера идут по UTC{east:+d}, а коннектор читает их как "
            f"{self.feed.timezone}.",
            f"настройка {self.name}_TIMEZONE на сервере (если по этим часам нужен и весь журнал — TIMEZONE), затем "
            "перезапуск сервиса",
            f"{self.name}_TIMEZONE={zone}",
            "", near, total, self.said.last_at,
        )  # fmt: skip


def _tags(event: CallEvent, keys: set[str], right: str) -> set[str]:
    """What this event proves, in the words of EXPECTED."""
    kind = words.RINGING if event.kind == words.ENDED and right in ("in", "out") else event.kind
    tags = {kind, f"{kind}.{event.direction}"}
    if kind == words.ENDED:
        for proof, true in (("answered", event.answered), ("lost", event.lost)):
            tags |= {f"{kind}.{proof}", f"{kind}.{event.direction}.{proof}"} if true else set()
        tags |= {"wav.key"} if "wavcallrecords" in keys else set()
    if any(recording.url for recording in event.recordings):
        tags.add("linked")
    elif event.recordings:
        tags.add("recorded")
    return tags
