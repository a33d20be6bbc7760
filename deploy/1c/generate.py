"""Makes the extension's dump (Designer's format, LoadConfigFromFiles -Extension) from description.py.

    python deploy/1c/generate.py

writes deploy/1c/extension; the modules there (*.bsl) are sources and are left alone, any other file that is not made is
removed. Uuids come from the names, so the same description makes the same files.
"""

import uuid
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import description as d

FOLDER = Path(__file__).resolve().parent / "extension"
FORMAT = "2.17"  # of platforms 8.3.17 to 8.3.24; newer ones read it
SPACE = uuid.UUID("6f2d3c1e-9b0a-4a57-8d43-5f6a2c7e9b10")  # of the names from which uuids are made
RUSSIAN = "Русский"

NAMESPACES = {
    "": "http://v8.1c.ru/8.3/MDClasses",
    "app": "http://v8.1c.ru/8.2/managed-application/core",
    "cfg": "http://v8.1c.ru/8.1/data/enterprise/current-config",
    "v8": "http://v8.1c.ru/8.1/data/core",
    "v8ui": "http://v8.1c.ru/8.1/data/ui",
    "xr": "http://v8.1c.ru/8.3/xcf/readable",
    "xs": "http://www.w3.org/2001/XMLSchema",
    "xsi": "http://www.w3.org/2001/XMLSchema-instance",
}
FORM_NAMESPACES = {**NAMESPACES, "": "http://v8.1c.ru/8.3/xcf/logform"}
SCHEDULE_NAMESPACES = {
    "": "http://v8.1c.ru/8.3/xcf/extrnprops",
    "ent": "http://v8.1c.ru/8.1/data/enterprise",
    "xs": NAMESPACES["xs"],
    "xsi": NAMESPACES["xsi"],
}
ROLE_NAMESPACES = {"": "http://v8.1c.ru/8.2/roles", "xs": NAMESPACES["xs"], "xsi": NAMESPACES["xsi"]}

# Fixed ids of the parts that every configuration contains.
CONTAINED = (
    "9cd510cd-abfc-11d4-9434-004095e12fc7",
    "9fcd25a0-4822-11d4-9414-008048da11f9",
    "e3687481-0a87-462c-a166-9f34594f9bba",
    "9de14907-ec23-4a07-96f0-85521cb6b53b",
    "51f2d5d8-ea4d-4064-8892-82951750031e",
    "e68182ea-4237-4383-967f-90c1e3370bc7",
    "fb282519-d103-4dd3-bc12-cb271d631dfc",
)
GENERATED = {
    "Constant": ("Manager", "ValueManager", "ValueKey"),
    "InformationRegister": ("Record", "Manager", "Selection", "List", "RecordSet", "RecordKey", "RecordManager"),
    "Task": ("Object", "Ref", "Selection", "List", "Manager"),
}
ADDITIONS = (
    ("SearchStringAddition", "SearchStringRepresentation", "СтрокаПоиска"),
    ("ViewStatusAddition", "ViewStatusRepresentation", "СостояниеПросмотра"),
    ("SearchControlAddition", "SearchControl", "УправлениеПоиском"),
)
FOLDERS = {
    "Subsystem": "Subsystems",
    "Role": "Roles",
    "CommonModule": "CommonModules",
    "ScheduledJob": "ScheduledJobs",
    "CommonForm": "CommonForms",
    "Constant": "Constants",
    "InformationRegister": "InformationRegisters",
    "Task": "Tasks",
}


class Raw(str):
    """A value that is XML already."""


def uid(*names: str) -> str:
    return str(uuid.uuid5(SPACE, ".".join(names)))


def nil() -> tuple[dict[str, str], str]:
    return {"xsi:nil": "true"}, ""


def element(tag: str, value: Any = "", depth: int = 0, **attributes: str) -> str:
    """An element; a list or a dict is its children, (attributes, value) both."""
    if isinstance(value, tuple):
        more, value = value
        attributes = {**attributes, **more}
    pad, marks = "\t" * depth, "".join(f' {key}="{escape(text)}"' for key, text in attributes.items())
    if isinstance(value, dict):
        value = list(value.items())
    if isinstance(value, list):
        inner = "".join(child if isinstance(child, Raw) else element(child[0], child[1], depth + 1) for child in value)
        return f"{pad}<{tag}{marks}>\n{inner}{pad}</{tag}>\n" if value else f"{pad}<{tag}{marks}/>\n"
    if isinstance(value, bool):
        value = str(value).lower()
    text = escape(str(value))
    return f"{pad}<{tag}{marks}>{text}</{tag}>\n" if text else f"{pad}<{tag}{marks}/>\n"


