"""Which bodies of the project's Python files a run entered, by what `hook.py` noted in its processes.

A file is taken apart only if everything about it is understood: each time that it was opened, a loader read
it to import it and nobody else could see its text; what was entered in it can be named; no process lost its
hook; and no code looked at what is in functions without entering them. What is not in the answer counts
whole. To name a body too many costs a run now and then; to leave one out would miss an edit.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TypeAlias

from fairlead.build import roots
from fairlead.build.record.asked import Asked
from fairlead.build.record.source import Blocks, blocks
from fairlead.build.tree import Tree

VARIABLE = roots.NOTES
"""What tells run_pytest.py where the log shall be."""

LIMIT = 64 * 1024 * 1024
"""Bytes of a log that are read; a longer one is not understood."""

_Place: TypeAlias = tuple[str, int]
"""A code object's qualified name and first line."""

_FINALIZER = "__del__"
_ANNOTATIONS = "__annotate__"  # what Python 3.14 calls the code that evaluates them
_BYTECODE = re.compile(r"(.*/)?__pycache__/(.+?)\.[a-z]+-?\d+(?:-pytest-.*)?(?:\.opt-\w+)?\.pyc")


def place(log: Path) -> None:
    """Before a run: put the hook where run_pytest.py looks for it, beside the file that `VARIABLE` names, and
    what notes the questions of finders where the .pth file of the environment does."""
    for name, ending in ("hook.py", ".py"), ("finders.py", roots.FINDERS):
        code = resources.files("fairlead.build.record").joinpath(name)
        log.with_name(f"{log.name}{ending}").write_bytes(code.read_bytes())


