"""Coverage over many tests that each ran alone: what each measured is kept with its pass, and put together.

The library coverage.py comes from the toolchain's environment, and so does the interpreter that reads its
data: nothing of what a test wrote is parsed here but a short list. Tests measure by the project's own
settings, in the first of .coveragerc, setup.cfg, tox.ini and pyproject.toml that has some.

What a test measured speaks of lines. It counts again with the test's pass only as long as all files that it
ran are as they were: a pass outlives an edit of a function that was never entered, line numbers do not.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias

from fairlead.build.cases import FOLDER
from fairlead.build.record.layout import OUTPUTS, Layout
from fairlead.build.stage import Environment, Stage
from fairlead.build.tree import Tree
from fairlead.errors import UsageError, WorkFailed
from fairlead.store import Store, digest

Kind: TypeAlias = Literal["report", "xml", "lcov", "html"]
DATA = f"{FOLDER}/coverage/data"
NAMESPACE = "coverage"

_SETTINGS = {
    ".coveragerc": "[",
    "setup.cfg": "[coverage:",
    "tox.ini": "[coverage:",
    "pyproject.toml": "[tool.coverage",
}
_MOST = 64 * 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """The file of the project that holds its settings of coverage; "" and nothing if there is none."""

    name: str = ""
    data: bytes = b""

    @classmethod
    def of(cls, tree: Tree) -> Settings:
        """The first file that coverage.py would take them from."""
        for name, table in _SETTINGS.items():
            if tree.kind(name) == "file":
                data = tree.read(name)
                if any(line.startswith(table) for line in data.decode("utf-8", "replace").splitlines()):
                    return cls(name, data)
        return cls()


@dataclass(frozen=True)
class Piece:
    """What one test measured: the digest of coverage's data, and for each path in it that is a file of the
    project, that file's path and digest."""

    data: str
    files: Mapping[str, tuple[str, str]]


class Coverage:
    """Measures the tests of one call. `pieces` are those of the tests that ran or passed before, by label."""

    def __init__(self, store: Store, tree: Tree) -> None:
        self.settings = Settings.of(tree)
        self.pieces: dict[str, Piece] = {}
        self._store = store
        self._tree = tree
        self._environment: Environment | None = None
        self._search: dict[str, None] = {}

    def prepare(self, label: str, environment: Environment, lock: str, argv: Sequence[str]) -> None:
        """Say that a test runs in that environment; UsageError if it lacks coverage.py."""
        if not any(environment.folder.glob("lib/python*/site-packages/coverage/__init__.py")):
            raise UsageError(
                f"{label} cannot be measured: its environment has no coverage.py",
                where=lock,
                remedy="add `coverage` to the requirements that this file is made from, and lock them again",
            )
        self._environment = environment
        words = [*argv]
        self._search |= {path: None for at, path in enumerate(words) if at and words[at - 1] == "--search"}

    # -- one test

    def given(self, stage: Stage) -> dict[str, str]:
        """What beside.py is told, so that it measures."""
        config = f"{FOLDER}/{self.settings.name}" if self.settings.name else ""
        if config:
            (stage.project / config).write_bytes(self.settings.data)
        return {
            "data": stage.seen(DATA),
            "config": config and stage.seen(config),
            "tree": stage.seen("").rstrip("/"),
        }

    def measured(self, stage: Stage, layout: Layout) -> Piece | None:
        """What a test has measured; None if it has not."""
        data = _bounded(stage.project / DATA)
        try:
            ran = json.loads(_bounded(stage.project / f"{DATA}.json"))["ran"]
            paths = [path for path in ran if isinstance(path, str)]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        files = {}
        for path in paths:
            source = _source(path, layout)
            if source.split("/")[0] != OUTPUTS and (now := self._digest(source)):
                files[f"{stage.seen('').rstrip('/')}/{path}"] = (source, now)
        return Piece(self._store.blobs.put(data), files)

    # -- with the passes

    def keep(self, label: str, key: str, piece: Piece, *, passed: bool) -> None:
        """Count what a test has measured; with its pass, for later calls too."""
        self.pieces[label] = piece
        if passed:
            value = {"data": piece.data, "files": {path: list(file) for path, file in piece.files.items()}}
            self._store.results.put(NAMESPACE, self._key(key), json.dumps(value).encode())

    def recall(self, label: str, key: str) -> bool:
        """Count what was measured with the pass at `key`; False if there is nothing that holds today."""
        found = self._store.results.get(NAMESPACE, self._key(key))
        if found is None:
            return False
        try:
            value = json.loads(found)
            files = {str(path): (str(file[0]), str(file[1])) for path, file in value["files"].items()}
            piece = Piece(str(value["data"]), files)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return False
        if not self._store.blobs.has(piece.data):
            return False
        if any(self._digest(path) != then for path, then in files.values()):
            return False
        self.pieces[label] = piece
        return True

    def _key(self, key: str) -> str:
        return digest.of_bytes(f"{key} {self.settings.name} ".encode() + self.settings.data)

    def _digest(self, path: str) -> str:
        return self._tree.digest(path) if self._tree.kind(path) == "file" else ""

    # -- all together

    def report(self, root: Path, kind: Kind, to: str, scratch: Path) -> Report:
        """Put all pieces together, in the folder `root` that holds the project, and write the report."""
        if self._environment is None:
            raise UsageError("no test here is run by pytest", where="--coverage")
        given = {
            "pieces": [
                {
                    "data": str(self._store.blobs.path(piece.data)),
                    "files": {path: source for path, (source, _) in piece.files.items()},
                }
                for _, piece in sorted(self.pieces.items())
            ],
            "config": self.settings.name,
            "search": list(self._search),
            "work": str(scratch),
            "kind": kind,
            "to": to,
        }
        program = resources.files("fairlead.build").joinpath("report_coverage.py").read_text("utf-8")
        python = str(self._environment.folder / "bin/python")
        done = subprocess.run(
            [python, "-I", "-c", program],
            input=json.dumps(given),
            cwd=root,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            said = json.loads(done.stdout)
            error = said.get("error")
        except (ValueError, AttributeError):
            said, error = {}, done.stderr.strip() or "it ended without a word"
        if error:
            raise WorkFailed(f"coverage.py made no report: {error}", where=self.settings.name)
        return Report(str(said["text"]), float(said["total"]), float(said["fail_under"]), str(said["to"]))


@dataclass(frozen=True)
class Report:
    """coverage.py's table, the total in percent, the least that the project's settings ask for, and the path
    that was written ("" for a table alone)."""

    text: str
    total: float
    fail_under: float
    to: str

    @property
    def enough(self) -> bool:
        """Whether the total is what the project asks for."""
        return self.total >= self.fail_under


def _source(path: str, layout: Layout) -> str:
    """The path in the project of what a test saw at `path`: in a link tree, where its entry comes from."""
    for tree, entries in layout.trees.items():
        if path.startswith(f"{tree}/"):
            return entries.get(path[len(tree) + 1 :], path)
    return path


def _bounded(path: Path) -> bytes:
    """A file that a test wrote; nothing if it is no plain file or too long."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _MOST:
        return b""
    return path.read_bytes()
