"""One test: running it apart, and what may be believed of an earlier run.

A pass is kept under the target key and found again as long as nothing that the test depends on changes. A
failure is shown and its log kept, but never reused: the next call runs the test again. A pass counts again
only if it was at least as closely confined as is asked for now.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from fairlead.build import sandbox
from fairlead.build.execute import ended
from fairlead.build.manifest import Manifest
from fairlead.build.plan import TestSpec
from fairlead.build.sources import Sources
from fairlead.build.stage import Environment, Stage, keep_log
from fairlead.errors import FairleadError, MachineryError
from fairlead.store import Store, crashpoint

BEFORE_VERDICT = crashpoint.declare(
    "build.test.before-verdict", "a test has passed, its verdict is not recorded"
)
Outcome: TypeAlias = Literal["pass", "fail", "timeout", "error"]


@dataclass(frozen=True)
class TestResult:
    """A verdict. `error` means that the test could not be run (its inputs failed to build, its command is
    not there).

    `log` is the digest of its output in the store; `seconds` is the time of the run that gave the verdict,
    also when that run is an earlier one (`reused`). `detail` is one line on how it ended.
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

    def to_json(self) -> dict[str, object]:
        return asdict(self)


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
            if enforced == "namespace" and found["enforced"] != "namespace":
                return None
            if found["interpreters"] != dict(interpreters):
                return None
            return TestResult(
                label, key, "pass", True, float(found["seconds"]), str(found["log"]), found["enforced"]
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
            }
            self.store.results.put("verdict", result.key, json.dumps(value).encode())
            self.store.results.put("passed", result.label, result.key.encode())

    def last(self, label: str) -> str | None:
        """The key at which the target was last run and passed."""
        data = self.store.results.get("passed", label)
        return None if data is None else data.decode()

    def forget(self, key: str) -> None:
        """Drop the pass of that key."""
        self.store.results.delete("verdict", key)


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
) -> TestResult:
    """Run one test now. A test that cannot be started is an "error" result; a full disk is a
    MachineryError."""
    stage = Stage(scratch / f"test-{key}", store.blobs, enforced, (), environments)
    try:
        for path in spec.sources:
            stage.add(path, sources.file(path))
        for path, content in inputs.items():
            stage.add(path, content)
        done = stage.run(spec.argv, spec.env, seconds=spec.timeout, cancel=cancel)
        log = keep_log(store.blobs, stage.log)
        if done.code != 0:
            stage.check_disk(done)
        stage.check_inputs()
    except MachineryError:
        raise
    except FairleadError as error:
        return failed(label, key, error, store, enforced)
    finally:
        stage.remove()
    if done.timed_out:
        return TestResult(label, key, "timeout", False, done.seconds, log, enforced, ended(done))
    outcome: Outcome = "pass" if done.code == 0 else "fail"
    detail = "" if outcome == "pass" else ended(done)
    return TestResult(label, key, outcome, False, done.seconds, log, enforced, detail)


def failed(
    label: str, key: str, error: FairleadError, store: Store, enforced: sandbox.Enforced
) -> TestResult:
    """The result of a test that never ran, its log the error's text."""
    log = store.blobs.put((str(error) + "\n").encode())
    return TestResult(label, key, "error", False, 0.0, log, enforced, error.what.splitlines()[0])
