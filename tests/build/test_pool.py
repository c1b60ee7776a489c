"""Jobs that need each other: order, the number at once, failures and cancelling."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.build.pool import run_all

graphs = st.integers(1, 12).flatmap(
    lambda size: st.fixed_dictionaries(
        {
            str(n): st.sets(st.sampled_from([str(m) for m in range(n)]) if n else st.nothing())
            for n in range(size)
        }
    )
)


@settings(deadline=None, max_examples=30)
@given(graphs, st.integers(1, 4))
def test_each_runs_once_after_what_it_needs(needs: dict[str, set[str]], threads: int) -> None:
    ended: list[str] = []
    begun: dict[str, set[str]] = {}

    def job(name: str) -> str:
        begun[name] = set(ended)
        return name * 2

    def done(name: str, result: str) -> None:
        assert result == name * 2
        ended.append(name)

    run_all(needs, job, done, needs=needs, threads=threads, cancel=threading.Event())
    assert sorted(ended) == sorted(needs)
    assert all(wanted <= begun[name] for name, wanted in needs.items())


def test_no_more_at_once_than_threads() -> None:
    now, most = 0, 0
    lock = threading.Lock()

    def job(name: str) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1

    run_all(map(str, range(12)), job, lambda *_: None, threads=3, cancel=threading.Event())
    assert most == 3


def test_a_failure_stops_the_start_of_others_and_what_runs_may_end() -> None:
    ended: list[str] = []

    def job(name: str) -> None:
        if name == "bad":
            raise ValueError("broken")
        time.sleep(0.1)

    cancel = threading.Event()
    with pytest.raises(ValueError, match="broken"):
        run_all(["slow", "bad", "a", "b"], job, lambda name, _: ended.append(name), threads=2, cancel=cancel)
    assert ended == ["slow"] and not cancel.is_set()


def test_a_failure_to_record_cancels_what_runs() -> None:
    cancel = threading.Event()

    def done(name: str, _: None) -> None:
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        run_all(["a", "b"], lambda name: None, done, threads=1, cancel=cancel)
    assert cancel.is_set()


def test_what_a_look_finds_is_not_handed_over_and_goes_before_what_was_ready() -> None:
    here = threading.get_ident()
    looked: list[str] = []

    def look(name: str) -> str | None:
        assert threading.get_ident() == here
        looked.append(name)
        return None if name == "slow" else "known"

    def job(name: str) -> str:
        assert threading.get_ident() != here
        return "ran"

    results: dict[str, str] = {}
    needs = {"slow": {"a"}, "after": {"slow"}}
    names, never = ["a", "b", "slow", "after"], threading.Event()
    run_all(names, job, results.__setitem__, needs=needs, threads=2, cancel=never, look=look)
    assert results == {"a": "known", "b": "known", "slow": "ran", "after": "known"}
    assert looked.index("slow") < looked.index("b")


def test_a_look_that_fails_is_a_failure_and_what_was_given_is_not_begun() -> None:
    begun: list[str] = []
    began = threading.Event()

    def look(name: str) -> str | None:
        if name == "bad":
            assert began.wait(30)
            raise ValueError("broken")
        return None

    def job(name: str) -> str:
        begun.append(name)
        began.set()
        time.sleep(0.2)
        return name

    cancel = threading.Event()
    names = ["a", "b", "c", "bad"]
    with pytest.raises(ValueError, match="broken"):
        run_all(names, job, lambda *_: None, threads=1, cancel=cancel, look=look)
    assert begun == ["a"] and not cancel.is_set()


def test_while_there_is_nothing_but_to_wait_the_caller_hears_of_it() -> None:
    heard: list[int] = []

    def job(name: str) -> None:
        time.sleep(0.3)

    never = threading.Event()
    run_all(["a"], job, lambda *_: None, threads=1, cancel=never, idle=lambda: heard.append(1))
    assert heard
