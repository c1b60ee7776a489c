"""Starts init.py for one command, waits, and ends it in time.

The launcher is a fresh interpreter (posix_spawn, about 20 ms) rather than a fork of this one: forking a
program with threads and much memory is slow and unsafe, and what builds the sandbox then carries nothing of
ours.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

from fairlead.build.sandbox import system
from fairlead.build.sandbox.command import Bind, Command, Completed, Enforced, Requested
from fairlead.errors import MachineryError, UsageError
from fairlead.store import atomic

End: TypeAlias = Literal["ended", "cancelled", "time", "disk"]

_GRACE = 10.0  # seconds for the launcher to end its tree after SIGTERM
_TICK = 0.2  # seconds between looks at `cancel`


def run(command: Command, *, cancel: threading.Event | None = None) -> Completed:
    """Run `command` apart and wait for it and for everything it started.

    Ends it at `wall_seconds` or when `cancel` is set. A program that cannot be started is a UsageError; a
    sandbox that cannot be made is a MachineryError. The log files are made new.
    """
    enforced = enforcement(command.level)
    scratch = _scratch(command, enforced)
    try:
        return _run(command, enforced, scratch, cancel)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def enforcement(requested: Requested) -> Enforced:
    """The level that `requested` means on this machine; MachineryError if it asks for more than there is."""
    if requested == "none":
        return "none"
    refused = _namespaces_refused()
    if not refused:
        return "namespace"
    if requested == "auto":
        return "none"
    raise MachineryError(
        f"this machine refuses the namespaces that a sandbox is made of: {refused}",
        where="sandbox level namespace",
        remedy="allow unprivileged user namespaces (sysctl user.max_user_namespaces, and "
        "kernel.apparmor_restrict_unprivileged_userns on Ubuntu), or ask for --sandbox none",
    )


def refusal() -> str:
    """Why namespaces cannot be had here, or "" if they can."""
    return _namespaces_refused()


@functools.cache
def _namespaces_refused() -> str:
    """Try the whole sandbox once with `true`: the only answer that counts is the kernel's."""
    if sys.platform != "linux":
        return "they exist on Linux only"
    with tempfile.TemporaryDirectory(prefix="fairlead-probe-") as folder:
        probe = Command(
            ["/bin/sh", "-c", ":"], {}, "/", Path(folder) / "log", level="namespace", wall_seconds=60
        )
        try:
            done = _run(probe, "namespace", Path(folder), None)
        except (MachineryError, UsageError) as error:
            return error.what.removeprefix("cannot make the sandbox: ")
        return "" if done.code == 0 else f"a trial run ended with {done.code}"


def _scratch(command: Command, enforced: Enforced) -> Path:
    if enforced == "none" and not os.path.isdir(command.cwd):
        raise MachineryError("the folder to run in is not there", where=command.cwd)
    try:
        return Path(tempfile.mkdtemp(prefix=".sandbox-", dir=command.stdout.parent))
    except OSError as error:
        raise atomic.failed(error, "make a folder in", command.stdout.parent) from error


def _run(command: Command, enforced: Enforced, scratch: Path, cancel: threading.Event | None) -> Completed:
    spec = scratch / "spec"
    text = json.dumps(_spec(command, enforced, scratch))
    try:
        (scratch / "root").mkdir()
        spec.write_text(text, "utf-8")
        for log in (command.stdout, command.stderr):
            if log is not None:
                _make_log(log)
    except OSError as error:
        raise atomic.failed(error, "prepare a sandbox in", scratch) from error
    flags = os.O_WRONLY | os.O_APPEND
    second = (
        (os.POSIX_SPAWN_OPEN, 2, str(command.stderr), flags, 0)
        if command.stderr
        else (os.POSIX_SPAWN_DUP2, 1, 2)
    )
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(command.stdout), flags, 0),
        second,
    ]
    started = time.monotonic()
    python = system.interpreter()
    argv = [python, "-I", "-S", "-E", str(_init(scratch)), str(spec)]
    with contextlib.ExitStack() as stack:
        answer, telling = os.pipe()
        stack.callback(os.close, answer)
        try:
            actions.append((os.POSIX_SPAWN_DUP2, telling, 3))
            pid = os.posix_spawn(python, argv, {"PATH": os.defpath}, file_actions=actions, setsid=True)
        except OSError as error:
            raise MachineryError(
                f"cannot start the sandbox's launcher: {error.strerror}", where=python
            ) from error
        finally:
            os.close(telling)
        full = functools.partial(_is_full, scratch, command.keep_free)
        why: End = "cancelled"
        try:
            why = _wait(pid, command.wall_seconds, cancel, full)
        finally:
            _end(pid)
        seconds = time.monotonic() - started
        if cancel is not None and cancel.is_set():
            raise KeyboardInterrupt
        return _answer(command, enforced, _read(answer), why, seconds)


