"""Comparing versions across a moved base shows what the author did, through real git."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.ship.hunks import parse
from fairlead.ship.interdiff import Interdiff, Merging, Version, compare, merging
from tests.ship.scratch import Scratch

TEXT = "".join(f"line {n}\n" for n in range(1, 61))


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path / "repo")


def interdiff(scratch: Scratch, old: str, new: str) -> Interdiff:
    """As the server does it: ask what to merge, merge, diff, compare."""
    repo = scratch.repo

    def version(commit: str) -> Version:
        whole = repo.commit(commit)
        return Version(whole.tree, repo.commit(whole.parents[0]).tree)

    before, after = version(old), version(new)
    plain = parse(repo.patch(before.tree, after.tree))
    wanted = merging(before, after)
    if wanted is None:
        return compare(plain, None)
    merge = repo.merge_tree(wanted.ours, wanted.theirs, wanted.base)
    if merge.tree is None:
        return compare(plain, None, merge.conflicts)
    return compare(plain, parse(repo.patch(merge.tree, after.tree)))


def test_on_one_base_it_is_the_plain_difference(scratch: Scratch) -> None:
    base = scratch.commit({"a": TEXT})
    one = scratch.commit({"a": TEXT + "one\n"}, base)
    two = scratch.commit({"a": TEXT + "two\n"}, base)
    found = interdiff(scratch, one, two)
    assert [line.text for line in found.files[0].hunks[0].lines if line.kind != " "] == ["one", "two"]
    assert found.base_only == 0 and not found.empty


def test_a_pure_rebase_is_empty_and_counts_what_the_base_brought(scratch: Scratch) -> None:
    base = scratch.commit({"a": TEXT, "b": "x\n"})
    one = scratch.commit({"a": TEXT + "mine\n", "b": "x\n"}, base)
    moved_text = TEXT.replace("line 3\n", "LINE 3\n").replace("line 20\n", "LINE 20\n")
    moved = scratch.commit({"a": moved_text, "b": "y\n", "new": "n\n"}, base)
    two = scratch.commit({"a": moved_text + "mine\n", "b": "y\n", "new": "n\n"}, moved)
    found = interdiff(scratch, one, two)
    assert found.empty
    assert found.base_only == 4  # two lines of a, one of b, one file


def test_only_the_authors_part_is_shown(scratch: Scratch) -> None:
    base = scratch.commit({"a": TEXT})
    one = scratch.commit({"a": TEXT + "mine\n"}, base)
    moved_text = TEXT.replace("line 3\n", "LINE 3\n")
    moved = scratch.commit({"a": moved_text}, base)
    two = scratch.commit({"a": moved_text.replace("line 40\n", "line forty\n") + "mine\n"}, moved)
    found = interdiff(scratch, one, two)
    changed = [line.text for hunk in found.files[0].hunks for line in hunk.lines if line.kind != " "]
    assert changed == ["line 40", "line forty"]
    assert found.base_only == 1


def test_an_edit_that_both_made_is_not_counted_as_the_bases(scratch: Scratch) -> None:
    base = scratch.commit({"a": TEXT, "b": TEXT})
    one = scratch.commit({"a": TEXT, "b": TEXT + "mine\n"}, base)
    moved = scratch.commit({"a": TEXT.replace("line 3\n", "same\n"), "b": TEXT}, base)
    two = scratch.commit(
        {"a": TEXT.replace("line 3\n", "same\n"), "b": TEXT.replace("line 3\n", "same\n") + "mine\n"}, moved
    )
    found = interdiff(scratch, one, two)
    assert [file.path for file in found.files] == ["b"]
    assert found.base_only == 1


def test_a_conflict_is_said_and_nothing_is_hidden(scratch: Scratch) -> None:
    base = scratch.commit({"a": TEXT})
    one = scratch.commit({"a": TEXT.replace("line 3\n", "mine\n")}, base)
    moved = scratch.commit({"a": TEXT.replace("line 3\n", "theirs\n")}, base)
    two = scratch.commit({"a": TEXT.replace("line 3\n", "both\n")}, moved)
    found = interdiff(scratch, one, two)
    assert found.conflicts == ("a",) and found.base_only == 0 and not found.empty
    assert [line.text for line in found.files[0].hunks[0].lines if line.kind != " "] == ["mine", "both"]


def test_which_merge_is_needed() -> None:
    assert merging(Version("t1", "p"), Version("t2", "p")) is None
    assert merging(Version("t1", "p1"), Version("t2", "p2")) == Merging(ours="p2", theirs="t1", base="p1")


def test_modes_and_files_without_lines_are_counted_too(scratch: Scratch) -> None:
    base = scratch.commit({"a": TEXT, "run": "x\n", "bin": b"\0\1"})
    one = scratch.commit({"a": TEXT + "mine\n", "run": "x\n", "bin": b"\0\1"}, base)
    brought: dict[str, str | bytes | tuple[str, str]] = {"run": ("x\n", "100755"), "bin": b"\0\2"}
    moved = scratch.commit({"a": TEXT, **brought}, base)
    two = scratch.commit({"a": TEXT + "mine\n", **brought}, moved)
    found = interdiff(scratch, one, two)
    assert found.empty and found.base_only == 2
