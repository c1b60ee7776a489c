"""Interpreted packages, kept: a build file is evaluated again only if what it asked for has changed.

What a build file comes to are targets as it declares them. They are kept with all that the file and the
functions that it called asked for: the .bzl files behind it, settings, the package's files if it listed them,
and what stands at each path that it named. A package is known if the same questions have the same answers
in the tree at hand, on disk or in git; so one changed build file evaluates one package, and a process that
has just started evaluates none. The key is the build file's own bytes with its folder: branches keep theirs.

The values are data, read back only if their bytes have the digest they were kept under. Not kept are packages
that print (the next run should print it too), whose rules are made while they are evaluated, or that are
inferred.

Rejected: keeping packages by the state of all files that the evaluation of a request looked at (any change
evaluates all), and by the time of the build file (a listing changes without it).
"""

from __future__ import annotations

import hashlib
import marshal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fairlead.build.attrs import ArgRef, Attr, DepRef, MacroRef, SourceRef
from fairlead.build.label import Label
from fairlead.build.plans import program
from fairlead.build.provider import DEFAULT, RUN, Provider
from fairlead.build.rule import Declared, Rule
from fairlead.build.tree import DiskTree, Kind, Tree
from fairlead.errors import FairleadError
from fairlead.store import Store, digest

if TYPE_CHECKING:
    from fairlead.build.loader import Loader

NAMESPACE = "package"
DAMAGED = (ValueError, EOFError, TypeError, KeyError, IndexError, FairleadError)
"""What a kept package may raise: then it is evaluated."""
_DIGEST = 32  # bytes of a SHA-256


@dataclass
class Asked:
    """What the evaluation of one build file asked for, with the answers: path -> what stands there, folder ->
    package that its files belong to, setting -> value, .bzl file -> SHA-256. `files` is a digest of the
    package's listing, "" if nobody asked; `printed` says that it cannot be kept."""

    kinds: dict[str, Kind | None] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str | None] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    files: str = ""
    printed: bool = False

    def add(self, other: Asked) -> None:
        """Also what the loading of a .bzl file asked for."""
        self.settings.update(other.settings)
        self.modules.update(other.modules)
        self.printed = self.printed or other.printed


@dataclass(frozen=True)
class Edges:
    """What a target is to others: its label, the name of its rule, the labels that it depends on, sorted."""

    label: str
    rule: str
    deps: tuple[str, ...]

    @classmethod
    def of(cls, target: Declared) -> Edges:
        """Those of a target."""
        deps = sorted(str(ref.label.raw_target()) for ref in target.deps())
        return cls(str(target.label), target.rule._name, tuple(deps))


@dataclass(frozen=True)
class Known:
    """A kept package: what it asked for, and its targets as data."""

    asked: Asked
    rows: list[Any]

    def edges(self) -> list[Edges]:
        """The targets as far as the graph needs them, a tenth of the work."""
        return [Edges(row[0], row[2], row[7]) for row in self.rows]

    def targets(self, loader: Loader) -> list[Declared] | None:
        """The targets; None if a rule is not to be had."""
        try:
            return [_declared(loader, row) for row in self.rows]
        except DAMAGED:
            return None


class Packages:
    """The packages of a store."""

    def __init__(self, store: Store) -> None:
        self._results = store.results
        self._fresh: dict[str, bytes] = {}
        self._rows: dict[str, bytes | None] = {}

    def expect(self, loader: Loader, build_files: Iterable[str]) -> None:
        """These will be asked for: look for them at once."""
        names = self._names(loader, build_files)
        missing = [name for name in names.values() if name not in self._rows]
        self._rows.update(dict.fromkeys(missing))
        self._rows.update(self._results.get_many(NAMESPACE, missing))

    def find(self, loader: Loader, build_file: str) -> Known | None:
        """What evaluating the build file would come to, None if that is not known."""
        (name,) = self._names(loader, [build_file]).values()
        row = self._rows.pop(name) if name in self._rows else self._results.get(NAMESPACE, name)
        if row is None or hashlib.sha256(row[_DIGEST:]).digest() != row[:_DIGEST]:
            return None
        try:
            folder, told, rows = marshal.loads(row[_DIGEST:])
            asked = Asked(*told)
            return Known(asked, rows) if _holds(loader, folder, asked) else None
        except DAMAGED:
            return None

    def keep(
        self,
        loader: Loader,
        build_file: str,
        sha: str,
        folder: str,
        asked: Asked,
        targets: Sequence[Declared],
    ) -> list[tuple[Any, ...] | None]:
        """Keep what a build file with the SHA-256 `sha` came to; nothing is written before `flush`. Gives the
        targets as data, None for one that cannot be told so."""
        rows = [row(loader, target) for target in targets]
        if not asked.printed and None not in rows:
            name = self._name(loader, build_file, sha)
            told = (asked.kinds, asked.owners, asked.settings, asked.modules, asked.files, False)
            data = marshal.dumps((folder, told, rows))
            self._fresh[name] = hashlib.sha256(data).digest() + data
        return rows

    def flush(self) -> None:
        """Write what was kept, in one transaction."""
        fresh, self._fresh = self._fresh, {}
        self._results.put_many(NAMESPACE, fresh)

    def _names(self, loader: Loader, build_files: Iterable[str]) -> dict[str, str]:
        """Build file -> the key of its row."""
        found = digests(loader.tree, build_files)
        return {path: self._name(loader, path, sha) for path, sha in found.items()}

    def _name(self, loader: Loader, build_file: str, sha: str) -> str:
        start = hashlib.sha256(f"{program()} {loader.layout} {build_file} {sha}".encode())
        return start.hexdigest()


