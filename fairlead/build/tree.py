"""A project's files, from disk or from a commit, through one protocol.

Everything in `build` that looks at sources looks through a `Tree`, so a land candidate that exists only in
git's object store has the same plan and the same keys as the same files on disk.

To be equal, both sides follow git's rules: a mode is 100644 or 100755 by the owner's x bit; a nested
repository is opaque, and what `NEVER` names is not there; a symbolic link is followed, but never out of the
tree (its bytes and mode are those of the file it points to; a link to a folder is not gone through by
listings). A name that is not UTF-8 is a text with surrogates in it, as Python has it (PEP 383), so two names
are never one; no listing gives it, for no label can hold it. A tree is a snapshot: it remembers what it read,
so make a new one for each command.
"""

from __future__ import annotations

import os
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from fairlead.errors import MachineryError, UsageError
from fairlead.store import digest
from fairlead.store.filedigests import FileDigests
from fairlead.store.results import Results

if TYPE_CHECKING:
    from fairlead.git import Repo

Kind: TypeAlias = Literal["file", "folder"]

FILE, EXECUTABLE, LINK, FOLDER, REPOSITORY, OTHER = "100644", "100755", "120000", "040000", "160000", "000000"

NEVER = frozenset({".git", ".hg", ".sl", "buck-out", "fairlead-out", "__pycache__"})
"""Names that are never part of a project, also not through a link or an include: version control, outputs,
and what Python leaves behind."""

_LINKS = 40
"""Links followed for one path before it counts as a circle, as in Linux."""


class Tree(Protocol):
    """Files by their path relative to the root ("" is the root), with `/`."""

    def kind(self, path: str) -> Kind | None:
        """What is there, links followed; None if nothing that can be a source."""

    def list(self, path: str) -> tuple[str, ...]:
        """The names in a folder, sorted; none if it is no folder or reached through a link. Those that are
        not UTF-8 are left out."""

    def names(self, path: str) -> tuple[str, ...]:
        """`list` with the names that are not UTF-8."""

    def read(self, path: str) -> bytes:
        """A file's bytes; `UsageError` if there is none."""

    def digest(self, path: str) -> str:
        """The SHA-256 of a file's bytes."""

    def digests(self, paths: Iterable[str]) -> dict[str, str]:
        """`digest` of many files at once, faster for trees that pay by the call."""

    def mode(self, path: str) -> str:
        """ "100644" or "100755"."""

    def link(self, path: str) -> str | None:
        """Where the symbolic link at `path` leads, as it says it; None if there is none."""

    def entries(self, path: str) -> Mapping[str, str]:
        """Name -> git mode of what is in a folder that no link leads to, also of what is never a source."""

    def size(self, path: str) -> int:
        """How many bytes a file has."""


class LinkedTree(ABC):
    """What all trees share: paths through symbolic links, resolved with two primitives."""

    def __init__(self) -> None:
        self._resolved: dict[str, tuple[str, str] | None] = {}
        self._digests: dict[str, str] = {}

    @abstractmethod
    def _entries(self, folder: str) -> Mapping[str, str]:
        """Name -> git mode of what is in a real folder; empty if it is none."""

    @abstractmethod
    def _target(self, path: str) -> str:
        """What the symbolic link at the real path `path` says."""

    @abstractmethod
    def _read(self, path: str) -> bytes:
        """The bytes of the file at the real path `path`."""

    def _resolve(self, path: str) -> tuple[str, str] | None:
        """The real path and mode of what stands at `path`."""
        if path not in self._resolved:
            self._resolved[path] = self._walk(path)
        return self._resolved[path]

    def _walk(self, path: str) -> tuple[str, str] | None:
        todo = [part for part in reversed(path.split("/")) if part]
        done: list[str] = []
        mode, links = FOLDER, 0
        while todo:
            part = todo.pop()
            if part == ".":
                continue
            if part == "..":
                if not done:
                    return None
                done.pop()
                mode = FOLDER
                continue
            if mode != FOLDER or part in NEVER:
                return None
            mode = self._entries("/".join(done)).get(part, OTHER)
            if mode in (OTHER, REPOSITORY):
                return None
            if mode == LINK:
                links += 1
                target = self._target("/".join((*done, part)))
                if links > _LINKS or target.startswith("/"):
                    return None
                todo.extend(piece for piece in reversed(target.split("/")) if piece)
                mode = FOLDER
            else:
                done.append(part)
        return "/".join(done), mode

    def kind(self, path: str) -> Kind | None:
        found = self._resolve(path)
        if found is None:
            return None
        return "folder" if found[1] == FOLDER else "file"

    def list(self, path: str) -> tuple[str, ...]:
        return tuple(name for name in self.names(path) if name.isascii() or _is_utf8(name))

    def names(self, path: str) -> tuple[str, ...]:
        found = self._resolve(path)
        if found is None or found[0] != path or found[1] != FOLDER:
            return ()
        return tuple(sorted(self._entries(path)))

    def entries(self, path: str) -> Mapping[str, str]:
        return self._entries(path)

    def size(self, path: str) -> int:
        return len(self.read(path))

    def _file(self, path: str) -> str:
        found = self._resolve(path)
        if found is None or found[1] == FOLDER:
            raise UsageError(f"there is no file {path}", where=path)
        return found[0]

    def digests_at(self, reals: Iterable[str]) -> dict[str, str]:
        """The SHA-256 of files by their real paths, also of those in nested repositories."""
        return {real: self._digest(real) for real in reals}

    def target_at(self, real: str) -> str:
        """Where the symbolic link at a real path leads."""
        return self._target(real)

    def read_at(self, real: str) -> bytes:
        """The bytes of the file at a real path."""
        return self._read(real)

    def real(self, path: str) -> str:
        """Where the file lies that stands at `path`, links followed; `UsageError` if there is none."""
        return self._file(path)

    def read(self, path: str) -> bytes:
        return self._read(self._file(path))

    def digest(self, path: str) -> str:
        real = self._file(path)
        if real not in self._digests:
            self._digests[real] = self._digest(real)
        return self._digests[real]

    def _digest(self, real: str) -> str:
        return digest.of_bytes(self._read(real))

    def digests(self, paths: Iterable[str]) -> dict[str, str]:
        return {path: self.digest(path) for path in paths}

    def mode(self, path: str) -> str:
        found = self._resolve(path)
        if found is None or found[1] == FOLDER:
            raise UsageError(f"there is no file {path}", where=path)
        return found[1]

    def link(self, path: str) -> str | None:
        folder, _, name = path.rpartition("/")
        found = self._resolve(folder)
        if found is None or found[1] != FOLDER or name in NEVER or self._entries(found[0]).get(name) != LINK:
            return None
        return self._target(f"{found[0]}/{name}" if found[0] else name)


