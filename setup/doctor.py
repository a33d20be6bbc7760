"""The doctor: what is set up wrong at the provider, by the deliveries that really came, and where to change it.

Pure over the inbox's deliveries, which it takes one by one: in memory are counts, never bodies. What it says is Russian and
for the person at the provider's settings; it names deliveries by id, and shows neither bodies nor whole phone numbers. What
only one provider's notifications can have wrong, its module beside this one knows (see setup/feed.py).
"""

import re
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import accumulate
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import schemas
import setup
from config import FeedSettings
from inbox import DEAD, REFUSED, UNKNOWN_FEED, Stored, now
from inbox.judge import DAY, understood
from schemas import event as words
from schemas.event import CallEvent
from schemas.reading import Delivery, canonical
from server.logs import masked
from setup.button import OWN, TESTS
from setup.findings import ENOUGH, Advice, Expected, Finding, Label, Mark, Right, filled, keys_of, shown
from setup.words import CODES

LOOKED_AT = 16_384  # characters of a body: a notification is a few hundred
MOST_LABELS = 200  # notifications counted apart; the owner's names are free text
MOST_CALLS = 2_000  # the last calls, in which two notifications for one event are looked for
MOST_KINDS = 20  # of events of one of them
TOGETHER_MS = 60_000  # two notifications for one event come within a minute
HOUR_MS = 3_600_000
FIRST = ("closed", "nothing", "unsubstituted", "wrong_url", "refused.unknown_path", "refused.get_alone")  # causes
ONCE = (words.RINGING, words.LOST, words.ENDED)  # come once a call and direction


class Lamp(NamedTuple):
    """An event type as the provider calls it: how often it came, how often within the last day, when last."""

    name: str
    seen: int
    in_day: int
    last_at: int | None


@dataclass(slots=True)
class Report:
    """What the doctor saw: how many deliveries, the last one, the last press of the test button (milliseconds)."""

    total: int = 0
    last_at: int | None = None
    tested_at: int | None = None
    findings: list[Finding] = field(default_factory=list)
    lamps: list[Lamp] = field(default_factory=list)  # one for each event type that should come

    @property
    def healthy(self) -> bool:
        return all(finding.note or finding.closed for finding in self.findings)


