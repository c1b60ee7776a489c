"""Trailers: the `Key: value` lines of the last paragraph of a commit message (git-interpret-trailers).

Pure text in, text out. git's own command does the same for one message a process; a stack of
commits is rewritten with it hundreds of times, and the rule is short.
"""

from __future__ import annotations

import re

_TRAILER = re.compile(r"^([A-Za-z0-9][A-Za-z0-9-]*)\s*:\s*(.*)$")


def trailers(message: str) -> list[tuple[str, str]]:
    """The (key, value) pairs of a message's trailer block in order; [] if it has none.

    The block is the last paragraph, never the subject, and every line of it is a trailer or
    continues one (begins with blank space).
    """
    block = _block(message)
    found: list[tuple[str, str]] = []
    for line in block:
        if line[:1].isspace() and found:
            key, value = found[-1]
            found[-1] = (key, f"{value} {line.strip()}")
        elif match := _TRAILER.match(line):
            found.append((match[1], match[2].strip()))
    return found


def values(message: str, key: str) -> list[str]:
    """The values of one trailer; keys are compared without case, as git does."""
    return [value for name, value in trailers(message) if name.lower() == key.lower()]


def add_trailer(message: str, key: str, value: str) -> str:
    """The message with one more trailer, in the existing block or in a new last paragraph."""
    body = message.rstrip("\n")
    joint = "\n" if _block(message) else "\n\n"
    return f"{body}{joint}{key}: {value}\n"


def _block(message: str) -> list[str]:
    paragraphs = re.split(r"\n[ \t]*\n", message.strip("\n"))
    if len(paragraphs) < 2:
        return []
    lines = paragraphs[-1].splitlines()
    if not lines or lines[0][:1].isspace():
        return []
    if all(_TRAILER.match(line) or line[:1].isspace() for line in lines):
        return lines
    return []
