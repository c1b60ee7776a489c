"""What the files of a disk hold, without reading them again: path and state -> SHA-256.

The state of a file is (device, inode, size, time of modification, time of change). A program can set the
time of modification back; the time of change it cannot, so a `touch`, a rename over the file and a link to
another file all show. What the times cannot show is a second change within one tick of the clock. Hence the
rule of version control: a file that had changed within `RACY` before it was looked at is not remembered, and
one whose times lie in the future, after the clock was set back, is read again.

Rejected: trusting size and time of modification alone (an editor that keeps both, and `cp -p`, would go
unseen), and a table with a column for each part (nobody asks for the parts).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from fairlead.store import digest
from fairlead.store.results import Results

NAMESPACE = "file-digest"
RACY = 2_000_000_000
"""Nanoseconds: more than the coarsest clock that a file system keeps its times by."""


class FileDigests:
    """The SHA-256 of files by their absolute paths, kept in a store's results."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def find(self, files: Mapping[str, os.stat_result], now: int) -> dict[str, str]:
        """Path -> SHA-256 of those `files` whose state is as it was when they were read.

        `now` is the clock in nanoseconds, taken before the files' states were.
        """
        found: dict[str, str] = {}
        paths = {_key(path): path for path in files}
        for key, value in self._results.get_many(NAMESPACE, paths).items():
            path = paths[key]
            state, _, name = value.decode("ascii", "replace").rpartition(" ")
            if state == _state(files[path]) and _settled(files[path], now) and digest.is_digest(name):
                found[path] = name
        return found

    def read(self, paths: Iterable[str], now: int) -> dict[str, str]:
        """Read files and remember them, in one transaction; OSError as the system gives it."""
        found: dict[str, str] = {}
        rows: dict[str, bytes] = {}
        for path in paths:
            with open(path, "rb", buffering=0) as file:
                before = os.fstat(file.fileno())
                found[path] = digest.of_stream(file)
                after = os.fstat(file.fileno())
            if _state(before) == _state(after) and _settled(after, now):
                rows[_key(path)] = f"{_state(after)} {found[path]}".encode()
        self._results.put_many(NAMESPACE, rows)
        return found


def _key(path: str) -> str:
    """The path; one that is no UTF-8 as its bytes, which no absolute path looks like."""
    if path.isascii():
        return path
    try:
        path.encode()
    except UnicodeEncodeError:
        return "bytes " + os.fsencode(path).hex()
    return path


def _state(seen: os.stat_result) -> str:
    return f"{seen.st_dev} {seen.st_ino} {seen.st_size} {seen.st_mtime_ns} {seen.st_ctime_ns}"


def _settled(seen: os.stat_result, now: int) -> bool:
    """Whether a change after `now` would show in the file's times."""
    return max(seen.st_mtime_ns, seen.st_ctime_ns) + RACY <= now