# What any feed may have wrong; a feed's own ADVICE comes after "get" and before the others.
ADVICE = {
    "get": Advice(
        "GET вместо POST",
        "Уведомление приходит методом GET: шаблон из поля {body} при этом не отправляется, а GET без параметров коннектор "
        "принимает за проверку из браузера и не сохраняет.",
        "поле {method}: выберите POST",
    ),
    "form": Advice(
        "Тело не JSON",
        "Тело приходит формой (ключ=значение), а не шаблоном JSON: вложенных значений и списков так не передать.",
        "поле {body}: вставьте шаблон (он на странице «Настройка»; его печатает и pbx-connector feeds show)",
        "{whole}",
    ),
    "unread_time": Advice(
        "Время не понято",
        "Значение не читается как время, вместо него взято время приёма: {list}.",
        "{mend} Время пишется как 24.11.2026 10:20:30, 2026-11-24 10:20:30 или Unix-время.",
    ),
    "ahead": Advice(
        "Время из будущего",
        "Время в уведомлении позже приёма больше чем на сутки, коннектор ему не верит: порядок событий — по приёму.",
        "{mend} Проверьте, какое время туда подставляется, и часы провайдера.",
    ),
    "double": Advice(
        "Два уведомления об одном событии",
        "Об одном и том же событии звонка приходят два уведомления с разным содержанием. Звонок остаётся одним, но событий "
        "у него больше, и второе может спорить с первым.",
        "настройки уведомлений у провайдера: выключите одно из них",
        "{details}",
    ),
    "content_type": Advice(
        "Content-Type не application/json",
        "Тело — JSON, а заголовок Content-Type говорит другое ({list}). Коннектор читает тело верно, менять ничего не "
        "обязательно.",
        "так настроен отправитель или прокси перед коннектором",
        note=True,
    ),
    "no_recording_link": Advice("Нет ссылки на запись", "Разговоры записаны, но ссылок на запись нет.", "{body}"),
    "never_seen": Advice(
        "Событие не приходит", "«{name}» не пришло ни разу, хотя звонки были.", "настройки событий у провайдера, {url}"
    ),
}
KEY_IN_BODY = "ключ ({field} в теле запроса): укажите тот, что на странице «Настройка» ({shown})"
# A request refused at the door is counted, not kept: reason -> where to change it.
AT_THE_DOOR = {
    "no_key": "поле {url}: скопируйте адрес заново целиком, он кончается на ?key=… ({shown})",
    "wrong_key": "поле {url}: скопируйте адрес заново ({shown})",
    "other_feeds_key": "поле {url}: скопируйте адрес этого потока ({shown})",
    "blanks_in_key": "поле {url}: уберите пробелы до и после ключа, лучше скопируйте адрес заново ({shown})",
    "unknown_path": "поле {url}: скопируйте адрес заново ({shown})",
    "get_alone": "поле {method}: выберите POST; если адрес проверяли программой, менять ничего не нужно",
    "address_not_allowed": "настройка {NAME}_ALLOW на сервере: добавьте адреса провайдера; за прокси — TRUSTED_PROXIES",
    "too_large": "{mend}",
    "bad_request": "поле {url}: адрес и параметры должны быть закодированы (%D0%91…), без пробелов и переносов строк",
    "feed_closed": "настройка {NAME}_KEY на сервере, затем перезапуск сервиса",
}
ZONES = {
    2: "Europe/Kaliningrad", 3: "Europe/Moscow", 4: "Europe/Samara", 5: "Asia/Yekaterinburg", 6: "Asia/Omsk",
    7: "Asia/Novosibirsk", 8: "Asia/Irkutsk", 9: "Asia/Yakutsk", 10: "Asia/Vladivostok", 11: "Asia/Magadan",
    12: "Asia/Kamchatka",
}  # fmt: skip
FARTHEST = 14 * 60 + 30  # minutes: two clocks differ by no more, a greater difference is a delivery come late
EVEN_MINUTES = 10  # a difference this near to whole hours is a zone

_NAME = re.compile(r'"notification_?name"\s{0,20}:\s{0,20}"{1,2}([^"\n]{1,80})', re.IGNORECASE)
_EXCERPT = re.compile(r"(у текста «|начинается с «).*(»(?:: | \(так |\. В поле|\. Нужен))", re.DOTALL)


def examine(feed: FeedSettings, found: Iterable[Stored], counters: Iterable[tuple[Any, ...]], since: int) -> Report:
    """What `found` (a feed's deliveries, the oldest first) and the inbox's `counters` of who was refused since then
    (milliseconds) say of the set-up."""
    refused = [row for row in counters if row[0] == feed.name and row[1] == REFUSED and row[4] >= since]
    seen = _Seen(feed, {row[2]: row[4] for row in refused})
    for stored in found:
        seen.add(stored)
    return _Findings(seen).report(refused)