def _is_repository(folder: str) -> bool:
    """Whether another git repository begins at a folder. As for git, a file `.git` that leads to no folder
    makes none: an archive may hold the files of a submodule with such a file left over."""
    inner = os.path.join(folder, ".git")
    if not os.path.isfile(inner):
        return os.path.lexists(inner)
    try:
        with open(inner, "rb") as stream:
            name, _, leads = stream.read(8192).partition(b":")
    except OSError:
        return True
    return name != b"gitdir" or os.path.isdir(os.path.join(os.fsencode(folder), leads.strip()))


class DiskTree(LinkedTree):
    """The files below a folder, as they are now. `results`, if given, keeps the SHA-256 of files by their
    state on disk, so that a file that nobody touched is not read again."""

    def __init__(self, root: Path, results: Results | None = None) -> None:
        super().__init__()
        self.root = root
        self._known = None if results is None else FileDigests(results)
        self._began = time.time_ns()
        self._states: dict[str, os.stat_result] = {}
        self._folders: dict[str, Mapping[str, str]] = {}
        self._links: dict[str, str] = {}
        self._reads: dict[str, str] = {}

    def asked(self) -> tuple[dict[str, Mapping[str, str]], dict[str, str], dict[str, str]]:
        """All that this tree has answered: folder -> names and modes, link -> target, file -> SHA-256 of
        what was read."""
        return dict(self._folders), dict(self._links), {**self._digests, **self._reads}

    def answers(
        self, folders: Mapping[str, Mapping[str, str]], links: Mapping[str, str], files: Mapping[str, str]
    ) -> bool:
        """Whether it would give the same answers now. If not, it has forgotten that it was asked."""
        same = (
            all(self._entries(folder) == entries for folder, entries in folders.items())
            and all(self._target(path) == target for path, target in links.items())
            and self.digests(files) == files
        )
        if not same:
            self._forget()
        return same

    def _forget(self) -> None:
        for memory in (self._folders, self._resolved, self._states, self._links, self._reads):
            memory.clear()
        self._digests.clear()

    def _entries(self, folder: str) -> Mapping[str, str]:
        found = self._folders.get(folder)
        if found is None:
            found = self._folders[folder] = self._scan(folder)
        return found

    def _scan(self, folder: str) -> Mapping[str, str]:
        found: dict[str, str] = {}
        try:
            with os.scandir(self.root / folder) as entries:
                for entry in entries:
                    found[entry.name] = self._mode(entry, folder)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise MachineryError(
                f"cannot list the folder: {error.strerror}", where=str(self.root / folder)
            ) from None
        return found

    def _mode(self, entry: os.DirEntry[str], folder: str) -> str:
        if entry.is_symlink():
            return LINK
        if entry.is_dir(follow_symlinks=False):
            return REPOSITORY if _is_repository(entry.path) else FOLDER
        try:
            state = entry.stat(follow_symlinks=False)
        except FileNotFoundError:  # removed since it was listed
            return OTHER
        if not stat.S_ISREG(state.st_mode):
            return OTHER
        self._states[f"{folder}/{entry.name}" if folder else entry.name] = state
        return EXECUTABLE if state.st_mode & stat.S_IXUSR else FILE

    def _target(self, path: str) -> str:
        found = self._links[path] = os.readlink(self.root / path)
        return found

    def _read(self, path: str) -> bytes:
        try:
            data = (self.root / path).read_bytes()
        except OSError as error:
            raise MachineryError(
                f"cannot read the file: {error.strerror}", where=str(self.root / path)
            ) from None
        self._reads[path] = digest.of_bytes(data)
        return data

    def state(self, real: str) -> os.stat_result:
        """What the system said of the file at a real path when its folder was looked at."""
        if real not in self._states:
            try:
                self._states[real] = os.lstat(self.root / real)
            except OSError as error:
                raise MachineryError(
                    f"cannot look at the file: {error.strerror}", where=str(self.root / real)
                ) from None
        return self._states[real]

    def look_again(self, real: str) -> None:
        """Take a file's state as it is now, after a change of our own that is none of its bytes."""
        self._states.pop(real, None)
        self.state(real)

    def digests_at(self, reals: Iterable[str]) -> dict[str, str]:
        wanted = list(reals)
        self._digests.update(self._look([real for real in wanted if real not in self._digests]))
        return {real: self._digests[real] for real in wanted}

    def size(self, path: str) -> int:
        return self.state(self._file(path)).st_size

    def _digest(self, real: str) -> str:
        return self._look([real])[real]

    def digests(self, paths: Iterable[str]) -> dict[str, str]:
        reals = {path: self._file(path) for path in paths}
        self._digests.update(self._look({*reals.values()} - self._digests.keys()))
        return {path: self._digests[real] for path, real in reals.items()}

    def _look(self, reals: Iterable[str]) -> dict[str, str]:
        """Real path -> SHA-256: what is known of the files as they are, else what they hold."""
        places = {real: f"{self.root}/{real}" for real in reals}
        found: dict[str, str] = {}
        try:
            if self._known is None:
                return {real: digest.of_file(Path(place)) for real, place in places.items()}
            states = {place: self._states[real] for real, place in places.items()}
            found = self._known.find(states, self._began)
            found |= self._known.read([place for place in states if place not in found], self._began)
        except OSError as error:
            where = str(error.filename or self.root)
            raise MachineryError(f"cannot read the file: {error.strerror}", where=where) from None
        return {real: found[place] for real, place in places.items()}


