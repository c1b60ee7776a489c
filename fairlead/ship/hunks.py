"""Unified diffs as values: what `git diff-tree -p` prints, read back exactly.

The input is git's bytes with prefixes a/ and b/ (as `Repo.patch` asks for them), because git already found
the renames and the smallest edits, and diffing again in Python would show other hunks than `git show`
does. Lines are kept as bytes: a diff may hold any encoding, or several.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NoReturn

from fairlead.errors import UsageError
from fairlead.git import GITLINK

Kind = Literal[" ", "-", "+"]
Status = Literal["added", "deleted", "modified", "renamed", "copied"]

_RANGE = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@ ?(.*)", re.DOTALL)
_ESCAPES = {b"a": 7, b"b": 8, b"t": 9, b"n": 10, b"v": 11, b"f": 12, b"r": 13, b'"': 34, b"\\": 92}
_ESCAPE = re.compile(rb'\\([0-7]{3}|[abtnvfr"\\])')


@dataclass(frozen=True)
class Line:
    """One line of a hunk: kept, removed or added; its numbers on both sides (1 is the first line).

    `data` is without the line end; `newline` is False on a last line that has none.
    """

    kind: Kind
    data: bytes
    old: int | None
    new: int | None
    newline: bool = True

    @property
    def text(self) -> str:
        """For reading: bytes that are not UTF-8 become U+FFFD."""
        return self.data.decode("utf-8", "replace")


@dataclass(frozen=True)
class Hunk:
    """One hunk. A start is the number of its first line; with count 0 it is the line before it, as in git."""

    old_start: int
    old_count: int
    new_start: int
    new_count: int
    heading: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class FileDiff:
    """What happens to one file.

    `old_path` and `new_path` differ for renames and copies only. The mode of an absent side is "". The
    objects are git ids, "" if the diff prints none (mode changes and pure renames). A binary file has no
    hunks; a submodule has one, whose lines name the commits it pins.
    """

    status: Status
    old_path: str
    new_path: str
    old_mode: str
    new_mode: str
    old_blob: str
    new_blob: str
    binary: bool
    hunks: tuple[Hunk, ...]

    @property
    def path(self) -> str:
        """The name to show: the old one only for a deleted file."""
        return self.old_path if self.status == "deleted" else self.new_path

    @property
    def submodule(self) -> bool:
        return GITLINK in (self.old_mode, self.new_mode)

    @property
    def mode_changed(self) -> bool:
        return bool(self.old_mode and self.new_mode) and self.old_mode != self.new_mode

    @property
    def added(self) -> int:
        """How many lines it adds."""
        return sum(line.kind == "+" for hunk in self.hunks for line in hunk.lines)

    @property
    def removed(self) -> int:
        """How many lines it removes."""
        return sum(line.kind == "-" for hunk in self.hunks for line in hunk.lines)


@dataclass(frozen=True)
class Edit:
    """One run of changed lines: `old` and `new` are half-open ranges of line indexes, counted from 0."""

    old: range
    new: range


def parse(patch: bytes) -> tuple[FileDiff, ...]:
    """All files of a patch, in its order; bytes that are no such patch are a UsageError."""
    return tuple(_Reader(patch).files())


def edits(hunks: tuple[Hunk, ...]) -> Iterator[Edit]:
    """The runs of changed lines of a file's hunks, in order, whatever the amount of context."""
    for hunk in hunks:
        old = hunk.old_start - (1 if hunk.old_count else 0)
        new = hunk.new_start - (1 if hunk.new_count else 0)
        from_old, from_new = old, new
        for line in hunk.lines:
            if line.kind == " ":
                if (from_old, from_new) != (old, new):
                    yield Edit(range(from_old, old), range(from_new, new))
                old, new = old + 1, new + 1
                from_old, from_new = old, new
            elif line.kind == "-":
                old += 1
            else:
                new += 1
        if (from_old, from_new) != (old, new):
            yield Edit(range(from_old, old), range(from_new, new))


