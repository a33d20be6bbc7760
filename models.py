"""The call log: the tables that 1C reads over ODBC (docs/contract.md section 2), and the way to open them.

Rules that keep them readable there: lower-case ASCII names, one numeric key a table, only BIGINT, INTEGER, SMALLINT,
VARCHAR, TEXT and whole-second DATETIME; text is NOT NULL DEFAULT ''; NULL only for what is not known yet.
"""

from dataclasses import dataclass
from typing import Any

from peewee import (
    SQL,
    BigAutoField,
    BigIntegerField,
    CharField,
    Context,
    DateTimeField,
    IntegerField,
    Model,
    MySQLDatabase,
    NodeList,
    SmallIntegerField,
    TextField,
)

VERSION = 2  # of the schema this release makes: schema_info.version, and the number of its last migration
READABLE_BY = 2  # schema_info.readable_by: the lowest VERSION whose release may write these tables as they are


class Commented:
    """A field whose Russian `help_text` becomes the column's comment where the database has comments."""

    def ddl(self: Any, ctx: Context) -> NodeList:
        nodes: NodeList = super().ddl(ctx)  # type: ignore[misc]
        if isinstance(self.model._meta.database, MySQLDatabase) and self.help_text:
            return NodeList([nodes, SQL("COMMENT '%s'" % self.help_text.replace("'", "''").replace("%", "%%"))])
        return nodes


class Key(Commented, BigAutoField):
    """The one numeric key: AUTO_INCREMENT on MySQL; on SQLite a plain BIGINT that calllog/batch.py numbers, because only a
    column declared INTEGER numbers itself there, and the SQLite ODBC driver reads big numbers of such a column wrong."""


class Big(Commented, BigIntegerField):
    """BIGINT."""


class Small(Commented, SmallIntegerField):
    """SMALLINT 0/1."""


class Whole(Commented, IntegerField):
    """INTEGER."""


class Moment(Commented, DateTimeField):
    """DATETIME in whole seconds, wall clock of TIMEZONE."""


class Chars(Commented, CharField):
    """VARCHAR NOT NULL DEFAULT ''."""


class ProviderId(Chars):
    """VARCHAR that compares byte by byte: ids that differ only by case are two ids on MySQL too."""

    def ddl(self: Any, ctx: Context) -> NodeList:
        self.collation = "utf8mb4_bin" if isinstance(self.model._meta.database, MySQLDatabase) else None
        return super().ddl(ctx)


class Long(Commented, TextField):
    """TEXT: what nobody searches."""


def number(comment: str, null: bool = False) -> Any:
    if null:
        return Whole(help_text=comment, null=True)
    return Whole(help_text=comment, default=0, constraints=[SQL("DEFAULT 0")])


def flag(comment: str) -> Any:
    return Small(help_text=comment, default=0, constraints=[SQL("DEFAULT 0")])


def moment(comment: str, **options: Any) -> Any:
    return Moment(help_text=comment, null=True, **options)


def chars(longest: int, comment: str, kind: type[Chars] = Chars, **options: Any) -> Any:
    return kind(longest, help_text=comment, default="", constraints=[SQL("DEFAULT ''")], **options)


class Table(Model):
    """Base: unbound; every query names its database, because one process may open two call logs (db copy)."""

    id: Any
    call_id: Any
    _meta: Any
    _schema: Any

    class Meta:
        legacy_table_names = False


