"""Which names in which folders have changed, as Linux tells it (inotify).

The kernel puts an event into our queue before the call that caused it returns. So reading the queue until
it is empty, after a client has asked, misses nothing that was done before the client was started: what other
watchers need a cookie file for, and only a trial at the start (`works`) shows that the file system tells at
all. A thread empties the queue between commands, for it holds 16,384 events.

What is not told: writes through a memory map after its file was closed, and through another hard link that
lies in no watched folder. Network file systems do not tell what other machines do; they are not watched.

Why not watchfiles (MIT, wheels for every platform): it hands events over some milliseconds later in batches
without an order, so each command would wait for a cookie; it watches whole trees, also what no target asks
for; and it does not say when the kernel's queue was too short. On systems without inotify there is no
watcher, and each command looks at the files as it does without a daemon.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

MODIFY, ATTRIB, CLOSE_WRITE = 0x2, 0x4, 0x8
MOVED_FROM, MOVED_TO, CREATE, DELETE, DELETE_SELF, MOVE_SELF = 0x40, 0x80, 0x100, 0x200, 0x400, 0x800
UNMOUNT, OVERFLOW, IGNORED, IS_FOLDER = 0x2000, 0x4000, 0x8000, 0x40000000
LISTING = MOVED_FROM | MOVED_TO | CREATE | DELETE | ATTRIB
"""What may change a folder's names, or their modes."""

_ALL = MODIFY | CLOSE_WRITE | LISTING | DELETE_SELF | MOVE_SELF | UNMOUNT
_ONLY_FOLDERS, _NO_LINKS, _NOT_UNLINKED = 0x1000000, 0x2000000, 0x4000000
_EVENT = struct.Struct("iIII")
_PAUSE = 0.05  # seconds between two looks of the thread: fewer wake-ups, and the queue lasts longer
_TOLD = {  # magic numbers of statfs: file systems that only this machine changes
    0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0x794C7630, 0x2FC12FC1, 0xF2F52010, 0xCA451A4E,
}  # fmt: skip  # ext, xfs, btrfs, tmpfs, overlay, zfs, f2fs, bcachefs
_TOLD_NAMES = frozenset(b"ext2 ext3 ext4 xfs btrfs tmpfs overlay zfs f2fs bcachefs".split())


class Full(Exception):
    """The system allows no more watches, or does not tell of all that is below the root."""


@dataclass
class Changes:
    """Folder -> name -> what happened to it, as bits; "" is the folder itself. `lost` means that the queue
    was too short: anything may have changed."""

    folders: dict[str, dict[str, int]] = field(default_factory=dict)
    lost: bool = False

    def __bool__(self) -> bool:
        return self.lost or bool(self.folders)


class Watcher:
    """Watches single folders below a root, by their paths relative to it ("" is the root)."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._calls = _calls()
        fd = self._calls.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if fd < 0:
            raise Full(os.strerror(ctypes.get_errno()))
        self._fd = fd
        self._lock = threading.Lock()
        self._paths: dict[int, list[str]] = {}
        self._numbers: dict[str, int] = {}
        self._changes = Changes()
        self._ended = False
        threading.Thread(target=self._empty, name="watcher", daemon=True).start()

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, path: str) -> bool:
        """Watch a folder; whether it is there. `Full` if the system allows no more."""
        if path in self._numbers:
            return True
        place = os.fsencode(f"{self._root}/{path}" if path else self._root)
        with self._lock:
            number = self._calls.inotify_add_watch(
                self._fd, place, _ALL | _ONLY_FOLDERS | _NO_LINKS | _NOT_UNLINKED
            )
            if number < 0:
                code = ctypes.get_errno()
                if code in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP):
                    return False
                raise Full(os.strerror(code))
            self._numbers[path] = number
            self._paths.setdefault(number, []).append(path)
        return True

    def forget(self, path: str) -> None:
        """Watch neither the folder `path` any more, nor what lies in it."""
        inside = path + "/"
        with self._lock:
            for known in [one for one in self._numbers if one == path or one.startswith(inside)]:
                number = self._numbers.pop(known)
                paths = self._paths.get(number, [])
                paths.remove(known)
                if not paths:
                    self._paths.pop(number, None)
                    self._calls.inotify_rm_watch(self._fd, number)

    def take(self) -> Changes:
        """All that has happened since the last call, until now."""
        with self._lock:
            self._read()
            found, self._changes = self._changes, Changes()
        return found

    def end(self) -> None:
        """Watch nothing any more."""
        with self._lock:
            self._ended = True
            os.close(self._fd)

    def _empty(self) -> None:
        while True:
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            poll.poll(60_000)
            with self._lock:
                if self._ended:
                    return
                self._read()
            time.sleep(_PAUSE)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._fd, 1 << 18)
            except BlockingIOError:
                return
            at = 0
            while at < len(data):
                number, mask, _, length = _EVENT.unpack_from(data, at)
                at += _EVENT.size + length
                if mask & OVERFLOW:
                    self._changes.lost = True
                    continue
                name = os.fsdecode(data[at - length : at].rstrip(b"\0"))
                for path in self._paths.get(number, ()):
                    seen = self._changes.folders.setdefault(path, {})
                    seen[name] = seen.get(name, 0) | mask
                if mask & IGNORED:
                    for path in self._paths.pop(number, ()):
                        self._numbers.pop(path, None)


def limit() -> int:
    """How many folders one user may watch, all programs together."""
    try:
        return int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
    except (OSError, ValueError):
        return 8192


def mounted(root: Path) -> list[bytes]:
    """What is mounted below `root`: its rows of the system's table. No event tells of a mount. `Full` if
    changes in one of them are not told either."""
    inside = os.fsencode(root).rstrip(b"/") + b"/"
    for special in (b"\\", b" ", b"\t", b"\n"):
        inside = inside.replace(special, b"\\%03o" % special[0])
    try:
        rows = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return []
    found = [row for row in rows if row.split(b" ", 5)[4].startswith(inside)]
    if any(row.partition(b" - ")[2].split(b" ")[0] not in _TOLD_NAMES for row in found):
        raise Full("what is mounted in the project does not tell of changes")
    return found


def works(root: Path, scratch: Path) -> bool:
    """Whether changes below `root` are told: by the kind of its file system, and by a trial in `scratch`, a
    folder below it."""
    if sys.platform != "linux" or _kind(root) not in _TOLD or _kind(scratch) not in _TOLD:
        return False
    trial = scratch / f".fairlead-watch-{os.getpid()}"
    try:
        watcher = Watcher(scratch)
        try:
            watcher.add("")
            trial.write_bytes(b"")
            trial.unlink()
            return trial.name in watcher.take().folders.get("", {})
        finally:
            watcher.end()
    except (OSError, Full):
        return False


def _kind(path: Path) -> int:
    """The number by which Linux knows a kind of file system."""
    place = ctypes.create_string_buffer(256)
    if _calls().statfs(os.fsencode(path), place) != 0:
        return 0
    return int.from_bytes(place.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder) & 0xFFFFFFFF


def _calls() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
