"""`fairlead test` beyond verdicts: reports, several runs, no pattern, and the debugger."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.build.test_build_verbs import Clone
from tests.build.wheels import Wheelhouse

ROOT = Path(__file__).parents[2]

REAL = """
import importlib.util, os, pathlib, pdb, sys, traceback

def hookimpl(**_):
    return lambda function: function

class Option:
    xmlpath = None

class Manager:
    def hasplugin(self, name):
        return name == "junitxml"

class Config:
    option = Option()
    pluginmanager = Manager()

def main(args, plugins=()):
    for plugin in plugins:
        if hasattr(plugin, "pytest_configure"):
            plugin.pytest_configure(Config)
    if "XML_OUTPUT_FILE" in os.environ:
        sys.exit("a test can see where the report goes")
    cases = []
    for path in sorted(pathlib.Path.cwd().rglob("test_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, test in list(vars(module).items()):
            if name.startswith("test_"):
                try:
                    test()
                    cases.append(f'<testcase classname="{path.stem}" name="{name}"/>')
                except Exception:
                    traceback.print_exc()
                    if "--pdb" in args:
                        pdb.post_mortem(sys.exc_info()[2])
                    cases.append(f'<testcase classname="{path.stem}" name="{name}"><failure/></testcase>')
    if Config.option.xmlpath:
        pathlib.Path(Config.option.xmlpath).write_text("<testsuite>" + "".join(cases) + "</testsuite>")
    return 1 if "failure" in "".join(cases) else 0
"""
"""As much of pytest as reports and its debugger are."""

PY = """
python_toolchain(name = "python", lock = "lock.txt")
python_test(name = "test", srcs = ["test_it.py"], env = {"MODE": "tried"})
"""


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path / "clone")


@pytest.fixture
def python(clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    """The clone with a python_test //:test."""
    house = Wheelhouse(tmp_path / "wheels", monkeypatch)
    clone.write("lock.txt", house.add("pytest", {"pytest.py": REAL}))
    clone.write("BUCK", PY)
    clone.write("test_it.py", "import os\n\n\ndef test_mode():\n    assert os.environ['MODE'] == 'tried'\n")
    return clone


def names(path: Path) -> list[tuple[str, str, str]]:
    """(target, case, how it ended) of a JUnit file."""
    root = ElementTree.parse(path).getroot()
    return [
        (str(suite.get("name")), str(case.get("name")), next((c.tag for c in case), "pass"))
        for suite in root
        for case in suite.iter("testcase")
    ]


def test_junit_has_the_cases_of_pytest_and_targets_otherwise(python: Clone) -> None:
    python.write("test_it.py", python.read("test_it.py") + "\n\ndef test_two():\n    assert 1 == 2\n")
    python.run("test", "//...", "--junit", "out/report.xml", code=1)
    expected = [
        ("//:test", "test_mode", "pass"),
        ("//:test", "test_two", "failure"),
        ("//lib:has_one", "has_one", "pass"),
        ("//lib:has_two", "has_two", "pass"),
    ]
    assert names(python.root / "out/report.xml") == expected


def test_a_pass_that_is_reused_keeps_its_cases(python: Clone) -> None:
    python.run("test", "//:test", "--junit", "first.xml")
    out, _ = python.run("test", "//:test", "--junit", "second.xml")
    assert "no test ran" in out
    assert names(python.root / "second.xml") == [("//:test", "test_mode", "pass")]
    assert 'name="fairlead.reused" value="true"' in python.read("second.xml")


def test_a_script_may_write_a_report_too(clone: Clone) -> None:
    clone.write("lib/check.sh", '#!/bin/sh\necho "<a><testcase name=\'inner\'/></a>" > "$XML_OUTPUT_FILE"\n')
    clone.run("test", "//lib:has_one", "--junit", "report.xml")
    assert names(clone.root / "report.xml") == [("//lib:has_one", "inner", "pass")]
    clone.write("lib/check.sh", '#!/bin/sh\nln -s /etc/hostname "$XML_OUTPUT_FILE"\n')
    clone.run("test", "//lib:has_one", "--junit", "report.xml")
    assert names(clone.root / "report.xml") == [("//lib:has_one", "has_one", "pass")]


def test_without_a_pattern_what_changed_since_the_last_pass_runs(clone: Clone) -> None:
    out, err = clone.run("test")
    assert "2 of 2 passed, 2 ran" in out and "no pattern: all tests" in err
    assert "no test ran, 2 passed before" in clone.run("test", at="lib")[0]
    clone.write("lib/BUCK", clone.read("lib/BUCK").replace('args = ["TWO"]', 'args = ["T"]'))
    assert "1 ran, 1 passed before" in clone.run("test")[0]


def test_runs_name_the_flaky_target_and_keep_no_pass_of_it(clone: Clone, tmp_path: Path) -> None:
    """The script passes by turns: without walls it can count its runs in a file."""
    count = tmp_path / "count"
    clone.write("lib/check.sh", f"#!/bin/sh\necho x >> {count}\n[ $(( $(wc -l < {count}) % 2 )) = 1 ]\n")
    turns = ["--sandbox", "none", "--jobs", "1"]
    out, _ = clone.run("test", "//lib:has_one", "--runs", "3", *turns, code=1)
    assert "flaky   //lib:has_one  1 fail, 2 pass  fails in 33 % of runs" in out
    assert "0 of 1 passed in each of 3 runs, 1 flaky" in out
    out, _ = clone.run("test", "//lib:has_one", *turns, code=1)
    assert "1 ran" in out
    document = json.loads(clone.run("test", "//lib:has_one", "--runs", "2", "--json", *turns, code=1)[0])
    assert document["passed"] is False and len(document["results"]) == 2
    assert document["runs"] == [
        {
            "label": "//lib:has_one",
            "outcomes": {"pass": 1, "fail": 1},
            "flaky": True,
            "percent failed": 50,
        }
    ]


def test_who_fails_and_then_passes_is_called_flaky_there_and_then(clone: Clone, tmp_path: Path) -> None:
    count = tmp_path / "count"
    clone.write("lib/check.sh", f"#!/bin/sh\necho x >> {count}\n[ $(( $(wc -l < {count}) % 2 )) = 0 ]\n")
    one = ["//lib:has_one", "--sandbox", "none"]
    out, _ = clone.run("test", *one, code=1)  # and a second run, to hear what it asks for
    assert "it passed when it was repeated  flaky: failed 1 of its last 2 runs with this key (50 %)" in out
    assert "1 flaky" in out
    out, _ = clone.run("test", *one, "--record", "none", code=1)
    assert "flaky: failed 2 of its last 3 runs with this key (67 %)" in out
    assert "flaky: //lib:has_one  failed 2 of its last 3" in clone.run("log")[0]
    out, _ = clone.run("test", *one, "--record", "none")
    assert "pass    //lib:has_one" in out and "flaky: failed 2 of its last 4" in out
    assert "no test ran" in clone.run("test", *one)[0]
    assert "It is flaky: it failed 2 of its last 4 runs" in clone.run("why", "//lib:has_one")[0]
    assert clone.run("log", "flaky")[0] == "//lib:has_one  failed 2 of its last 4 runs with this key (50 %)\n"
    found = clone.json("log", "flaky")["tests"]
    assert found == [{"label": "//lib:has_one", "runs": 4, "failed": 2, "percent": 50}]
    clone.write("lib/check.sh", "#!/bin/sh\ntrue\n")
    clone.run("test", *one)
    assert "no test is known" in clone.run("log", "flaky")[0]
    assert "flaky" not in clone.run("why", "//lib:has_one")[0]


def test_runs_run_although_it_has_passed_and_a_steady_pass_is_kept(clone: Clone) -> None:
    clone.run("test", "//lib:")
    out, err = clone.run("test", "//lib:", "--runs", "2", "--junit", "report.xml")
    assert "2 of 2 passed in each of 2 runs, 0 flaky" in out and "run 2 of 2" in err
    assert "passed before" not in out and "pass    //lib:has_one  2 pass" in out
    assert len(names(clone.root / "report.xml")) == 4
    assert "no test ran" in clone.run("test", "//lib:")[0]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--runs", "0"], "0 is no number of runs"),
        (["//lib:", "--pdb"], "--pdb runs one test, and 2 are named"),
        (["//lib:upper", "--pdb"], "name a python_test"),
        (["//lib:has_one", "--pdb"], "//lib:has_one is not run by pytest"),
        (["//lib:has_one", "--pdb", "--runs", "2"], "--pdb and --runs do not go together"),
    ],
)
def test_bad_options_are_told_in_words(clone: Clone, args: list[str], words: str) -> None:
    assert words in clone.run("test", *args, code=2)[1]


def test_pdb_has_the_terminal_the_environment_and_the_inputs(python: Clone) -> None:
    python.write(
        "test_it.py", "import os\n\n\ndef test_mode():\n    seen = os.environ['MODE']\n    assert not seen\n"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "fairlead", "test", "//:test", "--pdb"],
        cwd=python.root,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = _until(ours, "(Pdb)")
    os.write(ours, b"p 'seen ' + seen, os.listdir('.'), __import__('signal').getsignal(2).__name__\n")
    said = _until(ours, "(Pdb)")
    assert "('seen tried', ['test_it.py'], 'default_int_handler')" in said
    os.write(ours, b"c\n")
    assert process.wait(timeout=60) == 1
    os.close(ours)
    python.write("test_it.py", "def test_fine():\n    pass\n")
    out, err = python.run("test", "//:test", "--pdb")
    assert "no walls" in err and "pass " not in out
    assert "1 ran" in python.run("test", "//:test")[0]  # it left no verdict


def _until(terminal: int, words: str) -> str:
    said = ""
    deadline = time.monotonic() + 90
    while words not in said and time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            try:
                said += os.read(terminal, 4096).decode("utf-8", "replace")
            except OSError:
                break
    assert words in said, said
    return said
