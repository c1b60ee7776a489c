"""The recorder beside strace: a program that asks in many ways, and no path that strace saw is missing."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.build import sandbox
from fairlead.build.record import supervisor
from fairlead.build.record.asked import Asked
from fairlead.build.sandbox import MIB, Bind, Command, Completed
from fairlead.errors import UsageError

PROGRAM = r"""
import ctypes, glob, mmap, os, pathlib, shutil, sqlite3, subprocess, sys, threading

def quietly(function, *args, **kwargs):
    try:
        return function(*args, **kwargs)
    except OSError:
        return None

open("data/a.txt").read()
os.path.exists("data/none")
os.listdir("data")
list(os.scandir("."))
folder = os.open("data", os.O_DIRECTORY)
quietly(os.open, "b.txt", os.O_RDONLY, dir_fd=folder)
quietly(os.stat, "none-at", dir_fd=folder)
quietly(os.readlink, "link-at", dir_fd=folder)
quietly(os.access, "access-at", os.R_OK, dir_fd=folder)
os.listdir(folder)
quietly(os.readlink, "link")
quietly(os.getxattr, "data/a.txt", "user.none")
quietly(os.statvfs, "data")
quietly(os.mkdir, "data")
quietly(os.rename, "none-1", "none-2")
quietly(os.unlink, "none-3")
quietly(os.chmod, "none-4", 0o600)
quietly(os.utime, "none-5")
quietly(os.truncate, "none-6", 1)
quietly(os.link, "none-7", "none-8")
quietly(os.symlink, "anywhere", "data/a.txt")
quietly(ctypes.CDLL, "./libnone.so")
quietly(shutil.which, "none-program", path="data:.")
glob.glob("data/**/*.txt", recursive=True)
sqlite3.connect("data/base.sqlite").execute("select 1").fetchall()
threading.Thread(target=os.path.exists, args=("from-a-thread",)).start()
subprocess.run(["/bin/sh", "-c", "cd data && cat a.txt none-9 ../none-10; test -e ../../none-11; ls . >&2"])
subprocess.run([sys.executable, "-I", "-S", "-c", "open('b.txt').close()"], cwd="data")
if os.fork() == 0:
    os.chdir("data")
    os.path.exists("after-chdir")
    os._exit(0)
