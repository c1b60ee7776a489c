"""One test: running it apart, and what may be believed of an earlier run.

A pass is kept under the target key and found again as long as nothing that the test depends on changes. A
failure is shown and its log kept, but never reused: the next call runs the test again. A pass counts again
only if it was at least as closely confined as is asked for now.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from fairlead.build import sandbox
from fairlead.build.cases import Case, collected, runs_pytest, searched, watch
from fairlead.build.coverage import Coverage, Piece
from fairlead.build.execute import ended
from fairlead.build.manifest import Manifest
from fairlead.build.outcomes import Rate
from fairlead.build.plan import TestSpec
from fairlead.build.record import entered
from fairlead.build.record.asked import Asked
from fairlead.build.record.layout import Layout
from fairlead.build.record.runs import RecordedRun, Runs
from fairlead.build.snapshot import Snapshot
from fairlead.build.sources import Sources
from fairlead.build.stage import Environment, Stage, keep_log, keep_report
from fairlead.errors import FairleadError, MachineryError
from fairlead.store import Store, crashpoint

BEFORE_VERDICT = crashpoint.declare(
    "build.test.before-verdict", "a test has passed, its verdict is not recorded"
)
Outcome: TypeAlias = Literal["pass", "fail", "timeout", "error"]

REPORT = "fairlead-out/test/report.xml"
"""Where a test may write a JUnit report, as XML_OUTPUT_FILE tells it (the name that Bazel uses too)."""


ENTERED = "fairlead-out/test/entered"
"""Where it is noted which functions a test in a view enters (`record/entered.py`)."""


TESTED = "tested"
"""Where `tested.py` keeps calls that passed throughout."""


@dataclass(frozen=True)
class TestResult:
    """A verdict. `error` means that the test could not be run (its inputs failed to build, its command is
    not there); `exit` is 2 if that is the fault of what it was given.

    `log` is the digest of its output in the store; `seconds` is the time of the run that gave the verdict,
    also when that run is an earlier one (`reused`). `detail` is one line on how it ended. `cases` is the
    digest of the JUnit report that it wrote, "" if it wrote none. Of the last `runs` runs with that key, this
    one included, `failed` did not pass.
    """

    __test__ = False

    label: str
    key: str
    outcome: Outcome
    reused: bool
    seconds: float
    log: str
    enforced: sandbox.Enforced
    detail: str = ""
    cases: str = ""
    exit: int = 1
    runs: int = 0
    failed: int = 0

    @property
    def rate(self) -> Rate:
        """How often it failed with this key; no runs if this one is an earlier run."""
        return Rate(self.runs, self.failed)

    def to_json(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "exit"}


class Verdicts:
    """Passes by target key, in a store's results."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def get(
        self, label: str, key: str, *, enforced: sandbox.Enforced, interpreters: Mapping[str, str] = {}
    ) -> TestResult | None:
        """The pass recorded for that key, if it was confined at least as closely as `enforced`, by the same
        versions of the toolchains' interpreters."""
        data = self.store.results.get("verdict", key)
        if data is None:
            return None
        try:
            found = json.loads(data)
            if not sandbox.at_least(found["enforced"], enforced):
                return None
            if found["interpreters"] != dict(interpreters):
                return None
            return TestResult(
                label,
                key,
                "pass",
                True,
                float(found["seconds"]),
                str(found["log"]),
                found["enforced"],
                cases=str(found.get("cases", "")),
            )
        except (ValueError, KeyError, TypeError):
            self.store.results.delete("verdict", key)
            return None

    def put(self, result: TestResult, interpreters: Mapping[str, str] = {}) -> None:
        """Keep a pass. A failure or a time-out at the same key ends it: the next call runs the test again."""
        if result.outcome in ("fail", "timeout"):
            self.forget(result.key)
        if result.outcome == "pass":
            crashpoint.here(BEFORE_VERDICT)
            value = {
                "seconds": result.seconds,
                "log": result.log,
                "enforced": result.enforced,
                "interpreters": dict(interpreters),
                "cases": result.cases,
            }
            self.store.results.put("verdict", result.key, json.dumps(value).encode())
            self.store.results.put("passed", result.label, result.key.encode())

    def last(self, label: str) -> str | None:
        """The key at which the target was last run and passed."""
        data = self.store.results.get("passed", label)
        return None if data is None else data.decode()

    def forget(self, key: str) -> None:
        """Drop the pass of that key, and all calls that were found to pass throughout."""
        for row, _ in list(self.store.results.items(TESTED)):
            self.store.results.delete(TESTED, row)
        self.store.results.delete("verdict", key)


@dataclass(frozen=True)
class Ran:
    """A run: its result, and what it asked for (paths of the project), None if nobody listened; `outside` has
    the same of each toolchain's environment, by label. `noted` is the account of what was entered,
    `measured` that of coverage, `collected` the digest of what a part of a test collected,
    `repeated` how a second run ended."""

    result: TestResult
    asked: Asked | None = None
    outside: Mapping[str, Asked] = field(default_factory=dict)
    noted: bytes = b""
    measured: Piece | None = None
    collected: str = ""
    repeated: str = ""


