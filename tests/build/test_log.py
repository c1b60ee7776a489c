"""The event log and what is made of it: `fairlead log`, `--events`, and the lines on a terminal."""

from __future__ import annotations

import itertools
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.build import log
from fairlead.build.event import Event
from fairlead.cli.progress import Progress, critical
from tests.build.test_build_verbs import Clone

ROOT = Path(__file__).parents[2]
LIB = """
genrule(name = "first", out = "x", cmd = "echo one > $OUT")
genrule(name = "second", out = "x", cmd = "cat $(location :first) > $OUT")
genrule(name = "apart", out = "x", cmd = "echo apart > $OUT")
sh_test(name = "test", test = "check.sh", args = ["$(location :second)"], deps = [":second"])
"""


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    made = Clone(tmp_path / "clone")
    made.write("lib/BUCK", LIB)
    made.write("lib/check.sh", "#!/bin/sh\ntest -s $1\n")
    return made


def steps(clone: Clone, *args: str) -> list[dict[str, Any]]:
    found = clone.json("log", *args)["steps"]
    assert isinstance(found, list)
    return found


def test_the_last_call_and_what_it_ran(clone: Clone) -> None:
    _, err = clone.run("log", code=2)
    assert "nothing is logged yet" in err
    clone.run("build", "//...")
    clone.run("test", "//...")
    out, _ = clone.run("log")
    assert re.search(r"^  20\d\d-\d\d-\d\d \d\d:\d\d:\d\d  exit ", out, re.M)
    assert out.startswith("fairlead test //...\n") and "exit 0" in out
    assert "tests: 1 passed, 0 not passed, 0 reused" in out and "slowest:" in out
    assert [step["label"] for step in steps(clone, "what-ran")] == ["//lib:test"]
    built = steps(clone, "what-ran", "-n", "2")
    assert sorted(step["label"] for step in built) == ["//lib:apart", "//lib:first", "//lib:second"]
    out, _ = clone.run("log", "what-ran", "-n", "2")
    assert "//lib:first  genrule" in out and "echo one" in out
    clone.run("test", "//...")
    assert "nothing ran" in clone.run("log", "what-ran")[0]
    assert "1 reused" in clone.run("log", "last")[0]
    assert "there is no log 9" in clone.run("log", "-n", "9", code=2)[1]
    assert clone.git("status", "--short", "fairlead-out") == ""


def test_the_critical_path_goes_through_actions_to_the_test(clone: Clone) -> None:
    clone.write("lib/BUCK", LIB.replace("echo one", "sleep 0.3; echo one"))
    clone.run("test", "//...")
    assert [step["label"] for step in steps(clone, "critical-path")] == [
        "//lib:first",
        "//lib:second",
        "//lib:test",
    ]
    assert clone.run("log", "critical-path")[0].splitlines()[-1].endswith("in all")


def test_failures_and_kills_are_in_the_log(clone: Clone) -> None:
    clone.write("lib/BUCK", LIB + 'genrule(name = "bad", out = "x", cmd = "exit 3")\n')
    clone.run("build", "//lib:bad", code=1)
    facts = clone.json("log")
    assert facts["exit"] == 1 and "exit code 3" in str(facts["error"])
    assert "failed: " in clone.run("log", "what-ran")[0]
    clone.write("lib/check.sh", "#!/bin/sh\nexit 1\n")
    assert "(it printed nothing)" in clone.run("test", "//...", code=1)[0]
    assert clone.json("log")["tests"] == {"passed": 0, "not passed": 1, "reused": 0}
    clone.write("lib/BUCK", LIB + "\n\n" + 'genrule(name = "slow", out = "x", cmd = "sleep 60")\n')
    process = clone.start("build", "//lib:slow")

    def begun() -> bool:
        found = log.logs(clone.root)
        return len(found) == 3 and [row["event"] for row in log.read(found[0])][-1:] == ["begin"]

    _until(begun)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert clone.json("log")["exit"] is None and "it was killed" in clone.run("log")[0]


def test_show_has_every_event_in_order(clone: Clone) -> None:
    clone.run("test", "//...", "--jobs", "1")
    document = clone.json("log", "show")
    rows = document["events"]
    assert isinstance(rows, list)
    assert (rows[0]["event"], rows[0]["schema"], rows[-1]["event"]) == ("start", log.SCHEMA, "end")
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)
    begun = [row["label"] for row in rows if row["event"] == "begin"]
    done = [row["label"] for row in rows if row["event"] in ("action", "test")]
    assert begun == done and begun[-1] == "//lib:test"
    assert len(clone.run("log", "show")[0].splitlines()) == len(rows)


