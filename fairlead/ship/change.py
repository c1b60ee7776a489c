"""The change key, and when an approval outlives the version it was given to.

A *change* is what one commit does to its parent: every path it touches, with mode and object before and
after. Its key names exactly what a reviewer saw. `git patch-id` was turned down as that name: it ignores
white space and position, so a Python block moved to a twin context two functions below, or indented into
another branch, keeps its patch-id and would keep its approval.

An approval holds for the version it was given to. It carries to a later version, or to the commit that
lands, only if merging the *approved* commit onto the new base gives the identical tree. Then whatever
differs from what was approved came from the base, and was reviewed there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fairlead.git import Change
from fairlead.ship.values import Approval, Candidate
from fairlead.store.record import Record

KIND = "change"
VERSION = 1


def record(changes: Iterable[Change]) -> Record:
    """The record of a change, from git's raw diff entries *without* rename detection.

    Rows are path, old mode, old object, new mode, new object, in order of the path's bytes. Submodules
    are rows like others: their object is the commit they pin.
    """
    rows: dict[bytes, list[str]] = {}
    for change in changes:
        if change.status not in ("A", "D", "M", "T") or change.old_path != change.path:
            raise ValueError(f"a change is taken without rename detection, got {change.status} {change.path}")
        path = change.path.encode("utf-8", "surrogateescape")
        if path in rows:
            raise ValueError(f"the path {change.path} appears twice in a change")
        rows[path] = [change.path, change.old_mode, change.old_blob, change.new_mode, change.new_blob]
    return Record(KIND, VERSION, {"paths": [rows[path] for path in sorted(rows)]})


def key(changes: Iterable[Change]) -> str:
    """The change key: SHA-256 in hex."""
    return record(changes).key


def carries(remerged: str | None, tree: str) -> bool:
    """Does an approval carry to the version with `tree`?

    `remerged` is the tree of the approved commit re-merged onto that version's base (three-way, over the
    approved commit's own parent), None if the merge has conflicts.
    """
    return remerged is not None and remerged == tree


def stands(approval: Approval, candidate: Candidate, remerged: Mapping[str, str | None]) -> bool:
    """Does `approval` hold for what would land?

    `remerged` maps a submitted commit to its tree when re-merged onto `candidate.base`; a commit that is
    missing from it counts as a conflict. The rule is the same for the version being landed and for older
    ones: what was approved, put on the trunk, is what lands.
    """
    if approval.diff != candidate.diff or approval.version > candidate.version:
        return False
    if approval.version == candidate.version and approval.commit != candidate.submitted_commit:
        return False
    return carries(remerged.get(approval.commit), candidate.tree)
