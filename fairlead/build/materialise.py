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
from collections.abc import Iterable, Sequence
from pathlib import Path

from fairlead.build import manifest
from fairlead.build.manifest import Folder, Manifest
from fairlead.errors import UsageError
from fairlead.store import Store, atomic, crashpoint, digest

_TEMP = ".fairlead-tmp-"  # not what a rule would call an output

BEFORE_SWAP = crashpoint.declare(
    "build.output.before-swap", "a new output is complete beside the old one in fairlead-out"
)


def materialise(root: Path, path: str, content: Manifest, store: Store) -> bool:
    """Make `root/path` hold `content`; whether anything had to be written.

    UsageError if a folder on the way is a symbolic link (an output must not land outside the project),
    MachineryError if the disk is full; the old output then stays.
    """
    target = root / path
    name = manifest.digest(content)
    names = [*sorted(content.entries)] if isinstance(content, Folder) else None
    if _known(root, path, store) == [name, state(target, names), names]:
        return False
    _make_folders(root, Path(path).parent)
    for stale in os.listdir(target.parent):
        if stale.startswith(_TEMP):  # of a killed run: the store is ours alone now
            atomic.remove(target.parent / stale)
    temp = target.with_name(f"{_TEMP}{secrets.token_hex(8)}")
    try:
        manifest.place(content, temp, store.blobs, link=False, called=target)
        crashpoint.here(BEFORE_SWAP)
        if isinstance(content, Folder) or target.is_dir():
            atomic.remove(target)
        os.replace(temp, target)
        signature = state(target, names)  # not before: the rename is a change of the file too
    except OSError as error:
        raise manifest.unplaced(error, "write", target) from error
    finally:
        if os.path.lexists(temp):
            atomic.remove(temp)
    store.results.put("placed", str(target), json.dumps([name, signature, names]).encode())
    return True


def placed(root: Path, paths: Iterable[str], store: Store) -> dict[str, tuple[list[str] | None, str]]:
    """For outputs that stand in their places: path -> names inside (None for a file), and their state."""
    rows = store.results.get_many("placed", [str(root / path) for path in paths])
    found = {}
    for place, row in rows.items():
        _, signature, names = json.loads(row)
        found[str(Path(place).relative_to(root))] = (names, signature)
    return found


def _known(root: Path, path: str, store: Store) -> object:
    data = store.results.get("placed", str(root / path))
    try:
        return None if data is None else json.loads(data)
    except ValueError:
        return None


def _make_folders(root: Path, folder: Path) -> None:
    at = str(root)
    for part in folder.parts:
        at = f"{at}/{part}"
        try:
            mode = os.lstat(at).st_mode
        except OSError:
            mode = 0
        if stat.S_ISLNK(mode):
            raise UsageError(
                f"{os.path.relpath(at, root)} is a symbolic link, so outputs would land outside the project",
                where=at,
                remedy="remove the link; FAIRLEAD_STORE_DIR moves the store to another disk",
            )
        if stat.S_ISDIR(mode):
            continue
        try:
            os.mkdir(at)
        except OSError as error:
            raise manifest.unplaced(error, "make the folder", Path(at)) from error


def state(target: Path, names: Sequence[str] | None) -> str:
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
