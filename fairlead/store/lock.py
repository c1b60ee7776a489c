"""Locks between processes: flock on a file that is never deleted.

flock, not POSIX `lockf`: it belongs to the open file, is released by the kernel when the
holder dies, and it is what DotSlash uses, whose cache we share.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from fairlead.store import atomic


@contextlib.contextmanager
def hold(path: Path, *, on_wait: Callable[[], None] | None = None, shared: bool = False) -> Iterator[None]:
    """Hold the lock at `path`, waiting for it; `on_wait` is called once if there is a wait."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise atomic.failed(error, "open the lock", path) from error
    try:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if on_wait is not None:
                on_wait()
            fcntl.flock(fd, kind)
        yield
    finally:
        os.close(fd)


def try_hold(path: Path) -> int | None:
    """Take the lock without waiting: an open descriptor that holds it until closed, or None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fd
    except BlockingIOError:
        os.close(fd)
        return None
