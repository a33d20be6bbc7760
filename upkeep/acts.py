"""Destruction records: what was deleted, when, why, how many and by whom; never a number, only its keyed hash.

Roskomnadzor's order 179 of 28.10.2022 asks for an act and an export from the log, kept for three years. The lines in
DATA_DIR/acts/acts.jsonl are that log: appended and synced, never deleted by us. A record is two lines, `began` before
the first row goes and `ended` after the last: what was broken off shows.
"""

import json
import os
import pwd
import secrets
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from config import Settings
from server import files
from upkeep.unfinished import Unfinished

LOG = "acts.jsonl"

METHOD = (
    "удаление записей из базы данных средствами СУБД; файлы SQLite — с затиранием удалённого нулями (secure_delete) и "
    "очисткой журнала упреждающей записи; файлы сервера баз данных, его журналы и копии — забота их владельца"
)

# Tables and states -> the categories of personal data in them, in the words of the act.
CATEGORIES = {
    "calls": "звонки: номер и имя клиента, время, длительность, итог, ссылка на запись разговора",
    "call_legs": "попытки дозвона сотрудникам в этих звонках",
    "call_recordings": "ссылки на записи разговоров",
    "call_attributes": "прочие сведения о звонках, присланные провайдером: теги, регион, рекламная кампания",
    "call_events": "события звонков, присланные провайдером",
    "contacts": "контакты: номер, имя, ответственный",
    "deliveries": "уведомления провайдера, как пришли",
    "forwarded": "уведомления провайдера, переданные в журнал",
    "ignored": "уведомления провайдера, не давшие звонка",
    "dead": "уведомления провайдера, отвергнутые",
    "placements": "ответы на заказ звонка",
    "attempts": "заказы звонка: добавочный, номер",
    "rejected": "уведомления, отклонённые как ложные (остаются в приёмном ящике)",
    "changed": "звонки, пересчитанные без ложных событий",
    "void": "звонки, от которых не осталось ни одного события",
    "blanked_calls": "чужие звонки, в тексте которых был номер: номер стёрт",
    "blanked_deliveries": "чужие уведомления, в тексте которых был номер: номер стёрт",
    "blanked_contacts": "чужие контакты, в имени которых был номер: номер стёрт",
    "blanked_employees": "имена сотрудников, в которых был номер: номер стёрт",
    "blanked_attempts": "request_id заказов звонка, в которых был номер: номер стёрт",
    "blanked_counters": "тексты последних отказов, в которых был номер: номер стёрт",
    "blanked_facts": "служебные заметки коннектора, в которых был номер: номер стёрт",
}

# Kinds of records that have an act. A record `bring_back` is beside them: deliveries that were rejected by mistake.
KINDS = {
    "purge": "удаление по сроку хранения",
    "forget": "удаление данных человека",
    "again": "повторное удаление",
    "reject": "отклонение ложных уведомлений",
}

ACT = """АКТ ОБ УНИЧТОЖЕНИИ ПЕРСОНАЛЬНЫХ ДАННЫХ № {id}
(приказ Роскомнадзора от 28.10.2022 № 179)
1. Оператор (наименование или Ф. И. О., адрес): ______________________________________
2. Обработчик по поручению оператора, если есть (наименование или Ф. И. О., адрес): ____________
3. Субъект персональных данных: {subject}
   Ф. И. О. субъекта: ______________________________________
4. Уничтоженные персональные данные (категория — сколько записей):
{rows}{period}
5. Информационная система: коннектор АТС — 1С, узел {node} (сервер {host}): журнал звонков и приёмный ящик
6. Способ уничтожения: {method}{files}
7. Причина уничтожения: {why}
8. Дата уничтожения: {began_at} — {ended}{unfinished}
9. Уничтожил (Ф. И. О., должность, подпись): ____________________________ / ____________

Выгрузка из журнала регистрации событий (DATA_DIR/acts/acts.jsonl)
   {began_at} — {ended}; {what}; пользователь системы {by}; узел {node}
   субъект: {whose}; причина: {why}
   записей: {numbers}
Подписанный акт и выгрузка хранятся три года."""


@dataclass(slots=True)
class Record:
    """One destruction as it goes on; `add` counts what was deleted. With an `unfinished` it counts by bites, and can be
    finished after a kill."""

    fields: dict[str, Any]
    path: Path
    zone: tzinfo
    unfinished: Unfinished | None = None
    counts: dict[str, int] = field(default_factory=dict)
    begun: bool = False

    def begin(self) -> None:
        """To be called before the first row goes."""
        if not self.begun:
            files.append(self.path, _line({**self.fields, "what": "began"}))
            self.begun = True

    def add(self, counts: Mapping[str, int]) -> None:
        """So many rows of each table are gone."""
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0) + count

    @contextmanager
    def bite(self, about: Mapping[str, int], rows: Sequence[str]) -> Iterator[None]:
        """What is added within is one bite, which is going to touch these rows."""
        self.begin()
        if self.unfinished is None:
            yield
            return
        before = Counter(self.counts)
        self.unfinished.before(about, rows)
        yield
        self.unfinished.after(dict(Counter(self.counts) - before))

    def end(self, whole: bool) -> None:
        """To be called after the last row went."""
        if not self.begun:
            return
        counts = self.unfinished.counts() if self.unfinished else self.counts
        counts = {name: count for name, count in counts.items() if count}
        ended = {"what": "ended", "ended_at": _now(self.zone), "counts": counts, "whole": whole}
        files.append(self.path, _line({**self.fields, **ended}))


