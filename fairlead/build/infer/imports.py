"""What one Python file says that it uses: imports in every scope, plugins, words that may name files or
modules, and whatever makes the list incomplete.

Pure: text in, facts out; nothing is run. A file that cannot be parsed says nothing that can be relied on, so
it counts as dynamic. Of two readings the wider is taken: a false import costs a rerun, a missed one a test
that does not find its file.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_PATH = re.compile(r"[^\s\0*?<>|\"']{1,200}")

# Calls after which the files that are read can no longer be told from the text. By the last part of the
# name that is called, whatever it hangs on: `importlib.import_module`, `from importlib import import_module`.
_DYNAMIC = {
    "entry_points": "asks for entry points",
    "exec": "executes code",
    "execfile": "executes a file",
    "exec_module": "loads a module from a file",
    "find_spec": "looks for modules",
    "getsource": "reads its own source",
    "getsourcefile": "reads its own source",
    "getsourcelines": "reads its own source",
    "getfile": "asks where source is",
    "iter_modules": "lists modules",
    "walk_packages": "lists modules",
    "module_from_spec": "loads a module from a file",
    "spec_from_file_location": "loads a module from a file",
    "load_source": "loads a module from a file",
    "SourceFileLoader": "loads a module from a file",
    "run_module": "runs a module",
    "run_path": "runs a file",
    "testfile": "runs doctests",
    "testmod": "runs doctests",
    "DocTestSuite": "runs doctests",
    "glob": "lists files",
    "iglob": "lists files",
    "rglob": "lists files",
    "iterdir": "lists files",
    "listdir": "lists files",
    "scandir": "lists files",
    "walk": "lists files",
    "getline": "reads source lines",
    "getlines": "reads source lines",
    "Popen": "starts a program",
    "check_call": "starts a program",
    "check_output": "starts a program",
    "create_subprocess_exec": "starts a program",
    "create_subprocess_shell": "starts a program",
    "getoutput": "starts a program",
    "popen": "starts a program",
    "system": "starts a program",
    "addsitedir": "changes where modules are looked for",
    "syspath_prepend": "changes where modules are looked for",
}
_HARMLESS_OWNERS = {"walk": {"ast"}, "system": {"platform"}, "glob": set[str](), "exec": {"re"}}
_SPAWN_OWNERS = {"subprocess", "sp", "trio", "anyio"}
_IMPORTERS = ("import_module", "__import__", "importorskip")
_WATCHED = {"importlib", "inspect", "os", "pkgutil", "runpy", "subprocess", "sys"}
_PYTEST_RUNNERS = {"pytester", "testdir"}


@dataclass(frozen=True)
class Import:
    """`from {level dots}{module} import {names}`; no names for `import module`. `*` stands for all."""

    module: str
    level: int = 0
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dynamic:
    """A line after which the imports of a file are no longer all there is."""

    line: int
    what: str


@dataclass(frozen=True)
class Facts:
    """What a file says. `dotted` are texts that look like modules, `paths` texts that look like paths
    (pieces joined by `/` are joined), `ignored` the literal `collect_ignore` of a conftest."""

    imports: tuple[Import, ...] = ()
    dynamic: tuple[Dynamic, ...] = ()
    dotted: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


def read(source: bytes) -> Facts:
    """The facts of a file with these bytes."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        return Facts(dynamic=(Dynamic(line, "cannot be parsed"),))
    found = _Reader()
    found.walk(tree)
    ignored = tuple(
        text
        for node in tree.body
        if isinstance(node, ast.Assign) and _assigns(node, "collect_ignore")
        for text in _constants(node.value)
    )
    return Facts(
        tuple(dict.fromkeys(found.imports)),
        tuple(sorted(found.dynamic, key=lambda d: d.line)),
        tuple(sorted(found.dotted)),
        tuple(sorted(found.paths)),
        tuple(dict.fromkeys(found.plugins)),
        ignored,
    )


