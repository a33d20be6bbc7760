"""docs/1c-schema.md from the models: python -m tests.odbc_report > docs/1c-schema.md

The ODBC types are those that tests/calllog checks against both drivers, the meanings are the columns' comments.
"""

import sys
from typing import Any

import models
from tests.rig import odbc

# One answered incoming call, as the tables hold it.
EXAMPLES: dict[str, dict[str, str | int]] = {
    "calls": {
        "id": 1204,
        "change_no": 5127,
        "provider": "uis",
        "provider_call_id": "187020303",
        "account": "4055",
        "direction": "in",
        "state": "ended",
        "disposition": "answered",
        "is_answered": 1,
        "is_missed": 0,
        "provider_lost": 0,
        "client_number": "79201119613",
        "line_number": "74951234567",
        "employee_number": "79161112233",
        "employee_ext": "101",
        "employee_ids": "17,18",
        "caller_raw": "79201119613",
        "called_raw": "74951234567",
        "client_name": "Иванов Иван",
        "provider_contact_id": "90210",
        "scenario_name": "Рабочее время",
        "started_at": "2024-03-01 10:00:00",
        "answered_at": "2024-03-01 10:00:10",
        "ended_at": "2024-03-01 10:01:00",
        "wait_seconds": 10,
        "talk_seconds": 50,
        "total_seconds": 60,
        "reason": "normal",
        "reason_raw": "subscriber_disconnects",
        "hangup_by": "client",
        "recording_url": "https://media.example.ru/187020303.mp3",
        "call_source": "sip",
        "external_id": "order-77",
        "events_count": 4,
        "first_event_at": "2024-03-01 10:00:01",
        "last_event_at": "2024-03-01 10:01:03",
        "updated_at": "2024-03-01 10:01:03",
        "employee_name": "Петрова Анна",
        "redirected_from": "74950665310",
    },
    "call_legs": {
        "id": 2301,
        "call_id": 1204,
        "leg_key": "101",
        "employee_number": "79161112233",
        "employee_ext": "101",
        "started_at": "2024-03-01 10:00:02",
        "answered_at": "2024-03-01 10:00:10",
        "ended_at": "2024-03-01 10:01:00",
        "reason": "normal",
        "reason_raw": "subscriber_disconnects",
        "employee_name": "Петрова Анна",
    },
    "call_recordings": {
        "id": 811,
        "call_id": 1204,
        "url_hash": "9f2c1ab0" * 8,
        "kind": "full",
        "url": "https://media.example.ru/187020303.mp3",
        "provider_record_id": "f81d4fae7dec",
        "seconds": 50,
    },
    "call_attributes": {
        "id": 6120,
        "call_id": 1204,
        "name": "cpn_region_name",
        "content": "Москва и Московская область",
    },
    "call_events": {
        "id": 4980,
        "call_id": 1204,
        "event_key": "41d0e37b" * 8,
        "feed": "uis",
        "kind": "ended",
        "occurred_at": "2024-03-01 10:01:00",
        "received_at": "2024-03-01 10:01:03",
        "notification_name": "Завершение звонка",
        "node": "pbx1",
        "payload": '{"v": 1, …}',
    },
    "contacts": {
        "id": 15,
        "client_number": "+7 920 111-96-13",
        "client_name": "Иванов Иван",
        "responsible_ext": "101",
        "updated_at": "2024-03-01 09:00:00",
    },
    "employees": {
        "id": 3,
        "employee_ext": "101",
        "employee_number": "+7 916 111-22-33",
        "provider_employee_id": "17",
        "employee_name": "Петрова Анна",
        "updated_at": "2024-03-01 09:00:00",
    },
    "forgotten_list": {
        "id": 3,
        "list_key": "41d0e37b" * 8,
        "kind": "call",
        "digest": "7be013d4" * 8,
        "forgotten_ms": 1795510800000,
    },
    "feed_status": {
        "id": 1,
        "node": "pbx1",
        "feed": "uis",
        "last_delivery_at": "2024-03-01 10:01:03",
        "waiting": 0,
        "dead": 0,
        "updated_at": "2024-03-01 10:01:40",
        "settings": "0.2.0 5f1c0d9e7a3b",
    },
    "change_counter": {
        "id": 1,
        "change_no": 5127,
        "last_id": 8803,
        "incarnation": "7c9e6679" * 4,
        "restored_from": 0,
    },
    "schema_info": {"id": 1, "version": 2, "readable_by": 2},
}

OURS = {
    "forgotten_list": "Служебная: в 1С не нужна.",
    "change_counter": "Служебная: в 1С не нужна, читать и менять её нельзя.",
    "schema_info": "Служебная: в 1С не нужна.",
}

