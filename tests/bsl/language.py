"""The language: a module becomes closures, and every name in it is resolved before the first line runs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

import tree_sitter_hbk
from tree_sitter import Language, Node, Parser

from tests.bsl.values import NULL, BslError, Value, add, compare, equal, iterated, shown, truth

PARSER = Parser(Language(tree_sitter_hbk.language()))
CLIENT, SERVER = "НаКлиенте", "НаСервере"
NO_CONTEXT = "НаСервереБезКонтекста"
OMITTED = object()  # an argument that was left out


class Load(Exception):
    """The module would not compile in 1C."""


class _Return(Exception):
    def __init__(self, value: Any) -> None:
        self.value = value


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class World(Protocol):
    """What a module finds outside itself."""

    def function(self, name: str, side: str) -> Callable[..., Any] | None: ...

    def constant(self, name: str, side: str) -> Any: ...

    def module(self, name: str) -> "Module | None": ...

    def new(self, name: str, side: str) -> Callable[..., Any] | None: ...


@dataclass(slots=True)
class Frame:
    """A running method: its variables and the exceptions that are being handled."""

    locals: dict[str, Any]
    form: Any
    errors: list[BslError] = field(default_factory=list)


Run = Callable[[Frame], Any]


@dataclass(slots=True)
class Method:
    """A procedure or function."""

    name: str
    parameters: list[tuple[str, Any, bool]]  # name, default or OMITTED, by value
    exported: bool
    side: str
    without_context: bool
    body: Run = lambda frame: None
    line: int = 0


def walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from walk(child)


def text_of(node: Node) -> str:
    return node.text.decode() if node.text is not None else ""


def tree(source: str) -> Node:
    """The module's tree; raises Load where the grammar does not read it, or a statement has no semicolon."""
    root = PARSER.parse(source.encode()).root_node
    for node in walk(root):
        line = node.start_point[0] + 1
        if node.type == "ERROR" or node.is_missing:
            raise Load(f"line {line}: {text_of(node)[:60]!r} is not of the language")
        if node.type.endswith("_statement") and ";" not in (
            text_of(node.children[-1]),
            text_of(node.next_sibling or node),
        ):
            raise Load(f"line {line}: no ;")
    return root


class Module:
    """A module that can be called. `side`: of a common module; a form's methods have directives."""

    def __init__(
        self, name: str, source: str, world: World, side: str = SERVER, form_names: frozenset[str] = frozenset()
    ):
        self.name, self.world, self.side, self.form_names = name, world, side, form_names
        self.variables: dict[str, Any] = {}
        self.methods: dict[str, Method] = {}
        self.executed: set[str] = set()
        root = tree(source)
        self._nodes: dict[str, Node] = {}
        for node in walk(root):
            if node.type == "var_definition" and node.parent is not None and node.parent.type != "body":
                names = [
                    text_of(n) for spec in node.children if spec.type == "variable_spec" for n in spec.children[:1]
                ]
                self.variables.update({n.casefold(): None for n in names if self._outside(node)})
            if node.type in ("procedure_definition", "function_definition"):
                method = self._method(node)
                if method.name.casefold() in self.methods:
                    raise Load(f"{name}: {method.name} twice")
                self.methods[method.name.casefold()] = method
                self._nodes[method.name.casefold()] = node

    def _outside(self, node: Node) -> bool:
        above = node.parent
        while above is not None:
            if above.type in ("procedure_definition", "function_definition"):
                return False
            above = above.parent
        return True

    def _method(self, node: Node) -> Method:
        directive, before = self.side, node.prev_sibling
        while before is not None and before.type == "line_comment":
            before = before.prev_sibling
        if before is not None and before.children and before.children[0].type == "annotation":
            directive = text_of(before.children[0]).removeprefix("&")
        name = next(text_of(child) for child in node.children if child.type == "identifier")
        parameters: list[tuple[str, Any, bool]] = []
        for part in next(child for child in node.children if child.type == "parameters").children:
            if part.type == "parameter":
                words = [child for child in part.children if child.type not in ("VAL_KEYWORD", "=")]
                default = OMITTED if len(words) == 1 else _literal(words[1])
                by_value = part.children[0].type == "VAL_KEYWORD"
                parameters.append((text_of(words[0]).casefold(), default, by_value))
        exported = any(child.type == "EXPORT_KEYWORD" for child in node.children)
        side = CLIENT if directive == CLIENT else SERVER
        without = directive == NO_CONTEXT or not self.form_names
        return Method(name, parameters, exported, side, without, line=node.start_point[0] + 1)

    def link(self) -> None:
        """Compile the methods; raises Load for a name that is nowhere."""
        for key, node in self._nodes.items():
            self.methods[key].body = Compiler(self, self.methods[key]).method(node)

    def call(self, name: str, *arguments: Any, form: Any = None, errors: list[BslError] | None = None) -> Any:
        """Run a method. Raises BslError."""
        method = self.methods[name.casefold()]
        self.executed.add(method.name)
        frame = Frame({}, form, list(errors or []))
        for place, (parameter, default, _) in enumerate(method.parameters):
            value = arguments[place] if place < len(arguments) else OMITTED
            frame.locals[parameter] = default if value is OMITTED else value
        try:
            method.body(frame)
        except _Return as returned:
            return returned.value
        return None


