"""The pure parts of checking a candidate."""

from __future__ import annotations

from pathlib import Path

from fairlead.build.plan import Plan, Target, TestSpec
from fairlead.git import Repo
from fairlead.worker import candidate
from fairlead.worker.job import Job
from fairlead.worker.server import Server
from fairlead.worker.state import State
from tests.build.project import commit, write


def target(label: str, timeout: int | None) -> Target:
    test = None if timeout is None else TestSpec(("true",), {}, (), (), (), timeout)
    return Target(label=label, rule="sh_test", rule_bzl=(), attrs={}, test=test)


def test_a_test_may_not_choose_to_run_for_ever() -> None:
    asked = {"//:a": 10, "//:b": 10**6, "//:c": None}
    plan = Plan({label: target(label, seconds) for label, seconds in asked.items()}, (), {})
    bounded = candidate.bounded(plan, 60)
    assert [t.test and t.test.timeout for t in bounded.targets.values()] == [10, 60, None]
    assert plan.targets["//:b"].test is not None and plan.targets["//:b"].test.timeout == 10**6


def test_a_commit_with_inferred_targets_is_not_one_without_tests(tmp_path: Path) -> None:
    """No build file is in it: to take it for a commit without targets would land it untested."""
    state = State(tmp_path / "state")
    state.prepare()
    root = write(
        tmp_path / "clone",
        {
            "fairlead.toml": "[build]\ninfer = true\n",
            "requirements.tests.lock": f"pytest==9.0 --hash=sha256:{'0' * 64}\n",
            "thing.py": "",
            "test_thing.py": "import thing\n",
        },
    )
    oid = commit(root)
    checker = candidate.Candidate(
        job=Job("1", "main", oid, oid, 1, 60.0, "namespace"),
        server=Server("http://127.0.0.1:1", "token"),
        state=state,
        name="worker",
        sign=lambda namespace, payload: "",
        limits=candidate.Limits(),
        note=lambda text: None,
    )
    plan, tree = checker._evaluate(Repo(root), oid, state.jobs / "candidate")
    assert [label for label, found in plan.targets.items() if found.test is not None] == ["//:test_thing"]
    assert candidate.test_keys(plan, tree).keys() == {"//:test_thing"}
