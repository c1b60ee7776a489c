"""When an approval carries, through real git: the attacks a patch-id does not see, and plain rebases."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.git import GITLINK, NO_MODE, NO_OBJECT, Change, Repo
from fairlead.ship import change
from fairlead.ship.values import Approval, Candidate
from tests.ship.scratch import Scratch, executable, submodule

BLOCK = "def check(user):\n    log(user)\n    if user.known:\n        return True\n    return False\n"
FILLER = "# filler\n" * 8
TWINS = FILLER + BLOCK + FILLER + BLOCK + FILLER
PIN_1, PIN_2 = "1" * 40, "2" * 40
BASE: dict[str, str | bytes | tuple[str, str]] = {
    "app.py": TWINS,
    "run.sh": "#!/bin/sh\necho hello\n",
    "other.txt": "one\ntwo\nthree\n",
    "lib": submodule(PIN_1),
}


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path / "repo")


def patch_id(repo: Repo, commit: str) -> str:
    shown = repo.run("show", commit).out
    return repo.run("patch-id", "--stable", stdin=shown).text.split()[0]


def edited(nth: int, line: str = "    audit(user)\n") -> str:
    """The twins with one line added at the same place in the nth block."""
    first = TWINS.index(BLOCK)
    second = TWINS.index(BLOCK, first + 1)
    at = (first, second)[nth - 1] + len("def check(user):\n    log(user)\n")
    return TWINS[:at] + line + TWINS[at:]


def test_a_pure_rebase_carries(scratch: Scratch) -> None:
    base = scratch.commit(BASE)
    approved = scratch.commit({**BASE, "app.py": edited(1)}, base)
    moved = scratch.commit({**BASE, "other.txt": "zero\none\ntwo\nthree\n"}, base)
    rebased = scratch.commit({**BASE, "app.py": edited(1), "other.txt": "zero\none\ntwo\nthree\n"}, moved)
    assert scratch.carries(approved, rebased)
    assert scratch.change(approved) == scratch.change(rebased)


def test_a_rebase_over_an_edit_of_the_same_file_carries(scratch: Scratch) -> None:
    base = scratch.commit(BASE)
    approved = scratch.commit({**BASE, "app.py": edited(1)}, base)
    moved = scratch.commit({**BASE, "app.py": "import os\n" + TWINS}, base)
    rebased = scratch.commit({**BASE, "app.py": "import os\n" + edited(1)}, moved)
    assert scratch.carries(approved, rebased)
    assert scratch.change(approved) != scratch.change(rebased)  # other objects, the same edit


def test_only_the_message_changed_carries(scratch: Scratch) -> None:
    base = scratch.commit(BASE)
    approved = scratch.commit({**BASE, "app.py": edited(1)}, base)
    again = scratch.commit({**BASE, "app.py": edited(1)}, base, message="Better words")
    assert scratch.carries(approved, again)


def test_a_changed_word_does_not_carry(scratch: Scratch) -> None:
    base = scratch.commit(BASE)
    approved = scratch.commit({**BASE, "app.py": edited(1)}, base)
    later = scratch.commit({**BASE, "app.py": edited(1, "    erase(user)\n")}, base)
    assert not scratch.carries(approved, later)


def test_white_space_only_does_not_carry(scratch: Scratch) -> None:
    """One indent more moves a statement into the `if`: patch-id cannot tell, the tree can."""
    base = scratch.commit(BASE)
    approved = scratch.commit({**BASE, "app.py": edited(1)}, base)
    later = scratch.commit({**BASE, "app.py": edited(1, "        audit(user)\n")}, base)
    assert patch_id(scratch.repo, approved) == patch_id(scratch.repo, later)
    assert not scratch.carries(approved, later)
    assert scratch.change(approved) != scratch.change(later)


def test_moved_to_a_twin_context_does_not_carry(scratch: Scratch) -> None:
    """The same hunk text in another place with identical context: patch-id cannot tell, the tree can."""
    base = scratch.commit(BASE)
    approved = scratch.commit({**BASE, "app.py": edited(1)}, base)
    later = scratch.commit({**BASE, "app.py": edited(2)}, base)
    assert patch_id(scratch.repo, approved) == patch_id(scratch.repo, later)
    assert not scratch.carries(approved, later)
    assert scratch.change(approved) != scratch.change(later)


def test_moved_to_a_twin_context_across_a_rebase_does_not_carry(scratch: Scratch) -> None:
    base = scratch.commit(BASE)
    approved = scratch.commit({**BASE, "app.py": edited(1)}, base)
    moved = scratch.commit({**BASE, "other.txt": "moved on\n"}, base)
    later = scratch.commit({**BASE, "app.py": edited(2), "other.txt": "moved on\n"}, moved)
    assert not scratch.carries(approved, later)


def test_mode_only_does_not_carry(scratch: Scratch) -> None:
    base = scratch.commit(BASE)
    approved = scratch.commit({**BASE, "app.py": edited(1)}, base)
    later = scratch.commit(
        {**BASE, "app.py": edited(1), "run.sh": executable("#!/bin/sh\necho hello\n")}, base
    )
    assert not scratch.carries(approved, later)
    assert scratch.change(approved) != scratch.change(later)
    same_file = scratch.commit({**BASE, "app.py": executable(edited(1))}, base)
    assert not scratch.carries(approved, same_file)
    assert scratch.change(approved) != scratch.change(same_file)


def test_a_symlink_with_the_content_of_a_file_does_not_carry(scratch: Scratch) -> None:
    base = scratch.commit(BASE)
    approved = scratch.commit({**BASE, "new": "app.py"}, base)
    later = scratch.commit({**BASE, "new": ("app.py", "120000")}, base)
    assert not scratch.carries(approved, later)
    assert scratch.change(approved) != scratch.change(later)


def test_a_submodule_change_does_not_carry(scratch: Scratch) -> None:
    base = scratch.commit(BASE)
    approved = scratch.commit({**BASE, "app.py": edited(1)}, base)
    later = scratch.commit({**BASE, "app.py": edited(1), "lib": submodule(PIN_2)}, base)
    assert not scratch.carries(approved, later)
    assert scratch.change(approved) != scratch.change(later)


def test_an_approved_submodule_change_carries_over_a_rebase_and_to_no_other_pin(scratch: Scratch) -> None:
    base = scratch.commit(BASE)
    approved = scratch.commit({**BASE, "lib": submodule(PIN_2)}, base)
    moved = scratch.commit({**BASE, "other.txt": "moved on\n"}, base)
    rebased = scratch.commit({**BASE, "other.txt": "moved on\n", "lib": submodule(PIN_2)}, moved)
    other = scratch.commit({**BASE, "other.txt": "moved on\n", "lib": submodule("3" * 40)}, moved)
    assert scratch.carries(approved, rebased)
    assert not scratch.carries(approved, other)


def test_a_resolved_conflict_does_not_carry(scratch: Scratch) -> None:
    base = scratch.commit(BASE)
    approved = scratch.commit({**BASE, "other.txt": "one\nTWO\nthree\n"}, base)
    moved = scratch.commit({**BASE, "other.txt": "one\n2\nthree\n"}, base)
    resolved = scratch.commit({**BASE, "other.txt": "one\nTWO\nthree\n"}, moved)
    assert scratch.remerged(approved, moved) is None
    assert not scratch.carries(approved, resolved)


def test_what_someone_slipped_into_the_base_is_not_covered(scratch: Scratch) -> None:
    """The base is another diff of the stack: its edits need their own approval, ours still stands."""
    base = scratch.commit(BASE)
    approved = scratch.commit({**BASE, "app.py": edited(1)}, base)
    below = scratch.commit({**BASE, "other.txt": "slipped in\n"}, base)
    on_top = scratch.commit({**BASE, "app.py": edited(1), "other.txt": "slipped in\n"}, below)
    assert scratch.carries(approved, on_top)
    assert scratch.change(on_top) == scratch.change(approved) != scratch.change(below)


def test_a_merge_is_the_same_in_a_clone_with_its_own_settings_and_attributes(tmp_path: Path) -> None:
    """A verifier's clone and the bare repository of the server must come to one tree."""
    server = Scratch(tmp_path / "server")
    files: dict[str, str | bytes | tuple[str, str]] = {
        ".gitattributes": "*.txt -merge\n*.py merge=ours\n",
        "a.txt": "".join(f"line {n}\n" for n in range(20)),
        "old.py": "".join(f"print({n})\n" for n in range(20)),
    }
    base = server.commit(files)
    ours = server.commit({**files, "a.txt": str(files["a.txt"]).replace("line 2\n", "LINE 2\n")}, base)
    changed = {**files, "a.txt": str(files["a.txt"]).replace("line 18\n", "LINE 18\n")}
    changed["new.py"] = str(changed.pop("old.py")).replace("print(3)", "print(33)")
    theirs = server.commit(changed, base)
    expected = server.repo.merge_tree(ours, theirs, base)
    assert expected.tree is not None
    for oid, name in ((ours, "ours"), (theirs, "theirs")):
        server.repo.run("update-ref", f"refs/heads/{name}", oid)
    server.repo.run("symbolic-ref", "HEAD", "refs/heads/ours")
    clone = Repo.clone(str(server.repo.path), tmp_path / "clone")
    for name, value in (
        ("merge.ours.driver", "true"),
        ("merge.renames", "false"),
        ("merge.directoryRenames", "true"),
        ("diff.algorithm", "minimal"),
        ("merge.renormalize", "true"),
    ):
        subprocess.run(["git", "config", name, value], cwd=clone.path, check=True)
    assert (clone.path / ".gitattributes").exists()
    assert clone.merge_tree(ours, theirs, base) == expected


