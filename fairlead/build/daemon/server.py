"""Runs commands for clients, one after the other, in the process that keeps the state.

Connections are served by threads; commands run in the main thread, where the client's descriptors, folder,
environment and umask are put in place of ours. Cancelling (Ctrl-C in the client, or the client's end) is the
signal SIGINT to the main thread, so all that heeds an interrupt in a terminal heeds it here.

A command that was cancelled, or that met a fault, may have left what is kept half changed: it is forgotten,
and the store, which such ends cannot hurt, is read again.

Rejected: a fork for each command (what it learns is lost with it), commands at once (two builds of one
project take turns at the store's lock anyway), asyncio (commands are plain code that waits).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairlead import __version__
from fairlead.build.daemon import client
from fairlead.store import crashpoint

if TYPE_CHECKING:
    from fairlead.build.daemon.state import State

_LIMIT = 1 << 24  # bytes of a request: the longest command line with the largest environment is smaller
INTERRUPTED = 130
FAULT = 3  # the exit code of a fault of the machine, or of ours

BEFORE_CODE = crashpoint.declare(
    "build.daemon.before-code", "the daemon has done a command and has not said so to its client"
)


@dataclass
class Job:
    """A command of a client, from its request until its exit code is sent."""

    connection: socket.socket
    argv: list[str]
    cwd: str
    umask: int
    encoding: str
    errors: str
    env: dict[bytes, bytes]
    fds: list[int]
    program: str
    cancelled: bool = False
    started: float = field(default_factory=time.monotonic)

    def say(self, line: str) -> None:
        """Send a line, if the client is still there."""
        with contextlib.suppress(OSError):
            self.connection.sendall(line.encode("utf-8", "replace") + b"\n")

    def close(self) -> None:
        """Let go of what the client gave us."""
        for fd in self.fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        self.fds = []

    def words(self) -> str:
        """The command, as messages name it."""
        text = "fairlead " + " ".join(self.argv)
        return text if len(text) <= 60 else text[:57] + "..."


class Server:
    """The daemon of the state's project. `run` is what a command line does: `fairlead.cli.main`."""

    def __init__(self, state: State, run: Callable[[list[str]], int], *, idle: float) -> None:
        self.state = state
        self.run_command = run
        self.idle = idle
        self.program = client.program()
        self._code = _Code(Path(__file__).parent.parent.parent)
        self._began = time.time()
        self._count = 0
        self._queue: deque[Job] = deque()
        self._current: Job | None = None
        self._raising = False
        self._stopping = False
        self._changed = threading.Condition()
        self._main = threading.get_ident()

    # -- life

    def serve(self, listener: socket.socket) -> None:
        """Serve until nobody has asked for `idle` seconds, until it is told to stop, or until the program or
        the project is not what it was."""
        signal.signal(signal.SIGINT, self._interrupt)
        signal.signal(signal.SIGTERM, self._terminate)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        try:
            while (job := self._next()) is not None:
                self._do(job)
                if not self._queue:
                    self._tidy(job)
        finally:
            with self._changed:
                self._stopping = True
            listener.close()
            for job in self._queue:
                job.say("renew")
                job.close()

    def _tidy(self, job: Job) -> None:
        """What a command left to be done, in its environment: compilers are found by its PATH."""
        before = dict(os.environb)
        set_environment(job.env)
        try:
            self.state.tidy(lambda: bool(self._queue) or self._stopping)
        finally:
            set_environment(before)

    def _next(self) -> Job | None:
        """The next command; None at the end."""
        deadline = time.monotonic() + self.idle
        with self._changed:
            while not self._queue:
                left = deadline - time.monotonic()
                if self._stopping or left <= 0 or not self.state.stands():
                    return None
                self._changed.wait(min(left, 5.0))
            if self._stopping:
                return None
            self._current = self._queue.popleft()
            return self._current

    def _terminate(self, *_: object) -> None:
        self._stopping = True  # seen within seconds; a lock cannot be taken in a signal's handler

    def _interrupt(self, *_: object) -> None:
        if self._raising and self._current is not None and self._current.cancelled:
            self._raising = False
            raise KeyboardInterrupt

    # -- connections

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ECONNABORTED):
                    time.sleep(0.1)
                    continue
                return
            threading.Thread(target=self._hear, args=(connection,), daemon=True).start()

    def _hear(self, connection: socket.socket) -> None:
        """Everything that comes over one connection."""
        with connection:
            if not ours(connection):
                return
            fds: list[int] = []
            try:
                fields = _receive(connection, fds)
                if fields is None:
                    return
                if fields[1] != b"run":
                    self._control(connection, fields[1])
                    return
                job = _job(connection, fields, fds)
            except (OSError, ValueError, IndexError):
                for fd in fds:
                    os.close(fd)
                return
            self._enqueue(job)
            self._follow(job)

    def _control(self, connection: socket.socket, word: bytes) -> None:
        if word == b"status":
            connection.sendall(json.dumps(self.status()).encode())
        elif word == b"stop":
            with self._changed:
                self._stopping = True
                self._changed.notify_all()
            with contextlib.suppress(OSError):
                connection.recv(1)  # the client waits for our end

    def _enqueue(self, job: Job) -> None:
        with self._changed:
            first = self._current
            if self._stopping:
                job.say("renew")
                job.close()
                return
            self._queue.append(job)
            self._changed.notify_all()
        if first is not None:
            took = time.monotonic() - first.started
            job.say(f"wait waiting for another command in this project: {first.words()} (since {took:.0f}s)")

    def _follow(self, job: Job) -> None:
        """Cancel the command when its client says so, or has gone."""
        while True:
            try:
                word = job.connection.recv(1)
            except OSError:
                word = b""
            with self._changed:
                if job in self._queue:
                    self._queue.remove(job)
                    job.close()
                    job.say(f"code {INTERRUPTED}")
                    return
                job.cancelled = True
                if self._current is job:
                    signal.pthread_kill(self._main, signal.SIGINT)
            if not word:
                return

    def status(self) -> dict[str, object]:
        """What `fairlead daemon status` tells."""
        from fairlead.build.sandbox import native

        current = self._current
        return {
            "pid": os.getpid(),
            "version": __version__,
            "root": str(self.state.root),
            "store": str(self.state.store.root),
            "started": round(self._began),
            "commands": self._count,
            "running": None if current is None else current.argv,
            "waiting": len(self._queue),
            "memory": _memory(),
            "launcher": native.state(),
            "idle_seconds": self.idle,
            **self.state.facts(),
        }

    # -- commands

    def _do(self, job: Job) -> None:
        """Run one command and send its exit code, or say that we are not the one to do it."""
        no = self._refusal(job)
        if no:
            self._current = None
            job.close()
            if no == "renew":
                with self._changed:
                    self._stopping = True
            job.say(no)
            return
        job.say(client.ALIVE.decode())
        code = FAULT
        try:
            code = self._perform(job)
        except OSError as error:  # its folder has gone, or its descriptors are none
            job.say(f"wait the daemon cannot take the command over: {error.strerror}")
        except KeyboardInterrupt:
            code = INTERRUPTED
        finally:
            self._raising = False
            self._current = None
            self._count += 1
            job.close()
        if code not in (0, 1, 2):
            self.state.forget()
        job.say(f"code {code}")
        with contextlib.suppress(OSError):
            job.connection.shutdown(socket.SHUT_RDWR)

    def _refusal(self, job: Job) -> str:
        if job.program != self.program or self._code.changed():
            return "renew"
        try:
            os.chdir(job.cwd)
            os.chdir("/")
        except OSError:
            return "refuse"
        return ""

    def _perform(self, job: Job) -> int:
        with _in_place_of_ours(job):
            try:
                self._raising = True
                if job.cancelled:
                    return INTERRUPTED
                with self.state.command():
                    code = self.run_command(job.argv)
            except SystemExit as end:  # the words were -h
                code = end.code if isinstance(end.code, int) else 0
            finally:
                self._raising = False
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            except (BrokenPipeError, ValueError):
                pass
            crashpoint.here(BEFORE_CODE)
            return code


