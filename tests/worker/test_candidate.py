"""The pure parts of checking a candidate."""

from __future__ import annotations

from fairlead.build.plan import Plan, Target, TestSpec
from fairlead.worker import candidate


def target(label: str, timeout: int | None) -> Target:
    test = None if timeout is None else TestSpec(("true",), {}, (), (), (), timeout)
    return Target(label=label, rule="sh_test", rule_bzl=(), attrs={}, test=test)


def test_a_test_may_not_choose_to_run_for_ever() -> None:
    asked = {"//:a": 10, "//:b": 10**6, "//:c": None}
    plan = Plan({label: target(label, seconds) for label, seconds in asked.items()}, (), {})
    bounded = candidate.bounded(plan, 60)
    assert [t.test and t.test.timeout for t in bounded.targets.values()] == [10, 60, None]
    assert plan.targets["//:b"].test is not None and plan.targets["//:b"].test.timeout == 10**6
