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
#: Comparing words costs up to their number cubed, and a patch comes from outside. So what differs between
#: the common beginning and end of two lines is compared word by word only up to this many words (about
#: 2 ms at worst), and is marked as a whole beyond. Runs of more than RUN lines are not compared at all.
WORDS = 48
RUN = 200


def spans(old: str, new: str) -> tuple[Spans, Spans]:
    """The changed (start, end) character ranges of each of two lines, or no ranges at all."""
    if old == new or len(old) > LONGEST or len(new) > LONGEST:
        return (), ()
    left, right = _WORD.findall(old), _WORD.findall(new)
    start = _shared(left, right)
    end = _shared(left[start:][::-1], right[start:][::-1])
    middle = left[start : len(left) - end], right[start : len(right) - end]
    if max(map(len, middle)) <= WORDS:
        codes = difflib.SequenceMatcher(None, *middle, autojunk=False).get_opcodes()
    else:
        codes = [("replace", 0, len(middle[0]), 0, len(middle[1]))]
    changed = [(start + a, start + b, start + c, start + d) for tag, a, b, c, d in codes if tag != "equal"]
    gone = sum(len("".join(left[a:b]).strip()) for a, b, _, _ in changed)
    come = sum(len("".join(right[c:d]).strip()) for _, _, c, d in changed)
    visible = len(old.strip()), len(new.strip())
    if min(visible[0] - gone, visible[1] - come) < KEPT * max(visible):
        return (), ()
    return _ranges(left, [edit[:2] for edit in changed]), _ranges(right, [edit[2:] for edit in changed])


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
            pairs = zip(removed, added, strict=False) if max(len(removed), len(added)) <= RUN else ()
            for left, right in pairs:
                old, new = spans(hunk.lines[left].text, hunk.lines[right].text)
                found.update({at: ranges for at, ranges in ((left, old), (right, new)) if ranges})
            removed, added = ([index] if line.kind == "-" else []), []
    return found


def _shared(left: Sequence[str], right: Sequence[str]) -> int:
    """How many words two lists have in common at their beginning."""
    for index, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return index
    return min(len(left), len(right))


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
