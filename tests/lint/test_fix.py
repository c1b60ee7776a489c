"""Fixes: to a fixpoint, byte for byte, whole or not at all."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import libcst as cst
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.errors import FairleadError
from fairlead.lint import LintRule, lint_bytes
from fairlead.lint.badsource import BadSource
from fairlead.lint.engine import SourceFile
from fairlead.lint.fix import MOST_PASSES, Mended, fix_bytes, mend_file, patch
from fairlead.lint.rules.compare_singleton_primitives_by_is import CompareSingletonPrimitivesByIs as ByIs


def renames(old: str, new: str) -> type[LintRule]:
    class Renames(LintRule):
        MESSAGE = f"{old} is {new} now"

        def __init__(self) -> None:
            super().__init__()
            self.name = f"{old}To{new}"

        def visit_Name(self, node: cst.Name) -> None:
            if node.value == old:
                self.report(node, replacement=node.with_changes(value=new))

    return Renames


class Grows(LintRule):
    """Never content."""

    MESSAGE = "too small"

    def visit_Integer(self, node: cst.Integer) -> None:
        self.report(node, replacement=cst.Integer(node.value + "0"))


class Breaks(LintRule):
    """Its fix is not Python."""

    MESSAGE = "a pass"

    def visit_Pass(self, node: cst.Pass) -> None:
        self.report(node, replacement=cst.Expr(cst.Name("not")))


class Misfits(LintRule):
    """Its fix is not possible in the tree."""

    MESSAGE = "a condition"

    def visit_If(self, node: cst.If) -> None:
        self.report(node.test, replacement=cst.RemoveFromParent())


class NoFix(LintRule):
    """Only complains."""

    MESSAGE = "a del"

    def visit_Del(self, node: cst.Del) -> None:
        self.report(node)


def fix(code: str, *rules: type[LintRule]) -> Mended:
    return fix_bytes("a.py", code.encode(), rules)


def test_nested_fixes_take_a_second_pass() -> None:
    mended = fix("x = (a == None) != True\n", ByIs)
    assert mended.after == b"x = (a is None) is not True\n"
    assert (mended.fixes, mended.passes, mended.left, mended.conflicts) == (2, 2, (), ())


def test_a_fix_that_makes_another_possible_is_followed() -> None:
    mended = fix("a, b\n", renames("a", "b"), renames("b", "c"), renames("c", "d"))
    assert (mended.after, mended.fixes, mended.passes) == (b"d, d\n", 5, 3)


def test_what_cannot_be_mended_is_left_and_said() -> None:
    mended = fix("del x\ny == None\n", ByIs, NoFix)
    assert mended.after == b"del x\ny is None\n"
    assert [(f.rule, f.line) for f in mended.left] == [("NoFix", 1)]


def test_rules_that_undo_each_other_are_withheld_and_the_others_are_not() -> None:
    mended = fix("a == None\n", renames("a", "b"), renames("b", "a"), ByIs)
    assert mended.after == b"a is None\n"
    (conflict,) = mended.conflicts
    assert conflict.rules == ("aTob", "bToa") and conflict.reason == "they undo each other"
    assert [f.rule for f in mended.left] == ["aTob"]
    error = conflict.error()
    assert error.exit == 1 and error.where == "a.py" and "aTob and bToa" in error.what


def test_a_fix_that_changes_nothing_is_withheld() -> None:
    mended = fix("a\n", renames("a", "a"))
    assert mended.after == mended.before and mended.fixes == 0
    assert mended.conflicts[0].reason == "they lead back to where they began"


def test_a_fix_without_end_is_withheld() -> None:
    mended = fix("x = 1 if a == None else 2\n", Grows, ByIs)
    assert mended.after == b"x = 1 if a is None else 2\n" and len(mended.left) == 2
    assert mended.conflicts[0].rules == ("Grows",) and str(MOST_PASSES) in mended.conflicts[0].reason


@pytest.mark.parametrize(
    ("rule", "reason"), [(Breaks, "not Python: invalid syntax"), (Misfits, "they do not apply")]
)
def test_a_fix_that_cannot_be_used_is_withheld(rule: type[LintRule], reason: str) -> None:
    mended = fix("if a == None:\n    pass\n", ByIs, rule)
    assert mended.after == b"if a is None:\n    pass\n"
    assert mended.conflicts[0].rules == (rule.__name__,) and reason in mended.conflicts[0].reason
    assert [f.rule for f in mended.left] == [rule.__name__]


def test_a_rule_that_fails_does_not_keep_the_others_from_mending() -> None:
    class Fails(LintRule):
        def visit_Comparison(self, node: cst.Comparison) -> None:
            raise OSError("no")

    mended = fix("a == None\n", Fails, ByIs)
    assert mended.after == b"a is None\n" and "Fails" in mended.problems[0].what


def test_what_is_not_python_is_not_touched() -> None:
    with pytest.raises(BadSource):
        fix("a == None\n(", ByIs)


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfx == None\r\n\r\ny = 1\n",
        b"x == None",
        b"# coding: latin-1\nx = '\xe9' if x == None else 1\n",
        b"if x == None :\n\ty = 1 ; z\n\n\n\n# end  \n   ",
        b"x == None  # \xc2\xa0\xe2\x80\xa8 odd\n",
    ],
)
def test_the_rest_of_the_file_stays_byte_for_byte(data: bytes) -> None:
    assert fix_bytes("a.py", data, [ByIs]).after == data.replace(b"==", b"is")


def test_a_file_that_libcst_would_change_elsewhere_is_not_touched() -> None:
    data = b"\x0cx == None\n"
    mended = fix_bytes("a.py", data, [ByIs])
    assert mended.after == data and len(mended.left) == 1
    assert "other parts" in mended.conflicts[0].reason


_ATOM = st.sampled_from(["a", "b.c", "f(x)", "None", "True", "False", "1", "'s'", "(None)", "(a, b)"])
_OPERATOR = st.sampled_from(["==", "!=", " == ", " != ", " is ", " < ", " not in "])


@st.composite
def comparisons(draw: st.DrawFn, depth: int = 2) -> str:
    def operand() -> str:
        return f"({draw(comparisons(depth - 1))})" if depth and draw(st.booleans()) else draw(_ATOM)

    text = operand()
    for _ in range(draw(st.integers(1, 3))):
        text += draw(_OPERATOR) + operand()
    return text


@settings(max_examples=80, deadline=None)
@given(st.lists(comparisons(), min_size=1, max_size=4))
def test_fixing_ends_clean_and_again_changes_nothing(expressions: list[str]) -> None:
    code = "".join(f"x = {expression}  # why\n" for expression in expressions)
    mended = fix(code, ByIs)
    assert mended.conflicts == () and mended.problems == ()
    assert not any(finding.fixable for finding in mended.left)
    assert list(mended.left) == lint_bytes("a.py", mended.after, [ByIs])
    assert fix_bytes("a.py", mended.after, [ByIs]).after == mended.after

    def words(text: str) -> str:  # equal but for the operators in question and the space they need
        return text.replace("is not", "!=").replace(" is ", "==").replace("is", "==").replace(" ", "")

    assert words(mended.after.decode()) == words(code)


def test_the_diff_is_one_that_git_applies(tmp_path: Path) -> None:
    texts = [
        b"x == None",
        b"a\r\nx == None\r\n",
        b"# coding: latin-1\n'\xe9' == x == None\n",
        b"\x0c\nx == None\n\x0cy\n",
    ]
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    for number, data in enumerate(texts):
        name = f"a {number}.py"
        (tmp_path / name).write_bytes(data)
        mended = fix_bytes(name, data, [ByIs])
        diff = patch(mended)
        if mended.after == data:
            assert diff == b""
            continue
        subprocess.run(
            ["git", "-c", "core.autocrlf=false", "apply", "--whitespace=nowarn"],
            cwd=tmp_path,
            input=diff,
            check=True,
        )
        assert (tmp_path / name).read_bytes() == mended.after != data


def source(path: Path) -> SourceFile:
    return SourceFile(path.name, path)


def test_a_mended_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(b"x == None\r\n")
    path.chmod(0o751)
    mend_file(source(path), [ByIs], write=True)
    assert path.read_bytes() == b"x is None\r\n" and path.stat().st_mode & 0o7777 == 0o751
    assert os.listdir(tmp_path) == ["a.py"]


def test_a_file_is_left_alone_without_write_and_when_clean(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(b"x == None\n")
    before = path.stat()
    assert mend_file(source(path), [ByIs], write=False).after == b"x is None\n"
    assert mend_file(source(path), [NoFix], write=True).fixes == 0
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.py").write_bytes(b"x == None\n")
    (tmp_path / "link.py").symlink_to("real.py")
    mend_file(source(tmp_path / "link.py"), [ByIs], write=True)
    assert (tmp_path / "link.py").is_symlink() and (tmp_path / "real.py").read_bytes() == b"x is None\n"


def test_a_file_that_changes_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(b"x == None\n")

    class Edits(LintRule):
        """Stands for an editor that saves while fixes are worked out."""

        def visit_Module(self, node: cst.Module) -> None:
            path.write_bytes(b"x == None\nnew = 1\n")

    with pytest.raises(FairleadError, match="changed while"):
        mend_file(source(path), [ByIs, Edits], write=True)
    assert path.read_bytes() == b"x == None\nnew = 1\n"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(b"x == None\n")

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(FairleadError, match="No space left") as caught:
        mend_file(source(path), [ByIs], write=True)
    assert caught.value.exit == 3 and os.listdir(tmp_path) == ["a.py"]
    assert path.read_bytes() == b"x == None\n"