class _Reader:
    """Walks the lines of a patch once."""

    def __init__(self, patch: bytes) -> None:
        self._lines = patch.split(b"\n")
        if self._lines and self._lines[-1] == b"":
            self._lines.pop()
        self._at = 0

    def files(self) -> Iterator[FileDiff]:
        while self._at < len(self._lines):
            line = self._take()
            if not line.startswith(b"diff --git "):
                self._bad('a file begins with "diff --git"')
            yield self._file(line[len(b"diff --git ") :])

    def _file(self, names: bytes) -> FileDiff:
        old, new = _names(names) or self._bad("the names of a file cannot be told apart")
        file = FileDiff("modified", old, new, "", "", "", "", False, ())
        while (line := self._peek()) is not None and not line.startswith((b"diff --git ", b"@@ ")):
            self._at += 1
            file = self._header(file, line)
        hunks = []
        while (line := self._peek()) is not None and line.startswith(b"@@ "):
            hunks.append(self._hunk())
        return replace(file, hunks=tuple(hunks))

    def _header(self, file: FileDiff, line: bytes) -> FileDiff:
        word, _, rest = line.partition(b" ")
        if line.startswith((b"old mode ", b"new mode ")):
            mode = line[9:].decode("ascii", "replace")
            return replace(file, old_mode=mode) if word == b"old" else replace(file, new_mode=mode)
        if line.startswith(b"new file mode "):
            return replace(file, status="added", new_mode=line[14:].decode("ascii", "replace"))
        if line.startswith(b"deleted file mode "):
            return replace(file, status="deleted", old_mode=line[18:].decode("ascii", "replace"))
        if line.startswith((b"rename from ", b"copy from ")):
            status: Status = "renamed" if word == b"rename" else "copied"
            return replace(file, status=status, old_path=_path(rest.partition(b" ")[2]))
        if line.startswith((b"rename to ", b"copy to ")):
            return replace(file, new_path=_path(rest.partition(b" ")[2]))
        if word == b"index":
            objects, _, mode_bytes = rest.partition(b" ")
            old, _, new = objects.decode("ascii", "replace").partition("..")
            file = replace(file, old_blob=old, new_blob=new)
            if mode_bytes:
                mode = mode_bytes.decode("ascii", "replace")
                file = replace(file, old_mode=mode, new_mode=mode)
            return file
        if line.startswith(b"Binary files ") and line.endswith(b" differ"):
            return replace(file, binary=True)
        if line == b"GIT binary patch":
            while (line_ := self._peek()) is not None and not line_.startswith(b"diff --git "):
                self._at += 1
            return replace(file, binary=True)
        if word in (b"---", b"+++"):
            name = rest.removesuffix(b"\t")
            if name == b"/dev/null":
                return file
            path = _path(name)[2:]
            return replace(file, old_path=path) if word == b"---" else replace(file, new_path=path)
        if word not in (b"similarity", b"dissimilarity"):
            self._bad("a line of a file's header is unknown")
        return file

    def _hunk(self) -> Hunk:
        found = _RANGE.fullmatch(self._take()) or self._bad("a hunk begins with its ranges")
        old_start, new_start = int(found[1]), int(found[3])
        old_count, new_count = (1 if part is None else int(part) for part in (found[2], found[4]))
        old, new = old_start, new_start
        end_old, end_new = old_start + old_count, new_start + new_count
        lines: list[Line] = []
        while True:
            line = self._peek()
            if line is not None and line.startswith(b"\\") and lines:
                lines[-1] = replace(lines[-1], newline=False)
            elif (old, new) == (end_old, end_new):
                break
            elif line is None:
                self._bad("a hunk is cut short")
            elif line[:1] == b"-":
                lines.append(Line("-", line[1:], old, None))
                old += 1
            elif line[:1] == b"+":
                lines.append(Line("+", line[1:], None, new))
                new += 1
            elif line[:1] == b" ":
                lines.append(Line(" ", line[1:], old, new))
                old, new = old + 1, new + 1
            else:
                self._bad("a line of a hunk begins with a space, + or -")
            if old > end_old or new > end_new:
                self._bad("a hunk is longer than it says")
            self._at += 1
        heading = found[5].decode("utf-8", "replace")
        return Hunk(old_start, old_count, new_start, new_count, heading, tuple(lines))

    def _peek(self) -> bytes | None:
        return self._lines[self._at] if self._at < len(self._lines) else None

    def _take(self) -> bytes:
        self._at += 1
        return self._lines[self._at - 1]

    def _bad(self, what: str) -> NoReturn:
        raise UsageError(
            f"not a patch that git wrote: {what}", where=f"line {min(self._at + 1, len(self._lines))}"
        )


def _names(rest: bytes) -> tuple[str, str] | None:
    """Both names of a `diff --git` line.

    Unquoted names may hold spaces, so the line is only sure where both are equal; that is the only case
    that matters, since every other one is followed by lines that name the paths alone.
    """
    if rest.startswith(b'"') or rest.endswith(b'"'):
        parts = re.findall(rb'"(?:[^"\\]|\\.)*"|[^ "]+', rest)
        if len(parts) == 2:
            return _path(parts[0])[2:], _path(parts[1])[2:]
        first, _, second = rest.partition(b' "') if rest.endswith(b'"') else rest.partition(b'" ')
        return _path(first)[2:], _path(second)[2:]
    if len(rest) % 2 == 1 and rest[len(rest) // 2 : len(rest) // 2 + 1] == b" ":
        old, new = rest[: len(rest) // 2], rest[len(rest) // 2 + 1 :]
        if old[2:] == new[2:]:
            return _path(old)[2:], _path(new)[2:]
    if rest.startswith(b"a/") and b" b/" in rest:
        old, _, new = rest[2:].partition(b" b/")
        return _path(old), _path(new)
    return None


def _path(name: bytes) -> str:
    """A path as printed by git, quoted like a C string if it holds special bytes."""
    if len(name) >= 2 and name.startswith(b'"') and name.endswith(b'"'):
        name = _ESCAPE.sub(
            lambda m: bytes([_ESCAPES[m[1]] if m[1] in _ESCAPES else int(m[1], 8)]), name[1:-1]
        )
    return name.decode("utf-8", "surrogateescape")
