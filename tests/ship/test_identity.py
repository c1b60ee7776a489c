"""Diff-Ids: one spelling, one a commit, no two commits with one."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import UsageError
from fairlead.git import add_trailer
from fairlead.ship import identity

ONE = identity.encode(bytes(range(16)))
TWO = identity.encode(bytes(range(1, 17)))


def message(subject: str, *ids: str) -> str:
    text = f"{subject}\n\nA body.\n"
    for diff_id in ids:
        text = add_trailer(text, identity.TRAILER, diff_id)
    return text


@given(st.binary(min_size=16, max_size=16))
def test_an_id_is_128_bits_in_26_characters(data: bytes) -> None:
    diff_id = identity.encode(data)
    assert len(diff_id) == 26 and diff_id == diff_id.lower() and diff_id.isalnum()
    assert identity.parse(diff_id) == diff_id


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_two_ids_differ_if_their_bits_do(one: bytes, other: bytes) -> None:
    assert (identity.encode(one) == identity.encode(other)) == (one == other)


def test_new_ids_differ() -> None:
    assert len({identity.new() for _ in range(200)}) == 200


@pytest.mark.parametrize(
    "text",
    [
        "",
        "D12",
        ONE.upper(),
        ONE[:-1],
        ONE + "a",
        ONE[:-1] + "b",
        ONE[:-1] + "1",
        ONE[:-1] + "é",
        " " + ONE[1:],
    ],
)
def test_any_other_spelling_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        identity.parse(text, "commit abc")
    assert caught.value.where == "commit abc" and caught.value.remedy


@given(st.text(max_size=30))
def test_noise_is_refused_and_never_crashes(text: str) -> None:
    try:
        assert identity.encode(base64.b32decode(text.upper() + "======")) == identity.parse(text)
    except (UsageError, ValueError):
        pass


def test_the_id_of_a_message() -> None:
    assert identity.of_message(message("A subject")) is None
    assert identity.of_message(message("A subject", ONE)) == ONE
    assert identity.of_message(message("A subject", ONE, ONE)) == ONE
    with pytest.raises(UsageError, match="carries 2 Diff-Ids"):
        identity.of_message(message("A subject", ONE, TWO))
    with pytest.raises(UsageError, match="not a Diff-Id"):
        identity.of_message(message("A subject", "12"))


def test_a_stack_is_named_in_order() -> None:
    named = identity.stack([("a" * 40, message("First", ONE)), ("b" * 40, message("Second", TWO))])
    assert named == [identity.Named("a" * 40, ONE), identity.Named("b" * 40, TWO)]


def test_two_commits_with_one_id_are_both_named() -> None:
    with pytest.raises(UsageError) as caught:
        identity.stack(
            [
                ("a" * 40, message("First", ONE)),
                ("b" * 40, message("Second", TWO)),
                ("c" * 40, message("Third", ONE)),
            ]
        )
    for part in ("aaaaaaaaaaaa 'First'", "cccccccccccc 'Third'", ONE):
        assert part in caught.value.what
    assert "bbbb" not in str(caught.value)


def test_a_commit_without_an_id_is_named() -> None:
    with pytest.raises(UsageError) as caught:
        identity.stack([("a" * 40, message("First", ONE)), ("b" * 40, message("Second"))])
    assert "bbbbbbbbbbbb" in caught.value.what and "Second" in caught.value.where
    assert "fairlead submit" in caught.value.remedy
