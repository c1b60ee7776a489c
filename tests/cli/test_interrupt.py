"""Ctrl-C at any moment: one line, exit code 130, nothing left running, nothing half done."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.build.daemons import Desk, desk
from tests.build.project import write

CONSOLE = "from fairlead.cli import console, interrupt; interrupt.watch(); print(flush=True); console()"
"""The console script from its first line on; the line that it prints says that it has begun."""

SLEEP = "0.31415"
FILES = {
    "BUCK": f"""
CMD = "sleep {SLEEP}; cat $SRCS > $OUT"
[genrule(name = "g%d" % i, srcs = ["in.txt"], out = "o", cmd = CMD) for i in range(4)]
[sh_test(name = "t%d" % i, test = "t.sh", args = ["%d" % i]) for i in range(3)]
""",
    "t.sh*": f"#!/bin/sh\nsleep {SLEEP}\n",
}
VERBS = (["build", "//..."], ["test", "//...", "--no-test-cache"], ["query", "deps(//...)"], ["--help"])


def interrupted(here: Desk, words: list[str], delay: float) -> int:
    """Run a command in a session of its own, interrupt all of that after a while; its exit code."""
    command = [sys.executable, "-c", CONSOLE, *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=here.root, env=here.env, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        try:
            os.killpg(process.pid, signal.SIGINT)
        except ProcessLookupError:
            pass
        _, err = process.communicate(timeout=60)
    assert process.returncode in (0, 130), (words, delay, err)
    assert "Traceback" not in err and "Exception" not in err, (words, delay, err)
    assert err.count("interrupted") == (process.returncode == 130), (words, delay, err)
    return process.returncode


@pytest.mark.parametrize("daemon", ["off", "on"])
def test_at_any_moment_it_ends_with_one_line(tmp_path: Path, daemon: str) -> None:
    drawn = random.Random(daemon)
    codes = []
    with desk(tmp_path) as here:
        here.env |= {"FAIRLEAD_BUILD_DAEMON": daemon}
        for number in range(10):
            write(here.root, {**FILES, "in.txt": f"{number}\n"})
            words = VERBS[number % len(VERBS)]
            codes.append(interrupted(here, words, drawn.uniform(0, 0.6)))
            assert not _running(SLEEP)
        assert 130 in codes
        here.run("build", "//...")
        made = sorted((here.root / "fairlead-out/gen").rglob("o"))
        assert [path.read_text() for path in made] == ["9\n"] * 4
        assert not (here.root / "fairlead-out/store/scratch").exists()


def test_one_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    with desk(tmp_path) as here:
        write(here.root, {**FILES, "in.txt": "x"})
        command = [sys.executable, "-c", f"import signal; signal.signal(2, signal.SIG_IGN); {CONSOLE}"]
        with subprocess.Popen(
            [*command, "build", "//:g0"], cwd=here.root, env=here.env, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        assert process.returncode == 0


def test_one_that_python_drops_comes_again() -> None:
    script = """
import os, signal, time
from fairlead.cli import interrupt
interrupt.watch(); interrupt.begin()

class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

try:
    Last()
    time.sleep(10)
except KeyboardInterrupt:
    raise SystemExit(interrupt.tell())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def _running(seconds: str) -> bool:
    """Whether a program sleeps for so long."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if seconds.encode() in path.read_bytes().split(b"\0"):
                return True
        except OSError:
            continue
    return False
