"""The platform: its functions, its types and its global objects, for the client and for the server."""

import http.client
import json
import re
import ssl
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from tests.bsl.infobase import Constant, Infobase, RegisterManager, TaskManager, initial
from tests.bsl.language import CLIENT, Frame, Module
from tests.bsl.values import EMPTY_DATE, NULL, Array, BslError, Map, Null, Row, Structure, Table, Value, shown

ZONE = ZoneInfo("Europe/Moscow")
ENUMS = {
    "УровеньЖурналаРегистрации": ("Ошибка", "Предупреждение", "Информация", "Примечание"),
    "РежимБлокировкиДанных": ("Исключительный", "Разделяемый"),
    "КодировкаТекста": ("UTF8",),
    "ИспользованиеByteOrderMark": ("НеИспользовать",),
    "СпособКодированияСтроки": ("КодировкаURL",),
}
TYPES = {str: "Строка", bool: "Булево", datetime: "Дата", int: "Число", Decimal: "Число", type(None): "Неопределено"}
TYPES |= {Structure: "Структура", Array: "Массив", Map: "Соответствие", Null: "Null", Table: "ТаблицаЗначений"}
METHODS = frozenset({"GET", "PUT", "POST", "DELETE"})


class Space(Value):
    """A global object whose properties are looked up: Константы, РегистрыСведений …"""

    def __init__(self, look: Callable[[str], Any]) -> None:
        super().__init__()
        self._look = look

    def get(self, name: str) -> Any:
        found = self._look(name)
        if found is None:
            raise BslError(f"Поле объекта не обнаружено ({name})")
        return found


class TypeName(Value):
    """Тип: equal by its name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


class Query(Value):
    """Запрос."""

    def __init__(self, base: Infobase) -> None:
        super().__init__(Текст="")
        self._base, self._given = base, dict[str, Any]()

    def УстановитьПараметр(self, name: str, value: Any) -> None:
        self._given[name] = value

    def Выполнить(self) -> Any:
        return self._base.query(self.get("Текст"), self._given)


class Lock(Value):
    """БлокировкаДанных: one session is at work here, so only its use is checked."""

    def __init__(self, base: Infobase) -> None:
        super().__init__()
        self._base = base

    def Добавить(self, name: str) -> "LockItem":
        if name not in self._base.tables:
            raise BslError(f"Пространство блокировок не найдено: {name}")
        return LockItem(self._base.tables[name])

    def Заблокировать(self) -> None:
        if not self._base.in_transaction:
            raise BslError("Блокировка вне транзакции")


class LockItem(Value):
    """ЭлементБлокировкиДанных."""

    def __init__(self, columns: dict[str, str]) -> None:
        super().__init__(Режим=None)
        self._columns = columns

    def УстановитьЗначение(self, name: str, value: Any) -> None:
        if name not in self._columns:
            raise BslError(f"Поле блокировки не найдено: {name}")


class TypeDescription(Value):
    """ОписаниеТипов."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def ПривестиЗначение(self, value: Any = None) -> Any:
        if self._name == "Число" and isinstance(value, str):
            return int(value) if re.fullmatch(r"\d+", value) else 0
        kinds: Any = {"Число": int | Decimal, "Дата": datetime, "Строка": str}[self._name]
        fits = isinstance(value, kinds) and not isinstance(value, bool)
        return value if fits else initial(self._name)


class HttpRequest(Value):
    """HTTPЗапрос."""

    def __init__(self, address: str, headers: Map) -> None:
        super().__init__()
        self.address, self.headers, self.body = address, dict(headers.items), b""

    def УстановитьТелоИзСтроки(self, text: str, encoding: Any = None, mark: Any = None) -> None:
        if mark != "НеИспользовать":
            raise BslError("Тело с меткой порядка байтов не JSON")
        self.body = text.encode()


