"""The sample module for 1C: it parses, and names only tables, columns, routes and keys that there are.

Nothing here runs it: no 1C is at hand (deploy/1c/README.md says so). A rule that is checked has a snippet that breaks it.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import tree_sitter_bsl
from flask import Flask
from peewee import CharField, DateTimeField, TextField
from tree_sitter import Language, Node, Parser
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter

import config
import models
import schemas
from app import create_app
from calllog import database
from config import Settings
from handlers.make_call import Order
from tests.rig.service import ROOT

FOLDER = ROOT / "deploy" / "1c"
README = (FOLDER / "README.md").read_text(encoding="utf-8")
MODULES = {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.bsl"))}
CONTRACT = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
TABLES = {table._meta.table_name: table for table in models.TABLES}
SOURCE = "ЖурналЗвонков"  # the external data source's name
WINDOW = 5000  # of contract section 3
TAB = "    "

parser = Parser(Language(tree_sitter_bsl.language()))  # type: ignore[attr-defined]  # its stub is empty
each_module = pytest.mark.parametrize("name", MODULES)


# ------------------------------------------------------------------------------------------------------------ the tree


def tree(text: str) -> Node:
    return parser.parse(text.encode()).root_node


def words(node: Node | None) -> str:
    return node.text.decode() if node is not None and node.text is not None else ""


def walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from walk(child)


def nodes(text: str, *types: str) -> list[Node]:
    return [node for node in walk(tree(text)) if node.type in types]


def line(node: Node) -> int:
    return int(node.start_point[0]) + 1


def literal(node: Node) -> str:
    """The value of a string literal: without quotes and the bars of its further lines."""
    return re.sub(r"\n\s*\|", "\n", words(node)[1:-1]).replace('""', '"')


def literals(text: str) -> list[Node]:
    return nodes(text, "string")


def callee(node: Node) -> str:
    """The name that a call or `Новый` names."""
    return next(words(child) for child in node.children if child.type == "identifier")


def receiver(node: Node) -> str:
    """What stands before the dot of a call, or nothing."""
    parent = node.parent
    return words(parent.children[0]) if parent is not None and parent.type == "call_expression" else ""


def arguments(node: Node) -> list[str]:
    """The text of each argument, empty for one that was left out."""
    listed = next((child for child in node.children if child.type == "arguments"), None)
    if listed is None or len(listed.children) == 2:
        return []
    found = [""]
    for child in listed.children[1:-1]:
        if child.type == ",":
            found.append("")
        else:
            found[-1] = words(child)
    return found


def calls(text: str, *names: str) -> list[Node]:
    return [node for node in nodes(text, "method_call") if callee(node) in names]


def methods(text: str) -> dict[str, Node]:
    return {callee(node): node for node in nodes(text, "procedure_definition", "function_definition")}


# ------------------------------------------------------------------------------------------------------------- parsing

SIMPLE = ("assignment_statement", "call_statement", "rise_error_statement", "return_statement", "break_statement")
BLOCKS = ("if_statement", "try_statement", "for_statement", "for_each_statement", "continue_statement")


def parse_faults(text: str) -> list[str]:
    """What the grammar does not read, and the semicolons that it would forgive."""
    found = [f"line {line(n)}: {n.type}" for n in walk(tree(text)) if n.type == "ERROR" or n.is_missing]
    return found + [f"line {line(n)}: no ;" for n in nodes(text, *SIMPLE, *BLOCKS) if words(n.children[-1]) != ";"]


@each_module
def test_a_module_parses(name: str):
    assert parse_faults(MODULES[name]) == []


@pytest.mark.parametrize(
    "body",
    [
        "Если А Тогда\n\tБ();",
        "А = (1 + 2);",
        "Попытка\n\tБ();\nИсключение\n\tВызватьИсключение;\nКонецПопытки;",
        "А = 1\nБ = 2;",
        "А = Б(1, ;",
    ],
)
def test_what_does_not_parse_is_seen(body: str):
    assert parse_faults(f"Процедура Проба()\n{body}\nКонецПроцедуры\n")


# -------------------------------------------------------------------------------------------------------------- queries

KEYWORDS = frozenset(
    """ВЫБРАТЬ РАЗРЕШЕННЫЕ РАЗЛИЧНЫЕ ПЕРВЫЕ ПОМЕСТИТЬ УНИЧТОЖИТЬ КАК ИЗ ГДЕ И ИЛИ НЕ В МЕЖДУ ПОДОБНО СПЕЦСИМВОЛ ЕСТЬ NULL
    ЛЕВОЕ ПРАВОЕ ПОЛНОЕ ВНУТРЕННЕЕ ВНЕШНЕЕ СОЕДИНЕНИЕ ПО СГРУППИРОВАТЬ ИМЕЮЩИЕ УПОРЯДОЧИТЬ ВОЗР УБЫВ ОБЪЕДИНИТЬ ВСЕ ИТОГИ
    АВТОУПОРЯДОЧИВАНИЕ ИНДЕКСИРОВАТЬ ДЛЯ ИЗМЕНЕНИЯ ВЫБОР КОГДА ТОГДА ИНАЧЕ КОНЕЦ МАКСИМУМ МИНИМУМ СУММА СРЕДНЕЕ КОЛИЧЕСТВО
    ЕСТЬNULL ЗНАЧЕНИЕ ВЫРАЗИТЬ ПОДСТРОКА ДАТАВРЕМЯ ГОД МЕСЯЦ ДЕНЬ НАЧАЛОПЕРИОДА КОНЕЦПЕРИОДА ДОБАВИТЬКДАТЕ РАЗНОСТЬДАТ
    ИСТИНА ЛОЖЬ НЕОПРЕДЕЛЕНО ССЫЛКА ТИП ТИПЗНАЧЕНИЯ ПРЕДСТАВЛЕНИЕ""".split()
) - {"ССЫЛКА", "ПРЕДСТАВЛЕНИЕ"}  # also the names of standard attributes
DATES = {"ДАТАВРЕМЯ", "НАЧАЛОПЕРИОДА", "КОНЕЦПЕРИОДА", "ДОБАВИТЬКДАТЕ", "РАЗНОСТЬДАТ", "ГОД", "МЕСЯЦ", "ДЕНЬ"}
AGGREGATES = "МАКСИМУМ|МИНИМУМ|СУММА|СРЕДНЕЕ"
CLAUSE = re.compile(
    r"\b(?:ГДЕ|ПО|ИМЕЮЩИЕ)\b(.*?)(?=\b(?:УПОРЯДОЧИТЬ|СГРУППИРОВАТЬ|ИМЕЮЩИЕ|ГДЕ|ОБЪЕДИНИТЬ)\b|;|\Z)", re.S
)


def queries(text: str) -> list[str]:
    """The query texts of a module, in whatever case they were written."""
    return [said for said in map(literal, literals(text)) if re.match(r"\s*выбрать\b", said, re.IGNORECASE)]


def query_faults(query: str) -> list[str]:
    """What is wrong with a query text: its style, its names, and what these drivers do not carry."""
    found: list[str] = []
    plain = re.sub(r'"[^"]*"', '""', query)
    aliases = dict(re.findall(r"([\w.]+)\s+КАК\s+(\w+)", re.sub(r".*?\bИЗ\b", "", plain, count=1, flags=re.S)))
    sources = {alias: path for path, alias in aliases.items()}
    outside = {}
    for path in re.findall(r"ВнешнийИсточникДанных[\w.]*", plain):
        match = re.fullmatch(rf"ВнешнийИсточникДанных\.{SOURCE}\.Таблица\.(\w+)", path)
        if match is None or match[1] not in TABLES:
            found.append(f"no such table: {path}")
    for alias, path in sources.items():
        table = TABLES.get(path.rpartition(".")[2])
        if path.startswith("ВнешнийИсточникДанных.") and table is not None:
            outside[alias] = table
    chosen = re.split(r"\bИЗ\b", plain)[0]
    fields = [field.strip() for field in re.sub(r"^\s*ВЫБРАТЬ(?: РАЗЛИЧНЫЕ| РАЗРЕШЕННЫЕ)*", "", chosen).split(",\n")]
    found += [f"no alias: {field}" for field in fields if not re.search(r"\sКАК \w+$", field)]
    names = set(re.findall(r"\bКАК\s+(\w+)", plain))
    paths = set(sources.values())
    for token in re.findall(r"&?[\w.]+", re.sub(r"\bКАК\s+\w+", "", plain)):
        head, _, column = token.partition(".")
        if token.startswith("&") or token.isdigit() or token in paths or token in KEYWORDS:
            continue
        if token.upper() in KEYWORDS:
            found.append(f"not in capitals: {token}")
        elif column and head in outside:
            if column not in models.columns(outside[head]):
                found.append(f"no such column: {token}")
        elif token not in names if not column else head not in sources:
            found.append(f"of no table: {token}")
    if "ПЕРВЫЕ" in re.findall(r"\w+", plain.upper()):
        found.append("ПЕРВЫЕ")
    if outside:
        found += [f"a date: {word}" for word in DATES & set(re.findall(r"\w+", plain.upper()))]
        found += [f"{what}: {token}" for token, what in unsafe(plain, outside)]
    return found


def unsafe(query: str, tables: dict[str, type[models.Table]]) -> Iterator[tuple[str, str]]:
    """(alias.column, why) of what a query to the external source may not do with a column."""

    def fields(text: str) -> Iterator[tuple[str, object, int]]:
        for alias, column in re.findall(r"(?<![\w.&])(\w+)\.(\w+)", text):
            field = tables[alias]._meta.fields.get(column) if alias in tables else None
            yield f"{alias}.{column}", field, getattr(field, "max_length", 0) or 0

    for clause in CLAUSE.findall(query):
        for token, field, longest in fields(clause):
            if isinstance(field, DateTimeField):
                yield token, "a condition on a date"
            elif (isinstance(field, TextField) and not isinstance(field, CharField)) or longest > 255:
                yield token, "a condition on an unlimited string"
    for inside in re.findall(rf"\b(?:{AGGREGATES})\(([^)]*)\)", query):
        for token, field, _ in fields(inside):
            if isinstance(field, DateTimeField):
                yield token, "a computed date"


@each_module
def test_a_query_names_what_there_is_and_does_what_the_drivers_carry(name: str):
    assert [fault for query in queries(MODULES[name]) for fault in query_faults(query)] == []


def test_the_queries_are_found():
    found = [query for text in MODULES.values() for query in queries(text)]
    assert {table for table in TABLES if any(f".Таблица.{table} " in query for query in found)} == {
        "calls",
        "call_legs",
        "feed_status",
    }
    assert sum(text.count("Новый Запрос;") for text in MODULES.values()) == len(found)


GOOD = """ВЫБРАТЬ
\tЗ.id КАК Ид
ИЗ
\tВнешнийИсточникДанных.ЖурналЗвонков.Таблица.calls КАК З
ГДЕ
\tЗ.change_no > &Позиция"""


@pytest.mark.parametrize(
    ("was", "becomes", "fault"),
    [
        ("Таблица.calls", "Таблица.phone_calls", "no such table"),
        ("ЖурналЗвонков", "Журнал", "no such table"),
        ("З.id", "З.number", "no such column: З.number"),
        ("З.change_no", "З.changed", "no such column: З.changed"),
        ("З.change_no", "change_no", "of no table: change_no"),
        ("З.change_no", "К.change_no", "of no table: К.change_no"),
        ("З.id КАК Ид", "З.id", "no alias"),
        ("ВЫБРАТЬ", "Выбрать", "not in capitals: Выбрать"),
        ("&Позиция", "&Позиция и З.is_missed = 1", "not in capitals: и"),
        ("ВЫБРАТЬ", "ВЫБРАТЬ ПЕРВЫЕ 100", "ПЕРВЫЕ"),
        ("З.change_no", "З.started_at", "a condition on a date"),
        ("&Позиция", "&Позиция И З.started_at > &Начало", "a condition on a date"),
        ("&Позиция", "&Позиция И З.change_no < ДАТАВРЕМЯ(2025, 1, 1)", "a date: ДАТАВРЕМЯ"),
        ("З.change_no", "З.recording_url", "a condition on an unlimited string"),
        (
            "calls КАК З\nГДЕ\n\tЗ.change_no",
            "call_events КАК З\nГДЕ\n\tЗ.payload",
            "a condition on an unlimited string",
        ),
        ("З.id", "МАКСИМУМ(З.updated_at)", "a computed date"),
    ],
)
def test_a_query_that_breaks_a_rule_is_seen(was: str, becomes: str, fault: str):
    assert query_faults(GOOD) == []
    assert fault in "; ".join(query_faults(GOOD.replace(was, becomes)))
    assert [*queries('Запрос.Текст = "' + GOOD.replace("\n", "\n\t|").replace("ВЫБРАТЬ", "Выбрать") + '";')]


SQL = {"ВЫБРАТЬ": "SELECT", "РАЗЛИЧНЫЕ": "DISTINCT", "КАК": "AS", "ИЗ": "FROM", "ГДЕ": "WHERE", "И": "AND", "ПО": ""}
SQL |= {"УПОРЯДОЧИТЬ": "ORDER BY", "МАКСИМУМ": "MAX", f"ВнешнийИсточникДанных.{SOURCE}.Таблица.": "", "&": ":"}


def test_a_query_to_the_call_log_answers_when_said_in_sql(tmp_path: Path):
    """Word for word, on SQLite: 150 calls, each with two legs of a known extension and one without."""
    db = database.open_database(f"sqlite:///{tmp_path}/calls.db", create=True)
    database.upgrade(f"sqlite:///{tmp_path}/calls.db", lambda _: None)
    with db.connection_context():
        for number in range(1, 151):
            row = {"id": number, "change_no": number * 100, "provider": "uis", "provider_call_id": str(number)}
            models.Calls.insert(**row).execute(db)
            for leg, ext in enumerate(["102", "101", ""]):
                models.CallLegs.insert(id=number * 3 + leg, call_id=number, leg_key=leg, employee_ext=ext).execute(db)
        answers = []
        for query in queries(MODULES["calls_server.bsl"]):
            if "ВнешнийИсточникДанных" not in query:
                continue
            said = re.sub(
                r"(?<![\w.])(ВнешнийИсточникДанных\.\w+\.\w+\.|[А-Я]+\b|&)", lambda m: SQL.get(m[1], m[1]), query
            )
            given = {name: {"ТекущаяПозиция": 4950, "ИдЗвонка": 2}[name] for name in re.findall(r"&(\w+)", query)}
            answers.append(db.connection().execute(said, given).fetchall())
    newest, window, legs, status = answers
    assert newest == [(15000,)]
    assert [row[1] for row in window] == list(range(5000, 9951, 100))
    assert legs == [("101",), ("102",)]
    assert status == []


def parameter_faults(text: str) -> list[str]:
    """Parameters that a method's queries have and nobody sets, or the other way."""
    found = []
    for name, method in methods(text).items():
        asked = {word for query in queries(words(method)) for word in re.findall(r"&(\w+)", query)}
        given = {arguments(node)[0].strip('"') for node in calls(words(method), "УстановитьПараметр")}
        found += [f"{name}: {word}" for word in asked ^ given]
    return found


