"""Keys: one encoding a value, golden vectors, and the comparison behind `why`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import UsageError
from fairlead.store.record import ABSENT, Part, Record, explain, shared

scalars = st.none() | st.booleans() | st.integers() | st.text() | st.binary()
parts: st.SearchStrategy[Part] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
tables = st.dictionaries(st.text(max_size=6), parts, max_size=5)


def test_golden_vectors() -> None:
    """These keys are promises: a change here empties every cache and voids every verdict."""
    assert Record("target", 1, {}).encode() == b"fairlead-record 1\nl16:s6:targeti1:1m0:"
    assert Record("target", 1, {}).key == "f4b96123ecb15d7b402993037e2bdbfdaca4eeed836da8a8167c77d82462356e"
    record = Record("x", 2, {"b": [None, True, False, -7], "a": {"k": b"\x00", "j": "é"}})
    assert record.encode() == (
        b"fairlead-record 1\nl59:s1:xi1:2m47:s1:am17:s1:js2:\xc3\xa9s1:kb1:\x00s1:bl14:n0:t0:f0:i2:-7"
    )


@given(tables)
def test_what_is_encoded_is_read_back(table: dict[str, Part]) -> None:
    record = Record("kind", 3, table)
    again = Record.decode(record.encode())
    assert again.encode() == record.encode()
    assert again.key == record.key


@given(tables, tables)
def test_keys_are_equal_exactly_when_nothing_differs(one: dict[str, Part], two: dict[str, Part]) -> None:
    a, b = Record("kind", 1, one), Record("kind", 1, two)
    assert (a.key == b.key) == (explain(a, b) == [])


@given(tables)
def test_order_of_names_does_not_matter(table: dict[str, Part]) -> None:
    assert Record("k", 1, table).key == Record("k", 1, dict(reversed(table.items()))).key


@pytest.mark.parametrize(("one", "two"), [(1, True), (0, False), ("1", 1), (b"a", "a"), ([], {}), (None, "")])
def test_values_that_look_alike_have_keys_of_their_own(one: Part, two: Part) -> None:
    assert Record("k", 1, {"v": one}).key != Record("k", 1, {"v": two}).key


def test_floats_are_refused() -> None:
    with pytest.raises(TypeError, match="float"):
        Record("k", 1, {"v": 1.5}).encode()  # type: ignore[dict-item]


@given(st.binary(max_size=60))
def test_damaged_bytes_are_an_error_for_a_person(data: bytes) -> None:
    for damaged in (data, b"fairlead-record 1\n" + data):
        try:
            Record.decode(damaged)
        except UsageError as error:
            assert error.remedy


def test_explain_names_the_file_that_changed() -> None:
    old = Record(
        "target", 1, {"inputs": [["a.py", "100644", "1" * 64], ["b.py", "100644", "2" * 64]], "rule": "r"}
    )
    new = Record(
        "target", 1, {"inputs": [["a.py", "100644", "3" * 64], ["c.py", "100755", "4" * 64]], "rule": "r"}
    )
    found = {difference.path: (difference.old, difference.new) for difference in explain(old, new)}
    assert found[("inputs", "b.py")] == (["100644", "2" * 64], ABSENT)
    assert found[("inputs", "c.py")] == (ABSENT, ["100755", "4" * 64])
    texts = [difference.text() for difference in explain(old, new)]
    assert texts[0] == "inputs a.py: [100644 111111111111] -> [100644 333333333333]"


@given(tables, tables)
def test_a_shared_part_is_as_any_other(one: dict[str, Part], two: dict[str, Part]) -> None:
    apart, joined = Record("k", 1, {"a": one, "b": two}), Record("k", 1, {"a": shared(one), "b": two})
    assert (joined.encode(), joined.key) == (apart.encode(), apart.key)
    assert explain(apart, joined) == []
    assert Record.decode(joined.encode()).parts == apart.parts
