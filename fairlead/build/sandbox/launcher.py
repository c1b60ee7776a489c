"""Hands commands to init.py, waits, and ends them in time.

A launcher is a small interpreter of its own (posix_spawn) rather than a fork of this one: forking a program
with threads and much memory is slow and unsafe, and what builds the sandbox then carries nothing of ours.
Launchers are kept for the next command, one for each that runs at once: starting one takes 30 ms, a fork of
one takes 1 ms. One that had to be stopped, or did not answer, is not used again; all end with this process,
whose end of the socket closes.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

from fairlead.build.record.asked import Asked
from fairlead.build.sandbox import landlock, system
from fairlead.build.sandbox.command import Bind, Command, Completed, Enforced, Requested
from fairlead.errors import MachineryError, UsageError
from fairlead.store import atomic

End: TypeAlias = Literal["ended", "cancelled", "time", "disk"]

_GRACE = 10.0  # seconds for the launcher to end its tree after SIGTERM
_TICK = 0.2  # seconds between looks at `cancel`


def run(
    command: Command,
    *,
    cancel: threading.Event | None = None,
    on_tick: Callable[[], None] | None = None,
) -> Completed:
    """Run `command` apart and wait for it and for everything it started.

    Ends it at `wall_seconds` or when `cancel` is set; meanwhile calls `on_tick` a few times a second. A
    program that cannot be started is a UsageError; a sandbox that cannot be made is a MachineryError. The log
    files are made new.
    """
    enforced = enforcement(command.level)
    scratch = _scratch(command, enforced)
    try:
        return _run(command, enforced, scratch, cancel, on_tick)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def enforcement(requested: Requested) -> Enforced:
    """The level that `requested` means on this machine; MachineryError if it asks for more than there is."""
    if requested == "none":
        return "none"
    if requested == "landlock":
        if why := _landlock_refused():
            raise MachineryError(
                f"this machine cannot hold programs by Landlock: {why}",
                where="sandbox level landlock",
                remedy="it takes Linux 6.2 with Landlock among its security modules; choose another level",
            )
        return "landlock"
    refused = _namespaces_refused()
    if not refused:
        return "namespace"
    if requested == "auto":
        return "none" if _landlock_refused() else "landlock"
    raise MachineryError(
        f"this machine refuses the namespaces that a sandbox is made of: {refused}",
        where="sandbox level namespace",
        remedy="allow unprivileged user namespaces (sysctl user.max_user_namespaces, and "
        "kernel.apparmor_restrict_unprivileged_userns on Ubuntu), or ask for --sandbox "
        + ("none" if _landlock_refused() else "landlock"),
    )


def refusal() -> str:
    """Why namespaces cannot be had here, or "" if they can."""
    return _namespaces_refused()


@functools.cache
def _namespaces_refused() -> str:
    return _refused("namespace")


@functools.cache
def _landlock_refused() -> str:
    return landlock.refusal() or _refused("landlock")


def _refused(level: Enforced) -> str:
    """Try the whole sandbox once with a shell that does nothing: the only answer that counts is the
    kernel's."""
    if sys.platform != "linux":
        return "it exists on Linux only"
    with tempfile.TemporaryDirectory(prefix="fairlead-probe-") as folder:
        probe = Command(["/bin/sh", "-c", ":"], {}, "/", Path(folder) / "log", level=level, wall_seconds=60)
        try:
            done = _run(probe, level, Path(folder))
        except (MachineryError, UsageError) as error:
            return error.what.removeprefix("cannot make the sandbox: ")
        return "" if done.code == 0 else f"a trial run ended with {done.code}"


def _scratch(command: Command, enforced: Enforced) -> Path:
    if enforced != "namespace" and not os.path.isdir(command.cwd):
        raise MachineryError("the folder to run in is not there", where=command.cwd)
    try:
        return Path(tempfile.mkdtemp(prefix=".sandbox-", dir=command.stdout.parent))
    except OSError as error:
        raise atomic.failed(error, "make a folder in", command.stdout.parent) from error


def _run(
    command: Command,
    enforced: Enforced,
    scratch: Path,
    cancel: threading.Event | None = None,
    on_tick: Callable[[], None] | None = None,
) -> Completed:
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
    started = time.monotonic()
    launcher = _launcher(scratch)

    def full() -> bool:
        if on_tick is not None:
            on_tick()
        return _is_full(scratch, command.keep_free)

    why: End = "cancelled"
    try:
        launcher.start(spec, [log for log in (command.stdout, command.stderr) if log is not None])
        why = launcher.wait(command.wall_seconds, cancel, full)
    finally:
        told = launcher.answer() if why == "ended" else launcher.end()
        if launcher.alive:
            _idle.append(launcher)
    seconds = time.monotonic() - started
    if cancel is not None and cancel.is_set():
        raise KeyboardInterrupt
    done = _answer(command, enforced, told, why, seconds)
    return replace(done, asked=_asked(scratch)) if command.record else done


def _launcher(scratch: Path) -> _Launcher:
    """One without work, else a new one."""
    while True:
        try:
            found = _idle.pop()
        except IndexError:
            return _Launcher(scratch)
        if found.usable():
            return found


