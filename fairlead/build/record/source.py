"""Python source by blocks: what importing a module depends on, apart from what each function's body is.

Importing a module runs its statements and makes its functions, and never looks into the body of one that is
not called. So a file has one digest for all that importing sees, the *skeleton*, and one for each *body*; a
run that never entered a function does not depend on its body. A block is a function or method of the module;
what is nested in a function, lambdas and comprehensions are parts of what they stand in, for nobody reaches
them without entering that.

Some of a body can be seen without entering it, and is in the skeleton: the docstring, whether it is a
generator, whether it uses `__class__` (a metaclass sees that), and the warnings that compiling it gives (a
project may turn them into errors).

Line numbers are kept apart (`lines`): they show in tracebacks and warnings, so they count unless somebody
says that they do not. Columns are left out: they show only beside the source line itself, and whoever prints
that has read the file, which makes the whole file count. Code that inspects bytecode can see more than this
knows (also `__static_attributes__` of Python 3.13).

Digests are those of one version of Python, whose syntax tree they are made of.
"""

from __future__ import annotations

import ast
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from fairlead.store import digest

_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

_WARNINGS = threading.Lock()  # warnings.catch_warnings changes what all threads see


@dataclass(frozen=True)
class Body:
    """One function's body. `qualname` and `line` are as its code object says them (`co_qualname`,
    `co_firstlineno`); `ordinal` counts functions of one name in the file, from 0."""

    qualname: str
    ordinal: int
    line: int
    digest: str
    lines: str

    @property
    def name(self) -> str:
        """The body's name in a record, such as `Class.method#0`."""
        return f"{self.qualname}#{self.ordinal}"


@dataclass(frozen=True)
class Blocks:
    """A file's digests: `skeleton` without line numbers, `lines` of the skeleton's, and its bodies."""

    skeleton: str
    lines: str
    bodies: tuple[Body, ...]

    def body(self, name: str) -> Body | None:
        """The body called `qualname#ordinal`."""
        return next((body for body in self.bodies if body.name == name), None)


def blocks(data: bytes) -> Blocks | None:
    """The blocks of a source file; None if it is none that this Python can compile, so only its bytes can
    stand for it."""
    try:
        with _WARNINGS, warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            tree = ast.parse(data)
            compile(data, "module", "exec", dont_inherit=True)
        said = [(type(item.message).__name__, str(item.message)) for item in warned]
        said_at = [item.lineno for item in warned]
        found = _Split(tree)
        skeleton = _digest("skeleton", ast.dump(tree), repr(said))
        return Blocks(skeleton, _lines(tree, said_at), tuple(found.bodies))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


class _Split:
    """Takes the bodies out of a tree, and leaves their names in their places."""

    def __init__(self, tree: ast.Module) -> None:
        self.bodies: list[Body] = []
        self._seen: dict[str, int] = {}
        self._inside(tree, "")

    def _inside(self, node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                self._take(child, prefix)
            elif isinstance(child, ast.ClassDef):
                self._inside(child, f"{prefix}{child.name}.")
            elif not isinstance(child, ast.expr):
                self._inside(child, prefix)

    def _take(self, function: _Function, prefix: str) -> None:
        qualname = prefix + function.name
        ordinal = self._seen.get(qualname, 0)
        self._seen[qualname] = ordinal + 1
        line = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
        first = function.body[0]
        documented = (
            isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and isinstance(first.value.value, str)
        )
        kept: list[ast.stmt] = [first] if documented else []
        rest = function.body[len(kept) :]
        # With no statement left the parser's rule of a body still holds, and `dump` needs none.
        text = "".join(ast.dump(statement) for statement in rest)
        body = Body(qualname, ordinal, line, _digest("body", text), _lines_of(rest, [line]))
        self.bodies.append(body)
        seen = [body.name, _is_generator(rest), _uses_class(rest)]
        function.body = [*kept, ast.Expr(ast.Constant(repr(seen)))]


def _own(statements: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """The nodes of a function's own code, without the bodies of what is nested in it."""
    todo = list(statements)
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, _Function | ast.Lambda | ast.ClassDef):
            inside = node.body if isinstance(node.body, list) else [node.body]
            todo.extend(child for child in ast.iter_child_nodes(node) if child not in inside)
        else:
            todo.extend(ast.iter_child_nodes(node))


def _is_generator(statements: Sequence[ast.AST]) -> bool:
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in _own(statements))


def _uses_class(statements: Sequence[ast.AST]) -> bool:
    return any(
        isinstance(node, ast.Name) and node.id in ("super", "__class__")
        for statement in statements
        for node in ast.walk(statement)
    )


def _lines(tree: ast.AST, more: Sequence[int]) -> str:
    return _lines_of([tree], more)


def _lines_of(nodes: Sequence[ast.AST], more: Sequence[int]) -> str:
    """A digest of where everything begins, line by line; where it ends follows from what comes next."""
    found = [*more]
    for node in nodes:
        found += [number for inner in ast.walk(node) if (number := getattr(inner, "lineno", None))]
    return _digest("lines", repr(found))


def _digest(*words: str) -> str:
    version = f"python {sys.version_info[0]}.{sys.version_info[1]}"
    return digest.of_bytes("\0".join((version, *words)).encode("utf-8", "surrogatepass"))