def spaces(of: dict[str, str]) -> dict[str, str]:
    return {f"xmlns:{prefix}" if prefix else "xmlns": address for prefix, address in of.items()}


def title(text: str) -> list[Any]:
    return [("v8:item", [("v8:lang", "ru"), ("v8:content", text)])] if text else []


def type_of(words: str) -> list[Any]:
    kind, _, size = words.partition("(")
    size = size.rstrip(")")
    if kind == "Строка":
        return [
            ("v8:Type", "xs:string"),
            ("v8:StringQualifiers", [("v8:Length", size), ("v8:AllowedLength", "Variable")]),
        ]
    if kind == "Число":
        qualifiers = [("v8:Digits", size), ("v8:FractionDigits", "0"), ("v8:AllowedSign", "Any")]
        return [("v8:Type", "xs:decimal"), ("v8:NumberQualifiers", qualifiers)]
    if kind == "Дата":
        return [("v8:Type", "xs:dateTime"), ("v8:DateQualifiers", [("v8:DateFractions", "DateTime")])]
    if kind == "ПроизвольнаяСсылка":
        return [("v8:TypeSet", "cfg:AnyRef")]
    return [("v8:Type", {"Булево": "xs:boolean", "ТаблицаЗначений": "v8:ValueTable"}[kind])]


def metadata(kind: str, name: str, properties: list[Any], children: list[Any] | None = None) -> str:
    """The file of an object."""
    parts: list[Any] = []
    if kind in GENERATED:
        generated = [
            Raw(
                element(
                    "xr:GeneratedType",
                    [("xr:TypeId", uid(kind, name, part, "type")), ("xr:ValueId", uid(kind, name, part, "value"))],
                    3,
                    name=f"{kind}{part}.{name}",
                    category=part,
                )
            )
            for part in GENERATED[kind]
        ]
        parts.append(("InternalInfo", generated))
    parts.append(("Properties", properties))
    if children is not None:
        parts.append(("ChildObjects", children))
    body = element(kind, parts, 1, uuid=uid(kind, name))
    return document("MetaDataObject", [Raw(body)], NAMESPACES, version=FORMAT)


def document(tag: str, value: list[Any], of: dict[str, str], **attributes: str) -> str:
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + element(tag, value, 0, **spaces(of), **attributes)


def field(kind: str, owner: str, name: str, described: tuple[str, str], indexed: bool, key: bool = False) -> Raw:
    """A dimension, a resource or an attribute."""
    type_, words = described
    long = type_.startswith("Строка") and int(type_[7:-1]) > 255
    properties: list[Any] = [
        ("Name", name), ("Synonym", title(words)), ("Comment", ""), ("Type", type_of(type_)),
        ("PasswordMode", False), ("Format", ""), ("EditFormat", ""), ("ToolTip", ""), ("MarkNegatives", False),
        ("Mask", ""), ("MultiLine", long), ("ExtendedEdit", False), ("MinValue", nil()), ("MaxValue", nil()),
        ("FillFromFillingValue", False), ("FillValue", nil()),
        ("FillChecking", "ShowError" if key else "DontCheck"), ("ChoiceFoldersAndItems", "Items"),
        ("ChoiceParameterLinks", ""), ("ChoiceParameters", ""), ("QuickChoice", "Auto"), ("CreateOnInput", "Auto"),
        ("ChoiceForm", ""), ("LinkByType", ""), ("ChoiceHistoryOnInput", "Auto"),
    ]  # fmt: skip
    if kind == "Dimension":
        properties += [("Master", False), ("MainFilter", True), ("DenyIncompleteValues", True)]
    properties += [("Indexing", "Index" if indexed else "DontIndex"), ("FullTextSearch", "Use"), ("DataHistory", "Use")]
    return Raw(element(kind, [("Properties", properties)], 3, uuid=uid(owner, kind, name)))


