"""Builds what a change can reach, and nothing else: the engine with a graph in memory.

It asks the engine for the dirty actions only, and gives it the outputs of the others as made. Results of a
build that failed or was stopped are kept for what was done; what was not stays dirty. If a blob turns out to
be gone that a clean output needs, the graph is not worth its memory: all is looked up again.
"""

from __future__ import annotations

import contextlib
import time
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fairlead.build import finished
from fairlead.build.builder import Asked, Builder, BuildReport, Made, Work
from fairlead.build.daemon.graph import Graph, Placed
from fairlead.build.execute import Result
from fairlead.build.key import Platform, prelude_identities, target_record, target_records
from fairlead.build.manifest import Folder, Manifest
from fairlead.build.materialise import Placer, placed
from fairlead.build.tree import DiskTree
from fairlead.errors import UsageError
from fairlead.store import Record, Store

_AT_ONCE = 50  # outputs, targets or actions between two looks whether somebody waits


class Rebuilder(Builder):
    """The engine of one command in the daemon. `name` is what the store calls the request's plan."""

    def __init__(
        self, store: Store, root: Path, tree: DiskTree, graph: Graph, name: str, **options: Any
    ) -> None:
        super().__init__(store, root, tree, graph.plan, **options)
        self.graph = graph
        self.disk = tree
        self.place = root
        self.name = name

    def build(self, labels: Sequence[str]) -> BuildReport:
        """Build the targets of the request, all of them."""
        started = time.monotonic()
        self._known(labels)
        graph = self.graph
        before, graph.done = graph.done, None
        with self._turn():
            work = Work(made=graph.made)
            moved: list[str] = []
            self._rewinding(work, lambda: moved.extend(self._update(work)))
            changed = set(graph.changed)
            fresh = self._remember_changes(labels)
        outputs = before.outputs if before is not None else self._outputs(labels)
        graph.done = finished.Finished(outputs, len(graph.wanted))
        self._keep(changed, moved, fresh)
        seconds = time.monotonic() - started
        return BuildReport(outputs, work.ran, work.cached, seconds, tuple(graph.shown_outputs))

    def _forget(self, work: Work) -> None:
        super()._forget(work)
        self.graph.reset()
        work.ran = 0

    def _update(self, work: Work) -> list[str]:
        """Make what is dirty and place what is not in its place, which is returned."""
        graph = self.graph
        todo = graph.todo()
        work.cached = len(graph.wanted) - len(todo)
        try:
            self._make(todo, work, keep_going=False)
        finally:
            graph.take(todo, work.made)
        return self._place(graph.unplaced(), work.made)

    def _outputs(self, labels: Sequence[str]) -> dict[str, tuple[str, ...]]:
        return {label: tuple(self.plan.targets[label].default_outputs) for label in labels}

    # -- what the engine asks for each action

    def _look(self, asked: Asked) -> Made | None:
        found = self.graph.recall(asked.action, asked.inputs)
        if found is not None:
            return Made(Result(found, "none", 0.0, ""), known=True)
        return super()._look(asked)

    # -- what follows

    def _place(self, paths: Iterable[str], made: Mapping[str, Manifest]) -> list[str]:
        """Put outputs into fairlead-out, and note their state there."""
        graph, done = self.graph, list(paths)
        for path in done:
            # Folders that are new on disk are not those that were watched.
            if graph.placed.pop(path, None) is None or isinstance(made[path], Folder):
                graph.heard = False
        placer = Placer(self.place, self.store)
        placer.put({path: made[path] for path in done})
        for path, (names, state) in placer.placed.items():
            graph.placed[path] = Placed(made[path], names, state)
        return done

    def _remember_changes(self, labels: Sequence[str]) -> bool:
        """Keep the records of targets that have others than at the last build, for `why`. Whether the store
        knew nothing of that build, so that all had to be kept."""
        graph = self.graph
        if not graph.keys or finished.row(self.store, self.place) != graph.row:
            records = target_records(self.plan, self.tree, Platform.here())
            graph.keys = {label: record.key for label, record in records.items()}
            graph.changed.clear()
            self._remember(labels, records)
            return True
        new: dict[str, Record] = {}
        if graph.changed:
            new = self._new_records()
            requested = set(labels)
            finished.forget(self.store)
            self.store.put_records(new.values())
            keys = {label: record.key.encode() for label, record in new.items() if label in requested}
            self.store.results.put_many("latest", keys)
            graph.keys |= {label: record.key for label, record in new.items()}
            graph.changed.clear()
        return False

    def _new_records(self) -> dict[str, Record]:
        """The records of those targets whose key is not what it was."""
        graph = self.graph
        if not graph.owned:
            for action in self.plan.actions:
                graph.owned.setdefault(action.owner, []).append(action)
            graph.prelude = prelude_identities(self.plan)
        identities = ChainMap(graph.identities, graph.prelude)
        keys: ChainMap[str, str] = ChainMap({}, graph.keys)
        new: dict[str, Record] = {}
        platform = Platform.here()
        for label in graph.order(graph.changed):
            target = self.plan.targets[label]
            if label in graph.changed or not new.keys().isdisjoint((*target.deps, *target.toolchains)):
                owned = graph.owned.get(label, [])
                record = target_record(target, self.plan, owned, identities, platform, keys)
                if record.key != keys[label]:
                    new[label], keys[label] = record, record.key
        return new

    def _keep(self, changed: set[str], moved: Sequence[str], fresh: bool) -> None:
        """Keep the build, so that a new daemon finds at one look that there is nothing to do."""
        graph = self.graph
        row = None
        if not fresh and graph.row is not None:
            paths = {path for label in changed for path in self.plan.targets[label].sources}
            paths |= graph.edited
            sources = {path: graph.identities[path] for path in paths if path in graph.identities}
            stand = {path: (graph.placed[path].names, graph.placed[path].state) for path in moved}
            row = finished.amend(self.store, self.place, graph.row, sources, stand)
        if row is None:
            row = self._keep_all()
        graph.row = row
        graph.edited.clear()

    def _keep_all(self) -> bytes | None:
        graph, plan = self.graph, self.plan
        assert graph.done is not None
        used = {label for action in plan.actions for label in action.toolchains}
        interpreters = {plan.toolchains[label].interpreter for label in used} | plan.programs
        locks = {chain.lock for chain in plan.toolchains.values()}
        sources = sorted({*graph.sources, *locks})
        stand = {path: (output.names, output.state) for path, output in graph.placed.items()}
        with contextlib.suppress(UsageError):  # an interpreter is not there that a test would need
            return finished.keep(self.store, self.disk, self.name, sources, stand, interpreters, graph.done)
        return None

    def warm(self, done: finished.Finished, asked: Callable[[], bool]) -> bool:
        """Look everything up that the last build, which the store says still holds, has made, until somebody
        asks for something else; whether it was finished."""
        graph = self.graph
        todo = graph.todo()
        work = Work(made=graph.made)
        for start in range(0, len(todo), _AT_ONCE):
            if asked():
                return False
            some = todo[start : start + _AT_ONCE]
            self.sources.prepare({path for action in some for path in action.sources})
            for action in some:
                question = Asked(action, {path: work.made[path] for path in action.inputs})
                found = self._find(question, self._toolchains(action.toolchains))
                if found is None:
                    return False
                work.made.update(found.result.outputs)
            graph.take(some, work.made)
        if not graph.keys:
            records = target_records(self.plan, self.tree, Platform.here())
            graph.keys = {label: record.key for label, record in records.items()}
            graph.changed.clear()
        for path, (names, state) in placed(self.place, graph.shown_outputs, self.store).items():
            graph.placed[path] = Placed(graph.made[path], names, state)
        graph.row = finished.row(self.store, self.place)
        graph.done = done
        return True
