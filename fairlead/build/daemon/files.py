"""What the files of a project hold, kept true by a watcher.

Each folder that a command asks about is watched from before the moment it is first looked at, and so are the
folders in it (a `.git` that appears there makes it another project's). What was seen is the answer until an
event says otherwise; then only what the event names is looked at again. An event after which everything is
as before, such as an editor's temporary file, changes nothing.

`changes` lists what has come to differ: whoever remembers how far they have read it need not compare the
rest. The number `age` goes up when all was forgotten, and with it what anybody remembers.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from fairlead.build.daemon import watcher
from fairlead.build.daemon.watcher import Changes, Watcher
from fairlead.build.tree import FOLDER, NEVER, REPOSITORY, DiskTree
from fairlead.errors import MachineryError
from fairlead.store.results import Results

Change: TypeAlias = tuple[Literal["folder", "file", "output"], str]
"""A folder whose names or modes differ, a path where a file or a link differs, or one of outputs at or below
which something has happened."""

OUT = "fairlead-out"
_MANY = 50_000
"""Changes after which it is cheaper to look at everything again than to go through them."""


class Files:
    """The files below `root`. One thread uses it. It is of no use for a further command if it is `deaf`, for
    the system lets us watch no more folders, or if the project no longer `stands` there."""

    def __init__(self, root: Path, results: Results) -> None:
        self.root = root
        self.age = 0
        self.changes: list[Change] = []
        self.stands = True
        self.deaf = False
        self._results = results
        self._identity = _identity(root)
        self._mounted = watcher.mounted(root)
        self._disk = DiskTree(root, results)
        self._folders: dict[str, Mapping[str, str]] = {}
        self._links: dict[str, str] = {}
        self._digests: dict[str, str] = {}
        self._watcher = Watcher(root)
        self._watcher.add("")

    @property
    def watched(self) -> int:
        """How many folders are watched."""
        return len(self._watcher)

    def view(self) -> LiveTree:
        """A tree for one command."""
        return LiveTree(self)

    def end(self) -> None:
        """Stop watching."""
        self._watcher.end()

    # -- what a tree asks

    def entries(self, folder: str) -> Mapping[str, str]:
        """Name -> git mode of what is in a real folder."""
        found = self._folders.get(folder)
        if found is None:
            watched = self._hear(folder)
            found = self._disk._scan(folder)
            for name, mode in found.items():
                if mode in (FOLDER, REPOSITORY) and name not in NEVER:
                    self._hear(f"{folder}/{name}" if folder else name)
            if watched:
                self._folders[folder] = found
        return found

    def _hear(self, folder: str) -> bool:
        try:
            return self._watcher.add(folder)
        except watcher.Full:
            self.deaf = True
            return False

    def knows(self, folder: str) -> bool:
        """Whether what happens in the folder is heard."""
        return folder in self._folders

    def target(self, path: str) -> str:
        """Where a link leads."""
        if path not in self._links:
            self._links[path] = os.readlink(self.root / path)
        return self._links[path]

    def digests(self, reals: Iterable[str]) -> dict[str, str]:
        """Real path -> SHA-256."""
        wanted = list(reals)
        new = [real for real in wanted if real not in self._digests]
        if new:
            self._disk._began = time.time_ns()
            for real in new:
                if real not in self._disk._states:  # it was no file when its folder was looked at
                    self._disk._states[real] = os.lstat(self.root / real)
            self._digests.update(self._disk._look(new))
            for real in new:  # an event says when they change: their states are of no more use
                self._disk._states.pop(real, None)
        return {real: self._digests[real] for real in wanted}

    @property
    def states(self) -> dict[str, os.stat_result]:
        """Real path -> state, of all files in folders that were asked about."""
        return self._disk._states

    # -- what has happened

    def refresh(self) -> None:
        """Take in all that has happened until now."""
        if _identity(self.root) != self._identity:
            self.stands = False
            return
        mounted = watcher.mounted(self.root)
        found = self._watcher.take()
        if found.lost or mounted != self._mounted or len(self.changes) > _MANY:
            self._mounted = mounted
            self.forget()
        elif found:
            self._apply(found)

    def forget(self) -> None:
        """Know nothing any more, and begin to watch again."""
        self.age += 1
        self._watcher.end()
        self._watcher = Watcher(self.root)
        self._watcher.add("")
        self._disk = DiskTree(self.root, self._results)
        self._folders, self._links, self._digests = {}, {}, {}
        self.changes = []

    def watch(self, folder: str) -> bool:
        """Hear of what happens in a folder of outputs; whether it is there."""
        return self._watcher.add(folder)

    def _apply(self, found: Changes) -> None:
        listings: dict[str, None] = {}
        files: dict[str, None] = {}
        gone: set[str] = set()
        outputs: dict[str, None] = {}
        for folder, names in found.folders.items():
            prefix = f"{folder}/" if folder else ""
            if folder == OUT or folder.startswith(OUT + "/"):
                for name, mask in names.items():
                    outputs[prefix + name if name else folder] = None
                    if mask & (watcher.IGNORED | watcher.MOVE_SELF):
                        gone.add(folder)
                    elif mask & watcher.IS_FOLDER and mask & watcher.LISTING & ~watcher.ATTRIB:
                        gone.add(prefix + name)
                continue
            for name, mask in names.items():
                if not name:
                    if mask & (watcher.IGNORED | watcher.MOVE_SELF | watcher.UNMOUNT | watcher.DELETE_SELF):
                        gone.add(folder)
                        listings[folder.rpartition("/")[0]] = None
                    continue
                if name == ".git":
                    listings[folder.rpartition("/")[0]] = None
                # A folder may have been a file a moment ago: the bits are of all that was there.
                if mask & watcher.IS_FOLDER and mask & watcher.LISTING & ~watcher.ATTRIB:
                    gone.add(prefix + name)
                    listings[folder] = None
                elif mask & watcher.IS_FOLDER:
                    continue  # its mode is of no account
                elif mask & watcher.LISTING:
                    listings[folder] = None
                files[prefix + name] = None
        for path in gone:
            if path:
                self._drop(path)
        for folder in listings:
            self._look_at_folder(folder)
        for path in files:
            self._look_at_file(path)
        self.changes += [("output", path) for path in outputs]

    def _drop(self, path: str) -> None:
        """A folder is not the one that it was: forget it with all that lies in it."""
        self._watcher.forget(path)
        inside = path + "/"
        for known in [one for one in self._folders if one == path or one.startswith(inside)]:
            old = self._folders.pop(known)
            self.changes.append(("folder", known))
            for name in old:
                self._forget_file(f"{known}/{name}")

    def _forget_file(self, path: str) -> None:
        known = path in self._digests or path in self._links
        self._digests.pop(path, None)
        self._links.pop(path, None)
        self._disk._states.pop(path, None)
        if known:
            self.changes.append(("file", path))

    def _look_at_folder(self, folder: str) -> None:
        old = self._folders.pop(folder, None)
        if old is None:
            return
        for name in old:
            self._disk._states.pop(f"{folder}/{name}" if folder else name, None)
        new = self.entries(folder)
        if new != old:
            self.changes.append(("folder", folder))
        for name in old.keys() - new.keys():
            self._forget_file(f"{folder}/{name}" if folder else name)

    def _look_at_file(self, path: str) -> None:
        link, name = self._links.pop(path, None), self._digests.pop(path, None)
        self._disk._states.pop(path, None)
        try:
            state = os.lstat(self.root / path)
            if stat.S_ISREG(state.st_mode):
                self._disk._states[path] = state
            now = self.target(path) if link is not None and stat.S_ISLNK(state.st_mode) else None
            same = now == link
            if name is not None:
                same = same and stat.S_ISREG(state.st_mode) and self.digests([path])[path] == name
        except (OSError, MachineryError):
            same = link is None and name is None
        if not same:
            self.changes.append(("file", path))


def _identity(root: Path) -> tuple[int, int] | None:
    try:
        seen = os.stat(root)
    except OSError:
        return None
    return seen.st_dev, seen.st_ino


class LiveTree(DiskTree):
    """The tree of one command: it answers from what is known, and notes what it was asked."""

    def __init__(self, files: Files) -> None:
        super().__init__(files.root, files._results)
        self._files = files
        self._states = files.states

    def _forget(self) -> None:
        for memory in (self._folders, self._resolved, self._links, self._reads):
            memory.clear()
        self._digests.clear()

    def _scan(self, folder: str) -> Mapping[str, str]:
        return self._files.entries(folder)

    def _target(self, path: str) -> str:
        found = self._links[path] = self._files.target(path)
        return found

    def _look(self, reals: Iterable[str]) -> dict[str, str]:
        try:
            return self._files.digests(reals)
        except OSError as error:
            where = str(error.filename or self.root)
            raise MachineryError(f"cannot read the file: {error.strerror}", where=where) from None
