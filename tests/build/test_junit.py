"""JUnit XML of results: well formed whatever a test wrote, and no result lost."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.build.junit import Suite, document
from fairlead.build.testing import Outcome, Tally, TestResult, tally

CASES = (
    b'<testsuites><testsuite name="pytest" tests="3">'
    b'<testcase classname="a.test_x" name="test_one" time="0.1"/>'
    b'<testcase classname="a.test_x" name="test_two"><failure message="no">trace</failure></testcase>'
    b'<testcase classname="a.test_x" name="test_three"><skipped message="later"/></testcase>'
    b"</testsuite></testsuites>"
)


def result(outcome: Outcome = "pass", label: str = "//a:b", detail: str = "") -> TestResult:
    return TestResult(label, "0" * 64, outcome, False, 1.5, "", "none", detail)


def read(*suites: Suite) -> ElementTree.Element:
    return ElementTree.fromstring(document(suites))


def test_the_cases_of_a_report_are_kept_and_counted() -> None:
    root = read(Suite(result("fail"), CASES, b"log"), Suite(result(label="//a:c"), b"", b""))
    assert {name: root.get(name) for name in ("tests", "failures", "errors", "skipped", "time")} == {
        "tests": "4", "failures": "1", "errors": "0", "skipped": "1", "time": "3.000",
    }  # fmt: skip
    first, second = root
    assert (first.get("name"), first.get("tests"), second.get("name")) == ("//a:b", "3", "//a:c")
    assert [case.get("name") for case in root.iter("testcase")] == [
        "test_one", "test_two", "test_three", "c",
    ]  # fmt: skip
    failure = first.find("testcase/failure")
    assert failure is not None and (failure.get("message"), failure.text) == ("no", "trace")


@pytest.mark.parametrize(
    ("outcome", "tag"), [("fail", "failure"), ("timeout", "failure"), ("error", "error")]
)
def test_an_end_that_no_case_explains_has_a_case_of_its_own(outcome: Outcome, tag: str) -> None:
    good = b'<testsuite><testcase name="fine"/></testsuite>'
    for report, cases in ((good, 2), (b"", 1), (b"<testsuite><testca", 1), (b"<!DOCTYPE x><testsuite/>", 1)):
        root = read(Suite(result(outcome, detail="it ended"), report, b"last words\xff\x00"))
        assert len(list(root.iter("testcase"))) == cases
        (problem,) = root.iter(tag)
        assert (problem.get("message"), problem.text) == ("it ended", "last words\ufffd\ufffd")


@given(
    st.text(), st.binary(max_size=60), st.binary(max_size=60), st.sampled_from(["pass", "fail", "timeout"])
)
def test_it_is_well_formed_whatever_is_in_it(label: str, report: bytes, log: bytes, outcome: Outcome) -> None:
    root = read(Suite(result(outcome, label, label), report, log))
    assert root.get("tests") == "1" and len(list(root.iter("testcase"))) == 1


def test_flaky_is_what_both_passes_and_does_not() -> None:
    def ended(label: str, *outcomes: Outcome) -> list[TestResult]:
        return [result(outcome, label) for outcome in outcomes]

    results = [
        *ended("//:z", "pass", "fail", "pass"),
        *ended("//:a", "pass", "pass"),
        *ended("//:b", "fail", "timeout"),
        *ended("//:c", "pass", "timeout"),
        *ended("//:d", "error"),
    ]
    counted = tally(results)
    assert counted[0] == Tally("//:a", {"pass": 2}) and counted[-1] == Tally("//:z", {"pass": 2, "fail": 1})
    assert [counts.label for counts in counted if counts.flaky] == ["//:c", "//:z"]
