"""How a daemon begins and ends: its files, its start by a client, and the questions to it.

In the private folder (`client.folder`) each project has three files under its name: the socket, a lock that
the daemon holds for as long as it lives, and a log of its own faults. A daemon that was killed leaves a
socket that nobody answers; the next one takes its place.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairlead.build import daemon
from fairlead.build.daemon import client, server
from fairlead.build.daemon.state import State
from fairlead.errors import MachineryError
from fairlead.store import Store

_START = 20.0  # seconds for a new daemon to listen
_END = 60.0


def folder() -> Path:
    """The private folder, made if absent; MachineryError if it cannot be had for us alone."""
    place = Path(client.folder(os.environ))
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        seen = place.lstat()
        if stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.getuid() and seen.st_mode & 0o077:
            place.chmod(0o700)
    except OSError as error:
        raise MachineryError(
            f"cannot make the daemon's folder: {error.strerror}",
            where=str(place),
            remedy="choose another with FAIRLEAD_STATE_DIR, or set build.daemon to off",
        ) from None
    if not client.private(str(place)):
        raise MachineryError(
            "the daemon's folder is not ours alone",
            where=str(place),
            remedy="remove it, or choose another with FAIRLEAD_STATE_DIR",
        )
    return place


def serve(root: Path, store: Path, run: Callable[[list[str]], int], *, idle: float, ready: int) -> None:
    """Be the daemon of a project, until it ends. A byte on the descriptor `ready` says that it listens; if
    there is a daemon already, nothing is said."""
    place, name = folder(), client.name(str(root))
    held = server.lock(place / f"{name}.lock")
    if held is None:
        return
    server.keep_log(place / f"{name}.log")
    address = place / f"{name}.sock"
    address.unlink(missing_ok=True)
    os.chdir(place)  # a socket's path has 107 bytes at most
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(address.name)
    os.chmod(address.name, 0o600)
    os.chdir("/")
    kept = daemon.current = State(root, Store.open(store))
    served = server.Server(kept, run, idle=idle)
    listener.listen(64)
    os.write(ready, b"1")
    os.close(ready)
    try:
        served.serve(listener)
    finally:
        kept.end()
        with contextlib.suppress(OSError):
            address.unlink()
        os.close(held)


def start(root: Path, store: Path) -> bool:
    """Start a daemon for the project, or find one that starts at this moment; whether one listens."""
    path = str(folder() / f"{client.name(str(root))}.sock")
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    # -P: the folder we stand in may hold something that is called like a module of ours.
    argv = [sys.executable, "-P", "-m", "fairlead", "daemon-process"]
    argv += ["--root", str(root), "--store", str(store), "--ready", str(writer)]
    nothing = [(os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_RDWR, 0) for n in (0, 1, 2)]
    try:
        pid = os.posix_spawn(sys.executable, argv, os.environ, file_actions=nothing, setsid=True)
    except OSError:
        os.close(reader)
        return False
    finally:
        os.close(writer)
    with open(reader, "rb", buffering=0) as heard:
        if select.select([heard], [], [], _START)[0] and heard.read(1):
            return True
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0) if _over(pid) else None
    until = time.monotonic() + 5
    while time.monotonic() < until:  # another client has started one: it will listen soon
        sock = client.connect(path)
        if sock is not None:
            sock.close()
            return True
        time.sleep(0.02)
    return False


def _over(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def status(root: Path) -> dict[str, Any] | None:
    """What the project's daemon says of itself; None if there is none."""
    said = _ask(root, b"status", 10)
    if not said:
        return None
    found: dict[str, Any] = json.loads(said)
    return found


def stop(root: Path) -> bool:
    """Tell the daemon to end after the command that it runs, and wait for that; whether there was one."""
    return _ask(root, b"stop", _END) is not None


def _ask(root: Path, word: bytes, seconds: float) -> bytes | None:
    place = client.folder(os.environ)
    if not client.private(place):
        return None
    raw = client.connect(f"{place}/{client.name(str(root))}.sock")
    if raw is None:
        return None
    with socket.socket(fileno=raw.detach()) as sock:
        sock.settimeout(seconds)
        body = b"\0".join([client.MAGIC, word])
        said = b""
        try:
            sock.sendall(len(body).to_bytes(8, "big") + body)
            while part := sock.recv(65536):
                said += part
        except TimeoutError:
            raise MachineryError(
                "the daemon does not answer", where=str(root), remedy="it may be in the middle of a command"
            ) from None
        except ConnectionError:
            pass
        return said
