"""Where a comment made on one version of a diff stands on another.

`ship.anchor` has the rule; this module fetches what the rule needs from git: the file's new name and the
lines that changed between the two trees, of that one file.  A comment on the old side is about the parent's
tree, so there it is parents that are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from fairlead.git import Repo
from fairlead.serve.records.values import Anchor, Version
from fairlead.ship import anchor as rule
from fairlead.ship import hunks
from fairlead.ship.linemap import LineMap, count


@dataclass(frozen=True)
class Placed:
    """Lines of a file on the version asked for; `path` and lines are the original ones if it is gone."""

    fate: Literal["placed", "changed", "gone"]
    path: str
    start: int
    end: int


def place(repo: Repo, anchor: Anchor, made_on: Version, shown: Version) -> Placed:
    """Carry an anchor from the version it was made on to the version that is shown."""
    if made_on.n == shown.n:
        return Placed("placed", anchor.path, anchor.start, anchor.end)
    old, new = (made_on.commit, shown.commit) if anchor.side == "new" else (made_on.parent, shown.parent)
    path, lines = _map(repo.path, old, new, anchor.path)
    found = rule.port(rule.Anchor(anchor.path, anchor.start, anchor.end), lines, path)
    if found.anchor is None:
        return Placed("gone", anchor.path, anchor.start, anchor.end)
    return Placed(found.fate, found.anchor.path, found.anchor.start, found.anchor.end)


@lru_cache(maxsize=1024)  # commits never change, so neither does an answer
def _map(where: Path, old: str, new: str, path: str) -> tuple[str | None, LineMap | None]:
    """What file `path` of `old` is called in `new`, and the map of its lines; (None, None) if it is gone."""
    repo = Repo(where)
    change = next((c for c in repo.changes(old, new, renames=True) if c.old_path == path), None)
    if change is None:
        blob = repo.ref(f"{old}:{path}")
        return (path, LineMap.same(count(repo.blob(blob)))) if blob else (None, None)
    if change.status == "D" or not all(mode.startswith("100") for mode in (change.old_mode, change.new_mode)):
        return None, None
    sides = dict(repo.blobs([change.old_blob, change.new_blob]))
    names = [f":(literal){name}" for name in dict.fromkeys((change.old_path, change.path))]
    files = hunks.parse(repo.patch(old, new, context=0, paths=names))
    file = next((f for f in files if f.new_path == change.path), None)
    old_lines, new_lines = count(sides[change.old_blob]), count(sides[change.new_blob])
    if file is None:  # only its mode or name changed
        return change.path, LineMap.same(new_lines)
    if file.binary:  # or too large to compare by lines
        return None, None
    return change.path, LineMap.of(file, old_lines, new_lines)
