"""The serial queue as a simulation: one at a time, bottom up, and always moving."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.ship.queue import Decide, Entry, EntryState, Refuse, Restart, Start, step


def test_an_empty_queue_has_nothing_to_do() -> None:
    assert step([], tip="t", landed=()) is None


def test_the_oldest_goes_first() -> None:
    assert step([Entry(2, 12, 1, "waiting"), Entry(1, 11, 1, "waiting")], tip="t", landed=()) == Start(1)


def test_one_at_a_time() -> None:
    queue = [Entry(1, 11, 1, "testing", base="t"), Entry(2, 12, 1, "waiting")]
    assert step(queue, tip="t", landed=()) == Decide(1)


@pytest.mark.parametrize("state", ["testing", "landing"])
def test_a_candidate_of_another_tip_starts_again(state: EntryState) -> None:
    entry = replace(Entry(1, 11, 1, "testing", base="old"), state=state)
    assert step([entry], tip="new", landed=()) == Restart(1)


def test_after_a_crash_before_the_move_it_is_decided_again() -> None:
    assert step([Entry(1, 11, 1, "landing", base="old")], tip="old", landed=()) == Decide(1)


def test_a_stack_lands_from_its_bottom() -> None:
    queue = [Entry(1, 12, 1, "waiting", below=(11,)), Entry(2, 11, 1, "waiting")]
    assert step(queue, tip="t", landed=()) == Start(2)
    assert step(queue[:1], tip="t", landed={11}) == Start(1)


def test_what_stands_on_something_that_is_not_coming_is_refused_and_says_so() -> None:
    answer = step([Entry(1, 13, 1, "waiting", below=(11, 12))], tip="t", landed={11})
    assert isinstance(answer, Refuse) and answer.n == 1
    assert "D12" in answer.reason.text and "D11" not in answer.reason.text


def test_a_refused_bottom_takes_the_stack_with_it() -> None:
    queue = [Entry(2, 12, 1, "waiting", below=(11,)), Entry(3, 13, 1, "waiting", below=(11, 12))]
    first = step(queue, tip="t", landed=())
    assert isinstance(first, Refuse) and first.n == 2
    second = step(queue[1:], tip="t", landed=())
    assert isinstance(second, Refuse) and second.n == 3


def test_a_ring_of_stacks_does_not_stand_still() -> None:
    queue = [Entry(1, 11, 1, "waiting", below=(12,)), Entry(2, 12, 1, "waiting", below=(11,))]
    assert isinstance(step(queue, tip="t", landed=()), Refuse)


stacks = st.lists(st.tuples(st.lists(st.integers(1, 8), max_size=3, unique=True), st.booleans()), max_size=8)


@settings(max_examples=300)
@given(stacks, st.randoms(), st.integers(0, 5))
def test_every_entry_ends_and_the_order_holds(
    requests: list[tuple[list[int], bool]], random: Random, disturbances: int
) -> None:
    """Any stacks, any verdicts, a trunk that someone else moves a few times, crashes in between."""
    choose = random.random
    queue = {n: Entry(n, n, 1, "waiting", tuple(below)) for n, (below, _) in enumerate(requests, 1)}
    good = {n: fine for n, (_, fine) in enumerate(requests, 1)}
    landed: list[int] = []
    tips = ["t0"]
    for _ in range(20 * len(queue) + 50):
        if disturbances and choose() < 0.1:
            disturbances -= 1
            tips.append(f"other{len(tips)}")
        answer = step(list(queue.values()), tip=tips[-1], landed=landed)
        if answer is None:
            break
        entry = queue[answer.n]
        assert sum(e.state != "waiting" for e in queue.values()) <= 1
        match answer:
            case Start():
                assert set(entry.below) <= set(landed)
                earlier = [e for e in queue.values() if e.n < entry.n]
                assert all(not set(e.below) <= set(landed) for e in earlier), "an older one was ready"
                queue[entry.n] = replace(entry, state="testing", base=tips[-1])
            case Restart():
                assert entry.base != tips[-1]
                queue[entry.n] = replace(entry, state="waiting", base=None)
            case Refuse():
                del queue[entry.n]
            case Decide():
                assert entry.base == tips[-1]
                if not good[entry.n]:
                    del queue[entry.n]
                elif entry.state == "testing":
                    queue[entry.n] = replace(entry, state="landing")
                else:
                    tips.append(f"c{entry.n}")
                    landed.append(entry.diff)
                    del queue[entry.n]
    assert not queue
    for n in landed:
        assert good[n]
        assert set(requests[n - 1][0]) <= set(landed[: landed.index(n)])
