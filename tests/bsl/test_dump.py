"""The extension's dump: every object has its files and every file an object, and what they name is there.

Only a platform can say that it loads; what is checked here is what people get wrong by hand. Each rule has edits that
break it.
"""

import re
import shutil
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from importlib import util
from pathlib import Path
from typing import Any

import pytest

from tests.bsl.client import EXTENSION, FOLDER, description
from tests.bsl.language import text_of, tree, walk

README = (FOLDER / "README.md").read_text(encoding="utf-8")
MODULES = [*sorted(EXTENSION.rglob("*.bsl")), FOLDER / "compare.bsl", FOLDER / "odbc.bsl"]


def generator() -> Any:
    sys.modules["description"] = description()
    spec = util.spec_from_file_location("generate_1c", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    made = util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


GENERATE = generator()


def test_what_is_committed_is_what_a_fresh_run_makes(tmp_path: Path):
    shutil.copytree(EXTENSION, tmp_path / "extension")
    (tmp_path / "extension" / "Constants" / "Чужая.xml").write_text("x")
    GENERATE.write(tmp_path / "extension")
    assert contents(tmp_path / "extension") == contents(EXTENSION)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------------------------------------- the rules


def local(node: ET.Element) -> str:
    return node.tag.rpartition("}")[2]


def parsed(folder: Path, name: str) -> ET.Element:
    return ET.fromstring((folder / name).read_text(encoding="utf-8-sig"))


def found(node: ET.Element, tag: str) -> list[ET.Element]:
    return [inner for inner in node.iter() if local(inner) == tag]


def texts(node: ET.Element, tag: str) -> list[str]:
    return [inner.text or "" for inner in found(node, tag)]


def files(kind: str, name: str) -> list[str]:
    """The files that an object of the dump has."""
    base = f"{GENERATE.FOLDERS.get(kind, 'Languages')}/{name}"
    more = {
        "CommonModule": ["Ext/Module.bsl"],
        "CommonForm": ["Ext/Form.xml", "Ext/Form/Module.bsl"],
        "Role": ["Ext/Rights.xml"],
        "ScheduledJob": ["Ext/Schedule.xml"],
    }
    return [f"{base}.xml", *(f"{base}/{file}" for file in more.get(kind, []))]


def listed(folder: Path) -> list[tuple[str, str]]:
    """(kind, name) of what Configuration.xml lists."""
    children = found(parsed(folder, "Configuration.xml"), "ChildObjects")[0]
    return [(local(child), child.text or "") for child in children]


def file_faults(folder: Path) -> list[str]:
    wanted = {"Configuration.xml", *(file for kind, name in listed(folder) for file in files(kind, name))}
    there = set(contents(folder))
    return [f"missing: {name}" for name in wanted - there] + [f"of nothing: {name}" for name in there - wanted]


def uuid_faults(folder: Path) -> list[str]:
    given: Counter[str] = Counter()
    for name in contents(folder):
        if name.endswith(".xml"):
            text = (folder / name).read_text(encoding="utf-8-sig")
            given.update(re.findall(r'(?:uuid="|TypeId>|ValueId>|ObjectId>)([0-9a-f-]+)', text))
    wrong = [id for id in given if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", id)]
    return [f"twice: {id}" for id, times in given.items() if times > 1] + [f"no uuid: {id}" for id in wrong]


def name_faults(folder: Path) -> list[str]:
    wrong = []
    for kind, name in listed(folder):
        path = files(kind, name)[0]
        if kind != "Language" and not name.startswith(description().PREFIX):
            wrong.append(f"{name}: no prefix")
        if not (folder / path).exists():
            continue
        root = parsed(folder, path)
        if texts(root, "Name")[0] != name or local(root[0]) != kind:
            wrong.append(f"{path}: of another object")
    return wrong


def methods(path: Path) -> dict[str, bool]:
    """Method -> whether it is exported."""
    found_ = {}
    for node in walk(tree(path.read_text(encoding="utf-8-sig"))):
        if node.type in ("procedure_definition", "function_definition"):
            name = next(text_of(child) for child in node.children if child.type == "identifier")
            found_[name] = any(child.type == "EXPORT_KEYWORD" for child in node.children)
    return found_


BESIDE_A_TABLE = {
    "ContextMenu", "AutoCommandBar", "ExtendedTooltip", "SearchStringAddition", "ViewStatusAddition",
    "SearchControlAddition",
}  # fmt: skip


def form_faults(folder: Path) -> list[str]:
    """Handlers, data paths, commands of buttons, numbers of elements."""
    wrong = []
    for kind, name in listed(folder):
        if kind != "CommonForm":
            continue
        base = folder / "CommonForms" / name / "Ext"
        root, known = parsed(base, "Form.xml"), methods(base / "Form" / "Module.bsl")
        handlers = texts(root, "Event") + texts(root, "Action")
        wrong += [f"{name}: no handler {handler}" for handler in handlers if handler not in known]
        columns = {f"{a.get('name')}.{c.get('name')}" for a in found(root, "Attribute") for c in found(a, "Column")}
        attributes = {attribute.get("name") for attribute in found(root, "Attribute")} | columns
        wrong += [f"{name}: no data {path}" for path in texts(root, "DataPath") if path not in attributes]
        wrong += [f"{name}: nothing to save {path}" for path in texts(root, "Field") if path not in attributes]
        commands = {f"Form.Command.{command.get('name')}" for command in found(root, "Command")}
        wrong += [f"{name}: no command {path}" for path in texts(root, "CommandName") if path not in commands]
        for table in found(root, "Table"):
            parts = {local(part) for part in table}
            wrong += [f"{name}: {table.get('name')} has no {part}" for part in BESIDE_A_TABLE - parts]
        ids = Counter(node.get("id") for node in root.iter() if node.get("id"))
        wrong += [f"{name}: id {id} twice" for id, times in ids.items() if times > 1]
    return wrong


def job_faults(folder: Path) -> list[str]:
    wrong = []
    for kind, name in listed(folder):
        if kind == "ScheduledJob":
            (method,) = texts(parsed(folder, f"ScheduledJobs/{name}.xml"), "MethodName")
            _, module, called = method.split(".")
            path = folder / "CommonModules" / module / "Ext" / "Module.bsl"
            if not path.exists() or not methods(path).get(called):
                wrong.append(f"{name}: no exported {method}")
    return wrong


RIGHTS = {
    "Constant": {"Read", "Update", "View", "Edit"},
    "InformationRegister": {"Read", "Update", "View", "Edit"},
    "CommonForm": {"View"},
    "Subsystem": {"View"},
    "Task": {
        "Read", "Insert", "Update", "Delete", "View", "Edit", "InputByString", "Execute", "InteractiveInsert",
        "InteractiveDelete", "InteractiveExecute",
    },
}  # fmt: skip
# What a role needs beside `Read` of what its forms' queries read.
NEEDED = {
    "АТС_Оператор": {
        "CommonForm.АТС_РабочееМесто": {"View"},
        "CommonForm.АТС_КарточкаЗвонка": {"View"},
        "Task.АТС_Перезвонить": {"Read", "View", "Update", "Execute", "InteractiveExecute"},
        "InformationRegister.АТС_ИсторияЗвонков": {"Read", "View"},
    },
    "АТС_Просмотр": {"InformationRegister.АТС_ИсторияЗвонков": {"Read", "View"}, "Task.АТС_Перезвонить": {"Read"}},
}


def right_faults(folder: Path) -> list[str]:
    """The administrator has every object; the others what their work needs, and not the key."""
    own = {f"{kind}.{name}" for kind, name in listed(folder)}
    wrong = []
    for _, role in [pair for pair in listed(folder) if pair[0] == "Role"]:
        root = parsed(folder, f"Roles/{role}/Ext/Rights.xml")
        given = {
            texts(o, "name")[0]: {texts(r, "name")[0] for r in found(o, "right") if texts(r, "value") == ["true"]}
            for o in found(root, "object")
        }
        wrong += [f"{role}: of nothing: {name}" for name in given.keys() - own]
        kinds = {name: name.partition(".")[0] for name in given}
        wrong += [
            f"{role}: {name} has no {r - RIGHTS[kinds[name]]}" for name, r in given.items() if r - RIGHTS[kinds[name]]
        ]
        if role == "АТС_Администратор":
            needed = {name: {"View"} for name in own if name.partition(".")[0] in RIGHTS}
        else:
            needed = NEEDED[role]
            wrong += [f"{role}: sees {name}" for name in given if name.startswith("Constant.")]
        wrong += [f"{role}: lacks {n}: {r - given.get(n, set())}" for n, r in needed.items() if r - given.get(n, set())]
    return wrong


RULES = (file_faults, uuid_faults, name_faults, form_faults, job_faults, right_faults)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_dump_agrees_with_itself(rule: Callable[[Path], list[str]]):
    assert rule(EXTENSION) == []


CARD, DESK = "CommonForms/АТС_КарточкаЗвонка", "CommonForms/АТС_РабочееМесто"


@pytest.mark.parametrize(
    ("rule", "file", "was", "becomes"),
    [
        (file_faults, f"{CARD}/Ext/Form.xml", "", ""),
        (file_faults, "Roles/АТС_Оператор/Ext/Rights.xml", "", ""),
        (file_faults, "Configuration.xml", "<Constant>АТС_КлючAPI</Constant>", ""),
        (uuid_faults, "Tasks/АТС_Перезвонить.xml", r'Task uuid="[^"]*"', 'Task uuid="{other}"'),
        (uuid_faults, "Constants/АТС_Позиция.xml", r'uuid="[^"]*"', 'uuid="1"'),
        (name_faults, "Constants/АТС_Позиция.xml", "<Name>АТС_Позиция", "<Name>АТС_Место"),
        (name_faults, "Configuration.xml", "АТС_Просмотр</Role>", "Просмотр</Role>"),
        (form_faults, f"{DESK}/Ext/Form.xml", ">ПриОткрытии<", ">ПриОткрытие<"),
        (form_faults, f"{CARD}/Ext/Form.xml", "<Action>Позвонить", "<Action>Звонить"),
        (form_faults, f"{CARD}/Ext/Form.xml", "<DataPath>История.Запись", "<DataPath>История.Записи"),
        (form_faults, f"{CARD}/Ext/Form.xml", "Form.Command.Позвонить", "Form.Command.Звонить"),
        (form_faults, f"{CARD}/Ext/Form.xml", 'id="2"', 'id="1"'),
        (form_faults, f"{CARD}/Ext/Form.xml", "<ViewStatusAddition.*</ViewStatusAddition>", ""),
        (form_faults, f"{CARD}/Ext/Form/Module.bsl", "Процедура Позвонить", "Процедура Набрать"),
        (job_faults, "ScheduledJobs/АТС_ЧтениеЗвонков.xml", "ПрочитатьИзменения", "Прочитать"),
        (
            job_faults,
            "CommonModules/АТС_Выгрузка/Ext/Module.bsl",
            r"Процедура Выгрузить\(\) Экспорт",
            "Процедура Выгрузить()",
        ),
        (right_faults, "Roles/АТС_Оператор/Ext/Rights.xml", "<name>Execute</name>", "<name>View</name>"),
        (
            right_faults,
            "Roles/АТС_Администратор/Ext/Rights.xml",
            "<name>Constant.АТС_КлючAPI",
            "<name>Constant.АТС_Ключ",
        ),
        (right_faults, "Roles/АТС_Просмотр/Ext/Rights.xml", "<value>true", "<value>false"),
        (right_faults, "Roles/АТС_Просмотр/Ext/Rights.xml", "<name>InputByString", "<name>Post"),
    ],
)
def test_a_dump_that_breaks_a_rule_is_seen(
    rule: Callable[[Path], list[str]], file: str, was: str, becomes: str, tmp_path: Path
):
    folder = tmp_path / "extension"
    shutil.copytree(EXTENSION, folder)
    path = folder / file
    if not was:
        path.unlink()
    else:
        text = path.read_text(encoding="utf-8-sig")
        other = re.search(r'Constant uuid="([^"]*)"', (folder / "Constants/АТС_Позиция.xml").read_text("utf-8-sig"))
        assert other is not None
        changed = re.sub(was, becomes.replace("{other}", other[1]), text, count=1, flags=re.S)
        assert changed != text
        path.write_text(changed, encoding="utf-8")
    assert rule(folder) != []


# ------------------------------------------------------------------------------------------------------- the modules' text


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_module_is_written_as_1c_s_standards_say(path: Path):
    """Lines up to 120 with tabs, regions closed, exported methods described; a transaction is committed last and rolled
    back first; the header says that no platform has run it."""
    text = path.read_text(encoding="utf-8")
    assert "На платформе не выполнялся" in text.partition("#Область")[0]
    lines = text.splitlines()
    assert [
        line for line in lines if len(line.expandtabs(4)) > 120 or line != line.rstrip() or line.startswith(" ")
    ] == []
    assert len(re.findall(r"^#Область \w+$", text, re.M)) == len(re.findall(r"^#КонецОбласти$", text, re.M))
    for number, line in enumerate(lines):
        if re.match(r"(Процедура|Функция) .*Экспорт$", line):
            above = number - 1
            while lines[above].startswith("&"):
                above -= 1
            assert lines[above].startswith("//"), line
    begun = text.count("НачатьТранзакцию();")
    assert begun == len(re.findall(r"НачатьТранзакцию\(\);\n\s*Попытка", text))
    assert begun == len(re.findall(r"ЗафиксироватьТранзакцию\(\);\n\s*Исключение\n\s*ОтменитьТранзакцию\(\);", text))
    assert "\r" not in text


def test_the_readme_names_every_object_and_the_ten_things_to_look_at():
    for _, name in listed(EXTENSION):
        assert name == "Русский" or f"`{name}`" in README, name
    assert len(re.findall(r"^\d+\. ", README.partition("## Чего не проверить без платформы")[2], re.M)) == 10
