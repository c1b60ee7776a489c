"""What a person sees: plain lines in a pipe, colour on a terminal.

Colour is a few ANSI codes, so the short verbs need no library; NO_COLOR and TERM=dumb are
honoured (no-color.org). Tables and live views import rich where they are drawn.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TextIO

from fairlead.errors import FairleadError

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}
_OBEYED = re.compile(
    r"(\x1b\[(?:0|[12]|3[1-6])(?:;(?:[12]|3[1-6]))*m)"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def coloured(stream: TextIO) -> bool:
    """Whether colour suits that stream."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def style(text: str, *names: str, stream: TextIO | None = None) -> str:
    """`text` in the named styles where the stream (default: stdout) is a terminal, else as it is."""
    if not coloured(stream or sys.stdout):
        return text
    return f"\x1b[{';'.join(_CODES[name] for name in names)}m{text}\x1b[0m"


def tame(text: str) -> str:
    """`text` without what a terminal would obey, but for the styles that this module writes.

    Titles, names and reasons are other people's words: a subject that moves the cursor could paint "good"
    over a fault. Bytes that are no text, and marks that turn the direction of writing, go the same way.
    """
    return _OBEYED.sub(lambda found: found[1] or "\N{REPLACEMENT CHARACTER}", text)


def say(text: str = "") -> None:
    """One line of the answer, on stdout."""
    print(tame(text))


def note(text: str) -> None:
    """One line about the work, on stderr, so that the answer can be piped."""
    print(tame(text), file=sys.stderr, flush=True)


def error(problem: FairleadError) -> None:
    """An error in three parts on stderr."""
    mark = style("error:", "bold", "red", stream=sys.stderr)
    note(f"{mark} {problem.what}")
    if problem.where:
        note(f"  where: {problem.where}")
    if problem.remedy:
        note(f"  what to do: {problem.remedy}")


def seconds(value: float) -> str:
    """A duration as people write it: 0.4s, 12s, 3m05s."""
    if value < 10:
        return f"{value:.2f}s" if value < 1 else f"{value:.1f}s"
    if value < 100:
        return f"{value:.0f}s"
    return f"{int(value) // 60}m{int(value) % 60:02}s"
