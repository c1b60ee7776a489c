"""Builds the targets of a plan: decides what need not be done, and does the rest at once.

The builder walks the actions in the plan's order of dependence. For each it computes the key and looks it
up; what the cache does not know goes to a pool of threads, each of which spawns one sandboxed program and
waits for it.

One lock a store: two builds of one project take turns. Results are recorded as each action ends, so a build
that is stopped loses only what was running.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from fairlead.build import depfile, execute, finished, sandbox, toolchain
from fairlead.build.event import Event
from fairlead.build.execute import Cache, Executor, Result
from fairlead.build.key import Platform, target_records
from fairlead.build.manifest import Manifest
from fairlead.build.materialise import Placer
from fairlead.build.plan import Action, Plan
from fairlead.build.pool import run_all
from fairlead.build.sources import Sources
from fairlead.build.stage import Environment, discard
from fairlead.build.tree import Tree
from fairlead.build.workplace import Workplaces
from fairlead.errors import FairleadError, MachineryError, UsageError, did_you_mean
from fairlead.store import Record, Store, atomic, lock
from fairlead.store.blobs import BlobLost

_REWINDS = 5
"""How often a call begins again at most because the store has lost something."""


@dataclass(frozen=True)
class BuildReport:
    """What a build did: label -> paths of its outputs under the root, and how many actions ran or were
    known. `placed` are the outputs as the actions name them."""

    outputs: Mapping[str, tuple[str, ...]]
    ran: int
    cached: int
    seconds: float
    placed: tuple[str, ...] = ()


@dataclass
class Work:
    """One call's state: contents of outputs made so far, and what failed."""

    made: dict[str, Manifest] = field(default_factory=dict)
    failed: dict[str, FairleadError] = field(default_factory=dict)
    ran: int = 0
    cached: int = 0


@dataclass(frozen=True)
class Made:
    """An action's result, and whether it was known before."""

    result: Result
    known: bool


@dataclass
class Asked:
    """An action with its inputs as they are now. Once it has been looked up, its record is there, and with a
    dep file its shape."""

    action: Action
    inputs: Mapping[str, Manifest]
    record: Record | None = None
    shape: depfile.Shape | None = None


