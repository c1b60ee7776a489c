"""Comments that keep their place, through random edits and real git."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import UsageError
from fairlead.ship.anchor import Anchor, Placement, port
from fairlead.ship.hunks import Edit, parse
from fairlead.ship.linemap import LineMap, count
from tests.ship.scratch import Scratch


def line_map(old: list[str], new: list[str]) -> LineMap:
    """A line map by difflib, independent of git and of the parser."""
    codes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    edits = tuple(Edit(range(a, b), range(c, d)) for tag, a, b, c, d in codes if tag != "equal")
    return LineMap(edits, len(old), len(new))


files = st.lists(st.sampled_from("abcdef"), max_size=12)
anchors = st.tuples(st.integers(1, 14), st.integers(0, 4)).map(lambda t: Anchor("f", t[0], t[0] + t[1]))


@given(files, files)
def test_surviving_lines_keep_their_text_and_order(old: list[str], new: list[str]) -> None:
    lines = line_map(old, new)
    survivors = [(n, lines.new(n)) for n in range(1, len(old) + 1)]
    alive = [(before, after) for before, after in survivors if after is not None]
    for before, after in alive:
        assert old[before - 1] == new[after - 1]
        assert lines.reversed().new(after) == before
    assert [after for _, after in alive] == sorted({after for _, after in alive})
    assert [n for run in lines.survivors() for n in run] == [before for before, _ in alive]
    assert lines.new(0) is None and lines.new(len(old) + 1) is None
    assert lines.reversed().reversed() == lines


@given(files, files, anchors)
def test_a_comment_is_placed_only_on_exactly_its_lines(
    old: list[str], new: list[str], anchor: Anchor
) -> None:
    placement = port(anchor, line_map(old, new), "g")
    if placement.fate == "gone":
        assert placement.anchor is None and not new
        return
    assert placement.anchor is not None and placement.anchor.path == "g"
    start, end = placement.anchor.start, placement.anchor.end
    assert 1 <= start <= end <= len(new)
    if placement.fate == "placed":
        assert new[start - 1 : end] == old[anchor.start - 1 : anchor.end]


def nearest(anchor: Anchor, lines: LineMap) -> set[int]:
    """Brute force: the new numbers of all surviving lines at the least distance."""
    best: dict[int, set[int]] = {}
    for old in range(1, lines.old_lines + 1):
        new = lines.new(old)
        if new is not None:
            distance = max(anchor.start - old, old - anchor.end, 0)
            best.setdefault(distance, set()).add(new)
    return best[min(best)] if best else set()


@given(files, files, anchors)
def test_a_comment_whose_lines_are_gone_stands_by_the_nearest_survivor(
    old: list[str], new: list[str], anchor: Anchor
) -> None:
    lines = line_map(old, new)
    placement = port(anchor, lines, "f")
    alive = [n for n in range(anchor.start, anchor.end + 1) if lines.new(n) is not None]
    if alive or placement.anchor is None:
        return
    assert placement.fate == "changed" and placement.anchor.start == placement.anchor.end
    expected = nearest(anchor, lines)
    if expected:
        assert placement.anchor.start == min(expected)  # of two as near, the upper one


@given(files.filter(bool), st.data())
def test_an_unchanged_file_moves_no_comment(text: list[str], data: st.DataObject) -> None:
    start = data.draw(st.integers(1, len(text)))
    anchor = Anchor("f", start, data.draw(st.integers(start, len(text))))
    assert port(anchor, LineMap.same(len(text)), "f") == Placement("placed", anchor)


@given(files.filter(bool), st.lists(st.just("x"), max_size=5), st.data())
def test_lines_added_above_only_shift_it(text: list[str], above: list[str], data: st.DataObject) -> None:
    start = data.draw(st.integers(1, len(text)))
    lines = LineMap(
        ((Edit(range(0), range(len(above))),) if above else ()), len(text), len(text) + len(above)
    )
    expected = Anchor("f", start + len(above), start + len(above))
    assert port(Anchor("f", start, start), lines, "f") == Placement("placed", expected)


def test_the_three_fates() -> None:
    old = ["a", "b", "c", "d", "e"]
    anchor = Anchor("f", 2, 3)
    assert port(anchor, line_map(old, ["x", *old]), "f") == Placement("placed", Anchor("f", 3, 4))
    assert port(anchor, line_map(old, ["a", "b", "new", "c", "d", "e"]), "f") == Placement(
        "changed", Anchor("f", 2, 4)
    )
    assert port(anchor, line_map(old, ["a", "b", "d", "e"]), "f") == Placement("changed", Anchor("f", 2, 2))
    assert port(anchor, line_map(old, ["a", "d", "e"]), "f") == Placement("changed", Anchor("f", 1, 1))
    assert port(anchor, line_map(old, ["d", "e"]), "f") == Placement("changed", Anchor("f", 1, 1))
    assert port(anchor, line_map(old, ["1", "2", "3"]), "f") == Placement("changed", Anchor("f", 2, 2))
    assert port(anchor, line_map(old, []), "f") == Placement("gone", None)
    assert port(anchor, None, None) == Placement("gone", None)


def test_through_git_with_a_rename(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "repo")
    old = "".join(f"line {n}\n" for n in range(1, 41))
    new = "first\n" + old.replace("line 5\n", "").replace("line 30\n", "LINE 30\nmore\n")
    patch = scratch.repo.patch(scratch.tree({"old": old}), scratch.tree({"new": new}), context=0)
    (file,) = parse(patch)
    lines = LineMap.of(file, count(old.encode()), count(new.encode()))
    assert port(Anchor("old", 20, 22), lines, file.new_path) == Placement("placed", Anchor("new", 20, 22))
    assert port(Anchor("old", 4, 4), lines, file.new_path) == Placement("placed", Anchor("new", 5, 5))
    assert port(Anchor("old", 5, 5), lines, file.new_path) == Placement("changed", Anchor("new", 5, 5))
    assert port(Anchor("old", 30, 30), lines, file.new_path) == Placement("changed", Anchor("new", 29, 29))
    assert port(Anchor("old", 40, 40), lines, file.new_path) == Placement("placed", Anchor("new", 41, 41))
    for context in (1, 3, 10):
        same = parse(
            scratch.repo.patch(scratch.tree({"old": old}), scratch.tree({"new": new}), context=context)
        )
        assert LineMap.of(same[0], lines.old_lines, lines.new_lines) == lines


def test_a_binary_file_keeps_no_line(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "repo")
    (file,) = parse(scratch.repo.patch(scratch.tree({"b": b"\0\n1\n"}), scratch.tree({"b": b"\0\n2\n"})))
    assert port(Anchor("b", 2, 2), LineMap.of(file, 2, 2), "b").fate == "changed"


@pytest.mark.parametrize(("start", "end"), [(0, 1), (3, 2), (-1, -1)])
def test_no_range_of_lines(start: int, end: int) -> None:
    with pytest.raises(UsageError, match="no range of lines"):
        Anchor("f", start, end)


@pytest.mark.parametrize(
    ("edits", "old", "new"),
    [
        ((), 3, 4),
        ((Edit(range(1, 2), range(2, 3)),), 3, 3),
        ((Edit(range(2, 3), range(2, 3)), Edit(range(1, 2), range(1, 2))), 4, 4),
        ((Edit(range(2, 5), range(2, 5)),), 4, 4),
    ],
)
def test_a_line_map_that_does_not_add_up_is_refused(edits: tuple[Edit, ...], old: int, new: int) -> None:
    with pytest.raises(ValueError, match="line map"):
        LineMap(edits, old, new)


@pytest.mark.parametrize(("data", "lines"), [(b"", 0), (b"a", 1), (b"a\n", 1), (b"a\nb", 2), (b"\n\n", 2)])
def test_lines_are_counted_as_git_does(data: bytes, lines: int) -> None:
    assert count(data) == lines
