"""`fairlead test` names undeclared inputs, `fairlead why --asked` shows what a test asked: real commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.build.test_build_verbs import Clone
from tests.build.wheels import PYTEST, Wheelhouse


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    house = Wheelhouse(tmp_path / "wheels", monkeypatch)
    found = Clone(tmp_path / "clone")
    found.write("requirements.lock", house.add("pytest", {"pytest/__init__.py": PYTEST}))
    found.write(
        "BUCK", 'python_toolchain(name = "python", lock = "requirements.lock", visibility = ["PUBLIC"])'
    )
    found.write("words/BUCK", 'python_library(name = "words", srcs = ["first.py"], visibility = ["PUBLIC"])')
    found.write("words/first.py", "FIRST = 1\n")
    found.write("app/BUCK", 'python_test(name = "t", srcs = ["test_t.py"])\n')
    found.write("app/data/x.txt", "x")
    return found


def undeclared(document: dict[str, object]) -> object:
    results = document["results"]
    assert isinstance(results, list) and len(results) == 1
    return results[0]["undeclared"]


READS = """
import pathlib

def test_it():
    assert (pathlib.Path(__file__).parent / "data/x.txt").read_text()
"""


def test_an_undeclared_file_is_named_with_what_to_do_and_doing_it_helps(clone: Clone) -> None:
    clone.write("app/test_t.py", READS)
    out, _ = clone.run("test", "//app:t", code=1)
    assert '    app/data/x.txt (opened): add "data/x.txt" to the resources of //app:t\n' in out
    clone.write("app/BUCK", 'python_test(name = "t", srcs = ["test_t.py"], resources = ["data/x.txt"])\n')
    out, _ = clone.run("test", "//app:t")
    assert "1 of 1 passed" in out and "in vain" not in out


def test_an_undeclared_library_is_named_with_what_to_do_and_doing_it_helps(clone: Clone) -> None:
    clone.write("app/test_t.py", "def test_it():\n    import words.first\n")
    document = clone.json("test", "//app:t", code=1)
    remedy = 'add "//words:words" to the deps of //app:t'
    assert undeclared(document) == [{"path": "words", "how": "imported", "remedy": remedy}]
    clone.write("app/BUCK", 'python_test(name = "t", srcs = ["test_t.py"], deps = ["//words:words"])\n')
    assert undeclared(clone.json("test", "//app:t")) == []


def test_a_script_that_lacks_a_file_is_told_too_also_without_walls(clone: Clone) -> None:
    clone.write("lib/more.txt", "")
    clone.write("lib/check.sh", "#!/bin/sh\ncat lib/more.txt\n")
    for level in ("auto", "none"):
        out, _ = clone.run("test", "//lib:has_one", "--sandbox", level, code=1)
        assert '    lib/more.txt (opened): add "more.txt" to the resources of //lib:has_one\n' in out


def test_a_failed_test_is_repeated_once_and_its_outcome_stays(clone: Clone, tmp_path: Path) -> None:
    passes = tmp_path / "passes"
    clone.write("lib/check.sh", f"#!/bin/sh\ntest -e {passes} || {{ touch {passes}; exit 1; }}\n")
    out, _ = clone.run("test", "//lib:has_one", "--sandbox", "none", code=1)
    assert "failed with exit code 1; it passed when it was repeated" in out
    passes.unlink()
    out, _ = clone.run("test", "//lib:has_one", "--sandbox", "none", "--record", "none", code=1)
    assert "repeated" not in out


def test_why_shows_what_the_last_recorded_run_asked(clone: Clone) -> None:
    _, err = clone.run("why", "//lib:has_one", "--asked", code=2)
    assert "no run of //lib:has_one has been recorded here" in err
    clone.run("test", "//lib:has_one")
    clone.run("why", "//lib:has_one", "--asked", code=2)  # it passed, so nothing was recorded
    clone.run("test", "//lib:has_one", "--record", "all", "--no-test-cache")
    out, _ = clone.run("why", "//lib:has_one", "--asked")
    assert out.startswith("//lib:has_one  pass with key ") and " file calls heard\n" in out
    read = out.partition("listed:")[0]
    assert "  lib/check.sh\n" in read and "  fairlead-out/gen/lib/__upper__/upper.txt\n" in read
    document = clone.json("why", "//lib:has_one", "--asked")
    assert (document["recorder"], document["outcome"], document["lack"]) == ("seccomp", "pass", "")
