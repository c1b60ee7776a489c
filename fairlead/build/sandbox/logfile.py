"""Logs that grow without end keep their beginning and end on disk, and a hole between: also while they grow.

The program appends to the file itself, so what it writes costs nothing more; a hole leaves every later byte
where it was. (Rejected: a pipe that we read, which is a copy of every byte and a thread for each program;
cutting the file off, which loses the end, where a failure is told.) Where a file system makes no holes, the
file stays whole up to the limit that any file has.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_PAGE = 64 << 10  # what holes are rounded to


def kept(size: int, limit: int) -> tuple[int, int]:
    """How much of the beginning and of the end stays of a log of `size` bytes that is over `limit`."""
    return min(size, limit // 4), min(size, limit // 2)


def trim(path: Path, limit: int) -> None:
    """Make the hole, if what the log takes on disk is more than twice `limit`."""
    try:
        found = path.stat()
    except OSError:
        return
    if found.st_blocks * 512 <= 2 * limit or not sys.platform.startswith("linux"):
        return
    head, tail = kept(found.st_size, limit)
    begin = -(-head // _PAGE) * _PAGE
    end = (found.st_size - tail) // _PAGE * _PAGE
    if end <= begin:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        offset, length = ctypes.c_int64(begin), ctypes.c_int64(end - begin)
        libc.fallocate64(fd, _KEEP_SIZE | _PUNCH_HOLE, offset, length)
    finally:
        os.close(fd)