def constant(name: str, described: tuple[str, str]) -> str:
    type_, words = described
    properties: list[Any] = [
        ("Name", name), ("Synonym", title(words)), ("Comment", ""), ("Type", type_of(type_)),
        ("UseStandardCommands", False), ("DefaultForm", ""), ("ExtendedPresentation", ""), ("Explanation", ""),
        ("PasswordMode", "Ключ" in name), ("Format", ""), ("EditFormat", ""), ("ToolTip", ""), ("MarkNegatives", False),
        ("Mask", ""), ("MultiLine", False), ("ExtendedEdit", False), ("MinValue", nil()), ("MaxValue", nil()),
        ("FillChecking", "DontCheck"), ("ChoiceFoldersAndItems", "Items"), ("ChoiceParameterLinks", ""),
        ("ChoiceParameters", ""), ("QuickChoice", "Auto"), ("ChoiceForm", ""), ("LinkByType", ""),
        ("ChoiceHistoryOnInput", "Auto"), ("DataLockControlMode", "Managed"), ("DataHistory", "DontUse"),
    ]  # fmt: skip
    return metadata("Constant", name, properties)


def register(name: str, described: d.Register) -> str:
    properties: list[Any] = [
        ("Name", name), ("Synonym", title(described.title)), ("Comment", ""), ("UseStandardCommands", True),
        ("EditType", "InDialog"), ("DefaultRecordForm", ""), ("DefaultListForm", ""), ("AuxiliaryRecordForm", ""),
        ("AuxiliaryListForm", ""), ("InformationRegisterPeriodicity", "Nonperiodical"), ("WriteMode", "Independent"),
        ("MainFilterOnPeriod", False), ("IncludeHelpInContents", False), ("DataLockControlMode", "Managed"),
        ("FullTextSearch", "Use"), ("EnableTotalsSliceFirst", False), ("EnableTotalsSliceLast", False),
        ("RecordPresentation", ""), ("ExtendedRecordPresentation", ""), ("ListPresentation", ""),
        ("ExtendedListPresentation", ""), ("Explanation", ""), ("DataHistory", "DontUse"),
    ]  # fmt: skip
    owner = f"InformationRegister.{name}"
    children = [field("Resource", owner, n, f, n in described.indexed) for n, f in described.resources.items()]
    children += [field("Dimension", owner, n, f, False, key=True) for n, f in described.dimensions.items()]
    return metadata("InformationRegister", name, properties, children)


def task(name: str, described: d.Task) -> str:
    properties: list[Any] = [
        ("Name", name), ("Synonym", title(described.title)), ("Comment", ""), ("UseStandardCommands", True),
        ("NumberType", "String"), ("NumberLength", "14"), ("NumberAllowedLength", "Variable"), ("CheckUnique", True),
        ("Autonumbering", True), ("TaskNumberAutoPrefix", "DontUse"),
        ("DescriptionLength", str(described.description_length)), ("Addressing", ""), ("MainAddressingAttribute", ""),
        ("CurrentPerformer", ""), ("BasedOn", ""), ("Characteristics", ""), ("DefaultPresentation", "AsDescription"),
        ("EditType", "InDialog"), ("InputByString", [("xr:Field", f"Task.{name}.StandardAttribute.Description")]),
        ("SearchStringModeOnInputByString", "Begin"), ("FullTextSearchOnInputByString", "DontUse"),
        ("ChoiceDataGetModeOnInputByString", "Directly"), ("CreateOnInput", "DontUse"), ("DefaultObjectForm", ""),
        ("DefaultListForm", ""), ("DefaultChoiceForm", ""), ("AuxiliaryObjectForm", ""), ("AuxiliaryListForm", ""),
        ("AuxiliaryChoiceForm", ""), ("ChoiceHistoryOnInput", "Auto"), ("IncludeHelpInContents", False),
        ("DataLockFields", ""), ("DataLockControlMode", "Managed"), ("FullTextSearch", "Use"),
        ("ObjectPresentation", ""), ("ExtendedObjectPresentation", ""), ("ListPresentation", ""),
        ("ExtendedListPresentation", ""), ("Explanation", ""), ("DataHistory", "DontUse"),
    ]  # fmt: skip
    children = [
        field("Attribute", f"Task.{name}", n, f, n in described.indexed) for n, f in described.attributes.items()
    ]
    return metadata("Task", name, properties, children)


