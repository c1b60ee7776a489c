"""A recorded test sees the whole project, and runs again exactly if something that it asked has changed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fairlead.store import Store
from tests.build.test_build_verbs import Clone
from tests.build.wheels import Wheelhouse, real_pytest

PYPROJECT = """
[project]
name = "thing"
version = "1"
[tool.fairlead.build]
infer = true
"""
TEST = """
import glob, os, pathlib, subprocess, sys
import thing

def test_reads():
    assert thing.word() == "word"
    assert pathlib.Path("data/a.txt").read_text() in ("a", "b")
    assert not os.path.exists("switch")
    assert len(glob.glob("data/*.txt")) < 3
    child = subprocess.run([sys.executable, "-S", "tools/child.py"], capture_output=True, text=True)
    assert child.stdout.strip() == "child", child
    os.access("tools/run.sh", os.X_OK)
    assert os.path.realpath("link")

def test_writes(tmp_path):
    pathlib.Path("src/thing/written.txt").write_text("x")
    pathlib.Path("data/a.txt").write_text("changed")
    (tmp_path / "x").mkdir()
"""
FILES = {
    "requirements/tests.txt": "pytest\nwords==1.0\nothers==1.0\n",
    "pyproject.toml": PYPROJECT,
    ".gitignore": "fairlead-out\n__pycache__\n",
    "tests/test_it.py": TEST,
    "tests/test_other.py": "import words\ndef test(): pass\n",
    "src/thing/__init__.py": "from thing.other import word\n",
    "src/thing/other.py": "def word():\n    return 'word'\n",
    "src/thing/unused.py": "x = 1\n",
    "data/a.txt": "a",
    "tools/child.py": "print(open('tools/words.txt').read())\n",
    "tools/words.txt": "child\n",
    "tools/run.sh": "#!/bin/sh\n",
    "docs/readme.txt": "",
}
LABEL = "//:tests/test_it"


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    house = Wheelhouse(tmp_path / "wheels", monkeypatch)
    monkeypatch.setenv("UV_OFFLINE", "1")
    real_pytest(house)
    for version in ("1.0", "1.1"):
        house.add("words", {"words.py": f"VERSION = '{version}'"}, version=version)
        house.add("others", {"others.py": f"VERSION = '{version}'"}, version=version)
    house.add("others", {"others.py": "", "thing.py": ""}, version="2.0")
    made = Clone(tmp_path / "clone")
    for path in (".buckconfig", "lib/BUCK", "lib/words.txt", "lib/check.sh"):
        (made.root / path).unlink()
    for path, text in FILES.items():
        made.write(path, text)
    (made.root / "link").symlink_to("data")
    made.run("init", "--lock")
    made.commit("a project")
    return made


def write(path: str, text: str) -> Callable[[Clone], object]:
    return lambda clone: clone.write(path, text)


def relink(clone: Clone) -> None:
    (clone.root / "link").unlink()
    (clone.root / "link").symlink_to("docs")


EDITS: dict[str, tuple[Callable[[Clone], object], str]] = {
    "a source that was imported": (
        write("src/thing/other.py", "def word():\n    return 'w' + 'ord'\n"),
        "runs",
    ),
    "a source that was not": (write("src/thing/unused.py", "x = 2\n"), "known"),
    "a module that shadows another": (write("src/pluggy.py", "raise SystemExit(3)\n"), "fails"),
    "a module that the standard library's shadows": (write("src/glob.py", "raise SystemExit(3)\n"), "known"),
    "a file of data": (write("data/a.txt", "b"), "runs"),
    "a name in a folder that was listed": (write("data/new.txt", "x"), "runs"),
    "a file in a folder that nobody looked into": (write("docs/new.txt", "x"), "known"),
    "a file that was asked for in vain": (write("switch", ""), "fails"),
    "what a child reads": (write("tools/words.txt", " child\n"), "runs"),
    "the mode of a file that was looked at": (lambda c: os.chmod(c.root / "tools/run.sh", 0o755), "runs"),
    "where a link leads": (relink, "runs"),
    "a file that is gone": (lambda c: (c.root / "data/a.txt").unlink(), "fails"),
    "documentation": (write("docs/readme.txt", "more"), "known"),
    "another test": (write("tests/test_other.py", "def test(): assert True\n"), "known"),
    "a conftest": (write("tests/conftest.py", "raise ValueError\n"), "fails"),
    "settings of pytest": (write("pytest.ini", "[pytest]\naddopts = --no-such-option\n"), "fails"),
    "what tools leave behind": (write("src/thing/__pycache__/x.pyc", "x"), "known"),
    "a folder with nothing in it": (lambda c: (c.root / "data/empty").mkdir(), "known"),
}


def state(clone: Clone, code: int = 0) -> str:
    """Whether the test was known, or ran and how."""
    line = next(row for row in clone.run("test", LABEL, code=code)[0].splitlines() if LABEL in row)
    return "known" if "passed before" in line else "runs" if line.startswith("pass") else "fails"


def test_an_edit_runs_it_again_only_if_it_asked(clone: Clone) -> None:
    assert state(clone) == "runs" and state(clone) == "known"
    assert clone.git("status", "--short") == ""  # what it wrote is nowhere
    found = {}
    for name, (edit, expected) in EDITS.items():
        edit(clone)
        found[name] = state(clone, code=int(expected == "fails"))
        clone.git("clean", "-fdq")
        clone.git("checkout", "-q", ".")
        assert state(clone) == "known", name
    assert found == {name: expected for name, (_, expected) in EDITS.items()}


def test_another_version_of_a_distribution_concerns_those_who_use_it(clone: Clone) -> None:
    other = "//:tests/test_other"
    for name, version, expected in [
        ("words", "1.0", {LABEL: "ran", other: "ran"}),
        ("words", "1.1", {LABEL: "known", other: "ran"}),
        ("others", "1.1", {LABEL: "known", other: "known"}),
        ("others", "2.0", {LABEL: "ran", other: "ran"}),  # a new name to import
    ]:
        text = re.sub(f"{name}==[0-9.]*", f"{name}=={version}", clone.read("requirements/tests.txt"))
        clone.write("requirements/tests.txt", text)
        clone.run("init", "--lock")
        results = rows(clone.json("test", "//..."))
        found = {row["label"]: "known" if row["reused"] else "ran" for row in results}
        assert found == expected, (name, version)


def test_why_names_what_differs_in_what_it_asked(clone: Clone) -> None:
    state(clone)
    clone.write("data/a.txt", "b")
    clone.write("switch", "")
    out, _ = clone.run("why", LABEL)
    assert "data/a.txt" in out and "switch was not there, now it is a file" in out
    document = clone.json("why", LABEL)
    assert document["state"] == "no pass"
    clone.git("clean", "-fdq")
    clone.git("checkout", "-q", ".")
    assert "passed" in clone.run("why", LABEL)[0]


def test_a_failure_takes_back_the_pass_with_the_same_answers(clone: Clone) -> None:
    end = time.time() + 6
    clone.write("tests/test_it.py", f"import time\ndef test(): assert time.time() < {end}\n")
    assert state(clone) == "runs" and state(clone) == "known"
    time.sleep(max(0.0, end - time.time()))
    assert state(clone) == "known"
    clone.run("test", LABEL, "--no-test-cache", code=1)
    assert state(clone, code=1) == "fails"


def test_a_recorded_test_that_passes_by_turns_is_flaky(clone: Clone) -> None:
    """Its key is what it asked: of a run that fails none is known, but the files were the same."""
    clone.write("tests/test_it.py", f"import os\ndef test(): assert os.nice(0) == {os.nice(0)}\n")
    command = [sys.executable, "-m", "fairlead", "test", LABEL, "--no-test-cache"]

    def end(way: int) -> str:
        words = [*([] if way else ["nice", "-n", "1"]), *command]
        done = subprocess.run(words, cwd=clone.root, capture_output=True, text=True)
        assert done.returncode == 1 - way, done.stdout + done.stderr
        return next(row for row in done.stdout.splitlines() if LABEL in row)

    assert "flaky" not in end(0)
    assert "flaky: failed 1 of its last 2 runs" in end(1)
    clone.write("docs/readme.txt", "a file that it never asks for")
    assert "flaky: failed 2 of its last 3 runs" in end(0)
    assert "It is flaky: it failed 2 of its last 3 runs" in clone.run("why", LABEL)[0]
    clone.write("tests/test_it.py", "def test(): pass\n")
    assert "flaky" not in clone.run("test", LABEL)[0]


def test_the_same_call_again_is_answered_at_one_look(clone: Clone) -> None:
    clone.run("test", LABEL)
    results = Store.open(clone.root / "fairlead-out/store").results
    results.delete("questions", LABEL)
    assert state(clone) == "known"
    document = clone.json("test", LABEL)
    assert document["passed"] and [row["reused"] for row in rows(document)] == [True]
    clone.write("docs/readme.txt", "another file than any that it asked for, but the look is at all")
    assert state(clone) == "runs"
    assert state(clone) == "known"
    clone.git("checkout", "-q", ".")
    assert state(clone) == "known"  # by what it asked: the call before was with another file


def rows(document: dict[str, object]) -> list[dict[str, object]]:
    found = document["results"]
    assert isinstance(found, list)
    return found


def test_affected_is_as_exact_as_what_was_asked(clone: Clone) -> None:
    clone.run("test", "//...")
    assert labels(clone) == []
    clone.write("src/thing/unused.py", "x = 2\n")  # a module that reading it finds, and no run asked for
    clone.write("docs/readme.txt", "more")
    assert labels(clone) == []
    clone.commit("what nobody asks for")
    assert labels(clone, "HEAD~1..HEAD") == []
    clone.write("tools/words.txt", " child\n")
    assert labels(clone) == [LABEL]
    clone.commit("what a child reads")
    assert labels(clone, "HEAD~1..HEAD") == labels(clone, "HEAD~2..HEAD") == [LABEL]
    clone.write("tools/words.txt", "child\n")
    clone.commit("as it was")
    assert labels(clone, "HEAD~2..HEAD") == []


def labels(clone: Clone, *span: str) -> list[object]:
    found = clone.json("affected", *span)["targets"]
    assert isinstance(found, list)
    return [row["label"] for row in found]


def test_a_debugger_sees_the_whole_project_too(clone: Clone) -> None:
    clone.write("tests/test_it.py", "def test():\n    print(open('tools/' + 'words' + '.txt').read())\n")
    clone.run("test", LABEL, "--pdb")
    clone.write("tests/test_it.py", "import os\ndef test():\n    assert os.path.islink('link')\n")
    clone.run("test", LABEL, "--pdb")


def test_a_folder_of_data_holds_no_bytecode_of_ours(clone: Clone) -> None:
    clone.write("data/sample.py", "x = 1\n")
    clone.write(
        "tests/test_it.py", "import os\ndef test():\n    assert '__pycache__' not in os.listdir('data')\n"
    )
    assert state(clone) == "runs"
    clone.write("data/__init__.py", "")
    clone.run("test", LABEL, code=1)  # a package: Python itself would leave it there
    (clone.root / "data/__init__.py").unlink()
    clone.write("data/more.txt", "")
    assert state(clone) == "runs"
