"""An artifact's bytes to files in an empty folder, for every format of DotSlash.

The bytes have the digest that the manifest pins, so what is guarded against here is a publisher's mistake, or
a publisher: no member may be written outside of the folder, or through a link that leads outside. The folder
is private to us while it fills (0700 above it), so checking resolved paths is enough and no race is open.

Archives of the standard library are read with it, but every file is made by our own hand, because what
DotSlash makes differs: modes are exact whatever the umask, zip files carry modes and links, absolute names in
a tar lose their slash. Stricter than DotSlash, and declared: a member with `..` in its name is an error
(skipped there), so are devices and FIFOs (empty files there); set-id and sticky bits are dropped; size and
count are limited.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

from fairlead.launch.decompress import CHUNK, Budget, Damaged, Stream, pieces
from fairlead.launch.manifest import Entry

MOST_MEMBERS = 1_000_000
_GIB = 1024**3
# What the libraries also raise when they are given nonsense.
_SURPRISES = (ValueError, KeyError, IndexError, OverflowError, struct.error)


def default_limit(size: int) -> int:
    """Bytes that an artifact of `size` bytes may unpack to: twenty times as much and a GiB more."""
    return 20 * size + _GIB


def unpack(source: BinaryIO, entry: Entry, into: Path) -> None:
    """Fill the empty folder `into` with what `entry` says `source` (at position 0) holds.

    Raises Damaged for anything wrong with the artifact, OSError for anything wrong with the disk.
    """
    limit = entry.unpacked_limit
    budget = Budget(default_limit(entry.size) if limit is None else limit, MOST_MEMBERS)
    if entry.kind == "archive":
        folder = _Folder(into, budget)
        if entry.format == "zip":
            _zip(source, folder)
        else:
            _tar(source, entry.format.partition(".")[2], folder)
        folder.finish()
        return
    target = into / entry.path
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as out:
        if entry.kind == "none":
            shutil.copyfileobj(source, out, CHUNK)
        else:
            for piece in pieces(source, entry.format):
                budget.spend(len(piece))
                out.write(piece)
        os.fchmod(out.fileno(), 0o555)


def drop_write_bits(folder: Path) -> None:
    """Make everything inside `folder` read-only; links are left alone, and `folder` itself is too."""
    for base, folders, files in os.walk(folder, topdown=False):
        for name in (*folders, *files):
            path = os.path.join(base, name)
            mode = os.lstat(path).st_mode
            if not stat.S_ISLNK(mode) and mode & 0o222:
                os.chmod(path, stat.S_IMODE(mode) & ~0o222)


class _Folder:
    """The folder being filled: the one place where names of an archive become files."""

    def __init__(self, top: Path, budget: Budget) -> None:
        self.top = os.path.realpath(top)
        self.budget = budget
        self.modes: dict[str, int] = {}  # of folders, set at the end: some forbid writing inside
        self.known: dict[str, str] = {"": self.top}  # names of folders, resolved; emptied when links change

    def parts(self, name: str, *, absolute: bool) -> str:
        """The member's name without empty and `.` parts; `absolute` names lose their slash or are refused."""
        if name.startswith("/") and not absolute:
            raise Damaged(f"the archive has an absolute name: {_shown(name)}")
        kept = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in kept or "\0" in name:
            raise Damaged(f"the archive has a member that leads outside of it: {_shown(name)}")
        return "/".join(kept)

    def inside(self, name: str) -> str:
        """The resolved path of the folder `name`, made if it is missing; refused if a link leads outside."""
        if name in self.known:
            return self.known[name]
        parent, _, last = name.rpartition("/")
        path = os.path.join(self.inside(parent), last)
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            os.mkdir(path)
        else:
            if stat.S_ISLNK(mode):
                path = os.path.realpath(path)
                if path != self.top and not path.startswith(self.top + os.sep):
                    raise Damaged(f"the archive writes through a link that leads outside: {_shown(name)}")
            if not os.path.isdir(path):
                raise Damaged(f"the archive has a member inside of what is no folder: {_shown(name)}")
        self.known[name] = path
        return path

    def folder(self, name: str, mode: int | None) -> None:
        path = self.inside(name)
        if mode is not None and name:
            self.modes[path] = mode & 0o777

    def _place(self, name: str) -> str:
        """Where to make the member `name`, after removing what an earlier member of that name left."""
        if not name:
            raise Damaged("the archive has a file without a name")
        parent, _, last = name.rpartition("/")
        path = os.path.join(self.inside(parent), last)
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return path
        if stat.S_ISDIR(mode):
            raise Damaged(f"the archive has both a folder and a file of one name: {_shown(name)}")
        os.unlink(path)
        self.known = {"": self.top}
        return path

    def file(self, name: str, content: Iterator[bytes], mode: int, mtime: float | None) -> None:
        path = self._place(name)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "wb", buffering=0) as out:
            for piece in content:
                self.budget.spend(len(piece))
                view = memoryview(piece)
                while view:
                    view = view[out.write(view) :]
            os.fchmod(fd, mode & 0o777)
            if mtime is not None:
                os.utime(fd, (mtime, mtime))

    def symlink(self, name: str, target: str, mtime: float | None) -> None:
        """A link as it was packed: one that leads outside is legal, only nothing is written through it."""
        path = self._place(name)
        if not target or "\0" in target:
            raise Damaged(f"the archive has a link to nothing: {_shown(name)}")
        os.symlink(target, path)
        self.known = {"": self.top}
        if mtime is not None:
            os.utime(path, (mtime, mtime), follow_symlinks=False)

    def hardlink(self, name: str, target: str) -> None:
        parent, _, last = target.rpartition("/")
        source = os.path.join(self.inside(parent), last)
        try:
            mode = os.lstat(source).st_mode
        except FileNotFoundError:
            raise Damaged(f"the archive has a hard link to no member of it: {_shown(name)}") from None
        if stat.S_ISDIR(mode):
            raise Damaged(f"the archive has a hard link to a folder: {_shown(name)}")
        place = os.path.join(self.inside(name.rpartition("/")[0]), name.rpartition("/")[2])
        if place != source:
            os.link(source, self._place(name), follow_symlinks=False)

    def finish(self) -> None:
        """Set the modes of folders, deepest first."""
        for path in sorted(self.modes, key=len, reverse=True):
            os.chmod(path, self.modes[path])


