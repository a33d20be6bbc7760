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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

METHOD = (
    "удаление записей из базы данных средствами СУБД; файлы SQLite — с затиранием удалённого нулями (secure_delete) и "
    "очисткой журнала упреждающей записи"
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
    "counters": "тексты последних отказов",
    "facts": "служебные заметки коннектора",
}


@dataclass(slots=True)
class Record:
    """One destruction as it goes on; `add` counts what was deleted."""

    said: dict[str, Any]
    path: Path
    counts: dict[str, int] = field(default_factory=dict)
    begun: bool = False

    def begin(self) -> None:
        """To be called before the first row goes."""
        if not self.begun:
            _append(self.path, {**self.said, "what": "began"})
            self.begun = True

    def add(self, counts: Mapping[str, int]) -> None:
        """So many rows of each table are gone."""
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0) + count


@contextmanager
def record(directory: Path, node: str, zone: Any, kind: str, why: str, **more: str) -> Iterator[Record]:
    """A destruction record, in `directory`, of a kind (`purge`, `forget`); `zone` of its moments is the call log's. It is
    written only if something was begun, and also when it is broken off by an exception."""
    said = {
        "id": secrets.token_hex(8),
        "kind": kind,
        "why": why,
        "began_at": _now(zone),
        "node": node,
        "host": socket.gethostname(),
        "user": _user(),
        "sudo_user": os.environ.get("SUDO_USER", ""),
        **more,
    }
    one = Record(said, directory / "acts.jsonl")
    whole = False
    try:
        yield one
        whole = True
    finally:
        if one.begun:
            counts = {name: count for name, count in one.counts.items() if count}
            _append(one.path, {**said, "what": "ended", "ended_at": _now(zone), "counts": counts, "whole": whole})


def records(directory: Path, since: datetime | None = None) -> list[dict[str, Any]]:
    """The records, the oldest first, begun not before `since` (wall clock in TIMEZONE); one that was broken off without a
    word has no `counts`."""
    found: dict[str, dict[str, Any]] = {}
    path = directory / "acts.jsonl"
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                said = json.loads(line)
            except ValueError:  # a crash in the middle of a line
                continue
            found[said["id"]] = said
    return [said for said in found.values() if since is None or said["began_at"] >= f"{since:%Y-%m-%d %H:%M:%S}"]


def merge(directory: Path, other: Path) -> None:
    """Lines of another log (a backup's) that this one lacks."""
    mine, theirs = directory / "acts.jsonl", other / "acts.jsonl"
    if theirs.exists():
        there = set(mine.read_text(encoding="utf-8").splitlines()) if mine.exists() else set()
        for line in theirs.read_text(encoding="utf-8").splitlines():
            if line and line not in there:
                _append(mine, line)


def told(said: dict[str, Any]) -> str:
    """A record as the act and the export from the log, in Russian, with blanks for what only the operator knows."""
    counts = said.get("counts")
    if counts is None:
        rows = ["      прервано: сколько удалено, неизвестно; удаление следовало повторить"]
    else:
        rows = [f"      {CATEGORIES.get(name, name)} — {count}" for name, count in counts.items()]
    if said.get("digest"):
        subject = f"обращение № ____________ (отпечаток номера в системе: {said['digest']})"
    else:
        subject = "лица, чьи звонки получены в указанный период (срок хранения истёк)"
    period = f"\n   Период данных: {said['period']}" if said.get("period") else ""
    by = said["user"] + (f" (через sudo: {said['sudo_user']})" if said["sudo_user"] else "")
    ended = said.get("ended_at", "не завершено")
    unfinished = "" if said.get("whole") else "\n   Внимание: удаление было прервано, см. следующие записи."
    return f"""АКТ ОБ УНИЧТОЖЕНИИ ПЕРСОНАЛЬНЫХ ДАННЫХ № {said["id"]}
(приказ Роскомнадзора от 28.10.2022 № 179)
1. Оператор (наименование или Ф. И. О., адрес): ______________________________________
2. Обработчик по поручению оператора, если есть (наименование или Ф. И. О., адрес): ____________
3. Субъект персональных данных: {subject}
   Ф. И. О. субъекта: ______________________________________
4. Уничтоженные персональные данные (категория — сколько записей):
{chr(10).join(rows)}{period}
5. Информационная система: коннектор АТС — 1С, узел {said["node"]} (сервер {said["host"]}): журнал звонков и приёмный ящик
6. Способ уничтожения: {METHOD}
7. Причина уничтожения: {said["why"]}
8. Дата уничтожения: {said["began_at"]} — {ended}{unfinished}
9. Уничтожил (Ф. И. О., должность, подпись): ____________________________ / ____________

Выгрузка из журнала регистрации событий (DATA_DIR/acts/acts.jsonl)
   {said["began_at"]} — {ended}; {KINDS.get(said["kind"], said["kind"])}; пользователь системы {by}; узел {said["node"]}
   субъект: {said.get("digest") or "срок хранения истёк"}; причина: {said["why"]}
   записей: {", ".join(f"{name} {count}" for name, count in (counts or {}).items()) or "неизвестно"}
Подписанный акт и выгрузка хранятся три года."""


KINDS = {"purge": "удаление по сроку хранения", "forget": "удаление данных человека", "again": "повторное удаление"}


def _append(path: Path, said: dict[str, Any] | str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = os.fstat(fd).st_size
        broken = bool(size) and os.pread(fd, 1, size - 1) != b"\n"
        os.write(fd, f"{chr(10) * broken}{line}\n".encode())
        os.fsync(fd)
    finally:
        os.close(fd)


def _now(zone: Any) -> str:
    return f"{datetime.now(zone):%Y-%m-%d %H:%M:%S}"


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # in a container
        return f"uid {os.geteuid()}"
