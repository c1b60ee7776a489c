"""Recorded tests when things go wrong around them: edits meanwhile, other checkouts, clocks, disks."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.build.test_build_verbs import Clone
from tests.build.wheels import Wheelhouse, real_pytest
from tests.disk import small_disk

PYPROJECT = """
[project]
name = "thing"
version = "1"
[tool.fairlead.build]
infer = true
"""
FILES = {
    "requirements/tests.txt": "pytest\nwords==1.0\n",
    "pyproject.toml": PYPROJECT,
    ".gitignore": "fairlead-out\n__pycache__\n",
    "thing.py": "def word():\n    return 'word'\n",
    "data/a.txt": "good",
    "tests/test_a.py": "import pathlib, thing, words\ndef test():\n    assert thing.word() == 'word'\n"
    "    assert pathlib.Path('data/a.txt').read_text() == 'good'\n",
    "tests/test_b.py": "import thing\ndef test(): assert thing.word()\n",
}
SLOW = (
    "import pathlib, time, thing\ndef test():\n    time.sleep(3)\n"
    "    assert pathlib.Path('data/a.txt').read_text() == 'good'\n"
)
A, B = "//:tests/test_a", "//:tests/test_b"


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheelhouse:
    found = Wheelhouse(tmp_path / "wheels", monkeypatch)
    monkeypatch.setenv("UV_OFFLINE", "1")
    real_pytest(found)
    found.add("words", {"words.py": "VALUE = 1\n"})
    return found


@pytest.fixture
def clone(tmp_path: Path, house: Wheelhouse) -> Clone:
    made = Clone(tmp_path / "clone")
    for path in (".buckconfig", "lib/BUCK", "lib/words.txt", "lib/check.sh"):
        (made.root / path).unlink()
    for path, text in FILES.items():
        made.write(path, text)
    made.run("init", "--lock")
    made.commit("a project")
    return made


def states(clone: Clone, *more: str, code: int = 0) -> dict[str, str]:
    """How each test ended, or that it is known."""
    rows = clone.json("test", *more, code=code)["results"]
    assert isinstance(rows, list)
    return {row["label"]: "known" if row["reused"] else row["outcome"] for row in rows}


def begun(process: subprocess.Popen[str], store: Path) -> None:
    """Wait until a test runs."""
    until = time.monotonic() + 60
    while not list(store.glob("scratch/test-*/log")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    time.sleep(0.3)


@pytest.mark.parametrize("how", ["edited and put back", "removed", "time put back"])
def test_what_is_edited_while_a_test_runs_is_another_state(clone: Clone, how: str) -> None:
    clone.write("tests/test_a.py", SLOW)
    place = clone.root / "data/a.txt"
    process = clone.start("test", A)
    begun(process, clone.root / "fairlead-out/store")
    seen = place.stat()
    place.write_text("evil")
    if how == "edited and put back":
        place.write_text("good")
    elif how == "removed":
        place.unlink()
    elif how == "time put back":
        os.utime(place, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err  # it saw the files as they were when it began
    if how == "edited and put back":
        assert states(clone, A) == {A: "known"}
    else:
        assert states(clone, A, code=1) == {A: "fail"}
        place.write_text("good")
        assert states(clone, A) == {A: "known"}


def test_two_checkouts_and_a_worktree_share_a_store(clone: Clone, tmp_path: Path) -> None:
    store = tmp_path / "store"
    os.environ["FAIRLEAD_STORE_DIR"] = str(store)
    try:
        assert set(states(clone).values()) == {"pass"}
        clone.git("worktree", "add", "-q", str(tmp_path / "tree"), "-b", "other")
        other = Clone.__new__(Clone)
        other.root = tmp_path / "tree"
        assert states(other) == {A: "known", B: "known"}  # the same questions, the same answers
        other.write("data/a.txt", "evil")
        assert states(other, code=1) == {A: "fail", B: "known"}
        assert states(clone) == {A: "known", B: "known"}
        other.write("data/a.txt", "good")
        other.write("thing.py", "def word():\n    return 'w' + 'ord'\n")
        both = [clone.start("test", "--no-test-cache"), other.start("test", "--no-test-cache")]
        for process in both:
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0 and "2 of 2 passed" in out, out + err
        assert states(clone) == states(other) == {A: "known", B: "known"}
        assert len(list((store / "views").iterdir())) == 2
    finally:
        del os.environ["FAIRLEAD_STORE_DIR"]


def test_two_calls_at_once_and_one_that_is_killed(clone: Clone) -> None:
    first, second = clone.start("test"), clone.start("test")
    for process in (first, second):
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0 and "2 of 2 passed" in out, out + err
    clone.write("tests/test_a.py", SLOW)
    first = clone.start("test")
    begun(first, clone.root / "fairlead-out/store")
    second = clone.start("test")
    first.kill()
    first.communicate()
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0 and "2 of 2 passed" in out, out + err


def test_another_wheel_of_the_same_version(clone: Clone, house: Wheelhouse) -> None:
    assert set(states(clone).values()) == {"pass"}
    old = clone.read("requirements.tests.lock")
    house.add("words", {"words.py": "VALUE = 2\n"})
    shutil.rmtree(house.folder / "cache", ignore_errors=True)
    clone.run("init", "--lock")
    new = clone.read("requirements.tests.lock")
    assert new != old
    assert states(clone) == {A: "pass", B: "known"}
    clone.write("requirements.tests.lock", old)
    assert states(clone) == {A: "known", B: "known"}


def test_a_clock_that_jumps(clone: Clone) -> None:
    """Files that were written in another year, of one size and one time."""
    assert set(states(clone).values()) == {"pass"}
    place = clone.root / "data/a.txt"
    then = time.time() + 4000 * 86400
    os.utime(place, (then, then))
    assert states(clone) == {A: "known", B: "known"}
    place.write_text("evil")
    os.utime(place, (then, then))
    assert states(clone, code=1) == {A: "fail", B: "known"}
    place.write_text("good")
    os.utime(place, (then, then))
    assert states(clone) == {A: "known", B: "known"}
    for path in (clone.root / "fairlead-out/store").rglob("*"):
        if path.is_file() and "blobs" not in path.parts:
            os.utime(path, (then, then))
    assert states(clone) == {A: "known", B: "known"}


@pytest.fixture
def read_only(clone: Clone) -> Iterator[Clone]:
    """The project on a mount that nobody can write to."""
    clone.run("test")
    at = str(clone.root)
    for words in (["--bind", at, at], ["-o", "remount,bind,ro", at]):
        done = subprocess.run(["mount", *words], capture_output=True)
        if done.returncode:  # only root may; under CI that is a fault of the machine
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("nothing can be mounted here")
    try:
        yield clone
    finally:
        subprocess.run(["umount", "-l", at], check=True)


def test_a_project_that_is_read_only(read_only: Clone, tmp_path: Path) -> None:
    _, err = read_only.run("test", code=3)
    assert "choose another with the setting store.dir" in err, err
    found = read_only.run("test", env={"FAIRLEAD_STORE_DIR": str(tmp_path / "store")})[0]
    assert "2 of 2 passed" in found
    found = read_only.run("test", env={"FAIRLEAD_STORE_DIR": str(tmp_path / "store")})[0]
    assert "no test ran" in found


def test_a_disk_that_is_full(clone: Clone, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kilobytes=60_000) as disk:
        env = {"FAIRLEAD_STORE_DIR": str(disk / "store")}
        clone.run("test", env=env)
        clone.write("data/b.txt", "x" * 4_000_000)
        clone.write("thing.py", "def word():\n    return 'wo' + 'rd'\n")
        filled = disk / "filled"
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        filled.write_bytes(b"x" * max(0, free - 2_000_000))
        _, err = clone.run("test", env=env, code=3)
        assert "No space left" in err or "full" in err, err
        filled.unlink()
        out, _ = clone.run("test", env=env)
        assert "2 of 2 passed, 2 ran" in out
        assert "no test ran" in clone.run("test", env=env)[0]


def test_a_store_that_is_removed_while_a_test_runs(clone: Clone) -> None:
    clone.write("tests/test_a.py", SLOW)
    process = clone.start("test")
    store = clone.root / "fairlead-out/store"
    begun(process, store)
    gone = store.with_name("gone")
    store.rename(gone)
    shutil.rmtree(gone)
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    assert process.returncode in (0, 1, 3), out + err
    assert states(clone) == {A: "pass", B: "pass"}
    assert states(clone) == {A: "known", B: "known"}


SPOIL: dict[str, Callable[[Path], object]] = {
    "a file removed": lambda view: (view / "data/a.txt").unlink(),
    "a file written to": lambda view: (view / "thing.py").write_text("def word(): return 'other'\n"),
    "a folder removed": lambda view: shutil.rmtree(view / "data"),
}


def test_a_view_that_somebody_cleaned(clone: Clone) -> None:
    """What tools that clean up leave of the copy that tests see is not what the tests are judged by."""
    assert set(states(clone).values()) == {"pass"}
    [view] = (clone.root / "fairlead-out/store/views").iterdir()
    for how, spoil in SPOIL.items():
        spoil(view / "files")
        assert states(clone, "--no-test-cache") == {A: "pass", B: "pass"}, how
