"""A base of 1C: constants, registers, tasks and catalogs of the description, transactions, queries, the log."""

import re
import sqlite3
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyodbc

import models
from tests.bsl.queries import OUTSIDE, Columns, Result, read, translated
from tests.bsl.values import EMPTY_DATE, BslError, Ref, Row, Value

TASK_OWN = {"Дата": "Дата", "Наименование": "Строка(150)", "Выполнена": "Булево", "ПометкаУдаления": "Булево"}


def initial(type_: str) -> Any:
    """The value of an attribute that nobody has filled."""
    kind = type_.partition("(")[0]
    return {"Строка": "", "Число": 0, "Булево": False, "Дата": EMPTY_DATE}.get(kind)


def fitted(type_: str, value: Any, where: str) -> Any:
    """A value as an attribute of this type keeps it: a text is cut. Another type is an error, where 1C would quietly
    keep an empty value."""
    kind, _, size = type_.partition("(")
    if kind == "ПроизвольнаяСсылка":
        if value is not None and not isinstance(value, Ref):
            raise BslError(f"{where}: {value!r} не ссылка")
        return value
    wanted: Any = {"Строка": str, "Булево": bool, "Дата": datetime}.get(kind, int | Decimal)
    if not isinstance(value, wanted) or (kind == "Число" and isinstance(value, bool)):
        raise BslError(f"{where}: {value!r} не {type_}")
    if kind == "Строка" and int(size[:-1]):
        return value[: int(size[:-1])].rstrip()
    if kind == "Число" and abs(value) >= 10 ** int(size[:-1]):
        raise BslError(f"{where}: {value} не помещается в {type_}")
    return value


class Typed(Value):
    """An object whose properties have types."""

    def __init__(self, where: str, types: dict[str, str]) -> None:
        super().__init__(**{name: initial(type_) for name, type_ in types.items()})
        self.where, self.types = where, {name.casefold(): type_ for name, type_ in types.items()}

    def set(self, name: str, value: Any) -> None:
        self.get(name)
        super().set(name, fitted(self.types[name.casefold()], value, f"{self.where}.{name}"))

    def row(self) -> dict[str, Any]:
        return {self.names[key]: value for key, value in self.fields.items()}


class Record(Typed):
    """РегистрСведенийМенеджерЗаписи."""

    def __init__(self, base: "Infobase", table: str, types: dict[str, str], key: list[str]) -> None:
        super().__init__(table, types)
        self._base, self._types, self._key, self._found = base, types, key, False

    def _where(self) -> str:
        return " AND ".join(f"{name} = ?" for name in self._key)

    def _key_values(self) -> list[Any]:
        return [self.get(name) for name in self._key]

    def Прочитать(self) -> None:
        names = ", ".join(self._types)
        rows = self._base.sql(f'SELECT {names} FROM "{self.where}" WHERE {self._where()}', self._key_values())
        self._found = bool(rows)
        for name, type_ in self._types.items():
            place = list(self._types).index(name)
            self.fields[name.casefold()] = read(rows[0][place], type_, self._base.ref) if rows else initial(type_)

    def Выбран(self) -> bool:
        return self._found

    def Записать(self) -> None:
        if any(value in ("", 0) for value in self._key_values()):
            raise BslError(f"{self.where}: измерение не заполнено")
        self._base.write(self.where, self._key, self.row())
        self._found = True

    def Удалить(self) -> None:
        self._base.sql(f'DELETE FROM "{self.where}" WHERE {self._where()}', self._key_values())


class TaskObject(Typed):
    """ЗадачаОбъект."""

    def __init__(self, base: "Infobase", table: str, types: dict[str, str], id: int = 0) -> None:
        super().__init__(table, types)
        self._base, self._id = base, id
        for name, value in base.stored(table, types, id).items() if id else ():
            self.fields[name.casefold()] = value

    def Записать(self) -> None:
        self._id = self._id or self._base.next_id()
        self._base.write(self.where, ["Ссылка"], {"Ссылка": self._id, **self.row()})


class RegisterManager(Value):
    """РегистрСведенийМенеджер."""

    def __init__(self, make: Callable[[], Record]) -> None:
        super().__init__()
        self._make = make

    def СоздатьМенеджерЗаписи(self) -> Record:
        return self._make()


class TaskManager(Value):
    """ЗадачаМенеджер."""

    def __init__(self, make: Callable[[], TaskObject]) -> None:
        super().__init__()
        self._make = make

    def СоздатьЗадачу(self) -> TaskObject:
        return self._make()


class Constant(Value):
    """КонстантаМенеджер."""

    def __init__(self, base: "Infobase", name: str, type_: str) -> None:
        super().__init__()
        self._base, self._name, self._type = base, name, type_

    def Получить(self) -> Any:
        return self._base.constants[self._name]

    def Установить(self, value: Any) -> None:
        self._base.constants[self._name] = fitted(self._type, value, self._name)