def run(
    label: str,
    key: str,
    spec: TestSpec,
    *,
    store: Store,
    sources: Sources,
    inputs: Mapping[str, Manifest],
    environments: Mapping[str, Environment],
    enforced: sandbox.Enforced,
    scratch: Path,
    cancel: threading.Event,
    record: bool = False,
    view: Path | None = None,
    on_case: Callable[[Case], None] = lambda _: None,
    coverage: Coverage | None = None,
    layout: Layout | None = None,
    shard: Mapping[str, object] | None = None,
) -> Ran:
    """Run one test now, in the view of the project if there is one. A test that cannot be started is an
    "error" result; a full disk is a MachineryError. With `record` the answer says what the test asked, and
    `missing` can look at that later. `on_case` hears of each case of pytest as it ends. With
    `coverage` it is measured; `layout` says where its files come from. `shard` is the part to
    run, if not all."""
    at = scratch / f"test-{key}"
    stage = Stage(at, store.blobs, enforced, (REPORT,), environments, view, searched(spec))
    try:
        for path in spec.sources if view is None else ():
            stage.add(path, sources.file(path))
        for path, content in inputs.items():
            stage.add(path, content)
        env = {**spec.env, "XML_OUTPUT_FILE": stage.seen(REPORT)}
        if view is not None:
            env[entered.VARIABLE] = stage.seen(ENTERED)
            entered.place(stage.project / ENTERED)
        stream = None
        if runs_pytest(spec):
            measuring = None if coverage is None else coverage.given(stage)
            more, stream = watch(stage, on_case, measuring, shard)
            env |= more
        look = None if stream is None else stream.look
        done = stage.run(spec.argv, env, seconds=spec.timeout, cancel=cancel, record=record, on_tick=look)
        if stream is not None:
            stream.look()
        log = keep_log(store.blobs, stage.log)
        cases = keep_report(store.blobs, stage.project / REPORT)
        found = "" if shard is None else collected(stage)
        measured = None if coverage is None or layout is None else coverage.measured(stage, layout)
        if done.code != 0:
            stage.check_disk(done)
        stage.check_inputs()
        asked, outside = stage.asked(done)
        noted = entered.noted(stage.project / ENTERED)
        if asked is not None:
            absent = frozenset(path for path in asked.paths() if stage.lacks(path))
            state = "timeout" if done.timed_out else "fail" if done.code else "pass"
            Runs(store).put(label, RecordedRun(key, state, asked, absent))
    except MachineryError:
        raise
    except FairleadError as error:
        return Ran(failed(label, key, error, store, enforced))
    finally:
        stage.remove()
    outcome: Outcome = "timeout" if done.timed_out else "pass" if done.code == 0 else "fail"
    detail = "" if outcome == "pass" else ended(done) + _refused(done, log, store)
    result = TestResult(label, key, outcome, False, done.seconds, log, enforced, detail, cases)
    return Ran(result, asked, outside, noted, measured, found)


def _refused(done: sandbox.Completed, log: str, store: Store) -> str:
    """What a person must know who did not choose the level and wonders at a refusal."""
    if done.enforced != "landlock" or _DENIED not in store.blobs.get(log):
        return ""
    return f"; it says {_DENIED.decode()}: at level landlock there is no network, no loopback either"


_DENIED = b"Permission denied"


def debug(
    spec: TestSpec,
    extra: Sequence[str],
    *,
    store: Store,
    sources: Sources,
    inputs: Mapping[str, Manifest],
    environments: Mapping[str, Environment],
    scratch: Path,
    terminal: Mapping[str, str],
    whole: Snapshot | None = None,
) -> int:
    """Run one test in the foreground, with `extra` words behind its command; its exit code, and no verdict.
    With a snapshot it gets all of that, as in a view.

    The files are copies and the environment is that of every run, but there are no walls: a debugger needs
    the terminal, which is outside of them.
    """
    stage = Stage(scratch / "debug", store.blobs, "none", (), environments, search=searched(spec))
    try:
        if whole is not None:
            stage.spread(whole)
        for path in spec.sources if whole is None else ():
            stage.add(path, sources.file(path))
        for path, content in inputs.items():
            stage.add(path, content)
        return stage.foreground([*spec.argv, *extra], spec.env, terminal=terminal)
    finally:
        stage.remove()


@dataclass(frozen=True)
class Tally:
    """How often a target ended in which way, over several runs."""

    label: str
    outcomes: Mapping[Outcome, int]

    @property
    def rate(self) -> Rate:
        """How many of the runs failed; those that could not be made are left out."""
        failed = self.outcomes.get("fail", 0) + self.outcomes.get("timeout", 0)
        return Rate(failed + self.outcomes.get("pass", 0), failed)

    @property
    def flaky(self) -> bool:
        """Whether it both passed and did not, with the same key."""
        return self.rate.flaky


def tally(results: Iterable[TestResult]) -> list[Tally]:
    """Count the outcomes of each target, in order of label."""
    counted: dict[str, dict[Outcome, int]] = {}
    for result in results:
        outcomes = counted.setdefault(result.label, {})
        outcomes[result.outcome] = outcomes.get(result.outcome, 0) + 1
    return [Tally(label, counted[label]) for label in sorted(counted)]


def failed(
    label: str, key: str, error: FairleadError, store: Store, enforced: sandbox.Enforced
) -> TestResult:
    """The result of a test that never ran, its log the error's text."""
    log = store.blobs.put((str(error) + "\n").encode())
    said = error.what.splitlines()[0]
    return TestResult(label, key, "error", False, 0.0, log, enforced, said, exit=error.exit)
