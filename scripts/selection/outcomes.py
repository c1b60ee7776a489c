"""Outcomes of tests by node, read from JUnit reports, and the comparison of two tellings.

A node is named as such a report names it: the dotted path of file and class, then "::" and the name with its
parameters. A file that could not be collected is a node of its own, "::" and the file's dotted path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as etree

Outcomes = Mapping[str, str]
BAD = ("failed", "error")


@dataclass(frozen=True)
class Suite:
    """A target of Fairlead: whether its outcomes are those of an earlier run, and whether it passed."""

    label: str
    reused: bool
    passed: bool
    outcomes: Outcomes

    def holds(self, node: str) -> bool:
        """Whether a node belongs to this target, by its name."""
        dotted = self.label.rpartition(":")[2].replace("/", ".")
        name = node if node.startswith("::") else node.partition("::")[0]
        return f"{name.removeprefix('::')}.".startswith(f"{dotted}.")


def of_case(case: etree.Element) -> str:
    """passed, failed, error, skipped or xfailed. A test that passes and whose teardown does not is an
    error."""
    if case.find("error") is not None:
        return "error"
    if case.find("failure") is not None:
        return "failed"
    skipped = case.find("skipped")
    if skipped is not None:
        return "xfailed" if skipped.get("type") == "pytest.xfail" else "skipped"
    return "passed"


def of_cases(cases: Iterable[etree.Element]) -> dict[str, str]:
    """The outcomes of test cases; of two for one node the worse counts."""
    found: dict[str, str] = {}
    for case in cases:
        node, outcome = f"{case.get('classname', '')}::{case.get('name', '')}", of_case(case)
        if found.get(node) not in BAD:
            found[node] = outcome
    return found


def of_report(path: Path) -> dict[str, str] | None:
    """The outcomes in a report, None if there is none."""
    try:
        return of_cases(etree.parse(path).iter("testcase"))
    except (OSError, etree.ParseError):
        return None


def bad(outcomes: Outcomes) -> set[str]:
    """The nodes that failed."""
    return {node for node, outcome in outcomes.items() if outcome in BAD}


def of_suites(path: Path) -> list[Suite]:
    """The targets in what `fairlead test --junit` wrote."""
    suites = []
    for suite in etree.parse(path).iter("testsuite"):
        label = suite.get("name", "")
        said = {p.get("name"): p.get("value") for p in suite.iter("property")}
        cases = [c for c in suite.iter("testcase") if not c.get("classname", "").startswith("//")]
        own = [c for c in suite.iter("testcase") if c.get("classname", "").startswith("//")]
        outcomes = of_cases(cases)
        bad = any(of_case(case) in BAD for case in own) or any(o in BAD for o in outcomes.values())
        suites.append(Suite(label, said.get("fairlead.reused") == "true", not bad, outcomes))
    return suites


@dataclass(frozen=True)
class Difference:
    """A node of which Fairlead said something else than the oracle; "absent" if one does not know it."""

    node: str
    label: str
    reused: bool
    said: str
    oracle: str

    @property
    def missed(self) -> bool:
        """Whether a failure was not told."""
        return self.oracle in BAD and self.said not in BAD


def compare(suites: Iterable[Suite], oracle: Outcomes, leave_out: Iterable[str] = ()) -> list[Difference]:
    """Where Fairlead and the oracle differ, but for the nodes to leave out.

    A target that fell over before any test of it ran agrees with every failure of its nodes, and differs
    from what else the oracle says of them.
    """
    suites = list(suites)
    left = set(leave_out)
    found: list[Difference] = []
    known: dict[str, Suite] = {node: suite for suite in suites for node in suite.outcomes}
    for node in sorted((known.keys() | oracle.keys()) - left):
        suite = known.get(node) or next((s for s in suites if s.holds(node)), None)
        said = "absent" if suite is None else suite.outcomes.get(node, "absent")
        if suite is not None and said == "absent" and not suite.outcomes and not suite.passed:
            said = "error"
        true = oracle.get(node, "absent")
        if said == true or (said in BAD and true in BAD):
            continue
        if true == "absent" and suite is not None and _uncollected(suite, oracle):
            true = "error"
            if said in BAD:
                continue
        if said == "absent" and true in BAD and suite is not None and not suite.passed and not suite.reused:
            continue
        found.append(Difference(node, suite.label if suite else "", bool(suite and suite.reused), said, true))
    return found


def _uncollected(suite: Suite, oracle: Outcomes) -> bool:
    """Whether the oracle could not collect the target's file."""
    return any(node.startswith("::") and suite.holds(node) for node in oracle)
