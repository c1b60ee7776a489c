"""Plans kept from earlier evaluations: a second run evaluates nothing if nothing that was asked has changed.

While it evaluates, the evaluator asks a tree three things: what is in a folder, where a link leads, what a
file holds (build files, .bzl, settings). A plan is kept with all these questions and their answers, and is
today's plan if each of them has the same answer today. What sources hold was never asked, so editing one
keeps the plan. The patterns and the program that evaluates, with its prelude, are the key.

Private to this machine: never sent, and read back only if its bytes have the digest that they were kept
under. A plan whose evaluation printed something is not kept, for the next run should print it too.

Rejected: the newest plan by the times of build files (a listing changes without them), and pickle (it runs
code when read).
"""

from __future__ import annotations

import functools
import hashlib
import marshal
import operator
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from fairlead.build.plan import Action, Plan, Target, TestSpec, Toolchain
from fairlead.build.tree import DiskTree
from fairlead.errors import MachineryError
from fairlead.store import Store, digest

T = TypeVar("T")
NAMESPACE = "plan"
DAMAGED = (MachineryError, ValueError, EOFError, TypeError, KeyError)
"""What reading a kept value may raise: then it is no answer, and all is found out anew."""


@dataclass(frozen=True)
class Kept:
    """A plan with its name, and the questions of its evaluation: folders, links, files with their answers."""

    name: str
    plan: Plan
    asked: tuple[Mapping[str, Mapping[str, str]], Mapping[str, str], Mapping[str, str]]


@dataclass(frozen=True)
class Plans:
    """The plans of one project, in a store."""

    store: Store

    def find(self, tree: DiskTree, patterns: Sequence[str]) -> Plan | None:
        """The plan that evaluating `patterns` over `tree` would give; None if that is not known."""
        kept = self.kept(tree, patterns)
        return None if kept is None else kept.plan

    def kept(self, tree: DiskTree, patterns: Sequence[str]) -> Kept | None:
        """That plan with all that was asked for it."""
        found = self._named(tree, patterns)
        try:
            return None if found is None else Kept(found[0], _plan(parts(self.store, found[0])), found[1])
        except DAMAGED:
            return None

    def name(self, tree: DiskTree, patterns: Sequence[str]) -> str | None:
        """The name of that plan, which stands for all that it says, without reading it."""
        found = self._named(tree, patterns)
        return None if found is None else found[0]

    def _named(self, tree: DiskTree, patterns: Sequence[str]) -> tuple[str, Any] | None:
        row = self.store.results.get(NAMESPACE, _key(tree, patterns))
        if row is None:
            return None
        try:
            kept = parts(self.store, row[:64].decode())
            asked = kept["folders"], kept["links"], kept["files"]
            return (row[64:].decode(), asked) if tree.answers(*asked) else None
        except DAMAGED:
            return None

    def keep(self, tree: DiskTree, patterns: Sequence[str], plan: Plan) -> None:
        """Keep the plan of an evaluation over `tree`, which nothing else was asked of."""
        folders, links, files = tree.asked()
        asked = {"folders": folders, "links": links, "files": files}
        names = [self.store.blobs.put(marshal.dumps(value)) for value in (asked, _table(plan))]
        self.store.results.put(NAMESPACE, _key(tree, patterns), "".join(names).encode())


def parts(store: Store, name: str) -> Any:
    """What a blob of ours holds; one of DAMAGED if it is not there or not whole."""
    data = store.blobs.get(name)
    if digest.of_bytes(data) != name:
        raise ValueError("a damaged blob")
    return marshal.loads(data)


def _key(tree: DiskTree, patterns: Sequence[str]) -> str:
    return digest.of_bytes(repr([program(), str(tree.root), list(patterns)]).encode())


@functools.cache
def program() -> str:
    """A digest of the program that evaluates: this package's code, and what reads `marshal`'s bytes."""
    folder = os.path.dirname(os.path.abspath(__file__))
    files = sorted(
        os.path.join(place, name)
        for place, _, names in os.walk(folder)
        for name in names
        if name.endswith((".py", ".bzl"))
    )
    if not files:  # in a zip: its own state stands for what it holds
        at = next(parent for parent in Path(folder).parents if parent.is_file())
        seen = at.stat()
        return f"{sys.version} {at} {seen.st_size} {seen.st_mtime_ns} {seen.st_ctime_ns}"
    state = hashlib.sha256()
    for path in files:
        with open(path, "rb", buffering=0) as file:
            state.update(hashlib.sha256(file.read()).digest())
    return f"{sys.version} {state.hexdigest()}"


def _table(plan: Plan) -> dict[str, object]:
    """A plan as data, field by field: a list of one field of all targets is given back to the system when it
    has been read, where the rows of single targets would leave holes between what is kept of them."""
    targets = [*plan.targets.values()]
    tests = [target.test for target in targets if target.test is not None]
    return {
        "targets": _columns(Target, [t if t.test is None else replace(t, test=None) for t in targets]),
        "tested": [target.label for target in targets if target.test is not None],
        "tests": _columns(TestSpec, tests),
        "actions": _columns(Action, plan.actions),
        "toolchains": _columns(Toolchain, plan.toolchains.values()),
        "requested": plan.requested,
    }


def _columns(kind: type[T], values: Collection[T]) -> list[list[Any]]:
    return [[getattr(value, field.name) for value in values] for field in fields(kind)]  # type: ignore[arg-type]


def _plan(table: Mapping[str, Any]) -> Plan:
    specs = map(maker(TestSpec), zip(*table["tests"], strict=True))
    tests = dict(zip(table["tested"], specs, strict=True))
    make = maker(Target)
    targets: dict[str, Target] = {}
    for row in zip(*table["targets"], strict=True):
        targets[row[0]] = make(row, test=tests[row[0]]) if row[0] in tests else make(row)
    toolchains = map(maker(Toolchain), zip(*table["toolchains"], strict=True))
    return Plan(
        targets,
        tuple(map(maker(Action), zip(*table["actions"], strict=True))),
        {toolchain.label: toolchain for toolchain in toolchains},
        tuple(table["requested"]),
    )


def taker(kind: type[T]) -> Callable[[T], tuple[Any, ...]]:
    """Takes the fields of a dataclass as data; a test in it is left out, as it is taken by itself."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    take = operator.attrgetter(*names)
    if "test" not in names:
        return take
    at = names.index("test")

    def take_all_but_test(value: T) -> tuple[Any, ...]:
        row = take(value)
        return row if row[at] is None else (*row[:at], None, *row[at + 1 :])

    return take_all_but_test


def maker(kind: type[T]) -> Callable[..., T]:
    """Makes values of a frozen dataclass with slots from what `taker` took, and some fields by name. Its own
    `__init__` takes three times as long, which for 20,000 actions is what a person waits for."""
    slots = [getattr(kind, field.name).__set__ for field in fields(kind)]  # type: ignore[arg-type]

    def make(row: tuple[Any, ...], **others: Any) -> T:
        made = object.__new__(kind)
        for put, value in zip(slots, row, strict=True):
            put(made, value)
        for name, value in others.items():
            object.__setattr__(made, name, value)
        return made

    return make