@each_module
def test_a_query_gets_the_parameters_that_it_has(name: str):
    assert parameter_faults(MODULES[name]) == []


def test_a_parameter_that_nobody_sets_is_seen():
    body = MODULES["calls_server.bsl"].replace('УстановитьПараметр("ИдЗвонка"', 'УстановитьПараметр("ИдЗвонкa"')
    assert parameter_faults(body)


def test_the_changes_are_asked_for_as_the_contract_says():
    """The bounds and the order of section 3; MAX(change_no) is read before the window, and the window's size is one."""
    text = MODULES["calls_server.bsl"]
    (query,) = [query for query in queries(text) if "recording_url" in query]
    asked = re.sub(r"\s+", " ", query)
    assert "ГДЕ Звонки.change_no > &ТекущаяПозиция И Звонки.change_no <= &ТекущаяПозиция + 5000 " in asked
    assert asked.endswith("УПОРЯДОЧИТЬ ПО НомерИзменения")
    assert "Звонки.change_no КАК НомерИзменения" in asked
    assert (
        f"`SELECT … FROM calls WHERE change_no > &From AND change_no <= &From + {WINDOW} ORDER BY change_no`"
        in CONTRACT
    )
    assert f"Возврат {WINDOW};" in words(methods(text)["РазмерОкна"])
    follow = words(methods(text)["ПрочитатьИзменения"])
    assert follow.index("ПоследнийНомерИзменения()") < follow.index("ИзменившиесяЗвонки(")
    assert follow.index("ЗаписатьЗвонок(") < follow.index("Константы.ЗвонкиПозиция.Установить(")


