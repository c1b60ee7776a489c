"""The recorder beside strace: every path of the project that strace sees in a run is in the run's record.

strace is put around the whole of `fairlead test`, so it is one and the same run that both tell of, within its
walls. Only what the test's own processes ask counts: those that descend from the one that starts
run_pytest.py.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from selection import process
from selection.measure import Fairlead
from selection.workplace import Workplace

from fairlead.build.record.runs import Runs
from fairlead.build.stage import PROJECT
from fairlead.store import Store

_CALLS = "trace=%file,%process,getdents,getdents64"
_PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)<(?P<folder>[^>]*)>, )?"(?P<path>(?:[^"\\]|\\.)*)"')
_STARTED = re.compile(
    r"(?:clone3?|v?fork)\b.* = (?P<pid>\d+)(?:<[^>]*>)?(?: /\* (?P<here>\d+) in strace's PID NS \*/)?$"
)
_TWO_PATHS = frozenset({"rename", "renameat", "renameat2", "link", "linkat"})
_NO_QUESTION = frozenset({"symlink", "symlinkat"})
"""Their first text is what the link will say, which nobody looks at."""


def check(place: Workplace, say: Callable[[str], None]) -> bool:
    """Every test target of the project, one after the other."""
    root = place.for_fairlead()
    runner = Fairlead(place.fairlead, root, 1800)
    try:
        first = runner.test()
    finally:
        runner.stop()
    if first.refused:
        raise process.Failed(first.refused)
    seen = lacking = 0
    for suite in first.suites:
        saw, lacks = one(place.fairlead, root, suite.label)
        seen += len(saw)
        lacking += len(lacks)
        for path in lacks[:5]:
            say(f"{suite.label}: strace sees {path}, which the record lacks")
    say(f"{len(first.suites)} targets, {seen} paths seen by strace, {lacking} of them in no record")
    return lacking == 0 and seen > 0


def one(fairlead: list[str], root: Path, label: str) -> tuple[set[str], list[str]]:
    """The paths of the project that strace saw in a run of the target, and those that the record lacks."""
    with tempfile.TemporaryDirectory(prefix="traced-") as scratch:
        log = Path(scratch) / "log"
        strace = ["strace", "-f", "-qq", "-y", "--pidns-translation", "-s", "8192", "-e", _CALLS]
        strace += ["-e", "signal=none", "-o", str(log)]
        words = ["test", "--no-daemon", "--no-test-cache", "--json", label]
        done = process.call([*strace, *fairlead, *words], root)
        try:
            results = json.loads(done.out)["results"]
        except (ValueError, KeyError) as error:
            raise process.Failed(f"{label}: {done.out[-1000:]}{done.err[-1000:]}") from error
        with log.open(errors="replace") as lines:
            seen = {path for path in paths(lines) if path == PROJECT or path.startswith(f"{PROJECT}/")}
    run = Runs(Store.open(root / "fairlead-out/store")).get(label)
    if run is None or run.asked.lack or run.asked.recorder == "none":
        raise process.Failed(f"{label}: {results}: {'no record' if run is None else run.asked.lack}")
    heard = {os.path.normpath(os.path.join(PROJECT, path)) for path in run.asked.paths()}
    return seen, sorted(seen - heard)


def paths(lines: Iterable[str]) -> Iterator[str]:
    """The paths that the processes of a test ask for, in a trace of all of Fairlead."""
    folders: dict[str, str] = {}
    ours: set[str] = set()
    for line in lines:
        pid, _, call = line.strip().partition(" ")
        name, _, arguments = call.strip().partition("(")
        if name == "execve" and "run_pytest.py" in arguments:
            ours.add(pid)
            folders.setdefault(pid, PROJECT)
        if (started := _STARTED.search(call)) is not None and pid in ours:
            child = started["here"] or started["pid"]
            ours.add(child)
            folders[child] = folders[pid]
        if pid not in ours or "resumed>" in call or not name.isidentifier():
            continue
        if name.startswith("getdents"):
            listed = re.match(r"\d+<([^>]*)>", arguments)
            if listed is not None:
                yield listed[1]
            continue
        if name in _NO_QUESTION:
            arguments = arguments.partition(", ")[2]
        for folder, path in _PATH.findall(arguments)[: 2 if name in _TWO_PATHS else 1]:
            if path and "\\" not in path:
                whole = os.path.normpath(os.path.join(folder or folders[pid], path))
                yield whole
                if name == "chdir":
                    folders[pid] = whole
