"""An edit: what stands in some files afterwards. It can be applied to a folder and taken back exactly.

Edits are values with a digest, so that what the oracle said of one is kept and found again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class File:
    """A regular file."""

    data: bytes
    executable: bool = False


@dataclass(frozen=True)
class Link:
    """A symbolic link, with its target as written."""

    target: str


Content = File | Link | None
"""What stands at a path; None is nothing."""

BODY = ("body return", "body operator", "body constant", "body statement")
"""The kinds that change nothing but the body of one function of the source."""


@dataclass(frozen=True)
class Edit:
    """`content` is by path from the project's top. `variables` are set in the environment of whoever calls
    the test runner. `pins` are the versions of distributions that a changed lock changes."""

    kind: str
    title: str
    content: Mapping[str, Content] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    pins: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The same for equal changes, whatever kind they are called."""
        made = hashlib.sha256()
        for path, content in sorted(self.content.items()):
            made.update(repr((path, content)).encode())
        made.update(repr(sorted(self.variables.items())).encode())
        return made.hexdigest()[:24]


def look(path: Path) -> Content:
    """What stands at `path` now."""
    if path.is_symlink():
        return Link(os.readlink(path))
    if path.is_file():
        return File(path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return None


def put(path: Path, content: Content) -> None:
    """Make `path` hold `content`."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    if content is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Link):
        path.symlink_to(content.target)
    else:
        path.write_bytes(content.data)
        path.chmod(0o755 if content.executable else 0o644)


@contextmanager
def applied(edit: Edit, root: Path) -> Iterator[None]:
    """The edit in the folder `root`, taken back at the end, with every folder that it made."""
    before = {path: look(root / path) for path in edit.content}
    made = [
        folder
        for path, content in edit.content.items()
        if content is not None
        for folder in (root / path).parents
        if not folder.exists()
    ]
    try:
        for path, content in edit.content.items():
            put(root / path, content)
        yield
    finally:
        for path, content in before.items():
            put(root / path, content)
        for folder in made:
            shutil.rmtree(folder, ignore_errors=True)