@contextlib.contextmanager
def _in_place_of_ours(job: Job) -> Iterator[None]:
    """The client's folder, environment, umask, words and streams, until the command is done."""
    streams = sys.stdin, sys.stdout, sys.stderr
    environment, words, umask = dict(os.environb), sys.argv, os.umask(job.umask)
    try:
        os.chdir(job.cwd)
        set_environment(job.env)
        for number, fd in enumerate(job.fds):
            os.dup2(fd, number)
        job.close()
        sys.argv = ["fairlead", *job.argv]
        told = threading.Event()

        def wrote() -> None:
            if not told.is_set():
                told.set()
                job.say("wrote")

        sys.stdin = open(0, encoding=job.encoding, closefd=False)  # noqa: SIM115 - ours for a while
        sys.stdout = _stream(1, job, wrote)
        sys.stderr = _stream(2, job, lambda: None)
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for number in (0, 1):
            os.dup2(nothing, number)
        os.dup2(_log or nothing, 2)
        os.close(nothing)
        set_environment(environment)
        sys.argv = words
        os.umask(umask)
        os.chdir("/")


_log: int | None = None
"""Where our own faults are written, between commands."""


def keep_log(path: Path) -> None:
    """Write to a new file at `path` what a fault of ours says when no client listens."""
    global _log
    path.unlink(missing_ok=True)
    _log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(_log, 2)


