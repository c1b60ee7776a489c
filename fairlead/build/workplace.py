"""Where actions run one after another: folders that are kept from one to the next.

A disk takes a hundred times as long to make a folder as to look at one, and a small action needs nine of
them. So what a program only reads is laid out in memory (a tmpfs), where a folder or a small file costs next
to nothing, and only what it may write to is on the disk, in a folder that the next action finds empty. In a
namespace the program sees both at their places in the project.

Nothing is left for the next action to see: a workplace is used again only after a run that went well, its
files are removed at once, and its folders in memory before the next one starts. Those are made anew although
that one may have the same: a tmpfs lists what it holds in the order in which it was made, and programs list
folders without sorting. Only the folders that hold outputs stay, empty, if they are as they were.
Rejected: hard links to the store's blobs, which cost as much as the copy of a small file (large inputs are
still linked, stage.py), and outputs in memory, of which nobody knows how large they become.
"""

from __future__ import annotations

import errno
import fcntl
import os
import posixpath
import secrets
import struct
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.build import manifest
from fairlead.build.manifest import File, Link, Manifest
from fairlead.build.stage import Stage, discard, empty, signature
from fairlead.store import Blobs
from fairlead.store.blobs import is_marked

_MEMORY = Path("/dev/shm")
_LARGE, _MANY = 1 << 20, 4096
"""Bytes of inputs, together, that an action may have in memory, and files: each takes a page at least."""
_FREE = 64 << 20
"""Bytes of memory that must be free there: a container may have that little."""
_GET_FLAGS = 0x80086601 if struct.calcsize("l") == 8 else 0x80046601
"""Linux's FS_IOC_GETFLAGS."""


class MemoryFull(Exception):
    """There is no room to lay out an action's inputs: on the disk there may be."""


class Workplace:
    """One place: `root` on the disk, `light` in memory; neither exists yet."""

    def __init__(self, root: Path, light: Path) -> None:
        self.root = root
        self.light = light
        self._light = str(light)
        self._kept = 0
        self._files: list[str] = []
        self._outs: dict[str, str] = {}
        self._stands: dict[str, None] = {}
        root.mkdir(mode=0o755)
        self._flags = _flags(str(root))
        _mkdir(self._light)

    def begin(self, writable: Iterable[str]) -> None:
        """Start to lay out the project of an action that may write to these folders, outer ones first."""
        self._outs = {}
        for folder in reversed(self._stands):  # not in `end`: their mounts may take a moment to be gone
            if folder.startswith(f"{self._light}/"):
                os.rmdir(folder)
        self._stands = {self._light: None}
        for number, folder in enumerate(writable):
            self._need(self.at(folder))  # where it is seen
            out = f"{self.root}/{number}"
            if number == self._kept:
                _mkdir(out)
                self._kept += 1
            self._stands[out] = None
            self._outs[folder] = out

    def at(self, path: str) -> str:
        """Where a path of the project is."""
        folder = path
        while folder:
            if folder in self._outs:
                return self._outs[folder] + path[len(folder) :]
            folder = folder.rpartition("/")[0]
        return f"{self._light}/{path}" if path else self._light

    def is_writable(self, target: str) -> bool:
        """Whether a place, as `at` gives it, is one that the action may write to."""
        return not target.startswith(self._light)

    def put(self, target: str, content: Manifest, blobs: Blobs) -> list[str]:
        """Put content at a place, as `at` gives it; the files that were written."""
        if isinstance(content, File):
            self._need(os.path.dirname(target))
            return [self._put(content, target, blobs)]
        self._need(target)
        written = []
        for name, entry in content.entries.items():
            inner = f"{target}/{name}"
            self._need(inner if entry is None else os.path.dirname(inner))
            if isinstance(entry, File):
                written.append(self._put(entry, inner, blobs))
            elif isinstance(entry, Link):
                os.symlink(entry.target, inner)
                self._files.append(inner)
        return written

    def _put(self, file: File, target: str, blobs: Blobs) -> str:
        manifest.copy(file, target, blobs, 0o555 if file.executable else 0o444)
        self._files.append(target)
        return target

    def _need(self, folder: str) -> None:
        if folder not in self._stands:
            self._need(os.path.dirname(folder))
            _mkdir(folder)
            self._stands[folder] = None

    def end(self) -> bool:
        """Remove what the action had and made; whether the place is as good as new."""
        try:
            for path in self._files:
                if path.startswith(self._light):
                    os.unlink(path)
            self._files.clear()
            for out in self._outs.values():
                os.chmod(out, 0o755)
                if is_marked(out) or _flags(out) != self._flags:
                    return False
                empty(out)
        except (OSError, RecursionError):
            return False
        return True

    def remove(self) -> None:
        """Remove all of it."""
        discard(self.root)
        discard(self.light)


