"""Blobs: bytes under their own SHA-256, one read-only file each.

Layout: `<root>/<first 2 digits>/<other 62>`. A blob is written once, by rename, so a reader
never sees part of one. `place` gives a copy (a reflink or a hard link would let a program
that writes in place change the store: a copy of a small file costs about 30 us).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
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

    def path(self, name: str) -> Path:
        """Where the blob `name` is or would be; ValueError if `name` is no digest."""
        if not digest.is_digest(name):
            raise ValueError(f"{name!r} is not a SHA-256 digest")
        return self.root / name[:2] / name[2:]

    def has(self, name: str) -> bool:
        """Whether the blob is here."""
        return self.path(name).is_file()

    def put(self, data: bytes) -> str:
        """Store `data`; its digest. Nothing is written if it is here already."""
        name = digest.of_bytes(data)
        if not self.has(name):
            atomic.write(self.path(name), data, mode=0o444, durable=self.durable)
            with contextlib.suppress(OSError):
                os.utime(self.path(name), (EPOCH, EPOCH))
        return name

    def put_file(self, source: Path) -> str:
        """Store a file's bytes, copied and hashed in one pass, so the digest is that of the copy."""
        temp = self.root / f".tmp-{secrets.token_hex(8)}"
        state = hashlib.sha256()
        try:
            if not self.root.is_dir():
                self.root.mkdir(parents=True, exist_ok=True)
            with source.open("rb") as reader, temp.open("xb") as writer:
                while chunk := reader.read(_CHUNK):
                    state.update(chunk)
                    writer.write(chunk)
                writer.flush()
                os.fchmod(writer.fileno(), 0o444)
                os.utime(writer.fileno(), (EPOCH, EPOCH))
                if self.durable:
                    os.fsync(writer.fileno())
            name = state.hexdigest()
            target = self.path(name)
            try:
                os.replace(temp, target)
            except FileNotFoundError:
                target.parent.mkdir(exist_ok=True)
                os.replace(temp, target)
            if self.durable:
                atomic.sync_folder(target.parent)
            return name
        except OSError as error:
            raise atomic.failed(error, "store", source) from error
        finally:
            with contextlib.suppress(OSError):
                temp.unlink()

    def whole(self, name: str, size: int) -> bool:
        """Whether the blob is here with all its bytes, `size` of them; one that is damaged is removed.

        A power cut may leave a file without its bytes: the size tells. Somebody may have written to it: then
        its time is not the blobs' time, and its bytes are compared.
        """
        path = self.path(name)
        try:
            found = path.stat()
            if found.st_size == size:
                if found.st_mtime_ns == EPOCH * 10**9:
                    return True
                if digest.of_file(path) == name:
                    os.utime(path, (EPOCH, EPOCH))
                    return True
            path.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise atomic.failed(error, "check", path) from error
        return False

    def get(self, name: str) -> bytes:
        """The bytes; `BlobLost` if the blob is not here."""
        with self.open(name) as file:
            return file.read()

    def open(self, name: str) -> BinaryIO:
        """The blob as an open file; `BlobLost` if it is not here."""
        try:
            return self.path(name).open("rb")
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