# --- the key --------------------------------------------------------------------------------------

oids = st.sampled_from([c * 40 for c in "1234"])
modes = st.sampled_from(["100644", "100755", "120000", GITLINK])
paths = st.text(min_size=1, max_size=6)
rows = st.builds(
    lambda path, old_mode, new_mode, old, new: Change("M", path, path, old_mode, new_mode, old, new),
    paths,
    modes,
    modes,
    oids,
    oids,
)
changes = st.lists(rows, max_size=5, unique_by=lambda row: row.path)


@given(changes, changes)
def test_two_changes_have_one_key_only_if_they_are_the_same(one: list[Change], other: list[Change]) -> None:
    same = {row.path: row for row in one} == {row.path: row for row in other}
    assert (change.key(one) == change.key(other)) == same


@given(changes, st.randoms())
def test_the_order_of_entries_does_not_matter(rows: list[Change], random: Random) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert change.key(rows) == change.key(shuffled)


@given(changes.filter(bool), st.sampled_from(["old_mode", "new_mode", "old_blob", "new_blob"]))
def test_every_column_counts(rows: list[Change], column: str) -> None:
    other = NO_MODE if column.endswith("mode") else NO_OBJECT
    assert change.key([replace(rows[0], **{column: other}), *rows[1:]]) != change.key(rows)


