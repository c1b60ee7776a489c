"""Puts outputs where people look for them: copies under fairlead-out, written whole or not at all.

Copies, not links to the store's blobs: whoever edits a file in fairlead-out must not edit the answer to a
key. What already stands there with the right content is left alone, which is known without reading it: the
sizes and times of the files are remembered from when they were written.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fairlead.build import manifest
from fairlead.build.manifest import Folder, Manifest
from fairlead.build.plan import GEN
from fairlead.errors import UsageError
from fairlead.store import Store, atomic, crashpoint, digest

_TEMP = ".fairlead-tmp-"  # not what a package would be called

BEFORE_SWAP = crashpoint.declare(
    "build.output.before-swap", "a new output is complete beside the old one in fairlead-out"
)


class Placer:
    """Puts outputs below `root`; the store is ours alone meanwhile. `placed` are those that stand there now:
    the names in each (None for a file), and its state."""

    def __init__(self, root: Path, store: Store) -> None:
        self._root = str(root)
        self._store = store
        self._folders: set[str] = set()
        self._temps = f"{root}/{GEN}"
        self.placed: dict[str, tuple[list[str] | None, str]] = {}

    def put(self, outputs: Mapping[str, Manifest]) -> None:
        """Make each path hold its content. Of a run that is killed, those that stand there whole may not be
        known to do so, and are written again.

        UsageError if a folder on the way is a symbolic link (an output must not land outside the project),
        MachineryError if the disk is full; the old output then stays.
        """
        places = {path: f"{self._root}/{path}" for path in outputs}
        known = self._store.results.get_many("placed", places.values())
        new: dict[str, bytes] = {}
        try:
            for path, content in outputs.items():
                row = self._put(path, content, known.get(places[path]))
                if row is not None:
                    new[places[path]] = row
        finally:
            self._store.results.put_many("placed", new)

    def _put(self, path: str, content: Manifest, known: bytes | None) -> bytes | None:
        """Make one path hold its content; the row to keep, None if that is kept already."""
        target = f"{self._root}/{path}"
        name = manifest.digest(content)
        names = [*sorted(content.entries)] if isinstance(content, Folder) else None
        if known is not None:
            signature = state(target, names)
            if _row(name, signature, names) == known:
                self.placed[path] = names, signature
                return None
        self._make_folders(path.rpartition("/")[0])
        temp = f"{self._temps}/{_TEMP}{secrets.token_hex(8)}"
        try:
            if isinstance(content, Folder):
                called = Path(target)
                manifest.place(content, Path(temp), self._store.blobs, link=False, called=called)
            else:
                manifest.copy(content, temp, self._store.blobs, 0o755 if content.executable else 0o644)
            crashpoint.here(BEFORE_SWAP)
            if isinstance(content, Folder) or (known is not None and os.path.isdir(target)):
                atomic.remove(Path(target))
            try:
                os.replace(temp, target)
            except IsADirectoryError:
                atomic.remove(Path(target))
                os.replace(temp, target)
            signature = state(target, names)  # not before: the rename is a change of the file too
        except OSError as error:
            raise manifest.unplaced(error, "write", Path(target)) from error
        finally:
            if os.path.lexists(temp):
                atomic.remove(Path(temp))
        self.placed[path] = names, signature
        return _row(name, signature, names)

    def _make_folders(self, folder: str) -> None:
        if not self._folders:
            self._enter(GEN)
            for stale in os.listdir(self._temps):
                if stale.startswith(_TEMP):  # of a killed run
                    atomic.remove(Path(self._temps, stale))
        self._enter(folder)

    def _enter(self, folder: str) -> None:
        """Make a folder below the root, and those that it lies in."""
        if not folder or folder in self._folders:
            return
        self._enter(folder.rpartition("/")[0])
        at = f"{self._root}/{folder}"
        try:
            mode = os.lstat(at).st_mode
        except OSError:
            mode = 0
        if stat.S_ISLNK(mode):
            raise UsageError(
                f"{folder} is a symbolic link, so outputs would land outside the project",
                where=at,
                remedy="remove the link; FAIRLEAD_STORE_DIR moves the store to another disk",
            )
        if not stat.S_ISDIR(mode):
            try:
                os.mkdir(at)
            except OSError as error:
                raise manifest.unplaced(error, "make the folder", Path(at)) from error
        self._folders.add(folder)


def _row(name: str, signature: str, names: Sequence[str] | None) -> bytes:
    """What the store keeps of an output in its place."""
    return json.dumps([name, signature, names]).encode()


def placed(root: Path, paths: Iterable[str], store: Store) -> dict[str, tuple[list[str] | None, str]]:
    """For outputs that stand in their places: path -> names inside (None for a file), and their state."""
    rows = store.results.get_many("placed", [str(root / path) for path in paths])
    found = {}
    for place, row in rows.items():
        _, signature, names = json.loads(row)
        found[str(Path(place).relative_to(root))] = (names, signature)
    return found


def state(target: Path | str, names: Sequence[str] | None) -> str:
    """A digest of inode, size and times of the file `target` (`names` None), else of the folder with all of
    `names` in it; "" if it is not all there. The time of change is one of them: the other can be set back."""
    found = []
    try:
        for name in ("", *(names or ())):
            seen = os.lstat(f"{target}/{name}" if name else target)
            times = (seen.st_mtime_ns, seen.st_ctime_ns)
            found.append((name, seen.st_ino, seen.st_mode, seen.st_size, times))
        if names is not None:
            inside = sum(len(folders) + len(files) for _, folders, files in os.walk(target))
            found.append(("", inside, 0, 0, (0, 0)))
    except OSError:
        return ""
    return digest.of_bytes(repr(found).encode())
