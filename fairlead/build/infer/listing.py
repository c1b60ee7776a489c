"""Which files inference looks at: all of the repository but what tools leave behind.

Not entered: folders with a BUCK file (its package owns them), hidden folders at the top, environments
(folders with a pyvenv.cfg), what installers and other languages unpack, and what `build.ignore` names. A test
that needs one of these does not find it.
"""

from __future__ import annotations

from collections.abc import Callable

from fairlead.build.leftout import LeftOut
from fairlead.build.tree import Tree

_LEFT = ("node_modules", "__pypackages__")


def files(tree: Tree, is_apart: Callable[[str], bool]) -> tuple[str, ...]:
    """The files of the tree, sorted. `is_apart` says of a path that it is no part of the root's package."""
    found: list[str] = []
    left = LeftOut.of(tree)
    todo = [""]
    while todo:
        folder = todo.pop()
        for name in tree.list(folder):
            path = f"{folder}/{name}".lstrip("/")
            if is_apart(path) or left.ignores(path):
                continue
            kind = tree.kind(path)
            if kind == "file":
                found.append(path)
            elif kind == "folder" and not _is_left(tree, path, name, folder):
                todo.append(path)
    return tuple(sorted(found))


def _is_left(tree: Tree, path: str, name: str, folder: str) -> bool:
    hidden = name.startswith(".") and not folder
    return hidden or name in _LEFT or name.endswith(".egg-info") or tree.kind(f"{path}/pyvenv.cfg") == "file"
