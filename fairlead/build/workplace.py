"""Where actions run one after another: folders that are kept from one to the next.

A disk takes a hundred times as long to make a folder as to look at one, and a small action needs nine of
them. So what a program only reads is laid out in memory (a tmpfs), where a folder or a small file costs next
to nothing, and only what it may write to is on the disk, in a folder that the next action finds empty. In a
namespace the program sees both at their places in the project.

Nothing is left for the next action to see: a workplace is used again only after a run that went well, its
files are removed at once, and folders that the next action does not declare before that one starts. A
program cannot have changed what it could only read. Rejected: hard links to the store's blobs, which cost as
much as the copy of a small file (large inputs are still linked, stage.py), and outputs in memory, of which
nobody knows how large they become.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import stat
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.build import manifest
from fairlead.build.manifest import File, Link, Manifest
from fairlead.build.sandbox import Bind
from fairlead.build.stage import Stage, clear, discard, signature
from fairlead.store import Blobs, atomic, digest

_MEMORY = Path("/dev/shm")
_OF = "of"
"""The link that names the store whose builds have a folder in memory."""
_LARGE = 1 << 20
"""Bytes of inputs, together, that an action may have in memory."""
_FREE = 64 << 20
"""Bytes of memory that must be free there: a container may have that little."""


class MemoryFull(Exception):
    """There is no room to lay out an action's inputs: on the disk there may be."""


class Workplace:
    """One place: `root` on the disk, `light` in memory; neither exists yet."""

    def __init__(self, root: Path, light: Path) -> None:
        self.root = root
        self.light = light
        self._light = str(light)
        self._stands: set[str] = set()
        self._needed: set[str] = set()
        self._files: list[str] = []
        self._outs: dict[str, str] = {}
        root.mkdir(mode=0o755)
        self._mkdir(self._light)

    def begin(self, writable: Iterable[str]) -> None:
        """Start to lay out the project of an action that may write to these folders, outer ones first."""
        self._needed = {self._light}
        self._outs = {}
        for number, folder in enumerate(writable):
            out = f"{self.root}/{number}"
            self._need(self.at(folder))  # where it is seen
            self._need(out)
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
                self._free(inner)
                os.symlink(entry.target, inner)
                self._files.append(inner)
        return written

    def _put(self, file: File, target: str, blobs: Blobs) -> str:
        self._free(target)
        manifest.copy(file, target, blobs, 0o555 if file.executable else 0o444)
        self._files.append(target)
        return target

    def _free(self, target: str) -> None:
        """See that no folder of an earlier action stands where a file is to be."""
        if target in self._stands and target not in self._needed:
            atomic.remove(Path(target))
            self._stands = {at for at in self._stands if at != target and not at.startswith(f"{target}/")}

    def _need(self, folder: str) -> None:
        if folder in self._needed:
            return
        outer = os.path.dirname(folder)
        if outer != str(self.root):
            self._need(outer)
        self._needed.add(folder)
        if folder not in self._stands:
            self._mkdir(folder)

    def _mkdir(self, folder: str) -> None:
        os.mkdir(folder)
        os.chmod(folder, 0o755)
        self._stands.add(folder)

    def ready(self) -> None:
        """All is laid out: remove the folders of earlier actions that are not this one's."""
        for folder in sorted(self._stands - self._needed, key=len, reverse=True):
            os.rmdir(folder)
            self._stands.discard(folder)

    def end(self) -> bool:
        """Remove what the action had and made; whether the place is as good as new."""
        kept = {folder for folder in self._stands if folder.startswith(self._light)}
        try:
            for path in self._files:
                if path.startswith(self._light):
                    os.unlink(path)
            self._files.clear()
            for out in self._outs.values():
                if os.listxattr(out):
                    return False
                os.chmod(out, 0o755)
                self._empty(out, kept)
        except OSError:
            return False
        self._stands = kept
        return True

    def _empty(self, folder: str, kept: set[str]) -> None:
        """Empty a folder that the program wrote to; folders in it are `kept` if they are ours and as they
        were."""
        kept.add(folder)
        with os.scandir(folder) as listing:
            entries = list(listing)
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
            elif entry.path in self._stands and _is_ours(entry):
                self._empty(entry.path, kept)
            else:
                clear(entry.path)

    def remove(self) -> None:
        """Remove all of it."""
        discard(self.root)
        discard(self.light)


def _is_ours(entry: os.DirEntry[str]) -> bool:
    """Whether nobody changed owner, mode or attributes of a folder that we made."""
    found = entry.stat(follow_symlinks=False)
    same = found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o755
    return same and not os.listxattr(entry.path)


class Workplaces:
    """The workplaces of one build, below `scratch` on the disk. Used by several threads."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        owner = digest.of_bytes(os.fsencode(scratch))[:16]
        self.light = _MEMORY / f"fairlead-{os.geteuid()}-{owner}"
        self._lock = threading.Lock()
        self._free: list[Workplace] = []
        self._made = 0
        self._usable: bool | None = None

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
            (self.light / _OF).symlink_to(self._scratch.parent)
            self._sweep()
        except OSError:
            return False
        return True

    def _sweep(self) -> None:
        """Remove what killed builds left of stores that are gone: no later build of theirs will."""
        for folder in _MEMORY.glob(f"fairlead-{os.geteuid()}-*"):
            with contextlib.suppress(OSError):
                found = os.lstat(folder)
                if (
                    stat.S_ISDIR(found.st_mode)
                    and found.st_uid == os.geteuid()
                    and not os.path.lexists(os.readlink(folder / _OF))
                ):
                    discard(folder)

    def clear(self) -> None:
        """Remove what is in memory: at the end, and before the start what a killed run left there."""
        self._free.clear()
        try:
            found = os.lstat(self.light)
        except OSError:
            return
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
            discard(self.light)


def is_light(contents: Iterable[Manifest]) -> bool:
    """Whether an action's inputs may be laid out in memory."""
    return sum(file.size for content in contents for file in manifest.files(content)) <= _LARGE


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
            raise manifest.unplaced(error, "make the folder", self.root) from error

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
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM):
                raise MemoryFull from error
            raise manifest.unplaced(error, "write", Path(target)) from error

    def collect(self, output: str, *, folder: bool) -> Manifest:
        # Its folder is a mount of its own: there is no link on the way.
        return manifest.collect(self.at(output), self.blobs, folder=folder, name=output, take=True)

    def _binds(self) -> list[Bind]:
        try:
            self.place.ready()
        except OSError as error:
            raise manifest.unplaced(error, "remove a folder in", self.root) from error
        return super()._binds()

    def remove(self) -> None:
        self.place.remove()
