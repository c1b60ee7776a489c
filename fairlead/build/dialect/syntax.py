"""From source text to code: refuses what the language does not have, and mends what CPython does otherwise.

One hand-written pass over CPython's tree (a generic visitor took twenty times as long). It refuses with a
message and a hint, and rewrites in place only where the languages differ:

    for x in E, [.. for x in E]    E goes through `$iter`: no strings, no changes meanwhile, a step budget
    [..] {..} in .bzl              `$list`, `$dict`: containers that freeze
    a % b, f"{x}"                  `$mod`, `$text`: Starlark's text of values
    a == b                         `$eq`: True is not 1 (left alone beside a text, None or a container)
    x.name                         `$attr`, when `name` begins with `_`, is a method that Python's types have
                                   and Starlark's lack, or is one that works otherwise
    def                            `$tick` at the start; **kwargs becomes a dict that freezes

Names that begin with `$` cannot be written in a source file, so they are ours alone. Annotations are dropped.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import Any, NoReturn

from fairlead.build.dialect.fault import PREFIX
from fairlead.build.dialect.functions import INTERCEPTED
from fairlead.errors import UsageError


@dataclass(frozen=True)
class Load:
    """`load(path, "a", b = "c")`: `names` are pairs of the local name and that in the file."""

    path: str
    names: tuple[tuple[str, str], ...]
    where: str


@dataclass(frozen=True)
class Code:
    """A file ready to run: what it loads, and its code. `is_bzl` tells the two front ends apart."""

    path: str
    is_bzl: bool
    loads: tuple[Load, ...]
    code: CodeType


def compile_source(source: bytes, path: str, *, is_bzl: bool) -> Code:
    """Parse, check and compile one file. `path` is how messages name it."""
    try:
        text = source.decode()
    except UnicodeDecodeError as error:
        line = source[: error.start].count(b"\n") + 1
        raise UsageError("the file is not UTF-8", where=f"{path}:{line}", remedy="save it as UTF-8") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise UsageError("the file holds a NUL character", where=f"{path}:{line}", remedy="remove it")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(text, PREFIX + path)
            check = _Check(path, text, is_bzl)
            check.module(tree)
            code = compile(tree, PREFIX + path, "exec", dont_inherit=True)
        except SyntaxError as error:
            where = f"{path}:{error.lineno}:{error.offset}" if error.lineno else path
            raise UsageError(f"syntax error: {error.msg}", where=where, remedy=_hint(text, error)) from None
        except (RecursionError, MemoryError):
            raise UsageError(
                "the file is nested too deep", where=path, remedy="split long expressions"
            ) from None
        except ValueError as error:  # such as a number of too many digits
            raise UsageError(f"syntax error: {error}", where=path) from None
    return Code(path, is_bzl, tuple(check.loads), code)


_PYTHON_ONLY = {
    "print": "print is a function: print(x)",
    "exec": "there is no exec",
    "async": "there is no async",
    "raise": "stop with fail(message)",
}


def _hint(text: str, error: SyntaxError) -> str:
    lines = text.splitlines()
    line = lines[error.lineno - 1].strip() if error.lineno and error.lineno <= len(lines) else ""
    words = line.split(maxsplit=1)
    hint = _PYTHON_ONLY.get(words[0].rstrip("("), "") if words else ""
    return hint or (f"correct this line: {line}" if line else "correct the file")


# Statements and expressions of Python that the language does not have, and what to write instead.
_REFUSED: dict[type, tuple[str, str]] = {
    ast.Import: ("import", 'use load("//package:file.bzl", "name")'),
    ast.ImportFrom: ("import", 'use load("//package:file.bzl", "name")'),
    ast.ClassDef: ("class", "use struct() or provider()"),
    ast.While: ("while", "use for x in range(n) with break"),
    ast.Try: ("try", "errors stop the evaluation; test the condition before"),
    ast.TryStar: ("try", "errors stop the evaluation; test the condition before"),
    ast.With: ("with", ""),
    ast.AsyncWith: ("async", ""),
    ast.AsyncFor: ("async", ""),
    ast.AsyncFunctionDef: ("async", ""),
    ast.Raise: ("raise", "stop with fail(message)"),
    ast.Assert: ("assert", "use if not condition: fail(message)"),
    ast.Delete: ("del", "use x.pop(key)"),
    ast.Global: ("global", "return the value, or pass a list or dict"),
    ast.Nonlocal: ("nonlocal", "return the value, or pass a list or dict"),
    ast.Match: ("match", "use if and elif"),
    ast.Yield: ("yield", "return a list"),
    ast.YieldFrom: ("yield", "return a list"),
    ast.Await: ("await", ""),
    ast.GeneratorExp: ("generator expression", "write a list: [x for x in y]"),
    ast.Set: ("set literal", "use set([...])"),
    ast.SetComp: ("set comprehension", "use set([x for x in y])"),
    ast.NamedExpr: ("the operator :=", "assign on a line of its own"),
}

_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod)
_PLAIN = (ast.List, ast.Dict, ast.Tuple, ast.ListComp, ast.DictComp, ast.JoinedStr)

# Python's own names behind double underscores; others (such as __buck2_builtins__) may be used.
_OWN_NAMES = frozenset(
    f"__{name}__"
    for name in ("build_class", "builtins", "debug", "doc", "file", "import", "loader", "name", "spec")
)


class _Check:
    def __init__(self, path: str, text: str, is_bzl: bool) -> None:
        self.path = path
        self.text = text
        self.is_bzl = is_bzl
        self.loads: list[Load] = []
        self.depth = 0  # of function definitions
        self.loops = 0
        self.bound: dict[str, int] = {}  # top-level names -> line of their one binding

    def place(self, node: ast.AST) -> str:
        line, offset = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        lines = self.text.splitlines()
        before = lines[line - 1].encode()[:offset].decode(errors="replace") if line <= len(lines) else ""
        return f"{self.path}:{line}:{len(before) + 1}"

    def refuse(self, node: ast.AST, what: str, remedy: str = "") -> NoReturn:
        raise UsageError(what, where=self.place(node), remedy=remedy)

    # Statements -----------------------------------------------------------------------------------------

    def module(self, tree: ast.Module) -> None:
        body: list[ast.stmt] = []
        for node in tree.body:
            value = node.value if isinstance(node, ast.Expr) else None
            if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "load":
                self.load(value)
                continue
            if not self.is_bzl:
                self.build_statement(node)
            self.bind_top(node)
            body.append(node)
        self.body(body)
        tree.body = body

    def build_statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.FunctionDef):
            self.refuse(node, "a BUCK file defines no functions", "put it in a .bzl file and load it")
        if isinstance(node, ast.If | ast.For):
            word = "if" if isinstance(node, ast.If) else "for"
            self.refuse(
                node,
                f"a BUCK file has no {word} statement",
                "use a list comprehension or a conditional expression, or a function of a .bzl file",
            )
        if isinstance(node, ast.AnnAssign):
            self.refuse(node, "a BUCK file has no type annotations", "write name = value")

    def bind_top(self, node: ast.stmt) -> None:
        if isinstance(node, ast.FunctionDef):
            self.bind_once(node, node.name)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                names = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
                for name in names:
                    if isinstance(name, ast.Name):
                        self.bind_once(name, name.id)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            self.bind_once(node.target, node.target.id)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            self.refuse(
                node,
                f"the top-level name {node.target.id!r} is assigned again",
                "write the value in one expression",
            )

    def bind_once(self, node: ast.AST, name: str) -> None:
        if name in self.bound:
            self.refuse(
                node,
                f"the top-level name {name!r} is assigned again (first on line {self.bound[name]})",
                "use another name",
            )
        self.bound[name] = getattr(node, "lineno", 1)

    def load(self, call: ast.Call) -> None:
        values: list[tuple[str, ast.expr]] = []
        for arg in call.args:
            if not (isinstance(arg, ast.Constant) and isinstance(arg.value, str)):
                self.refuse(
                    arg, "load() takes written-out strings only", 'load("//package:file.bzl", "name")'
                )
            values.append((arg.value, arg))
        if not values:
            self.refuse(call, "load() names no file", 'write load("//package:file.bzl", "name")')
        names = [(value, value, node) for value, node in values[1:]]
        for keyword in call.keywords:
            value = keyword.value
            if keyword.arg is None or not (isinstance(value, ast.Constant) and isinstance(value.value, str)):
                self.refuse(
                    value, "load() takes written-out strings only", 'load("//p:f.bzl", mine = "theirs")'
                )
            names.append((keyword.arg, value.value, value))
        if not names:
            self.refuse(call, "load() names nothing to take from the file", "add the names that you need")
        for local, remote, node in names:
            if remote.startswith("_"):
                self.refuse(
                    node, f"{remote!r} is private to its file", "rename it there without the leading _"
                )
            self.name(node, local)
            self.bind_once(node, local)
        pairs = tuple((local, remote) for local, remote, _ in names)
        self.loads.append(Load(values[0][0], pairs, self.place(call)))

    def body(self, nodes: list[ast.stmt]) -> None:
        for index, node in enumerate(nodes):
            if isinstance(node, ast.AnnAssign):
                if node.value is None:
                    self.refuse(node, "a name is declared without a value", "write name = value")
                node = nodes[index] = ast.copy_location(ast.Assign([node.target], node.value), node)
            self.statement(node)

    def statement(self, node: ast.stmt) -> None:
        kind = type(node)
        if kind is ast.Expr:
            node.value = self.expression(node.value)  # type: ignore[attr-defined]
        elif isinstance(node, ast.Assign):
            if len(node.targets) > 1:
                self.refuse(node, "an assignment has one target", "assign on a line each")
            node.value = self.expression(node.value)
            if isinstance(node.targets[0], ast.Tuple | ast.List) and not isinstance(node.value, ast.Tuple):
                node.value = _call("$plain", node.value)
            self.target(node.targets[0])
        elif isinstance(node, ast.AugAssign):
            self.augmented(node)
        elif isinstance(node, ast.Return):
            if node.value is not None:
                node.value = self.expression(node.value)
        elif isinstance(node, ast.If):
            node.test = self.expression(node.test)
            self.body(node.body)
            self.body(node.orelse)
        elif isinstance(node, ast.For):
            if node.orelse:
                self.refuse(node.orelse[0], "a for loop has no else", "test after the loop")
            node.iter = self.gone_through(node.iter)
            self.target(node.target)
            self.body(node.body)
        elif isinstance(node, ast.FunctionDef):
            self.function(node)
        elif kind is not ast.Pass and kind is not ast.Break and kind is not ast.Continue:
            self.unknown(node)

    def augmented(self, node: ast.AugAssign) -> None:
        if not isinstance(node.target, ast.Name | ast.Subscript):
            self.refuse(node, "this cannot be assigned to", "assign to a name or to x[key]")
        self.operator(node, node.op)
        if isinstance(node.op, ast.Mod):
            self.refuse(node, "there is no %=", "write x = x % y")
        self.target(node.target)
        node.value = self.expression(node.value)

    def target(self, node: ast.expr) -> None:
        if isinstance(node, ast.Name):
            self.name(node, node.id)
        elif isinstance(node, ast.Tuple | ast.List):
            for item in node.elts:
                self.target(item)
        elif isinstance(node, ast.Subscript):
            if isinstance(node.slice, ast.Slice):
                self.refuse(node, "a slice cannot be assigned to", "build a new list")
            node.value = self.expression(node.value)
            node.slice = self.expression(node.slice)
        elif isinstance(node, ast.Attribute):
            self.refuse(node, "a field cannot be assigned to", "build a new struct")
        elif isinstance(node, ast.Starred):
            self.refuse(node, "there is no starred assignment", "use slices: first, rest = x[0], x[1:]")
        else:
            self.refuse(node, "this cannot be assigned to")

    def function(self, node: ast.FunctionDef) -> None:
        if node.decorator_list:
            self.refuse(node.decorator_list[0], "there are no decorators", "call the function")
        if getattr(node, "type_params", None):  # from Python 3.12 on
            self.refuse(node, "there are no type parameters", "leave them out")
        self.name(node, node.name)
        self.arguments(node.args)
        node.returns = None
        self.depth += 1
        self.body(node.body)
        self.depth -= 1
        start: list[ast.stmt] = [ast.Expr(_call("$tick", at=node))]
        if node.args.kwarg is not None:
            name = node.args.kwarg.arg
            made = _call("$dict", ast.Name(name, ast.Load()), at=node)
            start.append(ast.Assign([ast.Name(name, ast.Store())], made, lineno=node.lineno))
        for statement in start:
            ast.copy_location(statement, node)
            ast.fix_missing_locations(statement)
        node.body[:0] = start

    def arguments(self, args: ast.arguments) -> None:
        if args.posonlyargs:
            self.refuse(args.posonlyargs[0], "there are no positional-only parameters", "remove the /")
        if args.kwonlyargs and not self.is_bzl:
            self.refuse(args.kwonlyargs[0], "a BUCK file has no keyword-only parameters")
        for arg in (*args.args, *args.kwonlyargs, args.vararg, args.kwarg):
            if arg is not None:
                self.name(arg, arg.arg)
                arg.annotation = None
        args.defaults = [self.expression(item) for item in args.defaults]
        args.kw_defaults = [None if item is None else self.expression(item) for item in args.kw_defaults]

    def unknown(self, node: ast.AST) -> NoReturn:
        what, remedy = _REFUSED.get(type(node), (type(node).__name__, ""))
        self.refuse(node, f"the language has no {what}", remedy)

    def name(self, node: ast.AST, name: str) -> None:
        if name.startswith("__") and name in _OWN_NAMES:
            self.refuse(node, f"the name {name!r} is Python's own", "use another name")

    # Expressions ----------------------------------------------------------------------------------------

    def expression(self, node: ast.expr) -> ast.expr:
        visit = _VISIT.get(type(node))
        if visit is None:
            self.unknown(node)
        return visit(self, node)

    def constant(self, node: Any) -> ast.expr:
        value = node.value
        if type(value) is bytes:
            self.refuse(node, "there are no bytes", "write a string without the b")
        if type(value) is complex:
            self.refuse(node, "there are no complex numbers")
        if value is ...:
            self.refuse(node, "the language has no ...")
        return node  # type: ignore[no-any-return]

    def load_name(self, node: Any) -> ast.expr:
        name = node.id
        if name.startswith("__"):
            self.name(node, name)
        elif name == "load":
            self.refuse(node, "load() stands on a line of its own at the top of the file")
        return node  # type: ignore[no-any-return]

    def call(self, node: Any) -> ast.expr:
        node.func = self.expression(node.func)
        args = node.args
        for index, arg in enumerate(args):
            if type(arg) is ast.Starred:
                arg.value = _call("$plain", self.expression(arg.value))
            elif type(arg) is not ast.Constant or type(arg.value) is not str:
                args[index] = self.expression(arg)
        for keyword in node.keywords:
            value = keyword.value
            if type(value) is not ast.Constant or type(value.value) is not str:
                keyword.value = self.expression(value)
        return node  # type: ignore[no-any-return]

    def list_(self, node: Any) -> ast.expr:
        self.items(node.elts)
        return _call("$list", node) if self.is_bzl else node

    def tuple_(self, node: Any) -> ast.expr:
        self.items(node.elts)
        return node  # type: ignore[no-any-return]

    def items(self, items: list[ast.expr]) -> None:
        for index, item in enumerate(items):
            if type(item) is not ast.Constant or type(item.value) is not str:
                if type(item) is ast.Starred:
                    self.refuse(item, "there is no * inside a list or tuple", "add lists with +")
                items[index] = self.expression(item)

    def dict_(self, node: Any) -> ast.expr:
        seen: dict[object, ast.expr] = {}
        for index, key in enumerate(node.keys):
            if key is None:
                self.refuse(node.values[index], "there is no ** inside a dict", "join dicts with |")
            if type(key) is ast.Constant:
                if key.value in seen:
                    self.refuse(key, f"the key {key.value!r} stands twice in this dict", "remove one")
                seen[key.value] = key
            node.keys[index] = self.expression(key)
        self.items(node.values)
        return _call("$dict", node) if self.is_bzl else node

    def attribute(self, node: Any) -> ast.expr:
        name = node.attr
        value = node.value = self.expression(node.value)
        if name[0] == "_":
            if name.startswith("__"):
                self.refuse(
                    node, f"there is no field {name!r}", "names with two underscores are Python's own"
                )
        elif name not in INTERCEPTED:
            return node  # type: ignore[no-any-return]
        return _call("$attr", value, ast.Constant(name), at=node)

    def subscript(self, node: Any) -> ast.expr:
        node.value = self.expression(node.value)
        if isinstance(node.slice, ast.Slice):
            for part in ("lower", "upper", "step"):
                bound = getattr(node.slice, part)
                if bound is not None:
                    setattr(node.slice, part, self.expression(bound))
        else:
            node.slice = self.expression(node.slice)
        return node  # type: ignore[no-any-return]

    def operator(self, node: ast.AST, op: ast.operator) -> None:
        if isinstance(op, ast.Pow | ast.MatMult):
            self.refuse(node, f"there is no operator {'**' if isinstance(op, ast.Pow) else '@'}")

    def binary(self, node: Any) -> ast.expr:
        self.operator(node, node.op)
        for side in (node.left, node.right):
            if (
                isinstance(node.op, _ARITHMETIC)
                and isinstance(side, ast.Constant)
                and type(side.value) is bool
            ):
                self.refuse(side, "True and False are no numbers", "use 1 if x else 0")
        node.left = self.expression(node.left)
        node.right = self.expression(node.right)
        if type(node.op) is ast.Mod:
            return _call("$mod", node.left, node.right, at=node)
        return node  # type: ignore[no-any-return]

    def unary(self, node: Any) -> ast.expr:
        node.operand = self.expression(node.operand)
        return node  # type: ignore[no-any-return]

    def boolean(self, node: Any) -> ast.expr:
        node.values = [self.expression(value) for value in node.values]
        return node  # type: ignore[no-any-return]

    def compare(self, node: Any) -> ast.expr:
        if len(node.ops) > 1:
            self.refuse(node, "comparisons cannot be chained", "write a < b and b < c")
        op = node.ops[0]
        if isinstance(op, ast.Is | ast.IsNot):
            self.refuse(node, "there is no 'is'", "use ==" if isinstance(op, ast.Is) else "use !=")
        left = node.left = self.expression(node.left)
        right = node.comparators[0] = self.expression(node.comparators[0])
        if isinstance(op, ast.Eq | ast.NotEq) and not (_is_plain(left) or _is_plain(right)):
            equal = _call("$eq", left, right, at=node)
            if isinstance(op, ast.Eq):
                return equal
            return ast.copy_location(ast.UnaryOp(ast.copy_location(ast.Not(), node), equal), node)
        return node  # type: ignore[no-any-return]

    def conditional(self, node: Any) -> ast.expr:
        node.test = self.expression(node.test)
        node.body = self.expression(node.body)
        node.orelse = self.expression(node.orelse)
        return node  # type: ignore[no-any-return]

    def lambda_(self, node: Any) -> ast.expr:
        self.arguments(node.args)
        body = self.expression(node.body)
        node.body = ast.copy_location(ast.BoolOp(ast.Or(), [_call("$tick", at=body), body]), body)
        return node  # type: ignore[no-any-return]

    def comprehension(self, node: Any) -> ast.expr:
        for part in node.generators:
            if part.is_async:
                self.refuse(node, "the language has no async")
            part.iter = self.gone_through(part.iter)
            self.target(part.target)
            part.ifs = [self.expression(test) for test in part.ifs]
        if isinstance(node, ast.DictComp):
            node.key = self.expression(node.key)
            node.value = self.expression(node.value)
            return _call("$dict", node) if self.is_bzl else node
        node.elt = self.expression(node.elt)
        return _call("$list", node) if self.is_bzl else node

    def gone_through(self, node: ast.expr) -> ast.expr:
        return _call("$iter", self.expression(node))

    def joined(self, node: Any) -> ast.expr:
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                if not isinstance(value.value, ast.Name) or value.conversion != -1 or value.format_spec:
                    self.refuse(node, "an f-string holds plain names only", 'use "{}".format(x)')
                value.value = _call("$text", self.load_name(value.value))
        return node  # type: ignore[no-any-return]


def _is_plain(node: ast.expr) -> bool:
    """Whether `node` can be compared by Python's own ==: it is no bool and no number."""
    if isinstance(node, ast.Constant):
        return node.value is None or isinstance(node.value, str)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in ("$list", "$dict", "$mod", "type", "len")
    return isinstance(node, _PLAIN)


