"""Builds and tests the targets of a plan: decides what need not be done, and does the rest at once.

The engine walks the actions in the plan's order of dependence. For each it computes the key and looks it
up; what the cache does not know goes to a pool of threads, each of which spawns one sandboxed program and
waits for it. Tests come last: first those whose target key has no pass are picked, then only what *these*
need is built, so that a call that finds every verdict runs nothing at all.

One lock a store: two builds of one project take turns. Results are recorded as each action ends, so a build
that is stopped loses only what was running.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

from fairlead.build import depfile, execute, finished, sandbox, shards, testing, toolchain
from fairlead.build.cases import Case, runs_pytest
from fairlead.build.coverage import Coverage
from fairlead.build.execute import Cache, Executor, Result
from fairlead.build.key import Platform, target_records
from fairlead.build.manifest import Manifest
from fairlead.build.materialise import materialise
from fairlead.build.plan import Action, Plan, TestSpec
from fairlead.build.pool import run_all
from fairlead.build.record.layout import Layout
from fairlead.build.recorded import RecordedTests
from fairlead.build.shards import Shard
from fairlead.build.sources import Sources
from fairlead.build.stage import Environment
from fairlead.build.testing import Ran, TestResult, Verdicts
from fairlead.build.tree import DiskTree, Tree
from fairlead.errors import FairleadError, MachineryError, UsageError, WorkFailed, did_you_mean
from fairlead.store import Record, Store, atomic, lock

Recorded: TypeAlias = Literal["none", "failed", "all"]
"""Which tests say what they asked for. A failed one is repeated for that if it took `_REPEATED` seconds at
most."""

_REPEATED = 120.0


@dataclass(frozen=True)
class Event:
    """Something that a person may want to see while it happens; also sent from the engine's threads.

    "expect": `count` actions or tests (`text`) are to be looked up or run. "begin": an action, or a test if
    `action` is None, starts to run. "action" and "failed": it has run. "known": it need not. "case": one of
    a running test has ended; if the test is repeated, so are its cases. "test": a verdict, reused or new.
    """

    kind: Literal["note", "expect", "begin", "action", "failed", "known", "case", "test"]
    text: str
    label: str = ""
    seconds: float = 0.0
    result: TestResult | None = None
    action: Action | None = None
    count: int = 0
    case: Case | None = None


@dataclass(frozen=True)
class BuildReport:
    """What a build did: label -> paths of its outputs under the root, and how many actions ran or were
    known. `placed` are the outputs as the actions name them."""

    outputs: Mapping[str, tuple[str, ...]]
    ran: int
    cached: int
    seconds: float
    placed: tuple[str, ...] = ()


@dataclass(frozen=True)
class TestReport:
    """Results in order of label, and how many actions ran or were known on the way."""

    __test__ = False

    results: list[TestResult]
    ran: int
    cached: int
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every result is a pass."""
        return all(result.outcome == "pass" for result in self.results)


@dataclass
class _Work:
    """One call's state: contents of outputs made so far, and what failed."""

    made: dict[str, Manifest] = field(default_factory=dict)
    failed: dict[str, FairleadError] = field(default_factory=dict)
    ran: int = 0
    cached: int = 0


@dataclass(frozen=True)
class _Made:
    """An action's result, and whether it was known before."""

    result: Result
    known: bool


