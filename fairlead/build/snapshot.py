"""A project's files at one moment: what a test that may ask for anything is given, and compared by.

A snapshot is a tree of its own. A test runs in a copy of it (`view.py`) and its answers are taken from it, so
an editor that saves meanwhile changes neither. It holds all of the project but what no commit has: what tools
leave behind, their caches and environments, and folders with nothing in them. What it leaves out, a test in a
view does not find.
"""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.build.tree import FOLDER, LINK, NEVER, OTHER, REPOSITORY, LinkedTree, Tree
from fairlead.errors import UsageError
from fairlead.store import Blobs
from fairlead.store.digest import of_bytes as digest_of

_LEFT = frozenset(
    {
        *NEVER,
        *(
            "node_modules",
            "__pypackages__",
            ".tox",
            ".nox",
            ".eggs",
            ".venv",
            ".direnv",
            ".ipynb_checkpoints",
        ),
        *(".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".pytype", ".coverage"),
    }
)


class Snapshot(LinkedTree):
    """`files` are mode and SHA-256 by path, `links` where a symbolic link leads, `folders` all folders."""

    def __init__(
        self,
        files: Mapping[str, tuple[str, str]],
        links: Mapping[str, str],
        folders: frozenset[str],
        origin: Tree,
        blobs: Blobs,
    ) -> None:
        super().__init__()
        self.files, self.links, self.folders = files, links, folders
        self._origin = origin
        self._blobs = blobs
        self._listings: dict[str, dict[str, str]] = {folder: {} for folder in folders}
        self._listings.setdefault("", {})
        for path, (mode, digest) in files.items():
            self._note(path, mode)
            self._digests[path] = digest
        for path in links:
            self._note(path, LINK)
        for path in folders - {""}:
            self._note(path, FOLDER)

    def _note(self, path: str, mode: str) -> None:
        folder, _, name = path.rpartition("/")
        self._listings[folder][name] = mode

    @classmethod
    def take(cls, tree: Tree, blobs: Blobs) -> Snapshot:
        """All of `tree` but what tools leave behind."""
        modes: dict[str, str] = {}
        links: dict[str, str] = {}
        todo = [""]
        while todo:
            folder = todo.pop()
            entries = tree.entries(folder)
            for name, mode in entries.items():
                path = f"{folder}/{name}" if folder else name
                if name in _LEFT or name.endswith(".egg-info") or mode in (OTHER, REPOSITORY):
                    continue
                if mode == LINK:
                    target = tree.link(path)
                    if target is not None:
                        links[path] = target
                elif mode != FOLDER:
                    modes[path] = mode
                elif "pyvenv.cfg" not in tree.entries(path):
                    todo.append(path)
        digests = tree.digests(modes)
        folders = {""}
        for path in (*modes, *links):
            while (path := path.rpartition("/")[0]) not in folders:
                folders.add(path)
        files = {path: (mode, digests[path]) for path, mode in modes.items()}
        return cls(files, links, frozenset(folders), tree, blobs)

    def name(self) -> str:
        """A digest of all that it holds."""
        rows = [f"{mode} {digest} {path}" for path, (mode, digest) in self.files.items()]
        rows += [f"link {path} {target}" for path, target in self.links.items()]
        return digest_of("\n".join(sorted(rows)).encode("utf-8", "surrogateescape"))

    def size(self, path: str) -> int:
        found = self._resolve(path)
        if found is not None and self._blobs.has(self._digests.get(found[0], "")):
            return self._blobs.path(self._digests[found[0]]).stat().st_size
        return len(self.read(path))

    def _entries(self, folder: str) -> Mapping[str, str]:
        return self._listings.get(folder, {})

    def _target(self, path: str) -> str:
        return self.links[path]

    def _read(self, path: str) -> bytes:
        digest = self._digests[path]
        if self._blobs.has(digest):
            return self._blobs.get(digest)
        data = self._origin.read(path)
        if self._blobs.put(data) != digest:
            raise UsageError(f"{path} was changed while it was read", where=path, remedy="run it again")
        return data
