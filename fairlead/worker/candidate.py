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
from functools import cached_property
from pathlib import Path

from fairlead.build import infer
from fairlead.build.buckconfig import BuckConfig
from fairlead.build.engine import Engine
from fairlead.build.evaluator import evaluate_apart
from fairlead.build.event import Event
from fairlead.build.key import Platform, target_records
from fairlead.build.plan import Plan
from fairlead.build.sandbox import Requested
from fairlead.build.testing import TestResult
from fairlead.build.tree import GitTree
from fairlead.errors import FairleadError, MachineryError, UsageError
from fairlead.git import Repo
from fairlead.ship.values import KeyStatement, Sign, Signed, Verdict
from fairlead.store import Store, crashpoint
from fairlead.worker import checkout
from fairlead.worker.job import Job
from fairlead.worker.server import Refused, Server
from fairlead.worker.state import State, free_bytes
from fairlead.worker.supervisor import Answer

AFTER_KEYS = crashpoint.declare("worker.after-keys", "the server has the signed keys and no verdict")
AFTER_VERDICT = crashpoint.declare("worker.after-verdict", "the server has this verdict and waits for more")
EVERYTHING = ("//...",)
FREE = 64 << 20  # bytes of disk below which no job is begun


@dataclass(frozen=True)
class Limits:
    """What a candidate may use. `jobs` is how many actions and tests run at once; 0 is one a processor.

    `download_hosts` are the hosts that files are fetched from: a change may name any address, so none is
    asked that the worker's operator has not allowed.
    """

    test_seconds: int = 900
    jobs: int = 0
    download_hosts: tuple[str, ...] = ()
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
        except (MachineryError, Refused) as error:
            return Answer("retry", error.what, error.where, error.remedy)
        except FairleadError as error:
            return self._broken(error)

    def _check(self) -> Answer:
        if free_bytes(self.state.root) < FREE:
            raise MachineryError(
                "the worker's disk is nearly full", where=str(self.state.root), remedy="free some space on it"
            )
        repo = checkout.fetch(self.server, self.state.repository, self.job)
        base = self._base_keys(repo)
        plan, tree = self._evaluate(repo, self.job.commit, self._folder)
        keys = test_keys(plan, tree)
        wanted = self.server.keys(
            self.job, self._signed(repo, self.job.base, base), self._signed(repo, self.job.commit, keys)
        )
        crashpoint.here(AFTER_KEYS)
        unknown = sorted(set(wanted) - set(keys))
        if unknown:
            raise MachineryError(f"the server asks for {unknown[0]}, which the candidate has not")
        self.note(f"D{self.job.diff}: {len(keys)} tests, {len(wanted)} to run")
        if wanted:
            self._run(plan, tree, keys, wanted)
        return Answer("done")

    @property
    def _folder(self) -> Path:
        """The candidate's work tree."""
        return self.state.jobs / "candidate"

    @cached_property
    def _store(self) -> Store:
        return Store.open(self.state.store)

    def _base_keys(self, repo: Repo) -> dict[str, str]:
        """The keys of the base's tests; none if it cannot be evaluated."""
        try:
            return test_keys(*self._evaluate(repo, self.job.base, self.state.jobs / "base"))
        except MachineryError:
            raise
        except FairleadError as error:
            self.note(f"D{self.job.diff}: the base has no keys: {error.what}")
            return {}

    def _evaluate(self, repo: Repo, commit: str, folder: Path) -> tuple[Plan, GitTree]:
        """The plan of a commit, and its tree. A commit without any build file has a plan without targets."""
        tree = GitTree(repo, commit, self._store.results)
        names = BuckConfig.load(tree).build_files
        written = any(e.path.rpartition("/")[2] in names for e in repo.entries(commit, recursive=True))
        if not written and not infer.wanted(tree):
            return Plan({}, (), {}), tree
        checkout.write(repo, commit, folder)
        return evaluate_apart(folder, EVERYTHING, sandbox=self.limits.sandbox), tree

    def _signed(self, repo: Repo, commit: str, keys: Mapping[str, str]) -> Signed:
        return KeyStatement(commit, repo.commit(commit).tree, keys, self.name).signed(self.sign)

    def _run(self, plan: Plan, tree: GitTree, keys: Mapping[str, str], wanted: Sequence[str]) -> None:
        """Run `wanted`, and hand in log and verdict of each as it ends."""

        def ended(event: Event) -> None:
            if event.result is not None:
                self._verdict(event.result, keys)

        engine = Engine(
            self._store,
            self._folder,
            tree,
            bounded(plan, self.limits.test_seconds),
            sandbox=self.limits.sandbox,
            jobs=self.limits.jobs,
            on_event=ended,
            download_hosts=self.limits.download_hosts,
        )
        engine.test(wanted, reuse=False)

    def _verdict(self, result: TestResult, keys: Mapping[str, str]) -> None:
        """Sign what was seen. The key is the one that was handed in, whatever the engine calls it."""
        log = self.server.log(self._store.blobs.get(result.log))
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

    def _broken(self, error: FairleadError) -> Answer:
        """The candidate's own fault, told without this machine's paths."""

        def told(text: str) -> str:
            return text.replace(f"{self._folder}/", "").replace(str(self._folder), "the repository")

        said = UsageError(told(error.what), where=told(error.where), remedy=told(error.remedy))
        try:
            log = self.server.log(f"{said}\n".encode())
        except (MachineryError, Refused) as failed:
            return Answer("retry", failed.what, failed.where, failed.remedy)
        return Answer("broken", said.what, said.where, said.remedy, log)


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
