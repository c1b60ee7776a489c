"""All targets of a project as numbers, so that a question about all of them walks arrays, not objects.

A target is its place in the order of labels; its dependencies and its dependants are ranges of two arrays of
numbers. 200,000 targets take some 40 MB with their labels. What a walk does not need (attributes, sources,
places) is not here: it is read from the one package that is asked about.

It is kept in the store with all that its making asked of the files, as plans are, and holds while the answers
are the same. In a daemon that is one look at what has changed since; else each folder is looked at once.

A project that cannot be a whole has none, and is asked package by package: one with a build file that is
wrong, that prints or is inferred, or with a dependency on a target that is not there.
"""

from __future__ import annotations

import marshal
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.build.evaluate import uncollected
from fairlead.build.label import Label, Pattern
from fairlead.build.loader import INFERRED, Loader
from fairlead.build.packages import Edges
from fairlead.build.plans import DAMAGED, parts, program
from fairlead.build.tree import DiskTree
from fairlead.errors import FairleadError
from fairlead.store import Store, digest

NAMESPACE = "whole"


@dataclass(frozen=True)
class Place:
    """A package: its targets are those from `first` to before `end`; `modules` are the .bzl files behind it,
    those of the prelude left out."""

    cell: str
    package: str
    build_file: str
    first: int
    end: int
    modules: tuple[str, ...]


class Whole:
    """The graph. `labels` are in the order of patterns; `deps` and `above` say for target n, from start n to
    before start n + 1, what it depends on (in order of label) and what depends on it."""

    __slots__ = ("above", "deps", "ids", "labels", "places", "rules")

    def __init__(
        self,
        labels: list[str],
        rules: list[str],
        places: list[Place],
        deps: tuple[array[int], array[int]],
        above: tuple[array[int], array[int]],
    ) -> None:
        self.labels = labels
        self.rules = rules
        self.places = places
        self.deps = deps
        self.above = above
        self.ids = {label: number for number, label in enumerate(labels)}

    # Which targets --------------------------------------------------------------------------------------

    def named(self, pattern: Pattern) -> list[str] | None:
        """The labels that a pattern names, in order; None if there are none, which is an error's affair."""
        if pattern.kind == "target":
            label = str(Label(pattern.cell, pattern.package, pattern.name))
            return [label] if label in self.ids else None
        found: list[str] = []
        any_of = False
        for place in self.places:
            if pattern.matches(Label(place.cell, place.package, "")):
                any_of = True
                found += self.labels[place.first : place.end]
        return found if any_of else None

    def numbers(self, labels: Iterable[str]) -> list[int] | None:
        """The numbers of labels; None if one is not there."""
        ids = self.ids
        try:
            return [ids[label] for label in labels]
        except KeyError:
            return None

    # Walks ----------------------------------------------------------------------------------------------

    def below(self, roots: Sequence[int], depth: int | None) -> list[int]:
        """The roots and what they depend on, at most `depth` steps away if it is given."""
        return self._reached(self.deps, roots, depth, None)

    def dependants(self, universe: Sequence[int], roots: Sequence[int], depth: int | None) -> list[int]:
        """Those of what `universe` depends on that depend on `roots`, at most `depth` steps away."""
        inside: bytearray | None = None
        if len(universe) < len(self.labels):
            inside = bytearray(len(self.labels))
            for number in self.below(universe, None):
                inside[number] = 1
        return self._reached(self.above, roots, depth, inside)

    def _reached(
        self,
        edges: tuple[array[int], array[int]],
        roots: Sequence[int],
        depth: int | None,
        inside: bytearray | None,
    ) -> list[int]:
        starts, ends = edges
        seen = bytearray(len(self.labels))
        found: list[int] = []
        for root in roots:
            if not seen[root] and (inside is None or inside[root]):
                seen[root] = 1
                found.append(root)
        edge = found
        while edge and (depth is None or depth > 0):
            fresh: list[int] = []
            for number in edge:
                for other in ends[starts[number] : starts[number + 1]]:
                    if not seen[other] and (inside is None or inside[other]):
                        seen[other] = 1
                        fresh.append(other)
            found = found + fresh
            edge = fresh
            depth = None if depth is None else depth - 1
        return found

    def path(self, roots: Sequence[int], goals: Iterable[int]) -> list[int]:
        """A shortest path from one of `roots` to one of `goals`; empty if there is none."""
        starts, ends = self.deps
        wanted = set(goals)
        came: dict[int, int | None] = dict.fromkeys(roots)
        edge = list(came)
        while edge:
            fresh: list[int] = []
            for number in edge:
                if number in wanted:
                    found = [number]
                    while (before := came[found[-1]]) is not None:
                        found.append(before)
                    return found[::-1]
                for lower in ends[starts[number] : starts[number + 1]]:
                    if lower not in came:
                        came[lower] = number
                        fresh.append(lower)
            edge = fresh
        return []

    # On disk --------------------------------------------------------------------------------------------

    def encode(self) -> bytes:
        """As bytes; labels by package, for most of a label is its package's."""
        return marshal.dumps(
            (
                "\n".join(self.labels),
                self.rules,
                [(p.cell, p.package, p.build_file, p.first, p.end, p.modules) for p in self.places],
                *(numbers.tobytes() for numbers in (*self.deps, *self.above)),
            )
        )

    @classmethod
    def decode(cls, value: Any) -> Whole:
        """From what `marshal` made of those bytes."""
        labels, rules, places, *numbers = value
        arrays = [array("I", data) for data in numbers]
        return cls(
            labels.split("\n") if labels else [],
            rules,
            [Place(*place) for place in places],
            (arrays[0], arrays[1]),
            (arrays[2], arrays[3]),
        )


