"""The Pythons of this machine that can be hooked, and a process of each that runs programs in its forks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

from fairlead.build.record import entered

Mode: TypeAlias = Literal["hook", "trace", "plain"]

DRIVER = """
import io, json, os, sys
sys.dont_write_bytecode = True

def hooked(job):
    hook = {"__name__": "fairlead_hook"}
    with open(job["log"] + ".py") as stream:
        exec(compile(stream.read(), job["log"] + ".py", "exec"), hook)
    hook["start"](job["log"], job["root"])
    said = run(job)
    hook["end"]()
    return said, []

def traced(job):
    lines = set()
    def trace(frame, event, argument):
        path = frame.f_code.co_filename
        if not path.startswith(job["root"]):
            return None
        if event == "line" and frame.f_code.co_flags & 1:
            lines.add(frame.f_lineno)
        return trace
    sys.settrace(trace)
    said = run(job)
    sys.settrace(None)
    return said, sorted(lines)

def run(job):
    sys.path.insert(0, job["root"])
    out, sys.stdout = sys.stdout, io.StringIO()
    try:
        __import__(job["module"])
    except Exception as error:
        print(type(error).__name__, error)
    said, sys.stdout = sys.stdout.getvalue(), out
    return said

modes = {"hook": hooked, "trace": traced, "plain": lambda job: (run(job), [])}
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        said = json.dumps(modes[job["mode"]](job))
        print(said, flush=True)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status:
        print(json.dumps(["died %d" % status, []]), flush=True)
"""


def _found() -> dict[str, str]:
    """Version -> program of the Pythons that can be hooked and are easy to find."""
    names = ["python3.12", "python3.13"]
    programs = [sys.executable, *(path for name in names if (path := shutil.which(name)))]
    beside = Path(os.path.realpath(sys.executable)).parents[2]  # where pyenv and uv keep several
    for folder in (beside, Path.home() / ".pyenv/versions"):
        programs += [str(path) for path in sorted(folder.glob("*3.1[23].*/bin/python3"))]
    found: dict[str, str] = {}
    for program in programs:
        words = [program, "-I", "-S", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        said = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
        if f"python{said}" in names:
            found.setdefault(said, program)
    return dict(sorted(found.items()))


PYTHONS = _found()


class Driver:
    """One interpreter that runs modules of a folder, one at a time, each in a fresh fork."""

    def __init__(self, program: str) -> None:
        words = [program, "-I", "-S", "-X", "utf8", "-c", DRIVER]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, mode: Mode, root: Path, module: str) -> tuple[str, list[int], bytes]:
        """What the module printed when it was imported, the lines of functions that ran (when traced), and
        what was noted (when hooked)."""
        log = root / "entered"
        log.unlink(missing_ok=True)
        if mode == "hook":
            entered.place(log)
        job = {"mode": mode, "root": str(root), "module": module, "log": str(log)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        said, lines = json.loads(self._process.stdout.readline())
        return said, lines, entered.noted(log)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@contextmanager
def driver(version: str) -> Iterator[Driver]:
    """A driver of one of PYTHONS, which ends with the block."""
    made = Driver(os.path.abspath(PYTHONS[version]))
    try:
        yield made
    finally:
        made.close()