def noted(log: Path) -> bytes:
    """After it: what was noted, nothing if that is no file. The tests chose what stands there, so no link is
    followed and no more is read than `bodies` would look at."""
    try:
        opened = os.open(log, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    with os.fdopen(opened, "rb") as stream:
        return stream.read(LIMIT + 1) if stat.S_ISREG(os.fstat(opened).st_mode) else b""


_HARMLESS = (
    ("Code.firstlineno", "/_pytest/_code/code.py"),  # where a test or fixture stands, for reports
    ("findsource", "/inspect.py"),  # it opens the file of which it tells
    ("impersonate.<locals>.accept", "/hypothesis/internal/reflection.py"),  # gives it to a wrapper
    ("overload", "/typing.py"),  # tells one overload from another
)
"""Code that looks at line numbers in most runs, and on which no outcome depends."""

_KNOWING = re.compile(
    r".*/(typing\.py|site-packages/(_pytest/assertion/rewrite\.py|hypothesis/|coverage/).*)"
)
"""Code that looks into what it has compiled or measured itself, or into lambdas, which are part of what holds
them."""


@dataclass
class Log:
    """What one run's processes noted, by path as they say it. `lack` says why it is no whole account. `lines`
    are code objects that look at line numbers, as (qualified name, path); `looked` are the files of those
    that look into functions, or at sizes. `sought`, as (module, folder), `filled`, `described` and `unclear`
    are what finders.py noted, unless the account is `damaged`."""

    lack: str = "no process was hooked"
    imported: Counter[str] = field(default_factory=Counter)
    ran: set[str] = field(default_factory=set)
    entered: dict[str, set[_Place]] = field(default_factory=dict)
    lines: set[tuple[str, str]] = field(default_factory=set)
    looked: set[str] = field(default_factory=set)
    sought: set[tuple[str, str]] = field(default_factory=set)
    filled: Counter[str] = field(default_factory=Counter)
    described: Counter[str] = field(default_factory=Counter)
    unclear: Counter[str] = field(default_factory=Counter)
    damaged: bool = True

    @classmethod
    def read(cls, data: bytes) -> Log:
        """Read a log; one that is damaged, cut off or says that a hook was lost has a `lack`."""
        log = cls()
        if not data:
            return log
        log.damaged = False
        log.lack = "the tests ended without a word"
        *records, rest = data.decode("utf-8", "surrogateescape").split("\0")
        if rest or len(data) > LIMIT:
            log.lack, log.damaged = "the account was cut off", True
            return log
        lost = ""
        for record in records:
            match record.split("\t", 3):
                case ["imported", path]:
                    log.imported[path] += 1
                case ["ran", path]:
                    log.ran.add(path)
                case ["entered", line, name, path] if line.isdecimal():
                    log.entered.setdefault(path, set()).add((name, int(line)))
                case ["lines", name, path]:
                    log.lines.add((name, path))
                case ["lost", _, why]:
                    lost = lost or why
                case ["looked", _, path]:
                    log.looked.add(path)
                case ["sought", name, folder]:
                    log.sought.add((name, folder))
                case ["filled" | "described" | "unclear" as how, folder]:
                    getattr(log, how)[folder] += 1
                case ["hooked", _, _]:
                    pass
                case ["ended", _]:
                    log.lack = ""
                case _:
                    lost, log.damaged = lost or f"{record[:80]!r} is no record", True
        log.lack = lost or log.lack
        return log


def lines_seen(data: bytes) -> bool:
    """Whether code ran that looks at line numbers, so that they count (`positions` of `DependencySet.of`).

    Who shows a line in a traceback or a warning opens its source, which makes that file whole in any case.
    Not seen: C extensions that ask a frame, and names that are put together at run time.
    """
    log = Log.read(data)
    return bool(log.lack) or any(
        not any(name == known and path.endswith(end) for known, end in _HARMLESS) for name, path in log.lines
    )


def bodies(
    data: bytes,
    asked: Asked,
    tree: Tree,
    root: str,
    *,
    split: Callable[[bytes], Blocks | None] = blocks,
) -> dict[str, frozenset[str]]:
    """The files of `tree` that a run only imported, with the names of the bodies that it entered.

    `data` is the log, whose paths are absolute; `root` is where the run saw the tree's root, and `asked` is
    relative to that. The answer is for `DependencySet.of(asked, tree, python=...)`.
    """
    log = Log.read(data)
    if log.lack or asked.lack or asked.recorder == "none":
        return {}
    if any(not _KNOWING.fullmatch(path) for path in log.looked):
        return {}
    imported, ran, entered = _below(log, root.rstrip("/") + "/")
    compiled = _compiled(asked)
    found = {}
    for path, times in imported.items():
        if path in ran or asked.opens(path) != times or compiled[path] > times or tree.kind(path) != "file":
            continue
        parts = split(tree.read(path))
        names = None if parts is None else named(parts, entered.get(path, ()))
        if names is not None:
            found[path] = names
    return found


def named(parts: Blocks, entered: Iterable[_Place]) -> frozenset[str] | None:
    """The names of the bodies that code objects stand for; None if one of them cannot be told.

    What is nested in a function is a part of its body, which was entered before. Lambdas, comprehensions and
    annotations outside of functions are parts of the skeleton. Finalizers count as entered: the interpreter
    may run one while a callback of some other tool keeps it from telling.
    """
    known: dict[_Place, list[str]] = {}
    names = {body.name for body in parts.bodies if body.qualname.rpartition(".")[2] == _FINALIZER}
    for body in parts.bodies:
        known.setdefault((body.qualname, body.line), []).append(body.name)
    outer, around = set(), set()
    for qualname, line in entered:
        function, nested, _ = qualname.partition(".<locals>")
        if function.rpartition(".")[2].startswith("<"):
            continue
        if nested:
            around.add(function)
        elif (qualname, line) in known:
            outer.add(function)
            names.update(known[qualname, line])
        elif function.rpartition(".")[2] != _ANNOTATIONS:
            return None
    return frozenset(names) if around <= outer else None


def _compiled(asked: Asked) -> Counter[str]:
    """How often somebody looked for the bytecode of a source, which says all that the source does."""
    found: Counter[str] = Counter()
    for path in asked.opened:
        if match := _BYTECODE.fullmatch(path):
            found[f"{match[1] or ''}{match[2]}.py"] += asked.opens(path)
    return found


def _below(log: Log, start: str) -> tuple[Counter[str], set[str], dict[str, set[_Place]]]:
    """The log by path relative to `start`, without what lies elsewhere."""
    imported: Counter[str] = Counter()
    ran: set[str] = set()
    entered: dict[str, set[_Place]] = {}
    for path in log.imported.keys() | log.ran | log.entered.keys():
        normal = posixpath.normpath(path)
        if not normal.startswith(start):
            continue
        inner = normal[len(start) :]
        imported[inner] += log.imported[path]
        if path in log.ran:
            ran.add(inner)
        entered.setdefault(inner, set()).update(log.entered.get(path, ()))
    return Counter({path: times for path, times in imported.items() if times}), ran, entered