class HttpAnswer(Value):
    """HTTPОтвет."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(КодСостояния=status)
        self._body = body

    def ПолучитьТелоКакСтроку(self, encoding: Any = None) -> str:
        return self._body.decode()


class HttpConnection(Value):
    """HTTPСоединение."""

    def __init__(self, server: str, port: int, user: Any, password: Any, proxy: Any, timeout: int, secure: Any) -> None:
        super().__init__()
        if not timeout:
            raise BslError("HTTPСоединение без времени ожидания")
        if secure is None:
            self._connection = http.client.HTTPConnection(server, port, timeout=timeout)
        else:
            self._connection = http.client.HTTPSConnection(
                server, port, timeout=timeout, context=ssl.create_default_context()
            )

    def ВызватьHTTPМетод(self, method: str, request: HttpRequest) -> HttpAnswer:
        if method not in METHODS:
            raise BslError(f"Метода {method} нет")
        try:
            self._connection.request(method, request.address, request.body, request.headers)
            answer = self._connection.getresponse()
            return HttpAnswer(answer.status, answer.read())
        except (OSError, http.client.HTTPException) as error:
            raise BslError(f"Ошибка работы с Интернет: {error}") from error
        finally:
            self._connection.close()


class JsonWriter(Value):
    """ЗаписьJSON."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def УстановитьСтроку(self) -> None:
        self.text = ""

    def Закрыть(self) -> str:
        return self.text


class JsonReader(Value):
    """ЧтениеJSON."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def УстановитьСтроку(self, text: str) -> None:
        self.text = text

    def Закрыть(self) -> None:
        self.text = ""


def _to_json(value: Any) -> Any:
    if isinstance(value, Array):
        return [_to_json(item) for item in value.items]
    if isinstance(value, Map):
        return {key: _to_json(item) for key, item in value.items.items()}
    if isinstance(value, Structure):
        return {value.names[key]: _to_json(item) for key, item in value.fields.items()}
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Decimal):
        return float(value)
    raise BslError(f"Значение нельзя записать в JSON: {value!r}")


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        made = Structure()
        for key, item in value.items():
            made.Вставить(key, _from_json(item))
        return made
    if isinstance(value, list):
        return Array(_from_json(item) for item in value)
    return Decimal(repr(value)) if isinstance(value, float) else value


class Platform:
    """What modules find: functions, types and global objects. `client` is the workplace that runs, on the server None."""

    def __init__(self, base: Infobase) -> None:
        self.base = base
        self.client: Any = None
        self.modules: dict[str, Module] = {}

    def module(self, name: str) -> Module | None:
        return self.modules.get(name.casefold())

    # -- global objects and enumerations

    def constant(self, name: str, side: str) -> Any:
        for enum, members in ENUMS.items():
            if enum.casefold() == name.casefold():
                return Space({member: member for member in members}.get)
        if name == "Символы":
            return Row(ПС="\n", Таб="\t")
        if name == "ОбработкаОшибок":
            return Errors()
        if side == CLIENT:
            return None
        d = self.base.description
        spaces: dict[str, Callable[[str], Any]] = {
            "Константы": lambda n: Constant(self.base, n, d.CONSTANTS[n][0]) if n in d.CONSTANTS else None,
            "РегистрыСведений": lambda n: RegisterManager(lambda: self.base.record(n)) if n in d.REGISTERS else None,
            "Задачи": lambda n: TaskManager(lambda: self.base.task_object(f"Задача.{n}")) if n in d.TASKS else None,
            "Метаданные": lambda n: {
                "ОсновнойЯзык": Row(КодЯзыка="ru"),
                "РегистрыСведений": Space(lambda r: Row(Имя=r) if r in d.REGISTERS else None),
            }.get(n),
        }
        return Space(spaces[name]) if name in spaces else None

    # -- types

    def new(self, name: str, side: str) -> Callable[..., Any] | None:
        both: dict[str, Callable[..., Any]] = {
            "Структура": Structure,
            "Соответствие": Map,
            "Массив": Array,
            "ОписаниеТипов": TypeDescription,
            "УникальныйИдентификатор": lambda: Guid(str(uuid.uuid4())),
        }
        server: dict[str, Callable[..., Any]] = {
            "Запрос": lambda: Query(self.base),
            "БлокировкаДанных": lambda: Lock(self.base),
            "HTTPСоединение": HttpConnection,
            "HTTPЗапрос": HttpRequest,
            "ЗаписьJSON": JsonWriter,
            "ЧтениеJSON": JsonReader,
            "ЗащищенноеСоединениеOpenSSL": lambda certificate, authorities: Row(Центры=authorities),
            "СертификатыУдостоверяющихЦентровОС": Row,
        }
        client: dict[str, Callable[..., Any]] = {
            "ОписаниеОповещения": lambda method, owner, given=None: Row(Метод=method, Форма=owner, Параметр=given)
        }
        return both.get(name) or (client if side == CLIENT else server).get(name)

    # -- functions

    def function(self, name: str, side: str) -> Callable[..., Any] | None:
        found = BOTH.get(name.casefold())
        if found is not None:
            return found
        prefix = "client" if side == CLIENT else "server"
        table = {"client": CLIENT_FUNCTIONS, "server": SERVER_FUNCTIONS}[prefix]
        method = table.get(name.casefold())
        return (lambda frame, *given: method(self, frame, *given)) if method is not None else None


class Guid(Value):
    """УникальныйИдентификатор."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class Errors(Value):
    """ОбработкаОшибок (8.3.17)."""

    def ПодробноеПредставлениеОшибки(self, error: Value) -> str:
        return f"{{{error.get('Где')}}}: {error.get('Описание')}"

    def КраткоеПредставлениеОшибки(self, error: Value) -> str:
        return str(error.get("Описание"))


