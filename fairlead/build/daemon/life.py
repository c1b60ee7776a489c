"""How a daemon lives and ends: its files, and the questions to it. `start` is how it begins.

In the private folder (`client.folder`) each project has three files under its name: the socket, a lock that
the daemon holds for as long as it lives, and a log of its own faults. A daemon that was killed leaves a
socket that nobody answers; the next one takes its place.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairlead.build import daemon
from fairlead.build.daemon import client, start
from fairlead.errors import MachineryError
from fairlead.store import Store

_END = 60.0


def serve(root: Path, store: Path, run: Callable[[list[str]], int], *, idle: float, ready: int) -> None:
    """Be the daemon of a project, until it ends. A byte on the descriptor `ready` says that it listens; if
    there is a daemon already, nothing is said."""
    from fairlead.build.daemon import server
    from fairlead.build.daemon.state import State

    place, name = Path(start.folder()), client.name(str(root))
    server.set_environment(start.own(os.environ))
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
    os.write(ready, start.LISTENS)
    os.close(ready)
    try:
        served.serve(listener)
    finally:
        kept.end()
        with contextlib.suppress(OSError):
            address.unlink()
        os.close(held)


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
