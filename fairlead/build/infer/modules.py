"""Which of the project's files an import may load.

A name is looked for from every folder that may be on the search path, and all that fit are taken: which one
Python would choose depends on the order of the path, and the others decide whether it is chosen. Folders
without `__init__.py` are packages too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from fairlead.build.infer.imports import Facts, Import

INIT = "__init__.py"


class Modules:
    """The Python files of a project, by path."""

    def __init__(self, files: Iterable[str]) -> None:
        self.files = frozenset(path for path in files if path.endswith(".py"))
        self.folders: dict[str, list[str]] = {}
        self._loads: dict[tuple[str, ...], dict[str, frozenset[str]]] = {}
        self._from: dict[tuple[str, str], frozenset[str]] = {}
        self._names: dict[str, frozenset[str]] = {}
        self._relative: dict[str, set[str]] = {}
        self._top: dict[str, frozenset[str]] = {}
        self._below: dict[str, list[str]] = {}
        known: set[str] = set()
        for path in sorted(self.files):
            folder = path.rpartition("/")[0]
            self.folders.setdefault(folder, []).append(path)
            while folder and folder not in known:
                known.add(folder)
                parent = folder.rpartition("/")[0]
                self.folders.setdefault(parent, [])
                self._below.setdefault(parent, []).append(folder)
                folder = parent

    def inits(self, path: str) -> list[str]:
        """The `__init__.py` that are run before the file `path` as part of a package: those of its folder
        and the folders above, as long as there is one."""
        found = []
        folder = path.rpartition("/")[0]
        while _join(folder, INIT) in self.files:
            found.append(_join(folder, INIT))
            if not folder:
                break
            folder = folder.rpartition("/")[0]
        return found

    def base(self, path: str) -> str:
        """The folder that pytest puts on the search path for the file `path`: the first without
        `__init__.py`."""
        folder = path.rpartition("/")[0]
        while folder and _join(folder, INIT) in self.files:
            folder = folder.rpartition("/")[0]
        return folder

    def named(self, module: str, folder: str) -> list[str]:
        """The files that importing `module` from `folder` loads, packages above it included; none if there
        is no such module."""
        found: list[str] = []
        at = folder
        for part in module.split(".") if module else ():
            inside = _join(at, part)
            here = [p for p in (_join(inside, INIT), f"{inside}.py") if p in self.files]
            if not here and inside not in self.folders:
                return found  # a longer name than there is a module: the rest is an attribute
            found += here
            at = inside
        return found

    def imported(self, what: Import, by: str, folders: Iterable[str]) -> Iterator[str]:
        """The files that an import in the file `by` may load; `folders` may be on the search path."""
        if what.level:
            start = by.rpartition("/")[0]
            for _ in range(what.level - 1):
                start = start.rpartition("/")[0]
            starts: Iterable[str] = (start,)
            if _join(start, INIT) in self.files:
                yield _join(start, INIT)
        else:
            starts = folders
        for folder in starts:
            yield from self.named(what.module, folder)
            package = "/".join((folder, *what.module.split("."))).strip("/") if what.module else folder
            for name in what.names:
                if name == "*":
                    yield from self.folders.get(package, ())
                else:
                    yield from self.named(f"{what.module}.{name}" if what.module else name, folder)

    def closure(
        self, start: Iterable[str], facts: Mapping[str, Facts], folders: Iterable[str]
    ) -> tuple[str, ...]:
        """`start` and every file of the project that is loaded with it, sorted."""
        folders = tuple(dict.fromkeys(folders))
        known = self._loads.setdefault(folders, {})
        done: set[str] = set()
        todo = [path for path in start if path in self.files]
        while todo:
            path = todo.pop()
            if path in done:
                continue
            done.add(path)
            loaded = known.get(path)
            if loaded is None:
                loaded = known[path] = self._direct(path, facts[path], folders)
            todo += loaded - done
        return tuple(sorted(done))

    def _direct(self, path: str, said: Facts, folders: tuple[str, ...]) -> frozenset[str]:
        """What the file `path` itself loads. Each file is looked at once for each folder of the search path,
        since most tests of a project share most of these; and only for names that the folder has."""
        found = set(self.inits(path))
        if path not in self._names:
            self._names[path] = _first_names(said)
            self._relative[path] = {
                file for what in said.imports if what.level for file in self.imported(what, path, ())
            }
        found |= self._relative[path]
        for folder in folders:
            if not self._names[path].isdisjoint(self._tops(folder)):
                found |= self._absolute(path, said, folder)
        return frozenset(found)

    def _absolute(self, path: str, said: Facts, folder: str) -> frozenset[str]:
        """What the file's absolute imports, plugins and texts lead to from one folder."""
        key = (path, folder)
        if key not in self._from:
            found: set[str] = set()
            for what in said.imports:
                if not what.level:
                    found.update(self.imported(what, path, (folder,)))
            for name in (*said.dotted, *said.plugins):
                found.update(self.named(name, folder))
            self._from[key] = frozenset(found)
        return self._from[key]

    def _tops(self, folder: str) -> frozenset[str]:
        """The names of modules and packages that stand directly in a folder."""
        if folder not in self._top:
            inside = (path.rpartition("/")[2].removesuffix(".py") for path in self.folders.get(folder, ()))
            below = (name.rpartition("/")[2] for name in self._below.get(folder, ()))
            self._top[folder] = frozenset((*inside, *below))
        return self._top[folder]


def _first_names(said: Facts) -> frozenset[str]:
    """The first parts of all names that a file may ask for by their whole."""
    names = [what.module for what in said.imports if not what.level]
    return frozenset(name.partition(".")[0] for name in (*names, *said.dotted, *said.plugins))


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