def _mkdir(folder: str) -> None:
    os.mkdir(folder)
    os.chmod(folder, 0o755)


def _flags(folder: str) -> int:
    """What `lsattr` says of a folder: its owner may change some of it, and folders made in it have it too."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = bytearray(8)
        fcntl.ioctl(fd, _GET_FLAGS, found)
        return int.from_bytes(found, sys.byteorder)
    except OSError:  # a file system without any
        return 0
    finally:
        os.close(fd)


class Workplaces:
    """The workplaces of one build, below `scratch` on the disk. Used by several threads.

    Their folder in memory is locked while the build lives. Whoever finds one of his own without a lock
    removes it: its build was killed. A store's path would not tell whose it is: containers that share the
    machine's /dev/shm may have different stores at one path.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self.light = _MEMORY / f"{_prefix()}{secrets.token_hex(8)}"
        self._lock = threading.Lock()
        self._free: list[Workplace] = []
        self._made = 0
        self._usable: bool | None = None
        self._held: int | None = None

    def take(self) -> Workplace | None:
        """One for an action, to be given back or removed; None if there is no memory to lay files out in."""
        with self._lock:
            if self._free:
                return self._free.pop()
            if self._usable is None:
                self._usable = self._begin()
            if not self._usable:
                return None
            self._made += 1
            name = f"place-{self._made}"
        try:
            return Workplace(self._scratch / name, self.light / name)
        except OSError:
            return None

    def give(self, place: Workplace) -> None:
        """Give one back, for the next action."""
        with self._lock:
            self._free.append(place)

    def _begin(self) -> bool:
        try:
            seen = os.statvfs(_MEMORY)
            if seen.f_flag & os.ST_NOEXEC or seen.f_bavail * seen.f_frsize < _FREE:
                return False
            self.light.mkdir(mode=0o700)
            self._held = _hold(self.light)
        except OSError:
            return False
        return self._held is not None

    def clear(self) -> None:
        """Remove what is in memory: our own, and what killed builds left there."""
        self._free.clear()
        self._usable = None
        if self._held is not None:
            discard(self.light)
            os.close(self._held)
            self._held = None
        try:
            left = [name for name in os.listdir(_MEMORY) if name.startswith(_prefix())]
        except OSError:
            return
        for name in left:
            held = _hold(_MEMORY / name)
            if held is not None:
                try:
                    discard(_MEMORY / name)
                except OSError:  # not ours to remove: somebody gave it another owner
                    continue
                finally:
                    os.close(held)


def _prefix() -> str:
    return f"fairlead-{os.geteuid()}-"


def _hold(folder: Path) -> int | None:
    """Lock a folder of ours; None if somebody has it locked, or it is not ours, or no longer there."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        if found.st_uid == os.geteuid():
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(found, os.lstat(folder)):
                return fd
    except OSError:
        pass
    os.close(fd)
    return None


def is_light(contents: Iterable[Manifest]) -> bool:
    """Whether an action's inputs may be laid out in memory."""
    sizes = [file.size for content in contents for file in manifest.files(content)]
    return len(sizes) <= _MANY and sum(sizes) <= _LARGE


@dataclass
class PlacedStage(Stage):
    """A stage in a workplace, whose `root` it has, in a namespace."""

    place: Workplace = field(kw_only=True)

    def __post_init__(self) -> None:
        self.project = self.place.light
        self.log = self.root / "log"
        self._writable = sorted({posixpath.dirname(path) for path in self.outputs})
        self._made = set()
        self._copies = {}
        try:
            self.place.begin(self._writable)
        except OSError as error:
            raise _unplaced(error, "make the folder", self.root) from error

    def at(self, path: str) -> Path:
        return Path(self.place.at(path))

    def add(self, path: str, content: Manifest) -> None:
        target = self.place.at(path)
        try:
            written = self.place.put(target, content, self.blobs)
            if self.place.is_writable(target):
                for file in written:
                    self._copies[file] = path + file[len(target) :], signature(file)
        except OSError as error:
            raise _unplaced(error, "write", Path(target)) from error

    def collect(self, output: str, *, folder: bool) -> Manifest:
        # Its folder is a mount of its own: there is no link on the way.
        return manifest.collect(self.at(output), self.blobs, folder=folder, name=output, take=True)

    def remove(self) -> None:
        self.place.remove()


def _unplaced(error: OSError, doing: str, path: Path) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM):
        return MemoryFull()
    return manifest.unplaced(error, doing, path)
