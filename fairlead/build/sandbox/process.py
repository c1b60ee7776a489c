"""A launcher while it runs: one program in a process of its own, kept for the next command.

There are two programs with the same socket, requests and answers in meaning: init.py, and the native one
(native.py). Each is kept for commands with one base. One that had to be stopped, or did not answer, is not
used again; all end with this process, whose end of the socket closes.
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
import struct
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from fairlead.build.sandbox import system
from fairlead.errors import MachineryError

End: TypeAlias = Literal["ended", "cancelled", "time", "disk"]

_GRACE = 10.0  # seconds for the launcher to end its tree after SIGTERM
_TICK = 0.2  # seconds between looks at `cancel`
_KEPT = 4 * (os.cpu_count() or 1)  # launchers without work


class Process:
    """A running launcher, init.py, for commands with one base (a JSON document); one command at a time."""

    def __init__(self, base: str) -> None:
        self.base = base
        self._told = False
        self._calls, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        argv = self.program()
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            (os.POSIX_SPAWN_DUP2, theirs.fileno(), 3),
        ]
        try:
            self._pid = os.posix_spawn(argv[0], argv, {"PATH": os.defpath}, file_actions=actions, setsid=True)
        except OSError as error:
            self._calls.close()
            raise MachineryError(
                f"cannot start the sandbox's launcher: {error.strerror}", where=argv[0]
            ) from error
        finally:
            theirs.close()
        self.alive = True

    def program(self) -> list[str]:
        """What is started."""
        files = ("init.py", "mounts.py", "filter.py", "landlock.py")
        parts = [str(as_file("fairlead.build.sandbox", name)) for name in files]
        return [system.interpreter(), "-I", "-S", "-E", *parts]

    def message(self, own: Mapping[str, object], *, first: bool) -> bytes:
        """A request: what the command has beside the base, and with the `first` one the base."""
        text = json.dumps(own)
        if first and self.base:
            text = f'{text[:-1]}, "base": {self.base}}}'
        return text.encode()

    def usable(self) -> bool:
        """Whether it still waits for work: somebody may have killed it."""
        watch = select.poll()
        watch.register(self._calls, select.POLLIN)
        if watch.poll(0):
            self.close()
        return self.alive

    def start(self, own: Mapping[str, object], fds: Sequence[int]) -> None:
        """Run a command, of which `fds` are the logs and the mounts for overlays."""
        text = self.message(own, first=not self._told)
        data = struct.pack("I", len(text)) + text
        self._told = True
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died: so says its answer
            sent = socket.send_fds(self._calls, [data], fds)
            self._calls.sendall(data[sent:])

    def lower(self, request: Mapping[str, object]) -> int | None:
        """A mount that a request of init.py asks for, as a descriptor; None where the kernel makes none."""
        self.start(request, [])
        try:
            _, fds, _, _ = socket.recv_fds(self._calls, 16, 1)
            for fd in fds:
                os.set_inheritable(fd, False)
        except ConnectionError:
            fds = []
        return fds[0] if fds else None

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

    def answer(self) -> dict[str, Any]:
        """What it says of the command; nothing, if it has died."""
        said = self._said()
        if not said or "last" in said:
            self.close()
        return said

    def _said(self) -> dict[str, Any]:
        told = b""
        with contextlib.suppress(ConnectionError):
            while part := self._calls.recv(1 << 16):
                told += part
                with contextlib.suppress(ValueError):
                    return dict(json.loads(told.decode("utf-8", "replace")))
        return {}

    def end(self) -> dict[str, Any]:
        """End the command with all that it started, and the launcher: SIGTERM lets it do so in order."""
        os.kill(self._pid, signal.SIGTERM)
        said = self._said() if self.wait(_GRACE, None, lambda: False) == "ended" else {}
        self.close()
        return said

    def close(self) -> None:
        """See that it is gone. After its answer nothing of the command runs any more."""
        self.alive = False
        self._calls.close()
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def hand(
    process: Process,
    own: Mapping[str, object],
    fds: Sequence[int],
    wall_seconds: float | None,
    cancel: threading.Event | None,
    full: Callable[[], bool],
) -> tuple[End, dict[str, Any]]:
    """Have a command run, and keep the launcher for the next one: how the wait ended, and the answer."""
    why: End = "cancelled"
    try:
        process.start(own, fds)
        why = process.wait(wall_seconds, cancel, full)
    finally:
        said = process.answer() if why == "ended" else process.end()
        if process.alive:
            keep(process)
    return why, said


def take(kind: type[Process], base: str) -> Process:
    """One of that kind without work that has this base, else a new one."""
    for found in reversed(list(idle)):
        if found.base != base or type(found) is not kind:
            continue
        try:
            idle.remove(found)
        except ValueError:  # another thread was faster
            continue
        if found.usable():
            return found
    return kind(base)


def keep(process: Process) -> None:
    """For the next command with this base; of too many the one that waits longest goes."""
    idle.append(process)
    if len(idle) > _KEPT:
        with contextlib.suppress(IndexError):
            idle.popleft().close()


idle: deque[Process] = deque()
"""Launchers without work. A deque, for several threads take from it."""


@atexit.register
def _end_idle() -> None:
    """They would end by themselves; waited for, their time counts as ours."""
    while idle:
        idle.pop().close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=idle.clear)  # they answer to the process that started them


@functools.cache
def as_file(package: str, name: str) -> Path:
    """A module that another interpreter reads, as a file: itself, or a copy where the package is in a zip."""
    from importlib import resources

    own = resources.files(package).joinpath(name)
    if isinstance(own, Path):
        return own
    folder = tempfile.mkdtemp(prefix="fairlead-launcher-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = Path(folder) / name
    copy.write_bytes(own.read_bytes())
    return copy