class Engine:
    """Builds and tests one plan over one tree.

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
        self.verdicts = Verdicts(store)
        self.recorded = RecordedTests(store, root, tree, plan, self._toolchains)
        self.record: Recorded = "none"
        self.coverage: Coverage | None = None
        self._scratch = store.root / "scratch"
        self._cancel = threading.Event()
        self._environment_lock = threading.Lock()
        self._environments: dict[str, Environment] = {}
        self._measured: dict[str, Coverage] = {}
        self._records: Mapping[str, Record] = {}
        self.history = shards.History(store)
        self.shard_seconds = 0.0
        self._maker = {path: action for action in plan.actions for path in action.outputs}

    # -- questions

    def target_keys(self) -> dict[str, Record]:
        """The record of every target of the plan, by label."""
        return target_records(self.plan, self.tree, Platform.here())

    def tests(self, labels: Iterable[str]) -> list[str]:
        """Those of `labels` that are tests, and those that suites and aliases there stand for: each once."""
        found: dict[str, None] = {}
        seen: set[str] = set()
        todo = list(labels)[::-1]
        while todo:
            label = todo.pop()
            target = self.plan.targets.get(label)
            if target is None or label in seen:
                continue
            seen.add(label)
            if target.test is not None:
                found[label] = None
            todo += target.tests[::-1]
        return list(found)

    def answers(self, labels: Sequence[str]) -> dict[str, list[Record]]:
        """For each recorded test that has passed: what today's files answer to what its passes asked, the
        newest pass first. What is given to the tests is built."""
        with self._turn():
            self._give(self.tests(labels), _Work())
            found = {name: list(self.recorded.answers(name)) for name in self.recorded.given}
        return {name: records for name, records in found.items() if records}

    def _give(self, labels: Iterable[str], work: _Work) -> None:
        """Make what recorded tests get beside the project's files."""
        specs = self.recorded.among(labels)
        if specs:
            inputs = {path for spec in specs.values() for path in spec.inputs}
            self._make(self._closure(inputs), work, keep_going=True)
            self.recorded.give(specs, work.made)

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
        with self._turn():
            work = _Work()
            self._make(self._closure(wanted), work, keep_going=False)
            outputs = {}
            placed: list[str] = []
            for label in labels:
                paths = self.plan.targets[label].default_outputs
                outputs[label] = tuple(paths)
                paths += self.plan.targets[label].other_outputs
                for made in {made for path in paths if (made := self._made_by(path)) is not None}:
                    if self.root is not None:
                        materialise(self.root, made, work.made[made], self.store)
                        placed.append(made)
            self._remember(labels, records)
        seconds = time.monotonic() - started
        return BuildReport(outputs, work.ran, work.cached, seconds, tuple(placed))

    def test(self, labels: Sequence[str], reuse: bool = True) -> TestReport:
        """Test those of `labels` that are tests; a pass at the same key is reused unless `reuse` is false.

        What fails to build makes the tests that need it "error" results; the others still run.
        """
        started = time.monotonic()
        self._known(labels)
        self._records = records = self.target_keys()
        work = _Work()
        results: dict[str, TestResult] = {}
        with self._turn():
            todo = []
            tests = self.tests(labels)
            self.on_event(Event("expect", "tests", count=len(tests)))
            self._give(tests, work)
            self._prepare_coverage(tests)
            for label in tests:
                key = self.store.put_record(records[label])
                found = self._passed(label, key) if reuse else None
                if found is None:
                    todo.append(label)
                else:
                    results[label] = found
                    self._tell("test", label, found)
            if todo:
                self._test(todo, {label: records[label].key for label in todo}, work, results)
            self._remember(results, records)
        ordered = [results[label] for label in sorted(results)]
        return TestReport(ordered, work.ran, work.cached, time.monotonic() - started)

    def debug(self, label: str, extra: Sequence[str], *, terminal: Mapping[str, str]) -> int:
        """Run the test `label` in the foreground, with `extra` words behind its command; its exit code.

        What it needs is built first. Nothing is looked up or kept, and others may use the store meanwhile.
        """
        self._known([label])
        spec = self.plan.targets[label].test
        if spec is None:
            raise UsageError(f"{label} is not a test", where=self.plan.targets[label].place)
        work = _Work()
        with self._turn():
            self._make(self._closure(spec.inputs), work, keep_going=False)
            environments = self._toolchains(spec.toolchains)
            whole = self.recorded.snapshot if spec.recorded and isinstance(self.tree, DiskTree) else None
            self.sources.prepare(set(spec.sources if whole is None else whole.files))
        with tempfile.TemporaryDirectory(prefix="fairlead-debug-") as folder:
            return testing.debug(
                spec,
                extra,
                store=self.store,
                sources=self.sources,
                inputs={path: work.made[path] for path in spec.inputs},
                environments=environments,
                scratch=Path(folder),
                terminal=terminal,
                whole=whole,
            )

    def _passed(self, label: str, key: str) -> TestResult | None:
        """An earlier pass that counts now: at the target's key, or of a recorded test at what it asked. The
        key of one that may run in a view does not say all that it sees, so there it counts for nothing."""
        found = self._interpreters(label)
        keys: Iterable[str] = [key]
        if label in self.recorded.given:
            asked = (record.key for record in self.recorded.answers(label))
            viewed = self.recorded.viewed([label], self._enforced())
            keys = asked if viewed else itertools.chain(keys, asked)
        for key in keys:
            known = self.verdicts.get(label, key, enforced=self._least(), interpreters=found)
            if known is not None and (
                label not in self._measured or self._measured[label].recall(label, key)
            ):
                return known
        return None

    def _prepare_coverage(self, labels: Iterable[str]) -> None:
        for label in labels:
            spec = self.plan.targets[label].test
            if self.coverage is not None and spec is not None and runs_pytest(spec):
                self._measured[label] = self.coverage
                for name, environment in self._toolchains(spec.toolchains).items():
                    self.coverage.prepare(label, environment, self.plan.toolchains[name].lock, spec.argv)

    def _interpreters(self, label: str) -> dict[str, str]:
        """The versions of all interpreters that the test's result may come from."""
        return toolchain.versions(self.plan.toolchains, self.plan.toolchains_behind[label])

    def _test(
        self, labels: list[str], keys: Mapping[str, str], work: _Work, results: dict[str, TestResult]
    ) -> None:
        specs = {label: spec for label in labels if (spec := self.plan.targets[label].test) is not None}
        needed = {path for spec in specs.values() for path in spec.inputs}
        self._make(self._closure(needed), work, keep_going=True)
        enforced = self._enforced()

        viewed = self.recorded.viewed(labels, enforced)
        staged = [spec for label, spec in specs.items() if label not in viewed]
        self.sources.prepare({path for spec in staged for path in spec.sources})
        view = self.recorded.view(viewed)

        parts = {} if self.coverage is not None else self._split(specs)
        runs = {name: label for label, shares in parts.items() for name in shares}
        runs |= {label: label for label in labels if label not in parts}
        shares = {name: shard for found in parts.values() for name, shard in found.items()}
        cases: dict[str, dict[str, float]] = {label: {} for label in labels}

        def heard(label: str, case: Case) -> None:
            cases[label][case.id] = case.seconds
            self.on_event(Event("case", "", label, case.seconds, case=case))

        def one(name: str) -> Ran:
            label, shard = runs[name], shares.get(name)
            spec = specs[label]
            for path in spec.inputs:
                if path in work.failed:
                    return Ran(testing.failed(label, keys[label], work.failed[path], self.store, enforced))
            try:
                environments = self._toolchains(spec.toolchains)
            except (UsageError, WorkFailed) as error:
                return Ran(testing.failed(label, keys[label], error, self.store, enforced))
            self.on_event(Event("begin", "test", label))
            run = functools.partial(
                testing.run,
                label,
                keys[label],
                spec,
                store=self.store,
                sources=self.sources,
                inputs={path: work.made[path] for path in spec.inputs},
                environments=environments,
                enforced=enforced,
                scratch=self._scratch if shard is None else self._scratch / f"shard-{shard.number}",
                cancel=self._cancel,
                view=view if label in viewed else None,
                on_case=functools.partial(heard, label),
                coverage=self._measured.get(label),
                layout=Layout.of(self.plan, label) if label in self._measured else None,
                shard=None if shard is None else shard.to_json(),
            )
            if shard is not None:
                return run(record=label in viewed)
            return run(record=True) if label in viewed else self._recorded(run)

        gathered: dict[str, list[Ran]] = {}
        whole: list[str] = []

        def done(name: str, ran: Ran) -> None:
            label, shard = runs[name], shares.get(name)
            seconds = ran.result.seconds
            if shard is not None:
                gathered.setdefault(label, []).append(ran)
                if len(gathered[label]) < shard.of:
                    return
                seconds = sum(part.result.seconds for part in gathered[label])
                ran = shards.merged(gathered[label], self.store)
                if ran.result.outcome == "fail" or not shards.is_all(gathered[label]):
                    whole.append(label)
                    return
            torn = label in whole and ran.result.outcome == "pass"
            self._noted(label, shards.Last(ran.result.outcome, seconds, cases[label], torn))
            result = self.recorded.keep(label, ran, self.verdicts) if label in viewed else ran.result
            self.verdicts.put(result, self._interpreters(label))
            if ran.measured is not None:
                passed = result.outcome == "pass"
                self._measured[label].keep(label, result.key, ran.measured, passed=passed)
            results[label] = result
            self._tell("test", label, result)

        run_all(self._ordered(runs), one, done, threads=self.jobs, cancel=self._cancel)
        runs |= {label: label for label in whole}
        run_all(list(whole), one, done, threads=self.jobs, cancel=self._cancel)

    def _noted(self, label: str, last: shards.Last) -> None:
        """Remember how a test's run went; what must not be split stays so."""
        if last.whole:
            self.on_event(Event("note", f"{label} passes whole but not in parts: it is not split again"))
        before = self.history.get(label)
        if last.outcome != "error":
            self.history.put(label, replace(last, whole=last.whole or (before is not None and before.whole)))

    def _split(self, specs: Mapping[str, TestSpec]) -> dict[str, dict[str, Shard]]:
        """The shares of those tests that are to run in parts, by a name for each."""
        if self.shard_seconds <= 0:
            return {}
        lasts = {label: last for label in specs if (last := self.history.get(label)) is not None}
        seconds = {label: last.seconds for label, last in lasts.items()}
        found: dict[str, dict[str, Shard]] = {}
        for label, number in shards.split(seconds, jobs=self.jobs, limit=self.shard_seconds).items():
            last = lasts[label]
            if (
                last.outcome == "pass"
                and not last.whole
                and len(last.cases) > 1
                and runs_pytest(specs[label])
            ):
                made = shards.shards(last.cases, min(number, len(last.cases)))
                found[label] = {f"{label} {shard.number + 1}/{shard.of}": shard for shard in made}
        return found

    def _ordered(self, runs: Mapping[str, str]) -> list[str]:
        """The names of runs in the order in which they should start."""
        edited = {label for label in runs.values() if self._is_edited(label)}
        places = {
            label: at for at, label in enumerate(shards.order(set(runs.values()), self.history.get, edited))
        }
        return sorted(runs, key=lambda name: (places[runs[name]], name))

    def _is_edited(self, label: str) -> bool:
        """Whether a test's own files are others than when it was last looked at."""
        known = self.store.results.get("latest", label)
        then = None if known is None else self.store.get_record(known.decode())
        return then is not None and then.parts.get("inputs") != self._records[label].parts.get("inputs")

    def _recorded(self, run: Callable[..., Ran]) -> Ran:
        """A run with what it asked noted as `self.record` says."""
        if self.record == "all":
            return run(record=True)
        ran = run()
        result = ran.result
        if self.record == "failed" and result.outcome == "fail" and result.seconds <= _REPEATED:
            with contextlib.suppress(FairleadError):  # it serves the explanation alone
                if run(record=True).result.outcome == "pass":
                    return Ran(replace(result, detail=f"{result.detail}; it passed when it was repeated"))
        return ran

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

    def _make(self, actions: list[Action], work: _Work, *, keep_going: bool) -> None:
        """Look up or run each action; with `keep_going` failures are noted under the outputs they cost."""
        self.sources.prepare({path for action in actions for path in action.sources})
        self.on_event(Event("expect", "actions", count=len(actions)))
        left = self._recall(actions, work)
        waiting = {action.outputs[0]: action for action in left}
        first = {path: action.outputs[0] for action in left for path in action.outputs}
        needs = {
            name: {first[path] for path in action.inputs if path in first} for name, action in waiting.items()
        }

        def job(name: str) -> _Made | FairleadError:
            action = waiting[name]
            for path in action.inputs:
                if path in work.failed:
                    return work.failed[path]
            try:
                return self._one(action, {path: work.made[path] for path in action.inputs})
            except MachineryError:
                raise
            except FairleadError as error:
                if not keep_going:
                    raise
                return error

        def done(name: str, made: _Made | FairleadError) -> None:
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

        def quick(name: str) -> bool:
            return waiting[name].kind in ("write", "copy", "link_tree")

        run_all(waiting, job, done, needs=needs, threads=self.jobs, cancel=self._cancel, quick=quick)

    def _recall(self, actions: list[Action], work: _Work) -> list[Action]:
        """Look up the actions whose inputs are all known, in this thread: most builds know nearly all of
        them, and handing each to another thread takes longer than the look. Returns the others."""
        left = []
        for action in actions:
            ready = all(path in work.made for path in action.inputs)
            if ready and all(label in self._environments for label in action.toolchains):
                inputs = {path: work.made[path] for path in action.inputs}
                record = execute.record(action, self.sources, inputs, self._environments)
                found = self.cache.get(record.key, enforced=self._least())
                if found is not None:
                    work.made.update(found.outputs)
                    work.cached += 1
                    self.on_event(Event("known", "", action.owner, action=action))
                    continue
            left.append(action)
        return left

    def _one(self, action: Action, inputs: Mapping[str, Manifest]) -> _Made:
        environments = self._toolchains(action.toolchains)
        record = execute.record(action, self.sources, inputs, environments)
        found = self.cache.get(record.key, enforced=self._least())
        shape = depfile.shape(action, record, self.sources, inputs) if action.dep_file else None
        if found is None and shape is not None:
            found = depfile.find(self.cache, shape, enforced=self._least())
        if found is not None:
            return _Made(found, known=True)
        executor = Executor(
            self.store, self.sources, self._enforced(), self._scratch, self._cancel, self.download_hosts
        )
        self.on_event(Event("begin", execute.describe(action), action.owner, action=action))
        try:
            result = executor.run(action, record.key, inputs, environments)
        except execute.ActionFailed as error:
            self.on_event(Event("failed", error.what.splitlines()[0], action.owner, action=action))
            self._make_repeatable(action, inputs, environments, error)
            raise
        except FairleadError as error:
            if action.kind == "download":
                error.where = f"{action.owner} ({self.plan.targets[action.owner].place})"
            raise
        self.cache.put(record.key, result, record)
        if shape is not None:
            depfile.keep(self.cache, shape, result.outputs[action.dep_file], result)
        return _Made(result, known=False)

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
        for path, content in inputs.items():
            materialise(self.root, path, content, self.store)
        error.remedy = "to repeat it: " + execute.command_line(action, self.root, environments)

    # -- machinery

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Hold the store; whatever is in its scratch folder then was left by a killed run."""

        def waiting() -> None:
            self.on_event(Event("note", "waiting for another fairlead that uses this store"))

        with lock.hold(self.store.root / "build.lock", on_wait=waiting):
            try:
                atomic.remove(self._scratch)
                self._scratch.mkdir(mode=0o700)
            except OSError as error:
                raise atomic.failed(error, "make the folder", self._scratch) from error
            try:
                yield
            finally:
                atomic.remove(self._scratch)

    def _remember(self, labels: Iterable[str], records: Mapping[str, Record]) -> None:
        """Keep the last record of each target, and of all it depends on, for `why` to compare with."""
        results = self.store.results
        new = [label for label in labels if results.get("latest", label) != records[label].key.encode()]
        if new:
            finished.forget(self.store)
            for record in records.values():
                self.store.put_record(record)
        for label in new:
            results.put("latest", label, records[label].key.encode())

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

    def _tell(self, kind: Literal["test"], label: str, result: TestResult) -> None:
        self.on_event(Event(kind, result.outcome, label, result.seconds, result))