# ----------------------------------------------------------------------------------------------------- routes and JSON


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """The application with an empty call log."""
    folder = tmp_path_factory.mktemp("1c")
    url = f"sqlite:///{folder}/calls.db"
    database.upgrade(url, lambda _: None)
    feeds = {name: config.FeedSettings(name) for name in schemas.feeds()}
    return create_app(Settings(data_dir=folder, database_url=url, feeds=feeds, api_key="test-api-key"))


@pytest.fixture(scope="module")
def routes(service: Flask) -> MapAdapter:
    return service.url_map.bind("")


def requests_of(text: str) -> list[tuple[str, str]]:
    """(method, address) of every literal with /api/ in it; the method is the first argument of a call it stands in."""
    found = []
    for node in literals(text):
        if not re.match(r"/\w", literal(node)):
            continue
        method, above = "", node.parent
        while above is not None and not method:
            if above.type == "method_call" and callee(above) == "ВыполнитьЗапрос":
                method = arguments(above)[0].strip('"')
            above = above.parent
        found.append((method, literal(node)))
    return found


def route_faults(text: str, routes: MapAdapter) -> list[str]:
    """Requests that are no route of the service."""
    found = []
    for method, address in requests_of(text):
        try:
            routes.match(address.partition("?")[0], method)
        except HTTPException:
            found.append(f"{method} {address}")
    return found