# -------------------------------------------------------------------------------------------- functions of both sides


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise BslError(f"{where}: несоответствие типов: {value!r}")
    return value


def _template(frame: Frame, template: str, *values: Any) -> str:
    wanted = {int(n) for n in re.findall(r"%(\d)", template)}
    if wanted != set(range(1, len(values) + 1)):
        raise BslError(f"СтрШаблон: {template!r} с {len(values)} значениями")
    return re.sub(r"%(\d)", lambda found: shown(values[int(found[1]) - 1]), template)


def _localised(frame: Frame, text: str, language: str = "ru") -> str:
    found = re.fullmatch(r"ru = '(.*)'", text, re.S)
    if found is None:
        raise BslError(f"НСтр: {text!r}")
    return found[1]


def _formatted(frame: Frame, value: Any, form: str) -> str:
    if form != "ЧН=0; ЧГ=0" or not isinstance(value, int | Decimal):
        raise BslError(f"Формат: {value!r}, {form!r}")
    return str(value)


def _split(frame: Frame, text: str, separators: str, empty: bool = True) -> Array:
    parts = re.split(f"[{re.escape(separators)}]", _text(text, "СтрРазделить"))
    return Array(part for part in parts if part or empty)


def _filled(frame: Frame, value: Any) -> bool:
    return value not in (None, "", 0, EMPTY_DATE) and value is not NULL


def _string(frame: Frame, value: Any) -> str:
    return value.text if isinstance(value, Guid) else shown(value)


def _copy_properties(frame: Frame, target: Any, source: Any) -> None:
    source = source if isinstance(source, Structure | Row) else source.rows[source.place]
    for key, value in source.fields.items():
        if key in target.fields:
            target.set(key, value)


def _middle(frame: Frame, text: str, start: int, count: int | None = None) -> str:
    return text[start - 1 :] if count is None else text[start - 1 : start - 1 + count]


def _error(frame: Frame) -> Row:
    if not frame.errors:
        raise BslError("ИнформацияОбОшибке вне Исключение")
    return Row(Описание=str(frame.errors[-1]), Где=frame.errors[-1].where)


def _joined(frame: Frame, items: Array, separator: str = "") -> str:
    return separator.join(_text(item, "СтрСоединить") for item in items.items)


