"""Outcomes by key: rates, the flaky ones, and that runs of one state belong together."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.build.outcomes import KEYS, MOST, NAMESPACE, Outcomes, Rate
from fairlead.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def test_a_rate_is_of_one_key(store: Store) -> None:
    outcomes = Outcomes(store)
    outcomes.add("//:a", ["k1"], ["fail"])
    assert outcomes.add("//:a", ["k2"], ["pass"]) == Rate(1, 0)
    assert not outcomes.flaky()
    assert outcomes.add("//:a", ["k1"], ["pass", "pass", "timeout"]) == Rate(4, 2)
    assert outcomes.flaky() == {"//:a": Rate(4, 2)}
    assert outcomes.rate("//:a", "k2") == Rate(1, 0) and outcomes.rate("//:b", "k1") == Rate(0, 0)
    assert outcomes.last("//:a").text() == "failed 2 of its last 4 runs with this key (50 %)"


def test_a_failure_has_no_questions_but_a_state(store: Store) -> None:
    outcomes = Outcomes(store)
    assert outcomes.add("//:a", [], ["fail"], state="s1") == Rate(1, 1)
    assert outcomes.add("//:a", ["k1"], ["pass"], state="s1") == Rate(2, 1)
    assert outcomes.add("//:a", ["k1"], ["pass"], state="s2") == Rate(3, 1)  # a file that it does not ask for
    assert outcomes.add("//:a", ["new", "k1"], ["fail"], state="s3") == Rate(4, 2)
    assert outcomes.add("//:a", [], ["fail"], state="s2") == Rate(5, 3)
    assert outcomes.add("//:a", [], ["fail"], state="s9") == Rate(1, 1)
    assert outcomes.add("//:a", ["k2"], ["pass"], state="s8") == Rate(1, 0)
    assert outcomes.rate("//:a", "k1") == Rate(5, 3)


def test_what_could_not_be_run_has_no_outcome(store: Store) -> None:
    assert Outcomes(store).add("//:a", ["k"], ["error"]) == Rate(0, 0)
    assert list(store.results.items(NAMESPACE)) == []


@pytest.mark.parametrize("data", [b"{", b"{}", b"[[1]]", b"[3]", b'[["k", 3, "P"]]'])
def test_a_damaged_row_is_none(store: Store, data: bytes) -> None:
    store.results.put(NAMESPACE, "//:a", data)
    assert Outcomes(store).last("//:a") == Rate(0, 0)
    assert Outcomes(store).add("//:a", ["k"], ["pass"]) == Rate(1, 0)


@given(
    st.lists(st.tuples(st.integers(0, 20), st.sampled_from(["pass", "fail", "timeout"])), max_size=60),
    st.integers(1, 4),
)
def test_it_is_the_last_hundred_of_the_last_keys(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[int, str]], often: int
) -> None:
    store = Store.open(tmp_path_factory.getbasetemp() / "outcomes")
    store.results.delete(NAMESPACE, "//:a")
    outcomes = Outcomes(store)
    kept: dict[int, list[str]] = {}
    for key, outcome in runs:
        rate = outcomes.add("//:a", [f"k{key}"], [outcome] * (often * 20))
        kept = {key: (kept.pop(key, []) + [outcome] * (often * 20))[-MOST:], **kept}
        kept = dict(list(kept.items())[:KEYS])
        assert rate == Rate(len(kept[key]), sum(word != "pass" for word in kept[key]))
    for key in range(21):
        assert outcomes.rate("//:a", f"k{key}").runs == len(kept.get(key, []))
    store.results.close()