def set_environment(env: dict[bytes, bytes]) -> None:
    """Have these variables and no others, and forget what was made of those before."""
    for key in os.environb.keys() - env.keys():
        del os.environb[key]
    for key, value in env.items():
        if os.environb.get(key) != value:
            os.environb[key] = value
    time.tzset()
    if "tempfile" in sys.modules:
        import tempfile

        tempfile.tempdir = None


class _Told(io.FileIO):
    """A descriptor of a client that tells when it is written to."""

    def __init__(self, number: int, wrote: Callable[[], None]) -> None:
        super().__init__(number, "w", closefd=False)
        self._wrote = wrote

    def write(self, data: Any) -> int:
        self._wrote()
        return super().write(data)


def _stream(number: int, job: Job, wrote: Callable[[], None]) -> io.TextIOWrapper:
    """stdout or stderr as the client's own interpreter would have made it."""
    raw = _Told(number, wrote)
    errors = "backslashreplace" if number == 2 else job.errors
    buffered = io.BufferedWriter(raw, 1 << 16)
    return io.TextIOWrapper(
        buffered, job.encoding, errors, line_buffering=number == 2 or os.isatty(number), newline="\n"
    )


class _Code:
    """Our own files: when one of them has changed, what is loaded is not what a new process would be."""

    def __init__(self, package: Path) -> None:
        kinds = (".py", ".bzl")
        self._files = [
            os.path.join(place, name)
            for place, _, names in os.walk(package)
            for name in names
            if name.endswith(kinds)
        ]
        self._seen = self._look()

    def _look(self) -> list[tuple[int, int, int]]:
        found = []
        for path in self._files:
            try:
                seen = os.stat(path)
            except OSError:
                found.append((0, 0, 0))
                continue
            found.append((seen.st_ino, seen.st_size, seen.st_mtime_ns))
        return found

    def changed(self) -> bool:
        return self._look() != self._seen


def ours(connection: socket.socket) -> bool:
    """Whether the other end is a process of the same user."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the folder is ours alone
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", packed)[1]) == os.getuid()


def _receive(connection: socket.socket, fds: list[int]) -> list[bytes] | None:
    """The fields of a request, its descriptors added to `fds`; None if the client has gone."""
    data = bytearray()
    length: int | None = None
    connection.settimeout(10)
    while length is None or len(data) < length + 8:
        part, ancillary, _, _ = connection.recvmsg(
            1 << 16, socket.CMSG_SPACE(16), getattr(socket, "MSG_CMSG_CLOEXEC", 0)
        )
        for level, kind, packed in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds += [number for (number,) in struct.iter_unpack("i", packed[: len(packed) // 4 * 4])]
        if not part:
            return None
        data += part
        if length is None and len(data) >= 8:
            length = int.from_bytes(data[:8], "big")
            if length > _LIMIT:
                raise ValueError("too long a request")
    connection.settimeout(None)
    fields = bytes(data[8:]).split(b"\0")
    if fields[0] != client.MAGIC:
        raise ValueError("another protocol")
    return fields


def _job(connection: socket.socket, fields: list[bytes], fds: list[int]) -> Job:
    if len(fds) != 3:
        raise ValueError("three descriptors make a command's streams")
    for fd in fds:
        os.set_inheritable(fd, False)
    program, cwd, umask, streams, count = fields[2:7]
    argv = [os.fsdecode(word) for word in fields[7 : 7 + int(count)]]
    encoding, _, errors = streams.decode().partition(" ")
    env = dict(row.partition(b"=")[::2] for row in fields[7 + int(count) :])
    return Job(
        connection,
        argv,
        os.fsdecode(cwd),
        int(umask, 8),
        encoding,
        errors,
        env,
        fds,
        os.fsdecode(program),
    )


def _memory() -> int:
    """Bytes of this process in main memory; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def lock(path: Path) -> int | None:
    """Take the lock that makes us the only daemon; None if there is one."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
