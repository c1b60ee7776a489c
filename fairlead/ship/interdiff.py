"""What changed from one version of a diff to another, without what only the base brought.

Two versions on one base are compared directly. On different bases the older version is merged, in the
object store, onto the newer one's base; the difference from *that* tree to the newer version is what the
author did. Edits that the plain comparison shows and this one does not came from the base: they are
counted and not shown. If the older version does not merge, the plain comparison is all there is, and the
conflicting paths say so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from fairlead.ship.hunks import FileDiff


@dataclass(frozen=True)
class Version:
    """What is compared: a version's tree, and the tree of its parent."""

    tree: str
    parent_tree: str


@dataclass(frozen=True)
class Merging:
    """A three-way merge of trees to make, in the words of `Repo.merge_tree`."""

    ours: str
    theirs: str
    base: str


@dataclass(frozen=True)
class Interdiff:
    """The author's part of the difference.

    `base_only` counts the edits hidden because only the base brought them; `conflicts` are the paths that
    kept the older version from being merged, in which case `files` is the plain comparison.
    """

    files: tuple[FileDiff, ...]
    base_only: int = 0
    conflicts: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Did the author change nothing between the two versions?"""
        return not self.files and not self.conflicts


def merging(old: Version, new: Version) -> Merging | None:
    """The merge that the comparison of two versions needs; None if they stand on one base."""
    if old.parent_tree == new.parent_tree:
        return None
    return Merging(ours=new.parent_tree, theirs=old.tree, base=old.parent_tree)


def compare(
    plain: Sequence[FileDiff], merged: Sequence[FileDiff] | None, conflicts: Sequence[str] = ()
) -> Interdiff:
    """The interdiff from the diffs of trees.

    `plain` is old version to new version; `merged` is merged old version to new version, None if both
    stand on one base or the merge had `conflicts`.
    """
    if merged is None:
        return Interdiff(tuple(plain), conflicts=tuple(conflicts))
    hidden = Counter(_edits(plain)) - Counter(_edits(merged))
    return Interdiff(tuple(merged), base_only=hidden.total())


def _edits(files: Sequence[FileDiff]) -> list[tuple[object, ...]]:
    """Each run of changed lines, and each change of a whole file, as an item that can be compared."""
    found: list[tuple[object, ...]] = []
    for file in files:
        if file.status in ("added", "deleted"):
            found.append((file.status, file.path, file.old_mode, file.new_mode, file.old_blob, file.new_blob))
            continue
        if file.status != "modified":
            found.append((file.status, file.old_path, file.new_path))
        if file.mode_changed:
            found.append(("mode", file.path, file.old_mode, file.new_mode))
        if file.binary:
            found.append(("binary", file.path, file.old_blob, file.new_blob))
        for hunk in file.hunks:
            for changed, run in groupby(hunk.lines, key=lambda line: line.kind != " "):
                if changed:
                    found.append((file.path, *((line.kind, line.data) for line in run)))
    return found