class _Reader:
    def __init__(self) -> None:
        self.imports: list[Import] = []
        self.dynamic: list[Dynamic] = []
        self.dotted: set[str] = set()
        self.paths: set[str] = set()
        self.plugins: list[str] = []

    def walk(self, tree: ast.AST) -> None:
        """Look at every node once. Written out, since ast.walk takes most of the time that init takes."""
        looks = {
            ast.Import: self._import,
            ast.ImportFrom: self._import_from,
            ast.Call: self._call,
            ast.Constant: self._constant,
            ast.BinOp: self._joined,
            ast.Assign: self._assign,
            ast.AnnAssign: self._assign,
            ast.AugAssign: self._assign,
            ast.Name: self._name,
            ast.arg: self._argument,
            ast.Attribute: self._attribute,
        }
        stack = [tree]
        while stack:
            node = stack.pop()
            look = looks.get(type(node))
            if look is not None:
                look(node)  # type: ignore[operator]
            for name in node._fields:
                value = getattr(node, name, None)
                if value.__class__ is list:
                    stack += [item for item in value if isinstance(item, ast.AST)]
                elif isinstance(value, ast.AST) and value._fields:
                    stack.append(value)

    def _import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.imports.append(Import(alias.name))
            if alias.asname and alias.name.partition(".")[0] in _WATCHED:
                self._note(node, f"gives {alias.name} another name")

    def _import_from(self, node: ast.ImportFrom) -> None:
        self.imports.append(Import(node.module or "", node.level, tuple(alias.name for alias in node.names)))
        for alias in node.names:
            if alias.asname and (alias.name in _DYNAMIC or alias.name in _IMPORTERS):
                self._note(node, f"gives {alias.name} another name")
            elif node.module == "subprocess" or (
                node.module == "sys" and alias.name in ("path", "executable")
            ):
                self._note(node, f"takes {alias.name} out of {node.module}")

    def _constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self._text(node.value)

    def _assign(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> None:
        if not _assigns(node, "pytest_plugins") or node.value is None:
            return
        self.plugins += _constants(node.value)
        if not _is_literal(node.value):
            self._note(node, "names plugins at run time")

    def _name(self, node: ast.Name) -> None:
        if node.id == "__file__":
            self._note(node, "asks where it is (__file__)")

    def _argument(self, node: ast.arg) -> None:
        if node.arg in _PYTEST_RUNNERS:
            self._note(node, "runs pytest in a test")

    def _attribute(self, node: ast.Attribute) -> None:
        if node.attr == "path" and isinstance(node.value, ast.Name) and node.value.id == "sys":
            self._note(node, "looks at or changes sys.path")
        elif node.attr in ("__file__", "__path__"):
            self._note(node, f"asks where a module is ({node.attr})")
        elif node.attr == "executable" and isinstance(node.value, ast.Name) and node.value.id == "sys":
            self._note(node, "names the interpreter (sys.executable)")

    def _call(self, node: ast.Call) -> None:
        name = _called(node.func)
        owner = _called(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        if name in _IMPORTERS:
            self._import_call(node, name)
        elif name in _DYNAMIC and owner not in _HARMLESS_OWNERS.get(name, ()):
            self._note(node, _DYNAMIC[name])
        elif (name in ("run", "call", "run_process", "open_process") and owner in _SPAWN_OWNERS) or (
            owner == "os" and name.startswith(("exec", "spawn", "posix_spawn"))
        ):
            self._note(node, "starts a program")
        elif name == "main" and owner == "pytest":
            self._note(node, "runs pytest in a test")
        elif name in ("join", "joinpath"):
            pieces = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            if pieces:
                self._path("/".join(pieces))

    def _import_call(self, node: ast.Call, name: str) -> None:
        first = node.args[0] if node.args else None
        if not (isinstance(first, ast.Constant) and isinstance(first.value, str)):
            self._note(node, f"imports what it computes ({name})")
            return
        bare = first.value.lstrip(".")
        level = len(first.value) - len(bare)
        if level and not (
            len(node.args) > 1
            and isinstance(node.args[1], ast.Name)
            and node.args[1].id in ("__package__", "__name__")
        ):
            self._note(node, f"imports relative to what it computes ({name})")
        if level:
            package, _, last = bare.rpartition(".")
            self.imports.append(Import(package, level, (last,)))
        else:
            self.imports.append(Import(bare))

    def _joined(self, node: ast.BinOp) -> None:
        """Base / "a" / "b.txt": the path a/b.txt. The nodes within it name its beginnings."""
        if not isinstance(node.op, ast.Div):
            return
        pieces: list[str] = []
        at: ast.expr = node
        while isinstance(at, ast.BinOp) and isinstance(at.op, ast.Div):
            if isinstance(at.right, ast.Constant) and isinstance(at.right.value, str):
                pieces.insert(0, at.right.value)
            else:
                pieces.clear()
            at = at.left
        if pieces:
            self._path("/".join(pieces))

    def _text(self, text: str) -> None:
        if len(text) <= 200 and _DOTTED.fullmatch(text):
            self.dotted.add(text)
        if "/" in text or "." in text:
            self._path(text)

    def _path(self, text: str) -> None:
        text = text.removeprefix("./").rstrip("/")
        if _PATH.fullmatch(text) and not text.startswith("/") and "://" not in text:
            self.paths.add(text)

    def _note(self, node: ast.expr | ast.stmt | ast.arg, what: str) -> None:
        self.dynamic.append(Dynamic(node.lineno, what))


def _called(node: ast.expr) -> str:
    """The last part of a name: `c` of a.b.c."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def _assigns(node: ast.Assign | ast.AnnAssign | ast.AugAssign, name: str) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def _is_literal(node: ast.expr) -> bool:
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return all(_is_literal(item) for item in node.elts)
    return isinstance(node, ast.Constant)


def _constants(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        for item in node.elts:
            yield from _constants(item)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
