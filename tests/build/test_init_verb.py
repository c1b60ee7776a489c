"""`fairlead init` as people run it, then the ordinary verbs on what it found. Wheels are made on the spot."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.build.test_build_verbs import Clone
from tests.build.wheels import PYTEST, Wheelhouse

PYPROJECT = """
[build-system]
build-backend = "hatchling.build"
[project]
name = "hello"
version = "1.2"
dependencies = ["words"]
[project.scripts]
hello = "hello:main"
[dependency-groups]
tests = ["pytest"]
"""
TEST = """
import importlib.metadata, os, pathlib, sys
import hello

def test_greets():
    assert hello.greet() == "hello"

def test_the_place_is_that_of_the_repository():
    assert pathlib.Path.cwd().joinpath("tests", "data.txt").read_text() == "data"
    assert importlib.metadata.version("hello") == "1.2"
    (offered,) = importlib.metadata.entry_points(group="console_scripts", name="hello")
    assert offered.value == "hello:main"
    assert not os.path.exists("src/hello/unused.md.py")
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheelhouse:
    made = Wheelhouse(tmp_path / "wheels", monkeypatch)
    monkeypatch.setenv("UV_OFFLINE", "1")
    made.add("pytest", {"pytest.py": PYTEST}, version="9.0")
    made.add("words", {"words.py": "WORD = 'hello'"}, version="1.0")
    return made


@pytest.fixture
def clone(tmp_path: Path, house: Wheelhouse) -> Clone:
    made = Clone(tmp_path / "clone")
    for path in (".buckconfig", "lib/BUCK", "lib/words.txt", "lib/check.sh"):
        (made.root / path).unlink()
    made.write("pyproject.toml", PYPROJECT)
    made.write("src/hello/__init__.py", "from hello.voice import greet\n")
    made.write("src/hello/voice.py", "import words\ndef greet():\n    return words.WORD\n")
    made.write("src/hello/other.py", "")
    made.write("tests/test_hello.py", TEST)
    made.write("tests/data.txt", "data")
    made.commit("a Python project")
    return made


def test_init_then_lock_then_test_then_nothing_runs(clone: Clone) -> None:
    out, _ = clone.run("init", "--static")
    assert "known    packages" in out and "src/hello" in out
    assert "unknown  environment" in out and "fairlead init --lock" in out
    assert "wrote fairlead.toml" in out
    assert clone.git("status", "--short").split() == ["??", "fairlead.toml"]
    out, err = clone.run("test", "//...", code=2)
    assert "init --lock" in err
    out, _ = clone.run("init", "--lock", "--static")
    assert "wrote requirements.tests.lock" in out and "known    environment" in out
    assert clone.read("requirements.tests.lock").count("--hash=sha256:") == 2
    out, _ = clone.run("test", "//...")
    assert "pass    //:tests/test_hello" in out and "1 of 1 passed, 1 ran" in out
    out, _ = clone.run("test", "//...")
    assert "no test ran" in out and "no action ran" in out


def test_an_edit_is_seen_and_why_names_it(clone: Clone) -> None:
    clone.run("init", "--static")
    clone.run("init", "--lock", "--static")
    clone.run("test", "//:tests/test_hello")
    clone.write("src/hello/other.py", "x = 1\n")
    assert "1 of 1 passed" in clone.run("test", "//...")[0]
    clone.write("src/hello/voice.py", "def greet():\n    return 'bye'\n")
    out, _ = clone.run("test", "//...", code=1)
    assert "fail    //:tests/test_hello" in out
    out, _ = clone.run("why", "//:tests/test_hello")
    assert "src/hello/voice.py" in out
    clone.write("tests/test_new.py", "def test(): pass\n")
    assert "//:tests/test_new" in clone.run("test", "//...", code=1)[0]
    document = clone.json("build", "//:hello")
    assert document["targets"] == {"//:hello": ["fairlead-out/gen/__hello__/lib"]}


def test_a_file_that_reading_did_not_find_is_named_with_the_line_to_add(clone: Clone) -> None:
    clone.write("extra/x.txt", "x")
    clone.write("tests/test_hello.py", "def test_reads():\n    open('ext' + 'ra/x.' + 'txt')\n")
    clone.run("init", "--static")
    clone.run("init", "--lock", "--static")
    clone.commit("fairlead")
    assert "1 of 1 passed" in clone.run("test", "//...")[0]  # it sees the whole project on disk
    declared = ("test", "//...", "--no-test-cache", "--rev", "HEAD")
    out, _ = clone.run(*declared, code=1)
    assert 'extra/x.txt (opened): add data = ["extra/x.txt"] below [build] in fairlead.toml' in out
    clone.write("fairlead.toml", '[build]\ninfer = true\ndata = ["extra"]\n')
    clone.commit("declared")
    assert "1 of 1 passed" in clone.run(*declared)[0]