os.wait()
quietly(open, "/proc/self/cwd/through-proc")
quietly(open, "x" * 255 + "/" + "y" * 255)
quietly(open, "\udcff-not-utf8")
"""

# What is tested is a part of Linux; elsewhere a run has no record, and `Asked.unheard` says so.
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")


@pytest.fixture
def project() -> Iterator[Path]:
    """Outside of pytest's own folder, which other users may not enter."""
    with tempfile.TemporaryDirectory(prefix="fairlead-recorder-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "p" / "data").mkdir(parents=True)
        (folder / "p" / "program.py").write_text(PROGRAM)
        (folder / "p" / "data" / "a.txt").write_text("a")
        (folder / "p" / "data" / "b.txt").write_text("b")
        (folder / "p" / "link").symlink_to("data/a.txt")
        with contextlib.closing(sqlite3.connect(folder / "p" / "data" / "base.sqlite")) as base:
            base.execute("create table t (x)")
        yield folder / "p"


ENV = {"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0", "LANG": "C.UTF-8"}
PYTHON = os.path.realpath(sys.executable)


def run(project: Path, level: sandbox.Requested, *argv: str) -> Completed:
    inside = level == "namespace"
    command = Command(
        argv or (PYTHON, "-I", "program.py"),
        ENV,
        "/project" if inside else str(project),
        project.parent / "log",
        root_binds=[Bind(project, "/project")] if inside else [],
        wall_seconds=120,
        memory_bytes=4096 * MIB,
        level=level,
        record=True,
    )
    return sandbox.run(command)


def asked(done: Completed) -> Asked:
    assert done.asked is not None
    assert (done.asked.recorder, done.asked.lack) == ("seccomp", "")
    return done.asked


def level() -> list[sandbox.Requested]:
    return ["none"] if sandbox.refusal() else ["namespace", "none"]


@pytest.mark.parametrize("level", level())
def test_everything_is_heard(project: Path, level: sandbox.Requested) -> None:
    done = run(project, level)
    assert done.code == 0, (project.parent / "log").read_text()
    found = asked(done).below("/project" if level == "namespace" else str(project))
    assert {"program.py", "data/a.txt", "data/b.txt", "through-proc", "libnone.so"} <= found.opened
    assert {"data/base.sqlite", "data/none-9", "none-10", "none-6", "\udcff-not-utf8"} <= found.opened
    assert {"data/none", "data/none-at", "data/access-at", "from-a-thread"} <= found.probed
    assert {"data/after-chdir", "none-1", "none-2", "none-8", "data/none-program"} <= found.probed
    assert {"link", "data/link-at"} <= found.links
    assert {"", "data"} <= found.listed
    assert not any("anywhere" in path for path in found.paths())  # what a new link says is no question


NAMES = """
import os, sys, tempfile
away = tempfile.mkdtemp()
def read(path): open(path).close()
os.symlink(os.path.abspath("data"), away + "/new")
os.replace(away + "/new", away + "/link")
read(away + "/link/a.txt")
os.path.exists(away + "/link/none-1")
os.symlink("program.py", "data/x")
os.symlink("../b.txt", "data/y")
read("data/y")
os.rename("b.txt", "renamed.txt")
os.link("data/b.txt", "linked.txt")
read("linked.txt")
os.symlink("loop/loop", "loop")
os.path.exists("loop/x")
folder = os.open("data", os.O_RDONLY)
read(f"/dev/fd/{folder}/c.txt")
read(f"/proc/self/task/{os.getpid()}/cwd/d.txt")
"""


def test_what_has_another_name_by_then_is_heard(project: Path) -> None:
    (project / "program.py").write_text(NAMES)
    for path in ("b.txt", "d.txt", "data/b.txt", "data/c.txt"):
        (project / path).write_text("")
    done = run(project, "none")
    assert done.code == 0, (project.parent / "log").read_text()
    found = asked(done).below(str(project))
    assert {"data/a.txt", "b.txt", "data/b.txt", "data/c.txt", "d.txt"} <= found.opened
    assert {"data/none-1", "b.txt"} <= found.probed
    assert Asked.decode(asked(done).encode()) == asked(done)
    (project / "program.py").write_text(
        'import os\nos.symlink("b/x", "a")\nos.symlink("a/y", "b")\nos.path.exists("a/z")\n'
    )
    endless = run(project, "none").asked
    assert endless is not None and "no end" in endless.lack


def test_no_path_that_strace_sees_is_missing(project: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        if os.environ.get("CI") == "true":
            pytest.fail("strace is missing: apt-get install strace")
        pytest.skip("strace is missing: apt-get install strace")
    trace = project.parent / "trace"
    options = ["-f", "-qq", "-y", "-s", "8192", "-e", "trace=%file,getdents,getdents64", "-o", str(trace)]
    command = Command(
        [strace, *options, PYTHON, "-I", "program.py"], ENV, str(project), project.parent / "log",
        wall_seconds=120, level="none",
    )  # fmt: skip
    assert sandbox.run(command).code == 0, (project.parent / "log").read_text()
    seen = set(strace_paths(trace.read_text("utf-8", "replace"), str(project)))
    assert len(seen) > 100
    heard = {comparable(path) for path in asked(run(project, "none")).paths()}
    assert {comparable(path) for path in seen} - heard == set()


def strace_paths(text: str, cwd: str) -> Iterator[str]:
    """The paths in a trace, resolved by the folders that strace names; calls without one are taken to be in
    the folder that their process last changed to."""
    folders: dict[str, str] = {}
    for line in text.splitlines():
        pid, _, call = line.partition(" ")
        name, _, arguments = call.strip().partition("(")
        here = folders.get(pid, cwd)
        if name == "chdir" and (moved := re.match(r'"([^"]*)"', arguments)):
            folders[pid] = os.path.normpath(os.path.join(here, moved[1]))
        if name.startswith("getdents"):
            listed = re.match(r"\d+<([^>]*)>", arguments)
            assert listed is not None, line
            yield listed[1]
            continue
        if name.startswith("symlink"):
            arguments = arguments.partition(", ")[2]
        if "resumed>" in line or not name.isidentifier():
            continue
        for folder, path in re.findall(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"', arguments)[:2]:
            if not path or "\\" in path:
                continue
            yield os.path.normpath(os.path.join(folder or here, path.replace("/proc/self/cwd", here)))
            if name not in TWO_PATHS:
                break


TWO_PATHS = {"rename", "renameat", "renameat2", "link", "linkat"}


def comparable(path: str) -> str:
    """Without what differs from run to run: process numbers."""
    return re.sub(r"^/proc/\d+", "/proc/self", path)


@pytest.mark.parametrize("level", level())
def test_the_program_that_a_script_names_is_heard(project: Path, level: sandbox.Requested) -> None:
    """The kernel opens it: no call of anybody's tells."""
    files = {"run": "/bin/sh", "third": "./second x", "second": "{0}/first", "first": "/bin/sh"}
    for name, first in files.items():
        path = project / name
        path.write_text(f"#!{first.format('/project' if level == 'namespace' else project)}\ntrue\n")
        path.chmod(0o755)
    program = "import os, subprocess; subprocess.run(['./third']); open('data/after').close()"
    done = run(project, level, PYTHON, "-I", "-S", "-c", program)
    heard = asked(done).below("/project" if level == "namespace" else str(project))
    assert {"third", "second", "first"} <= heard.opened and "run" not in heard.paths()


def test_a_program_that_is_not_there_is_still_an_error(project: Path) -> None:
    with pytest.raises(UsageError, match="cannot start none"):
        run(project, "none", "none")


@pytest.mark.parametrize("level", level())
def test_codes_and_signals_are_those_of_the_program(project: Path, level: sandbox.Requested) -> None:
    assert run(project, level, "/bin/sh", "-c", "exit 7").code == 7
    assert run(project, level, "/bin/sh", "-c", "kill -9 $$").code == -9


def test_a_run_that_is_ended_has_what_was_heard_or_says_why_not(project: Path) -> None:
    command = Command(
        ["/bin/sh", "-c", "cat none; sleep 100"], ENV, str(project), project.parent / "log",
        wall_seconds=1.0, level="none", record=True,
    )  # fmt: skip
    done = sandbox.run(command)
    assert done.timed_out and done.asked is not None
    assert str(project / "none") in done.asked.opened or done.asked.lack


def test_what_is_left_running_does_not_hold_the_record(project: Path) -> None:
    done = run(project, "none", "/bin/sh", "-c", "(sleep 60; cat late) & cat early")
    assert str(project / "early") in asked(done).opened
    assert done.seconds < 30


def test_a_kernel_without_the_listener_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorded program cannot itself be recorded: the kernel allows one listener. It runs all the same."""
    text = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import supervisor\n"
        "try:\n    supervisor.install()\nexcept OSError as error:\n    print(error.strerror)\n"
    )
    folder = str(Path(supervisor.__file__).parent)
    done = run(project, "none", PYTHON, "-I", "-c", text, folder)
    assert asked(done) and done.code == 0
    assert (project.parent / "log").read_text() == "Device or resource busy\n"


def test_tables_name_the_same_calls() -> None:
    for numbers in supervisor.NUMBERS.values():
        assert numbers.keys() <= supervisor.CALLS.keys()
        assert len(set(numbers.values())) == len(numbers)
        assert len(numbers) < 250  # jumps of the filter reach no further
    assert supervisor.NUMBERS["x86_64"].keys() == supervisor.CALLS.keys()


def test_a_damaged_record_is_one_that_nobody_heard() -> None:
    for data in (b"", b"{}", b"[1]", b'{"recorder": "seccomp", "asked": 1}'):
        assert Asked.decode(data).recorder == "none"
    whole = Asked("seccomp", frozenset({"a"}), frozenset({"b"}), frozenset({"c"}), frozenset({"d"}), 4, "")
    assert Asked.decode(whole.encode()) == whole
