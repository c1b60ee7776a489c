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
import struct
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from fairlead.build.record.asked import Asked
from fairlead.build.sandbox import landlock, system
from fairlead.build.sandbox.command import Bind, Command, Completed, Enforced, Requested
from fairlead.errors import MachineryError, UsageError
from fairlead.store import atomic

End: TypeAlias = Literal["ended", "cancelled", "time", "disk"]

_GRACE = 10.0  # seconds for the launcher to end its tree after SIGTERM
_TICK = 0.2  # seconds between looks at `cancel`
_KEPT = 4 * (os.cpu_count() or 1)  # launchers without work
OUTSIDE = 65432
"""The host number of a program's user when we are root: nobody's, and not "nobody", which owns things."""


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
    return _run(command, enforcement(command.level), cancel, on_tick)


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
            done = _run(probe, level)
        except (MachineryError, UsageError) as error:
            return error.what.removeprefix("cannot make the sandbox: ")
        return "" if done.code == 0 else f"a trial run ended with {done.code}"


def _run(
    command: Command,
    enforced: Enforced,
    cancel: threading.Event | None = None,
    on_tick: Callable[[], None] | None = None,
) -> Completed:
    if enforced != "namespace" and not os.path.isdir(command.cwd):
        raise MachineryError("the folder to run in is not there", where=command.cwd)
    with contextlib.ExitStack() as stack:
        base, own = _request(command, enforced)
        fds = []
        try:
            for log in (command.stdout, command.stderr):
                if log is not None:
                    fds.append(_make_log(log))
                    stack.callback(os.close, fds[-1])
            if enforced == "namespace":
                fds += _give(command, own, stack)
            record = _recording(command, own, stack)
        except OSError as error:
            raise atomic.failed(error, "prepare a sandbox beside", command.stdout) from error
        started = time.monotonic()

        def full() -> bool:
            if on_tick is not None:
                on_tick()
            return _is_full(command.stdout.parent, command.keep_free)

        why, said = _hand(_launcher(base), own, fds, command.wall_seconds, cancel, full)
        if "stale" in said:
            why, said = _hand(_Launcher(base), own, fds, command.wall_seconds, cancel, full)
        seconds = time.monotonic() - started
        if cancel is not None and cancel.is_set():
            raise KeyboardInterrupt
        done = _answer(command, enforced, said, why, seconds)
        return done if record is None else replace(done, asked=_asked(record))


def _hand(
    launcher: _Launcher,
    own: Mapping[str, object],
    fds: Sequence[int],
    wall_seconds: float | None,
    cancel: threading.Event | None,
    full: Callable[[], bool],
) -> tuple[End, dict[str, Any]]:
    """Have a command run, and keep the launcher for the next one: how the wait ended, and the answer."""
    why: End = "cancelled"
    try:
        launcher.start(own, fds)
        why = launcher.wait(wall_seconds, cancel, full)
    finally:
        said = launcher.answer() if why == "ended" else launcher.end()
        if launcher.alive:
            _keep(launcher)
    return why, said


def _launcher(base: str) -> _Launcher:
    """One without work that has this base, else a new one."""
    for found in reversed(list(_idle)):
        if found.base != base:
            continue
        try:
            _idle.remove(found)
        except ValueError:  # another thread was faster
            continue
        if found.usable():
            return found
    return _Launcher(base)


def _keep(launcher: _Launcher) -> None:
    """For the next command with this base; of too many the one that waits longest goes."""
    _idle.append(launcher)
    if len(_idle) > _KEPT:
        with contextlib.suppress(IndexError):
            _idle.popleft().close()


class _Launcher:
    """A running init.py for commands with one base (a JSON document of `_request`); one command at a time."""

    def __init__(self, base: str) -> None:
        self.base = base
        self._told = False
        self._calls, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        python = system.interpreter()
        files = ("init.py", "mounts.py", "filter.py", "landlock.py")
        parts = [str(_as_file("fairlead.build.sandbox", name)) for name in files]
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
            self.close()
        return self.alive

    def start(self, own: Mapping[str, object], fds: Sequence[int]) -> None:
        """Run a command: `own` is what it has beside the base, `fds` its logs and the mounts for overlays."""
        text = json.dumps(own)
        if self.base and not self._told:
            text = f'{text[:-1]}, "base": {self.base}}}'
            self._told = True
        data = text.encode()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died: so says its answer
            socket.send_fds(self._calls, [struct.pack("I", len(data))], fds)
            self._calls.sendall(data)

    def lower(self, source: Path) -> int | None:
        """A mount of the folder in which its owner's files are the program's, as a descriptor; None where the
        kernel makes none."""
        self.start({"lower": str(source), "outside": OUTSIDE}, [])
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
                    return dict(json.loads(told))
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


_idle: deque[_Launcher] = deque()
"""Launchers without work. A deque, for several threads take from it."""


@atexit.register
def _end_idle() -> None:
    """They would end by themselves; waited for, their time counts as ours."""
    while _idle:
        _idle.pop().close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # they answer to the process that started them


def _make_log(log: Path) -> int:
    """The log made new, open for the program to write."""
    log.unlink(missing_ok=True)
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.fchmod(fd, 0o666)  # the program, another user, may open its own /dev/stderr again
    return fd


@functools.cache
def _as_file(package: str, name: str) -> Path:
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


