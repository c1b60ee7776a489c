"""Comparing records: exactly the targets above an edit are affected, and the causes are the edit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.build.query.affected import compare
from fairlead.store.record import Part, Record

GRAPH = st.integers(1, 12).flatmap(
    lambda size: st.tuples(
        st.tuples(*(st.sets(st.integers(0, max(0, n - 1))) for n in range(size))),
        st.sets(st.integers(0, size - 1)),
    )
)


def records(deps: tuple[set[int], ...], edited: set[int]) -> dict[str, Record]:
    made: dict[str, Record] = {}
    for number, below in enumerate(deps):
        parts: dict[str, Part] = {
            "label": f"//:{number}",
            "inputs": [[f"{number}.txt", "100644", "new" if number in edited else "old"]],
            "dependencies": {f"//:{n}": made[f"//:{n}"].key for n in below if n < number},
            "steps": {"x": f"{number} {number in edited}"},
        }
        made[f"//:{number}"] = Record("target", 1, parts)
    return made


@given(GRAPH)
def test_affected_is_what_stands_above_an_edit_and_says_which(
    graph: tuple[tuple[set[int], ...], set[int]],
) -> None:
    deps, edited = graph
    reach: list[set[int]] = []
    for number, below in enumerate(deps):
        reach.append({number}.union(*(reach[n] for n in below if n < number)))
    expected = {
        f"//:{number}": sorted(f"{n}.txt" for n in reach[number] & edited)
        for number in range(len(deps))
        if reach[number] & edited
    }
    found = compare(records(deps, set()), records(deps, edited))
    assert {item.label: sorted(cause.file for cause in item.causes) for item in found} == expected
    assert [item.label for item in found] == sorted(expected)


def test_a_chain_may_be_longer_than_pythons_stack() -> None:
    deps = tuple({n - 1} if n else set[int]() for n in range(3000))
    found = compare(records(deps, set()), records(deps, {0}))
    last = next(item for item in found if item.label == "//:2999")
    assert len(found) == 3000 and [cause.file for cause in last.causes] == ["0.txt"]


def test_steps_are_named_only_where_nothing_else_differs() -> None:
    old = Record("target", 1, {"label": "//:a", "inputs": [], "dependencies": {}, "steps": {"x": "1"}})
    new = Record("target", 1, {"label": "//:a", "inputs": [], "dependencies": {}, "steps": {"x": "2"}})
    (item,) = compare({"//:a": old}, {"//:a": new})
    assert [cause.text() for cause in item.causes] == ["//:a: steps x: 1 -> 2"]
