"""A project's files at one moment: what a test that may ask for anything is given, and compared by.

A snapshot is a tree of its own. A test runs in a copy of it (`view.py`) and its answers are taken from it, so
an editor that saves meanwhile changes neither. It holds all of the project that `leftout.py` does not name,
nested repositories too; of folders with nothing in them, which no commit has, only those of submodules. What
it lacks, a test in a view does not find.

A file above `LARGE`, if it is no source, stands for itself: it is neither read nor kept before somebody asks
for it. Its state on disk takes the place of its digest until then; if that has changed by the time at which
somebody wants the digest, it has none that any tree will ever have again.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from fairlead.build.leftout import LeftOut
from fairlead.build.tree import FOLDER, LINK, OTHER, REPOSITORY, DiskTree, LinkedTree
from fairlead.errors import FairleadError, MachineryError, UsageError
from fairlead.store import Blobs
from fairlead.store.digest import of_bytes as digest_of

LARGE = 1 << 20
"""Bytes from which a file is shared with the tests and not copied. Smaller ones have equal times and modes
everywhere; a copy of such a one costs about as much as a link."""

_CHUNK = 1 << 20
_SOURCE = ".py"
_MODULES = ".gitmodules"
_MODULE = re.compile(r"^\s*path\s*=\s*(.+?)\s*$", re.MULTILINE)


class Snapshot(LinkedTree):
    """`files` are mode and SHA-256 by path (of large files what `_state` gives), `links` where a symbolic
    link leads, `folders` all folders."""

    def __init__(
        self,
        files: dict[str, tuple[str, str]],
        links: Mapping[str, str],
        folders: frozenset[str],
        origin: LinkedTree,
        blobs: Blobs,
    ) -> None:
        super().__init__()
        self.files, self.links, self.folders = files, links, folders
        self._origin = origin
        self._blobs = blobs
        self._large: dict[str, str] = {}
        self._listings: dict[str, dict[str, str]] = {folder: {} for folder in folders}
        self._listings.setdefault("", {})
        for path, (mode, digest) in files.items():
            self._note(path, mode)
            if digest.startswith(_STATE):
                self._large[path] = digest
            else:
                self._digests[path] = digest
        for path in links:
            self._note(path, LINK)
        for path in folders - {""}:
            self._note(path, FOLDER)

    def _note(self, path: str, mode: str) -> None:
        folder, _, name = path.rpartition("/")
        self._listings[folder][name] = mode

    @classmethod
    def take(cls, tree: LinkedTree, blobs: Blobs) -> Snapshot:
        """All of `tree` but what is left out."""
        left = LeftOut.of(tree)
        modes: dict[str, str] = {}
        links: dict[str, str] = {}
        kept = _submodules(tree)
        folders = {""}
        todo = [""]
        while todo:
            folder = todo.pop()
            for name, mode in tree.entries(folder).items():
                path = f"{folder}/{name}" if folder else name
                if mode == OTHER or left.leaves(path, name):
                    continue
                if mode == LINK:
                    links[path] = tree.target_at(path)
                elif mode not in (FOLDER, REPOSITORY):
                    modes[path] = mode
                elif "pyvenv.cfg" not in tree.entries(path):
                    todo.append(path)
                    if mode == REPOSITORY or path in kept:
                        _with_parents(path, folders)
        large = {path: state for path in modes if (state := _large(tree, path))}
        digests = {**tree.digests_at(modes.keys() - large.keys()), **large}
        for path in (*modes, *links):
            _with_parents(path.rpartition("/")[0], folders)
        files = {path: (mode, digests[path]) for path, mode in modes.items()}
        return cls(files, links, frozenset(folders), tree, blobs)

    def name(self) -> str:
        """A digest of all that it holds."""
        rows = [f"{mode} {digest} {path}" for path, (mode, digest) in self.files.items()]
        rows += [f"link {path} {target}" for path, target in self.links.items()]
        return digest_of("\0".join(sorted(rows)).encode("utf-8", "surrogateescape"))

    def size(self, path: str) -> int:
        real = self._file(path)
        if isinstance(self._origin, DiskTree):
            return self._origin.state(real).st_size
        return len(self._read(real))

    def place(self, path: str, at: Path, *, share: bool = False) -> None:
        """Put one of `files` at `at`, where nothing stands: a copy, or with `share`, if it is large and on
        the same disk, the very file. UsageError if it is not what it was any more; a large one, which may be
        a log that grows all the time, has no digest then."""
        if not isinstance(self._origin, DiskTree) or path.endswith(_SOURCE):
            data = self._read(path)
            if digest_of(data) != self._digests[path]:
                raise MachineryError(
                    f"the store's copy of {path} is damaged",
                    where=str(self._blobs.path(self._digests[path])),
                    remedy="remove that file and run it again",
                )
            at.write_bytes(data)
            return
        origin = self._origin.root / path
        state = self._large.get(path)
        if state is None:
            if _copied(origin, at) != self._digests[path]:
                raise _changed(path)
            return
        before = os.lstat(origin)
        if share:
            try:
                os.link(origin, at, follow_symlinks=False)
            except OSError:  # another disk, or one without hard links, or another's file
                share = False
        if not share:
            _copy_with_holes(origin, at)
        # A link more or less is a change of its own: of the times only that of the bytes must be the same.
        now = os.lstat(origin)
        if _bytes_of(_state(now)) == _bytes_of(_state(before)) == _bytes_of(state):
            self._origin.look_again(path)
            self._large[path] = _state(now)
            self.files[path] = self.files[path][0], _state(now)

    def is_shared(self, path: str, at: Path) -> bool:
        """Whether the large file `path` stands at `at` already."""
        try:
            return isinstance(self._origin, DiskTree) and os.path.samefile(self._origin.root / path, at)
        except OSError:
            return False

    def is_large(self, path: str) -> bool:
        """Whether one of `files` may be shared."""
        return path in self._large

    def _entries(self, folder: str) -> Mapping[str, str]:
        return self._listings.get(folder, {})

    def _target(self, path: str) -> str:
        return self.links[path]

    def _digest(self, real: str) -> str:
        found = self._origin.digests_at([real])[real]
        assert isinstance(self._origin, DiskTree)
        try:
            now = _state(os.lstat(self._origin.root / real))
        except OSError:
            now = ""
        return found if now == self._large[real] else f"changed since it was {self._large[real]}"

    def _read(self, path: str) -> bytes:
        if path in self._large:
            return self._origin.read_at(path)
        digest = self._digests[path]
        if self._blobs.has(digest):
            return self._blobs.get(digest)
        data = self._origin.read_at(path)
        if self._blobs.put(data) != digest:
            raise _changed(path)
        return data


_STATE = "state "


def _state(seen: os.stat_result) -> str:
    """What changes with every change of a file."""
    times = f"{seen.st_mtime_ns} {seen.st_ctime_ns}"
    return f"{_STATE}{seen.st_dev} {seen.st_ino} {seen.st_size} {times}"


def _bytes_of(state: str) -> str:
    """A state without the time of change."""
    return state.rpartition(" ")[0]


def _large(tree: LinkedTree, path: str) -> str:
    """The state of a large file that is no source, "" for any other."""
    if not isinstance(tree, DiskTree) or path.endswith(_SOURCE):
        return ""
    seen = tree.state(path)
    return _state(seen) if seen.st_size >= LARGE else ""


def _submodules(tree: LinkedTree) -> frozenset[str]:
    """The folders that git's submodules have, with content or without."""
    if tree.kind(_MODULES) != "file":
        return frozenset()
    return frozenset(_MODULE.findall(tree.read(_MODULES).decode("utf-8", "surrogateescape")))