def test_the_key_is_pinned() -> None:
    """Approvals outlive releases, so this digest may never change under its version."""
    rows = [
        Change("M", "b", "b", "100644", "100755", "1" * 40, "2" * 40),
        Change("A", "a\udcff", "a\udcff", NO_MODE, GITLINK, NO_OBJECT, "3" * 40),
    ]
    assert change.key(rows) == "c0ff4a9d90d94382c64068bd45f491d3a8b7737cf8233d28ea617ec077f635fa"


def test_renames_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="rename"):
        change.key([Change("R", "b", "a", "100644", "100644", "1" * 40, "1" * 40)])
    with pytest.raises(ValueError, match="twice"):
        change.key([Change("M", "a", "a", "100644", "100644", "1" * 40, "2" * 40)] * 2)


def test_paths_of_any_bytes_have_a_key(scratch: Scratch) -> None:
    name = b"caf\xe9 \xff".decode("utf-8", "surrogateescape")
    base = scratch.commit({"a": "1\n"})
    assert scratch.change(scratch.commit({"a": "1\n", name: "2\n"}, base)) != scratch.change(
        scratch.commit({"a": "1\n", "cafe": "2\n"}, base)
    )


CANDIDATE = Candidate(12, 3, "base", "bt", "commit", "tree", ("base",), "change", "v3")


@pytest.mark.parametrize(
    ("approval", "remerged", "stands"),
    [
        (Approval(12, 3, "r", "v3", "x"), {"v3": "tree"}, True),
        (Approval(12, 2, "r", "v2", "x"), {"v2": "tree"}, True),
        (Approval(12, 2, "r", "v2", "x"), {"v2": "other"}, False),
        (Approval(12, 2, "r", "v2", "x"), {"v2": None}, False),
        (Approval(12, 2, "r", "v2", "x"), {}, False),
        (Approval(12, 3, "r", "v2", "x"), {"v2": "tree"}, False),
        (Approval(12, 4, "r", "v4", "x"), {"v4": "tree"}, False),
        (Approval(13, 3, "r", "v3", "x"), {"v3": "tree"}, False),
    ],
)
def test_an_approval_stands(approval: Approval, remerged: dict[str, str | None], stands: bool) -> None:
    assert change.stands(approval, CANDIDATE, remerged) == stands
