"""What a setup.py says in literals, in the form of a setup.cfg. It is read and never run.

Names that the file itself sets to a literal at its top count as that literal. What is computed is left out,
and `computed` says so: it may be anything.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

_LISTS = ("install_requires", "packages", "py_modules")
_FINDERS = ("find_packages", "find_namespace_packages", "find")


@dataclass(frozen=True)
class SetupScript:
    """`sections` are those of a setup.cfg; `computed` the arguments of `setup` that are not literal."""

    sections: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    computed: frozenset[str] = frozenset()


def read(source: bytes) -> SetupScript:
    """The literals of a setup.py; nothing if it cannot be parsed or calls no `setup`."""
    try:
        body = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return SetupScript(computed=frozenset({"everything"}))
    known: dict[str, ast.expr] = {}
    for node in body.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            known[node.targets[0].id] = node.value
    for call in ast.walk(body):
        if isinstance(call, ast.Call) and _called(call.func) == "setup":
            return _setup(call, known)
    return SetupScript()


class _Known(ast.NodeTransformer):
    """Puts what a name stands for in its place."""

    def __init__(self, known: Mapping[str, ast.expr]) -> None:
        self.known = known

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.known.get(node.id, node)


def _setup(call: ast.Call, known: Mapping[str, ast.expr]) -> SetupScript:
    found: dict[str, dict[str, str]] = {}
    computed: set[str] = set()
    for word in call.keywords:
        if word.arg is None:
            computed.add("everything")
            continue
        value = _Known(known).visit(word.value)
        if word.arg == "packages" and isinstance(value, ast.Call) and _called(value.func) in _FINDERS:
            found.setdefault("options", {})["packages"] = "find:"
            found["options.packages.find"] = _finder(value)
            continue
        try:
            literal = ast.literal_eval(value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            computed.add(word.arg)
            continue
        _put(found, word.arg, literal)
    return SetupScript(found, frozenset(computed))


def _put(found: dict[str, dict[str, str]], name: str, value: object) -> None:
    options = found.setdefault("options", {})
    if name in ("name", "version") and isinstance(value, str):
        found.setdefault("metadata", {})[name] = value
    elif name in _LISTS:
        options[name] = _lines(value)
    elif name == "package_dir" and isinstance(value, dict):
        options[name] = "\n".join(f"{key}={path}" for key, path in value.items())
    elif name in ("extras_require", "entry_points") and isinstance(value, dict):
        found[f"options.{name}"] = {str(key): _lines(item) for key, item in value.items()}


def _lines(value: object) -> str:
    items = [value] if isinstance(value, str) else value
    return "\n".join(str(item) for item in items) if isinstance(items, list | tuple | set) else ""


def _finder(call: ast.Call) -> dict[str, str]:
    """The folder that find_packages is told to look in, and what it is told to take."""
    given = {word.arg: word.value for word in call.keywords if word.arg}
    if call.args:
        given.setdefault("where", call.args[0])
    found = {}
    for name in ("where", "include"):
        try:
            found[name] = _lines(ast.literal_eval(given[name]))
        except (KeyError, ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
    return found


def _called(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""
