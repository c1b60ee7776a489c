"""Glob patterns over the paths of a package.

`**` as a whole part stands for any number of folders, `*`, `?` and `[abc]` stay inside one part. A part that
begins with a dot is matched only by a part that does, as in shells and in Buck2. Unlike Buck2's, matching
heeds case, so a pattern means the same on every file system.
"""

from __future__ import annotations

import re
from typing import Any

from fairlead.build.dialect.fault import DialectError

_KNOWN: dict[str, re.Pattern[str]] = {}


def compile_glob(pattern: Any) -> re.Pattern[str]:
    """A glob as a pattern over paths: `**` is any folders, `*` and `?` stay in one name; a name that begins
    with a dot is matched by a pattern that does, as in shells and in Buck2."""
    if not isinstance(pattern, str):
        raise DialectError(f"glob() takes patterns as text, not {pattern!r}")
    if pattern not in _KNOWN:
        parts = pattern.split("/")
        if any(part in ("", ".", "..") for part in parts):
            raise DialectError(
                f"the pattern {pattern!r} matches nothing", remedy="write a path without . or .."
            )
        made = ""
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            if part == "**":
                made += r"(?:[^./][^/]*/)*" + (r"[^./][^/]*" if last else "")
                continue
            if "**" in part:
                raise DialectError(
                    f"in the pattern {pattern!r}, ** stands beside other letters", remedy="write a/**/b"
                )
            made += ("" if part[0] not in "*?[" else r"(?!\.)") + one_name(part) + ("" if last else "/")
        _KNOWN[pattern] = re.compile(made)
    return _KNOWN[pattern]


def one_name(part: str) -> str:
    """The regular expression of a pattern that stays in one name."""
    made, at = "", 0
    while at < len(part):
        letter = part[at]
        end = part.find("]", at + 2)
        if letter == "*":
            made += "[^/]*"
        elif letter == "?":
            made += "[^/]"
        elif letter == "[" and end > 0:
            inside = part[at + 1 : end].replace("\\", r"\\")
            made += f"[^/{inside[1:]}]" if inside[0] in "!^" else f"[{inside}]"
            at = end
        else:
            made += re.escape(letter)
        at += 1
    return made