def _request(command: Command, enforced: Enforced) -> tuple[str, dict[str, object]]:
    """What is said of a command: the base that it shares with others, as JSON ("" where there are no
    namespaces), and what is its own."""
    binds = list(command.root_binds)
    masks: Iterable[str] = command.masks
    base = ""
    if enforced == "namespace":
        _check(binds)
        own = [bind for bind in _last(binds) if not bind.lasting]
        lasting = tuple(bind for bind in binds if bind.lasting)
        tops: set[str] = set()
        tops.update(bind.dest for bind in own if not _within(bind.dest, tops))
        base, beneath, masks = _base(
            lasting,
            tuple(str(_identity(bind.src)) for bind in lasting),
            frozenset(command.masks),
            command.network,
            command.tmp_bytes,
            frozenset(tops),
            int(time.monotonic()),
        )
        places = {bind.dest for bind in own}
        binds = _last([*(bind for bind in beneath if bind.dest not in places), *own])
    elif enforced == "landlock":  # paths are those outside; a program may open its own output again
        logs = [log for log in (command.stdout, command.stderr) if log is not None]
        binds = [*system.binds(), *binds, *(Bind(log, str(log), writable=True) for log in logs)]
        _check(binds)
        binds = sorted(_last(binds), key=lambda bind: bind.dest.count("/"))
        masks = sorted({*system.masks(), *masks})
    else:
        binds = []
    return base, {
        "level": enforced,
        "argv": list(command.argv),
        "env": dict(command.env),
        "cwd": command.cwd,
        "binds": _rows(binds),
        "masks": list(masks),
        "network": command.network,
        "logs": 1 if command.stderr is None else 2,
        "lowers": [],
        "limits": {
            "memory": command.memory_bytes,
            "cpu": command.cpu_seconds,
            "file": command.file_bytes,
            "processes": command.processes,
        },
    }


@functools.lru_cache(64)
def _base(
    lasting: tuple[Bind, ...],
    identities: tuple[str, ...],
    masks: frozenset[str],
    network: bool,
    tmp_bytes: int,
    places: frozenset[str],
    second: int,
) -> tuple[str, list[Bind], list[str]]:
    """What commands have in common, as JSON, and the binds and masks among it that lie below a command's own
    `places`, so that they are its own too. Kept for a second, while the `identities` of what is asked for to
    last are the same: whether the system's folders have been replaced is looked up once in it."""
    binds = [*system.binds(), *lasting]
    if network:
        binds.append(Bind(Path("/etc/resolv.conf"), "/etc/resolv.conf"))
    shared = [bind for bind in _last(binds) if not _within(bind.dest, places)]
    beneath = [bind for bind in _last(binds) if _within(bind.dest, places)]
    all_masks = masks.union(system.masks())
    own_masks = sorted(mask for mask in all_masks if _within(mask, places))
    document = {
        "binds": _rows(shared),
        "masks": sorted(all_masks.difference(own_masks)),
        "network": network,
        "hostname": "sandbox",
        "tmp": tmp_bytes,
        "outside": OUTSIDE,
    }
    return json.dumps(document), beneath, own_masks


def _rows(binds: Iterable[Bind]) -> list[list[object]]:
    """Each with what tells its source from another one that was put in its place: a mount shows the old."""
    return [[str(bind.src), bind.dest, _kind(bind), _identity(bind.src)] for bind in binds]


def _kind(bind: Bind) -> Literal["read", "write", "overlay"]:
    if bind.overlay:
        return "overlay"
    return "write" if bind.writable else "read"


def _check(binds: Iterable[Bind]) -> None:
    for bind in binds:
        if not bind.dest.startswith("/") or os.path.normpath(bind.dest) != bind.dest or bind.dest == "/":
            raise ValueError(f"{bind.dest!r} is not a place for a bind")


def _last(binds: Iterable[Bind]) -> list[Bind]:
    """Each destination once (the last one named wins), outer folders before what lies in them."""
    last = {bind.dest: bind for bind in binds}
    return sorted(last.values(), key=lambda bind: bind.dest.count("/"))


def _within(path: str, places: Collection[str]) -> bool:
    """Whether `path` is one of `places` or lies below one."""
    while len(path) > 1:
        if path in places:
            return True
        path = path[: path.rfind("/")]
    return False


def _identity(source: Path) -> list[int] | None:
    try:
        found = os.stat(source)
    except OSError:
        return None
    return [found.st_dev, found.st_ino]


def _give(command: Command, own: dict[str, object], stack: contextlib.ExitStack) -> list[int]:
    """As root: what the program's user needs to write where it may. Mounts for overlays, as descriptors."""
    if os.getuid() != 0:
        return []
    lowers = {}
    for bind in command.root_binds:
        if bind.writable and not bind.overlay and bind.src.exists():
            os.chown(bind.src, OUTSIDE, OUTSIDE)
        elif bind.overlay:
            launcher = _launcher("")
            lower = launcher.lower(bind.src)
            _keep(launcher)
            if lower is not None:
                lowers[bind.dest] = lower
                stack.callback(os.close, lower)
    own["lowers"] = list(lowers)
    return list(lowers.values())


def _recording(command: Command, own: dict[str, object], stack: contextlib.ExitStack) -> Path | None:
    """Where the launcher is to note what was asked."""
    if not command.record:
        return None
    folder = Path(tempfile.mkdtemp(prefix=".record-", dir=command.stdout.parent))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    own["record"] = str(folder / "record")
    own["supervisor"] = str(_as_file("fairlead.build.record", "supervisor.py"))
    return folder / "record"


def _asked(record: Path) -> Asked:
    """What the launcher noted; nothing if it was ended before it could write it."""
    try:
        return Asked.decode(record.read_bytes())
    except OSError:
        return Asked.unheard("the run was ended before its record was written")


def _is_full(folder: Path, keep_free: int) -> bool:
    if not keep_free:
        return False
    seen = os.statvfs(folder)
    return seen.f_bavail * seen.f_frsize < keep_free


def _answer(
    command: Command, enforced: Enforced, said: Mapping[str, Any], why: End, seconds: float
) -> Completed:
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
