"""One file's bytes to findings: order, places of what is not Python, rules that fail."""

from __future__ import annotations

import ast
import subprocess
import sys

import libcst as cst
import pytest
from libcst.metadata import FullyQualifiedNameProvider

from fairlead.lint import LintRule, lint_bytes
from fairlead.lint.badsource import BadSource
from fairlead.lint.check import RuleFailed
from fairlead.lint.finding import Finding
from fairlead.lint.rules.compare_singleton_primitives_by_is import CompareSingletonPrimitivesByIs
from fairlead.lint.source import too_deep


class Leaves(LintRule):
    """Reports on the way out, so inner and later nodes first."""

    MESSAGE = "a call"

    def leave_Module(self, original_node: cst.Module) -> None:
        for call in reversed(self.calls):
            self.report(call)

    def visit_Call(self, node: cst.Call) -> None:
        self.calls.append(node)

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[cst.Call] = []


class Raises(LintRule):
    """Fails on `pass`."""

    def visit_Pass(self, node: cst.Pass) -> None:
        raise KeyError("oh")


def test_findings_come_in_order_of_line_and_column_whatever_the_rules_do() -> None:
    code = b"f(x == None)\ng(h())\n"
    one = lint_bytes("a.py", code, [Leaves, CompareSingletonPrimitivesByIs])
    other = lint_bytes("a.py", code, [CompareSingletonPrimitivesByIs, Leaves])
    assert one == other == sorted(one)
    assert [(f.line, f.column, f.rule) for f in one] == [
        (1, 1, "Leaves"),
        (1, 3, "CompareSingletonPrimitivesByIs"),
        (2, 1, "Leaves"),
        (2, 3, "Leaves"),
    ]


def test_a_finding_is_a_plain_value() -> None:
    (found,) = lint_bytes("d/a.py", "é = x == None\n".encode(), [CompareSingletonPrimitivesByIs])
    assert found == Finding(
        "d/a.py", 1, 5, 1, 14, "CompareSingletonPrimitivesByIs",
        "compare to None, True and False with `is` or `is not`", True,
    )  # fmt: skip


def test_without_rules_a_file_is_still_read() -> None:
    assert lint_bytes("a.py", b"x = 1\n", []) == []
    with pytest.raises(BadSource):
        lint_bytes("a.py", b"x = (\n", [])


@pytest.mark.parametrize(
    ("data", "place", "reason"),
    [
        (b"x = 1\ny = (\n", "2:5", "'(' was never closed"),
        (b"def f(:\n    pass\n", "1:7", "invalid syntax"),
        (b"if x:\n\ty\n        z\n", "3:1", "inconsistent use of tabs and spaces"),
        (b"x = '\xe9'\n", "1:", "utf-8"),
        (b"# coding: nope\nx = 1\n", "1:1", "unknown encoding"),
        (b"# coding: rot13\nx = 1\n", "1:1", "encoding"),
        (b"x = 1\n# caf\xe9\n", "2:6", "no encoding is declared"),
        (b"x = 1\n\xc3\xa9 = \x00\n", "2:5", "null"),
        (b"\xff\xfex\x00", "1:", "null"),
        (b"try: pass\n", "1:10", "expected 'except' or 'finally' block"),
    ],
)
def test_what_is_not_python_is_named_with_its_place(data: bytes, place: str, reason: str) -> None:
    with pytest.raises(BadSource) as caught:
        lint_bytes("a.py", data, [CompareSingletonPrimitivesByIs])
    assert caught.value.where.startswith(f"a.py:{place}"), caught.value.where
    assert reason in caught.value.what and caught.value.exit == 2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\xef\xbb\xbfx = 1\n",
        "# coding: latin-1\nx = 'é'\n".encode("latin-1"),
        b"x = '\\d'\n",  # a warning of CPython is not ours to give
        b"x = 1\r\ny = 2\r\n",
        b"match x:\n    case 1: pass\n",
        b"type X = int\n",  # newer than 3.11, and LibCST reads it
        b"x = f'{a['b']}'\n" if sys.version_info >= (3, 12) else b"",
    ],
)
def test_what_is_python_is_read(data: bytes, recwarn: pytest.WarningsRecorder) -> None:
    assert lint_bytes("a.py", data, [CompareSingletonPrimitivesByIs]) == []
    assert not recwarn.list


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ("b'(' * 5000 + b'x' + b')' * 5000", "nested too deeply"),
        ("b'[' * 300", "nested too deeply"),
        ("b'x' + b' + x' * 20000", "nested too deeply"),
        ("b'not ' * 20000 + b'x'", "nested too deeply"),
        ("b'x' + b' + x' * 1500 + b' == None'", "1 finding"),
        ("b'if x: pass\\n' + b'elif y == None: pass\\n' * 800", "800 finding"),
    ],
)
def test_nesting_ends_in_words_and_not_in_a_crash(data: str, found: str) -> None:
    """In a process of its own: LibCST alone dies of the first with a segmentation fault."""
    program = (
        "from fairlead.lint import lint_bytes\n"
        "from fairlead.errors import FairleadError\n"
        "from fairlead.lint.rules.compare_singleton_primitives_by_is import CompareSingletonPrimitivesByIs\n"
        f"try: print(len(lint_bytes('a.py', {data}, [CompareSingletonPrimitivesByIs])), 'finding')\n"
        "except FairleadError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, found in done.stdout) == (0, True), done


@pytest.mark.parametrize(("levels", "deep"), [(10, False), (2000, False), (4000, True)])
def test_the_levels_of_a_tree_are_counted(levels: int, deep: bool) -> None:
    tree: ast.expr = ast.Name("x")
    for _ in range(levels):
        tree = ast.UnaryOp(ast.Not(), tree)
    assert too_deep(ast.Expression(tree)) is deep


def test_the_recursion_limit_is_put_back() -> None:
    before = sys.getrecursionlimit()
    with pytest.raises(BadSource):
        lint_bytes("a.py", b"(", [])
    lint_bytes("a.py", b"x", [Leaves])
    assert sys.getrecursionlimit() == before


def test_the_rule_that_fails_is_named() -> None:
    with pytest.raises(RuleFailed) as caught:
        lint_bytes("d/a.py", b"pass\n", [Leaves, Raises, CompareSingletonPrimitivesByIs])
    assert caught.value.rule is Raises and caught.value.where == "d/a.py" and caught.value.exit == 3
    assert caught.value.what == "the rule Raises failed: KeyError: 'oh'"


def test_a_rule_that_needs_the_whole_repository_is_refused() -> None:
    class Wide(LintRule):
        METADATA_DEPENDENCIES = (FullyQualifiedNameProvider,)

    with pytest.raises(RuleFailed, match="FullyQualifiedNameProvider, which looks at more than one file"):
        lint_bytes("a.py", b"pass\n", [Leaves, Wide])