def test_existing_settings_are_never_rewritten(clone: Clone) -> None:
    before = PYPROJECT + "[tool.fairlead.lint]\ndisable = []\n"
    clone.write("pyproject.toml", before)
    out, _ = clone.run("init", "--static")
    assert "nothing written" in out and "infer = true" in out
    assert clone.read("pyproject.toml") == before and not (clone.root / "fairlead.toml").exists()
    clone.write("pyproject.toml", before + "[tool.fairlead.build]\ninfer = true\n")
    clone.run("init", "--lock")
    assert "1 of 1 passed" in clone.run("test", "//...")[0]


def test_written_out_the_targets_stay_what_they_were(clone: Clone) -> None:
    clone.run("init", "--static")
    clone.run("init", "--lock", "--static")
    clone.run("test", "//...")
    clone.commit("inferred")
    before = keys(clone)
    assert "wrote BUCK" in clone.run("init", "--write")[0]
    clone.commit("written out")
    assert keys(clone) == before
    assert "1 of 1 passed" in clone.run("test", "//...")[0]
    assert "no test ran" in clone.run("test", "//...")[0]
    assert "written down already" in clone.run("init", code=2)[1]


def test_a_commit_has_the_same_targets(clone: Clone) -> None:
    clone.run("init", "--static")
    clone.run("init", "--lock", "--static")
    clone.commit("fairlead")
    clone.run("test", "//...")
    clone.write("src/hello/voice.py", "raise SystemExit\n")
    assert "no test ran" in clone.run("test", "//...", "--rev", "HEAD")[0]


def test_nothing_declared_is_asked_for_and_never_guessed(clone: Clone) -> None:
    clone.write("pyproject.toml", PYPROJECT.replace('tests = ["pytest"]', "").replace('["words"]', "[]"))
    document = clone.json("init")
    findings = document["findings"]
    assert isinstance(findings, list)
    assert {"subject": "pytest", "add": 'requires = ["pytest"]', "sure": "unknown"}.items() <= next(
        f for f in findings if f["subject"] == "pytest"
    ).items()
    _, err = clone.run("init", "--lock", code=2)
    assert 'requires = ["pytest"]' in err and not (clone.root / "requirements.tests.lock").exists()
    clone.write("fairlead.toml", '[build]\ninfer = true\nrequires = ["pytest"]\n')
    clone.run("init", "--lock")
    text = clone.read("requirements.tests.lock")
    assert "pytest==9.0" in text and "words" not in text


def test_a_lock_without_pytest_is_not_made(clone: Clone) -> None:
    clone.write("pyproject.toml", PYPROJECT.replace('tests = ["pytest"]', ""))
    clone.run("init", "--static")
    _, err = clone.run("init", "--lock", code=2)
    assert "pytest is not among" in err and not (clone.root / "requirements.tests.lock").exists()


def test_what_cannot_be_resolved_is_said_in_the_resolvers_words(clone: Clone) -> None:
    clone.write("pyproject.toml", PYPROJECT.replace('["words"]', '["not-to-be-had"]'))
    clone.run("init", "--static")
    _, err = clone.run("init", "--lock", code=2)
    assert "not-to-be-had" in err and not (clone.root / "requirements.tests.lock").exists()


def keys(clone: Clone) -> dict[str, str]:
    """Label -> key of the tests of the last commit."""
    results = clone.json("test", "//...", "--rev", "HEAD", "--no-test-cache")["results"]
    assert isinstance(results, list)
    return {result["label"]: result["key"] for result in results}


def test_a_version_that_only_a_tag_says(clone: Clone) -> None:
    settings = PYPROJECT.replace('version = "1.2"', 'dynamic = ["version"]').replace("hatchling.build", "x.y")
    clone.write("pyproject.toml", settings)
    clone.commit("dynamic")
    assert "unknown  version" in clone.run("init", "--static")[0]
    (clone.root / "fairlead.toml").unlink()
    clone.git("tag", "hello-v2.5rc1")
    assert "known    version" in clone.run("init", "--static")[0]
    assert 'version = "2.5rc1"' in clone.read("fairlead.toml")


def test_a_declared_variable_reaches_the_tests_and_is_part_of_what_they_depend_on(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODE", "of this person")
    clone.write(
        "tests/test_hello.py",
        "import os\ndef test_mode():\n    assert os.environ.get('MODE') in ('quick $(date)', 'other')\n",
    )
    clone.run("init", "--lock", "--static")
    said = clone.read("fairlead.toml")
    assert "fail" in clone.run("test", "//...", code=1)[0]
    clone.write("fairlead.toml", said + 'env = ["MODE=quick $(date)"]\n')
    assert "1 of 1 passed, 1 ran" in clone.run("test", "//...")[0]
    assert "no test ran" in clone.run("test", "//...")[0]
    clone.write("fairlead.toml", said + 'env = ["MODE=other"]\n')
    assert "1 of 1 passed, 1 ran" in clone.run("test", "//...")[0]
    clone.write("fairlead.toml", said + 'env = ["MODE"]\n')
    assert "NAME=value" in clone.run("test", "//...", code=2)[1]
