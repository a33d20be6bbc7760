"""Values: numbers are int or Decimal, texts str, dates datetime, Неопределено None; objects are Value.

A Value's methods have the names that they have in 1C; a name that starts with a capital is one of 1C.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

EMPTY_DATE = datetime(1, 1, 1)
NAME = re.compile(r"[A-Za-zА-Яа-яЁё_][A-Za-zА-Яа-яЁё_0-9]*")


class BslError(Exception):
    """An exception of the language; `where` is the module and the line."""

    where = ""


class Null:
    """NULL of a query."""

    def __repr__(self) -> str:
        return "NULL"


NULL = Null()


class Value:
    """An object: properties by name, whatever their case, and methods."""

    methods: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls) -> None:
        named = {n.casefold(): n for n, member in inspect.getmembers(cls, inspect.isfunction) if n[0].isupper()}
        cls.methods = named

    def __init__(self, **fields: Any) -> None:
        self.fields = {name.casefold(): value for name, value in fields.items()}
        self.names = {name.casefold(): name for name in fields}

    def get(self, name: str) -> Any:
        if name.casefold() not in self.fields:
            raise BslError(f"Поле объекта не обнаружено ({name}): {type(self).__name__}")
        return self.fields[name.casefold()]

    def set(self, name: str, value: Any) -> None:
        if name.casefold() not in self.fields:
            raise BslError(f"Поле объекта не обнаружено ({name}): {type(self).__name__}")
        self.fields[name.casefold()] = value

    def call(self, name: str, arguments: list[Any]) -> Any:
        if name.casefold() not in self.methods:
            raise BslError(f"Метод объекта не обнаружен ({name}): {type(self).__name__}")
        method = getattr(self, self.methods[name.casefold()])
        try:
            inspect.signature(method).bind(*arguments)
        except TypeError as error:
            raise BslError(f"{type(self).__name__}.{name}: {error}") from None
        return method(*arguments)

    def item(self, key: Any) -> Any:
        raise BslError(f"{type(self).__name__} не индексируется")

    def set_item(self, key: Any, value: Any) -> None:
        raise BslError(f"{type(self).__name__} не индексируется")


class Structure(Value):
    """Структура."""

    def __init__(self, keys: str | None = None, *values: Any) -> None:
        super().__init__()
        for place, key in enumerate(part.strip() for part in (keys or "").split(",") if part.strip()):
            self.Вставить(key, values[place] if place < len(values) else None)

    def Вставить(self, key: str, value: Any = None) -> None:
        if not NAME.fullmatch(key):
            raise BslError(f"Неверное имя ключа структуры {key}")
        self.fields[key.casefold()], self.names[key.casefold()] = value, key

    def Свойство(self, key: str) -> bool:
        return key.casefold() in self.fields


class Map(Value):
    """Соответствие."""

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[Any, Any] = {}

    def Вставить(self, key: Any, value: Any = None) -> None:
        self.items[key] = value

    def Получить(self, key: Any) -> Any:
        return self.items.get(key)

    def Удалить(self, key: Any) -> None:
        self.items.pop(key, None)

    def Количество(self) -> int:
        return len(self.items)


class Array(Value):
    """Массив."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        super().__init__()
        self.items = list(items)

    def Добавить(self, value: Any = None) -> None:
        self.items.append(value)

    def Вставить(self, place: int, value: Any = None) -> None:
        self.items.insert(place, value)

    def Количество(self) -> int:
        return len(self.items)

    def Найти(self, value: Any) -> int | None:
        return next((place for place, there in enumerate(self.items) if equal(there, value)), None)

    def item(self, key: Any) -> Any:
        if not isinstance(key, int) or not 0 <= key < len(self.items):
            raise BslError(f"Индекс находится за границами массива: {key}")
        return self.items[key]


class Row(Value):
    """A row of a table: just its columns."""


class Table(Value):
    """ТаблицаЗначений, and a form's table."""

    def __init__(self, columns: Iterable[str] = (), rows: Iterable[Row] = ()) -> None:
        super().__init__()
        self.columns, self.items = list(columns), list(rows)

    def Количество(self) -> int:
        return len(self.items)

    def Добавить(self) -> Row:
        row = Row(**dict.fromkeys(self.columns))
        self.items.append(row)
        return row

    def item(self, key: Any) -> Row:
        if not 0 <= key < len(self.items):
            raise BslError(f"Индекс за границами таблицы: {key}")
        row: Row = self.items[key]
        return row


class Ref(Value):
    """A reference to an object of the base: equal by what it refers to."""

    def __init__(self, table: str, id: int, load: Callable[[], Value] | None = None, **fields: Any) -> None:
        super().__init__(**fields)
        self.table, self.id, self._load = table, id, load

    def ПолучитьОбъект(self) -> Value:
        if self._load is None:
            raise BslError(f"{self.table}: объект не получить")
        return self._load()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and (other.table, other.id) == (self.table, self.id)

    def __hash__(self) -> int:
        return hash((self.table, self.id))


# ------------------------------------------------------------------------------------------------------------ operators


def truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | Decimal):
        return value != 0
    raise BslError(f"Преобразование значения к типу Булево не может быть выполнено: {value!r}")


def equal(left: Any, right: Any) -> bool:
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    if isinstance(left, Value) or isinstance(right, Value):
        return left is right or bool(isinstance(left, Ref) and left == right)
    same_kind = type(left) is type(right) or (_number(left) and _number(right))
    return bool(same_kind and left == right)


def compare(sign: str, left: Any, right: Any) -> bool:
    comparable = type(left) is type(right) or (_number(left) and _number(right))
    if not comparable or left is None or isinstance(left, Value | Null | bool):
        raise BslError(
            "Операции сравнения на больше-меньше допустимы только для значений совпадающих примитивных типов: "
            f"{left!r} {sign} {right!r}"
        )
    return bool({"<": left < right, ">": left > right, "<=": left <= right, ">=": left >= right}[sign])


def add(sign: str, left: Any, right: Any) -> Any:
    """+ - * / %."""
    if sign == "+" and isinstance(left, str):
        return left + shown(right)
    if isinstance(left, datetime) and sign in "+-":
        if isinstance(right, datetime) and sign == "-":
            return int((left - right).total_seconds())
        if _number(right):
            try:
                return left + timedelta(seconds=float(right) * (1 if sign == "+" else -1))
            except OverflowError:
                return EMPTY_DATE
    if not (_number(left) and _number(right)):
        raise BslError(f"Преобразование значения к типу Число не может быть выполнено: {left!r} {sign} {right!r}")
    if sign in "/%" and not right:
        raise BslError("Деление на 0")
    done = {
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
        "/": lambda: Decimal(left) / right,
        "%": lambda: left % right,
    }
    return done[sign]()


def _number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def iterated(value: Any) -> Iterator[Any]:
    if isinstance(value, Array | Table):
        return iter(list(value.items))
    if isinstance(value, Map):
        return iter([Row(Ключ=key, Значение=there) for key, there in value.items.items()])
    raise BslError(f"Итератор для значения не определен: {value!r}")


def shown(value: Any) -> str:
    """As 1C turns a value into text: numbers with blanks between their thousands."""
    if value is None or value is NULL:
        return ""
    if isinstance(value, bool):
        return "Да" if value else "Нет"
    if isinstance(value, datetime):
        return "" if value == EMPTY_DATE else value.strftime("%d.%m.%Y %H:%M:%S")
    if isinstance(value, int | Decimal):
        return f"{value:,}".replace(",", "\u00a0").replace(".", ",")
    return value if isinstance(value, str) else type(value).__name__
