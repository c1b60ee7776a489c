"""The digests of files by their state on disk: what is remembered, and what never is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.store import Results, digest
from fairlead.store.filedigests import NAMESPACE, RACY, FileDigests


@pytest.fixture
def known(tmp_path: Path) -> FileDigests:
    return FileDigests(Results(tmp_path / "results.sqlite"))


def later() -> int:
    """A moment at which all that has been written by now is old enough to be remembered."""
    return time.time_ns() + RACY + 1_000_000_000


def look(known: FileDigests, path: Path, now: int | None = None) -> str | None:
    """What is known of the file as it is."""
    return known.find({str(path): path.lstat()}, later() if now is None else now).get(str(path))


def _same_size(path: Path) -> None:
    path.write_bytes(b"two")


def _time_set_back(path: Path) -> None:
    before = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replaced(path: Path) -> None:
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"two")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def _hard_link_put_there(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"two")
    path.unlink()
    os.link(other, path)


@pytest.mark.parametrize("change", [_same_size, _time_set_back, _replaced, _hard_link_put_there])
def test_a_changed_file_is_not_taken_for_what_it_was(
    known: FileDigests, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    assert known.read([str(path)], later()) == {str(path): digest.of_bytes(b"one")}
    assert look(known, path) == digest.of_bytes(b"one")
    change(path)
    assert look(known, path) is None
    assert known.read([str(path)], later()) == {str(path): digest.of_bytes(b"two")}
    assert look(known, path) == digest.of_bytes(b"two")


def test_what_has_just_changed_is_not_remembered(known: FileDigests, tmp_path: Path) -> None:
    """A second change in the same tick of the clock could not be seen."""
    path = tmp_path / "file"
    path.write_bytes(b"one")
    assert known.read([str(path)], time.time_ns()) == {str(path): digest.of_bytes(b"one")}
    assert look(known, path) is None
    state = path.stat()
    known.read([str(path)], max(state.st_ctime_ns, state.st_mtime_ns) + RACY - 1)
    assert look(known, path) is None
    known.read([str(path)], max(state.st_ctime_ns, state.st_mtime_ns) + RACY)
    assert look(known, path) == digest.of_bytes(b"one")


def test_after_the_clock_was_set_back_files_of_the_future_are_read_again(
    known: FileDigests, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    known.read([str(path)], later())
    assert look(known, path, now=time.time_ns() - 3600 * 1_000_000_000) is None
    os.utime(path, ns=(0, time.time_ns() + 3600 * 1_000_000_000))
    known.read([str(path)], later())
    assert look(known, path) is None


def test_a_damaged_row_is_no_answer(known: FileDigests, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    known.read([str(path)], later())
    row = known._results.get(NAMESPACE, str(path))
    assert row is not None
    for bad in (b"", b"\xff\xfe", row[:-1], row + b"0", row.rpartition(b" ")[0]):
        known._results.put(NAMESPACE, str(path), bad)
        assert look(known, path) is None


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.binary(max_size=3), st.booleans()), max_size=12))
def test_it_never_says_what_a_file_does_not_hold(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[str, bytes, bool]]
) -> None:
    """Whatever is written, by rename or in place, with whatever times; time goes by between the edits."""
    folder = tmp_path_factory.mktemp("edits")
    known = FileDigests(Results(folder / "results.sqlite"))
    for name, data, replace in edits:
        path = folder / name
        if replace:
            (folder / "new").write_bytes(data)
            (folder / "new").replace(path)
        else:
            path.write_bytes(data)
        os.utime(path, ns=(0, 0))
        files = {str(p): p.lstat() for p in folder.iterdir() if len(p.name) == 1}
        found = known.find(files, later())
        assert all(found[p] == digest.of_file(Path(p)) for p in found)
        known.read([p for p in files if p not in found], later())
        assert set(known.find(files, later())) == set(files)
        time.sleep(0.01)  # longer than a tick: within one, only RACY helps
    known._results.close()


def test_a_thousand_and_more_files_are_asked_for_at_once(known: FileDigests, tmp_path: Path) -> None:
    paths = [tmp_path / f"file{i}" for i in range(1201)]
    for path in paths:
        path.write_text(path.name)
    read = known.read([str(path) for path in paths], later())
    assert known.find({str(path): path.lstat() for path in paths}, later()) == read
    assert read[str(paths[7])] == digest.of_bytes(b"file7")


def test_a_kill_leaves_whole_batches(tmp_path: Path) -> None:
    """Each batch writes one number into all rows: a reader after the kill sees one number only."""
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from fairlead.store import Results
results = Results(Path({str(tmp_path / "results.sqlite")!r}))
number = 0
while True:
    results.put_many("batch", {{f"row{{i}}": str(number).encode() for i in range(500)}})
    number += 1
    print(number, flush=True)
"""
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        for _ in range(3):
            writer.stdout.readline()
        writer.kill()
        writer.wait()
        writer.stdout.close()
        results = Results(tmp_path / "results.sqlite")
        rows = dict(results.items("batch"))
        assert len(rows) == 500 and len(set(rows.values())) == 1
        results.close()