def make(loader: Loader) -> Whole | None:
    """All targets of all cells; None if the project cannot be a whole."""
    try:
        with uncollected():
            return _make(loader)
    except FairleadError:
        return None


def _make(loader: Loader) -> Whole | None:
    cells = loader.config.cells
    first_of: dict[str, str] = {}
    for name, folder in cells.folders.items():
        first_of.setdefault(folder, "" if not folder else name)
    places: list[Place] = []
    targets: list[Edges] = []
    for cell in sorted(first_of.values()):
        names = sorted(set(loader.packages_below(cell, "")))
        loader.expect(cell, names)
        for name in names:
            found = loader.edges(cell, name)
            build_file = loader.build_file(cells.path(cell, name))
            if found is None or build_file == INFERRED or found[0].printed:
                return None
            asked, edges = found
            first = len(targets)
            # All have the same cell and package, so their labels sort as their names do.
            targets += sorted(edges, key=lambda target: target.label)
            places.append(Place(cell, name, build_file, first, len(targets), tuple(sorted(asked.modules))))
    labels = [target.label for target in targets]
    ids = {label: number for number, label in enumerate(labels)}
    try:
        below = [[ids[dep] for dep in target.deps] for target in targets]
    except KeyError:  # no such target
        return None
    above: list[list[int]] = [[] for _ in labels]
    for number, lower in enumerate(below):
        for other in lower:
            above[other].append(number)
    known: dict[str, str] = {}
    rules = [known.setdefault(target.rule, target.rule) for target in targets]
    return Whole(labels, rules, places, _packed(below), _packed(above))


def _packed(rows: list[list[int]]) -> tuple[array[int], array[int]]:
    starts, ends = array("I", [0]), array("I")
    for row in rows:
        ends.extend(row)
        starts.append(len(ends))
    return starts, ends


# Kept ----------------------------------------------------------------------------------------------------


@dataclass
class _Live:
    """What a daemon keeps: it holds while the answers that it was made of do."""

    whole: Whole
    folders: Mapping[str, Mapping[str, str]]
    links: Mapping[str, str]
    files: Mapping[str, str]
    watched: Any  # the daemon's `Files`
    age: int
    seen: int

    def holds(self) -> bool:
        if self.watched.age != self.age:
            return False
        for kind, path in self.watched.changes[self.seen :]:
            if kind == "folder":
                if path in self.folders and self.watched.entries(path) != self.folders[path]:
                    return False
            elif path in self.links or path in self.files:
                return False
        self.seen = len(self.watched.changes)
        return True


_live: _Live | None = None


def find(store: Store, tree: DiskTree) -> Whole | None:
    """The graph of the project as it is; None if it must be made."""
    global _live
    watched = getattr(tree, "_files", None)
    if watched is not None and _live is not None and _live.watched is watched:
        if _live.holds():
            return _live.whole
        _live = None
    row = store.results.get(NAMESPACE, _key(tree))
    if row is None:
        return None
    try:
        asked = parts(store, row[:64].decode())
        if not tree.answers(asked["folders"], asked["links"], asked["files"]):
            return None
        found = Whole.decode(parts(store, row[64:].decode()))
    except (*DAMAGED, IndexError):
        return None
    _keep_alive(tree, found, asked)
    return found


def keep(store: Store, tree: DiskTree, whole: Whole) -> None:
    """Keep the graph that was made from this tree."""
    folders, links, files = tree.asked()
    asked = {"folders": folders, "links": links, "files": files}
    names = [store.blobs.put(data) for data in (marshal.dumps(asked), whole.encode())]
    store.results.put(NAMESPACE, _key(tree), "".join(names).encode())
    _keep_alive(tree, whole, asked)


def _keep_alive(tree: DiskTree, whole: Whole, asked: Mapping[str, Any]) -> None:
    global _live
    watched = getattr(tree, "_files", None)
    if watched is None or not all(map(watched.knows, asked["folders"])):
        return
    _live = _Live(
        whole, asked["folders"], asked["links"], asked["files"], watched, watched.age, len(watched.changes)
    )


def _key(tree: DiskTree) -> str:
    return digest.of_bytes(repr([program(), str(tree.root)]).encode())
