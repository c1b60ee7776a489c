"""Patches read back: applying what was read to the old tree gives the new tree, whatever git printed."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.errors import UsageError
from fairlead.git import GITLINK
from fairlead.ship.hunks import FileDiff, Hunk, edits, parse
from fairlead.ship.linemap import count
from tests.ship.scratch import Scratch, executable, submodule

Files = dict[str, str | bytes | tuple[str, str]]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Scratch:
    return Scratch(tmp_path_factory.mktemp("hunks") / "repo")


def diff(scratch: Scratch, old: Files, new: Files, context: int = 3) -> tuple[FileDiff, ...]:
    return parse(scratch.repo.patch(scratch.tree(old), scratch.tree(new), context=context))


def lines(data: bytes) -> list[bytes]:
    """A file's lines with their ends; only b"\\n" ends one."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def apply(data: bytes, hunks: tuple[Hunk, ...]) -> bytes:
    """The new content by the hunks, checking every kept and removed line against the old content."""
    old, result, at = lines(data), [], 0
    for hunk in hunks:
        start = hunk.old_start - 1 if hunk.old_count else hunk.old_start
        result += old[at:start]
        at = start
        for line in hunk.lines:
            whole = line.data + (b"\n" if line.newline else b"")
            if line.kind in " -":
                assert old[at] == whole and line.old == at + 1
                at += 1
            if line.kind in " +":
                result.append(whole)
                assert line.new == len(result)
    return b"".join(result + old[at:])


texts = st.lists(
    st.sampled_from([b"a", b"b", b"c", b"", b"-x", b"+y", b"\\ z", b"@@ q", b"\xff\r"]), max_size=12
)
contents = st.builds(lambda parts, end: b"\n".join(parts) + end, texts, st.sampled_from([b"", b"\n"]))
names = st.sampled_from(
    ["a", "b/c", "sp ace", "tab\there", 'qu"ote', "back\\slash", "n\ne", "ü", "\udcff", "x b/y"]
)
trees = st.dictionaries(names, st.tuples(contents, st.sampled_from(["100644", "100755"])), max_size=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trees, trees, st.sampled_from([0, 1, 3]))
def test_applying_what_was_read_gives_the_new_tree(
    scratch: Scratch, old: dict[str, tuple[bytes, str]], new: dict[str, tuple[bytes, str]], context: int
) -> None:
    trees = []
    for files in (old, new):
        oids = {
            name: scratch.repo.run("hash-object", "-w", "--stdin", stdin=data).text
            for name, (data, _) in files.items()
        }
        rows = "".join(
            f"{files[name][1]} blob {oid}\t{name}\0" for name, oid in oids.items() if "/" not in name
        )
        inner = "".join(
            f"{files[n][1]} blob {oid}\t{n[n.index('/') + 1 :]}\0" for n, oid in oids.items() if n == "b/c"
        )
        if inner:
            rows += f"040000 tree {mktree(scratch, inner)}\tb\0"
        inner = "".join(f"{files[n][1]} blob {oid}\ty\0" for n, oid in oids.items() if n == "x b/y")
        if inner:
            rows += f"040000 tree {mktree(scratch, inner)}\tx b\0"
        trees.append(mktree(scratch, rows))
    result = dict(old)
    for file in parse(scratch.repo.patch(*trees, context=context)):
        assert not file.binary and not file.submodule
        data, mode = old.get(file.old_path, (b"", "")) if file.status != "added" else (b"", "")
        if file.status in ("deleted", "renamed"):
            del result[file.old_path]
        if file.status == "deleted":
            assert apply(data, file.hunks) == b"" and file.old_mode == mode
        else:
            result[file.new_path] = (apply(data, file.hunks), file.new_mode or mode)
        assert file.added == sum(len(edit.new) for edit in edits(file.hunks))
        assert file.removed == sum(len(edit.old) for edit in edits(file.hunks))
    assert result == new


def mktree(scratch: Scratch, rows: str) -> str:
    return scratch.repo.run("mktree", "-z", stdin=rows.encode("utf-8", "surrogateescape")).text


TEXT = "".join(f"line {n}\n" for n in range(1, 31))


def test_a_modified_file(scratch: Scratch) -> None:
    (file,) = diff(scratch, {"a b.py": TEXT}, {"a b.py": TEXT.replace("line 9\n", "line nine\n")})
    assert (file.status, file.path, file.old_mode, file.new_mode) == (
        "modified",
        "a b.py",
        "100644",
        "100644",
    )
    (hunk,) = file.hunks
    assert (hunk.old_start, hunk.old_count, hunk.new_start, hunk.new_count) == (6, 7, 6, 7)
    assert [(line.kind, line.text, line.old, line.new) for line in hunk.lines][2:6] == [
        (" ", "line 8", 8, 8),
        ("-", "line 9", 9, None),
        ("+", "line nine", None, 9),
        (" ", "line 10", 10, 10),
    ]
    assert (file.added, file.removed) == (1, 1)
    assert len(file.old_blob) == len(file.new_blob) == 40


def test_headings_are_those_of_git(scratch: Scratch) -> None:
    code = "def outer():\n" + "".join(f"    x = {n}\n" for n in range(20))
    (file,) = diff(scratch, {"a.py": code}, {"a.py": code.replace("x = 15", "y = 15")})
    assert file.hunks[0].heading == "def outer():"


