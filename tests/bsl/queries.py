"""1C's queries, in the subset that the modules use, as SQL: over the base's own tables (SQLite) or over ODBC."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from tests.bsl.values import NULL, Array, BslError, Ref, Row, Table, Value

OUTSIDE = "ВнешнийИсточникДанных.ЖурналЗвонков.Таблица."
WORDS = {
    "ВЫБРАТЬ": "SELECT", "РАЗЛИЧНЫЕ": "DISTINCT", "КАК": "AS", "ИЗ": "FROM", "ГДЕ": "WHERE", "И": "AND", "ИЛИ": "OR",
    "НЕ": "NOT", "В": "IN", "УПОРЯДОЧИТЬ": "ORDER", "ПО": "BY", "УБЫВ": "DESC", "ВОЗР": "ASC", "СГРУППИРОВАТЬ": "GROUP",
    "МАКСИМУМ": "MAX", "МИНИМУМ": "MIN", "СУММА": "SUM", "КОЛИЧЕСТВО": "COUNT", "ЕСТЬ": "IS", "NULL": "NULL",
}  # fmt: skip
TOKEN = re.compile(r'"(?:[^"]|"")*"|&\w+|[\w.]+|<>|<=|>=|[-+*/=<>(),]', re.UNICODE)

Columns = Mapping[str, str]  # name -> type


class Sql(NamedTuple):
    """A query in SQL; `names` and `types` of its columns."""

    text: str
    parameters: list[Any]
    names: list[str]
    types: list[str]
    outside: bool


def translated(query: str, given: Mapping[str, Any], columns_of: Callable[[str], Columns | None]) -> Sql:
    """The query in SQL. Raises BslError for a table, a column, a word or a parameter that is not there."""
    tokens = TOKEN.findall(query)
    if re.sub(r"\s", "", query) != "".join(re.sub(r"\s", "", token) for token in tokens):
        raise BslError(f"Синтаксическая ошибка в запросе: {query}")
    sources = _sources(tokens)
    outside = any(path.startswith(OUTSIDE) for path in sources.values())
    columns: dict[str, Columns] = {}
    for alias, path in sources.items():
        there = columns_of(path)
        if there is None:
            raise BslError(f"Таблица не найдена: {path}")
        columns[alias] = there
    names, types = _chosen(tokens, columns)
    asked = {token[1:] for token in tokens if token.startswith("&")}
    if asked != set(given):
        raise BslError(f"Не заданы или лишние параметры запроса: {asked ^ set(given)}")
    words: list[str] = []
    parameters: list[Any] = []
    limit = ""
    place = 0
    while place < len(tokens):
        token = tokens[place]
        if token == "ПЕРВЫЕ":
            if outside:
                raise BslError("ПЕРВЫЕ: не всякий драйвер это понимает")
            limit, place = f" LIMIT {int(tokens[place + 1])}", place + 1
        else:
            words.append(_word(token, sources, columns, names, given, parameters))
        place += 1
    text = re.sub(r"\b(MAX|MIN|SUM|COUNT) \(", r"\1(", " ".join(words))  # to MariaDB a blank makes it another function
    return Sql(text + limit, parameters, names, types, outside)


def _sources(tokens: list[str]) -> dict[str, str]:
    """Alias -> path of what stands after ИЗ and СОЕДИНЕНИЕ."""
    starts = [n for n, token in enumerate(tokens) if token in ("ИЗ", "СОЕДИНЕНИЕ")]
    for start in starts:
        if tokens[start + 2 : start + 3] != ["КАК"]:
            raise BslError(f"У таблицы нет псевдонима: {tokens[start + 1]}")
    return {tokens[start + 3]: tokens[start + 1] for start in starts}


def _chosen(tokens: list[str], columns: Mapping[str, Columns]) -> tuple[list[str], list[str]]:
    names, types = [], []
    end = tokens.index("ИЗ")
    for place, token in enumerate(tokens[:end]):
        if token == "КАК":
            names.append(tokens[place + 1])
            types.append("" if tokens[place - 1] == ")" else _type(tokens[place - 1], columns))
    return names, types


def _type(token: str, columns: Mapping[str, Columns]) -> str:
    parts = token.split(".")
    if len(parts) == 2 and parts[0] in columns:
        return columns[parts[0]].get(parts[1], "")
    return ""


def _word(
    token: str,
    sources: Mapping[str, str],
    columns: Mapping[str, Columns],
    names: list[str],
    given: Mapping[str, Any],
    parameters: list[Any],
) -> str:
    if token.startswith("&"):
        value = given[token[1:]]
        listed = [_stored(item) for item in value.items] if isinstance(value, Array) else [_stored(value)]
        parameters.extend(listed)
        return ", ".join("?" * len(listed))
    if token.startswith('"'):
        return "'" + token[1:-1].replace('""', '"').replace("'", "''") + "'"
    if token in WORDS:
        return WORDS[token]
    if token.upper() in WORDS:
        raise BslError(f"Ключевое слово не заглавными: {token}")
    if token in sources.values():
        return token.removeprefix(OUTSIDE) if token.startswith(OUTSIDE) else f'"{token}"'
    if token in sources:
        return f"t{list(sources).index(token)}"
    if token in names:
        return f"c{names.index(token)}"
    if not re.match(r"[^\W\d]", token):
        return token
    alias, _, path = token.partition(".")
    if alias not in sources:
        raise BslError(f"Поле не найдено: {token}")
    column, _, further = path.partition(".")
    if column not in columns[alias]:
        raise BslError(f"Поле не найдено: {token}")
    number = list(sources).index(alias)
    if further:  # of what the reference refers to
        table = ".".join(sources[alias].split(".")[:2])
        return f'(SELECT o.{further} FROM "{table}" o WHERE o.{column} = t{number}.{column})'
    return f"t{number}.{column}"


def _stored(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(" ")
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Ref):
        return value.id
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else float(value)
    if value is None or isinstance(value, Value):
        raise BslError(f"Параметр запроса такого типа здесь не бывает: {value!r}")
    return value


def read(value: Any, type_: str, ref: Callable[[str, int], Ref]) -> Any:
    """A value of the base's own table, or of ODBC where there is no type."""
    if value is None:
        return NULL
    if type_ == "Булево":
        return bool(value)
    if type_ == "Дата":
        return datetime.fromisoformat(value)
    if type_.startswith("Ссылка "):
        return ref(type_.removeprefix("Ссылка "), value)
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else value
    if isinstance(value, float):
        return int(value) if value == int(value) else Decimal(str(value))
    return value


class Result(Value):
    """РезультатЗапроса."""

    def __init__(self, names: list[str], rows: list[Row]) -> None:
        super().__init__()
        self.columns, self.rows = names, rows

    def Выгрузить(self) -> Table:
        return Table(self.columns, self.rows)

    def Выбрать(self) -> "Selection":
        return Selection(self.rows)

    def Пустой(self) -> bool:
        return not self.rows


class Selection(Value):
    """ВыборкаИзРезультатаЗапроса."""

    def __init__(self, rows: list[Row]) -> None:
        super().__init__()
        self.rows, self.place = rows, -1

    def Следующий(self) -> bool:
        self.place += 1
        return self.place < len(self.rows)

    def get(self, name: str) -> Any:
        if not 0 <= self.place < len(self.rows):
            raise BslError("Выборка не спозиционирована")
        return self.rows[self.place].get(name)