def module(name: str, described: d.Module) -> str:
    properties: list[Any] = [
        ("Name", name), ("Synonym", title(described.title)), ("Comment", ""), ("Global", False),
        ("ClientManagedApplication", described.client), ("Server", not described.client),
        ("ExternalConnection", not described.client and not described.server_call),
        ("ClientOrdinaryApplication", False), ("ServerCall", described.server_call), ("Privileged", False),
        ("ReturnValuesReuse", "DontUse"),
    ]  # fmt: skip
    return metadata("CommonModule", name, properties)


def job(name: str, described: d.Job) -> str:
    properties: list[Any] = [
        ("Name", name), ("Synonym", title(described.title)), ("Comment", ""),
        ("MethodName", f"CommonModule.{described.method}"), ("Description", described.title), ("Key", name),
        ("Use", True), ("Predefined", True), ("RestartCountOnFailure", "0"), ("RestartIntervalOnFailure", "60"),
    ]  # fmt: skip
    return metadata("ScheduledJob", name, properties)


def schedule(described: d.Job) -> str:
    """Every day; within the day every so many seconds where that is shorter."""
    within = described.every_seconds if described.every_seconds < 86400 else 0
    attributes = {
        "BeginDate": "0001-01-01", "EndDate": "0001-01-01",
        "BeginTime": "00:00:00" if within else "03:00:00", "EndTime": "00:00:00", "CompletionTime": "00:00:00",
        "CompletionInterval": "0", "RepeatPeriodInDay": str(within), "RepeatPause": "0", "WeekDayInMonth": "0",
        "DayInMonth": "0", "WeeksPeriod": "1", "DaysRepeatPeriod": "1",
    }  # fmt: skip
    days = [("ent:WeekDays", "1 2 3 4 5 6 7"), ("ent:Months", "1 2 3 4 5 6 7 8 9 10 11 12")]
    body = Raw(element("Schedule", days, 1, **attributes))
    return document("JobSchedule", [body], SCHEDULE_NAMESPACES, version=FORMAT)


def common_form(name: str, described: d.Form) -> str:
    purpose = element("v8:Value", "PlatformApplication", 4, **{"xsi:type": "app:ApplicationUsePurpose"})
    properties: list[Any] = [
        ("Name", name), ("Synonym", title(described.title)), ("Comment", ""), ("FormType", "Managed"),
        ("IncludeHelpInContents", False), ("UsePurposes", [Raw(purpose)]), ("UseStandardCommands", described.in_menu),
        ("ExtendedPresentation", ""), ("Explanation", ""),
    ]  # fmt: skip
    return metadata("CommonForm", name, properties)


class Ids:
    """Numbers of a form's elements, in order."""

    def __init__(self) -> None:
        self.last = 0

    def next(self) -> str:
        self.last += 1
        return str(self.last)


def form(described: d.Form) -> str:
    """Form.xml: what is shown, attributes, commands, parameters, events."""
    ids = Ids()
    bar = [
        Raw(
            element(
                "Button",
                [("Type", "CommandBarButton"), ("CommandName", f"Form.Command.{name}"), _tooltip(name, ids, 4)],
                3,
                name=name,
                id=ids.next(),
            )
        )
        for name in described.commands
    ]
    kept: list[Any] = [("AutoSaveDataInSettings", "Use"), ("SaveDataInSettings", "UseList")] if described.saved else []
    parts: list[Any] = [
        *kept,
        Raw(
            element(
                "AutoCommandBar", [("Autofill", True), ("ChildItems", bar)], 1, name="ФормаКоманднаяПанель", id="-1"
            )
        ),
    ]
    events = [Raw(element("Event", handler, 2, name=name)) for name, handler in described.events.items()]
    parts.append(("Events", events))
    parts.append(("ChildItems", [_shown(name, described, ids) for name in described.shown]))
    parts.append(("Attributes", [_attribute(name, described, ids) for name in described.attributes]))
    commands = [
        Raw(element("Command", [("Title", title(words)), ("Action", name)], 2, name=name, id=ids.next()))
        for name, words in described.commands.items()
    ]
    parts.append(("Commands", commands))
    if described.parameters:
        parameters = [
            Raw(element("Parameter", [("Type", type_of(type_))], 2, name=name))
            for name, type_ in described.parameters.items()
        ]
        parts.append(("Parameters", parameters))
    return document("Form", parts, FORM_NAMESPACES, version=FORMAT)