@each_module
def test_an_address_is_a_route(name: str, routes: MapAdapter):
    assert route_faults(MODULES[name], routes) == []


def test_an_address_that_is_no_route_is_seen(routes: MapAdapter):
    good = MODULES["click_to_call.bsl"]
    assert route_faults(good.replace("/api/make-call", "/api/makecall"), routes) == ["POST /api/makecall"]
    assert route_faults(good.replace('"POST"', '"PUT"'), routes) == ["PUT /api/make-call"]


def test_every_address_for_1c_is_asked():
    asked = {pair for text in MODULES.values() for pair in requests_of(text)}
    assert {(method, address.partition("?")[0]) for method, address in asked} == {
        ("GET", "/api/changes"),
        ("POST", "/api/make-call"),
        ("PUT", "/api/contacts"),
    }
    (changes,) = [address for method, address in asked if method == "GET"]
    told = re.search(r"`GET /api/changes\?([^`]*)`", CONTRACT)
    assert told is not None
    assert re.findall(r"(\w+)=", changes) == re.findall(r"(\w+)=", told[1])


def keys_read(text: str) -> set[str]:
    """Latin properties that the module reads: those of JSON, 1C's own names being Russian."""
    named = {words(node) for node in nodes(text, "property")}
    asked = {arguments(node)[0].strip('"') for node in calls(text, "Свойство")}
    return {word for word in named | asked if re.fullmatch(r"[a-z_]+", word)}