def _with_parents(path: str, folders: set[str]) -> None:
    while path not in folders:
        folders.add(path)
        path = path.rpartition("/")[0]


def _copied(source: Path, target: Path) -> str:
    """Copy a file and give the SHA-256 of what was copied."""
    state = hashlib.sha256()
    with source.open("rb") as reader, target.open("xb") as writer:
        while chunk := reader.read(_CHUNK):
            state.update(chunk)
            writer.write(chunk)
    return state.hexdigest()


def _copy_with_holes(source: Path, target: Path) -> None:
    """Copy a file; what it has no bytes for takes no room in the copy either."""
    with source.open("rb", buffering=0) as reader, target.open("xb", buffering=0) as writer:
        size = os.fstat(reader.fileno()).st_size
        at = 0
        while at < size:
            try:
                start = os.lseek(reader.fileno(), at, os.SEEK_DATA)
            except OSError:  # nothing but a hole
                break
            at = os.lseek(reader.fileno(), start, os.SEEK_HOLE)
            reader.seek(start)
            writer.seek(start)
            while start < at and (chunk := reader.read(min(_CHUNK, at - start))):
                start += writer.write(chunk)
        writer.truncate(size)


def _changed(path: str) -> FairleadError:
    return UsageError(f"{path} was changed while it was read", where=path, remedy="run it again")