class Infobase:
    """`catalogs`: table -> column -> type, beside what the description has."""

    def __init__(
        self,
        description: Any,
        odbc: Callable[[], pyodbc.Connection] | None = None,
        catalogs: dict[str, dict[str, str]] | None = None,
    ) -> None:
        self.description, self._odbc, self._id = description, odbc, 0
        self._connection: pyodbc.Connection | None = None
        self.log: list[tuple[str, str, str]] = []  # event, level, text
        self.refuse: Callable[[str, dict[str, Any]], str] = lambda table, row: ""  # why a row cannot be written
        self.tables: dict[str, dict[str, str]] = {}
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        for name, register in description.REGISTERS.items():
            fields = {**register.dimensions, **register.resources}
            self._table(f"РегистрСведений.{name}", _types(fields), list(register.dimensions))
        for name, task in description.TASKS.items():
            own = {**TASK_OWN, "Наименование": f"Строка({task.description_length})"}
            self._table(
                f"Задача.{name}", {"Ссылка": f"Ссылка Задача.{name}", **own, **_types(task.attributes)}, ["Ссылка"]
            )
        for table, types in (catalogs or {}).items():
            self._table(table, types, [])
        self.constants = {name: initial(type_) for name, (type_, _) in description.CONSTANTS.items()}
        self._kept: dict[str, Any] | None = None

    def _table(self, name: str, types: dict[str, str], key: list[str]) -> None:
        primary = f", PRIMARY KEY ({', '.join(key)})" if key else ""
        self.db.execute(f'CREATE TABLE "{name}" ({", ".join(types)}{primary})')
        self.tables[name] = types

    # -- rows

    def sql(self, text: str, parameters: list[Any]) -> list[Any]:
        return self.db.execute(text, [_kept(value) for value in parameters]).fetchall()

    def write(self, table: str, key: list[str], row: dict[str, Any]) -> None:
        why = self.refuse(table, row)
        if why:
            raise BslError(why)
        marks = ", ".join("?" * len(row))
        self.sql(f'INSERT OR REPLACE INTO "{table}" ({", ".join(row)}) VALUES ({marks})', list(row.values()))

    def rows(self, table: str, order: str = "1") -> list[dict[str, Any]]:
        """All rows of a table, for a test."""
        types = self.tables[table]
        found = self.sql(f'SELECT {", ".join(types)} FROM "{table}" ORDER BY {order}', [])
        return [{n: read(v, types[n], self.ref) for n, v in zip(types, row, strict=True)} for row in found]

    def stored(self, table: str, types: dict[str, str], id: int) -> dict[str, Any]:
        (row,) = self.sql(f'SELECT {", ".join(types)} FROM "{table}" WHERE Ссылка = ?', [id])
        return {name: read(value, types[name], self.ref) for name, value in zip(types, row, strict=True)}

    def next_id(self) -> int:
        self._id += 1
        return self._id

    def ref(self, table: str, id: int) -> Ref:
        load = (lambda: self.task_object(table, id)) if table.startswith("Задача.") else None
        return Ref(table, id, load)

    def task_object(self, table: str, id: int = 0) -> TaskObject:
        types = {name: type_ for name, type_ in self.tables[table].items() if name != "Ссылка"}
        return TaskObject(self, table, types, id)

    def record(self, name: str) -> Record:
        table = f"РегистрСведений.{name}"
        return Record(self, table, self.tables[table], list(self.description.REGISTERS[name].dimensions))

    # -- queries

    def columns_of(self, path: str) -> Columns | None:
        if path.startswith(OUTSIDE):
            table = next((t for t in models.TABLES if t._meta.table_name == path.removeprefix(OUTSIDE)), None)
            return dict.fromkeys(models.columns(table), "") if table is not None else None
        return self.tables.get(path)

    def query(self, text: str, given: dict[str, Any]) -> Result:
        """Run a query. Raises BslError."""
        sql = translated(text, given, self.columns_of)
        words = re.sub(r"\bAS (\w+)", _alias(sql.names), sql.text)
        try:
            if sql.outside:
                found = self.outside().cursor().execute(words, *sql.parameters).fetchall()
            else:
                found = self.db.execute(words, sql.parameters).fetchall()
        except (pyodbc.Error, sqlite3.Error) as error:
            if sql.outside:
                self._connection = None
            raise BslError(f"Ошибка выполнения запроса: {error}") from error
        rows = [
            Row(**{n: read(v, t, self.ref) for n, v, t in zip(sql.names, row, sql.types, strict=True)}) for row in found
        ]
        return Result(sql.names, rows)

    def outside(self) -> pyodbc.Connection:
        """The external data source's connection; made anew after an error, as the platform makes it."""
        if self._connection is None:
            if self._odbc is None:
                raise BslError("Внешний источник данных не подключен")
            self._connection = self._odbc()
        return self._connection

    # -- transactions

    def begin(self) -> None:
        if self._kept is not None:
            raise BslError("Вложенная транзакция")
        self._kept = dict(self.constants)
        self.db.execute("BEGIN")

    def commit(self) -> None:
        if self._kept is None:
            raise BslError("Транзакция не начата")
        self._kept = None
        self.db.execute("COMMIT")

    def roll_back(self) -> None:
        if self._kept is None:
            raise BslError("Транзакция не начата")
        self.constants, self._kept = self._kept, None
        self.db.execute("ROLLBACK")

    @property
    def in_transaction(self) -> bool:
        return self._kept is not None


def _types(fields: dict[str, tuple[str, str]]) -> dict[str, str]:
    return {name: type_ for name, (type_, _) in fields.items()}


def _kept(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(" ")
    return value.id if isinstance(value, Ref) else value


def _alias(names: list[str]) -> Callable[[re.Match[str]], str]:
    return lambda found: f"AS {found[1]}" if re.fullmatch(r"[ct]\d+", found[1]) else f"AS c{names.index(found[1])}"
