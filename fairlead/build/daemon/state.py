"""What the daemon keeps between commands, and when it holds.

One for each process (`daemon.current`). Where no daemon runs everything is found out anew, from the store.
Nothing here is an answer that the store could not give; it only saves asking.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead.build.daemon import watcher
from fairlead.build.daemon.files import OUT, Files
from fairlead.build.finished import Finished
from fairlead.build.plan import Plan
from fairlead.build.plans import Plans
from fairlead.build.tree import DiskTree
from fairlead.errors import FairleadError, UsageError
from fairlead.store import Store, atomic

if TYPE_CHECKING:  # a new daemon answers that nothing has changed without what builds
    from fairlead.build.daemon.graph import Graph
    from fairlead.build.daemon.rebuild import Rebuilder
    from fairlead.build.sandbox import Requested

_LARGE = 50_000
"""Targets whose evaluation takes four times the memory that the plan takes afterwards, in more pieces than
are given back: it is for a new process to read them."""

_REQUESTS = 8
"""Requests (patterns from a folder) that are kept; the one that was not asked for longest goes first."""


@dataclass
class Asked:
    """The questions that an evaluation put to a tree, with the answers."""

    folders: Mapping[str, Mapping[str, str]]
    links: Mapping[str, str]
    files: Mapping[str, str]

    def same(self, files: Files, since: int) -> bool:
        """Whether they have the same answers still, as far as `files` has changed since then."""
        for kind, path in files.changes[since:]:
            if kind == "folder":
                if path in self.folders and files.entries(path) != self.folders[path]:
                    return False
            elif path in self.links or path in self.files:
                return False
        return True


@dataclass
class Request:
    """What is known of one list of patterns: `name` and `plan` hold while `asked` does. Files have been
    looked at up to `seen` of their changes, in `age`. `graphs` are those of the plan by sandbox level, `past`
    those of the plan before."""

    name: str
    plan: Plan
    asked: Asked
    age: int
    seen: int
    graphs: dict[str, Graph] = field(default_factory=dict)
    past: dict[str, Graph] = field(default_factory=dict)

    def holds(self, files: Files) -> bool:
        """Whether evaluating it again would give the same."""
        return self.age == files.age and self.asked.same(files, self.seen)


@dataclass
class State:
    """What is kept of a project. `files` is None where nothing tells of changes. `unread` is a request that
    the store has answered, and whose graph is still to be read from it. It is `fresh` if something has been
    evaluated since Python's collector has looked at all, and `spent` if so much that the process is to end
    when it has nothing to do."""

    root: Path
    store: Store
    files: Files | None = None
    retired: bool = False
    fresh: bool = False
    spent: bool = False
    requests: dict[tuple[str, ...], Request] = field(default_factory=dict)
    unread: tuple[tuple[str, ...], Requested, Finished] | None = None
    _interpreters: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._results = _identity(self.store.results.path)
        self._watch()

    def _watch(self) -> None:
        if watcher.works(self.root, self.root / OUT if (self.root / OUT).is_dir() else self.root):
            with contextlib.suppress(watcher.Full):
                self.files = Files(self.root, self.store.results)

    # -- life

    def stands(self) -> bool:
        """Whether there is a project to serve still."""
        return not self.retired and self.root.is_dir()

    def facts(self) -> dict[str, object]:
        """What `fairlead daemon status` tells of it."""
        return {
            "watcher": "none" if self.files is None else "inotify",
            "watched": 0 if self.files is None else self.files.watched,
            "requests": len(self.requests),
        }

    @contextlib.contextmanager
    def command(self) -> Iterator[None]:
        """For the time of one command: all that happened before it began is taken in."""
        if _identity(self.store.results.path) != self._results:
            self.forget()
        if self.files is not None:
            try:
                self.files.refresh()
            except watcher.Full:
                self._give_up()
            else:
                if not self.files.stands:  # another folder has the project's name now
                    self.retired = True
                    self._give_up()
        self._look_at_interpreters()
        try:
            yield
        finally:
            if self.files is not None and self.files.deaf:
                self._give_up()

    def _look_at_interpreters(self) -> None:
        """An interpreter that a toolchain names may be another one than at the last command: what was made by
        it is then to be looked up again. A script in its place may choose anew each time."""
        if not self.requests and "fairlead.build.machine" not in sys.modules:
            return  # nobody has asked for one
        from fairlead.build import machine, toolchain

        asked = {chain.interpreter for r in self.requests.values() for chain in r.plan.toolchains.values()}
        asked.update(name for r in self.requests.values() for name in r.plan.programs)
        machine.look_again()
        found: dict[str, object] = {request: _program(request) for request in asked - {""}}
        unknown = toolchain.interpreter.cache_info().currsize > len(found) + 1  # asked for by other plans
        if found != self._interpreters or None in found.values() or unknown:
            self._interpreters = found
            toolchain.interpreter.cache_clear()
            versions = {request: _version(request) for request in found}
            for request in self.requests.values():
                for graph in request.graphs.values():
                    if graph.versions != versions:
                        graph.versions = versions
                        graph.reset()
                        graph.done = None

    def _give_up(self) -> None:
        """Watch nothing from now on: there are more folders than the system lets us watch, or some that it
        does not tell of."""
        if self.files is not None:
            self.files.end()
        self.files, self.unread = None, None
        self.requests.clear()

    def forget(self) -> None:
        """Keep nothing of what was learnt: a command may have left it half changed."""
        self.requests.clear()
        self.unread = None
        if self.files is not None:
            self.files.end()
            self.files = None
        if _identity(self.store.results.path) != self._results:
            self.store.results.close()
            out = self.root / OUT
            if not out.exists() and self.store.root.is_relative_to(out):
                atomic.write(out / ".gitignore", b"*\n")
            self.store = Store.open(self.store.root)
            self._results = _identity(self.store.results.path)
        self._watch()

    def tidy(self, asked: Callable[[], bool]) -> None:
        """Do what can wait until nobody does; `asked` says when somebody waits again."""
        if self.spent:
            self.retired = True
            return
        if self.fresh and not asked():
            self._settle()
        if self.files is None:
            return
        with contextlib.suppress(FairleadError, watcher.Full):
            if self.unread is not None:
                self._read(*self.unread, asked)
            for request in self.requests.values():
                for graph in request.graphs.values():
                    if graph.done is not None and not graph.heard and not asked():
                        graph.hear(self.files)
                        self._settle()

    def _settle(self) -> None:
        """Let Python's collector look at all that is held, once; then no more, for it stays."""
        self.fresh = False
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    def _read(
        self, key: tuple[str, ...], level: Requested, done: Finished, asked: Callable[[], bool]
    ) -> None:
        """Learn from the store what the last build has made, as long as nobody waits."""
        tree = self.tree()
        graph = self.graph(tree, key, level, create=True)
        if graph is None:
            self.unread = None
            return
        self.engine(tree, key, level, graph, 1).warm(done, asked)
        if not asked():
            self.unread = None

    def end(self) -> None:
        """The process ends."""
        if self.files is not None:
            self.files.end()

    # -- what commands ask

    def tree(self) -> DiskTree:
        """The project's files, for one command."""
        return DiskTree(self.root, self.store.results) if self.files is None else self.files.view()

    def plan(
        self, tree: DiskTree, patterns: Sequence[str], evaluate: Callable[[], tuple[Plan, bool]]
    ) -> Plan:
        """The plan of `patterns`, the first of which is the folder they are meant from. `evaluate` makes it,
        and says whether it may be kept."""
        found = self.request(tree, patterns)
        if found is not None:
            return found.plan
        plan, keep = evaluate()
        if keep:
            asked = Asked(*tree.asked())
            Plans(self.store).keep(tree, patterns, plan)
            self.spent = self.spent or len(plan.targets) > _LARGE
            name = Plans(self.store).name(tree, patterns)
            if name is not None:
                self._keep(tuple(patterns), name, plan, asked)
        return plan

    def request(self, tree: DiskTree, patterns: Sequence[str]) -> Request | None:
        """What is known of `patterns` and holds; None if it must be evaluated."""
        key = tuple(patterns)
        found, files = self.requests.get(key), self.files
        if found is not None and files is not None and found.holds(files):
            found.seen = len(files.changes)
            self.requests[key] = self.requests.pop(key)
            return found
        kept = Plans(self.store).kept(tree, patterns)
        return None if kept is None else self._keep(key, kept.name, kept.plan, Asked(*kept.asked))

    def graph(
        self, tree: DiskTree, patterns: Sequence[str], level: Requested, *, create: bool = False
    ) -> Graph | None:
        """What is known of a build of `patterns`, up to date with the files; None if there is nothing, or
        with `create`, if nothing can be kept. UsageError if a source has gone."""
        files, key = self.files, tuple(patterns)
        if files is None:
            return None
        known = self.requests.get(key)
        if not create and (known is None or level not in {**known.graphs, **known.past}):
            return None
        if not create and self.unread is not None and self.unread[:2] == (key, level):
            return None  # half read: the store answers sooner
        request = self.request(tree, patterns)
        if request is None or key not in self.requests:
            return None
        graph = request.graphs.get(level)
        if graph is None:
            from fairlead.build.daemon.graph import Graph

            graph = Graph(self.root, request.plan, files.age, len(files.changes))
            past = request.past.pop(level, None)
            if past is not None:
                graph.adopt(past)
            request.graphs[level] = graph
        graph.refresh(files, tree)
        return graph

    def engine(
        self, tree: DiskTree, patterns: Sequence[str], level: Requested, graph: Graph, jobs: int
    ) -> Rebuilder:
        """What builds the graph of `patterns`."""
        from fairlead.build.daemon.rebuild import Rebuilder

        name = f"{self.requests[tuple(patterns)].name} {level}"
        return Rebuilder(self.store, self.root, tree, graph, name, sandbox=level, jobs=jobs)

    def _keep(self, key: tuple[str, ...], name: str, plan: Plan, asked: Asked) -> Request:
        files = self.files
        found = Request(name, plan, asked, 0 if files is None else files.age, 0)
        if files is not None:
            found.seen = len(files.changes)
            before = self.requests.pop(key, None)
            if before is not None:
                found.past = {**before.past, **before.graphs}
            if all(files.knows(folder) for folder in asked.folders):
                self.requests[key] = found
                while len(self.requests) > _REQUESTS:
                    del self.requests[next(iter(self.requests))]
        return found


def _program(request: str) -> object:
    """What a command name stands for, to be compared; None if that cannot be told from outside."""
    from fairlead.build import machine

    if not request.startswith("python3"):
        return machine.program(request)
    path = shutil.which(request)
    if path is None:
        return ""
    try:
        with open(path, "rb") as file:
            seen = os.fstat(file.fileno())
            native = file.read(4) == b"\x7fELF"
    except OSError:
        return None
    return (path, seen.st_ino, seen.st_size, seen.st_mtime_ns) if native else None


def _version(request: str) -> str:
    from fairlead.build import machine

    try:
        return machine.version(request)
    except UsageError:
        return ""


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        seen = os.stat(path)
    except OSError:
        return None
    return seen.st_dev, seen.st_ino