class _Header(tarfile.TarInfo):
    """A tar header that is damaged ends the archive with an error; tarfile takes it for a clean end."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> _Header:
        try:
            return super().fromtarfile(tar)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from None


def _tar(source: BinaryIO, compression: str, folder: _Folder) -> None:
    plain = pieces(source, compression) if compression else iter(lambda: source.read(CHUNK), b"")
    # Headers count against a limit of their own, for a bomb can be made of headers alone.
    stream = Stream(plain, Budget(folder.budget.limit + _GIB, MOST_MEMBERS))
    try:
        with tarfile.open(
            fileobj=cast(IO[bytes], stream),
            mode="r|",
            bufsize=CHUNK,
            tarinfo=_Header,
            encoding="utf-8",
            errors="surrogateescape",
        ) as archive:
            while (member := archive.next()) is not None:
                folder.budget.member()
                _tar_member(archive, member, folder)
                archive.members = []  # type: ignore[attr-defined]  # else it keeps every header
    except (tarfile.TarError, *_SURPRISES) as error:
        raise Damaged(f"the artifact is not a valid tar archive: {error}") from None


def _tar_member(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: _Folder) -> None:
    name = folder.parts(member.name, absolute=True)
    mtime = float(member.mtime)
    mtime = float(int(mtime)) if 0 <= mtime < 2**34 else 0.0
    if member.isdir():
        folder.folder(name, member.mode)
    elif member.issym():
        folder.symlink(name, member.linkname, mtime)
    elif member.islnk():
        folder.hardlink(name, folder.parts(member.linkname, absolute=False))
    elif member.ischr() or member.isblk() or member.isfifo():
        raise Damaged(f"the archive has a device or a FIFO: {_shown(member.name)}")
    else:
        content = archive.extractfile(member)
        assert content is not None  # of a member that is no link
        folder.file(name, iter(lambda: content.read(CHUNK), b""), member.mode, mtime)


def _zip(source: BinaryIO, folder: _Folder) -> None:
    import zlib

    try:
        with zipfile.ZipFile(source) as archive:
            for member in archive.infolist():
                folder.budget.member()
                _zip_member(archive, member, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, *_SURPRISES) as error:
        # Encrypted members and unknown methods are a RuntimeError.
        raise Damaged(f"the artifact is not a zip archive that can be read: {error}") from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # of seeking to a place that only a damaged directory names
            raise
        raise Damaged("the artifact is not a zip archive that can be read") from None


def _zip_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: _Folder) -> None:
    name = folder.parts(member.filename, absolute=False)
    mode = _zip_mode(member)
    if member.is_dir():
        folder.folder(name, None)
        return
    with archive.open(member) as content:
        if stat.S_ISLNK(mode):
            target = content.read(4096 + 1)
            folder.budget.spend(len(target))
            folder.symlink(name, os.fsdecode(target), None)
        elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
            folder.file(name, iter(lambda: content.read(CHUNK), b""), mode, None)
        else:
            raise Damaged(f"the archive has a device or a FIFO: {_shown(member.filename)}")


def _zip_mode(member: zipfile.ZipInfo) -> int:
    attributes = member.external_attr
    if member.create_system == 3 and attributes >> 16:
        return attributes >> 16
    return 0o444 if attributes & 1 else 0o644  # made on another system: only "read-only" is known


def _shown(name: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
