"""Hands commands to a launcher, waits, and ends them in time.

A launcher is a small process of its own (posix_spawn) rather than a fork of this one: forking a program with
threads and much memory is slow and unsafe, and what builds the sandbox then carries nothing of ours.
Launchers are kept for the next command, one for each that runs at once (process.py): starting one takes up
to 30 ms, running a command by one about 1 ms.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from fairlead.build.record.asked import Asked
from fairlead.build.sandbox import landlock, native, process, system
from fairlead.build.sandbox.command import Bind, Command, Completed, Enforced, Requested
from fairlead.build.sandbox.process import End, Process
from fairlead.errors import MachineryError, UsageError
from fairlead.store import atomic

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
    _check_words(command)
    level = enforcement(command.level)
    if level == "none":
        _try_none()
    return _run(command, level, _suited(command), cancel, on_tick)


def _check_words(command: Command) -> None:
    """UsageError for what the kernel gives to no program."""
    words = [*command.argv, command.cwd, *command.env, *command.env.values()]
    if not command.argv or not command.argv[0]:
        wrong = "its name is empty"
    elif any(not name or "=" in name for name in command.env):
        wrong = "a variable of its environment has no name, or one with a = in it"
    elif any("\0" in word for word in words):
        wrong = "a word of its command or environment holds a zero byte"
    elif not all(word.isascii() or _is_encodable(word) for word in words):
        wrong = "a word of its command or environment is no text that can be written as UTF-8"
    else:
        return
    raise UsageError(
        f"the program cannot be started: {wrong}", where=command.cwd, remedy="give it words that it can have"
    )


def _is_encodable(word: str) -> bool:
    try:
        os.fsencode(word)
    except UnicodeEncodeError:
        return False
    return True


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


@functools.cache
def _try_none() -> None:
    """The other levels are tried before they are used, and the native launcher with them."""
    if not native.refusal():
        _refused("none")


def _refused(level: Enforced) -> str:
    """Try the whole sandbox once with a shell that does nothing: the only answer that counts is the
    kernel's."""
    if sys.platform != "linux":
        return "it exists on Linux only"
    with tempfile.TemporaryDirectory(prefix="fairlead-probe-") as folder:
        probe = Command(["/bin/sh", "-c", ":"], {}, "/", Path(folder) / "log", level=level, wall_seconds=60)
        why = _tried(probe, level, _suited(probe))
        if why and not native.refusal():
            found = _tried(probe, level, Process)
            if not found:  # it is the native launcher that does not suit this machine
                native.give_up(f"a trial of it failed: {why}")
            why = found
        return why


def _tried(probe: Command, level: Enforced, kind: type[Process]) -> str:
    try:
        done = _run(probe, level, kind)
    except (MachineryError, UsageError) as error:
        return error.what.removeprefix("cannot make the sandbox: ")
    return "" if done.code == 0 else f"a trial run ended with {done.code}"


def _suited(command: Command) -> type[Process]:
    return native.Native if native.can_run(command) else Process


def _run(
    command: Command,
    enforced: Enforced,
    kind: type[Process],
    cancel: threading.Event | None = None,
    on_tick: Callable[[], None] | None = None,
) -> Completed:
    if enforced != "namespace" and not os.path.isdir(command.cwd):
        raise MachineryError("the folder to run in is not there", where=command.cwd)
    with contextlib.ExitStack() as stack:
        base, own = _request(command, enforced)
        if kind is native.Native:
            _complete(own, command, enforced)
            base = base or native.level_of(enforced, command.network)
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

        taken = process.take(kind, base)
        why, said = process.hand(taken, own, fds, command.wall_seconds, cancel, full)
        if "stale" in said:
            why, said = process.hand(kind(base), own, fds, command.wall_seconds, cancel, full)
        seconds = time.monotonic() - started
        if cancel is not None and cancel.is_set():
            raise KeyboardInterrupt
        done = _answer(command, enforced, said, why, seconds)
        return done if record is None else replace(done, asked=_asked(record))


def _make_log(log: Path) -> int:
    """The log made new, open for the program to write."""
    log.unlink(missing_ok=True)
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.fchmod(fd, 0o666)  # the program, another user, may open its own /dev/stderr again
    return fd


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
    elif enforced == "landlock":  # paths are those outside
        binds = [*system.binds(), *binds, *_own_logs(command)]
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


def _complete(own: dict[str, object], command: Command, enforced: Enforced) -> None:
    """What the native launcher is told and init.py finds out: the rules of Landlock."""
    own["landlock"] = None
    if enforced == "landlock":
        binds = [(str(bind.src), bind.writable) for bind in [*command.root_binds, *_own_logs(command)]]
        own["landlock"] = native.rules(binds, sorted({*system.masks(), *command.masks}), command.network)


def _own_logs(command: Command) -> list[Bind]:
    """At level landlock: a program may open its own output again."""
    logs = [log for log in (command.stdout, command.stderr) if log is not None]
    return [Bind(log, str(log), writable=True) for log in logs]


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
            launcher = process.take(Process, "")
            lower = launcher.lower({"lower": str(bind.src), "outside": OUTSIDE})
            process.keep(launcher)
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
    own["supervisor"] = str(process.as_file("fairlead.build.record", "supervisor.py"))
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