def keys_sent(text: str) -> set[str]:
    """Latin keys that the module puts in."""
    given = {arguments(node)[0].strip('"') for node in calls(text, "Вставить")}
    return {word for word in given if re.fullmatch(r"[a-z_]+", word)}


ANSWERS = {"position", "more", "calls", "legs", "written", "error", "message"}  # beside columns


@each_module
def test_a_json_key_that_is_read_is_a_column_or_in_an_answer(name: str):
    known = {*models.columns(models.Calls), *models.columns(models.CallLegs), *ANSWERS}
    assert keys_read(MODULES[name]) - known == set()


def test_a_json_key_that_is_none_is_seen():
    text = MODULES["calls_client.bsl"]
    assert {"client_number", "employee_ext", "position", "legs"} <= keys_read(text)
    assert "client_phone" in keys_read(text.replace("Звонок.client_number", "Звонок.client_phone"))


def test_the_keys_that_are_sent_are_those_that_the_service_takes():
    order = {field.data_key or name for name, field in Order().fields.items()}
    required = {field.data_key or name for name, field in Order().fields.items() if field.required}
    sent = keys_sent(MODULES["click_to_call.bsl"])
    assert required | {"request_id"} <= sent <= order
    contact = keys_sent(MODULES["contacts.bsl"])
    assert contact < set(models.columns(models.Contacts))
    assert f"`{{{', '.join(sorted(contact, key=models.columns(models.Contacts).index))}}}`" in CONTRACT


def test_the_answers_have_the_keys_that_the_modules_read(service: Flask):
    """The real answers of /api/changes and /api/contacts, and a refusal."""
    key, client = {"Authorization": "Bearer test-api-key"}, service.test_client()
    changes = client.get("/api/changes?after=0&ext=102&limit=500", headers=key)
    assert changes.status_code == 200
    assert {"position", "more", "calls"} <= changes.get_json().keys()
    contact = {"client_number": "79201119613", "client_name": "Клиент", "responsible_ext": ""}
    written = client.put("/api/contacts", json=[contact], headers=key)
    assert (written.status_code, written.get_json()["written"]) == (200, 1)
    assert {"error", "message"} <= client.get("/api/changes").get_json().keys()


# ------------------------------------------------------------------------------------------------------ 1C's standards


def transaction_faults(text: str) -> list[str]:
    """Standard 783: begin right before Попытка, commit last in it, roll back first after Исключение, raise at the end."""
    found = []
    for begin in calls(text, "НачатьТранзакцию"):
        statement = begin.parent
        attempt = statement.next_named_sibling if statement is not None else None
        if attempt is None or attempt.type != "try_statement":
            found.append("no Попытка after НачатьТранзакцию")
            continue
        middle = [words(child) for child in attempt.children].index("Исключение")
        tried, caught = (
            [words(node) for node in part if node.is_named and node.type.endswith("_statement")]
            for part in (attempt.children[:middle], attempt.children[middle:])
        )
        if tried[-1:] != ["ЗафиксироватьТранзакцию();"]:
            found.append("the commit is not last")
        if caught[:1] != ["ОтменитьТранзакцию();"]:
            found.append("the rollback is not first")
        if not caught[-1].startswith("ВызватьИсключение"):
            found.append("the exception goes no further")
        if not any(said.startswith("Блокировка.Заблокировать()") for said in tried):
            found.append("no lock")
    if len(calls(text, "НачатьТранзакцию")) != len(calls(text, "ЗафиксироватьТранзакцию")):
        found.append("begin and commit are no pair")
    return found


