"""Labels (`//pkg:name`) and target patterns (`//...`, `//pkg:`, `:name`), and the cells they live in.

A cell is a folder of the project with a name of its own: `tools//pkg:x`. The cell at the project root prints
without a name, so `root//a:b`, `@root//a:b` and `//a:b` are one label, and one key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from fairlead.build.dialect.values import Native
from fairlead.errors import UsageError, did_you_mean

_NAME = re.compile(r"[A-Za-z0-9_.,=~@!+$#-]+(/[A-Za-z0-9_.,=~@!+$#-]+)*")
_CELL = re.compile(r"[A-Za-z0-9_.-]*")


@dataclass(frozen=True, order=True, repr=False)
class Label(Native):
    """A target: its cell ("" is the root), its package (a path without slashes at its ends), its name, and
    the sub-target that `[sub]` picks, if any."""

    TYPE = "Label"

    cell: str
    package: str
    name: str
    sub_target: tuple[str, ...] = ()

    @cached_property
    def _text(self) -> str:
        return f"{self.cell}//{self.package}:{self.name}" + "".join(f"[{sub}]" for sub in self.sub_target)

    def __str__(self) -> str:
        return self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def raw_target(self) -> Label:
        """The label without its sub-target."""
        return Label(self.cell, self.package, self.name) if self.sub_target else self


@dataclass(frozen=True)
class Pattern:
    """What a person may ask for: one target, all targets of a package, or all below a folder."""

    kind: Literal["target", "package", "recursive"]
    cell: str
    package: str
    name: str = ""

    def __str__(self) -> str:
        if self.kind == "recursive":
            return f"{self.cell}//{self.package}/...".replace("///...", "//...")
        return f"{self.cell}//{self.package}:{self.name}"

    def matches(self, label: Label) -> bool:
        """Whether `label` is one of what this pattern names."""
        if label.cell != self.cell:
            return False
        if self.kind == "recursive":
            return not self.package or f"{label.package}/".startswith(f"{self.package}/")
        return label.package == self.package and (self.kind == "package" or label.name == self.name)


@dataclass(frozen=True)
class Cells:
    """Cell names and aliases -> folder of the project ("" is the root)."""

    folders: Mapping[str, str]

    def resolve(self, name: str, text: str) -> str:
        """The canonical name of the cell that `text` calls `name`: the first one with the same folder."""
        if name not in self.folders:
            raise UsageError(
                f"the label {text!r} names the unknown cell {name!r}",
                remedy=did_you_mean(name, self.folders) or "add it to [cells] in .buckconfig",
            )
        folder = self.folders[name]
        if not folder:
            return ""
        return next(known for known, where in self.folders.items() if where == folder)

    def path(self, cell: str, package: str) -> str:
        """The folder of a package, relative to the project root; "" is the root itself."""
        folder = self.folders[cell] if cell else ""
        return f"{folder}/{package}".strip("/")


def _split(text: str, cell: str, package: str, cells: Cells) -> tuple[str, str, str | None]:
    """The cell, the package and what follows the colon (None if there is none)."""
    before, double, after = text.partition("//")
    if double:
        name = before.removeprefix("@")
        if not _CELL.fullmatch(name):
            raise _bad(text, "a cell's name holds letters, digits, - _ and .")
        cell = cells.resolve(name, text) if name else cell
        path, colon, rest = after.partition(":")
    else:
        path, colon, rest = text.partition(":")
        path = f"{package}/{path}".strip("/") if path else package
    if path and (any(part in ("", ".", "..", "...") for part in path.split("/")) or "\\" in path):
        raise _bad(text, "a package is a path such as a/b, without . .. or a slash at its ends")
    return cell, path, rest if colon else None


def _bad(text: str, remedy: str) -> UsageError:
    return UsageError(f"{text!r} is no label", remedy=remedy)


def parse_label(text: str, cell: str, package: str, cells: Cells) -> Label:
    """Read a label as it stands in a file of `package`: `//a:b`, `cell//a:b`, `:b`, `//a` (is `//a:a`),
    `//a:b[sub]`."""
    bare, bracket, subs = text.partition("[")
    if not ("//" in bare or ":" in bare):
        raise _bad(text, f"write :{text} for a target of this package, //package:name for another")
    cell, package, name = _split(bare, cell, package, cells)
    if name is None:
        name = package.rpartition("/")[2]
    if not _is_name(name):
        raise _bad(text, "write //package:name; a name holds letters, digits and _.,=~@!+$#/-")
    if bracket and not subs.endswith("]"):
        raise _bad(text, "a sub-target ends with ]")
    return Label(cell, package, name, tuple(subs[:-1].split("][")) if bracket else ())


def _is_name(name: str) -> bool:
    parts = name.split("/")
    return _NAME.fullmatch(name) is not None and not any(part in (".", "..", "...") for part in parts)


def check_name(name: str) -> None:
    """Raise unless `name` can be a target's name."""
    if not _is_name(name):
        raise UsageError(f"{name!r} cannot be a target's name", remedy="use letters, digits and _.,=~@!+$#/-")


def parse_pattern(text: str, cell: str, package: str, cells: Cells) -> Pattern:
    """Read a target pattern; `cell` and `package` are where it is said."""
    before, part, _ = text.partition("::")
    if part:
        raise UsageError(
            f"{text!r} is one test, and no target",
            remedy=f"name its target, {before}; `fairlead test` and `fairlead why` take one test",
        )
    if text == "..." or (text.endswith("/...") and text != "/..."):
        base = text.removesuffix("...").removesuffix("/")
        if text.endswith("//..."):
            base += "/"
        elif not base:
            base = f"//{package}"
        cell, package, rest = _split(base, cell, package, cells)
        if rest is not None:
            raise _bad(text, "write //package/... for all targets below a folder")
        return Pattern("recursive", cell, package)
    if text.endswith(":"):
        cell, package, _ = _split(text, cell, package, cells)
        return Pattern("package", cell, package)
    if "//" not in text and ":" not in text:
        if text.startswith(("/", ".")):  # a path of the file system, as it is typed from habit
            raise _bad(text, "write //package:name, or :name for a target of this folder")
        text = f"//{package}/{text}" if package else f"//{text}"
    label = parse_label(text, cell, package, cells)
    if label.sub_target:
        raise _bad(text, f"sub-targets cannot be asked for by themselves: build {label.raw_target()}")
    return Pattern("target", label.cell, label.package, label.name)
