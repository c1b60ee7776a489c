"""Builds and tests the targets of a plan.

Tests come last: first those whose target key has no pass are picked, then only what *these* need is built
(builder.py), so that a call that finds every verdict runs nothing at all.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from fairlead.build import shards, testing, toolchain
from fairlead.build.builder import Builder, Work
from fairlead.build.cases import Case, runs_pytest
from fairlead.build.coverage import Coverage
from fairlead.build.event import Event
from fairlead.build.outcomes import Outcomes
from fairlead.build.plan import Plan, TestSpec
from fairlead.build.pool import run_all
from fairlead.build.record.layout import Layout
from fairlead.build.recorded import RecordedTests
from fairlead.build.shards import Shard
from fairlead.build.testing import Ran, TestResult, Verdicts
from fairlead.build.tree import DiskTree, Tree
from fairlead.errors import FairleadError, UsageError, WorkFailed
from fairlead.store import Record, Store

Recorded: TypeAlias = Literal["none", "failed", "all"]
"""Which tests say what they asked for. A failed one is repeated for that if it took `_REPEATED` seconds at
most."""

_REPEATED = 120.0


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


class Engine(Builder):
    """A builder that tests too; `options` are those of `Builder`."""

    def __init__(self, store: Store, root: Path | None, tree: Tree, plan: Plan, **options: Any) -> None:
        super().__init__(store, root, tree, plan, **options)
        self.verdicts = Verdicts(store)
        self.recorded = RecordedTests(store, root, tree, plan, self._toolchains)
        self.record: Recorded = "none"
        self.coverage: Coverage | None = None
        self._measured: dict[str, Coverage] = {}
        self._records: Mapping[str, Record] = {}
        self.history = shards.History(store)
        self.outcomes = Outcomes(store)
        self.shard_seconds = 0.0

    # -- questions

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
            self._give(self.tests(labels), Work())
            found = {name: list(self.recorded.answers(name)) for name in self.recorded.given}
        return {name: records for name, records in found.items() if records}

    def _give(self, labels: Iterable[str], work: Work) -> None:
        """Make what recorded tests get beside the project's files."""
        specs = self.recorded.among(labels)
        if specs:
            inputs = {path for spec in specs.values() for path in spec.inputs}
            self._make(self._closure(inputs), work, keep_going=True)
            self.recorded.give(specs, work.made)

    # -- testing

    def test(self, labels: Sequence[str], reuse: bool = True) -> TestReport:
        """Test those of `labels` that are tests; a pass at the same key is reused unless `reuse` is false.

        What fails to build makes the tests that need it "error" results; the others still run.
        """
        started = time.monotonic()
        self._known(labels)
        self._records = records = self.target_keys()
        work = Work()
        results: dict[str, TestResult] = {}
        with self._turn():
            todo = []
            tests = self.tests(labels)
            self.on_event(Event("expect", "tests", count=len(tests)))
            self._rewinding(work, lambda: self._give(tests, work))
            self._prepare_coverage(tests)
            for label in tests:
                key = self.store.put_record(records[label])
                found = self._passed(label, key) if reuse else None
                if found is None:
                    todo.append(label)
                else:
                    results[label] = found
                    self._tell("test", label, found)

            def step() -> None:
                left = [label for label in todo if label not in results]
                if not work.made:  # something was lost: what is given may be made anew
                    self._give(left, work)
                self._test(left, {label: records[label].key for label in left}, work, results)

            if todo:
                self._rewinding(work, step)
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
        work = Work()
        with self._turn():
            self._make(self._closure(spec.inputs), work, keep_going=False)
            environments = self._toolchains(spec.toolchains)
            whole = self.recorded.snapshot if spec.recorded and isinstance(self.tree, DiskTree) else None
            self.sources.prepare(set(spec.sources) if whole is None else set())
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
            if known is None or (known.cases and not self.store.blobs.has(known.cases)):
                continue
            if label not in self._measured or self._measured[label].recall(label, key):
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
        self, labels: list[str], keys: Mapping[str, str], work: Work, results: dict[str, TestResult]
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
            result = self._rated(result, ran.repeated, viewed=label in viewed)
            if ran.measured is not None:
                passed = result.outcome == "pass"
                self._measured[label].keep(label, result.key, ran.measured, passed=passed)
            results[label] = result
            self._tell("test", label, result)

        run_all(self._ordered(runs), one, done, threads=self.jobs, cancel=self._cancel)
        runs |= {label: label for label in whole}
        run_all(list(whole), one, done, threads=self.jobs, cancel=self._cancel)

    def _rated(self, result: TestResult, repeated: str, *, viewed: bool) -> TestResult:
        """The result of a run with how often such runs have failed, counting this one."""
        if result.outcome == "error":
            return result
        keys, state = [result.key], ""
        if viewed:
            state = self.recorded.state(result.label)
            if result.outcome != "pass":
                keys = [record.key for record in self.recorded.answers(result.label)]
        outcomes = [result.outcome, *([repeated] if repeated else [])]
        rate = self.outcomes.add(result.label, keys, outcomes, state=state)
        return replace(result, runs=rate.runs, failed=rate.failed)

    def _noted(self, label: str, last: shards.Last) -> None:
        """Remember how a test's run went; what must not be split stays so."""
        if last.whole:
            self.on_event(Event("note", f"{label} passes whole but not in parts: it is not split again"))
        before = self.history.get(label)
        if last.outcome != "error":
            self.history.put(label, replace(last, whole=last.whole or (before is not None and before.whole)))

    def _split(self, specs: Mapping[str, TestSpec]) -> dict[str, dict[str, Shard]]:
        """The shares of those tests that are to run in parts, by a name for each."""
        found: dict[str, dict[str, Shard]] = {}

        def part(label: str, made: list[Shard]) -> None:
            found[label] = {f"{label} {shard.number + 1}/{shard.of}": shard for shard in made}

        lasts = {label: last for label in specs if (last := self.history.get(label)) is not None}
        for label in [label for label, spec in specs.items() if spec.shards and runs_pytest(spec)]:
            known = lasts.pop(label, None)
            if specs[label].shards > 1 and not (known is not None and known.whole):
                part(label, shards.shards({} if known is None else known.cases, specs[label].shards))
        if self.shard_seconds <= 0:
            return found
        seconds = {label: last.seconds for label, last in lasts.items()}
        for label, number in shards.split(seconds, jobs=self.jobs, limit=self.shard_seconds).items():
            last = lasts[label]
            if (
                last.outcome == "pass"
                and not last.whole
                and len(last.cases) > 1
                and runs_pytest(specs[label])
            ):
                part(label, shards.shards(last.cases, min(number, len(last.cases))))
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
                again = run(record=True).result.outcome
                if again == "pass":
                    result = replace(result, detail=f"{result.detail}; it passed when it was repeated")
                return replace(ran, result=result, repeated=again)
        return ran

    def _tell(self, kind: Literal["test"], label: str, result: TestResult) -> None:
        self.on_event(Event(kind, result.outcome, label, result.seconds, result))
