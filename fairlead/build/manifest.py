"""What an action made: a file, or a folder of files, as names of blobs.

A manifest is all that the engine keeps of an output. Its digest stands for the output in the keys of
whatever reads it, so an action that makes the same bytes again changes nothing downstream. Times and owners
are not part of it.

Collecting trusts nothing: a program may leave a link to /etc/shadow where a file should be. Links are never
followed; they may stand inside a folder, if they stay inside it, and are refused everywhere else.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from fairlead.errors import FairleadError, WorkFailed
from fairlead.store import Blobs, Record, atomic
from fairlead.store.blobs import EPOCH as _WRITTEN
from fairlead.store.record import Part

EPOCH = _WRITTEN
"""The time of every staged file, which may be a blob's own."""


_DEPTH, _LENGTH = 100, 2048  # of folders in an output; a path of Linux has 4096 bytes, with the stage's own


@dataclass(frozen=True)
class File:
    """A regular file: its blob, its size in bytes (to notice a damaged blob), its x bit."""

    digest: str
    size: int
    executable: bool

    @cached_property
    def name(self) -> str:
        """What `digest` says of it, computed once."""
        return _name(self)


@dataclass(frozen=True)
class Link:
    """A symbolic link inside a folder; `target` is relative and stays inside that folder."""

    target: str


@dataclass(frozen=True)
class Folder:
    """A folder: path inside it -> what stands there. None is a folder with nothing in it."""

    entries: Mapping[str, File | Link | None]

    @cached_property
    def name(self) -> str:
        """What `digest` says of it, computed once."""
        return _name(self)


Manifest: TypeAlias = File | Folder


def digest(manifest: Manifest) -> str:
    """The name of the content: equal for equal bytes, paths and x bits."""
    return manifest.name


def _name(manifest: Manifest) -> str:
    return Record("output", 1, {"content": _part(manifest)}).key


def _part(manifest: Manifest) -> Part:
    if isinstance(manifest, File):
        return [manifest.digest, manifest.executable]
    parts: dict[str, Part] = {}
    for path, entry in manifest.entries.items():
        match entry:
            case File():
                parts[path] = [entry.digest, entry.executable]
            case Link():
                parts[path] = entry.target
            case None:
                parts[path] = None
    return parts


def files(manifest: Manifest) -> Iterator[File]:
    """All files of a manifest."""
    if isinstance(manifest, File):
        yield manifest
    else:
        yield from (entry for entry in manifest.entries.values() if isinstance(entry, File))


def below(manifest: Manifest, path: str) -> Manifest | None:
    """What stands at `path` inside the manifest ("" is itself), or None. Links are not followed; WorkFailed
    for one that stays inside the whole, and would leave the part."""
    if not path:
        return manifest
    if isinstance(manifest, File):
        return None
    entry = manifest.entries.get(path)
    if isinstance(entry, File):
        return entry
    inside = {
        name[len(path) + 1 :]: entry
        for name, entry in manifest.entries.items()
        if name.startswith(path + "/")
    }
    for name, entry in inside.items():
        if isinstance(entry, Link) and _leaves(name, entry.target):
            raise WorkFailed(
                f"{path} holds a symbolic link that leaves it: {name} -> {entry.target}",
                remedy="use the whole folder that it lies in",
            )
    return Folder(inside) if inside or (path in manifest.entries and entry is None) else None


def encode(manifest: Manifest) -> bytes:
    """The manifest as a blob's bytes."""
    return json.dumps(to_json(manifest), sort_keys=True, separators=(",", ":")).encode()


def to_json(manifest: Manifest) -> dict[str, object]:
    """The manifest as a value that JSON has."""
    if isinstance(manifest, File):
        return {"file": _row(manifest)}
    return {"folder": {path: _row(entry) for path, entry in manifest.entries.items()}}


def _row(entry: File | Link | None) -> object:
    if isinstance(entry, File):
        return [entry.digest, entry.size, entry.executable]
    return entry.target if isinstance(entry, Link) else None


def decode(data: bytes) -> Manifest:
    """Read `encode`'s bytes (our own: any error is a damaged store, ValueError)."""
    return from_json(json.loads(data))


def from_json(document: Any) -> Manifest:
    """Read what `to_json` gave; ValueError, KeyError or TypeError if it is something else."""
    if "file" in document:
        return File(*document["file"])
    entries: dict[str, File | Link | None] = {}
    for path, row in document["folder"].items():
        entries[path] = File(*row) if isinstance(row, list) else None if row is None else Link(row)
    return Folder(entries)


def collect(path: Path, blobs: Blobs, *, folder: bool, name: str, take: bool = False) -> Manifest:
    """Store what a program left at `path` and describe it; WorkFailed if it is not what was declared.

    `name` is the output as people know it, for messages; `folder` says what was declared. With `take` files
    are moved into the store: nobody else may have them open.
    """
    try:
        found = path.lstat()
    except OSError:  # a name that is too long, too
        raise WorkFailed(
            f"the action succeeded but did not make {name}",
            remedy="make that file, or do not declare it",
        ) from None
    if folder:
        if not stat.S_ISDIR(found.st_mode):
            raise WorkFailed(f"{name} is declared as a folder, but the action made {_kind(found.st_mode)}")
        return Folder(dict(sorted(_collect_folder(path, "", blobs, name, take))))
    if not stat.S_ISREG(found.st_mode):
        raise WorkFailed(f"{name} is declared as a file, but the action made {_kind(found.st_mode)}")
    return _collect_file(path, found, blobs, take)


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISREG(mode):
        return "a file"
    return "a symbolic link" if stat.S_ISLNK(mode) else "a special file"