def _menu(name: str, ids: Ids, depth: int) -> Raw:
    return Raw(element("ContextMenu", "", depth, name=f"{name}КонтекстноеМеню", id=ids.next()))


def _tooltip(name: str, ids: Ids, depth: int) -> Raw:
    return Raw(element("ExtendedTooltip", "", depth, name=f"{name}РасширеннаяПодсказка", id=ids.next()))


def _addition(table: str, tag: str, kind: str, words: str, ids: Ids) -> Raw:
    """What every table of a form has beside it."""
    name = table + words
    source = ("AdditionSource", [("Item", table), ("Type", kind)])
    return Raw(element(tag, [source, _menu(name, ids, 4), _tooltip(name, ids, 4)], 3, name=name, id=ids.next()))


def _shown(name: str, described: d.Form, ids: Ids) -> Raw:
    number = ids.next()
    only = [("ReadOnly", True)] if name in described.read_only else []
    if name in described.columns:
        bar = element("AutoCommandBar", "", 3, name=f"{name}КоманднаяПанель", id=ids.next())
        columns = [
            Raw(
                element(
                    "InputField",
                    [("DataPath", f"{name}.{column}"), _menu(name + column, ids, 5), _tooltip(name + column, ids, 5)],
                    4,
                    name=name + column,
                    id=ids.next(),
                )
            )
            for column in described.columns[name]
        ]
        parts = [("Representation", "List"), *only, ("DataPath", name), _menu(name, ids, 3), Raw(bar)]
        parts += [_tooltip(name, ids, 3), *(_addition(name, *of, ids) for of in ADDITIONS), ("ChildItems", columns)]
        return Raw(element("Table", parts, 2, name=name, id=number))
    type_, words = described.attributes[name]
    long = [("MultiLine", True)] if type_ == "Строка(0)" else []
    secret = [("PasswordMode", True)] if "Ключ" in name else []
    title_ = [("Title", title(words))]
    parts = [("DataPath", name), *only, *title_, *secret, *long, _menu(name, ids, 3), _tooltip(name, ids, 3)]
    return Raw(element("InputField", parts, 2, name=name, id=number))


def _attribute(name: str, described: d.Form, ids: Ids) -> Raw:
    type_, words = described.attributes[name]
    number = ids.next()
    parts: list[Any] = [("Title", title(words)), ("Type", type_of(type_))]
    if name in described.saved:
        parts.append(("Save", [("Field", name)]))
    if name in described.columns:
        columns = [
            Raw(element("Column", [("Title", title(w)), ("Type", type_of(t))], 4, name=column, id=ids.next()))
            for column, (t, w) in described.columns[name].items()
        ]
        parts.append(("Columns", columns))
    return Raw(element("Attribute", parts, 2, name=name, id=number))


def role(name: str, words: str) -> str:
    return metadata("Role", name, [("Name", name), ("Synonym", title(words)), ("Comment", "")])


def rights(objects: dict[str, tuple[str, ...]]) -> str:
    parts: list[Any] = [
        ("setForNewObjects", False), ("setForAttributesByDefault", True), ("independentRightsOfChildObjects", False),
    ]  # fmt: skip
    parts += [
        ("object", [("name", name), *(("right", [("name", right), ("value", True)]) for right in given)])
        for name, given in objects.items()
    ]
    return document("Rights", parts, ROLE_NAMESPACES, **{"xsi:type": "Rights", "version": FORMAT})


def subsystem(name: str) -> str:
    content = [Raw(element("xr:Item", item, 4, **{"xsi:type": "xr:MDObjectRef"})) for item in d.MENU]
    properties: list[Any] = [
        ("Name", name), ("Synonym", title(d.TITLE)), ("Comment", ""), ("IncludeHelpInContents", False),
        ("IncludeInCommandInterface", True), ("UseOneCommand", False), ("Explanation", ""), ("Picture", ""),
        ("Content", content),
    ]  # fmt: skip
    return metadata("Subsystem", name, properties, [])


