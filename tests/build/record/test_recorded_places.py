"""A recorded test and what is unusual in a project: large files, odd names, submodules, what is left out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.build.project import commit, git
from tests.build.test_build_verbs import Clone
from tests.build.wheels import Wheelhouse, real_pytest

PYPROJECT = '[project]\nname = "thing"\nversion = "1"\n[tool.fairlead.build]\ninfer = true\n'
TEST = r"""
import filecmp, os, pathlib

def test_reads():
    assert filecmp.cmp("same/a.txt", "same/b.txt")
    assert not filecmp.dircmp("same", "same/c").diff_files
    with open("data/big.bin", "rb") as file:
        assert file.read(1) in (b"x", b"y")
    assert os.listdir(b"names") == [b"\xff.txt"]
    assert open(b"names/\xff.txt").read() in ("byte", "other")
    assert open("full/x.txt").read() == "x"
    assert os.path.isdir("none") and not os.listdir("none")

def test_writes():
    with open("data/big.bin", "r+b") as file:
        file.write(b"w")
    os.replace("data/big.bin", "data/moved.bin")
    pathlib.Path("full/x.txt").write_text("changed")
"""
LABEL = "//:tests/test_it"
SIZE = 3 << 20


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    house = Wheelhouse(tmp_path / "wheels", monkeypatch)
    monkeypatch.setenv("UV_OFFLINE", "1")
    real_pytest(house)
    made = Clone(tmp_path / "clone")
    for path in (".buckconfig", "lib/BUCK", "lib/words.txt", "lib/check.sh"):
        (made.root / path).unlink()
    made.write("pyproject.toml", PYPROJECT)
    made.write("requirements/tests.txt", "pytest\n")
    made.write(".gitignore", "fairlead-out\ndata\n")
    made.write("tests/test_it.py", TEST)
    made.write("data/raw/x.csv", "x")
    for path in ("same/a.txt", "same/b.txt", "same/c/a.txt"):
        made.write(path, "one")
    (made.root / "data/big.bin").write_bytes(b"x" * SIZE)
    (made.root / "names").mkdir()
    with open(os.path.join(os.fsencode(made.root), b"names/\xff.txt"), "w") as file:
        file.write("byte")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "x.txt").write_text("x")
    commit(inner)
    made.run("init", "--lock", "--static")
    for name in ("full", "none"):
        git(made.root, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), name)
    git(made.root, "submodule", "deinit", "-q", "-f", "none")
    made.commit("a project")
    return made


def state(clone: Clone, code: int = 0) -> str:
    line = next(row for row in clone.run("test", LABEL, code=code)[0].splitlines() if LABEL in row)
    return "known" if "passed before" in line else "runs" if line.startswith("pass") else "fails"


def test_a_recorded_test_sees_it_and_runs_again_if_it_changes(clone: Clone) -> None:
    assert state(clone) == "runs" and state(clone) == "known"
    big = clone.root / "data/big.bin"
    assert big.read_bytes() == b"x" * SIZE and (clone.root / "full/x.txt").read_text() == "x"
    blobs = clone.root / "fairlead-out/store/blobs"
    assert not [path for path in blobs.rglob("*") if path.is_file() and path.stat().st_size == SIZE]
    os.utime(big)
    assert state(clone) == "known"  # it holds what it held
    big.write_bytes(b"y" * SIZE)
    assert state(clone) == "runs"
    big.write_bytes(b"x" * SIZE)
    assert state(clone) == "known"
    with open(os.path.join(os.fsencode(clone.root), b"names/\xff.txt"), "w") as file:
        file.write("other")
    assert state(clone) == "runs"
    for path in ("same/b.txt", "same/c/a.txt"):
        clone.write(path, "two")  # files in a view have one time: two of one size are not the same for it
        assert state(clone, code=1) == "fails"
        clone.write(path, "one")
        assert state(clone) == "known"
    assert state(clone) == "known"
    (clone.root / "none").rmdir()
    assert state(clone, code=1) == "fails"
    (clone.root / "none").mkdir()
    assert state(clone) == "known"
    clone.write("full/x.txt", "y")
    assert state(clone, code=1) == "fails"
    clone.write("full/x.txt", "x")
    out, _ = clone.run("why", "--asked", LABEL)
    assert "names/\N{REPLACEMENT CHARACTER}.txt" in out
    clone.write("none/x.txt", "x")
    assert state(clone, code=1) == "fails"


def test_a_test_that_asks_for_what_is_left_out_is_told_so(clone: Clone) -> None:
    clone.write("tests/test_it.py", "def test_csv():\n    assert open('data/raw/' + 'x.csv').read()\n")
    assert state(clone) == "runs"
    clone.write("pyproject.toml", PYPROJECT + 'ignore = ["data/raw"]\n')
    out, _ = clone.run("test", LABEL, code=1)
    said = '"data/raw" in build.ignore leaves it out: change that in pyproject.toml'
    assert f"data/raw/x.csv (opened): {said}" in out
    clone.write("pyproject.toml", PYPROJECT)
    assert state(clone) == "known"
