"""Running the server: one process on one data folder, until it is told to stop.

A lock on the data folder keeps a second server out.  The socket is bound before anything else is told the
address, so port 0 works.  SIGTERM and SIGINT end live streams first, then let running requests finish.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import uvicorn

from fairlead.errors import MachineryError, UsageError
from fairlead.serve import app as application
from fairlead.serve.connection import Connection
from fairlead.serve.pages import routes as page_routes
from fairlead.serve.state import Keep, Limits, State, open_state
from fairlead.ship.values import Settings
from fairlead.store import atomic, lock

_GRACE = 20  # seconds that running requests get when the server stops


def run(
    data: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    url: str = "",
    repo: str = "main",
    settings: Settings | None = None,
    limits: Limits | None = None,
    lease_seconds: float = 60.0,
    keep: Keep | None = None,
    ready: Callable[[State, str], Callable[[], None]] | None = None,
) -> None:
    """Serve `data` until a signal.  `ready` is called with the address listened on; what it
    returns is called at the end.

    `url` is the address people use, if that differs from the one listened on (behind a proxy).
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        _claim(data)
    except OSError as error:
        raise atomic.failed(error, "make the folder", data) from error
    held = lock.try_hold(data / "lock")
    if held is None:
        raise UsageError(
            "another server runs on this data folder",
            where=str(data),
            remedy="stop it first, or choose another folder",
        )
    try:
        with contextlib.closing(_bind(host, port)) as listener:
            listening = _address(host, listener.getsockname()[1])
            state = open_state(
                data,
                url=url or listening,
                repo=repo,
                settings=settings,
                limits=limits,
                lease_seconds=lease_seconds,
                keep=keep,
            )
            with contextlib.closing(state):
                application.start(state)
                _serve(state, listener, listening, ready)
    finally:
        os.close(held)


# What may lie in a data folder without a database: what a start that was cut off leaves, and a disk's own.
_OURS = frozenset({"artifacts", "git", "hooks", "keys", "lock", "logs", "lost+found", "url"})


def _claim(data: Path) -> None:
    """Refuse a folder of something else: a server makes its folder private and fills it with its own."""
    names = {entry.name for entry in os.scandir(data)}
    if "fairlead.sqlite" in names:
        return
    foreign = sorted(name for name in names - _OURS if not name.startswith((".tmp-", "fairlead.sqlite-")))
    if foreign:
        raise UsageError(
            f"this folder holds something else: {', '.join(foreign[:3])}{', ...' if foreign[3:] else ''}",
            where=str(data),
            remedy="name an empty or a new folder with --data",
        )


def _serve(
    state: State,
    listener: socket.socket,
    listening: str,
    ready: Callable[[State, str], Callable[[], None]] | None,
) -> None:
    app = application.create(state, pages=page_routes(state))
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        http=Connection,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=_GRACE,
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    server = _Server(config, state)
    listener.listen(512)
    with server.signals():  # before anyone is told the address, so that no signal finds us half started
        stop = ready(state, listening) if ready is not None else None
        try:
            server.run(sockets=[listener])
        finally:
            if stop is not None:
                stop()
    if not server.started:
        raise MachineryError("the server did not start", remedy="its log says why")


class _Server(uvicorn.Server):
    """uvicorn, which tells our live streams to end before it waits for them."""

    def __init__(self, config: uvicorn.Config, state: State) -> None:
        super().__init__(config)
        self._state = state

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Let SIGINT and SIGTERM end the server in good order."""
        handled = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn would raise the signal again at the end; what comes after us must still run."""
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._state.bus.close()
        super().handle_exit(sig, frame)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle off only for sockets that name TCP; with it each page takes 40 ms more.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        said = error.strerror if isinstance(error, OSError) else str(error)
        strange = isinstance(error, socket.gaierror) or getattr(error, "errno", None) == errno.EADDRNOTAVAIL
        remedy = (
            "give --host an address of this machine" if strange else "choose another port; 0 takes a free one"
        )
        raise MachineryError(f"cannot listen on {host} port {port}: {said}", remedy=remedy) from None
    listener.set_inheritable(False)
    return listener


def _address(host: str, port: int) -> str:
    name = (
        "127.0.0.1"
        if host in ("", "0.0.0.0")
        else "[::1]"
        if host == "::"
        else f"[{host}]"
        if ":" in host
        else host
    )
    return f"http://{name}:{port}"
