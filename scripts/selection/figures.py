"""The figures: by project and by kind, medians over all edits and over edits of bodies."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, median

from selection.edit import BODY
from selection.measure import Measured


def read(paths: Iterable[Path]) -> list[Measured]:
    """The edits in files of JSON lines."""
    found = []
    for path in paths:
        for text in path.read_text().splitlines():
            found.append(Measured(**json.loads(text)))
    return found


def _row(name: str, edits: Sequence[Measured]) -> str:
    shares, whole = [e.share for e in edits], [e.whole_files for e in edits]
    return (
        f"{name:<22} {len(edits):>5} {sum(len(e.missed) > 0 for e in edits):>7}"
        f" {sum(len(e.differ) > 0 for e in edits):>7} {sum(len(e.apart) > 0 for e in edits):>6}"
        f" {sum(e.failures > 0 for e in edits):>8}"
        f" {median(shares):>8.1%} {mean(shares):>7.1%} {median(whole):>9.1%} {mean(whole):>7.1%}"
    )


def table(edits: Sequence[Measured]) -> list[str]:
    """The lines of both tables. "missed" are edits with a stale verdict, "differ" those where a test that ran
    ended otherwise than in the oracle, "apart" those where pytest on the one file agrees with Fairlead,
    "failing" those that make any test fail."""
    head = (
        f"{'':<22} {'edits':>5} {'missed':>7} {'differ':>7} {'apart':>6} {'failing':>8}"
        f" {'median':>8} {'mean':>7} {'by files':>9} {'mean':>7}"
    )
    if not edits:
        return ["no edit was measured"]
    projects: dict[str, list[Measured]] = defaultdict(list)
    kinds: dict[str, list[Measured]] = defaultdict(list)
    for edit in edits:
        projects[edit.project].append(edit)
        kinds[edit.kind].append(edit)
    lines = [head, *(_row(name, projects[name]) for name in sorted(projects)), "", head]
    lines += [_row(name, kinds[name]) for name in sorted(kinds)]
    bodies = [edit for edit in edits if edit.kind in BODY]
    lines += ["", head, _row("all edits", edits)]
    if bodies:
        lines.append(_row("bodies in source", bodies))
    late = [edit for edit in edits if edit.after_undo]
    lines.append(f"after undoing an edit something ran again: {len(late)} of {len(edits)} edits")
    endless = sum(edit.endless for edit in edits)
    if endless:
        lines.append(f"with {endless} edits pytest does not end in time: missed if all passes under Fairlead")
    lines.append(_seconds(edits))
    refused = [edit for edit in edits if edit.refused]
    if refused:
        lines.append(f"fairlead test refused {len(refused)} edits, counted as everything run again:")
        lines += [f"  {e.project}: {e.kind}, {e.title}: {e.refused[:200]}" for e in refused]
    return lines


def _seconds(edits: Sequence[Measured]) -> str:
    """Where the time of an edit goes: the middle and the sum of each part. The oracle's is that of its one
    run, also where the answer was known."""
    parts = {
        "oracle": [edit.oracle_seconds for edit in edits],
        "fairlead": [edit.seconds for edit in edits],
        "undo": [edit.undo_seconds for edit in edits],
    }
    told = (f"{name} {median(many):.1f} s (all {sum(many):.0f} s)" for name, many in parts.items())
    return f"an edit took in the median: {', '.join(told)}"


def faults(edits: Iterable[Measured]) -> list[str]:
    """Each edit with something missed or different, and the first nodes of it."""
    lines = []
    for edit in edits:
        for word, rows in (("MISSED", edit.missed), ("differs", edit.differ), ("apart", edit.apart)):
            if rows:
                node, label, said, oracle = rows[0]
                lines.append(
                    f"{word} {edit.project}: {edit.kind}, {edit.title} [{edit.digest}]: {len(rows)} tests,"
                    f" such as {node} of {label}: fairlead says {said}, pytest {oracle}"
                )
        if edit.after_undo:
            lines.append(
                f"again {edit.project}: {edit.kind}, {edit.title}: {edit.after_undo} tests after undoing"
            )
    return lines