def check_arguments(method: Method, given: list[Any], where: str) -> None:
    """Raise Load for a call that has too many arguments or lacks one."""
    least = max((n for n, (_, default, _) in enumerate(method.parameters, 1) if default is OMITTED), default=0)
    left_out = [n for n, value in enumerate(given, 1) if value is None and n <= least]
    if not least <= len(given) <= len(method.parameters) or left_out:
        raise Load(f"{where}: {method.name} with {len(given)} arguments")


def _literal(node: Node) -> Any:
    """The value of a constant."""
    text, kind = text_of(node), node.type
    if kind in ("const_expression", "expression", "unary_expression") and len(node.children) == 1:
        return _literal(node.children[0])
    if kind == "unary_expression":
        return -_literal(node.children[1])
    if kind == "number":
        return Decimal(text) if "." in text else int(text)
    if kind == "string":
        return "\n".join(text_of(part) for part in node.children if part.type == "string_content").replace('""', '"')
    if kind == "date":
        return datetime.strptime(text.strip("'").ljust(14, "0"), "%Y%m%d%H%M%S")
    words = {"TRUE_KEYWORD": True, "FALSE_KEYWORD": False, "UNDEFINED_KEYWORD": None, "NULL_KEYWORD": NULL}
    if kind in words:
        return words[kind]
    if kind == "boolean":
        return text.casefold() in ("истина", "true")
    raise Load(f"line {node.start_point[0] + 1}: no constant: {kind} {text!r}")