class GitTree(LinkedTree):
    """The files of a commit or tree in git's object store; nothing is checked out.

    The listing is read at once (one git process), bytes in batches: reading one build file fetches all of the
    same name, since a pattern reads them all. `results`, if given, keeps the SHA-256 of blobs by their ids.
    """

    NAMESPACE = "git-blob-sha256"

    def __init__(self, repo: Repo, treeish: str, results: Results | None = None) -> None:
        super().__init__()
        self.repo = repo
        self.treeish = treeish
        self._results = results
        self._oids: dict[str, str] = {}
        self._bytes: dict[str, bytes] = {}
        self._folders: dict[str, dict[str, str]] = {"": {}}
        for entry in repo.entries(treeish, recursive=True):
            folder, _, name = entry.path.rpartition("/")
            self._add_folder(folder)[name] = entry.mode
            self._oids[entry.path] = entry.oid

    def _add_folder(self, path: str) -> dict[str, str]:
        found = self._folders.get(path)
        if found is None:
            found = self._folders[path] = {}
            parent, _, name = path.rpartition("/")
            self._add_folder(parent)[name] = FOLDER
        return found

    def _entries(self, folder: str) -> Mapping[str, str]:
        return self._folders.get(folder, {})

    def _target(self, path: str) -> str:
        return self._read(path).decode("utf-8", "surrogateescape")

    def _read(self, path: str) -> bytes:
        oid = self._oids[path]
        if oid not in self._bytes:
            name = path.rpartition("/")[2]
            alike = {o for p, o in self._oids.items() if _reads_with(p, name)} - self._bytes.keys()
            self._bytes.update(self.repo.blobs(sorted(alike | {oid})))
        return self._bytes[oid]

    def digests(self, paths: Iterable[str]) -> dict[str, str]:
        reals = {path: self._file(path) for path in paths}
        unknown: dict[str, list[str]] = {}
        for real in reals.values():
            if real not in self._digests:
                unknown.setdefault(self._oids[real], []).append(real)
        for oid in list(unknown):
            known = self._results.get(self.NAMESPACE, oid) if self._results is not None else None
            if known is not None:
                for real in unknown.pop(oid):
                    self._digests[real] = known.decode()
        missing = [oid for oid in unknown if oid not in self._bytes]
        for oid, data in [
            *((o, self._bytes[o]) for o in unknown if o in self._bytes),
            *self.repo.blobs(missing),
        ]:
            sha256 = digest.of_bytes(data)
            if self._results is not None:
                self._results.put(self.NAMESPACE, oid, sha256.encode())
            for real in unknown[oid]:
                self._digests[real] = sha256
        return {path: self._digests[real] for path, real in reals.items()}

    def digests_at(self, reals: Iterable[str]) -> dict[str, str]:
        return self.digests(reals)

    def digest(self, path: str) -> str:
        return self.digests([path])[path]


def _reads_with(path: str, name: str) -> bool:
    """Whether the file `path` is likely to be read soon after one called `name`."""
    if name.endswith(".bzl"):
        return path.endswith(".bzl")
    return path == name or path.endswith(f"/{name}")


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
