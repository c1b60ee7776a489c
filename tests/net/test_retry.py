"""Delays: never longer than promised, never shorter than the server asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.net import retry


@given(attempt=st.integers(1, 30), spread=st.floats(0, 1, exclude_max=True))
def test_own_delays_are_bounded(attempt: int, spread: float) -> None:
    assert 0 <= retry.delay(attempt, spread) <= retry.LONGEST


@given(attempt=st.integers(1, 10), spread=st.floats(0, 1, exclude_max=True), asked=st.floats(0, 1000))
def test_the_server_sets_a_floor(attempt: int, spread: float, asked: float) -> None:
    assert retry.delay(attempt, spread, asked) >= asked


def test_retry_after() -> None:
    assert retry.parse_retry_after(None, 0.0) is None
    assert retry.parse_retry_after(" 7 ", 0.0) == 7.0
    assert retry.parse_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 40.0) == 60.0
    assert retry.parse_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 400.0) == 0.0
    assert retry.parse_retry_after("soon", 0.0) is None
    assert retry.parse_retry_after("-3", 0.0) is None
