"""What the repository says about inference: `[build]` in fairlead.toml, or [tool.fairlead.build] in
pyproject.toml.

Read from the tree and nowhere else: what a person or the environment says would give a commit other targets
on another machine. `fairlead.config` knows the same names, and refuses those that it does not.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

from fairlead.build.tree import Tree
from fairlead.errors import UsageError

OWN, SHARED = "fairlead.toml", "pyproject.toml"
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=([^\0]*)", re.DOTALL)


@dataclass(frozen=True)
class Settings:
    """`source` is the file, "" if there is none. Lists are empty and texts "" if nothing is said. `env` are
    variables of tests with their values."""

    source: str = ""
    infer: bool = False
    lock: str = ""
    data: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    join: tuple[str, ...] = ()
    version: str = ""
    interpreter: str = ""
    env: tuple[tuple[str, str], ...] = ()
    ignore: tuple[str, ...] = ()


def read(tree: Tree) -> Settings:
    """The settings of a tree; UsageError for a file that is no TOML or a value of the wrong kind."""
    if tree.kind(OWN) == "file":
        return _settings(toml(tree, OWN), OWN)
    if tree.kind(SHARED) == "file":
        found = table(toml(tree, SHARED), "tool", "fairlead")
        if found is not None:
            return _settings(found, SHARED)
    return Settings()


def toml(tree: Tree, path: str) -> Mapping[str, object]:
    """A TOML file of the tree."""
    try:
        return tomllib.loads(tree.read(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}", where=path, remedy="mend that line") from None


def table(value: object, *names: str) -> Mapping[str, object] | None:
    """The table below `value` with these names, None if there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else None


def text(value: object) -> str:
    """`value` if it is a text, else ""."""
    return value if isinstance(value, str) else ""


def texts(value: object) -> tuple[str, ...]:
    """The texts in a list; a text alone stands for itself."""
    if isinstance(value, str):
        return (value,)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _settings(found: Mapping[str, object], source: str) -> Settings:
    build = table(found, "build") or {}
    kinds: dict[str, type] = {"infer": bool, "lock": str, "version": str, "interpreter": str}
    kinds |= dict.fromkeys(("data", "packages", "requires", "groups", "join", "env", "ignore"), list)
    for name, kind in kinds.items():
        value = build.get(name)
        if value is not None and (
            not isinstance(value, kind)
            or (isinstance(value, list) and not all(isinstance(item, str) for item in value))
        ):
            words = {bool: "true or false", str: "a text", list: "a list of texts"}[kind]
            raise UsageError(f"build.{name} is {value!r}", where=source, remedy=f"use {words}")
    return Settings(
        source,
        build.get("infer") is True,
        text(build.get("lock")),
        tuple(path.strip("/") for path in texts(build.get("data"))),
        tuple(path.strip("/") for path in texts(build.get("packages"))),
        texts(build.get("requires")),
        texts(build.get("groups")),
        texts(build.get("join")),
        text(build.get("version")),
        text(build.get("interpreter")),
        tuple(_variable(item, source) for item in texts(build.get("env"))),
        texts(build.get("ignore")),
    )


def _variable(item: str, source: str) -> tuple[str, str]:
    found = _VARIABLE.fullmatch(item)
    if found is None:
        raise UsageError(f"build.env has {item!r}", where=source, remedy='write a variable as "NAME=value"')
    return found[1], found[2]