def _collect_file(path: Path, found: os.stat_result, blobs: Blobs, take: bool) -> File:
    if not found.st_mode & stat.S_IRUSR:
        path.chmod(found.st_mode | stat.S_IRUSR)
    name = blobs.take(path) if take else blobs.put_file(path)
    return File(name, found.st_size, bool(found.st_mode & stat.S_IXUSR))


def _collect_folder(
    path: Path, prefix: str, blobs: Blobs, name: str, take: bool
) -> Iterator[tuple[str, File | Link | None]]:
    if prefix.count("/") > _DEPTH or len(os.fsencode(prefix)) > _LENGTH:
        raise WorkFailed(f"{name} holds folders nested too deep: {prefix[:80]}...")
    path.chmod(0o755)
    with os.scandir(path) as listing:
        items = sorted(listing, key=lambda item: item.name)
    if not items and prefix:
        yield prefix.removesuffix("/"), None
    for item in items:
        place = prefix + item.name
        found = item.stat(follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            yield from _collect_folder(Path(item.path), place + "/", blobs, name, take)
        elif stat.S_ISREG(found.st_mode):
            yield place, _collect_file(Path(item.path), found, blobs, take)
        elif stat.S_ISLNK(found.st_mode):
            target = os.readlink(item.path)
            if _leaves(place, target):
                raise WorkFailed(
                    f"{name} holds a symbolic link that leaves it: {place} -> {target}",
                    remedy="copy the file, or link inside the folder",
                )
            yield place, Link(target)
        else:
            raise WorkFailed(f"{name} holds {_kind(found.st_mode)}: {place}")


def _leaves(place: str, target: str) -> bool:
    """Whether a link at `place` may lead out of the folder. What follows its leading `..` may be links too,
    each of which stays inside; a `..` after one could go up from wherever that one leads."""
    parts = [part for part in target.split("/") if part not in ("", ".")]
    up = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    return target.startswith("/") or up > place.count("/") or ".." in parts[up:]


def place(
    manifest: Manifest,
    target: Path,
    blobs: Blobs,
    *,
    link: bool,
    called: Path | None = None,
    made: set[str] | None = None,
    readonly: bool = False,
) -> None:
    """Write the content at `target`, which must not exist; parents are made.

    `link=True` shares the blobs' own files (for a reader that cannot write); else every file is a copy, with
    no w bit if `readonly`. `made` are folders that are known to be there; it grows.
    MachineryError if a blob is missing or the disk is full; it names `called` where `target` is a stopover.
    """
    try:
        made = set() if made is None else made
        make_folder(target.parent, made)
        if isinstance(manifest, File):
            _place_file(manifest, target, blobs, link, readonly)
            return
        target.mkdir()
        target.chmod(0o755)
        made.add(str(target))
        for path, entry in manifest.entries.items():
            inner = target / path
            make_folder(inner.parent, made)
            match entry:
                case File():
                    _place_file(entry, inner, blobs, link, readonly)
                case Link():
                    inner.symlink_to(entry.target)
                case None:
                    make_folder(inner, made)
    except OSError as error:
        raise unplaced(error, "write", called or target) from error


def unplaced(error: OSError, doing: str, path: Path) -> FairleadError:
    """A failure to lay files out: of the disk, or of whoever gave a file a name that no disk takes."""
    if error.errno == errno.ENAMETOOLONG:
        return WorkFailed(f"a path is too long for this file system: {path}", remedy="use shorter names")
    return atomic.failed(error, doing, path)


def make_folder(path: Path | str, made: set[str]) -> None:
    """Make a folder and its parents, if absent, with the same mode under every umask: programs see it. Those
    in `made` are there; it grows."""
    at = os.fspath(path)
    if at in made:
        return
    outer = os.path.dirname(at)
    if outer not in made and not os.path.isdir(outer):
        make_folder(outer, made)
    try:
        os.mkdir(at)
        os.chmod(at, 0o755)
    except FileExistsError:
        if not os.path.isdir(at):
            raise
    made.add(at)


def _place_file(file: File, target: Path, blobs: Blobs, link: bool, readonly: bool) -> None:
    if link and not file.executable:
        try:
            os.link(blobs.at(file.digest), target)
        except OSError:
            pass  # another file system, or too many links: copy
        else:
            if os.lstat(target).st_mtime_ns == EPOCH * 10**9 or blobs.whole(file.digest, file.size):
                return
            os.unlink(target)  # somebody wrote to the blob: it is gone, and the copy says so
    mode = 0o755 if file.executable else 0o644
    copy(file, target, blobs, mode & 0o555 if readonly else mode)


def copy(file: File, target: Path | str, blobs: Blobs, mode: int) -> None:
    """Write a file's bytes at `target`, which must not exist; MachineryError if the blob is missing."""
    with blobs.open(file.digest) as reader:
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            while chunk := reader.read(1 << 20):
                left = memoryview(chunk)
                while left:
                    left = left[os.write(fd, left) :]
            os.fchmod(fd, mode)
            os.utime(fd, (EPOCH, EPOCH))
        finally:
            os.close(fd)
