"""Which Python a repository's tests should run with, of those on this machine.

From 3.12 on Fairlead notes which functions a test entered, before that only which files it read: an edit then
runs far more tests. So where an older one would be taken, a newer one that the projects allow is proposed. It
is not chosen: a repository's setting counts on every machine, and another may lack it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from fairlead.build.infer.finding import Finding
from fairlead.build.infer.layout import Project
from fairlead.build.infer.settings import table, text, texts

ENTERED = (3, 12)
"""The first Python in which the functions that ran are noted."""
KNOWN = tuple((3, minor) for minor in range(14, 11, -1))
_CLAUSE = re.compile(r"\s*(===|==|!=|<=|>=|<|>|~=|\^)?\s*(\d+)(?:\.(\d+))?(\.\d+)*(\.\*)?\s*")
_CLASSIFIER = re.compile(r"Programming Language :: Python :: (\d+)\.(\d+)")


def proposed(
    projects: Sequence[Project], running: tuple[int, int], is_here: Callable[[str], bool]
) -> Finding | None:
    """A finding that proposes a newer Python than `running`, None if that will do or there is no other.
    `is_here` says whether a command such as python3.13 is an interpreter on this machine."""
    if running >= ENTERED:
        return None
    named = {found for project in projects for found in _named(project)}
    fitting = [
        version
        for version in KNOWN
        if all(allows(_required(project), version) for project in projects)
        and is_here(f"python{version[0]}.{version[1]}")
    ]
    if not fitting:
        return None
    best = next((version for version in fitting if version in named), fitting[0])
    name = f"python{best[0]}.{best[1]}"
    return Finding(
        "Python of the tests",
        f"{running[0]}.{running[1]}, with which an edit counts for whole files; {name} is here, and counts"
        " functions",
        "guessed",
        add=f'interpreter = "{name}"',
    )


def allows(required: str, version: tuple[int, int]) -> bool:
    """Whether a constraint such as ">=3.8,<4" lets some release of a Python be taken; not, if it says what
    is not understood."""
    return all(_allows(clause, version) for clause in required.split(",") if clause.strip())


def _allows(clause: str, version: tuple[int, int]) -> bool:
    found = _CLAUSE.fullmatch(clause)
    if found is None:
        return False
    how, asked = found[1] or "==", (int(found[2]), int(found[3] or 0))
    whole = found[3] is None
    if how in ("~=", "^"):
        return version >= asked and version[0] == asked[0]
    if how == "<":
        return version < asked or (version == asked and found[4] is not None and found[4] != ".0")
    if how == "!=":
        return found[5] is None or (version[0] != asked[0] if whole else version != asked)
    if how in ("==", "==="):
        return version[0] == asked[0] if whole and found[5] else version == asked
    return version >= asked if how in (">=", ">") else version <= asked


def _required(project: Project) -> str:
    poetry = table(project.pyproject, "tool", "poetry", "dependencies") or {}
    return (
        text((table(project.pyproject, "project") or {}).get("requires-python"))
        or text(poetry.get("python"))
        or project.setup.get("options", {}).get("python_requires", "")
    )


def _named(project: Project) -> Iterable[tuple[int, int]]:
    """The Pythons that the project says it is for."""
    lines = texts((table(project.pyproject, "project") or {}).get("classifiers"))
    lines += tuple(project.setup.get("metadata", {}).get("classifiers", "").splitlines())
    for line in lines:
        if found := _CLASSIFIER.fullmatch(line.strip()):
            yield int(found[1]), int(found[2])
