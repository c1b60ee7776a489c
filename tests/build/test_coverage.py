"""`fairlead test --coverage` beside one whole run of `pytest --cov`, by the real coverage.py and plugin."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.build.test_build_verbs import Clone
from tests.build.wheels import Wheelhouse, real_pytest

SETTINGS = """
[project]
name = "thing"
version = "1"
[tool.fairlead.build]
infer = true
[tool.pytest.ini_options]
filterwarnings = ["error"]
pythonpath = ["src"]
[tool.coverage.run]
branch = true
source = ["src/thing"]
omit = ["*/left_out.py"]
[tool.coverage.report]
exclude_also = ["never here"]
show_missing = true
"""
FILES = {
    "requirements/tests.txt": "pytest\ncoverage\npytest-cov\n",
    "pyproject.toml": SETTINGS,
    ".gitignore": "fairlead-out\n__pycache__\n",
    "src/thing/__init__.py": "",
    "src/thing/one.py": "def half(n):\n    if n % 2:\n        raise ValueError\n    return n // 2\n\n\n"
    "def other():\n    return 1\n",
    "src/thing/two.py": "from thing.one import half\n\n\ndef quarter(n):\n    return half(half(n))\n\n\n"
    "def never():  # never here\n    return 0\n",
    "src/thing/unseen.py": "if True:\n    x = 1\n",
    "src/thing/left_out.py": "x = 1\n",
    "tests/test_one.py": "from thing.one import half\n\n\ndef test_half():\n    assert half(4) == 2\n",
    "tests/test_two.py": "import pytest\nfrom thing.two import quarter\n\n\ndef test_quarter():\n"
    "    with pytest.raises(ValueError):\n        quarter(2)\n",
}


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    house = Wheelhouse(tmp_path / "wheels", monkeypatch)
    monkeypatch.setenv("UV_OFFLINE", "1")
    return real_pytest(house, "coverage", "pytest-cov")


@pytest.fixture
def clone(tmp_path: Path, house: str) -> Clone:
    made = Clone(tmp_path / "clone")
    for path in (".buckconfig", "lib/BUCK", "lib/words.txt", "lib/check.sh"):
        (made.root / path).unlink()
    for path, text in FILES.items():
        made.write(path, text)
    made.run("init", "--lock")
    made.commit("a project")
    return made


def lines(path: Path) -> dict[str, list[tuple[str, ...]]]:
    """file -> (line, hits, branch conditions) of a Cobertura report."""
    found = {}
    for item in ElementTree.parse(path).getroot().iter("class"):
        rows = [
            tuple(str(line.get(name)) for name in ("number", "hits", "condition-coverage"))
            for line in item.iter("line")
        ]
        found[str(item.get("filename"))] = rows
    return found


def whole_run(clone: Clone) -> dict[str, list[tuple[str, ...]]]:
    """One run of pytest over everything, in a copy."""
    copy = clone.root.with_name("whole")
    subprocess.run(["cp", "-r", str(clone.root), str(copy)], check=True)
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests",
        "--cov",
        "--cov-report=xml:whole.xml",
    ]
    done = subprocess.run(argv, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return lines(copy / "whole.xml")


def test_it_is_what_one_whole_run_measures(clone: Clone) -> None:
    out, _ = clone.run("test", "--coverage", "xml", "--coverage-to", "out.xml")
    assert "2 of 2 passed, 2 ran" in out
    expected = whole_run(clone)
    assert {name.rpartition("/")[2] for name in expected} == {"__init__.py", "one.py", "two.py", "unseen.py"}
    assert lines(clone.root / "out.xml") == expected
    assert re.search(r"src/thing/unseen.py +2 +2 +0 +0 +0% +1-2", out), out
    assert "written to" in out

    (clone.root / "out.xml").unlink()
    out, _ = clone.run("test", "--coverage", "xml", "--coverage-to", "out.xml")
    assert "no test ran" in out, "what was measured is kept with the passes"
    assert lines(clone.root / "out.xml") == expected


def test_after_an_edit_only_what_ran_the_file_is_measured_again(clone: Clone) -> None:
    clone.run("test", "--coverage", "report")
    clone.write("src/thing/two.py", "# a line more\n" + FILES["src/thing/two.py"])
    out, _ = clone.run("test", "--coverage", "xml", "--coverage-to", "out.xml")
    assert "2 of 2 passed, 1 ran" in out
    assert lines(clone.root / "out.xml") == whole_run(clone)


def test_a_pass_that_was_not_measured_runs_again_and_other_settings_measure_anew(clone: Clone) -> None:
    clone.run("test")
    assert "2 ran" in clone.run("test", "--coverage", "report")[0]
    assert "no test ran" in clone.run("test")[0]
    clone.write("pyproject.toml", SETTINGS.replace("branch = true", "branch = false"))
    clone.run("test", "--coverage", "xml", "--coverage-to", "out.xml")
    assert lines(clone.root / "out.xml") == whole_run(clone)


def test_lines_that_are_written_where_the_settings_say(clone: Clone) -> None:
    clone.write("pyproject.toml", SETTINGS + "fail_under = 99\n[tool.coverage.lcov]\noutput = 'x.lcov'\n")
    out, err = clone.run("test", "--coverage", "lcov", code=1)
    assert "2 of 2 passed" in out and "less than the 99 %" in err
    assert clone.read("x.lcov").count("SF:") == 4
    clone.run("test", "--coverage", "html", "--coverage-to", "pages", code=1)
    assert "one.py" in clone.read("pages/index.html")
    report = clone.json("test", "--coverage", "report", code=1)["coverage"]
    assert isinstance(report, dict) and report["enough"] is False and 50 < report["total"] < 99


WRITTEN = """
python_toolchain(name = "python", lock = "lock.txt")
python_library(name = "thing", srcs = glob(["src/thing/*.py"]), base_module = "")
python_test(
    name = "test",
    srcs = ["tests/test_one.py"],
    deps = [":thing"],
    search = ["src"],
    base_module = "",
)
"""


def test_a_link_tree_is_measured_under_the_projects_own_paths(clone: Clone, house: str) -> None:
    clone.write(".buckconfig", "")
    clone.write("lock.txt", house)
    clone.write("BUCK", WRITTEN)
    clone.run("test", "//:test", "--coverage", "xml", "--coverage-to", "out.xml", "--sandbox", "none")
    found = lines(clone.root / "out.xml")
    assert [hits for _, hits, _ in found["one.py"]] == ["1", "1", "0", "1", "1", "0"]
    assert "two.py" in found


def test_an_environment_without_coverage_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = Clone(tmp_path / "clone")
    clone.write("lock.txt", real_pytest(Wheelhouse(tmp_path / "wheels", monkeypatch)))
    clone.write("BUCK", WRITTEN.replace('deps = [":thing"],', "").replace('search = ["src"],', ""))
    clone.write("tests/test_one.py", "def test(): pass\n")
    _, err = clone.run("test", "//:test", "--coverage", "report", code=2)
    assert "no coverage.py" in err and "lock.txt" in err


def test_words_that_do_not_go_together(clone: Clone) -> None:
    for more in (["--rev", "HEAD"], ["--pdb"]):
        assert "do not go together" in clone.run("test", "--coverage", "xml", *more, code=2)[1]
    document = json.loads(clone.run("test", "--json")[0])
    assert "coverage" not in document
