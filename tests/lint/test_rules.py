"""The built-in rules meet their own cases, and the harness notices when a rule does not."""

from __future__ import annotations

from typing import ClassVar

import libcst as cst
import pytest
from libcst.metadata import CodePosition, CodeRange

from fairlead.lint import Invalid, LintRule, Valid, lint_bytes
from fairlead.lint.harness import case_count, run_cases
from fairlead.lint.selection import BUILT_IN, RuleRef


@pytest.mark.parametrize("ref", BUILT_IN, ids=lambda ref: ref.name)
def test_a_built_in_rule_meets_its_cases(ref: RuleRef) -> None:
    rule = ref.load()
    assert rule.VALID and rule.INVALID and case_count(rule) >= 10
    assert [str(failure) for failure in run_cases(rule)] == []
    assert rule().name == ref.name and rule.__doc__


class NoPass(LintRule):
    """Finds `pass` and offers `...`."""

    MESSAGE = "a pass"

    def visit_Pass(self, node: cst.Pass) -> None:
        self.report(node, replacement=cst.Expr(cst.Ellipsis()))


_RANGE = CodeRange(CodePosition(1, 0), CodePosition(1, 4))


@pytest.mark.parametrize(
    "case",
    [
        "pass",
        Invalid("pass"),
        Invalid("\n    pass", range=_RANGE, expected_message="a pass", expected_replacement="..."),
        Invalid("if x:\n    pass\n", expected_replacement="\n    if x:\n        ...\n"),
    ],
)
def test_the_harness_passes_what_holds(case: str | Invalid) -> None:
    class Rule(NoPass):
        VALID: ClassVar[list[str | Valid]] = ["x"]
        INVALID: ClassVar[list[str | Invalid]] = [case]

    assert run_cases(Rule) == [] and case_count(Rule) == 2


@pytest.mark.parametrize(
    ("valid", "invalid", "reason"),
    [
        ("pass", "pass", "found 'a pass'"),
        ("x", "x", "found nothing"),
        ("x", Invalid("if x: pass", range=_RANGE), "not at"),
        ("x", Invalid("pass; pass", range=_RANGE), "not at"),
        ("x", Invalid("pass", expected_message="another"), "not 'another'"),
        ("x", Invalid("pass", expected_replacement="pass"), "mends it to"),
        ("x = (", "pass", "never closed"),
    ],
)
def test_the_harness_finds_what_does_not_hold(valid: str, invalid: str | Invalid, reason: str) -> None:
    class Rule(NoPass):
        VALID: ClassVar[list[str | Valid]] = [valid]
        INVALID: ClassVar[list[str | Invalid]] = [invalid]

    failures = run_cases(Rule)
    assert len(failures) == 1 and reason in str(failures[0])


def test_a_rule_that_fails_fails_its_cases() -> None:
    class Fails(LintRule):
        VALID: ClassVar[list[str | Valid]] = ["pass"]
        INVALID: ClassVar[list[str | Invalid]] = []

        def visit_Pass(self, node: cst.Pass) -> None:
            raise KeyError("x")

    (failure,) = run_cases(Fails)
    assert failure.case == "VALID[0]" and "KeyError: 'x'" in failure.reason


def test_singletons_are_found_wherever_they_stand_in_a_chain() -> None:
    rule = BUILT_IN[0].load()
    found = lint_bytes("a.py", b"x = [a == None for a in b if not (c < d != True)]\n", [rule])
    assert [(f.line, f.column, f.end_column) for f in found] == [(1, 6, 15), (1, 35, 48)]