def language() -> str:
    properties: list[Any] = [
        ("ObjectBelonging", "Adopted"), ("Name", RUSSIAN), ("Comment", ""),
        ("ExtendedConfigurationObject", uid("extended", RUSSIAN)), ("LanguageCode", "ru"),
    ]  # fmt: skip
    return metadata("Language", RUSSIAN, properties)


def objects() -> list[tuple[str, str]]:
    """(kind, name) of the extension's own objects, in the order of a configuration's tree."""
    named = {
        "Subsystem": [f"{d.PREFIX}Телефония"],
        "Role": d.ROLES,
        "CommonModule": d.MODULES,
        "ScheduledJob": d.JOBS,
        "Constant": d.CONSTANTS,
        "CommonForm": d.FORMS,
        "InformationRegister": d.REGISTERS,
        "Task": d.TASKS,
    }
    return [(kind, name) for kind, names in named.items() for name in names]


def configuration() -> str:
    contained = [
        ("xr:ContainedObject", [("xr:ClassId", of), ("xr:ObjectId", uid("contained", of))]) for of in CONTAINED
    ]
    purpose = element("v8:Value", "PlatformApplication", 4, **{"xsi:type": "app:ApplicationUsePurpose"})
    properties: list[Any] = [
        ("ObjectBelonging", "Adopted"), ("Name", d.NAME), ("Synonym", title(d.TITLE)), ("Comment", ""),
        ("ConfigurationExtensionPurpose", "AddOn"), ("KeepMappingToExtendedConfigurationObjectsByIDs", True),
        ("NamePrefix", d.PREFIX), ("ConfigurationExtensionCompatibilityMode", d.COMPATIBILITY),
        ("DefaultRunMode", "ManagedApplication"), ("UsePurposes", [Raw(purpose)]), ("ScriptVariant", "Russian"),
        ("DefaultRoles", ""), ("Vendor", ""), ("Version", d.VERSION), ("DefaultLanguage", f"Language.{RUSSIAN}"),
        ("BriefInformation", ""), ("DetailedInformation", ""), ("Copyright", ""), ("VendorInformationAddress", ""),
        ("ConfigurationInformationAddress", ""), ("InterfaceCompatibilityMode", "TaxiEnableVersion8_2"),
    ]  # fmt: skip
    children = [("Language", RUSSIAN), *objects()]
    parts = [("InternalInfo", contained), ("Properties", properties), ("ChildObjects", children)]
    body = element("Configuration", parts, 1, uuid=uid("Configuration", d.NAME))
    return document("MetaDataObject", [Raw(body)], NAMESPACES, version=FORMAT)


def files() -> dict[str, str]:
    """Path in the dump -> text, of all that is made."""
    made = {"Configuration.xml": configuration(), f"Languages/{RUSSIAN}.xml": language()}
    name = f"{d.PREFIX}Телефония"
    made[f"Subsystems/{name}.xml"] = subsystem(name)
    for name, (words, given) in d.ROLES.items():
        made[f"Roles/{name}.xml"], made[f"Roles/{name}/Ext/Rights.xml"] = role(name, words), rights(given)
    for name, kind in d.MODULES.items():
        made[f"CommonModules/{name}.xml"] = module(name, kind)
    for name, work in d.JOBS.items():
        made[f"ScheduledJobs/{name}.xml"] = job(name, work)
        made[f"ScheduledJobs/{name}/Ext/Schedule.xml"] = schedule(work)
    for name, shown in d.FORMS.items():
        made[f"CommonForms/{name}.xml"], made[f"CommonForms/{name}/Ext/Form.xml"] = (
            common_form(name, shown),
            form(shown),
        )
    for name, described in d.CONSTANTS.items():
        made[f"Constants/{name}.xml"] = constant(name, described)
    for name, of in d.REGISTERS.items():
        made[f"InformationRegisters/{name}.xml"] = register(name, of)
    for name, todo in d.TASKS.items():
        made[f"Tasks/{name}.xml"] = task(name, todo)
    return made


def write(folder: Path) -> None:
    """Make the files; what is there beside them and the modules goes."""
    made = files()
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".bsl" and str(path.relative_to(folder)) not in made:
            path.unlink()
    for name, text in made.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8-sig")


if __name__ == "__main__":
    write(FOLDER)
