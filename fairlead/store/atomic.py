"""Files and folders that appear whole or not at all.

A temp file beside the target, then a rename; `durable=True` adds the fsyncs of file and folder
for whatever is acknowledged to a person. On any failure the temp is removed and the old file
stays as it was.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from fairlead.errors import FairleadError, MachineryError


def write(path: Path, data: bytes, *, mode: int = 0o644, durable: bool = False) -> None:
    """Put `data` at `path` with `mode`; `MachineryError` (full disk, no permission) changes nothing."""
    try:
        temp = path.parent / f".tmp-{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            try:
                fd = os.open(temp, flags, mode)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                fd = os.open(temp, flags, mode)
            with open(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(fd, mode)
                if durable:
                    os.fsync(fd)
            os.replace(temp, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temp.unlink()
            raise
        if durable:
            sync_folder(path.parent)
    except OSError as error:
        raise failed(error, "write", path) from error


@contextlib.contextmanager
def folder(path: Path) -> Iterator[Path]:
    """Yield an empty temp folder beside `path`; on success it becomes `path`, else it is removed.

    If `path` exists by the end (another process was first), the new one is dropped and the
    existing one stays: callers use this for folders that are named by their content.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temp = path.parent / f".tmp-{secrets.token_hex(8)}"
        temp.mkdir(mode=0o755)
    except OSError as error:
        raise failed(error, "make the folder", path) from error
    try:
        yield temp
        try:
            os.rename(temp, path)
        except OSError:
            if not path.is_dir():
                raise
    except OSError as error:
        raise failed(error, "fill the folder", path) from error
    finally:
        if temp.exists():
            remove(temp)


def remove(path: Path) -> None:
    """Remove a file or a whole folder, read-only ones inside it too; absent is fine."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(path)
    except (OSError, RecursionError):
        with contextlib.suppress(OSError):
            _remove_flat(path)


def _remove_flat(path: Path) -> None:
    """Remove a folder that may be nested deeper than a path can be long, with folders that nobody may enter:
    each folder inside is moved up before it is emptied."""
    os.chmod(path, 0o700)
    moved = 0
    while folders := [entry.name for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]:
        for name in folders:
            os.chmod(path / name, 0o700)
            for entry in list(os.scandir(path / name)):
                if entry.is_dir(follow_symlinks=False):
                    os.chmod(entry.path, 0o700)
                    os.rename(entry.path, path / f".moved-{moved}-{secrets.token_hex(4)}")
                    moved += 1
                else:
                    os.unlink(entry.path)
            os.rmdir(path / name)
    shutil.rmtree(path)


def sync_folder(path: Path) -> None:
    """fsync a folder, so that a rename inside it survives a power loss."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def failed(error: OSError, doing: str, path: Path) -> FairleadError:
    """An operating system's error as one for a person, with the remedy for the usual ones."""
    remedy = {
        28: "free some space on that disk, or choose another folder, and run it again",
        122: "free some of your disk quota and run it again",
        13: "check who owns that folder and its mode",
        1: "check who owns that folder and its mode",
        30: "that file system is read-only: choose another folder",
    }.get(error.errno or 0, "")
    return MachineryError(
        f"cannot {doing} {path}: {os.strerror(error.errno) if error.errno else error}",
        where=str(path),
        remedy=remedy,
    )