class Calls(Table):
    """Звонки: одна строка — один звонок"""

    id = Key(help_text="Ключ, никогда не меняется, в том числе при пересборке звонка")
    change_no = Big(unique=True, help_text="Номер изменения: новый и больший при каждом изменении строки")
    provider = chars(16, "Провайдер: uis, hooktype, mtt, xvb", ProviderId)
    provider_call_id = chars(128, "Идентификатор звонка у провайдера", ProviderId)
    account = chars(64, "Учётная запись у провайдера (app_id UIS, access_code XVB)")
    direction = chars(8, "Направление: in, out, internal или пусто")
    state = chars(8, "Состояние: ringing, talking, ended")
    disposition = chars(
        16, "Итог: answered, missed, no_answer, busy, rejected, cancelled, failed, unknown, void; пусто до завершения"
    )
    is_answered = flag("1 — разговор состоялся")
    is_missed = flag("1 — входящий, завершён, никто не ответил")
    provider_lost = flag("1 — провайдер называет звонок потерянным (UIS), входящий или исходящий")
    client_number = chars(32, "Номер клиента: 7XXXXXXXXXX для российских номеров", index=True)
    line_number = chars(32, "Номер компании, на который или с которого звонили")
    employee_number = chars(32, "Телефон сотрудника, говорившего последним")
    employee_ext = chars(32, "Добавочный сотрудника, говорившего последним", index=True)
    employee_ids = chars(255, "Идентификаторы сотрудников у провайдера через запятую")
    caller_raw = chars(64, "Кто звонил, как прислал провайдер")
    called_raw = chars(64, "Кому звонили, как прислал провайдер")
    client_name = chars(255, "Имя клиента у провайдера")
    provider_contact_id = chars(64, "Идентификатор контакта у провайдера")
    scenario_name = chars(255, "Сценарий обработки звонка у провайдера")
    started_at = moment("Начало звонка", index=True)
    answered_at = moment("Начало разговора")
    ended_at = moment("Завершение звонка")
    wait_seconds = number("Ожидание, секунд", null=True)
    talk_seconds = number("Разговор, секунд", null=True)
    total_seconds = number("Весь звонок, секунд", null=True)
    reason = chars(32, "Причина завершения в наших словах")
    reason_raw = chars(255, "Причина завершения, как прислал провайдер")
    hangup_by = chars(8, "Кто положил трубку: client, employee или пусто")
    recording_url = chars(1024, "Ссылка на лучшую запись; все записи — в call_recordings")
    call_source = chars(64, "Источник звонка у провайдера")
    external_id = chars(128, "Внешний идентификатор (заказанный звонок)")
    events_count = number("Сколько событий известно о звонке")
    first_event_at = moment("Первое событие получено, по нашим часам")
    last_event_at = moment("Последнее событие получено, по нашим часам")
    updated_at = moment("Строка изменена, по нашим часам")
    # since schema version 2; a column that a release adds comes last, where every database adds it without a rewrite
    employee_name = chars(255, "Имя сотрудника, говорившего последним")
    redirected_from = chars(32, "Номер, с которого звонок переадресован")

    class Meta:
        indexes = ((("provider", "provider_call_id"), True), (("state", "last_event_at"), False))


class CallLegs(Table):
    """Попытки дозвона: одна строка — один вызов одного участника"""

    id = Key(help_text="Ключ")
    call_id = Big(help_text="Звонок, calls.id")
    leg_key = chars(128, "Участник: номер или добавочный", ProviderId)
    employee_number = chars(32, "Телефон сотрудника")
    employee_ext = chars(32, "Добавочный сотрудника", index=True)
    started_at = moment("Начало вызова участника")
    answered_at = moment("Ответ участника")
    ended_at = moment("Завершение вызова участника")
    reason = chars(32, "Причина завершения в наших словах")
    reason_raw = chars(255, "Причина завершения, как прислал провайдер")
    employee_name = chars(255, "Имя сотрудника")

    class Meta:
        indexes = ((("call_id", "leg_key"), True),)


class CallRecordings(Table):
    """Записи разговоров"""

    id = Key(help_text="Ключ")
    call_id = Big(help_text="Звонок, calls.id")
    url_hash = chars(64, "Отпечаток записи: своя запись — свой отпечаток", ProviderId)
    kind = chars(8, "full — весь разговор, leg — часть, voice — голосовая почта")
    url = chars(1024, "Ссылка; пусто, если адрес составить нельзя")
    provider_record_id = chars(64, "Идентификатор записи у провайдера", ProviderId)
    seconds = number("Длительность, секунд", null=True)

    class Meta:
        indexes = ((("call_id", "url_hash"), True),)


class CallAttributes(Table):
    """Прочее, что прислал провайдер: теги, регион, рекламная кампания и всё, для чего нет своей колонки"""

    id = Key(help_text="Ключ")
    call_id = Big(help_text="Звонок, calls.id")
    name = chars(64, "Название у провайдера: tags, cpn_region_name …", ProviderId)
    content = chars(1024, "Что прислано; списки через запятую")

    class Meta:
        indexes = ((("call_id", "name"), True),)


