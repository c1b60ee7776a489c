"""The cases of a test are told as they end, with pytest's own outcomes, by the real pytest."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fairlead.build.cases import Case, Stream
from tests.build.test_build_verbs import Clone
from tests.build.wheels import Wheelhouse, real_pytest

BUCK = """
python_toolchain(name = "python", lock = "lock.txt")
python_test(name = "test", srcs = glob(["test_*.py", "conftest.py"]), args = ["-q"], env = {"SEEN": "x"})
"""
TEST = """
import os, sys, pytest

@pytest.fixture
def broken():
    raise ValueError

def test_passes():
    assert not [name for name in os.environ if name.startswith("FAIRLEAD")]

def test_closes_everything():
    os.closerange(500, 2000)

def test_forks():
    pid = os.fork()
    if pid == 0:
        return
    os.waitpid(pid, 0)

@pytest.mark.parametrize("word", ["a b", "\\n"])
def test_words(word): pass
def test_fails(): assert 0
# part of the text that is run: a case that is skipped is told too
def test_broken(broken): pass
@pytest.mark.skip
def test_skipped(): pass
@pytest.mark.xfail
def test_expected(): assert 0
@pytest.mark.xfail
def test_unexpected(): pass
"""


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    house = Wheelhouse(tmp_path / "wheels", monkeypatch)
    lock = real_pytest(house)
    made = Clone(tmp_path / "clone")
    made.write("lock.txt", lock)
    made.write("BUCK", BUCK)
    made.write("test_it.py", TEST)
    return made


def events(clone: Clone) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in clone.read("events.jsonl").splitlines()]
    return [row for row in rows if row["event"] in ("case", "test")]


def test_each_case_is_an_event_with_the_outcome_of_pytest(clone: Clone) -> None:
    _, err = clone.run("test", "//:test", "--events", "events.jsonl", "--record", "none", code=1)
    *cases, last = events(clone)
    expected = {
        "test_passes": "passed",
        "test_closes_everything": "passed",
        "test_forks": "passed",
        "test_words[a b]": "passed",
        "test_words[\\n]": "passed",
        "test_fails": "failed",
        "test_broken": "error",
        "test_skipped": "skipped",
        "test_expected": "xfailed",
        "test_unexpected": "xpassed",
    }
    assert [(str(case["case"]).split("::")[1], case["outcome"]) for case in cases] == list(expected.items())
    assert {case["label"] for case in cases} == {"//:test"}
    assert last["event"] == "test"
    assert "failed  //:test" in err and "::test_fails" in err and "::test_passes" not in err


def test_cases_come_while_the_test_runs(clone: Clone) -> None:
    """The second case waits until somebody has told of the first."""
    clone.write(
        "test_it.py",
        "import pathlib, time\n\n\ndef test_one(): pass\n\n\ndef test_two():\n"
        f"    told = pathlib.Path({str(clone.root / 'told')!r})\n"
        "    end = time.monotonic() + 60\n"
        "    while not told.exists():\n"
        "        assert time.monotonic() < end\n"
        "        time.sleep(0.05)\n",
    )
    process = clone.start("test", "//:test", "--events", "-", "--sandbox", "none")
    assert process.stdout is not None
    for line in process.stdout:
        row = json.loads(line)
        if row["event"] == "case" and str(row["case"]).endswith("test_one"):
            (clone.root / "told").touch()
    assert process.wait() == 0


def test_a_file_that_cannot_be_collected_is_a_case(clone: Clone) -> None:
    clone.write("test_it.py", "import nothing_of_that_name\n")
    clone.run("test", "//:test", "--events", "events.jsonl", "--record", "none", code=1)
    assert [(row["event"], row["outcome"]) for row in events(clone)] == [("case", "error"), ("test", "fail")]


def test_settings_that_make_warnings_errors_stay_as_they_are(clone: Clone) -> None:
    """The stream is no open file that a test could be warned of."""
    clone.write("pytest.ini", "[pytest]\nfilterwarnings = error\n")
    clone.write("BUCK", BUCK.replace('"conftest.py"]', '"pytest.ini"]'))
    clone.write(
        "test_it.py", "import gc\n\n\ndef test_one(): gc.collect()\n\n\ndef test_two(): gc.collect()\n"
    )
    clone.run("test", "//:test")


def test_what_is_no_line_of_ours_is_passed_over(tmp_path: Path) -> None:
    found: list[Case] = []
    path = tmp_path / "cases"
    stream = Stream(path, found.append)
    stream.look()
    good = b'{"id": "a::b", "outcome": "passed", "seconds": 1}\n'
    path.write_bytes(
        b'{"id": 1}\nnonsense\n[' * 3 + b'\n{"id": "a", "outcome": "great", "seconds": 1}\n' + good[:9]
    )
    stream.look()
    assert found == []
    with path.open("ab") as more:
        more.write(good[9:] + b'{"id": "\\u001b[31m", "outcome": "failed", "seconds": 0}\n' + b"[" * 100_000)
    stream.look()
    assert found == [Case("a::b", "passed", 1.0), Case("\ufffd[31m", "failed", 0.0)]
    path.unlink()
    os.mkfifo(path)
    Stream(path, found.append).look()
    path.unlink()
    path.symlink_to("/etc/passwd")
    Stream(path, found.append).look()
    assert len(found) == 2
