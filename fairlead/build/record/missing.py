"""What a test asked for in vain although the project has it: inputs that nobody declared.

A failed import is read from the log, for Python lists the folders of its search path once and then asks for
no file that it does not see there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fairlead.build.record.layout import Layout
from fairlead.build.record.runs import RecordedRun
from fairlead.build.tree import Tree

How: TypeAlias = Literal["imported", "opened", "listed", "looked for", "setting"]
_ORDER: tuple[How, ...] = ("imported", "opened", "listed", "looked for", "setting")

SETTINGS = frozenset(
    {"__init__.py", "conftest.py", "setup.cfg", "setup.py", "tox.ini", "pyproject.toml"}
    | {"pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml"}
)
"""Names that pytest looks for in every folder, whether the tests need them or not."""

_LIBRARIES = ("python_library", "python_test", "python_binary")

_NO_MODULE = re.compile(r"No module named '([\w.]+)'")
_NO_NAME = re.compile(r"cannot import name '(\w+)' from '([\w.]+)'")


@dataclass(frozen=True)
class Missing:
    """A path of the project, and what was wanted of it. `setting`: pytest itself looked whether it is
    there."""

    path: str
    how: How


def missing(run: RecordedRun, log: str, layout: Layout, tree: Tree) -> list[Missing]:
    """The undeclared inputs of a run, likeliest cause first."""
    found: dict[str, How] = {}
    for path in sorted(_modules(log, layout)):
        _add(found, path, "imported", layout, tree)
    asked = run.asked
    for paths, how in ((asked.opened, "opened"), (asked.listed, "listed"), (asked.probed, "looked for")):
        for path in sorted(paths & run.absent):
            known: How = "setting" if path.rpartition("/")[2] in SETTINGS else how  # type: ignore[assignment]
            _add(found, path, known, layout, tree)
    whole = [Missing(path, how) for path, how in found.items() if not _said_by_its_files(path, found)]
    return sorted(whole, key=lambda item: (_ORDER.index(item.how), item.path))


def _add(found: dict[str, How], path: str, how: How, layout: Layout, tree: Tree) -> None:
    for source in layout.sources(path):
        if tree.kind(source) is not None:
            found.setdefault(source, how)
            return


def _said_by_its_files(path: str, found: Iterable[str]) -> bool:
    return any(other.startswith(f"{path}/") for other in found)


def _modules(log: str, layout: Layout) -> Iterator[str]:
    """Where in the link trees the modules would stand that the log says are not there."""
    names = {match[1] for match in _NO_MODULE.finditer(log)}
    names |= {f"{match[2]}.{match[1]}" for match in _NO_NAME.finditer(log)}
    for name in names:
        for link_tree in layout.trees:
            place = f"{link_tree}/{name.replace('.', '/')}"
            yield from (f"{place}.py", f"{place}/__init__.py", place)  # a folder is a module too


@dataclass(frozen=True)
class Owner:
    """Where a path of the project belongs: its package ("" is the root's, None: it is in no package), and
    the targets that have it among their sources, as (label, rule)."""

    package: str | None
    targets: tuple[tuple[str, str], ...] = ()


def remedy(item: Missing, owner: Owner, label: str, rule: str) -> str:
    """What to write into which BUCK file, so that the test `label` gets the file."""
    package = label.partition("//")[2].partition(":")[0]
    python = rule.startswith("python_")
    others = sorted((kind not in _LIBRARIES, target) for target, kind in owner.targets if target != label)
    if others:
        attribute = "deps" if python and not others[0][0] else "resources"
        named = [f'"{target}"' for elsewhere, target in others if elsewhere == others[0][0]]
        choice = named[0] if len(named) == 1 else "what it needs of " + ", ".join(named[:4])
        return f"add {choice} to the {attribute} of {label}"
    if owner.package is None:
        return "it is in no package: make a BUCK file in its folder or above"
    place = f"//{owner.package}" if owner.package else "the root package"
    inside = item.path[len(owner.package) + 1 :] if owner.package else item.path
    if owner.package == package:
        attribute = "srcs" if python and inside.endswith(".py") else "resources"
        return f'add "{inside}" to the {attribute} of {label}'
    if python:
        return f"declare it in a python_library of {place}, and add that to the deps of {label}"
    return f"declare it in a filegroup of {place}, and add that to the resources of {label}"