TOP = """\
# Таблицы журнала для 1С: типы через ODBC

<!-- Составлено из models.py командой: python -m tests.odbc_report > docs/1c-schema.md. Руками не править: тест сравнит. -->

Для разработчика 1С: какие поля создать во внешнем источнике данных. Что таблицы значат и как следить за изменениями —
[контракт](contract.md), разделы 2 и 3.

Тесты сверяют эту страницу с тем, что отвечают драйверы (SQLColumns, SQLPrimaryKeys, описание результата), и проверяют
значения, которые через них читаются: MariaDB Connector/ODBC («MariaDB Unicode») с MariaDB и «SQLite3 ODBC Driver» с SQLite.
Драйвер MySQL Connector/ODBC и сама платформа 1С в тестах не участвуют. Столбец «тип в 1С» — что выбрать в мастере, если он
предложил другое.

## Правила

| в базе | ODBC: MariaDB | ODBC: SQLite | тип в 1С |
| --- | --- | --- | --- |
| BIGINT | SQL_BIGINT | SQL_BIGINT | Число (19, 0) |
| INTEGER | SQL_INTEGER | SQL_INTEGER | Число (10, 0) |
| SMALLINT, только 0 и 1 | SQL_SMALLINT | SQL_SMALLINT | Число (5, 0); не Булево |
| VARCHAR(n) | SQL_WVARCHAR(n) | SQL_VARCHAR(n); если n больше 255 — SQL_LONGVARCHAR(n) | Строка (n), переменная |
| TEXT | SQL_WLONGVARCHAR | SQL_LONGVARCHAR | Строка неограниченной длины |
| DATETIME, целые секунды | SQL_TYPE_TIMESTAMP | SQL_TYPE_TIMESTAMP | Дата (дата и время) |

- **Ключ каждой таблицы — одно поле `id`**, число. Драйвер MariaDB сообщает, что `id` может быть NULL (при вставке его не
  указывают); NULL там не бывает, флаг «Разрешить NULL» не нужен.
- **NULL** бывает только там, где в столбце «NULL» стоит «да»: момент или длительность ещё не известны. Неизвестная строка —
  пустая, не NULL.
- **Длинные ссылки.** Драйвер SQLite выдаёт VARCHAR(1024) за длинный текст; выберите Строка (1024): длиннее не бывает.
- **Наибольший `change_no`** на SQLite читайте из столбца: `SELECT change_no FROM calls ORDER BY change_no DESC LIMIT 1`.
  У `MAX(…)` и других выражений нет объявленного типа, драйвер считает их 32-битными, и после 2 147 483 647 значение
  неверно. Или добавьте в строку соединения `BigInt=1`.
- **Дата как параметр** на SQLite: драйвер передаёт `10:00:00` как текст `10:00:00.000`, поэтому равенство не находит
  ничего, а «больше или равно» теряет ровно эту секунду. Отбирайте по `change_no` или промежутком на
  секунду шире.
- **Сравнение строк.** MariaDB не различает регистр, `е` и `ё` (кроме идентификаторов провайдера), SQLite различает всё.
- **После восстановления журнала из копии** звонок, записанный после неё, может получить другой `id`. Узнавайте звонок по
  паре `provider` и `provider_call_id`.
- **Запись** по ODBC — только в `contacts` и `employees` и только в MySQL или MariaDB; контакты с SQLite — запросом
  `PUT /api/contacts`.

Строка соединения, SQLite: `Driver={SQLite3};Database=/путь/calls.db;NoCreat=1;Timeout=10000`. Без `NoCreat=1` опечатка в
пути создаст пустую базу. MariaDB: `Driver={MariaDB Unicode};Server=…;Port=3306;Database=calls;UID=…;PWD=…`.
"""


def one_c(field: Any) -> str:
    """The 1C type to choose for a column."""
    if isinstance(field, models.Key | models.Big):
        return "Число (19, 0)"
    if isinstance(field, models.Whole):
        return "Число (10, 0)"
    if isinstance(field, models.Small):
        return "Число (5, 0)"
    if isinstance(field, models.Moment):
        return "Дата (дата и время)"
    if isinstance(field, models.Long):
        return "Строка неограниченной длины"
    return f"Строка ({field.max_length})"


def page() -> str:
    """The whole page."""
    lines = [TOP]
    for table in models.TABLES:
        name = table._meta.table_name
        lines += [f"## {name}", "", f"{table.__doc__}."]
        if name in OURS:
            lines.append(OURS[name])
        lines += ["", "| столбец | ODBC: MariaDB | ODBC: SQLite | тип в 1С | NULL | что это | пример |"]
        lines.append("| --- | --- | --- | --- | --- | --- | --- |")
        for field in table._meta.sorted_fields:
            column = field.column_name
            types = " | ".join(odbc.column(field, database).name for database in ("mysql", "sqlite"))
            null = "да" if field.null else ""
            example = f"`{EXAMPLES[name][column]}`"
            lines.append(f"| {column} | {types} | {one_c(field)} | {null} | {field.help_text} | {example} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(page())