class Expressions:
    """Compiles what one method computes. A name is a variable, a form's attribute, or something of the world."""

    def __init__(self, module: Module, method: Method) -> None:
        self.module, self.of, self.world = module, method, module.world
        self.locals = {name for name, _, _ in method.parameters}
        self.by_reference = {name for name, _, by_value in method.parameters if not by_value}
        self.sees_form = bool(module.form_names) and not method.without_context

    def _is_field(self, name: str) -> bool:
        return name in self.module.variables or (self.sees_form and name in self.module.form_names)

    def _refuse(self, node: Node, why: str) -> None:
        raise Load(f"{self.module.name}, line {node.start_point[0] + 1}: {why}")

    def expression(self, node: Node) -> Run:
        kind = node.type
        if kind in ("expression", "index") and len(node.children) == 1:
            return self.expression(node.children[0])
        if kind == "parenthesized_expression":
            return self.expression(node.children[1])
        if kind == "identifier":
            return self._name(node)
        if kind in ("access", "property_access", "call_expression", "index_access", "method_call"):
            return self._chain(self._links(node))
        if kind == "binary_expression":
            return self._binary(node)
        if kind == "unary_expression":
            inner = self.expression(node.children[1])
            if text_of(node.children[0]).casefold() in ("не", "not"):
                return lambda frame: not truth(inner(frame))
            return lambda frame: -inner(frame)
        if kind == "ternary_expression":
            question, yes, no = (self.expression(c) for c in node.children if c.type == "expression")
            return lambda frame: yes(frame) if truth(question(frame)) else no(frame)
        if kind == "new_expression":
            return self._new(node)
        value = _literal(node)
        return lambda frame: value

    def _binary(self, node: Node) -> Run:
        left, right = self.expression(node.children[0]), self.expression(node.children[2])
        sign = text_of(node.children[1]).casefold()
        if sign in ("и", "and"):
            return lambda frame: truth(left(frame)) and truth(right(frame))
        if sign in ("или", "or"):
            return lambda frame: truth(left(frame)) or truth(right(frame))
        if sign == "=":
            return lambda frame: equal(left(frame), right(frame))
        if sign == "<>":
            return lambda frame: not equal(left(frame), right(frame))
        if sign in ("<", ">", "<=", ">="):
            return lambda frame: compare(sign, left(frame), right(frame))
        return lambda frame: add(sign, left(frame), right(frame))

    def _links(self, node: Node) -> list[Node]:
        """A chain's parts, the first one a name, a call or an expression in brackets; then properties, calls, indexes."""
        if node.type in ("access", "property_access", "call_expression", "index_access"):
            parts = [child for child in node.children if child.type not in (".", "[", "]")]
            return [link for part in parts[:1] for link in self._links(part)] + parts[1:]
        return [node]

    def _chain(self, links: list[Node]) -> Run:
        first = links[0]
        if first.type == "identifier" and len(links) > 1 and links[1].type == "method_call":
            module = self.world.module(text_of(first))
            if module is not None and text_of(first).casefold() not in self.locals:
                return self._follow(self._of_module(module, links[1]), links[2:])
        return self._follow(self._own_call(first) if first.type == "method_call" else self.expression(first), links[1:])

    def _follow(self, run: Run, links: list[Node]) -> Run:
        for link in links:
            run = self._link(run, link)
        return run

    def _link(self, base: Run, link: Node) -> Run:
        if link.type == "property":
            name = text_of(link)
            return lambda frame: _get(base(frame), name)
        if link.type == "method_call":
            called, arguments = text_of(link.children[0]), self._arguments(link)
            return lambda frame: _call(base(frame), called, [None if a is None else a(frame) for a in arguments])
        key = self.expression(link)
        return lambda frame: base(frame).item(key(frame))

    def _arguments(self, node: Node) -> list[Run | None]:
        listed = next((child for child in node.children if child.type == "arguments"), None)
        if listed is None or len(listed.children) == 2:
            return []
        found: list[Run | None] = [None]
        for child in listed.children[1:-1]:
            if child.type == "expression":
                found[-1] = self.expression(child)
            elif child.type in (",", "omitted_argument"):
                found.append(None)
        commas = text_of(listed).count(",")
        return found if len(found) - 1 <= commas else found[: commas + 1]

    def _called(self, node: Node) -> tuple[str, list[Run | None]]:
        return text_of(node.children[0]), self._arguments(node)

    def _own_call(self, node: Node) -> Run:
        name, arguments = self._called(node)
        method = self.module.methods.get(name.casefold())
        if method is not None:
            check_arguments(method, list(arguments), f"{self.module.name}, line {node.start_point[0] + 1}")
            if self.of.side == SERVER and method.side == CLIENT:
                self._refuse(node, f"{name} is the client's")
            if self.of.without_context and not method.without_context:
                self._refuse(node, f"{name} needs the form's context")
            return lambda frame: self.module.call(
                name, *(OMITTED if a is None else a(frame) for a in arguments), form=frame.form, errors=frame.errors
            )
        function = self.world.function(name, self.of.side)
        if function is None:
            self._refuse(node, f"there is no {name} at the {'client' if self.of.side == CLIENT else 'server'}")
        assert function is not None
        return lambda frame: function(frame, *(None if a is None else a(frame) for a in arguments))

    def _of_module(self, module: Module, node: Node) -> Run:
        name, arguments = self._called(node)
        method = module.methods.get(name.casefold())
        if method is None or not method.exported:
            self._refuse(node, f"{module.name} exports no {name}")
        assert method is not None
        check_arguments(method, list(arguments), f"{self.module.name}, line {node.start_point[0] + 1}")
        crosses = self.of.side == CLIENT and method.side == SERVER
        if (crosses and not getattr(module, "server_call", False)) or (
            self.of.side == SERVER and method.side == CLIENT
        ):
            self._refuse(node, f"{module.name} cannot be called from here")
        return lambda frame: module.call(name, *(OMITTED if a is None else a(frame) for a in arguments))

    def _new(self, node: Node) -> Run:
        name = next(text_of(child) for child in node.children if child.type == "identifier")
        made, arguments = self.world.new(name, self.of.side), self._arguments(node)
        if made is None:
            self._refuse(node, f"there is no type {name} at this side")
        assert made is not None
        return lambda frame: made(*(None if a is None else a(frame) for a in arguments))

    def _name(self, node: Node) -> Run:
        name = text_of(node).casefold()
        if name in self.locals:
            return lambda frame: _local(frame, name, text_of(node))
        if name in self.module.variables:
            return lambda frame: self.module.variables[name]
        if self.sees_form and name == "этотобъект":
            return lambda frame: frame.form
        if self.sees_form and name in self.module.form_names:
            return lambda frame: frame.form.get(name)
        value = self.world.constant(text_of(node), self.of.side)
        if value is None:
            self._refuse(node, f"there is no {text_of(node)} here")
        return lambda frame: value


