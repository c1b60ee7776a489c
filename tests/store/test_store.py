"""Blobs, results, atomic files and locks, with real processes, real kills and a real full disk."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fairlead.errors import MachineryError
from fairlead.store import Record, Store, atomic, crashpoint, digest, lock
from tests.disk import small_disk


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".tmp")]


def test_a_blob_is_stored_once_under_its_digest(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    name = store.blobs.put(b"hello")
    assert name == digest.of_bytes(b"hello")
    before = store.blobs.path(name).stat()
    assert store.blobs.put(b"hello") == name
    assert store.blobs.path(name).stat().st_mtime_ns == before.st_mtime_ns
    assert before.st_mode & 0o222 == 0
    source = tmp_path / "source"
    source.write_bytes(b"x" * 3_000_000)
    assert store.blobs.put_file(source) == digest.of_file(source)
    assert not leftovers(tmp_path)


def test_a_file_is_moved_here_without_what_its_maker_hung_on_it(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    plain, marked = tmp_path / "plain", tmp_path / "marked"
    plain.write_bytes(b"plain")
    marked.write_bytes(b"marked")
    try:
        os.setxattr(marked, "user.mark", b"1")
    except OSError:
        assert not os.listxattr(tmp_path)  # no file of this file system has any
    names = [store.blobs.take(path) for path in (plain, marked)]
    assert names == [digest.of_bytes(b"plain"), digest.of_bytes(b"marked")] and not plain.exists()
    for name in names:
        assert not [mark for mark in os.listxattr(store.blobs.path(name)) if mark.startswith("user.")]
        assert store.blobs.whole(name, len(store.blobs.get(name)))


def test_a_placed_blob_can_be_spoiled_without_spoiling_the_store(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    name = store.blobs.put(b"echo hello\n")
    target = tmp_path / "out" / "tool"
    store.blobs.place(name, target, executable=True)
    assert target.stat().st_mode & 0o777 == 0o555
    target.chmod(0o644)
    target.write_bytes(b"spoiled")
    assert store.blobs.get(name) == b"echo hello\n"


def test_a_name_that_is_no_digest_never_becomes_a_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        Store.open(tmp_path).blobs.path("../../etc/passwd")


def test_a_missing_blob_is_named(tmp_path: Path) -> None:
    with pytest.raises(MachineryError, match="0000"):
        Store.open(tmp_path).blobs.get("0" * 64)


def test_results_survive_reopening_and_are_dropped_when_of_another_version(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.results.put("ns", "key", b"value")
    record = Record("target", 1, {"a": 1})
    store.put_record(record)
    store.results.close()
    again = Store.open(tmp_path)
    assert again.results.get("ns", "key") == b"value"
    found = again.get_record(record.key)
    assert found is not None and found.key == record.key
    again.results.close()
    db = sqlite3.connect(tmp_path / "results.sqlite")
    db.execute("PRAGMA user_version=99")
    db.close()
    assert Store.open(tmp_path).results.get("ns", "key") is None


def test_a_damaged_results_file_is_rebuilt(tmp_path: Path) -> None:
    (tmp_path / "results.sqlite").write_bytes(b"this is no database, it is a text of some length" * 50)
    store = Store.open(tmp_path)
    store.results.put("ns", "key", b"value")
    assert list(store.results.items("ns")) == [("key", b"value")]


def test_a_folder_that_cannot_be_made_is_not_called_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineryError) as caught:
        Store.open(tmp_path / "file" / "store")
    assert "store.dir" in caught.value.remedy
    assert "Errno" not in caught.value.what


def test_processes_that_make_the_results_at_once_take_turns(tmp_path: Path) -> None:
    """SQLite's timeout does not cover the change to WAL; each folder is opened by all at the same moment."""
    opens = """
import sys, time
from pathlib import Path
from fairlead.store import Store
print("ready", flush=True)
begin = float(sys.stdin.readline())
for turn in range(30):
    while time.time() < begin + turn / 50:
        pass
    Store.open(Path(sys.argv[1], str(turn))).results.put("ns", sys.argv[2], b"value")
"""
    some = [
        subprocess.Popen(
            [sys.executable, "-c", opens, tmp_path, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    for process in some:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    begin = time.time() + 0.1
    said = []
    for process in some:
        assert process.stdin is not None
        process.stdin.write(f"{begin}\n")
        process.stdin.flush()
    for process in some:
        said.append(process.communicate(timeout=60)[1])
    assert [process.returncode for process in some] == [0, 0], said
    for turn in range(30):
        assert len(list(Store.open(tmp_path / str(turn)).results.items("ns"))) == 2


def test_writers_in_threads_do_not_lose_rows(tmp_path: Path) -> None:
    results = Store.open(tmp_path).results

    def fill(worker: int) -> None:
        for n in range(50):
            results.put("ns", f"{worker}-{n}", b"x")

    threads = [threading.Thread(target=fill, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(results.items("ns"))) == 200


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(ValueError), atomic.folder(tmp_path / "made") as temp:
        (temp / "half").write_text("half")
        raise ValueError
    assert not (tmp_path / "made").exists() and not leftovers(tmp_path)
    with atomic.folder(tmp_path / "made") as temp:
        (temp / "whole").write_text("whole")
    assert (tmp_path / "made" / "whole").read_text() == "whole"
    with atomic.folder(tmp_path / "made") as temp:
        (temp / "other").write_text("a second maker of the same content")
    assert not (tmp_path / "made" / "other").exists() and not leftovers(tmp_path)


def test_a_full_disk_is_an_error_with_a_remedy_and_leaves_the_old_file(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kilobytes=256) as disk:
        atomic.write(disk / "file", b"old")
        with pytest.raises(MachineryError) as caught:
            atomic.write(disk / "file", b"x" * 1_000_000)
        assert "No space left" in caught.value.what and "free some space" in caught.value.remedy
        assert (disk / "file").read_bytes() == b"old" and not leftovers(disk)
        source = tmp_path / "big"
        source.write_bytes(b"y" * 1_000_000)
        with pytest.raises(MachineryError, match="No space left"):
            Store.open(disk / "store").blobs.put_file(source)
        assert not leftovers(disk)


HOLDER = """
import sys, time
from pathlib import Path
from fairlead.store import lock
with lock.hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_waits_for_its_holder_and_is_free_when_the_holder_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    assert lock.try_hold(path) is None
    waited: list[float] = []
    threading.Timer(0.3, lambda: holder.send_signal(signal.SIGKILL)).start()
    with lock.hold(path, on_wait=lambda: waited.append(time.monotonic())):
        assert len(waited) == 1
    holder.wait()
    holder.stdout.close()


CRASH = """
import os, sys
from pathlib import Path
from fairlead.store import crashpoint
name = crashpoint.declare("test.point", "nothing is true")
for n in range(int(sys.argv[1])):
    crashpoint.here(name)
print("alive")
"""


@pytest.mark.parametrize(
    ("wanted", "passes", "dies"),
    [("test.point", 1, True), ("test.point:3", 2, False), ("test.point:3", 3, True), ("other", 5, False)],
)
def test_a_crash_point_kills_only_where_it_was_asked(wanted: str, passes: int, dies: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASH, str(passes)],
        env={**os.environ, "FAIRLEAD_CRASH_AT": wanted}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == (-signal.SIGKILL if dies else 0)
    assert crashpoint.NAMES is not None
