"""Rules written for Fixit run on our class and our engine, and ours on Fixit's, with equal answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fixit
import libcst as cst
import pytest
from fixit.rules.compare_singleton_primitives_by_is import CompareSingletonPrimitivesByIs as Theirs
from hypothesis import given, settings
from hypothesis import strategies as st

import fairlead
from fairlead.lint import LintRule
from fairlead.lint.harness import case_count, dedent, run_cases
from fairlead.lint.rules.compare_singleton_primitives_by_is import CompareSingletonPrimitivesByIs as Ours
from tests.lint.peer import by_fixit, by_us, rule_pairs

PAIRS = list(rule_pairs())
# These ask for a provider that looks at more than one file, which lint refuses for now.
WHOLE_REPOSITORY = {"FixitRemoveRuleSuffix", "FixitDeprecatedImport", "FixitDeprecatedTestCaseKeywords"}


def codes(rule: type[LintRule]) -> Iterator[str]:
    for case in [*rule.VALID, *rule.INVALID]:
        yield dedent(case if isinstance(case, str) else case.code)


def needs_more_than_a_file(rule: type[LintRule]) -> bool:
    return any(provider.gen_cache is not None for provider in rule.get_inherited_dependencies())


def test_the_oracle_is_what_we_think_it_is() -> None:
    assert len(PAIRS) == 31 and sum(case_count(ours) for ours, _ in PAIRS) == 379
    assert all(not issubclass(ours, fixit.LintRule) for ours, _ in PAIRS)
    assert {ours.__name__ for ours, _ in PAIRS if needs_more_than_a_file(ours)} <= WHOLE_REPOSITORY


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=[ours.__name__ for ours, _ in PAIRS])
def test_a_rule_of_fixit_passes_its_cases_and_reports_the_same(ours: type[LintRule], theirs: Any) -> None:
    assert (ours.AUTOFIX, ours().name) == (theirs.AUTOFIX, theirs().name)
    failures = run_cases(ours)
    if needs_more_than_a_file(ours):
        assert len(failures) == case_count(ours)
        assert all("looks at more than one file" in failure.reason for failure in failures)
        return
    assert failures == []
    for code in codes(ours):
        assert by_us(ours, code) == by_fixit(theirs, code), code


def test_our_rule_runs_on_fixits_engine() -> None:
    for code in codes(Ours):
        assert by_fixit(Ours, code) == by_us(Ours, code), code
    assert [row[1] for row in by_fixit(Ours, "a\nb = x == None\n")] == [(2, 4, 2, 13)]


def test_our_rule_and_fixits_of_that_name_agree_on_fixits_cases() -> None:
    on_ours = next(ours for ours, theirs in PAIRS if theirs is Theirs)
    for code in codes(on_ours):  # messages are each rule's own
        ours = [(place, fixable) for _, place, _, fixable in by_us(Ours, code)]
        assert ours == [(place, fixable) for _, place, _, fixable in by_fixit(Theirs, code)], code


def test_whole_files_get_equal_reports() -> None:
    folder = Path(fairlead.__file__).parent / "lint"
    some = [
        pair
        for pair in PAIRS
        if pair[0].__name__ in {"UseFstring", "NoStaticIfCondition", "UseTypesFromTyping"}
    ]
    assert len(some) == 3
    for name in ("rule.py", "closure.py"):
        code = (folder / name).read_text() + "\nif True:\n    y = 'a %s' % x\n"
        assert sum(len(by_us(ours, code)) for ours, _ in some) >= 2
        for ours, theirs in some:
            assert by_us(ours, code) == by_fixit(theirs, code)


def _reports_names(base: Any) -> Any:
    """One rule, on the class of either side."""

    class Names(base):  # type: ignore[misc]
        MESSAGE = "a name"

        def visit_Name(self, node: cst.Name) -> None:
            self.report(node)

    return Names


PROGRAM = """\
import a
x = [
    b,
    c(
        d,
        e[
            f
        ],
    ),
]
@g
@h(
    i
)
def j(k=l, *m):
    if n: o
    elif p:
        q = {
            r: s
            for t in u
        }
    else:
        return (
            v
            + w
        )
class y(z):
    try:
        lambda aa: bb
    except cc:
        with dd as ee: pass
""".splitlines()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(PROGRAM) - 1),
            st.booleans(),
            st.sampled_from(["# lint-ignore", "# lint-fixme: Names", "# lint-ignore: Other", "# no"]),
        ),
        max_size=4,
    )
)
def test_comments_anywhere_silence_what_they_silence_in_fixit(places: list[tuple[int, bool, str]]) -> None:
    lines = list(PROGRAM)
    for at, above, comment in sorted(places, reverse=True):
        if above:
            indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
            lines.insert(at, indent + comment)
        elif "#" not in lines[at]:
            lines[at] += "  " + comment
    code = "\n".join(lines) + "\n"
    assert by_us(_reports_names(LintRule), code) == by_fixit(_reports_names(fixit.LintRule), code)
