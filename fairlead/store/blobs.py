"""Blobs: bytes under their own SHA-256, one read-only file each.

Layout: `<root>/<first 2 digits>/<other 62>`. A blob is written once, by rename, so a reader
never sees part of one. `place` gives a copy (a reflink or a hard link would let a program
that writes in place change the store: a copy of a small file costs about 30 us).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
from pathlib import Path
from typing import BinaryIO

from fairlead.errors import MachineryError
from fairlead.store import atomic, digest

_CHUNK = 1 << 20
EPOCH = 315532800
"""1 January 1980, the first moment a zip file can name: when every blob says it was written. So a blob that
somebody wrote to since shows at one look."""


class BlobLost(MachineryError):
    """A blob that somebody counted on is not here."""


class Blobs:
    """A folder of blobs. Used by the build store, by logs and by the server's attachments."""

    def __init__(self, root: Path, *, durable: bool = False) -> None:
        self.root = root
        self.durable = durable
        self._root = str(root)

    def path(self, name: str) -> Path:
        """Where the blob `name` is or would be; ValueError if `name` is no digest."""
        return Path(self.at(name))

    def at(self, name: str) -> str:
        """`path` as text: thousands of a build's paths are never taken apart."""
        if not digest.is_digest(name):
            raise ValueError(f"{name!r} is not a SHA-256 digest")
        return f"{self._root}/{name[:2]}/{name[2:]}"

    def has(self, name: str) -> bool:
        """Whether the blob is here."""
        return os.path.isfile(self.at(name))

    def put(self, data: bytes) -> str:
        """Store `data`; its digest. Nothing is written if it is here already."""
        name = digest.of_bytes(data)
        target = self.at(name)
        if os.path.isfile(target):
            return name
        temp = self._temp()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            try:
                fd = os.open(temp, flags, 0o444)
            except FileNotFoundError:
                self.root.mkdir(parents=True, exist_ok=True)
                fd = os.open(temp, flags, 0o444)
            try:
                left = memoryview(data)
                while left:
                    left = left[os.write(fd, left) :]
                self._seal(fd)
            except BaseException:
                os.close(fd)
                os.unlink(temp)
                raise
            os.close(fd)
            self._enter(temp, target)
        except OSError as error:
            raise atomic.failed(error, "write", Path(target)) from error
        return name

    def _temp(self) -> str:
        return f"{self._root}/.tmp-{secrets.token_hex(8)}"

    def _seal(self, fd: int) -> None:
        """Make an open file, whose bytes are all there, what a blob is."""
        os.fchmod(fd, 0o444)
        os.utime(fd, (EPOCH, EPOCH))
        if self.durable:
            os.fsync(fd)

    def _enter(self, temp: str, target: str) -> None:
        """Move a sealed file to its place."""
        try:
            try:
                os.replace(temp, target)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(target), exist_ok=True)
                os.replace(temp, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temp)
            raise
        if self.durable:
            atomic.sync_folder(Path(target).parent)

    def put_file(self, source: Path) -> str:
        """Store a file's bytes, copied and hashed in one pass, so the digest is that of the copy."""
        temp = self._temp()
        state = hashlib.sha256()
        try:
            if not os.path.isdir(self._root):
                self.root.mkdir(parents=True, exist_ok=True)
            try:
                with open(source, "rb", 0) as reader, open(temp, "xb", 0) as writer:
                    while chunk := reader.read(_CHUNK):
                        state.update(chunk)
                        left = memoryview(chunk)
                        while left:
                            left = left[writer.write(left) :]
                    self._seal(writer.fileno())
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temp)
                raise
            name = state.hexdigest()
            self._enter(temp, self.at(name))
            return name
        except OSError as error:
            raise atomic.failed(error, "store", source) from error

    def take(self, source: Path) -> str:
        """Store a file by moving it here, if it is not here yet: that costs a fifth of a copy. For files that
        nobody else can have open or has another link to; one that has is copied, and so is one with extended
        attributes, which a link to the blob would show. Whatever stays at `source` is the caller's to remove.
        """
        try:
            fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or is_marked(fd):
                    return self.put_file(source)
                state = hashlib.sha256()
                while chunk := os.read(fd, _CHUNK):
                    state.update(chunk)
                name = state.hexdigest()
                if self.whole(name, found.st_size):
                    return name
                if found.st_uid != os.geteuid():
                    os.fchown(fd, os.geteuid(), os.getegid())
                self._seal(fd)
            finally:
                os.close(fd)
            target = self.at(name)
            try:
                os.makedirs(os.path.dirname(target), exist_ok=True)
                os.replace(source, target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                return self.put_file(source)
            return name
        except OSError as error:
            raise atomic.failed(error, "store", source) from error

    def whole(self, name: str, size: int) -> bool:
        """Whether the blob is here with all its bytes, `size` of them; one that is damaged is removed.

        A power cut may leave a file without its bytes: the size tells. Somebody may have written to it: then
        its time is not the blobs' time, and its bytes are compared.
        """
        path = self.at(name)
        try:
            found = os.stat(path)
            if found.st_size == size:
                if found.st_mtime_ns == EPOCH * 10**9:
                    return True
                if digest.of_file(Path(path)) == name:
                    os.utime(path, (EPOCH, EPOCH))
                    return True
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise atomic.failed(error, "check", Path(path)) from error
        return False

    def get(self, name: str) -> bytes:
        """The bytes; `BlobLost` if the blob is not here."""
        with self.open(name) as file:
            return file.read()

    def open(self, name: str) -> BinaryIO:
        """The blob as an open file; `BlobLost` if it is not here."""
        try:
            return open(self.at(name), "rb")
        except FileNotFoundError:
            raise BlobLost(
                f"blob {name} is not in the store",
                where=str(self.root),
                remedy="run it again: what made the blob runs again then",
            ) from None

    def place(self, name: str, target: Path, *, executable: bool = False) -> None:
        """Copy the blob to `target` (parents made, an old file replaced), mode 0555 or 0444."""
        target.parent.mkdir(parents=True, exist_ok=True)
        temp = target.parent / f".tmp-{secrets.token_hex(8)}"
        try:
            with self.open(name) as reader, temp.open("xb") as writer:
                shutil.copyfileobj(reader, writer, _CHUNK)
                writer.flush()
                os.fchmod(writer.fileno(), 0o555 if executable else 0o444)
            os.replace(temp, target)
        except OSError as error:
            raise atomic.failed(error, "write", target) from error
        finally:
            with contextlib.suppress(OSError):
                temp.unlink()


def is_marked(file: int | str) -> bool:
    """Whether somebody gave a file or folder attributes, such as an access list. The kernel's own labels (of
    SELinux) are nobody's doing, and every file may have them."""
    try:
        return any(not name.startswith("security.") for name in os.listxattr(file))
    except OSError:  # a file system without any
        return False