class Compiler(Expressions):
    """Compiles one method's statements."""

    def method(self, node: Node) -> Run:
        for part in walk(node):
            if part.type == "assignment_statement" and part.children[0].type == "identifier":
                name = text_of(part.children[0]).casefold()
                if name in self.by_reference:
                    self._refuse(part, "assigns to a parameter that is passed by reference")
                if not self._is_field(name):
                    self.locals.add(name)
            if part.type in ("for_statement", "for_each_statement"):
                self.locals.add(next(text_of(c) for c in part.children if c.type == "identifier").casefold())
        start = next(n for n, child in enumerate(node.children) if child.type == "parameters")
        return self.block(node.children[start + 1 :])

    def block(self, nodes: list[Node]) -> Run:
        steps = [self.statement(n) for n in nodes if n.type.endswith("_statement")]
        for node in nodes:
            known = node.type.endswith(("_statement", "_KEYWORD", "_clause", "comment"))
            if not known and node.type not in (";", "expression", "identifier", "=", "preprocessor"):
                self._refuse(node, f"{node.type} is not known")

        def run(frame: Frame) -> None:
            for step in steps:
                step(frame)

        return run

    def statement(self, node: Node) -> Run:
        compiled = getattr(self, node.type)(node)
        where = f"{self.module.name}:{node.start_point[0] + 1}"

        def run(frame: Frame) -> None:
            try:
                compiled(frame)
            except BslError as error:
                error.where = error.where or where
                raise

        return run

    def assignment_statement(self, node: Node) -> Run:
        target, value = node.children[0], self.expression(node.children[2])
        if target.type == "identifier":
            name = text_of(target).casefold()
            if name in self.module.variables:
                return lambda frame: self.module.variables.__setitem__(name, value(frame))
            if self._is_field(name):
                return lambda frame: frame.form.set(name, value(frame))
            return lambda frame: frame.locals.__setitem__(name, value(frame))
        links = self._links(target)
        last = links[-1]
        base = self._chain(links[:-1])
        if last.type == "property":
            field_name = text_of(last)
            return lambda frame: _set(base(frame), field_name, value(frame))
        key = self.expression(last)
        return lambda frame: base(frame).set_item(key(frame), value(frame))

    def call_statement(self, node: Node) -> Run:
        return self.expression(node.children[0])

    def if_statement(self, node: Node) -> Run:
        branches: list[tuple[Run, Run]] = [(self.expression(node.children[1]), self.block(node.children[3:]))]
        otherwise: Run = lambda frame: None  # noqa: E731
        for clause in node.children:
            if clause.type == "elseif_clause":
                branches.append((self.expression(clause.children[1]), self.block(clause.children[3:])))
            elif clause.type == "else_clause":
                otherwise = self.block(clause.children[1:])

        def run(frame: Frame) -> None:
            for condition, body in branches:
                if truth(condition(frame)):
                    body(frame)
                    return
            otherwise(frame)

        return run

    def while_statement(self, node: Node) -> Run:
        condition, body = self.expression(node.children[1]), self.block(node.children[3:])

        def run(frame: Frame) -> None:
            while truth(condition(frame)):
                if not _turn(body, frame):
                    break

        return run

    def for_statement(self, node: Node) -> Run:
        name = text_of(node.children[1]).casefold()
        first, last, body = (
            self.expression(node.children[3]),
            self.expression(node.children[5]),
            self.block(node.children[7:]),
        )

        def run(frame: Frame) -> None:
            frame.locals[name] = first(frame)
            end = last(frame)
            while frame.locals[name] <= end:
                if not _turn(body, frame):
                    break
                frame.locals[name] += 1

        return run

    def for_each_statement(self, node: Node) -> Run:
        name = text_of(node.children[2]).casefold()
        source, body = self.expression(node.children[4]), self.block(node.children[6:])

        def run(frame: Frame) -> None:
            for value in iterated(source(frame)):
                frame.locals[name] = value
                if not _turn(body, frame):
                    break

        return run

    def try_statement(self, node: Node) -> Run:
        middle = next(n for n, child in enumerate(node.children) if child.type == "EXCEPT_KEYWORD")
        tried, caught = self.block(node.children[1:middle]), self.block(node.children[middle + 1 :])

        def run(frame: Frame) -> None:
            try:
                tried(frame)
            except BslError as error:
                frame.errors.append(error)
                try:
                    caught(frame)
                finally:
                    frame.errors.pop()

        return run

    def rise_error_statement(self, node: Node) -> Run:
        message = self.expression(node.children[1]) if len(node.children) > 2 else None

        def run(frame: Frame) -> None:
            if message is None:
                raise frame.errors[-1]
            raise BslError(shown(message(frame)))

        return run

    def return_statement(self, node: Node) -> Run:
        value: Run = self.expression(node.children[1]) if len(node.children) > 2 else lambda frame: None

        def run(frame: Frame) -> None:
            raise _Return(value(frame))

        return run

    def break_statement(self, node: Node) -> Run:
        def run(frame: Frame) -> None:
            raise _Break

        return run

    def continue_statement(self, node: Node) -> Run:
        def run(frame: Frame) -> None:
            raise _Continue

        return run


def _turn(body: Run, frame: Frame) -> bool:
    """One turn of a loop; False when it is left."""
    try:
        body(frame)
    except _Continue:
        pass
    except _Break:
        return False
    return True


def _local(frame: Frame, name: str, written: str) -> Any:
    if name not in frame.locals:
        raise BslError(f"Переменная не определена ({written})")
    return frame.locals[name]


def _get(value: Any, name: str) -> Any:
    if not isinstance(value, Value):
        raise BslError(f"Значение не является значением объектного типа ({name}): {value!r}")
    return value.get(name)


def _set(value: Any, name: str, given: Any) -> None:
    if not isinstance(value, Value):
        raise BslError(f"Значение не является значением объектного типа ({name}): {value!r}")
    value.set(name, given)


def _call(value: Any, name: str, arguments: list[Any]) -> Any:
    if not isinstance(value, Value):
        raise BslError(f"Значение не является значением объектного типа ({name}): {value!r}")
    return value.call(name, arguments)