def caught_faults(text: str) -> list[str]:
    """Standard 499: what is caught is logged; and a Попытка is about one risky thing, unless it is a transaction."""
    found = []
    for attempt in nodes(text, "try_statement"):
        middle = [words(child) for child in attempt.children].index("Исключение")
        caught = "".join(words(child) for child in attempt.children[middle:])
        if "ЗаписьЖурналаРегистрации(" not in caught:
            found.append(f"line {line(attempt)}: not logged")
        tried = [child for child in attempt.children[:middle] if child.type.endswith("_statement")]
        if len(tried) > 2 and "ОтменитьТранзакцию" not in caught:
            found.append(f"line {line(attempt)}: a wide Попытка")
    return found


def log_faults(text: str) -> list[str]:
    """Standard 498: an event is named by a function, «Звонки.…», in the main language; the key is never written."""
    found = []
    events = methods(text)
    for node in calls(text, "ЗаписьЖурналаРегистрации"):
        event, level, *_ = [*arguments(node), "", ""]
        said = words(events.get(event.removesuffix("()")))
        if not re.search(r"НСтр\(\"ru = 'Звонки\.[^']+'\", .*Язык", said):
            found.append(f"line {line(node)}: event {event}")
        if not re.match(r"УровеньЖурналаРегистрации\.|Уровень$", level):
            found.append(f"line {line(node)}: level {level}")
        if re.search(r"\b(Ключ|Заголовки|HTTPЗапрос|Тело)\b", words(node)):
            found.append(f"line {line(node)}: the key")
    return found


REGIONS = {
    "ОписаниеПеременных",
    "ПрограммныйИнтерфейс",
    "ОбработчикиСобытийФормы",
    "ОбработчикиКомандФормы",
    "СлужебныеПроцедурыИФункции",
}


def region_faults(text: str) -> list[str]:
    """Standard 455: regions are closed, the outer ones have the standard's names, and every method is in one."""
    found: list[str] = []
    depth = 0
    for number, said in enumerate(text.splitlines(), 1):
        if opened := re.match(r"#Область (\w+)$", said):
            if not depth and opened[1] not in REGIONS:
                found.append(f"line {number}: {opened[1]}")
            depth += 1
        elif said == "#КонецОбласти":
            depth -= 1
        elif re.match(r"(Процедура|Функция|Перем) ", said) and depth < 1:
            found.append(f"line {number}: outside")
        if depth < 0:
            found.append(f"line {number}: nothing to close")
    return found + (["not closed"] if depth else [])


def text_faults(text: str) -> list[str]:
    """Standards 456 and 453: lines up to 120, tabs, exported methods described, the header says what was not done."""
    found = [f"line {n}: long" for n, s in enumerate(text.splitlines(), 1) if len(s.replace("\t", TAB)) > 120]
    found += [f"line {n}: blanks" for n, s in enumerate(text.splitlines(), 1) if s != s.rstrip() or s.startswith(" ")]
    for method in methods(text).values():
        exported = any(child.type == "EXPORT_KEYWORD" for child in method.children)
        above = method.prev_sibling
        while above is not None and above.type == "preprocessor" and words(above).startswith("&"):
            above = above.prev_sibling
        if exported and (above is None or above.type != "line_comment"):
            found.append(f"line {line(method)}: not described")
    if "внутри 1С не выполнялся" not in text.partition("#Область")[0]:
        found.append("the header does not say that it was not run")
    return found


def connection_faults(text: str) -> list[str]:
    """Standard 748: HTTPСоединение has its time-out (the 6th argument); https is verified."""
    found = []
    for node in nodes(text, "new_expression"):
        if callee(node) == "HTTPСоединение" and arguments(node)[5:6] != ["Таймаут"]:
            found.append(f"line {line(node)}: no time-out")
        if callee(node) == "ЗащищенноеСоединениеOpenSSL" and "СертификатыУдостоверяющихЦентров" not in words(node):
            found.append(f"line {line(node)}: not verified")
    return found


CHECKS = [transaction_faults, caught_faults, log_faults, region_faults, text_faults, connection_faults]


@each_module
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_module_follows_the_standards(name: str, check):
    assert check(MODULES[name]) == []


