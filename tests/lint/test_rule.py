"""The class that rules extend."""

from __future__ import annotations

from typing import ClassVar

import libcst as cst
import pytest
from libcst.metadata import CodePosition, CodeRange, ParentNodeProvider, QualifiedNameProvider

from fairlead.lint import Invalid, LintRule, Valid, lint_bytes
from fairlead.lint.check import check


class NoCallsRule(LintRule):
    """Finds every call."""

    MESSAGE = "a call"
    VALID: ClassVar[list[str | Valid]] = ["x"]
    INVALID: ClassVar[list[str | Invalid]] = ["x()"]

    def visit_Call(self, node: cst.Call) -> bool:
        self.report(node)
        return False  # does not prune


def lines(code: str, rule: type[LintRule] = NoCallsRule) -> list[int]:
    return [finding.line for finding in lint_bytes("a.py", code.encode(), [rule])]


def test_the_name_leaves_the_suffix_out() -> None:
    assert NoCallsRule().name == "NoCalls"
    assert str(NoCallsRule()) == f"{__name__}:NoCallsRule"


def test_parents_are_always_among_the_dependencies() -> None:
    class Mine(LintRule):
        METADATA_DEPENDENCIES = (QualifiedNameProvider,)

    assert set(Mine.METADATA_DEPENDENCIES) == {QualifiedNameProvider, ParentNodeProvider}
    assert set(LintRule.get_inherited_dependencies()) < set(Mine.get_inherited_dependencies())


def test_a_rule_may_extend_one_that_has_run() -> None:
    lines("f()\n")

    class Extends(NoCallsRule):
        METADATA_DEPENDENCIES = (QualifiedNameProvider,)

        def visit_Call(self, node: cst.Call) -> bool:
            assert self.get_metadata(QualifiedNameProvider, node.func) is not None
            return super().visit_Call(node)

    assert lines("f()\n", Extends) == [1]


def test_a_replacement_in_a_case_makes_a_rule_autofix() -> None:
    class Mends(LintRule):
        INVALID: ClassVar[list[str | Invalid]] = ["x()", Invalid("y()", expected_replacement="y")]

    assert Mends.AUTOFIX and not NoCallsRule.AUTOFIX


def test_children_of_a_reported_node_are_visited_whatever_a_method_returns() -> None:
    found = lint_bytes("a.py", b"f(g())\n", [NoCallsRule])
    assert [(f.column, f.end_column) for f in found] == [(1, 7), (3, 6)]


def test_each_file_gets_a_new_instance() -> None:
    class Once(LintRule):
        MESSAGE = "the first name"

        def __init__(self) -> None:
            super().__init__()
            self.seen = False

        def visit_Name(self, node: cst.Name) -> None:
            if not self.seen:
                self.report(node)
            self.seen = True

    assert lines("a\nb\n", Once) == [1] and lines("a\nb\n", Once) == [1]


def test_positions_may_be_given() -> None:
    class Placed(LintRule):
        def visit_Pass(self, node: cst.Pass) -> None:
            self.report(node, "range", position=CodeRange(CodePosition(1, 2), CodePosition(3, 4)))
            self.report(node, "point", position=CodePosition(5, 6))

    ranges = {v.message: v.range for v in check("a.py", b"pass\n", [Placed]).violations}
    assert ranges["range"] == CodeRange(CodePosition(1, 2), CodePosition(3, 4))
    assert ranges["point"] == CodeRange(CodePosition(5, 6), CodePosition(6, 0))


def test_a_report_without_a_message_is_a_mistake_of_the_rule() -> None:
    class Mute(LintRule):
        def visit_Pass(self, node: cst.Pass) -> None:
            self.report(node)

    with pytest.raises(Exception, match="Mute reports without a message") as caught:
        lines("pass\n", Mute)
    assert isinstance(caught.value.__cause__, ValueError)


def test_an_undeclared_provider_is_refused() -> None:
    class Curious(LintRule):
        def visit_Pass(self, node: cst.Pass) -> None:
            self.get_metadata(QualifiedNameProvider, node)

    with pytest.raises(Exception, match="QualifiedNameProvider is not declared"):
        lines("pass\n", Curious)


def test_a_removal_is_a_fix_and_an_empty_flattening_is_none() -> None:
    class Removes(LintRule):
        def visit_Pass(self, node: cst.Pass) -> None:
            self.report(node, "remove", replacement=cst.RemoveFromParent())
            self.report(node, "flatten", replacement=cst.FlattenSentinel([]))

    found = {f.message: f.fixable for f in lint_bytes("a.py", b"pass\n", [Removes])}
    assert found == {"remove": True, "flatten": False}


@pytest.mark.parametrize(
    "code",
    [
        "f()  # lint-ignore\n",
        "f()  # lint-ignore: NoCalls\n",
        "# lint-ignore\nf()\n",  # the module's header
        "x = 1\n# lint-fixme: NoCalls\nf()\n",
        "x = [\n    f(),  # lint-ignore\n]\n",
        "x = a[  # no\n    # lint-ignore\n    f()\n]\n",
        "if f():  # lint-ignore\n    pass\n",
        "if f(): pass  # lint-ignore\n",
        "# lint-ignore\n@d\n# other\n@f()\ndef g(): pass\n",
        "@d\n# lint-ignore\n@f()\ndef g(): pass\n",
        "@d\n# lint-ignore\ndef g(x=f()): pass\n",
    ],
)
def test_comments_that_silence(code: str) -> None:
    assert lines(code) == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("f()  # lint-ignore: Other\n", [1]),
        ("f()\n# lint-ignore\n", [1]),
        ("x = 1  # lint-ignore\nf()\n", [2]),
        ("# lint-ignore\nx = 1\nf()\n", [3]),
        ("# lint-ignore\nif x:\n    f()\n", [3]),  # the comment belongs to the if
        ("if x:  # lint-ignore\n    f()\n", [2]),
        ("x = [\n    f(),\n    1,  # lint-ignore\n    2,\n]\n", [2]),
    ],
)
def test_comments_that_do_not(code: str, found: list[int]) -> None:
    assert lines(code) == found


def test_comments_of_a_node_come_nearest_first() -> None:
    seen: list[str] = []

    class Reads(LintRule):
        def visit_Integer(self, node: cst.Integer) -> None:
            seen.extend(self.node_comments(node))

    lint_bytes("a.py", b"# one\n\n# two\nx = [\n    1,  # three\n]  # four\n", [Reads])
    assert seen == ["# three", "# four", "# one", "# two"]
