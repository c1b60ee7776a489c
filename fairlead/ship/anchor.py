"""Where a comment on some lines of one version stands in another version.

The comment is never lost and never silently wrong: it is *placed* on the same lines at their new numbers,
or stands on the nearest lines that survived and says that its *lines changed*, or the file is *gone* and
it stands at the top of the diff. (Rejected: searching for the text elsewhere, as some tools do. It finds
twins, and a comment on the wrong one of two equal blocks is worse than one that says it has moved.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fairlead.errors import UsageError
from fairlead.ship.linemap import LineMap

Fate = Literal["placed", "changed", "gone"]


@dataclass(frozen=True)
class Anchor:
    """Lines `start` to `end` (from 1, both included) of the file `path` in one state of the tree.

    Which state (a version's own tree, or its parent's for a comment on the old side) is the caller's:
    the line map that goes with the anchor begins there.
    """

    path: str
    start: int
    end: int

    def __post_init__(self) -> None:
        if not 1 <= self.start <= self.end:
            raise UsageError(
                f"lines {self.start} to {self.end} are no range of lines",
                where=self.path,
                remedy="count from 1",
            )


@dataclass(frozen=True)
class Placement:
    """Where the comment stands: lines of `path`, or None if the file is gone."""

    fate: Fate
    anchor: Anchor | None


def port(anchor: Anchor, lines: LineMap | None, path: str | None) -> Placement:
    """Carry `anchor` over to another state of its file.

    `path` is the file's name there (another one if it was renamed), None if it is gone; `lines` maps its
    lines from here to there.
    """
    if path is None or lines is None or lines.new_lines == 0:
        return Placement("gone", None)
    alive = [new for old in range(anchor.start, anchor.end + 1) if (new := lines.new(old)) is not None]
    if alive:
        whole = len(alive) == anchor.end - anchor.start + 1 == alive[-1] - alive[0] + 1
        return Placement("placed" if whole else "changed", Anchor(path, alive[0], alive[-1]))
    line = _nearest(anchor, lines)
    if line is None:  # no line of the file survived: the same height is the best guess there is
        line = min(anchor.start, lines.new_lines)
    return Placement("changed", Anchor(path, line, line))


def _nearest(anchor: Anchor, lines: LineMap) -> int | None:
    """The new number of the surviving line nearest to the anchor; of two as near, the upper one."""
    above = below = None
    for run in lines.survivors():
        if run[-1] < anchor.start:
            above = run[-1]
        elif run[0] > anchor.end:
            below = run[0]
            break
    if above is None and below is None:
        return None
    if below is None or (above is not None and anchor.start - above <= below - anchor.end):
        return lines.new(above) if above is not None else None
    return lines.new(below)
