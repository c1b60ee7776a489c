"""The serial queue: one candidate at a time, oldest first, a stack from its bottom up.

It schedules and nothing else. Whether a candidate may land is `ship.decide`'s answer, so a mistake here
costs time, never a bad trunk. `step` looks at the whole queue and names the one thing to do now; it keeps
no state between calls, so after a crash the server simply asks again. (Deferred: testing several
candidates at once. Verdicts are found by content key, so that will change this file alone.)
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from fairlead.ship.values import Reason

EntryState = Literal["waiting", "testing", "landing"]


@dataclass(frozen=True)
class Entry:
    """One request to land, not finished yet.

    `n` is its place; `below` are the numbers of the diffs under it in its stack; `base` is the trunk tip
    its candidate was made for, None while it waits.
    """

    n: int
    diff: int
    version: int
    state: EntryState
    below: tuple[int, ...] = ()
    base: str | None = None


@dataclass(frozen=True)
class Start:
    """Make a candidate of this entry on the trunk tip and have it tested."""

    n: int


@dataclass(frozen=True)
class Restart:
    """The trunk moved under this entry's candidate: drop it and put the entry back to waiting.

    Verdicts are kept by key, so only what the new tip affects runs again.
    """

    n: int


@dataclass(frozen=True)
class Refuse:
    """End this entry without landing."""

    n: int
    reason: Reason


@dataclass(frozen=True)
class Decide:
    """This entry's candidate stands on the trunk tip: ask the land rule whenever facts arrive."""

    n: int


Step = Start | Restart | Refuse | Decide


def step(entries: Sequence[Entry], *, tip: str, landed: Collection[int]) -> Step | None:
    """The one thing to do now, or None if the queue is empty.

    `entries` are the unfinished ones of one trunk in any order, `landed` the numbers of the diffs that
    have landed on it. A land that a crash cut off between moving the trunk and recording it is the server's
    to finish before it asks.
    """
    ordered = sorted(entries, key=lambda entry: entry.n)
    for entry in ordered:
        if entry.state == "landing":  # decided: finish it or put it back before anything else
            return Decide(entry.n) if entry.base == tip else Restart(entry.n)
    queued = {entry.diff for entry in ordered}
    for entry in ordered:
        absent = [diff for diff in entry.below if diff not in landed and diff not in queued]
        if absent:
            names = ", ".join(f"D{diff}" for diff in absent)
            text = f"it stands on {names}, which has not landed and is not queued"
            return Refuse(entry.n, Reason("stack", text, f"D{entry.diff}"))
    for entry in ordered:
        if entry.state == "testing":
            return Decide(entry.n) if entry.base == tip else Restart(entry.n)
    for entry in ordered:
        if all(diff in landed for diff in entry.below):
            return Start(entry.n)
    if ordered:  # every entry waits for another one: their stacks form a ring
        entry = ordered[0]
        return Refuse(entry.n, Reason("stack", "its stack stands on itself", f"D{entry.diff}"))
    return None