def test_an_added_and_a_deleted_file(scratch: Scratch) -> None:
    added, deleted = diff(scratch, {"z": "old\n"}, {"a": "one\ntwo"})
    assert (added.status, added.path, added.old_mode, added.new_mode) == ("added", "a", "", "100644")
    assert [line.newline for line in added.hunks[0].lines] == [True, False]
    assert (deleted.status, deleted.path, deleted.old_mode, deleted.new_mode) == (
        "deleted",
        "z",
        "100644",
        "",
    )


def test_empty_files_and_pure_mode_changes_have_no_hunks(scratch: Scratch) -> None:
    empty, mode = diff(scratch, {"sp ace": "x\n"}, {"empty": "", "sp ace": executable("x\n")})
    assert (empty.status, empty.path, empty.hunks) == ("added", "empty", ())
    assert (mode.status, mode.path, mode.hunks, mode.mode_changed) == ("modified", "sp ace", (), True)
    assert (mode.old_mode, mode.new_mode) == ("100644", "100755")


def test_renames_pure_and_with_edits(scratch: Scratch) -> None:
    (pure,) = diff(scratch, {"old name": TEXT}, {"new b/name": TEXT})
    assert (pure.status, pure.old_path, pure.new_path, pure.hunks) == (
        "renamed",
        "old name",
        "new b/name",
        (),
    )
    (edited,) = diff(scratch, {"old": TEXT}, {"new": executable(TEXT.replace("line 3\n", "LINE 3\n"))})
    assert (edited.status, edited.old_path, edited.path) == ("renamed", "old", "new")
    assert edited.mode_changed and edited.removed == 1


def test_binary_files(scratch: Scratch) -> None:
    modified, added = diff(scratch, {"b": b"\0\1"}, {"b": b"\0\2", "c d": b"\0\3"})
    assert modified.binary and modified.status == "modified" and not modified.hunks
    assert added.binary and (added.status, added.path) == ("added", "c d")


def test_binary_patches_are_read_past(scratch: Scratch) -> None:
    old, new = scratch.tree({"b": b"\0\1" * 99, "t": "x\n"}), scratch.tree({"b": b"\0\2" * 99, "t": "y\n"})
    patch = scratch.repo.run("diff-tree", "-r", "-p", "--binary", "--full-index", old, new).out
    binary, text = parse(patch)
    assert binary.binary and not text.binary and text.added == 1


def test_a_submodule(scratch: Scratch) -> None:
    (moved,) = diff(scratch, {"lib": submodule("1" * 40)}, {"lib": submodule("2" * 40)})
    assert moved.submodule and (moved.old_mode, moved.new_mode) == (GITLINK, GITLINK)
    assert [line.text for line in moved.hunks[0].lines] == [f"Subproject commit {c * 40}" for c in "12"]
    (added,) = diff(scratch, {"a": "x\n"}, {"a": "x\n", "lib": submodule("1" * 40)})
    assert added.submodule and added.status == "added"


def test_a_file_that_becomes_a_symlink_is_two_entries(scratch: Scratch) -> None:
    first, second = diff(scratch, {"a": TEXT}, {"a": ("b", "120000")})
    assert (first.status, second.status) == ("deleted", "added")
    assert second.new_mode == "120000" and second.hunks[0].lines[0].newline is False


def test_a_last_line_that_gains_its_end(scratch: Scratch) -> None:
    (file,) = diff(scratch, {"a": "x\ny"}, {"a": "x\ny\n"})
    assert [(line.kind, line.newline) for line in file.hunks[0].lines] == [
        (" ", True),
        ("-", False),
        ("+", True),
    ]


def test_an_empty_patch_has_no_files() -> None:
    assert parse(b"") == ()


GOOD = b"diff --git a/x b/x\nindex 1..2 100644\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"


@pytest.mark.parametrize(
    "patch",
    [
        b"hello\n",
        GOOD + b"hello\n",
        GOOD[:-3],
        GOOD.replace(b"@@ -1 +1 @@", b"@@ nonsense @@"),
        GOOD.replace(b"@@ -1 +1 @@", b"@@ -1,2 +1 @@"),
        GOOD.replace(b"@@ -1 +1 @@", b"@@ -1,0 +1 @@"),
        GOOD.replace(b"-a", b"*a"),
        GOOD.replace(b"index", b"andex"),
        b"diff --git x\n",
    ],
)
def test_what_git_did_not_write_is_refused_with_its_line(patch: bytes) -> None:
    assert len(parse(GOOD)) == 1
    with pytest.raises(UsageError, match="not a patch") as caught:
        parse(patch)
    assert caught.value.where.startswith("line ")


@given(st.binary(max_size=80))
def test_noise_never_crashes(noise: bytes) -> None:
    for patch in (noise, b"diff --git a/x b/x\n" + noise, GOOD + noise):
        try:
            parse(patch)
        except UsageError:
            pass


def test_ten_thousand_lines_are_read_in_a_fifth_of_a_second(scratch: Scratch) -> None:
    import time

    old = "".join(f"line {n} of a long file\n" for n in range(10_000))
    patch = scratch.repo.patch(scratch.tree({"a": old}), scratch.tree({"a": old.replace("of a", "of the")}))
    start = time.process_time()
    (file,) = parse(patch)
    assert file.added == count(old.encode()) and time.process_time() - start < 0.2
