"""The table of states, walked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import UsageError
from fairlead.ship.states import CLOSED, STATES, STEPS, TABLE, State, Step, after, steps


def reachable(start: str, avoiding: frozenset[str] = frozenset()) -> set[str]:
    found, ahead = {start}, [start]
    while ahead:
        state = ahead.pop()
        for step in steps(state):
            if step not in avoiding and (result := after(state, step)) not in found:
                found.add(result)
                ahead.append(result)
    return found


def test_every_state_is_reached_from_draft_and_every_step_is_used() -> None:
    assert reachable("draft") == set(STATES)
    assert {step for _, step in TABLE} == set(STEPS)
    assert {state for state, _ in TABLE} | set(TABLE.values()) == set(STATES)


def test_the_main_line() -> None:
    state: State = "draft"
    for step, expected in (
        ("publish", "needs_review"),
        ("request", "changes_requested"),
        ("version", "needs_review"),
        ("accept", "accepted"),
        ("queue", "queued"),
        ("start", "landing"),
        ("land", "landed"),
    ):
        state = after(state, step)  # type: ignore[arg-type]
        assert state == expected


def test_nothing_lands_without_being_accepted_and_queued() -> None:
    assert "landed" not in reachable("draft", frozenset({"accept", "carried"}))
    assert "landed" not in reachable("draft", frozenset({"queue"}))
    assert [state for (state, step) in TABLE if step == "land"] == ["landing"]
    assert [state for (state, step) in TABLE if step == "start"] == ["queued"]
    assert [state for (state, step) in TABLE if step == "queue"] == ["accepted"]


def test_a_new_version_never_leaves_a_diff_accepted_or_queued() -> None:
    for state in STATES:
        if "version" in steps(state):
            assert after(state, "version") in ("draft", "needs_review")
        if "carried" in steps(state):
            assert after(state, "carried") == "accepted"


def test_what_is_closed_stays_closed() -> None:
    assert {state for state in STATES if not (reachable(state) - CLOSED)} == {"landed", "reverted"}
    assert steps("abandoned") == ("reclaim",)
    assert steps("reverted") == ()


@given(st.lists(st.sampled_from(STEPS), max_size=30))
def test_any_walk_stays_in_the_table(walk: list[Step]) -> None:
    state: str = "draft"
    for step in walk:
        if step in steps(state):
            state = after(state, step)
            assert state in STATES
        else:
            with pytest.raises(UsageError) as caught:
                after(state, step)
            assert step in caught.value.what
            assert all(possible in caught.value.remedy for possible in steps(state))


def test_an_unknown_state_has_no_steps() -> None:
    with pytest.raises(UsageError, match="cannot land"):
        after("nowhere", "land")