def _call(name: str, *args: ast.expr, at: ast.AST | None = None) -> ast.expr:
    """A call of one of our own functions, at the place of `at` or of its first argument."""
    place: Any = at if at is not None else args[0]
    func = ast.copy_location(ast.Name(name, ast.Load()), place)
    for arg in args:
        if not hasattr(arg, "lineno"):
            ast.copy_location(arg, place)
    return ast.copy_location(ast.Call(func, list(args), []), place)


_VISIT: dict[type, Callable[[_Check, Any], ast.expr]] = {
    ast.Constant: _Check.constant,
    ast.Name: _Check.load_name,
    ast.Call: _Check.call,
    ast.List: _Check.list_,
    ast.Tuple: _Check.tuple_,
    ast.Dict: _Check.dict_,
    ast.Attribute: _Check.attribute,
    ast.Subscript: _Check.subscript,
    ast.BinOp: _Check.binary,
    ast.UnaryOp: _Check.unary,
    ast.BoolOp: _Check.boolean,
    ast.Compare: _Check.compare,
    ast.IfExp: _Check.conditional,
    ast.Lambda: _Check.lambda_,
    ast.ListComp: _Check.comprehension,
    ast.DictComp: _Check.comprehension,
    ast.JoinedStr: _Check.joined,
}
