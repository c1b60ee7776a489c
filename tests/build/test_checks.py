"""The checks of `scripts/checks` in their short form: on one project made on the spot."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.build.test_edits import Place, place  # first: it makes scripts/ importable

from checking import moved, overhead, shared, start, traced  # isort: skip
from selection.edit import File, put  # isort: skip
from selection.measure import Fairlead  # isort: skip

__all__ = ["place"]

pytestmark = pytest.mark.timeout(600)


def _said(lines: list[str]) -> str:
    return "\n".join(lines)


@pytest.mark.slow
def test_no_path_of_a_run_within_walls_is_missing(place: Place) -> None:
    if shutil.which("strace") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("strace is missing: apt-get install strace")
        pytest.skip("strace is missing: apt-get install strace")
    root = place.for_fairlead()
    runner = Fairlead(place.fairlead, root, 300)
    assert runner.test().refused == ""
    runner.stop()
    label = "//:tests/planted/test_planted_child"
    seen, lacks = traced.one(place.fairlead, root, label)
    assert lacks == []
    assert {"/project/tests/planted/planted_data/child.txt", "/project/tests/planted"} <= seen


def test_a_trace_is_read_with_its_children_and_their_folders() -> None:
    text = """
10 openat(AT_FDCWD</real>, "of-fairlead", O_RDONLY) = 3</real/of-fairlead>
11 execve("/t/python", ["python", "x/run_pytest.py"], 0x7 /* 3 vars */) = 0
11 stat("tests", {st_mode=S_IFDIR}) = 0
11 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 2 /* 12 in strace's PID NS */
12 chdir("tests") = 0
12 access("data", R_OK <unfinished ...>
11 vfork( <unfinished ...>
12 <... access resumed>) = 0
11 <... vfork resumed>) = 3 /* 13 in strace's PID NS */
13 execve("/bin/cat", ["cat", "tests/x"], 0x7) = 0
13 openat(AT_FDCWD</project>, "tests/x", O_RDONLY) = 3</project/tests/x>
13 getdents64(3</project/tests>, 0x5 /* 3 entries */, 32768) = 80
14 openat(AT_FDCWD</project>, "of-another", O_RDONLY) = -1 ENOENT
11 symlink("anywhere", "link") = 0
11 rename("one", "two") = 0
"""
    below = {path for path in traced.paths(text.strip().splitlines()) if path.startswith("/project/")}
    names = ("tests", "tests/data", "tests/x", "link", "one", "two")
    assert below == {f"/project/{name}" for name in names}


@pytest.mark.slow
def test_another_place_and_user_make_no_other_key(place: Place) -> None:
    lines: list[str] = []
    assert moved.check(place, lines.append), _said(lines)
    assert "14 targets: 0 ran again" in _said(lines)


@pytest.mark.slow
def test_no_test_finds_what_another_left(place: Place) -> None:
    lines: list[str] = []
    assert shared.check(place, lines.append, alone=True), _said(lines)


@pytest.mark.slow
def test_init_asks_for_what_nobody_declared_though_an_index_has_it(place: Place) -> None:
    lines: list[str] = []
    assert start.check(place, lines.append), _said(lines)
    assert "of 4 undeclared modules 4 were asked for and 0 distributions were installed" in _said(lines)


def test_what_recording_costs_is_measured(place: Place) -> None:
    put(place.for_oracle() / "tests/test_crew.py", File(b"def test(): assert sum(range(9000000))\n"))
    ratio, seconds, told = overhead.measure(place, ["tests/test_crew.py"], 1)
    assert 0.3 < ratio < 3 and 0.1 < seconds < 60 and told.startswith("1 rounds, load ")
