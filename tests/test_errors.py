"""The names that a person may have meant, among a few and among very many."""

from __future__ import annotations

import time

import pytest

from fairlead.errors import nearest

MANY = [f"//p{number}:{name}" for number in range(10_000) for name in (*(f"c{i}" for i in range(19)), "all")]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("//p12:c99", "//p12:c9"),
        ("//q77:c4", "//p77:c4"),
        ("//p9999:al", "//p9999:all"),
        ("/p300:all", "//p300:all"),
    ],
)
def test_among_200_000_names_the_nearest_is_found_at_once(word: str, meant: str) -> None:
    before = time.process_time()
    assert nearest(word, MANY)[0] == meant
    assert time.process_time() - before < 1  # all compared one by one: some seconds


def test_nothing_is_near_to_nonsense() -> None:
    assert nearest("zzz", MANY) == [] == nearest("zzz", MANY[:50])