BOTH: dict[str, Callable[..., Any]] = {
    "нстр": _localised,
    "стршаблон": _template,
    "стрсоединить": _joined,
    "стрразделить": _split,
    "стрзаменить": lambda frame, text, old, new: _text(text, "СтрЗаменить").replace(old, new),
    "стрначинаетсяс": lambda frame, text, start: text.startswith(start),
    "стрдлина": lambda frame, text: len(_text(text, "СтрДлина")),
    "лев": lambda frame, text, count: _text(text, "Лев")[:count],
    "сред": _middle,
    "нрег": lambda frame, text: _text(text, "НРег").lower(),
    "сокрлп": lambda frame, text: _text(text, "СокрЛП").strip(),
    "пустаястрока": lambda frame, text: not _text(text, "ПустаяСтрока").strip(),
    "формат": _formatted,
    "строка": _string,
    "мин": lambda frame, *values: min(values),
    "макс": lambda frame, *values: max(values),
    "значениезаполнено": _filled,
    "заполнитьзначениясвойств": _copy_properties,
    "информацияобошибке": _error,
    "тип": lambda frame, name: name,
    "типзнч": lambda frame, value: TYPES.get(type(value), type(value).__name__),
}

# --------------------------------------------------------------------------------------------- functions of the server


def _now() -> datetime:
    return datetime.now(ZONE).replace(tzinfo=None, microsecond=0)


def _log(platform: Platform, frame: Frame, event: str, level: str, what: Any, data: Any, text: str) -> None:
    if level not in ENUMS["УровеньЖурналаРегистрации"] or not event.startswith("Звонки."):
        raise BslError(f"ЗаписьЖурналаРегистрации: {event}, {level}")
    platform.base.log.append((event, level, text))


def _write_json(platform: Platform, frame: Frame, writer: JsonWriter, value: Any) -> None:
    writer.text = json.dumps(_to_json(value), ensure_ascii=False)


def _read_json(platform: Platform, frame: Frame, reader: JsonReader) -> Any:
    try:
        return _from_json(json.loads(reader.text))
    except ValueError as error:
        raise BslError(f"Ошибка разбора JSON: {error}") from error


def _xml_value(platform: Platform, frame: Frame, type_: str, text: str) -> Any:
    if type_ != "Дата":
        raise BslError(f"XMLЗначение: {type_}")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise BslError(f"XMLЗначение: {error}") from error


def _universal(platform: Platform, frame: Frame, moment: datetime, zone: str) -> datetime:
    return moment.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC).replace(tzinfo=None)


SERVER_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "установитьпривилегированныйрежим": lambda platform, frame, on: None,
    "начатьтранзакцию": lambda platform, frame: platform.base.begin(),
    "зафиксироватьтранзакцию": lambda platform, frame: platform.base.commit(),
    "отменитьтранзакцию": lambda platform, frame: platform.base.roll_back(),
    "записьжурналарегистрации": _log,
    "текущаядатасеанса": lambda platform, frame: _now(),
    "текущаяуниверсальнаядата": lambda platform, frame: datetime.now(UTC).replace(tzinfo=None, microsecond=0),
    "универсальноевремя": _universal,
    "записатьjson": _write_json,
    "прочитатьjson": _read_json,
    "xmlзначение": _xml_value,
    "кодироватьстроку": lambda platform, frame, text, way: quote(text, safe=""),
}

# --------------------------------------------------------------------------------------------- functions of the client

CLIENT_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "подключитьобработчикожидания": lambda platform, frame, method, seconds, once: platform.client.wait(
        frame.form, method, seconds, once
    ),
    "открытьформу": lambda platform, frame, name, given=None, owner=None, key=None: platform.client.open(
        name, given, key
    ),
    "показатьоповещениепользователя": lambda platform, frame, title, action=None, text="": platform.client.toast(
        title, action, text
    ),
    "показатьпредупреждение": lambda platform, frame, action, text: platform.client.warnings.append(text),
    "показатьзначение": lambda platform, frame, action, value: platform.client.shown.append(value),
    "перейтипонавигационнойссылке": lambda platform, frame, link: platform.client.links.append(link),
}
