"""The folder in which tests see the whole project: a copy of a snapshot, kept up to date from run to run.

A test that may ask for anything cannot be given a list of files. It gets all, at their own paths, and what it
asked for is noted. The copy is shared by all tests of a call and none can change it: each writes into a layer
of its own, which is thrown away (`Bind(overlay=True)`).

Only what differs from the snapshot before is written. Files are copies with one time and the modes that git
knows; hard links to the store's blobs would show its own read-only modes. Large ones are hard links to the
project's own files, which tests cannot change either: they keep their times. (Binds would take a mount a file
and run, and could not be renamed or removed by a test.) Python's bytecode stands beside the
sources, as it does in any work tree, with the source's hash inside, so that a source that a test rewrites is
compiled again. It is derived from the sources, and no part of what a test depends on.
"""

from __future__ import annotations

import marshal
import os
import stat
import subprocess
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

from fairlead.build.manifest import EPOCH
from fairlead.build.snapshot import Snapshot
from fairlead.build.stage import PROJECT, Environment
from fairlead.build.tree import EXECUTABLE
from fairlead.store import Blobs, atomic
from fairlead.store.digest import is_digest

OUTPUTS = "fairlead-out"
_CACHE = "__pycache__"
_VERSION = 3
"""Of what is made of a snapshot: a copy by another version is made anew."""

_COMPILE = 600.0
"""Seconds after which compiling is given up: tests then compile for themselves."""


class View:
    """The copy at `root`/files. One process at a time may write it: the holder of the store's lock."""

    def __init__(self, root: Path, blobs: Blobs) -> None:
        self.root = root
        self.files = root / "files"
        self._index = root / "index"
        self._blobs = blobs

    def show(self, snapshot: Snapshot) -> None:
        """Make the copy equal to `snapshot`; MachineryError if the disk is full or a blob is damaged.

        The index is away while the copy is neither the old nor the new one: a killed run leaves none, and the
        next begins with nothing.
        """
        before = self._read_index()
        if before is not None and not all(self._stands(path, state) for path, state in before.items()):
            before = None
        now = _state(snapshot)
        if before == now:
            return
        try:
            if before is None:
                atomic.remove(self.root)
                (self.files / OUTPUTS).mkdir(parents=True)
                before = {}
            self._index.unlink(missing_ok=True)
            other = [path for path in before.keys() | now.keys() if before.get(path) != now.get(path)]
            shared = {path for path in other if self._is_shared(path, before, snapshot)}
            self._remove([path for path in other if path in before and path not in shared], now)
            for path in sorted(path for path in other if path in now and path not in shared):
                self._place(path, now[path], snapshot)
        except OSError as error:
            raise atomic.failed(error, "write", self.files) from error
        atomic.write(self._index, marshal.dumps((_VERSION, _state(snapshot))))

    def _stands(self, path: str, state: tuple[str, str]) -> bool:
        """Whether at `path` is still what was put there: somebody may have cleaned up, or written to it. Then
        a test would see other files than those that it is judged by. A large file is the project's own."""
        try:
            seen = os.lstat(self.files / path)
        except OSError:
            return False
        if state[0] == "folder":
            return stat.S_ISDIR(seen.st_mode)
        if state[0] == "link":
            return stat.S_ISLNK(seen.st_mode)
        large = not is_digest(state[1])
        return stat.S_ISREG(seen.st_mode) and (large or seen.st_mtime_ns == EPOCH * 10**9)

    def _is_shared(self, path: str, before: Container[str], snapshot: Snapshot) -> bool:
        """Whether what is here is the project's own large file, whatever has become of it."""
        return path in before and snapshot.is_large(path) and snapshot.is_shared(path, self.files / path)

    def compile(self, snapshot: Snapshot, environment: Environment) -> None:
        """Byte-compile the packages with an environment's interpreter, as far as they compile. Other folders
        get no __pycache__: a test that lists its own data would find one there."""
        done = self.root / f"compiled-{environment.key[:16]}"
        try:
            known: Mapping[str, str] = marshal.loads(done.read_bytes())
        except (OSError, ValueError, EOFError, TypeError):
            known = {}
        packages = {path.rpartition("/")[0] for path in snapshot.files if path.endswith("/__init__.py")}
        now = {
            path: digest
            for path, (_, digest) in snapshot.files.items()
            if path.endswith(".py") and path.rpartition("/")[0] in packages
        }
        new = [path for path, digest in now.items() if known.get(path) != digest]
        if now.keys() == known.keys() and not new:
            return
        command = [str(environment.folder / "bin/python"), "-I", "-S", "-m", "compileall", "-qq", "-l"]
        command += ["--invalidation-mode", "checked-hash", "-s", str(self.files), "-p", PROJECT, "-i", "-"]
        listing = "".join(f"{self.files / path}\n" for path in new if "\n" not in path)
        try:
            subprocess.run(
                command,
                input=listing.encode("utf-8", "surrogateescape"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_COMPILE,
                check=False,  # a source for another Python, or a broken one: whoever imports it will say so
            )
        except (OSError, subprocess.TimeoutExpired):
            return
        atomic.write(done, marshal.dumps(now))

    def _read_index(self) -> dict[str, tuple[str, str]] | None:
        try:
            version, found = marshal.loads(self._index.read_bytes())
            return dict(found) if version == _VERSION else None
        except (OSError, ValueError, EOFError, TypeError):
            return None

    def _remove(self, paths: Iterable[str], now: Container[str]) -> None:
        """Take paths away, what is inside of a folder before it; with a source what was compiled from it."""
        for path in sorted(paths, reverse=True):
            at = self.files / path
            if at.is_dir() and not at.is_symlink():
                atomic.remove(at / _CACHE)
                at.rmdir()
                continue
            at.unlink()
            if at.name == "__init__.py" and path not in now:  # it is no package any more
                atomic.remove(at.parent / _CACHE)
            elif path.endswith(".py"):
                for compiled in at.parent.glob(f"{_CACHE}/{_escaped(at.stem)}.*.pyc"):
                    compiled.unlink()

    def _place(self, path: str, state: tuple[str, str], snapshot: Snapshot) -> None:
        at, (mode, what) = self.files / path, state
        if mode == "folder":
            at.mkdir()
        elif mode == "link":
            at.symlink_to(what)
        else:
            snapshot.place(path, at, share=True)
            if snapshot.is_large(path):
                return
            at.chmod(0o755 if mode == EXECUTABLE else 0o644)
            os.utime(at, (EPOCH, EPOCH))


def _state(snapshot: Snapshot) -> dict[str, tuple[str, str]]:
    """Path -> what stands there: a file's mode and digest or state, a link's target, a folder."""
    state = {path: ("folder", "") for path in snapshot.folders if path}
    state.update((path, ("link", target)) for path, target in snapshot.links.items())
    state.update(snapshot.files)
    return state


def _escaped(text: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)
