"""The harness: runs a rule's VALID and INVALID cases, as `fixit test` does.

A function that returns failures, so that a test of any framework can assert there are none.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from fairlead.errors import FairleadError
from fairlead.lint.case import Invalid, Valid
from fairlead.lint.check import Checked, check
from fairlead.lint.fix import apply_once
from fairlead.lint.rule import LintRule


@dataclass(frozen=True)
class CaseFailure:
    """A case that a rule does not meet: which one, its code, and what happened."""

    rule: str
    case: str
    code: str
    reason: str

    def __str__(self) -> str:
        return f"{self.rule} {self.case}: {self.reason}\n{textwrap.indent(self.code, '    ')}"


def run_cases(rule: type[LintRule]) -> list[CaseFailure]:
    """Run every case of `rule`; the failures, none if all is well.

    A rule without VALID and INVALID has no cases and so no failures: count them with `case_count`.
    """
    failures = []
    for name, case in _cases(rule):
        code = dedent(case.code)
        path = "valid.py" if isinstance(case, Valid) else "invalid.py"
        try:
            reason = _judge(case, check(path, code.encode(), [rule]))
        except FairleadError as error:
            reason = str(error)
        if reason:
            failures.append(CaseFailure(rule.__name__, name, code, reason))
    return failures


def case_count(rule: type[LintRule]) -> int:
    """How many cases a rule has."""
    return sum(1 for _ in _cases(rule))


def dedent(code: str) -> str:
    """A case's code without its first line end and its common indentation."""
    return textwrap.dedent(code.removeprefix("\n"))


def _cases(rule: type[LintRule]) -> Iterator[tuple[str, Valid | Invalid]]:
    for number, good in enumerate(getattr(rule, "VALID", [])):
        yield f"VALID[{number}]", Valid(good) if isinstance(good, str) else good
    for number, bad in enumerate(getattr(rule, "INVALID", [])):
        yield f"INVALID[{number}]", Invalid(bad) if isinstance(bad, str) else bad


def _judge(case: Valid | Invalid, checked: Checked) -> str:
    """What is wrong, or ""."""
    reports = checked.violations
    if isinstance(case, Valid):
        return "".join(f"found {report.message!r} at {report.range.start}" for report in reports)
    if not reports:
        return "found nothing"
    for report in reports:
        if case.range is not None and report.range != case.range:
            return f"found at {report.range}, not at {case.range}"
        if case.expected_message is not None and report.message != case.expected_message:
            return f"says {report.message!r}, not {case.expected_message!r}"
    if case.expected_replacement:
        wanted = dedent(case.expected_replacement)
        mended = apply_once(checked.module, reports)[0].code
        if mended != wanted:
            return f"mends it to\n{mended}\nnot to\n{wanted}"
    return ""
