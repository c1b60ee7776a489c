"""`fairlead test` with paths where labels are expected: files, folders, single tests, and what is no test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.build.test_build_verbs import Clone
from tests.build.test_init_verb import PYPROJECT, house
from tests.build.wheels import Wheelhouse, real_pytest

__all__ = ["house"]

TESTS = """
import pytest

def test_good():
    pass

@pytest.mark.parametrize("path", ["a//b", "../c"])
def test_path(path):
    pass

def test_bad():
    raise AssertionError
"""


@pytest.fixture
def clone(tmp_path: Path, house: Wheelhouse) -> Clone:
    (house.folder / "pytest-9.0-py3-none-any.whl").unlink()
    real_pytest(house)
    made = Clone(tmp_path / "clone")
    for path in (".buckconfig", "lib/BUCK", "lib/words.txt", "lib/check.sh"):
        (made.root / path).unlink()
    made.write("pyproject.toml", PYPROJECT)
    made.write("src/hello/__init__.py", "")
    made.write("tests/test_mixed.py", TESTS)
    made.write("tests/deep/test_deep.py", "def test_deep(): pass\n")
    made.write("tests/helper.py", "")
    made.write("fairlead.toml", "[build]\ninfer = true\n")
    made.run("init", "--lock", "--static")
    made.commit("a Python project")
    return made


def test_why_takes_the_path_of_a_test(clone: Clone) -> None:
    clone.run("test", "tests/deep", "tests/test_mixed.py::test_good")
    for path, label, at in (
        ("tests/deep/test_deep.py", "//:tests/deep/test_deep", ""),
        ("test_deep.py", "//:tests/deep/test_deep", "tests/deep"),
        ("tests/test_mixed.py::test_good", "//:tests/test_mixed::test_good", ""),
    ):
        out, _ = clone.run("why", path, at=at)
        assert out.startswith(f"{label}  key ") and "(passed with this key)" in out.splitlines()[0]
    assert "is in no test target" in clone.run("why", "tests/helper.py", code=2)[1]
    assert "there is no file tests/gone.py" in clone.run("why", "tests/gone.py", code=2)[1]


def test_a_file_a_folder_and_single_tests(clone: Clone) -> None:
    out, _ = clone.run("test", "tests/deep/test_deep.py")
    assert "pass    //:tests/deep/test_deep" in out and "1 of 1 passed, 1 ran" in out
    assert "no test ran" in clone.run("test", "tests/deep/")[0]
    assert "//:tests/test_mixed" in clone.run("test", "tests", code=1)[0]
    assert "1 of 1 passed" in clone.run("test", "test_deep.py", at="tests/deep")[0]
    good = "tests/test_mixed.py::test_good"
    out, _ = clone.run("test", good)
    assert "pass    //:tests/test_mixed::test_good" in out and "1 of 1 passed, 1 ran" in out
    assert "no test ran" in clone.run("test", good)[0]
    assert "1 of 1 passed" in clone.run("test", "tests/test_mixed.py::test_path[a//b]")[0]
    out, _ = clone.run("test", good, "tests/test_mixed.py::test_bad", "//:tests/deep/test_deep", code=1)
    assert "fail    //:tests/test_mixed::test_bad" in out and "2 of 3 passed, 1 ran" in out
    out, _ = clone.run("test", "tests/test_mixed.py", good, code=1)  # the file is more than its part
    assert "0 of 1 passed" in out
    assert "not found" in clone.run("test", "tests/test_mixed.py::test_not_there", code=1)[0]


def test_a_test_is_named_as_its_verdict_names_it(clone: Clone) -> None:
    good = "//:tests/test_mixed::test_good"
    assert f"pass    {good}" in clone.run("test", "tests/test_mixed.py::test_good")[0]
    assert "no test ran" in clone.run("test", good)[0]  # it is the same test, with the same key
    assert "no test ran" in clone.run("test", ":tests/test_mixed::test_good")[0]
    assert "1 of 1 passed" in clone.run("test", "//:tests/test_mixed::test_path[a//b]")[0]
    assert "2 of 2 passed" in clone.run("test", good, "tests/deep")[0]
    assert clone.run("why", good)[0].startswith(f"{good}  key ")
    assert good in clone.run("log", "show", good)[0]
    assert "//:tests/deep" not in clone.run("log", "show", good)[0]
    assert "did nothing for //:no" in clone.run("log", "//:no", code=2)[1]
    for verb in (["build"], ["targets"], ["query"]):
        _, err = clone.run(*verb, good, code=2)
        assert "is one test, and no target" in err and "name its target, //:tests/test_mixed;" in err, verb
    assert "names no test" in clone.run("test", "//tests/...::test_good", code=2)[1]
    assert "names no test" in clone.run("test", "//:tests/test_mixed::", code=2)[1]
    assert "unknown target //:gone" in clone.run("test", "//:gone::test_good", code=2)[1]


def test_what_is_no_test_says_so(clone: Clone) -> None:
    _, err = clone.run("test", "tests/helper.py", code=2)
    assert "tests/helper.py is in no test target" in err
    _, err = clone.run("test", "tests/test_mixde.py", code=2)
    assert "there is no file tests/test_mixde.py" in err and "tests/test_mixed.py" in err
    _, err = clone.run("test", "//tests:test_mixed", code=2)
    assert "write //:tests/test_mixed" in err
    _, err = clone.run("test", "//tests:test_mixed.py", code=2)
    assert "write //:tests/test_mixed" in err
    assert clone.run("query", "testsof(//...)")[0] == ""  # the path of a test's file is no label


def test_build_files_are_heeded(clone: Clone) -> None:
    clone.write("fairlead.toml", "")
    clone.write(".buckconfig", "")
    clone.write("lib/BUCK", LIB)
    clone.write("lib/lock.txt", clone.read("requirements.tests.lock"))
    clone.write("lib/check.sh", "#!/bin/sh\n")
    (clone.root / "lib/check.sh").chmod(0o755)
    clone.write("lib/test_words.py", "def test_x(): pass\n")
    out, _ = clone.run("test", "lib/test_words.py::test_x")
    assert "pass    //lib:words::test_x" in out
    assert "//lib:lib " in clone.run("test", "lib")[0]  # a folder with a build file is a label
    assert "2 of 2 passed" in clone.run("test", "lib/")[0]
    _, err = clone.run("test", "lib/check.sh::x", code=2)
    assert "//lib:lib is not run by pytest" in err


LIB = """
python_toolchain(name = "python", lock = "lock.txt")
python_test(name = "words", srcs = ["test_words.py"], toolchain = ":python")
sh_test(name = "lib", test = "check.sh")
"""
