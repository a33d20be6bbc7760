"""A client of a base: its forms, their wait handlers, what a person is shown. Time passes when a test says so."""

import importlib.util
import sys
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from tests.bsl.infobase import Infobase, Typed
from tests.bsl.language import CLIENT, SERVER, Load, Module
from tests.bsl.platform import Platform
from tests.bsl.values import BslError, Row, Structure, Table, Value
from tests.rig.service import ROOT

FOLDER = ROOT / "deploy" / "1c"
EXTENSION = FOLDER / "extension"
LEAST_SECONDS = Decimal("0.1")  # of a wait handler


@cache
def description() -> Any:
    """deploy/1c/description.py: its folder's name is none of Python's."""
    spec = importlib.util.spec_from_file_location("description_1c", FOLDER / "description.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["description_1c"] = module
    spec.loader.exec_module(module)
    return module


def source(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig")


class Application:
    """The extension in a base: its common modules and forms, loaded and linked."""

    def __init__(self, base: Infobase, edits: dict[str, tuple[str, str]] | None = None) -> None:
        self.base, self.platform, self.edits = base, Platform(base), edits or {}
        described = base.description
        for name, kind in described.MODULES.items():
            text = self._text(EXTENSION / "CommonModules" / name / "Ext" / "Module.bsl")
            module = Module(name, text, self.platform, CLIENT if kind.client else SERVER)
            module.server_call = kind.server_call  # type: ignore[attr-defined]
            self.platform.modules[name.casefold()] = module
        self.forms = {name: self._form(name, form) for name, form in described.FORMS.items()}
        for module in [*self.platform.modules.values(), *self.forms.values()]:
            module.link()

    def _text(self, path: Path) -> str:
        text = source(path)
        for old, new in [edit for name, edit in self.edits.items() if name in str(path)]:
            assert old in text
            text = text.replace(old, new, 1)
        return text

    def _form(self, name: str, form: Any) -> Module:
        text = self._text(EXTENSION / "CommonForms" / name / "Ext" / "Form" / "Module.bsl")
        names = {part.casefold() for part in form.attributes} | {"элементы", "параметры"}
        module = Module(name, text, self.platform, CLIENT, frozenset(names))
        for handler in [*form.events.values(), *form.commands]:
            if handler.casefold() not in module.methods:
                raise Load(f"{name}: no handler {handler}")
        return module

    def add(self, name: str, path: Path) -> Module:
        """A common module beside the extension."""
        module = Module(name, source(path), self.platform, SERVER)
        self.platform.modules[name.casefold()] = module
        module.link()
        return module

    def call(self, module: str, method: str, *arguments: Any) -> Any:
        """Run an exported method, as a scheduled job does."""
        return self.platform.modules[module.casefold()].call(method, *arguments)

    def methods(self) -> set[str]:
        return {f"{m.name}.{method.name}" for m in self._all() for method in m.methods.values()}

    def executed(self) -> set[str]:
        return {f"{m.name}.{name}" for m in self._all() for name in m.executed}

    def _all(self) -> list[Module]:
        return [*self.platform.modules.values(), *self.forms.values()]


class FormInstance(Typed):
    """An open form."""

    def __init__(self, workplace: "Workplace", name: str, given: Structure | None, key: Any) -> None:
        described = workplace.application.base.description.FORMS[name]
        types = {attribute: type_ for attribute, (type_, _) in described.attributes.items()}
        super().__init__(name, {n: t for n, t in types.items() if t != "ТаблицаЗначений"})
        self.workplace, self.name, self.key, self.is_open = workplace, name, key, True
        for attribute, columns in described.columns.items():
            self.fields[attribute.casefold()] = Table(columns)
        elements = Row(**{n: Element() for n in (*described.shown, *described.commands)})
        parameters = Typed(name, described.parameters)
        for parameter, value in given.fields.items() if given else ():
            parameters.set(parameter, value)
        self.fields |= {"элементы": elements, "параметры": parameters}
        self.module = workplace.application.forms[name]

    def run(self, method: str, *arguments: Any) -> Any:
        return self.module.call(method, *arguments, form=self)

    def Открыта(self) -> bool:
        return self.is_open

    def Закрыть(self) -> None:
        self.is_open = False


class Element(Value):
    """ЭлементФормы."""

    def __init__(self) -> None:
        super().__init__(Доступность=True, Видимость=True, ТекущиеДанные=None)


class Workplace:
    """One user's session: `press` runs a command, `tick` the wait handlers that are due next."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.forms: list[FormInstance] = []
        self.waits: list[tuple[FormInstance, str, Any]] = []
        self.toasts: list[tuple[str, str, Any]] = []
        self.warnings: list[str] = []
        self.shown: list[Any] = []
        self.links: list[str] = []
        self.opened: list[tuple[str, Any]] = []  # forms that the platform makes: lists, a catalog's object

    def open(self, name: str, given: Structure | None = None, key: Any = None, **attributes: Any) -> Any:
        """ОткрытьФорму. `attributes` are what the user's settings keep."""
        self.application.platform.client = self
        kind, _, rest = name.partition(".")
        if kind != "ОбщаяФорма":
            if kind == "Задача" and rest.partition(".")[0] not in self.application.base.description.TASKS:
                raise BslError(f"Форма не найдена: {name}")
            self.opened.append((name, given))
            return None
        if rest not in self.application.forms:
            raise BslError(f"Форма не найдена: {name}")
        there = next((f for f in self.forms if f.name == rest and f.key == key and f.is_open and key is not None), None)
        if there is not None:
            return there
        form = FormInstance(self, rest, given, key)
        for attribute, value in attributes.items():
            form.set(attribute, value)
        events = self.application.base.description.FORMS[rest].events
        self.forms.append(form)
        form.run(events["OnCreateAtServer"], False, True)
        if "OnOpen" in events:
            form.run(events["OnOpen"], False)
        return form

    def press(self, form: FormInstance, command: str) -> None:
        """Run a form's command."""
        self.application.platform.client = self
        form.run(command, Row(Имя=command))

    def wait(self, form: FormInstance, method: str, seconds: Any, once: bool) -> None:
        if method.casefold() not in form.module.methods or seconds < LEAST_SECONDS or not once:
            raise BslError(f"ПодключитьОбработчикОжидания: {method}, {seconds}")
        self.waits.append((form, method, seconds))

    def toast(self, title: str, action: Any, text: str) -> None:
        if action is not None and action.get("Метод").casefold() not in action.get("Форма").module.methods:
            raise BslError(f"ОписаниеОповещения: {action.get('Метод')}")
        self.toasts.append((title, text, action))

    def tick(self) -> list[Any]:
        """Run what waits, once. Returns after how many seconds each would have run."""
        self.application.platform.client = self
        due, self.waits = self.waits, []
        for form, method, _ in due:
            if form.is_open:
                form.run(method)
        return [seconds for _, _, seconds in due]

    def cards(self) -> list[str]:
        """Numbers on the cards that are open."""
        return [form.get("НомерКлиента") for form in self.forms if form.name == "АТС_КарточкаЗвонка" and form.is_open]