def digests(tree: Tree, paths: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of files that evaluation reads; git gives build files at once, not one by one."""
    if isinstance(tree, DiskTree):
        return tree.digests(paths)
    return {path: digest.of_bytes(tree.read(path)) for path in paths}


def listing(files: Sequence[str]) -> str:
    """The digest of a listing."""
    return digest.of_bytes("\0".join(files).encode())


def _holds(loader: Loader, folder: str, asked: Asked) -> bool:
    """Whether all questions have the same answers now."""
    tree, config = loader.tree, loader.config
    return (
        all(loader.digest(path) == sha for path, sha in asked.modules.items())
        and all(config.get(*name.split("\0")) == value for name, value in asked.settings.items())
        and all(tree.kind(path) == kind for path, kind in asked.kinds.items())
        and all(loader.owner(path) == owner for path, owner in asked.owners.items())
        and (not asked.files or listing(loader.files(folder)) == asked.files)
    )


# Targets as data -----------------------------------------------------------------------------------------

# Coerced values are text, numbers, lists, tuples, dicts and references. A reference is a tuple that begins
# with `...`, as nothing else does. Text stays as it is, so most values cost nothing.

_DEP, _SOURCE, _ARG, _MACRO, _LABEL = range(5)


def row(loader: Loader, target: Declared) -> tuple[Any, ...] | None:
    """A target as data, None if its rule is no global of a file."""
    name = loader.global_name(target.rule)
    if name is None:
        return None
    wanted = wanted_providers(target.rule)
    edges = Edges.of(target)
    return (
        edges.label,
        (target.rule._module, name),
        edges.rule,
        {attr: _encode(value, wanted) for attr, value in target.attrs.items()},
        target.place,
        target.visibility,
        target.within_view,
        edges.deps,
    )


def _declared(loader: Loader, told: tuple[Any, ...]) -> Declared:
    label, (module, name), _, attrs, place, visibility, within_view, _ = told
    rule = loader.module(module).names[name]
    if not isinstance(rule, Rule):
        raise TypeError(f"{name} is no rule")
    wanted = wanted_providers(rule)
    made = {attr: _decode(value, wanted) for attr, value in attrs.items()}
    return Declared(_label(label), rule, made, place, visibility, within_view)


def wanted_providers(rule: Rule) -> list[tuple[Provider, ...]]:
    """The providers that the references of a rule's attributes ask for, in the order of its attributes."""
    if rule._wanted is None:
        found: list[tuple[Provider, ...]] = [(), (RUN,), (DEFAULT,)]
        todo: list[Any] = list(rule._attrs.values())
        for kind in todo:
            asked = getattr(kind, "_providers", ())
            if asked not in found:
                found.append(asked)
            for name in ("_inner", "_key", "_value"):
                inner = getattr(kind, name, None)
                todo.extend(inner if isinstance(inner, tuple) else [inner] if isinstance(inner, Attr) else [])
        rule._wanted = found
    return rule._wanted


def _encode(value: Any, wanted: list[tuple[Provider, ...]]) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, list):
        return [_encode(item, wanted) for item in value]
    if isinstance(value, dict):
        return {_encode(key, wanted): _encode(item, wanted) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_encode(item, wanted) for item in value)
    if isinstance(value, SourceRef):
        return (..., _SOURCE, value.path, value.short_path, value.files)
    if isinstance(value, DepRef):
        asked = wanted.index(value.providers)
        return (..., _DEP, str(value.label), asked, value.as_source)
    if isinstance(value, ArgRef):
        return (..., _ARG, tuple(_encode(part, wanted) for part in value.parts))
    if isinstance(value, MacroRef):
        return (..., _MACRO, value.kind, _encode(value.dep, wanted))
    if isinstance(value, Label):
        return (..., _LABEL, str(value))
    raise TypeError(f"{type(value).__name__} is no coerced value")


def _decode(value: Any, wanted: list[tuple[Provider, ...]]) -> Any:
    if isinstance(value, list):
        return [_decode(item, wanted) for item in value]
    if isinstance(value, dict):
        return {_decode(key, wanted): _decode(item, wanted) for key, item in value.items()}
    if not isinstance(value, tuple):
        return value
    if not value or value[0] is not ...:
        return tuple(_decode(item, wanted) for item in value)
    kind, first, *rest = value[1:]
    if kind == _SOURCE:
        return SourceRef(first, *rest)
    if kind == _DEP:
        return DepRef(_label(first), wanted[rest[0]], rest[1])
    if kind == _ARG:
        return ArgRef(tuple(_decode(part, wanted) for part in first))
    if kind == _MACRO:
        return MacroRef(first, _decode(rest[0], wanted))
    return _label(first)


def _label(text: str) -> Label:
    """The label that `str` made this text of."""
    cell, _, rest = text.partition("//")
    package, _, name = rest.partition(":")
    if not name.endswith("]"):
        return Label(cell, package, name)
    name, _, subs = name.partition("[")
    return Label(cell, package, name, tuple(subs[:-1].split("][")))
