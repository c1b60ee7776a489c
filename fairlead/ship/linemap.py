"""Where the lines of one state of a file are in another state of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from fairlead.ship.hunks import Edit, FileDiff, edits


def count(data: bytes) -> int:
    """How many lines a file has; a last line without an end counts."""
    return data.count(b"\n") + (1 if data and not data.endswith(b"\n") else 0)


@dataclass(frozen=True)
class LineMap:
    """The map from an old state of `old_lines` lines to a new one of `new_lines`.

    `edits` are the changed runs, in order and apart; every other line survives. Lines are numbered from 1.
    """

    edits: tuple[Edit, ...]
    old_lines: int
    new_lines: int

    def __post_init__(self) -> None:
        old = new = 0
        for edit in self.edits:
            if edit.old.start - old != edit.new.start - new or edit.old.start < old:
                raise ValueError("the edits of a line map leave the two sides out of step")
            old, new = edit.old.stop, edit.new.stop
        if self.old_lines - old != self.new_lines - new or self.old_lines < old:
            raise ValueError("the edits of a line map do not fit the lengths of the files")

    @classmethod
    def same(cls, lines: int) -> LineMap:
        """The map of an unchanged file."""
        return cls((), lines, lines)

    @classmethod
    def of(cls, file: FileDiff, old_lines: int, new_lines: int) -> LineMap:
        """The map of a file's diff. A binary file keeps no line."""
        if file.binary:
            return cls((Edit(range(old_lines), range(new_lines)),), old_lines, new_lines)
        return cls(tuple(edits(file.hunks)), old_lines, new_lines)

    def new(self, line: int) -> int | None:
        """The new number of old line `line`, or None if it did not survive."""
        if not 1 <= line <= self.old_lines:
            return None
        index = bisect_right(self.edits, line - 1, key=lambda edit: edit.old.start)
        offset = 0
        if index:
            edit = self.edits[index - 1]
            if line - 1 in edit.old:
                return None
            offset = edit.new.stop - edit.old.stop
        return line + offset

    def survivors(self) -> Iterable[range]:
        """The runs of old line numbers that survive, in order."""
        at = 1
        for edit in self.edits:
            if edit.old.start + 1 > at:
                yield range(at, edit.old.start + 1)
            at = edit.old.stop + 1
        if at <= self.old_lines:
            yield range(at, self.old_lines + 1)

    def reversed(self) -> LineMap:
        """The map the other way."""
        turned = tuple(Edit(edit.new, edit.old) for edit in self.edits)
        return LineMap(turned, self.new_lines, self.old_lines)
