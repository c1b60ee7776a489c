"""Suppression comments, as Fixit reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.lint.directive import silences


@pytest.mark.parametrize(
    ("comment", "silenced"),
    [
        ("# lint-ignore", True),
        ("# lint-fixme", True),
        ("#lint-ignore", True),
        ("# lint-ignore: UseThis", True),
        ("# lint-ignore UseThis", True),
        ("# lint-ignore:UseThis", True),
        ("# lint-ignore: UseThisRule", True),
        ("# lint-ignore: usethis", True),
        ("# lint-fixme: Other, UseThis", True),
        ("# lint-fixme: Other,UseThis because of legacy", True),
        ("# noqa # lint-ignore: UseThis", True),
        ("# lint-ignoreX", True),
        ("# lint-ignore: Other", False),
        ("# lint-ignore because legacy", False),
        ("# lint-ignore: Other UseThis", False),
        ("# lint-ignore: Other # lint-ignore: UseThis", False),
        ("# lint-ignore: USETHIS", False),
        ("# noqa: UseThis", False),
        ("lint-ignore", False),
        ("# Lint-ignore", False),
    ],
)
def test_what_a_comment_silences(comment: str, silenced: bool) -> None:
    assert silences(comment, "UseThis") is silenced


_NAMES = st.from_regex(r"[A-Za-z_]\w{0,8}", fullmatch=True)


@given(_NAMES, st.lists(_NAMES, min_size=1), st.sampled_from(["ignore", "fixme"]))
def test_a_list_silences_the_rules_in_it_and_no_other(rule: str, names: list[str], word: str) -> None:
    meant = {name.removesuffix("Rule") for name in names}
    comment = f"# lint-{word}: {', '.join(names)}"
    assert silences(comment, rule) == (rule in meant or rule.lower() in meant)
