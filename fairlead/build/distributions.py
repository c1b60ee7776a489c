"""What is installed in a toolchain's environment, by distribution: of another version only those tests run
again that used it.

A distribution's digest is that of its RECORD, where an installer lists every file with its hash (PyPA
specifications, "Recording installed projects"). Which distributions a test used is read off the files that it
opened. Three things concern every test, used or not: which distributions there are with their entry points,
for pytest and others look through all of them; which names can be imported, since a new one may shadow
another; and the .pth files, which run when Python starts.
"""

from __future__ import annotations

import csv
import functools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.build import roots
from fairlead.build.record.asked import Asked
from fairlead.build.stage import Environment
from fairlead.errors import MachineryError
from fairlead.store import Store, digest

NAMESPACE = "installed-3"
_ALL = "/site-packages/pkg_resources/"
"""In a path, the module that reads the version of everything off the names of folders."""

_QUIET = frozenset({"entry_points.txt"})
"""Of a dist-info folder, what each look through all distributions opens."""


@dataclass(frozen=True)
class Installed:
    """`common` concerns every test. `dists`: name -> digest. `owners`: path in the environment -> name.
    `others` are files in site-packages that nobody owns."""

    common: str
    dists: Mapping[str, str]
    owners: Mapping[str, str] = field(repr=False)
    others: frozenset[str] = field(default=frozenset(), repr=False)

    @classmethod
    def of(cls, environment: Environment, store: Store) -> Installed:
        """What the environment holds; it never changes, so it is read once."""
        known = store.results.get(NAMESPACE, environment.key)
        if known is not None:
            try:
                common, dists, owners, others = json.loads(store.blobs.get(known.decode()))
                return cls(common, dists, owners, frozenset(others))
            except (MachineryError, ValueError, TypeError):  # lost or damaged
                store.results.delete(NAMESPACE, environment.key)
        found = _read(environment.folder)
        parts = [found.common, dict(found.dists), dict(found.owners), sorted(found.others)]
        data = json.dumps(parts).encode()
        store.results.put(NAMESPACE, environment.key, store.blobs.put(data).encode())
        return found

    def used(self, asked: Asked) -> frozenset[str] | None:
        """The distributions whose files were asked for, by paths in the environment; None if what was asked
        for belongs to none, so that all of it counts."""
        found: set[str] = set()
        for path in asked.paths():
            if path in self.owners:
                found.add(self.owners[path])
            elif path in self._folders:
                found |= self._folders[path]
            elif path in asked.opened and path in self.others:
                return None
        return frozenset(self.dists) if any(_ALL in path for path in asked.opened) else frozenset(found)

    @functools.cached_property
    def _folders(self) -> Mapping[str, frozenset[str]]:
        """Folder inside of site-packages -> those who have files below it."""
        found: dict[str, set[str]] = {}
        for path, name in self.owners.items():
            parts = path.split("/")
            for length in range(4, len(parts)):
                if parts[length - 1] != "__pycache__":
                    found.setdefault("/".join(parts[:length]), set()).add(name)
        return {folder: frozenset(names) for folder, names in found.items()}


def _read(folder: Path) -> Installed:
    owners: dict[str, str] = {}
    dists: dict[str, str] = {}
    common: list[str] = []
    for site in sorted(folder.glob("lib/python*/site-packages")):
        inside = site.relative_to(folder)
        for entry in sorted(site.iterdir()):
            if entry.suffix == ".pth":
                own = entry.name == roots.NAME  # what it says is ours, and no part of what is installed
                common.append(f"pth {entry.name} {digest.EMPTY if own else digest.of_file(entry)}")
            if entry.suffix != ".dist-info":
                common.append(f"name {entry.name}")
                continue
            name = entry.name.partition("-")[0].lower()
            points = entry / "entry_points.txt"
            common.append(f"dist {name} {digest.of_file(points) if points.is_file() else ''}")
            record = entry / "RECORD"
            text = record.read_text("utf-8", "replace") if record.is_file() else ""
            rows = [row for row in csv.reader(text.splitlines()) if row]
            for row in rows:
                _own(owners, str(inside), row[0], name, quiet=entry.name)
            # A script's hash is that of a text with the environment's own path in it.
            parts = sorted(row[0] if row[0].startswith("../../../bin/") else ",".join(row) for row in rows)
            dists[name] = digest.of_bytes("\n".join([entry.name, *parts]).encode())
    there = {
        os.path.relpath(os.path.join(base, name), folder)
        for site in folder.glob("lib/python*/site-packages")
        for base, _, names in os.walk(site)
        for name in names
        if not (base.endswith(".dist-info") and name in _QUIET)
    }
    others = frozenset(path for path in there - owners.keys() if not path.endswith((".pyc", ".pth")))
    return Installed(digest.of_bytes("\n".join(common).encode()), dists, owners, others)


def _own(owners: dict[str, str], inside: str, path: str, name: str, *, quiet: str) -> None:
    """Note whose a file is, and the bytecode that we compile of it; what says so of a script too."""
    parts = [*inside.split("/")]
    for part in path.split("/"):
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    if parts[-2] == quiet and parts[-1] in _QUIET:
        return
    owners["/".join(parts)] = name
    stem, dot, kind = parts[-1].rpartition(".")
    if dot and kind == "py":
        for tag in _tags(parts):
            owners["/".join([*parts[:-1], "__pycache__", f"{stem}.{tag}.pyc"])] = name


def _tags(parts: list[str]) -> list[str]:
    """The tag of the bytecode beside a module of lib/python3.N."""
    version = next((part for part in parts if part.startswith("python3.")), "")
    return [f"cpython-{version.removeprefix('python').replace('.', '')}"] if version else []
