"""The dirty graph of a daemon runs exactly what a walk over all actions would, whatever is edited."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.build.daemon.files import Files
from fairlead.build.daemon.graph import Graph
from fairlead.build.manifest import File, Manifest
from fairlead.build.plan import Action, Plan, Target
from fairlead.build.tree import DiskTree

SOURCES = [f"{folder}s{number}" for folder in ("", "a/", "a/b/") for number in range(3)]


class Disk:
    """Sources in memory, and what a watcher would tell of them: `files` and `tree` of a graph."""

    def __init__(self) -> None:
        self.age = 0
        self.changes: list[tuple[str, str]] = []
        self.held = dict.fromkeys(SOURCES, ("100644", 0))

    def digests(self, paths: Iterable[str]) -> dict[str, str]:
        return {path: str(self.held[path][1]) for path in paths}

    def mode(self, path: str) -> str:
        return self.held[path][0]

    def real(self, path: str) -> str:
        return path


def output(number: int) -> str:
    return f"fairlead-out/gen/__t{number}__/o"


def plan_of(shape: list[tuple[list[int], list[int]]], words: list[int], requested: Iterable[int]) -> Plan:
    """One action a target; `shape` are the sources and the earlier actions that each reads."""
    actions, targets = [], {}
    for number, (sources, below) in enumerate(shape):
        label = f"//:t{number}"
        read = tuple(SOURCES[at] for at in sorted(set(sources)))
        inputs = tuple(output(at) for at in sorted({at % number for at in below})) if number else ()
        actions.append(
            Action(
                label, "run", "", "run", (output(number),), (str(words[number]),), sources=read, inputs=inputs
            )
        )
        deps = tuple(sorted({f"//:t{at % number}" for at in below})) if number else ()
        targets[label] = Target(
            label, "r", (), {}, sources=read, deps=deps, default_outputs=(output(number),)
        )
    asked = tuple(sorted({f"//:t{number % len(shape)}" for number in requested}))
    return Plan(targets, tuple(actions), {}, asked)


def run(action: Action, disk: Disk, made: dict[str, Manifest]) -> File:
    """What an action makes of what it reads: one of three contents, so often the same of different inputs."""
    read = [*(str(disk.held[path]) for path in action.sources), *(str(made[path]) for path in action.inputs)]
    number = hashlib.sha256(repr((action.argv, read)).encode()).digest()[0] % 3
    return File(f"{number}", 1, executable=False)


def build(graph: Graph, disk: Disk, limit: int) -> tuple[list[str], bool]:
    """Build by the graph; what ran, and whether it came to its end: it fails after `limit` actions."""
    graph.refresh(cast(Files, disk), cast(DiskTree, disk))
    ran: list[str] = []
    todo = graph.todo()
    for action in todo:
        found = graph.recall(action, graph.made)
        if found is None:
            if len(ran) == limit:
                break
            ran.append(action.owner)
            found = {action.outputs[0]: run(action, disk, graph.made)}
        graph.made.update(found)
    else:
        graph.take(todo, graph.made)
        return ran, True
    graph.take(todo, graph.made)
    return ran, False


class Walk:
    """The same without a graph: all actions that are wanted are looked at, each time."""

    def __init__(self) -> None:
        self.marks: dict[str, Any] = {}
        self.results: dict[str, Manifest] = {}

    def build(self, plan: Plan, disk: Disk, limit: int) -> tuple[list[str], dict[str, Manifest]]:
        wanted, todo = set(), list(plan.requested)
        while todo:
            label = todo.pop()
            wanted.add(label)
            todo += plan.targets[label].deps
        ran: list[str] = []
        made: dict[str, Manifest] = {}
        for action in plan.actions:
            if action.owner not in wanted:
                continue
            read = [disk.held[path] for path in action.sources], [made[path] for path in action.inputs]
            mark = (action, read)
            if self.marks.get(action.owner) != mark:
                if len(ran) == limit:
                    break
                ran.append(action.owner)
                self.marks[action.owner] = mark
                self.results[action.owner] = run(action, disk, made)
            made[action.outputs[0]] = self.results[action.owner]
        return ran, made


some = st.lists(st.integers(0, 8), max_size=3)
shapes = st.lists(st.tuples(some, some), min_size=1, max_size=9)
edits = st.lists(
    st.tuples(
        st.sampled_from(SOURCES),
        st.sampled_from(["100644", "100755"]),
        st.integers(0, 2),
        st.sampled_from(["file", "folder"]),
    ),
    max_size=3,
)
steps = st.tuples(edits, st.booleans(), st.none() | st.integers(0, 8), st.sampled_from([0, 1, 2, 99, 99, 99]))
"""Files that are edited (or only touched), whether all events were lost, the action that is written anew,
and how many actions run before one fails."""


@settings(max_examples=300, deadline=None)
@given(shapes, some.filter(bool), st.lists(steps, min_size=1, max_size=6))
def test_what_runs_is_what_a_walk_over_all_finds(
    shape: list[tuple[list[int], list[int]]], requested: list[int], story: list[Any]
) -> None:
    disk, walk = Disk(), Walk()
    words = [0] * len(shape)
    graph = Graph(Path("/nowhere"), plan_of(shape, words, requested), 0, 0)
    for edited, lost, rewritten, limit in story:
        for path, mode, content, told in edited:
            disk.held[path] = (mode, content)
            if not lost:
                disk.changes.append((told, path if told == "file" else path.rpartition("/")[0]))
        if lost:
            disk.age += 1
            disk.changes.clear()
        if rewritten is not None:
            words[rewritten % len(words)] += 1
            graph, old = Graph(Path("/nowhere"), plan_of(shape, words, requested), 0, 0), graph
            graph.adopt(old)
        ran, complete = build(graph, disk, limit)
        expected, made = walk.build(graph.plan, disk, limit)
        assert ran == expected
        assert {path: graph.made[path] for path in made} == made
        if complete:
            assert build(graph, disk, limit) == ([], True)
            assert graph.dirty.isdisjoint(graph.wanted)


def test_an_edit_makes_dirty_what_it_can_reach_and_nothing_else() -> None:
    disk = Disk()
    shape = [([0], []), ([1], []), ([], [0]), ([], [1]), ([], [2, 3])]
    graph = Graph(Path("/nowhere"), plan_of(shape, [0] * 5, [4]), 0, 0)
    assert build(graph, disk, 99)[0] == [f"//:t{number}" for number in range(5)]
    disk.held[SOURCES[0]] = ("100644", 7)
    disk.changes.append(("file", SOURCES[0]))
    graph.refresh(cast(Files, disk), cast(DiskTree, disk))
    assert [action.owner for action in graph.todo()] == ["//:t0", "//:t2", "//:t4"]