@pytest.mark.parametrize(
    ("check", "name", "was", "becomes"),
    [
        (transaction_faults, "calls_server.bsl", "\tНачатьТранзакцию();\n", "\tНачатьТранзакцию();\n\tА();\n"),
        (
            transaction_faults,
            "calls_server.bsl",
            "\tЗафиксироватьТранзакцию();\n",
            "\tЗафиксироватьТранзакцию();\n\tА();\n",
        ),
        (transaction_faults, "calls_server.bsl", "\tОтменитьТранзакцию();\n", "\tА();\n\tОтменитьТранзакцию();\n"),
        (transaction_faults, "calls_server.bsl", "\t\tВызватьИсключение ТекстОшибки;\n", ""),
        (transaction_faults, "calls_server.bsl", "\t\tБлокировка.Заблокировать();\n", ""),
        (caught_faults, "calls_http.bsl", "ЗаписьЖурналаРегистрации(", "Сообщить("),
        (caught_faults, "calls_http.bsl", "\tПопытка\n", "\tПопытка\n\t\tА();\n\t\tБ();\n"),
        (log_faults, "contacts.bsl", "Звонки.Выгрузка", "Выгрузка"),
        (log_faults, "contacts.bsl", "\t\tСобытиеВыгрузкаКонтактов(),", '\t\t"Выгрузка",'),
        (
            log_faults,
            "calls_http.bsl",
            "Результат.КодСостояния, Результат.Сообщение));",
            "Ключ, Результат.Сообщение));",
        ),
        (region_faults, "contacts.bsl", "#КонецОбласти\n", ""),
        (region_faults, "contacts.bsl", "#Область ПрограммныйИнтерфейс\n", ""),
        (region_faults, "contacts.bsl", "#Область ПрограммныйИнтерфейс\n", "#Область Разное\n"),
        (text_faults, "contacts.bsl", "не выполнялся", "проверен"),
        (text_faults, "contacts.bsl", "//\nПроцедура ", "//\nПерем Лишнее;\nПроцедура "),
        (connection_faults, "calls_http.bsl", ", Таймаут, ", ", , "),
        (connection_faults, "calls_http.bsl", "Новый СертификатыУдостоверяющихЦентровОС", "Неопределено"),
    ],
)
def test_a_module_that_leaves_a_standard_is_seen(check, name: str, was: str, becomes: str):
    assert was in MODULES[name]
    assert check(MODULES[name].replace(was, becomes, 1))


# -------------------------------------------------------------------------------------------------- names of 1C's own

PLATFORM = set(  # the functions of 1C's global context that the modules call
    """НСтр СтрШаблон СтрСоединить СтрРазделить СтрЗаменить СтрНачинаетсяС НРег Формат Мин Макс Строка Тип ТипЗнч
    ПустаяСтрока ЗначениеЗаполнено ЗаполнитьЗначенияСвойств ТекущаяДатаСеанса ТекущаяУниверсальнаяДата УниверсальноеВремя
    УстановитьПривилегированныйРежим НачатьТранзакцию ЗафиксироватьТранзакцию ОтменитьТранзакцию ИнформацияОбОшибке
    ЗаписьЖурналаРегистрации ПрочитатьJSON ЗаписатьJSON КодироватьСтроку ПодключитьОбработчикОжидания ОткрытьФорму
    ПоказатьОповещениеПользователя ПоказатьПредупреждение""".split()
)


def module_names() -> dict[str, str]:
    """Common module -> its file, as the first lines of the files say."""
    named = {name: re.search(r"Общий модуль (\w+)", text) for name, text in MODULES.items()}
    return {match[1]: name for name, match in named.items() if match}


def name_faults(text: str) -> list[str]:
    """Calls of methods that are not there, calls with another number of arguments, objects that the README lacks."""
    found = []
    mine, ours = methods(text), {name: methods(MODULES[file]) for name, file in module_names().items()}
    for node in nodes(text, "method_call"):
        whose, called, given = receiver(node), callee(node), len(arguments(node))
        if whose in ours or (not whose and called in mine):
            method = ours.get(whose, mine).get(called)
            heading = words(method).partition(")")[0] if method is not None else ""
            asked = [part for part in heading.partition("(")[2].split(",") if part.strip()]
            least = len([part for part in asked if "=" not in part])
            exported = method is not None and any(child.type == "EXPORT_KEYWORD" for child in method.children)
            if not heading or not least <= given <= len(asked) or (whose and not exported):
                found.append(f"line {line(node)}: {whose}.{called} with {given}")
        elif not whose and called not in PLATFORM:
            found.append(f"line {line(node)}: {called}")
    handlers = [arguments(node)[0] for node in calls(text, "ПодключитьОбработчикОжидания")]
    handlers += [arguments(n)[0] for n in nodes(text, "new_expression") if callee(n) == "ОписаниеОповещения"]
    found += [f"no handler {name}" for name in handlers if name.strip('"') not in mine]
    objects = r"\b(?:Константы|РегистрыСведений|РегистрСведений|Задачи|Задача|ОбщаяФорма)\.(\w+)"
    found += [f"not in the README: {name}" for name in re.findall(objects, text) if f"| `{name}` |" not in README]
    return found