class _Launcher:
    """A running init.py; one command at a time."""

    def __init__(self, scratch: Path) -> None:
        self._calls, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        python = system.interpreter()
        files = ("init.py", "filter.py", "landlock.py")
        parts = [str(_as_file("fairlead.build.sandbox", name, scratch)) for name in files]
        argv = [python, "-I", "-S", "-E", *parts]
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            (os.POSIX_SPAWN_DUP2, theirs.fileno(), 3),
        ]
        try:
            self._pid = os.posix_spawn(python, argv, {"PATH": os.defpath}, file_actions=actions, setsid=True)
        except OSError as error:
            self._calls.close()
            raise MachineryError(
                f"cannot start the sandbox's launcher: {error.strerror}", where=python
            ) from error
        finally:
            theirs.close()
        self.alive = True

    def usable(self) -> bool:
        """Whether it still waits for work: somebody may have killed it."""
        watch = select.poll()
        watch.register(self._calls, select.POLLIN)
        if watch.poll(0):
            self._close()
        return self.alive

    def start(self, spec: Path, logs: Sequence[Path]) -> None:
        """Run a command; `logs` are the files for stdout and, if it has its own, stderr."""
        with contextlib.ExitStack() as stack:
            fds = []
            for log in logs:
                fds.append(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))
                stack.callback(os.close, fds[-1])
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died: so says its answer
                socket.send_fds(self._calls, [os.fsencode(spec)], fds)

    def wait(self, seconds: float | None, cancel: threading.Event | None, full: Callable[[], bool]) -> End:
        """Wait until there is an answer, or a reason to end the command."""
        deadline = None if seconds is None else time.monotonic() + seconds
        watch = select.poll()
        watch.register(self._calls, select.POLLIN)
        while True:
            if cancel is not None and cancel.is_set():
                return "cancelled"
            if full():
                return "disk"
            left = _TICK if deadline is None else min(_TICK, deadline - time.monotonic())
            if left <= 0:
                return "time"
            if watch.poll(left * 1000):
                return "ended"

    def answer(self) -> bytes:
        """What it says of the command; nothing, if it has died."""
        try:
            told = self._calls.recv(65536)
        except ConnectionError:
            told = b""
        if not told:
            self._close()
        return told

    def end(self) -> bytes:
        """End the command with all that it started, and the launcher: SIGTERM lets it do so in order."""
        os.kill(self._pid, signal.SIGTERM)
        told = b""
        if self.wait(_GRACE, None, lambda: False) == "ended":
            with contextlib.suppress(ConnectionError):
                told = self._calls.recv(65536)
        self._close()
        return told

    def _close(self) -> None:
        """See that it is gone. After its answer nothing of the command runs any more."""
        self.alive = False
        self._calls.close()
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


_idle: deque[_Launcher] = deque()
"""Launchers without work. A deque, for several threads take from it."""


@atexit.register
def _end_idle() -> None:
    """They would end by themselves; waited for, their time counts as ours."""
    while _idle:
        _idle.pop()._close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # they answer to the process that started them


def _make_log(log: Path) -> None:
    log.unlink(missing_ok=True)
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.fchmod(fd, 0o666)  # the program, another user, may open its own /dev/stderr again
    os.close(fd)


def _as_file(package: str, name: str, scratch: Path) -> Path:
    """A module that another interpreter reads, as a file: itself, or a copy where the package is in a zip."""
    from importlib import resources

    own = resources.files(package).joinpath(name)
    if isinstance(own, Path):
        return own
    copy = scratch / name
    copy.write_bytes(own.read_bytes())
    return copy


def _spec(command: Command, enforced: Enforced, scratch: Path) -> dict[str, object]:
    binds = _ordered([*system.binds(), *command.root_binds]) if enforced != "none" else []
    if enforced == "landlock":  # paths are those outside; a program may open its own output again
        logs = [log for log in (command.stdout, command.stderr) if log is not None]
        binds += [Bind(log, str(log), writable=True) for log in logs]
    if command.network and enforced == "namespace":
        binds += [Bind(Path("/etc/resolv.conf"), "/etc/resolv.conf")]
    return {
        "level": enforced,
        "argv": list(command.argv),
        "env": dict(command.env),
        "cwd": command.cwd,
        "binds": [[str(bind.src), bind.dest, _kind(bind)] for bind in binds],
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
        **_recording(command, scratch),
    }


def _kind(bind: Bind) -> Literal["read", "write", "overlay"]:
    if bind.overlay:
        return "overlay"
    return "write" if bind.writable else "read"


def _recording(command: Command, scratch: Path) -> dict[str, object]:
    if not command.record:
        return {}
    supervisor = _as_file("fairlead.build.record", "supervisor.py", scratch)
    return {"record": str(scratch / "record"), "supervisor": str(supervisor)}


def _asked(scratch: Path) -> Asked:
    """What the launcher noted; nothing if it was ended before it could write it."""
    try:
        return Asked.decode((scratch / "record").read_bytes())
    except OSError:
        return Asked.unheard("the run was ended before its record was written")


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
    refused = said.get("refused", ())
    if enforced != "namespace":
        refused = [bind.dest for bind in command.root_binds if bind.overlay]
    return Completed(
        said["code"], enforced, False, seconds, said["cpu"], said["rss"], not_overlaid=tuple(refused)
    )


def _remedy(cause: str) -> str:
    return "free some space on that disk and run it again" if "No space left" in cause else ""
