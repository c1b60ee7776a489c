"""What a build made, by action, and what an edit can reach of it.

The graph of one plan at one sandbox level. An action is *clean* if its outputs are known for what its sources
and inputs are now; all others are dirty, and only they are looked at by a build. A change of a source makes
its readers dirty with all that can be reached from them. Each keeps a mark of what it was last made from: if
a build finds the mark as it was, because the bytes were put back or because what it reads came out equal, the
action is clean again without its key being computed.

Nothing is believed here that the engine has not looked up or made itself: `made` holds clean outputs alone.
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, TypeVar

from fairlead.build import materialise
from fairlead.build.daemon import watcher
from fairlead.build.daemon.files import Files
from fairlead.build.finished import Finished
from fairlead.build.manifest import Folder, Manifest
from fairlead.build.plan import Action, Plan
from fairlead.build.tree import DiskTree

Mark: TypeAlias = tuple[tuple[str, str] | Manifest, ...]
"""Modes and digests of an action's sources (and locks), and its inputs."""


@dataclass(frozen=True, slots=True)
class Placed:
    """An output that stands in fairlead-out: its content, the names in it (None for a file), its state."""

    content: Manifest
    names: list[str] | None
    state: str


@dataclass
class Graph:
    """`seen` is how many changes of `Files` have been taken in, at its `age`. `row` is what the store says of
    the last build, `done` that build's report, as long as they are of this graph."""

    root: Path
    plan: Plan
    age: int
    seen: int
    made: dict[str, Manifest] = field(default_factory=dict)
    identities: dict[str, tuple[str, str]] = field(default_factory=dict)
    placed: dict[str, Placed] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    edited: set[str] = field(default_factory=set)
    owned: dict[str, list[Action]] = field(default_factory=dict)
    prelude: dict[str, tuple[str, str]] = field(default_factory=dict)
    heard: bool = False
    row: bytes | None = None
    done: Finished | None = None
    shown: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plan = self.plan
        count = len(plan.actions)
        self.marks: list[Mark | None] = [None] * count
        self.results: list[tuple[Manifest, ...] | None] = [None] * count
        self.dirty = set(range(count))
        self._maker: dict[str, int] = {}
        readers: dict[str, list[int]] = {}
        users: dict[str, list[int]] = {}
        for number, action in enumerate(plan.actions):
            for path in action.outputs:
                self._maker[path] = number
            for path in self.sources_of(action):
                readers.setdefault(path, []).append(number)
            for path in action.inputs:
                users.setdefault(path, []).append(number)
        self._readers, self._users = _closed(readers), _closed(users)
        targets: dict[str, list[str]] = {}
        dependents: dict[str, list[str]] = {}
        for label, target in plan.targets.items():
            for path in (*target.sources, *(p for p in target.rule_bzl if "//" not in p)):
                targets.setdefault(path, []).append(label)
            for dep in {*target.deps, *target.toolchains}:
                dependents.setdefault(dep, []).append(label)
        self._targets, self.dependents = _closed(targets), _closed(dependents)
        self.sources = sorted(self._readers.keys() | self._targets.keys())
        folders: dict[str, list[str]] = {}
        for path in self.sources:
            folders.setdefault(posixpath.dirname(path), []).append(path)
        self._by_folder = _closed(folders)
        self._linked: list[str] = []
        self._folders: set[str] = set()
        self.wanted: list[int] = []
        self.shown_outputs: list[str] = []
        self._want()

    def sources_of(self, action: Action) -> tuple[str, ...]:
        """What an action is made from besides other outputs: sources, and the locks of its toolchains."""
        if not action.toolchains:
            return action.sources
        return (*action.sources, *(self.plan.toolchains[label].lock for label in action.toolchains))

    def _want(self) -> None:
        """The actions behind what the plan was asked for, and the outputs that go to fairlead-out."""
        todo: list[int] = []
        for label in self.plan.requested:
            target = self.plan.targets[label]
            for path in (*target.default_outputs, *target.other_outputs):
                made = self._made_by(path)
                if made is not None:
                    self.shown_outputs.append(made)
                    todo.append(self._maker[made])
        self.shown_outputs = list(dict.fromkeys(self.shown_outputs))
        needed: set[int] = set()
        while todo:
            number = todo.pop()
            if number not in needed:
                needed.add(number)
                todo.extend(self._maker[path] for path in self.plan.actions[number].inputs)
        self.wanted = sorted(needed)
        self._wanted = frozenset(needed)

    def _made_by(self, path: str) -> str | None:
        while path:
            if path in self._maker:
                return path
            path = path.rpartition("/")[0]
        return None

    # -- changes

    def _begin(self, tree: DiskTree) -> None:
        """Look at all sources for the first time."""
        digests = tree.digests(self.sources)
        self.identities = {path: (tree.mode(path), digests[path]) for path in self.sources}
        self._linked = [path for path in self.sources if tree.real(path) != path]

    def refresh(self, files: Files, tree: DiskTree) -> None:
        """Take in what has changed on disk since the last time. UsageError if a source has gone."""
        if not self.identities:
            self._begin(tree)
            self._check(list(self.placed))
            self.age, self.seen = files.age, len(files.changes)
            return
        suspects: dict[str, None] = {}
        touched: set[str] = set()
        if self.age != files.age:
            suspects = dict.fromkeys(self.sources)
            self.heard = False
        for kind, path in files.changes[self.seen if self.age == files.age else 0 :]:
            if kind == "output":
                touched.add(path)
            elif kind == "folder":
                suspects.update(dict.fromkeys(self._by_folder.get(path, ())))
            elif path in self._readers or path in self._targets:
                suspects[path] = None
            suspects.update(dict.fromkeys(self._linked))
        now = len(files.changes)
        digests = tree.digests(suspects)
        found = {path: (tree.mode(path), digests[path]) for path in suspects}
        for path, identity in found.items():
            if self.identities.get(path) != identity:
                self.identities[path] = identity
                self.edited.add(path)
                self._reach(self._readers.get(path, ()))
                self.changed.update(self._targets.get(path, ()))
        if not self.heard:
            self._check(list(self.placed))
        elif touched:
            self._look_at_outputs(touched)
        self.age, self.seen = files.age, now

    def _reach(self, numbers: Iterable[int]) -> None:
        todo = list(numbers)
        while todo:
            number = todo.pop()
            if number in self.dirty:
                continue
            self.dirty.add(number)
            for path in self.plan.actions[number].outputs:
                self.made.pop(path, None)
                todo.extend(self._users.get(path, ()))

    # -- a build's results

    def todo(self) -> list[Action]:
        """The dirty actions that the request needs, in order of dependence."""
        return [self.plan.actions[number] for number in sorted(self.dirty & self._wanted)]

    def mark(self, action: Action, made: Mapping[str, Manifest]) -> Mark:
        """What the action is made from now; its inputs must be in `made`."""
        identities = [self.identities[path] for path in self.sources_of(action)]
        return (*identities, *[made[path] for path in action.inputs])

    def number(self, action: Action) -> int:
        """The place of an action in the plan."""
        return self._maker[action.outputs[0]]

    def recall(self, action: Action, made: Mapping[str, Manifest]) -> dict[str, Manifest] | None:
        """The outputs of the action, if they were made from what it is made from now."""
        number = self.number(action)
        found = self.results[number]
        if found is None or self.marks[number] != self.mark(action, made):
            return None
        return dict(zip(action.outputs, found, strict=True))

    def take(self, actions: Iterable[Action], made: Mapping[str, Manifest]) -> None:
        """Take over the outputs of those actions that are in `made` with all that they are made from."""
        for action in actions:
            if all(path in made for path in (*action.outputs, *action.inputs)):
                number = self.number(action)
                self.marks[number] = self.mark(action, made)
                self.results[number] = tuple([made[path] for path in action.outputs])
                for path in action.outputs:
                    self.made[path] = made[path]
                self.dirty.discard(number)

    def reset(self) -> None:
        """Believe nothing that was made."""
        count = len(self.plan.actions)
        self.dirty = set(range(count))
        self.results, self.marks = [None] * count, [None] * count
        self.made.clear()
        self.placed.clear()

    def adopt(self, old: Graph) -> None:
        """Take over what is known of the actions that another plan of the same project has too."""
        before = {action.outputs[0]: action for action in old.plan.actions}
        for number, action in enumerate(self.plan.actions):
            known = before.get(action.outputs[0])
            if known is not None and known == action:
                past = old.number(known)
                if old.results[past] is not None and self._same_locks(action, old):
                    self.results[number], self.marks[number] = old.results[past], old.marks[past]
        shown = set(self.shown_outputs)
        self.placed = {path: output for path, output in old.placed.items() if path in shown}

    def _same_locks(self, action: Action, old: Graph) -> bool:
        chains = [(self.plan.toolchains[label], old.plan.toolchains[label]) for label in action.toolchains]
        return all(new == known for new, known in chains)

    # -- outputs in their places

    def unplaced(self) -> list[str]:
        """The outputs that are to be put into fairlead-out, or to be looked at there."""
        placed, made = self.placed, self.made
        # Most are the same object: to compare thousands of others would take longer than an edit's build.
        others = [
            path
            for path in self.shown_outputs
            if (output := placed.get(path)) is None or output.content is not made[path]
        ]
        return [path for path in others if path not in placed or placed[path].content != made[path]]

    def hear(self, files: Files) -> None:
        """From now on hear of what happens to the outputs, so that they need not be looked at."""
        folders: dict[str, None] = {}
        for path, output in self.placed.items():
            for name in _folders(output.content):
                folders[f"{path}/{name}" if name else path] = None
            at = posixpath.dirname(path)
            while at and at not in folders:
                folders[at] = None
                at = posixpath.dirname(at)
        if len(folders) > watcher.limit() // 2:
            return  # they are looked at by each build
        self._folders = set(folders)
        with contextlib.suppress(watcher.Full):
            self.heard = all(files.watch(folder) for folder in folders)
        self._check(list(self.placed))

    def _check(self, paths: Iterable[str]) -> None:
        """Forget those outputs that are not what was put there."""
        for path in paths:
            output = self.placed.get(path)
            if output is not None and materialise.state(self.root / path, output.names) != output.state:
                del self.placed[path]

    def _look_at_outputs(self, touched: set[str]) -> None:
        """Something has happened at or below these paths."""
        if not self._folders.isdisjoint(touched):
            # A folder may not be the one that was watched: it is watched again when there is time.
            self.heard = False
            self._check(list(self.placed))
            return
        suspects: set[str] = set()
        for path in touched:
            at = path
            while at and at not in self.placed:
                at = posixpath.dirname(at)
            suspects.add(at)
        self._check(suspects)

    def idle(self, row: bytes | None) -> bool:
        """Whether there is nothing to do: all is clean and in place, and the store's last build is ours."""
        return (
            self.done is not None
            and row is not None
            and row == self.row
            and not self.changed
            and self.dirty.isdisjoint(self._wanted)
            and len(self.placed) >= len(self.shown_outputs)
        )

    def order(self, labels: Iterable[str]) -> Sequence[str]:
        """Labels and all that depends on them, in the plan's order."""
        found: set[str] = set()
        todo = list(labels)
        while todo:
            label = todo.pop()
            if label not in found:
                found.add(label)
                todo.extend(self.dependents.get(label, ()))
        if len(found) < 100:
            positions = self._positions()
            return sorted(found, key=positions.__getitem__)
        return [label for label in self.plan.targets if label in found]

    def _positions(self) -> dict[str, int]:
        if not hasattr(self, "_at"):
            self._at = {label: number for number, label in enumerate(self.plan.targets)}
        return self._at


T = TypeVar("T")


def _closed(table: dict[str, list[T]]) -> dict[str, tuple[T, ...]]:
    """A table that grows no more: most of its rows are of one item, for which a list is twice as large."""
    return {name: tuple(row) for name, row in table.items()}


def _folders(content: Manifest) -> list[str]:
    """The folders of an output, "" for itself; none if it is a file."""
    if not isinstance(content, Folder):
        return []
    found = {""}
    for path, entry in content.entries.items():
        at = path if entry is None else posixpath.dirname(path)
        while at and at not in found:
            found.add(at)
            at = posixpath.dirname(at)
    return sorted(found)