def test_events_are_a_stream_of_json_lines(clone: Clone) -> None:
    out, _ = clone.run("test", "//...", "--events", "-")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (rows[0]["event"], rows[-1]["event"], rows[-1]["exit"]) == ("start", "end", 0)
    clone.run("build", "//...", "--events", "events.jsonl")
    written = [json.loads(line) for line in clone.read("events.jsonl").splitlines()]
    assert {row["event"] for row in written} >= {"start", "known", "end"}
    assert "both --json and --events -" in clone.run("build", "//...", "--json", "--events", "-", code=2)[1]
    assert "cannot write the events" in clone.run("build", "//...", "--events", "no/such/x", code=2)[1]


def test_only_the_newest_logs_stay(clone: Clone) -> None:
    folder = clone.root / log.FOLDER
    folder.mkdir(parents=True)
    for number in range(log.KEEP + 5):
        (folder / f"20000101T0000{number:02}.000000-1-build.jsonl").write_text('{"event": "start"}\n')
    clone.run("test", "//...")
    found = log.logs(clone.root)
    assert len(found) == log.KEEP and log.read(found[0])[0]["words"] == ["test", "//..."]
    assert found[-1].name.startswith("20000101T000006")


def test_a_log_that_cannot_be_written_costs_no_build(clone: Clone, tmp_path: Path) -> None:
    (clone.root / "fairlead-out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (clone.root / log.FOLDER).symlink_to(tmp_path / "elsewhere")
    clone.run("test", "//...")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    (clone.root / log.FOLDER).unlink()
    (clone.root / log.FOLDER).write_text("a file")
    clone.run("test", "//...")


def test_a_damaged_log_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"event": "start"}\n[1]\n{"event": 3}\n\xff\n{"event": "action", "lab')
    assert log.read(path) == [{"event": "start"}]


STEPS = st.lists(st.tuples(st.integers(0, 50), st.sets(st.integers(0, 30), max_size=4)), max_size=12)


@given(STEPS)
def test_the_critical_path_is_the_longest_chain(drawn: list[tuple[int, set[int]]]) -> None:
    made = [
        log.Step(f"o{n}", f"//:{n}", "", float(seconds), tuple(f"o{i}" for i in needs), (f"o{n}",), ())
        for n, (seconds, needs) in enumerate(drawn)
    ]

    def longest(number: int) -> float:
        below = [longest(n) for n in drawn[number][1] if n < number]
        return drawn[number][0] + max(below, default=0.0)

    path = log.critical_path(made)
    assert sum(step.seconds for step in path) == max((longest(n) for n in range(len(made))), default=0.0)
    for lower, upper in itertools.pairwise(path):
        assert lower.name in upper.inputs


def test_progress_counts_and_shows_the_longest_first() -> None:
    shown = Progress()
    shown.heard(Event("expect", "tests", count=12))
    for number in range(10):
        shown.heard(Event("begin", "test", f"//:{number}"))
    shown.heard(Event("test", "fail", "//:0", 1.0))
    shown.heard(Event("known", "", "//:x"))
    first, second, *rest = shown.lines()
    assert "1 ran, 1 known, 10 left" in first and "9 running" in first
    assert second.endswith("//:1  test") and rest[-1] == "  and 1 more"


def test_the_critical_path_is_told_in_one_line() -> None:
    steps = [log.Step(f"o{n}", f"//:{n}", "genrule", float(n), (), (), ()) for n in (3, 1, 9, 2, 5)]
    assert critical(steps[:2]) == "critical path 4.0s: //:3 3.0s > //:1 1.0s  (`fairlead log critical-path`)"
    assert critical(steps) == (
        "critical path 20s: //:3 3.0s > //:9 9.0s > //:2 2.0s > //:5 5.0s and 1 shorter"
        "  (`fairlead log critical-path`)"
    )


def test_a_terminal_sees_what_runs_and_a_pipe_plain_lines(clone: Clone) -> None:
    clone.write("lib/BUCK", LIB.replace("echo one", "sleep 1; echo one"))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "fairlead", "test", "//..."],
        cwd=clone.root,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = ""
    while True:
        if not select.select([ours], [], [], 60)[0]:
            process.kill()
            pytest.fail(f"silent for a minute after: {said}")
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        said += piece.decode("utf-8", "replace")
    os.close(ours)
    assert process.wait(timeout=30) == 0, said
    assert "running" in said and "//lib:first  genrule" in said and "1 of 1 passed" in said
    clone.write("lib/check.sh", "#!/bin/sh\ntest -s $1 # again\n")
    out, err = clone.run("test", "//...")
    assert "\x1b" not in out + err and "running" not in out + err


def _until(good: Any) -> None:
    deadline = time.monotonic() + 60
    while not good():
        assert time.monotonic() < deadline
        time.sleep(0.05)