def fields(settings: Settings, node: str, kind: str, why: str, **more: Any) -> dict[str, Any]:
    """What a record of a kind (KINDS) says from its beginning, its moments wall clock in TIMEZONE."""
    return {
        "id": secrets.token_hex(8),
        "kind": kind,
        "why": why,
        "began_at": _now(settings.timezone),
        "node": node,
        "host": socket.gethostname(),
        "user": _user(),
        "sudo_user": os.environ.get("SUDO_USER", ""),
        **more,
    }


def directory(settings: Settings) -> Path:
    """Where acts are kept."""
    return settings.data_dir / "acts"


@contextmanager
def record(settings: Settings, node: str, kind: str, why: str, **more: Any) -> Iterator[Record]:
    """A destruction record. It is written only if something was begun, and also when it is broken off by an exception."""
    one = Record(fields(settings, node, kind, why, **more), directory(settings) / LOG, settings.timezone)
    whole = False
    try:
        yield one
        whole = True
    finally:
        one.end(whole)


@contextmanager
def finished(settings: Settings, unfinished: Unfinished) -> Iterator[Record]:
    """The record of an act that is begun or taken up again; one that is broken off, by an exception too, stays unfinished.
    Nothing of it is written where nothing was to be done."""
    path = directory(settings) / LOG
    written = [line for line in _lines(path) if unfinished.fields["id"] in line]
    one = Record(unfinished.fields, path, settings.timezone, unfinished, begun=bool(written))
    if not any('"what": "ended"' in line for line in written):  # else only its mark was left
        yield one
        one.end(True)
    else:
        yield one
    unfinished.end()


def records(directory: Path, since: datetime | None = None) -> list[dict[str, Any]]:
    """The records, the oldest first, begun not before `since` (wall clock in TIMEZONE); one that was broken off without a
    word has no `counts`."""
    found: dict[str, dict[str, Any]] = {}
    for line in _lines(directory / LOG):
        with suppress(ValueError):  # a crash in the middle of a line
            fields = json.loads(line)
            found[fields["id"]] = fields
    return [one for one in found.values() if since is None or one["began_at"] >= f"{since:%Y-%m-%d %H:%M:%S}"]


def merge(directory: Path, other: Path) -> None:
    """Add the lines of another log (a backup's) that this one lacks."""
    there = set(_lines(directory / LOG))
    new = [line for line in _lines(other / LOG) if line and line not in there]
    if new:
        files.append(directory / LOG, "".join(f"{line}\n" for line in new))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def as_text(fields: Mapping[str, Any]) -> str:
    """A record as the act and the export from the log, in Russian, with blanks for what only the operator knows."""
    counts = fields.get("counts")
    digests = [fields["digest"]] if fields.get("digest") else fields.get("digests", [])
    digest = ", ".join(digests)
    if counts is None and fields["kind"] != "purge":
        rows = "      не завершено: удаление закончит сервис при запуске или следующая команда pbx-connector forget"
    elif counts is None:
        rows = "      прервано: сколько удалено, неизвестно; удаление следовало повторить"
    else:
        rows = "\n".join(f"      {CATEGORIES.get(name, name)} — {count}" for name, count in counts.items())
        rows = rows or "      ничего не найдено"
    if digest:
        what = "отпечаток номера" if len(digests) == 1 else "отпечатки номеров"
        subject = f"обращение № ____________ ({what} в системе: {digest})"
    else:
        subject = "лица, чьи звонки получены в указанный период"
    return ACT.format_map(
        {
            **fields,
            "method": METHOD,
            "files": f"\n   Файлы коннектора: {fields['files']}" if fields.get("files") else "",
            "subject": subject,
            "rows": rows,
            "period": f"\n   Период данных: {fields['period']}" if fields.get("period") else "",
            "by": fields["user"] + (f" (через sudo: {fields['sudo_user']})" if fields["sudo_user"] else ""),
            "ended": fields.get("ended_at", "не завершено"),
            "unfinished": "" if fields.get("whole") else "\n   Внимание: удаление было прервано, см. следующие записи.",
            "what": KINDS.get(fields["kind"], fields["kind"]),
            "whose": digest or subject,
            "numbers": ", ".join(f"{name} {count}" for name, count in (counts or {}).items())
            or ("0" if counts == {} else "неизвестно"),
        }
    )


def _line(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False) + "\n"


def _now(zone: tzinfo) -> str:
    return f"{datetime.now(zone):%Y-%m-%d %H:%M:%S}"


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # in a container
        return f"uid {os.geteuid()}"
