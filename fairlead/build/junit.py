"""The results of tests as one JUnit XML document, the form that CI systems read.

Each target is a suite. Where the test wrote a report of its own (pytest does), its cases stand in the suite
as they are; a target without one, or one whose end its cases do not explain (it was stopped, or fell over
after the last of them), has a case of its own with the end of its log.

A report is written by the code under test: it is parsed without entities, and one that is not well formed
counts as none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fairlead.build.testing import TestResult

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LOG = 64 * 1024


@dataclass(frozen=True)
class Suite:
    """A result with the bytes of its own report (b"" if it has none) and of its log."""

    result: TestResult
    report: bytes
    log: bytes


def document(suites: Iterable[Suite]) -> bytes:
    """The document, UTF-8."""
    from xml.etree import ElementTree as etree

    root = etree.Element("testsuites", name="fairlead")
    for suite in suites:
        root.append(_suite(suite))
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(child.get(name, "0")) for child in root)))
    root.set("time", f"{sum(float(child.get('time', '0')) for child in root):.3f}")
    etree.indent(root)
    text = etree.tostring(root, encoding="unicode")
    return f"<?xml version='1.0' encoding='utf-8'?>\n{text}\n".encode()


def joined(reports: Iterable[bytes]) -> bytes:
    """One report with the cases of several, of one test that ran in parts."""
    from xml.etree import ElementTree as etree

    root = etree.Element("testsuite")
    for report in reports:
        root.extend(_cases(report))
    return etree.tostring(root, encoding="unicode").encode("utf-8", "replace")


def _suite(suite: Suite) -> Element:
    from xml.etree import ElementTree as etree

    result = suite.result
    made = etree.Element("testsuite", name=_clean(result.label))
    cases = _cases(suite.report)
    bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    if not cases or (result.outcome != "pass" and not bad):
        cases.append(_own_case(suite))
    counts = {
        "tests": len(cases),
        "failures": sum(case.find("failure") is not None for case in cases),
        "errors": sum(case.find("error") is not None for case in cases),
        "skipped": sum(case.find("skipped") is not None for case in cases),
    }
    for name, count in counts.items():
        made.set(name, str(count))
    made.set("time", f"{result.seconds:.3f}")
    properties = etree.SubElement(made, "properties")
    for name, value in (("key", result.key), ("reused", str(result.reused).lower())):
        etree.SubElement(properties, "property", name=f"fairlead.{name}", value=value)
    made.extend(cases)
    return made


def _own_case(suite: Suite) -> Element:
    from xml.etree import ElementTree as etree

    result = suite.result
    package, _, name = result.label.partition(":")
    case = etree.Element(
        "testcase", classname=_clean(package), name=_clean(name), time=f"{result.seconds:.3f}"
    )
    if result.outcome != "pass":
        tag = "error" if result.outcome == "error" else "failure"
        problem = etree.SubElement(case, tag, message=_clean(result.detail or result.outcome))
        problem.text = _clean(suite.log[-_LOG:].decode("utf-8", "replace"))
    return case


def _cases(report: bytes) -> list[Element]:
    """The test cases of a report, texts cleaned of what XML cannot hold."""
    from xml.etree import ElementTree as etree

    if not report or b"<!DOCTYPE" in report or b"<!ENTITY" in report:
        return []
    try:
        return list(etree.fromstring(report).iter("testcase"))
    except (etree.ParseError, ValueError, LookupError):
        return []


def _clean(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