class Builder:
    """Builds one plan over one tree.

    `root` is the folder under which outputs appear; None keeps them in the store (a tree that is not on
    disk). `download_hosts` are the only ones that files are fetched from; None is any.
    """

    def __init__(
        self,
        store: Store,
        root: Path | None,
        tree: Tree,
        plan: Plan,
        *,
        sandbox: sandbox.Requested = "auto",
        jobs: int = 0,
        on_event: Callable[[Event], None] = lambda _: None,
        download_hosts: Collection[str] | None = None,
    ) -> None:
        self.store = store
        self.root = root
        self.tree = tree
        self.plan = plan
        self.requested = sandbox
        self.jobs = jobs if jobs > 0 else (os.cpu_count() or 1)
        self.on_event = on_event
        self.download_hosts = download_hosts
        self.sources = Sources(tree, store.blobs)
        self.cache = Cache(store)
        self._scratch = store.root / "scratch"
        self._places = Workplaces(self._scratch)
        self._cancel = threading.Event()
        self._environment_lock = threading.Lock()
        self._placing = threading.Lock()
        self._environments: dict[str, Environment] = {}

    @cached_property
    def _maker(self) -> Mapping[str, Action]:
        """The action that makes each output; not every build asks."""
        return {path: action for action in self.plan.actions for path in action.outputs}

    def target_keys(self) -> dict[str, Record]:
        """The record of every target of the plan, by label."""
        return target_records(self.plan, self.tree, Platform.here())

    # -- building

    def build(self, labels: Sequence[str]) -> BuildReport:
        """Build the targets and put their outputs under the root's fairlead-out.

        The first failing action's error is raised when the actions beside it have ended; what they made is
        kept.
        """
        started = time.monotonic()
        self._known(labels)
        records = self.target_keys()
        shown = [self.plan.targets[label] for label in labels]
        wanted = {path for target in shown for path in (*target.default_outputs, *target.other_outputs)}
        outputs = {label: tuple(self.plan.targets[label].default_outputs) for label in labels}
        made = {made for path in wanted if (made := self._made_by(path)) is not None}
        placed = sorted(made) if self.root is not None else []

        def step() -> None:
            self._make(self._closure(wanted), work, keep_going=False)
            if self.root is not None:
                Placer(self.root, self.store).put({path: work.made[path] for path in placed})

        with self._turn():
            work = Work()
            self._rewinding(work, step)
            self._remember(labels, records)
        seconds = time.monotonic() - started
        return BuildReport(outputs, work.ran, work.cached, seconds, tuple(placed))

    def _rewinding(self, work: Work, step: Callable[[], None]) -> None:
        """Do `step`. If a blob turns out to be lost meanwhile, forget what was made and do it again: the next
        look-up finds the blob gone too, so that its producer runs. Not for ever: something removes them."""
        for left in reversed(range(_REWINDS)):
            try:
                return step()
            except BlobLost as error:
                if not left:
                    raise
                self.on_event(Event("note", f"{error.what}: what made it runs again"))
                self._forget(work)
        return None

    def _forget(self, work: Work) -> None:
        """Believe nothing of what was made or looked up."""
        work.made.clear()
        work.failed.clear()
        work.cached = 0
        self.sources.forget()

    # -- actions

    def _closure(self, paths: Iterable[str]) -> list[Action]:
        """The actions that make `paths`, with all that they need, in the plan's order."""
        needed: set[int] = set()
        todo = [action for path in paths if (action := self._action_of(path)) is not None]
        while todo:
            action = todo.pop()
            if id(action) not in needed:
                needed.add(id(action))
                todo.extend(self._maker[path] for path in action.inputs)
        return [action for action in self.plan.actions if id(action) in needed]

    def _made_by(self, path: str) -> str | None:
        """The output that is `path` or holds it; None for a source."""
        while path:
            if path in self._maker:
                return path
            path = path.rpartition("/")[0]
        return None

    def _action_of(self, path: str) -> Action | None:
        made = self._made_by(path)
        return None if made is None else self._maker[made]

    def _make(self, actions: list[Action], work: Work, *, keep_going: bool) -> None:
        """Look up or run each action; with `keep_going` failures are noted under the outputs they cost."""
        self.sources.prepare({path for action in actions for path in action.sources})
        self.on_event(Event("expect", "actions", count=len(actions)))
        waiting = {action.outputs[0]: action for action in actions}
        first = {path: action.outputs[0] for action in actions for path in action.outputs}
        needs = {
            name: {first[path] for path in action.inputs if path in first} for name, action in waiting.items()
        }
        asked: dict[str, Asked] = {}

        def made(name: str, make: Callable[[Asked], Made | None]) -> Made | FairleadError | None:
            action = waiting[name]
            for path in action.inputs:
                if path in work.failed:
                    return work.failed[path]
            try:
                question = asked.pop(name, None)
                if question is None:
                    question = Asked(action, {path: work.made[path] for path in action.inputs})
                found = make(question)
                if found is None:
                    asked[name] = question
                return found
            except MachineryError:
                raise
            except FairleadError as error:
                if not keep_going:
                    raise
                return error

        def job(name: str) -> Made | FairleadError:
            found = made(name, self._one)
            assert found is not None
            return found

        def done(name: str, made: Made | FairleadError) -> None:
            action = waiting[name]
            if isinstance(made, FairleadError):
                work.failed.update(dict.fromkeys(action.outputs, made))
                return
            work.made.update(made.result.outputs)
            if made.known:
                work.cached += 1
                self.on_event(Event("known", "", action.owner, action=action))
            else:
                work.ran += 1
                text = execute.describe(action)
                self.on_event(Event("action", text, action.owner, made.result.seconds, action=action))
                self.cache.flush(due=True)

        try:
            run_all(
                waiting,
                job,
                done,
                needs=needs,
                threads=self.jobs,
                cancel=self._cancel,
                look=lambda name: made(name, self._look),
                idle=self.cache.flush,
            )
        finally:
            self.cache.flush()

    def _look(self, asked: Asked) -> Made | None:
        """What an action makes, if that is known or takes no program; None if it is another thread's work,
        such as to make an environment that it needs."""
        action = asked.action
        if not all(label in self._environments for label in action.toolchains):
            return None
        known = self._find(asked, self._environments)
        if known is not None or action.kind in ("run", "download"):
            return known
        return self._run(asked, {})

    def _one(self, asked: Asked) -> Made:
        """Look the action up, if that was not done, or run it."""
        environments = self._toolchains(asked.action.toolchains)
        known = self._find(asked, environments) if asked.record is None else None
        return self._run(asked, environments) if known is None else known

    def _find(self, asked: Asked, environments: Mapping[str, Environment]) -> Made | None:
        """Compute the action's key and look it up."""
        action, inputs = asked.action, asked.inputs
        asked.record = record = execute.record(action, self.sources, inputs, environments)
        found = self.cache.get(record.key, enforced=self._least())
        if action.dep_file:
            asked.shape = depfile.shape(action, record, self.sources, inputs)
            if found is None:
                found = depfile.find(self.cache, asked.shape, enforced=self._least())
        return None if found is None else Made(found, known=True)

    def _run(self, asked: Asked, environments: Mapping[str, Environment]) -> Made:
        action, inputs, record = asked.action, asked.inputs, asked.record
        assert record is not None
        self.on_event(Event("begin", execute.describe(action), action.owner, action=action))
        try:
            result = self._executor().run(action, record.key, inputs, environments)
        except execute.ActionFailed as error:
            self.on_event(Event("failed", error.what.splitlines()[0], action.owner, action=action))
            self._make_repeatable(action, inputs, environments, error)
            raise
        except FairleadError as error:
            if action.kind == "download":
                error.where = f"{action.owner} ({self.plan.targets[action.owner].place})"
            raise
        self.cache.put(record.key, result, record)
        if asked.shape is not None:
            depfile.keep(self.cache, asked.shape, result.outputs[action.dep_file], result)
        return Made(result, known=False)

    def _executor(self) -> Executor:
        return Executor(
            self.store,
            self.sources,
            self._enforced(),
            self._scratch,
            self._places,
            self._cancel,
            self.download_hosts,
        )

    def _make_repeatable(
        self,
        action: Action,
        inputs: Mapping[str, Manifest],
        environments: Mapping[str, Environment],
        error: FairleadError,
    ) -> None:
        """Put a failed action's inputs into fairlead-out, so that its printed command works there."""
        place = self.plan.targets[action.owner].place
        error.where = f"{action.owner} ({place})" if place else action.owner
        if self.root is None:
            return
        with self._placing:
            Placer(self.root, self.store).put(inputs)
        error.remedy = "to repeat it: " + execute.command_line(action, self.root, environments)

    # -- machinery

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Hold the store; whatever is in its scratch folder then was left by a killed run."""

        def waiting() -> None:
            self.on_event(Event("note", "waiting for another fairlead that uses this store"))

        with lock.hold(self.store.root / "build.lock", on_wait=waiting):
            try:
                self._places.clear()
                discard(self._scratch)
                self._scratch.mkdir(mode=0o700)
            except OSError as error:
                raise atomic.failed(error, "make the folder", self._scratch) from error
            try:
                yield
            except OSError as error:
                if self._scratch.is_dir():
                    raise
                raise MachineryError(
                    "the store was removed while it was used",
                    where=str(self.store.root),
                    remedy="run it again: all of it is made again",
                ) from error
            finally:
                self._places.clear()
                discard(self._scratch)

    def _remember(self, labels: Iterable[str], records: Mapping[str, Record]) -> None:
        """Keep the last record of each target, and of all it depends on, for `why` to compare with."""
        results = self.store.results
        known = results.get_many("latest", labels := list(labels))
        new = [label for label in labels if known.get(label) != records[label].key.encode()]
        if new:
            finished.forget(self.store)
            self.store.put_records(records.values())
            results.put_many("latest", {label: records[label].key.encode() for label in new})

    def _least(self) -> sandbox.Enforced:
        """How closely an earlier run must have been confined for its result to count."""
        return "none" if self.requested == "auto" else self.requested

    def _enforced(self) -> sandbox.Enforced:
        return sandbox.enforcement(self.requested)

    def _known(self, labels: Iterable[str]) -> None:
        for label in labels:
            if label not in self.plan.targets:
                raise UsageError(f"there is no target {label}", remedy=did_you_mean(label, self.plan.targets))

    def _toolchains(self, labels: Iterable[str]) -> dict[str, Environment]:
        with self._environment_lock:
            for label in labels:
                if label not in self._environments:
                    chain = self.plan.toolchains[label]
                    self._environments[label] = toolchain.environment(
                        chain,
                        self.store.blobs.get(self.sources.file(chain.lock).digest),
                        self.store,
                        on_install=lambda text: self.on_event(Event("note", text)),
                    )
            return {label: self._environments[label] for label in labels}
