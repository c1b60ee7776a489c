"""Source files as the build sees them: identity for keys, bytes for stages, from whatever tree they live in.

A source goes into the store before anything reads it, under the digest that the keys were computed from. An
editor that saves while a build runs thus cannot give an action other bytes than its key says: the digest
differs and the build stops, rather than recording an answer to another question.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from fairlead.build.manifest import File
from fairlead.build.tree import EXECUTABLE, Tree
from fairlead.errors import WorkFailed
from fairlead.store import Blobs
from fairlead.store.digest import of_file as digest_of_file


class Sources:
    """The sources of one build, each looked at once. Used by several threads."""

    def __init__(self, tree: Tree, blobs: Blobs) -> None:
        self._tree = tree
        self._blobs = blobs
        self._lock = threading.Lock()
        self._identity: dict[str, tuple[str, str]] = {}
        self._files: dict[str, File] = {}

    def prepare(self, paths: Iterable[str]) -> None:
        """Compute the digests of many sources at once."""
        with self._lock:
            new = [path for path in paths if path not in self._identity]
            for path, digest in self._tree.digests(new).items():
                self._identity[path] = (self._tree.mode(path), digest)

    def identity(self, path: str) -> tuple[str, str]:
        """Mode and digest of a source, as keys hold them."""
        if path not in self._identity:
            self.prepare([path])
        return self._identity[path]

    def file(self, path: str) -> File:
        """The source as a blob in the store; WorkFailed if it has changed since its key was computed."""
        mode, digest = self.identity(path)
        with self._lock:
            if path not in self._files:
                self._files[path] = File(digest, self._put(path, digest), mode == EXECUTABLE)
            return self._files[path]

    def forget(self) -> None:
        """Look again whether the store has them: it has lost something."""
        with self._lock:
            self._files.clear()

    def _put(self, path: str, digest: str) -> int:
        """Make sure that the source's bytes are in the store; their number."""
        known = self._blobs.path(digest)
        if self._blobs.has(digest):
            if digest_of_file(known) == digest:
                return known.stat().st_size
            known.unlink()  # a power cut may leave a file without its bytes
        data = self._tree.read(path)
        if self._blobs.put(data) != digest:
            raise WorkFailed(f"{path} was changed while it was being built", where=path, remedy="build again")
        return len(data)
