"""One job, from its two commits to its signed verdicts.

    fetch     base and candidate into the worker's repository
    evaluate  each commit's BUCK files, in a sandboxed child; only a plan, data, comes back
    keys      the key of every test target of both, by our own code, read from the object store
    ask       the server which tests have no pass that counts at their key
    run       those and no others, in the sandbox; a verdict is signed as each one ends

A base that cannot be evaluated has no keys: every test of the candidate is affected, which costs time
and lets nothing through. A candidate that cannot be evaluated is broken, and its author is told why.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairlead.build.engine import Engine, Event
from fairlead.build.evaluator import evaluate_apart
from fairlead.build.key import Platform, target_records
from fairlead.build.plan import Plan
from fairlead.build.sandbox import Requested
from fairlead.build.testing import TestResult
from fairlead.build.tree import GitTree
from fairlead.errors import FairleadError, MachineryError, UsageError, WorkFailed
from fairlead.git import Repo
from fairlead.ship.values import KeyStatement, Sign, Signed, Verdict
from fairlead.store import Store, crashpoint
from fairlead.worker import checkout
from fairlead.worker.job import Job
from fairlead.worker.server import Server
from fairlead.worker.state import State, free_bytes
from fairlead.worker.supervisor import Answer

AFTER_KEYS = crashpoint.declare("worker.after-keys", "the server has the signed keys and no verdict")
AFTER_VERDICT = crashpoint.declare("worker.after-verdict", "the server has this verdict and waits for more")
EVERYTHING = ("//...",)
LONGEST_LOG = 4 << 20  # bytes of one log that are kept: its beginning and its end
FREE = 1 << 30  # bytes of disk below which no job is begun


@dataclass(frozen=True)
class Limits:
    """What a candidate may use. `jobs` is how many actions and tests run at once; 0 is one a processor."""

    test_seconds: int = 900
    jobs: int = 0
    sandbox: Requested = "namespace"


@dataclass
class Candidate:
    """The job at hand, and what it is done with."""

    job: Job
    server: Server
    state: State
    name: str
    sign: Sign
    limits: Limits
    note: Callable[[str], None]

    def check(self) -> Answer:
        """Do the job; every way it can end is an Answer."""
        try:
            return self._check()
        except MachineryError as error:
            return Answer("retry", error.what, error.where, error.remedy)
        except FairleadError as error:
            return Answer("retry", f"the server refused: {error.what}", error.where, error.remedy)

    def _check(self) -> Answer:
        if free_bytes(self.state.root) < FREE:
            raise MachineryError(
                "the worker's disk is nearly full", where=str(self.state.root), remedy="free some space on it"
            )
        repo = checkout.fetch(self.server, self.state.repository, self.job)
        base = self._base_statement(repo)
        folder = self.state.jobs / "candidate"
        try:
            checkout.write(repo, self.job.commit, folder)
            plan = self._evaluate(folder)
            tree = GitTree(repo, self.job.commit)
            keys = test_keys(plan, tree)
        except (UsageError, WorkFailed) as error:
            return self._broken(error, folder)
        statement = KeyStatement(self.job.commit, repo.commit(self.job.commit).tree, keys, self.name)
        wanted = self.server.keys(self.job, base, statement.signed(self.sign))
        crashpoint.here(AFTER_KEYS)
        unknown = sorted(set(wanted) - set(keys))
        if unknown:
            raise MachineryError(f"the server asks for {unknown[0]}, which the candidate has not")
        self.note(f"D{self.job.diff}: {len(keys)} tests, {len(wanted)} to run")
        if wanted:
            self._run(plan, tree, folder, keys, wanted)
        return Answer("done")

    def _base_statement(self, repo: Repo) -> Signed:
        """The signed keys of the base; none if it cannot be evaluated."""
        folder = self.state.jobs / "base"
        try:
            checkout.write(repo, self.job.base, folder)
            keys = test_keys(self._evaluate(folder), GitTree(repo, self.job.base))
        except (UsageError, WorkFailed) as error:
            self.note(f"D{self.job.diff}: the base has no keys: {error.what}")
            keys = {}
        tree = repo.commit(self.job.base).tree
        return KeyStatement(self.job.base, tree, keys, self.name).signed(self.sign)

    def _evaluate(self, folder: Path) -> Plan:
        return evaluate_apart(folder, EVERYTHING, sandbox=self.limits.sandbox)

    def _run(
        self, plan: Plan, tree: GitTree, folder: Path, keys: Mapping[str, str], wanted: Sequence[str]
    ) -> None:
        """Run `wanted`, and hand in log and verdict of each as it ends."""
        store = Store.open(self.state.store)

        def ended(event: Event) -> None:
            if event.result is not None:
                self._verdict(store, event.result, keys)

        engine = Engine(
            store,
            folder,
            tree,
            bounded(plan, self.limits.test_seconds),
            sandbox=self.limits.sandbox,
            jobs=self.limits.jobs,
            on_event=ended,
        )
        engine.test(wanted, reuse=False)

    def _verdict(self, store: Store, result: TestResult, keys: Mapping[str, str]) -> None:
        """Sign what was seen. The key is the one that was handed in, whatever the engine calls it."""
        log = self.server.log(shortened(store.blobs.get(result.log)))
        verdict = Verdict(
            label=result.label,
            key=keys[result.label],
            outcome=result.outcome,
            worker=self.name,
            enforced=result.enforced,
            log=log,
            seconds=round(result.seconds, 3),
        )
        self.server.verdicts(self.job, [verdict.signed(self.sign)])
        self.note(f"D{self.job.diff}: {result.outcome} {result.label} in {result.seconds:.1f} s")
        crashpoint.here(AFTER_VERDICT)

    def _broken(self, error: FairleadError, folder: Path) -> Answer:
        """The candidate's own fault, told without this machine's paths."""

        def told(text: str) -> str:
            return text.replace(f"{folder}/", "").replace(str(folder), ".")

        what, where, remedy = told(error.what), told(error.where), told(error.remedy)
        text = (
            f"{what}\n"
            + (f"  where: {where}\n" if where else "")
            + (f"  what to do: {remedy}\n" if remedy else "")
        )
        return Answer("broken", what, where, remedy, self.server.log(shortened(text.encode())))


def test_keys(plan: Plan, tree: GitTree) -> dict[str, str]:
    """The key of every test target of `plan`, whose sources are read from `tree`."""
    records = target_records(plan, tree, Platform.here())
    return {label: records[label].key for label, target in plan.targets.items() if target.test is not None}


def bounded(plan: Plan, seconds: int) -> Plan:
    """The plan with no test allowed more than `seconds`: how long a test may take is the worker's to say."""
    targets = {
        label: target
        if target.test is None or target.test.timeout <= seconds
        else dataclasses.replace(target, test=dataclasses.replace(target.test, timeout=seconds))
        for label, target in plan.targets.items()
    }
    return dataclasses.replace(plan, targets=targets)


def shortened(log: bytes, limit: int = LONGEST_LOG) -> bytes:
    """A log as it is kept: whole, or its beginning and its end with the number of bytes left out."""
    if len(log) <= limit:
        return log
    half = limit // 2
    left_out = len(log) - 2 * half
    return log[:half] + f"\n... {left_out} bytes left out ...\n".encode() + log[-half:]
