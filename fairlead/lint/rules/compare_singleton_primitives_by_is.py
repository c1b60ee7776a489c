"""Comparing to None, True or False is asking for identity: `is`, not `==`."""

from __future__ import annotations

import libcst as cst

from fairlead.lint import Invalid, LintRule, Valid

_SINGLETONS = frozenset({"None", "True", "False"})
# CPython warns of `is` beside these, so there is nothing to mend them to.
_LITERALS = (cst.BaseNumber, cst.BaseString, cst.Tuple)


class CompareSingletonPrimitivesByIs(LintRule):
    """
    Finds `==` and `!=` beside None, True or False, and offers `is` and `is not`.

    There is one None, one True and one False, so the question is whether a value is that object.
    `==` asks the value's class instead, which may answer as it likes. Where that is meant, as in
    the query languages of SQLAlchemy or pandas, silence the line with a comment.
    """

    MESSAGE = "compare to None, True and False with `is` or `is not`"
    VALID = [
        Valid("found is None"),
        Valid("found is not None"),
        Valid("None is found"),
        Valid("flag is True is not other"),
        Valid("if not flag: pass"),
        Valid("size == 0 != other"),
        Valid("'None' == name"),
        Valid("x < None"),
        Valid("x in (None, True)"),
        Valid("f(default=None)"),
        Valid("table.None_ == 1"),
        Valid("found == None  # lint-ignore: CompareSingletonPrimitivesByIs"),
        Valid(
            """
            # lint-fixme: CompareSingletonPrimitivesByIs
            rows = query.where(
                column == None,
            )
            """
        ),
    ]
    INVALID = [
        Invalid("found == None", expected_replacement="found is None"),
        Invalid("found != None", expected_replacement="found is not None"),
        Invalid("flag == True", expected_replacement="flag is True"),
        Invalid("flag != False", expected_replacement="flag is not False"),
        Invalid("False == flag", expected_replacement="False is flag"),
        Invalid("found==None", expected_replacement="found is None"),
        Invalid("(found)!=(None)", expected_replacement="(found) is not (None)"),
        Invalid("0 < n == None != m", expected_replacement="0 < n is None is not m"),
        Invalid("flag is True == other", expected_replacement="flag is True is other"),
        Invalid("not found == None", expected_replacement="not found is None"),
        Invalid(
            """
            if (found
                    ==  # why
                    None):
                pass
            """,
            expected_replacement="""
            if (found
                    is  # why
                    None):
                pass
            """,
        ),
        Invalid("lambda x: x == None  # lint-ignore: OtherRule", expected_replacement=(
            "lambda x: x is None  # lint-ignore: OtherRule"
        )),
        # Always false, and worth a look, but `1 is None` would only earn CPython's own warning.
        Invalid("1 == None"),
        Invalid("n == None == 1", expected_replacement="n is None == 1"),
    ]  # fmt: skip

    def visit_Comparison(self, node: cst.Comparison) -> None:
        found = False
        mended = []
        left = node.left
        for target in node.comparisons:
            right = target.comparator
            if isinstance(target.operator, (cst.Equal, cst.NotEqual)) and (
                _is_singleton(left) or _is_singleton(right)
            ):
                found = True
                if not isinstance(left, _LITERALS) and not isinstance(right, _LITERALS):
                    target = target.with_changes(operator=_by_identity(target.operator))
            mended.append(target)
            left = right
        if found:
            changed = any(new is not old for new, old in zip(mended, node.comparisons, strict=True))
            self.report(node, replacement=node.with_changes(comparisons=mended) if changed else None)


def _is_singleton(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Name) and node.value in _SINGLETONS


def _by_identity(operator: cst.Equal | cst.NotEqual) -> cst.Is | cst.IsNot:
    """The operator as a word, which unlike `==` needs space on both sides."""
    new = cst.IsNot if isinstance(operator, cst.NotEqual) else cst.Is
    space = cst.SimpleWhitespace(" ")
    return new(
        whitespace_before=space if operator.whitespace_before.empty else operator.whitespace_before,
        whitespace_after=space if operator.whitespace_after.empty else operator.whitespace_after,
    )