def _read(answer: int) -> bytes:
    """What the launcher said. Who may still hold the pipe's other end is being killed: no wait for that."""
    os.set_blocking(answer, False)
    try:
        return os.read(answer, 65536)
    except BlockingIOError:
        return b""


def _make_log(log: Path) -> None:
    log.unlink(missing_ok=True)
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.fchmod(fd, 0o666)  # the program, another user, may open its own /dev/stderr again
    os.close(fd)


def _init(scratch: Path) -> Path:
    """init.py as a file: itself, or a copy where the package is inside a zip."""
    own = Path(__file__).with_name("init.py")
    if own.is_file():
        return own
    from importlib import resources

    copy = scratch / "init.py"
    copy.write_bytes(resources.files("fairlead.build.sandbox").joinpath("init.py").read_bytes())
    return copy


def _spec(command: Command, enforced: Enforced, scratch: Path) -> dict[str, object]:
    binds = _ordered([*system.binds(), *command.root_binds]) if enforced == "namespace" else []
    if command.network and enforced == "namespace":
        binds += [Bind(Path("/etc/resolv.conf"), "/etc/resolv.conf")]
    return {
        "level": enforced,
        "argv": list(command.argv),
        "env": dict(command.env),
        "cwd": command.cwd,
        "binds": [[str(bind.src), bind.dest, bind.writable] for bind in binds],
        "masks": sorted({*system.masks(), *command.masks}),
        "network": command.network,
        "hostname": "sandbox",
        "mountpoint": str(scratch / "root"),
        "limits": {
            "memory": command.memory_bytes,
            "cpu": command.cpu_seconds,
            "file": command.file_bytes,
            "processes": command.processes,
            "tmp": command.tmp_bytes,
        },
        "parent": os.getpid(),
    }


def _ordered(binds: list[Bind]) -> list[Bind]:
    """Each destination once (the last one named wins), outer folders before what lies in them."""
    last = {bind.dest: bind for bind in binds}
    for bind in last.values():
        if not bind.dest.startswith("/") or os.path.normpath(bind.dest) != bind.dest or bind.dest == "/":
            raise ValueError(f"{bind.dest!r} is not a place for a bind")
    return sorted(last.values(), key=lambda bind: bind.dest.count("/"))


def _is_full(folder: Path, keep_free: int) -> bool:
    if not keep_free:
        return False
    seen = os.statvfs(folder)
    return seen.f_bavail * seen.f_frsize < keep_free


def _wait(
    pid: int,
    seconds: float | None,
    cancel: threading.Event | None = None,
    full: Callable[[], bool] = lambda: False,
) -> End:
    """Wait until the process ends, or there is a reason to end it."""
    deadline = None if seconds is None else time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        watch = None
        if hasattr(os, "pidfd_open"):  # Linux
            fd = os.pidfd_open(pid)
            stack.callback(os.close, fd)
            watch = select.poll()
            watch.register(fd, select.POLLIN)
        while True:
            if cancel is not None and cancel.is_set():
                return "cancelled"
            if full():
                return "disk"
            left = _TICK if deadline is None else min(_TICK, deadline - time.monotonic())
            if left <= 0:
                return "time"
            if watch is None:
                if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                    return "ended"
                time.sleep(min(left, 0.01))
            elif watch.poll(left * 1000):
                return "ended"


def _end(pid: int) -> None:
    """Reap the launcher, after ending it if it still runs: SIGTERM lets it end its tree first."""
    if os.waitpid(pid, os.WNOHANG)[0] == pid:
        return
    os.kill(pid, signal.SIGTERM)
    if _wait(pid, _GRACE) == "time":
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _answer(command: Command, enforced: Enforced, told: bytes, why: End, seconds: float) -> Completed:
    try:
        said = json.loads(told)
    except ValueError:
        said = {}
    if why != "ended":
        used = said.get("cpu", 0.0), said.get("rss", 0)
        return Completed(-signal.SIGKILL, enforced, why == "time", seconds, *used, disk_full=why == "disk")
    if said.get("phase") == "exec":
        raise UsageError(
            f"cannot start {said['failed']}",
            where=command.cwd,
            remedy="name a program that the sandbox can see: the system's, a toolchain's or a declared input",
        )
    if "code" not in said:
        cause = said.get("failed") or "its launcher ended without an answer"
        raise MachineryError(
            f"cannot make the sandbox: {cause}", where=str(command.argv[0]), remedy=_remedy(cause)
        )
    return Completed(said["code"], enforced, False, seconds, said["cpu"], said["rss"])


def _remedy(cause: str) -> str:
    return "free some space on that disk and run it again" if "No space left" in cause else ""
