"""Which words of a changed line changed: character ranges to highlight.

Words, not characters: a highlighted half of an identifier reads worse than a highlighted identifier. A
pair of lines that have little in common gets no ranges, since a line that is all highlight says nothing.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from fairlead.ship.hunks import Hunk, Line

Span = tuple[int, int]
Spans = tuple[Span, ...]

_WORD = re.compile(r"\w+|\s+|[^\w\s]")
#: Longer lines (minified files, data) are left alone: comparing them costs more than it shows.
LONGEST = 1_000
#: The share of a line's visible text that must be kept for the pair to count as an edit of one line.
KEPT = 0.35


def spans(old: str, new: str) -> tuple[Spans, Spans]:
    """The changed (start, end) character ranges of each of two lines, or no ranges at all."""
    if old == new or len(old) > LONGEST or len(new) > LONGEST:
        return (), ()
    left, right = _WORD.findall(old), _WORD.findall(new)
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    blocks = matcher.get_matching_blocks()
    kept = sum(len("".join(left[block.a : block.a + block.size]).strip()) for block in blocks)
    if kept < KEPT * max(len(old.strip()), len(new.strip())):
        return (), ()
    changed = [operation for operation in matcher.get_opcodes() if operation[0] != "equal"]
    return (
        _ranges(left, [(start, end) for _, start, end, _, _ in changed]),
        _ranges(right, [(start, end) for _, _, _, start, end in changed]),
    )


def of_hunk(hunk: Hunk) -> dict[int, Spans]:
    """Ranges by index into `hunk.lines`: the n-th removed line of a run against its n-th added line."""
    found: dict[int, Spans] = {}
    removed: list[int] = []
    added: list[int] = []
    for index, line in enumerate((*hunk.lines, Line(" ", b"", None, None))):
        if line.kind == "-" and not added:
            removed.append(index)
        elif line.kind == "+":
            added.append(index)
        else:
            for left, right in zip(removed, added, strict=False):
                old, new = spans(hunk.lines[left].text, hunk.lines[right].text)
                found.update({at: ranges for at, ranges in ((left, old), (right, new)) if ranges})
            removed, added = ([index] if line.kind == "-" else []), []
    return found


def _ranges(words: Sequence[str], pieces: Sequence[Span]) -> Spans:
    """Ranges of words as ranges of characters; two that only white space parts become one."""
    starts = [0]
    for word in words:
        starts.append(starts[-1] + len(word))
    merged: list[Span] = []
    for start, end in pieces:
        if start == end:
            continue
        if merged and not "".join(words[merged[-1][1] : start]).strip():
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return tuple((starts[start], starts[end]) for start, end in merged)