class _Seen:
    """Counts of one feed's deliveries."""

    def __init__(self, feed: FeedSettings, refused_at: Mapping[str, int] = MappingProxyType({})) -> None:
        self.feed = feed
        self.refused_at = refused_at  # reason -> when last
        self.since_refused: Counter[str] = Counter()  # reason -> deliveries that were taken since
        self.setup = setup.feeds()[feed.name]
        self.form = self.setup.feed.form
        self.report = Report()
        self.labels: Counter[Label] = Counter()
        self.marks: dict[tuple[str, Label], Mark] = {}
        self.refusals: dict[tuple[str, Label], tuple[Mark, str]] = {}
        self.tags: dict[str, Mark] = {}
        self.in_day: Counter[str] = Counter()
        self.day_began = now() - DAY
        self.wanted = {tag for one in self.setup.expected for tag in (*one.tags, *one.proof)} | TAGS
        self.minutes: Counter[int] = Counter()
        self.calls: OrderedDict[str, dict[str, tuple[Any, ...]]] = OrderedDict()
        self.kin: defaultdict[tuple[str, str], list[Mark]] = defaultdict(
            list
        )  # marks that the same notifications settle
        self.broken: set[str] = set()  # event types that come, but cannot be read

    def add(self, stored: Stored) -> None:
        delivery, outcome = stored.delivery, stored.outcome
        if OWN in delivery.body:
            return
        self.report.total += 1
        self.report.last_at = delivery.received_at
        if outcome.reason in TESTS:
            self.report.tested_at = delivery.received_at
        _, event = understood(delivery, {self.feed.name: self.feed})
        text = (delivery.body.decode("utf-8", "replace") or delivery.query)[:LOOKED_AT]
        keys = keys_of(text)
        right = self.setup.right_route(delivery, event, keys) if event else Right()
        label = self.label(delivery, event, text, right)
        self.look(stored, event, text, keys, label, right)
        self.settle(delivery, outcome.state, label)

    def look(
        self, stored: Stored, event: CallEvent | None, text: str, keys: set[str], label: Label, right: Right
    ) -> None:
        """All that is wrong with one delivery, each thing once: a template that nobody filled in is one thing."""
        delivery, outcome = stored.delivery, stored.outcome
        is_json = text.lstrip("\ufeff \t\r\n")[:1] in ("{", "[")
        dead = outcome.state == DEAD and outcome.reason != UNKNOWN_FEED
        whole = partial(
            self.whole, delivery, keys, label, dead
        )  # only where something is to be pasted: it takes its time
        wrong = self.setup.template(text) if self.form.template and is_json else {}
        if "unsubstituted" in wrong:
            self.mark("unsubstituted", Label(route=delivery.route), delivery, (), whole)
            self.broken.add(self.setup.meant(delivery, keys))
            return
        if dead:
            there = self.refusals.get((outcome.reason, label))
            mark = there[0] if there else self.kept(Mark(), label)
            mark.add(delivery, (), whole)
            self.refusals[outcome.reason, label] = (mark, outcome.detail)
            self.broken.add(self.setup.meant(delivery, keys))
        if self.form.template and delivery.method == "GET":
            self.mark("get", label, delivery)
        elif self.form.template and not is_json and delivery.body.strip() and not dead:
            self.mark("form", label, delivery, (), whole)
        elif delivery.method != "GET":
            for code, lines in wrong.items():
                if lines:
                    self.mark(code, label, delivery, lines, whole)
        if is_json and delivery.body and "json" not in delivery.content_type.lower():
            content_type = shown(delivery.content_type.partition(";")[0][:60]) or "нет его"
            self.mark("content_type", label, delivery, [content_type])
        if event is not None:
            self.event(delivery, event, keys, label, right, whole)
            self.moments(delivery, event, label)

    def whole(self, delivery: Delivery, keys: set[str], label: Label, dead: bool) -> str:
        """The whole template to paste for this notification, "" where nobody knows it."""
        name = label.event_type if not dead and label.event_type else self.setup.meant(delivery, keys)
        lines = self.setup.to_enter(name, str)
        return lines[-1] if lines else ""

    def kept(self, mark: Mark, label: Label) -> Mark:
        """A new mark, with the notifications that will show whether it is mended: of its name and type, else address."""
        self.kin[label.name, label.event_type or label.route].append(mark)
        return mark

    def settle(self, delivery: Delivery, state: str, label: Label) -> None:
        """One delivery more without what was wrong in those before it."""
        if state == DEAD:
            return
        for reason, at in self.refused_at.items():
            self.since_refused[reason] += delivery.received_at > at
        for kin in {(label.name, label.event_type), (label.name, label.route), ("", label.route)}:
            for mark in self.kin.get(kin, ()):
                mark.right += mark.delivery != delivery.id

    def moments(self, delivery: Delivery, event: CallEvent, label: Label) -> None:
        """Times that are not understood, or not believed."""
        unread = schemas.unread_moments(delivery)
        if unread:
            self.mark(
                "unread_time", label, delivery, [f"{name} = «{shown(text[:40])}»" for name, text in unread.items()]
            )
        if not event.believed:
            self.mark("ahead", label, delivery)

    def label(self, delivery: Delivery, event: CallEvent | None, text: str, right: Right) -> Label:
        """The notification; nameless where the provider writes the body."""
        if not self.form.template:
            return Label()
        name = event.notification_name if event else ""
        if not event:
            is_json = text.lstrip("\ufeff \t\r\n")[:1] in ("{", "[")
            found = _NAME.search(text) if is_json else None
            pairs = {} if is_json else {canonical(key): value for key, value in parse_qsl(text)}
            name = found[1] if found else pairs.get("notificationname", "").strip('"')
        kind = ""
        if event and not right.by_address:
            types = self.setup.types
            kind = types.get(f"{event.kind}.{event.direction}") or types.get(event.kind, "")
        label = Label(shown(name.strip()[:60]), kind, delivery.route)
        if label not in self.labels and len(self.labels) >= MOST_LABELS:
            label = Label("прочие")
        self.labels[label] += 1
        return label

    def mark(
        self,
        code: str,
        label: Label,
        delivery: Delivery,
        details: Iterable[str] = (),
        paste: Callable[[], str] | None = None,
    ) -> None:
        if (code, label) not in self.marks:
            self.marks[code, label] = self.kept(Mark(), label)
        self.marks[code, label].add(delivery, details, paste)

    def event(
        self, delivery: Delivery, event: CallEvent, keys: set[str], label: Label, right: Right, whole: Callable[[], str]
    ) -> None:
        if right.route:
            address = self.setup.feed.address.format(right.route)
            key = "" if self.setup.feed.key_field else "?key=<тот же ключ>"
            self.mark("wrong_url", label, delivery, [f"…{address}{key}"])
        else:
            lacking = self.setup.lacks(event, keys)
            if lacking:
                self.mark(lacking, label, delivery, (), whole)
        if self.repeated(delivery, event, keys, label, right):
            return
        for tag in _tags(event, keys, right) & self.wanted:
            self.tags.setdefault(tag, Mark()).add(delivery)
            self.in_day[tag] += delivery.received_at > self.day_began
        if event.occurred_at is not None:
            minutes = round((event.occurred_at - delivery.received_at) / 60_000)
            if abs(minutes) <= FARTHEST:
                self.minutes[minutes] += 1

    def repeated(self, delivery: Delivery, event: CallEvent, keys: set[str], label: Label, right: Right) -> bool:
        """Whether this very event was seen before, which proves nothing new. The same kind of event of one call in other
        words is no repeat: it came from a second notification."""
        seen = self.calls.setdefault(event.provider_call_id, {})
        self.calls.move_to_end(event.provider_call_id)
        if len(self.calls) > MOST_CALLS:
            self.calls.popitem(last=False)
        template = (label, frozenset(keys))
        kind = f"{event.kind}.{event.direction}"
        first = seen.get(kind)
        if first is None:
            if len(seen) < MOST_KINDS and not right.route:  # at a wrong address it may be another event than it seems
                seen[kind] = (event.event_key, template, delivery.received_at)
            return False
        first_key, first_template, first_at = first
        together = delivery.received_at - first_at <= TOGETHER_MS
        # of answers there may be several (a transfer), but not by two templates
        once = event.kind in ONCE or (event.kind == words.ANSWERED and first_template != template)
        if first_key != event.event_key and self.form.template and not right.route and together and once:
            self.mark("double", label, delivery, [str(first_template[0]), str(label)])
        return bool(first_key == event.event_key)

    def count(self, *tags: str) -> int:
        return sum(self.tags[tag].seen for tag in tags if tag in self.tags)


