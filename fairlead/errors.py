"""What went wrong, where, and what to do about it: the one exception a person may see.

Every error that leaves a room is a `FairleadError`; the command line prints its three
parts and ends with its exit code. Anything else that reaches the top is a bug, and is
reported as one. The codes are those of every `fairlead` verb:

    0  done
    1  the work failed: a test, a finding, a refused landing
    2  wrong usage or bad input
    3  machinery: disk, network, server
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, without the 3 ms that importing typing adds to every start
if TYPE_CHECKING:
    from collections.abc import Iterable

WORK_FAILED = 1
USAGE = 2
MACHINERY = 3


class FairleadError(Exception):
    """An error for a person: `what` happened, `where`, and the `remedy`.

    `where` names a file with line, a label, a URL or a setting; `remedy` says what to do
    next, as a sentence or a command. Either may be empty when there is nothing true to say.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "", exit: int = WORK_FAILED) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy
        self.exit = exit

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.remedy:
            lines.append(f"  what to do: {self.remedy}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """The error as the JSON object that `--json` prints on stderr and the server answers with."""
        return {
            "schema": "fairlead.error/1",
            "what": self.what,
            "where": self.where,
            "remedy": self.remedy,
            "exit": self.exit,
        }


class WorkFailed(FairleadError):
    """The work itself failed: a red test, a finding, a refused landing. Exit code 1."""

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what, where=where, remedy=remedy, exit=WORK_FAILED)


class UsageError(FairleadError):
    """Wrong usage or bad input: a broken file, an unknown target. Exit code 2."""

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what, where=where, remedy=remedy, exit=USAGE)


class MachineryError(FairleadError):
    """Disk, network, server or a missing program. Exit code 3."""

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what, where=where, remedy=remedy, exit=MACHINERY)


def nearest(word: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """Names in `known` that a person may have meant by `word`, best first."""
    import difflib

    names = list(known)
    if len(names) > _MANY:
        names = _alike(word, names)
    return difflib.get_close_matches(word, names, n=limit, cutoff=0.6)


_MANY = 1000
"""Names that are all compared with a word, at some 20 us each: of more, `_alike` chooses."""


def _alike(word: str, names: list[str]) -> list[str]:
    """Those of many names that begin as `word` does for longest, and those that end as it does."""
    import bisect

    names.sort()
    at, half = bisect.bisect_left(names, word), _MANY // 2
    found = dict.fromkeys(names[max(at - half // 2, 0) : at + half // 2])
    for tail in (word[-len(word) * part // 4 :] for part in (3, 2, 1)):
        ends = [name for name in names if name.endswith(tail)]
        if ends:
            ends.sort(key=lambda name: abs(len(name) - len(word)))
            found.update(dict.fromkeys(ends[:half]))
            break
    return list(found)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A remedy such as "did you mean //a:b or //a:c?", or "" when nothing is near."""
    names = nearest(word, known)
    return f"did you mean {' or '.join(names)}?" if names else ""