class CallEvents(Table):
    """События звонков: из них складывается строка calls"""

    id = Key(help_text="Ключ")
    call_id = Big(index=True, help_text="Звонок, calls.id")
    event_key = chars(64, "Отпечаток присланного: повтор имеет тот же", ProviderId, unique=True)
    feed = chars(16, "Поток уведомлений: uis, mgerm, hooktype, mtt, xvb; пусто у собственных событий")
    kind = chars(16, "Что случилось: ringing, answered, ended …")
    occurred_at = moment("Время события у провайдера")
    received_at = moment("Получено, по нашим часам")
    notification_name = chars(255, "Название уведомления у провайдера")
    node = chars(64, "Узел, принявший уведомление")
    payload = Long(help_text="Понятое событие, JSON")


class Contacts(Table):
    """Контакты для карточки звонящего: пишет 1С"""

    id = Key(help_text="Ключ")
    client_number = chars(32, "Номер клиента в любом написании", index=True)
    client_name = chars(255, "Имя клиента")
    responsible_ext = chars(32, "Добавочный ответственного")
    updated_at = moment("Изменён")


class Employees(Table):
    """Сотрудники: кому какой добавочный принадлежит"""

    id = Key(help_text="Ключ")
    employee_ext = chars(32, "Добавочный", index=True)
    employee_number = chars(32, "Телефон сотрудника в любом написании")
    provider_employee_id = chars(64, "Идентификатор сотрудника у провайдера", ProviderId)
    employee_name = chars(255, "Имя сотрудника")
    updated_at = moment("Изменён")


class FeedStatus(Table):
    """Состояние приёма: пишется каждую минуту, чтобы отличить тишину от остановки"""

    id = Key(help_text="Ключ")
    node = chars(64, "Узел", ProviderId)
    feed = chars(16, "Поток уведомлений", ProviderId)
    last_delivery_at = moment("Последнее уведомление")
    waiting = number("Ждут передачи в журнал")
    dead = number("Отвергнуты, требуют внимания")
    updated_at = moment("Строка записана")
    settings = chars(32, "Версия и отпечаток настроек, одинаковых у узлов")

    class Meta:
        indexes = ((("node", "feed"), True),)


class ForgottenList(Table):
    """Отпечатки удалённых по требованию человека: по ним каждый узел узнаёт, кого не возвращать; строки коннектора"""

    id = Key(help_text="Ключ")
    list_key = chars(64, "Ключ отпечатка", ProviderId)
    kind = chars(8, "Чей отпечаток: number, own, call, contact, done", ProviderId)
    digest = chars(64, "Отпечаток", ProviderId)
    forgotten_ms = Big(help_text="Когда удалён, миллисекунды с 1970 UTC", default=0, constraints=[SQL("DEFAULT 0")])

    class Meta:
        indexes = ((("list_key", "kind", "digest", "forgotten_ms"), True),)


class ChangeCounter(Table):
    """Счётчик изменений: последняя строка, которую блокирует запись в журнал"""

    id = Key(help_text="Ключ, всегда 1")
    change_no = Big(help_text="Последний выданный calls.change_no", default=0, constraints=[SQL("DEFAULT 0")])
    last_id = Big(help_text="Последний выданный ключ строки (SQLite)", default=0, constraints=[SQL("DEFAULT 0")])
    incarnation = chars(32, "Метка журнала: другая — журнал восстановлен из копии")
    restored_from = Big(help_text="change_no, с которым журнал восстановлен", default=0, constraints=[SQL("DEFAULT 0")])


class SchemaInfo(Table):
    """Версия таблиц"""

    id = Key(help_text="Ключ, всегда 1")
    version = number("Версия")
    readable_by = number("Младшая версия, чей выпуск может писать в эти таблицы")


TABLES: tuple[type[Table], ...] = (
    Calls,
    CallLegs,
    CallRecordings,
    CallAttributes,
    CallEvents,
    Contacts,
    Employees,
    FeedStatus,
    ForgottenList,
    ChangeCounter,
    SchemaInfo,
)


@dataclass(frozen=True, slots=True)
class Position:
    """How far the call log had come when a node last saw it: each node keeps its own in its inbox.

    `reached` is the highest number that it was about to commit: readers may have seen it though the node never learned
    so. `past` are the incarnations it has known, each with the number up to which the next one is the same log."""

    change_no: int = 0
    incarnation: str = ""
    reached: int = 0
    past: tuple[tuple[str, int], ...] = ()


def columns(table: type[Table]) -> tuple[str, ...]:
    """The table's column names, in order, `id` first."""
    return tuple(field.column_name for field in table._meta.sorted_fields)


# ------------------------------------------------------------------------------------------------------------ upgrades