@each_module
def test_a_module_calls_what_there_is_and_the_readme_tells_its_objects(name: str):
    assert name_faults(MODULES[name]) == []


@pytest.mark.parametrize(
    ("name", "was", "becomes"),
    [
        ("contacts.bsl", "ЗвонкиHTTP.ВыполнитьЗапрос(", "ЗвонкиHTTP.Выполнить("),
        ("contacts.bsl", "ЗвонкиHTTP.ВыполнитьЗапрос(", "ЗвонкиHTTP.НовоеСоединение("),
        ("contacts.bsl", "ОтправитьПорцию(Порция);", "ОтправитьПорцию();"),
        ("contacts.bsl", "СтрШаблон(", "СтрШаблн("),
        ("calls_server.bsl", "Константы.ЗвонкиПозиция", "Константы.ЗвонкиПозиции"),
        ("calls_client.bsl", '"ОповещениеПриНажатии"', '"ПриНажатии"'),
        ("calls_client.bsl", 'Ожидания("Подключаемый_Проверить', 'Ожидания("Проверить'),
    ],
)
def test_a_name_that_is_nowhere_is_seen(name: str, was: str, becomes: str):
    assert was in MODULES[name]
    assert name_faults(MODULES[name].replace(was, becomes, 1))


def attributes(thing: str) -> dict[str, str]:
    """Attribute -> type of an object of the README's table."""
    found: dict[str, str] = {}
    current = ""
    for said in README.splitlines():
        row = re.match(r"\| (?:`(\w+)`)? ?\| [^|]*\| ([^|]*)\| ([^|]*)\|", said)
        if row:
            current = row[1] or current
            if current == thing:
                found |= dict.fromkeys(re.findall(r"`(\w+)`", row[2]), row[3].strip())
    return found


def test_an_attribute_holds_its_column():
    """What the change query brings has a place in ИсторияЗвонков, of the column's type and length."""
    text = MODULES["calls_server.bsl"]
    (query,) = [query for query in queries(text) if "recording_url" in query]
    wanted = {}
    for column, alias in re.findall(r"Звонки\.(\w+) КАК (\w+)", query):
        field = models.Calls._meta.fields[column]
        if isinstance(field, CharField):
            wanted[alias] = f"Строка({field.max_length})"
        elif isinstance(field, DateTimeField):
            wanted[alias] = "Дата и время"
        else:
            wanted[alias] = {"BIGINT": "Число(19)", "BIGAUTO": "Число(19)", "SMALLINT": "Булево"}.get(
                field.field_type, "Число(10)"
            )
    assert attributes("ИсторияЗвонков") == wanted
    assert attributes("ПерезвонитьКлиенту")["НомерКлиента"] == wanted["НомерКлиента"]


def test_what_the_modules_set_on_an_object_is_an_attribute_of_it():
    text = MODULES["calls_server.bsl"]
    standard = {"Дата", "Наименование", "ПометкаУдаления", "Выполнена"}
    named = {(words(n).partition(".")[0], words(n).partition(".")[2]) for n in nodes(text, "property_access")}
    assert {name for thing, name in named if thing == "Запись"} <= attributes("ИсторияЗвонков").keys()
    assert {name for thing, name in named if thing == "ЗадачаОбъект"} - standard <= attributes(
        "ПерезвонитьКлиенту"
    ).keys()


def test_the_readme_tells_every_module_and_that_none_was_run():
    assert "**Внутри 1С этот образец не выполнялся.**" in README
    for name, text in MODULES.items():
        assert f"[{name}]({name})" in README
        (module,) = re.findall(r"\A/+\n// (?:Общий модуль|Модуль общей формы) (\w+)", text)
        assert f"`{module}`" in README


def test_every_exported_method_named_in_the_readme_is_there():
    for module, method in re.findall(r"метод `(\w+)\.(\w+)`", README):
        assert method in methods(MODULES[module_names()[module]])


def test_the_modules_are_text_that_1c_takes():
    for path in Path(FOLDER).glob("*.bsl"):
        assert path.name.isascii()
        assert b"\r" not in path.read_bytes()
        assert not path.read_bytes().startswith(b"\xef\xbb\xbf")