class _Findings:
    """What the counts say, in words."""

    def __init__(self, seen: _Seen) -> None:
        self.seen, self.feed, self.setup = seen, seen.feed, seen.setup
        self.advice = {"get": ADVICE["get"], **self.setup.advice}
        self.advice |= {code: advice for code, advice in ADVICE.items() if code not in self.advice}
        self.name = self.feed.name.upper()
        self.names = {"body": seen.form.body, "url": seen.form.url, "method": self.setup.method, "mend": seen.form.mend}
        self.names |= {"shown": f"страница «Настройка», pbx-connector feeds show {self.feed.name}"}
        self.names |= {"feed": self.feed.name, "NAME": self.name, "field": self.setup.feed.key_field}
        self.at_the_door = AT_THE_DOOR | self.setup.at_the_door
        if self.setup.feed.key_field:
            self.at_the_door |= dict.fromkeys(("no_key", "wrong_key", "other_feeds_key", "blanks_in_key"), KEY_IN_BODY)

    def report(self, refused: list[tuple[Any, ...]]) -> Report:
        findings, seen = self.seen.report.findings, self.seen
        if self.feed.closed:
            wrong = f"Ключ {self.name}_KEY не задан: коннектор отвечает 403."
            where = "настройка на сервере, затем перезапуск сервиса"
            findings.append(Finding("closed", "Приём выключен", wrong, where, f"{self.name}_KEY=…"))
        elif not seen.report.total:
            findings.append(self.nothing())
        findings += [self.turned_away(*row[2:]) for row in sorted(refused, key=lambda row: -row[4])]
        findings += [self.refusal(*key, *found) for key, found in seen.refusals.items()]
        for code in self.advice:
            findings += [self.advise(code, label, mark) for (c, label), mark in seen.marks.items() if c == code]
        of_all = (self.recording(), *map(self.expected, self.setup.expected), self.zone())
        findings += [finding for finding in of_all if finding]
        findings.sort(
            key=lambda one: (one.closed, one.note, FIRST.index(one.code) if one.code in FIRST else len(FIRST))
        )
        seen.report.lamps = [self.lamp(one.name, one.tags[:1]) for one in self.setup.expected]
        return seen.report

    def lamp(self, name: str, tags: tuple[str, ...]) -> Lamp:
        marks = [self.seen.tags[tag] for tag in tags if tag in self.seen.tags]
        last = max((mark.last_at or 0 for mark in marks), default=None)
        return Lamp(name, sum(mark.seen for mark in marks), sum(self.seen.in_day[tag] for tag in tags), last)

    def turned_away(self, reason: str, total: int, at: int, message: str) -> Finding:
        """Requests of which nothing is kept. Nobody knows of which notification they are, so it takes an hour's silence
        to call them mended."""
        where = filled(self.at_the_door.get(reason, "поле {url}"), self.names)
        right = self.seen.since_refused[reason]
        closed = right >= ENOUGH and (self.seen.report.last_at or 0) - at > HOUR_MS
        title = f"Не впущены: {CODES.get(reason, reason)}"
        return Finding(
            f"refused.{reason}", title, masked(message), where, seen=total, last_at=at, right=right, closed=closed,
            note=reason == "get_alone",
        )  # fmt: skip

    def nothing(self) -> Finding:
        return Finding(
            "nothing",
            "Уведомлений не было",
            "За это время не пришло ни одного уведомления этого потока.",
            filled(self.setup.switches, self.names)
            + f"; адрес проверяется в браузере: страница «Настройка», pbx-connector feeds show {self.feed.name}",
        )

    def refusal(self, code: str, label: Label, mark: Mark, detail: str) -> Finding:
        if code in ("our_fault", "indigestible"):
            wrong, where = "Ошибка самого коннектора: уведомление сохранено, но не понято.", "сообщите администратору"
        else:
            form = self.seen.form
            wrong = shown(_EXCERPT.sub(r"\1…\2", detail))
            where = f"поле {form.body}" if form.template else form.mend
        return self.marked(
            f"dead.{code}", Advice(f"Отвергнуты: {CODES.get(code, code)}", wrong, where, mark.paste), label, mark
        )

    def advise(self, code: str, label: Label, mark: Mark) -> Finding:
        details = list(mark.details)
        names = {"details": "\n".join(details), "list": ", ".join(details), "whole": mark.paste or "\n".join(details)}
        return self.marked(code, self.advised(code, **names), label, mark)

    def advised(self, code: str, **names: str) -> Advice:
        """The advice with its names filled in."""
        advice, names = self.advice[code], self.names | {"details": "", "list": "", "whole": ""} | names
        wrong, where, paste = (filled(text, names) for text in advice[1:4])
        return advice._replace(wrong=wrong, where=where, paste=paste)

    def marked(self, code: str, advice: Advice, label: Label, mark: Mark) -> Finding:
        of = self.seen.labels[label] or self.seen.report.total
        return Finding(code, advice.title, advice.wrong, advice.where, advice.paste, str(label), mark.seen, of,
                       mark.last_at, mark.delivery, advice.note, mark.right, mark.right >= ENOUGH)  # fmt: skip

    def recording(self) -> Finding | None:
        """Recorded calls of which no recording has an address."""
        mark = self.seen.tags.get("recorded")
        if mark is None or self.seen.count("linked"):
            return None
        advice = self.advised("no_recording_link")
        return Finding(
            "no_recording_link", *advice[:4], self.setup.types.get(words.ENDED, ""),
            mark.seen, self.seen.count("ended"), mark.last_at, mark.delivery,
        )  # fmt: skip

    def expected(self, expected: Expected) -> Finding | None:
        tags, count = self.seen.tags, self.seen.count
        if count(*expected.tags) or count(*expected.proof) < expected.enough or expected.name in self.seen.broken:
            return None  # it comes, or that it cannot be read is the cause
        last = max((tags[tag] for tag in expected.proof if tag in tags), key=lambda mark: mark.last_at or 0)
        key = "" if self.setup.feed.key_field else f"?key=<ключ из pbx-connector feeds show {self.feed.name}>"
        entries = self.setup.to_enter(expected.name, lambda path: f"…{path}{key}")
        advice = self.advised("never_seen", name=expected.name, details="\n".join(entries))
        return Finding(
            "never_seen", *advice[:4], expected.name, 0, count(*expected.proof), last.last_at, last.delivery
        )  # fmt: skip

    def zone(self) -> Finding | None:
        """A provider's clock that is whole hours off ours."""
        total = sum(self.seen.minutes.values())
        if total < ENOUGH:
            return None
        ordered = sorted(self.seen.minutes.items())
        passed = accumulate(count for _, count in ordered)
        median = next(minutes for (minutes, _), count in zip(ordered, passed, strict=True) if 2 * count >= total)
        hours = round(median / 60)
        near = sum(count for minutes, count in self.seen.minutes.items() if abs(minutes - 60 * hours) <= EVEN_MINUTES)
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
            "", near, total, self.seen.report.last_at,
        )  # fmt: skip


TAGS = {"recorded", "linked", "ended"}  # that are counted whatever is expected


def _tags(event: CallEvent, keys: set[str], right: Right) -> set[str]:
    """What this event proves, in the words of EXPECTED."""
    kind = words.RINGING if right.by_address else event.kind
    tags = {kind, f"{kind}.{event.direction}", *(f"{kind}.key.{key}" for key in keys)}
    if kind == words.ENDED:
        for proof, true in (("answered", event.answered), ("lost", event.lost)):
            tags |= {f"{kind}.{proof}", f"{kind}.{event.direction}.{proof}"} if true else set()
    if any(recording.url for recording in event.recordings):
        tags.add("linked")
    elif event.recordings:
        tags.add("recorded")
    return tags
