"""One edit under Fairlead: what ran, what was reused, what differs from the oracle; then undone, after which
nothing may run.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from selection import outcomes, process
from selection.edit import Edit, applied
from selection.opened import Opened, weight
from selection.oracle import Oracle
from selection.outcomes import Difference, Suite
from selection.workplace import Workplace


@dataclass(frozen=True)
class Run:
    """One `fairlead test`: the targets, or why there are none."""

    suites: list[Suite]
    refused: str
    seconds: float

    @property
    def nodes(self) -> int:
        return sum(len(suite.outcomes) for suite in self.suites)

    @property
    def again(self) -> int:
        return sum(len(suite.outcomes) for suite in self.suites if not suite.reused)


@dataclass(frozen=True)
class Measured:
    """What one edit showed (`whole_files` is 0 if nobody traced which files are opened). Shares are of the
    tests of the clean run. `missed` and `differ` are lists of (node, target, what Fairlead said, what the
    oracle says), of targets that were reused and that ran; `apart` are those where pytest on that file alone
    says what Fairlead said. `endless` is an edit with which pytest does not end in time: then all that is
    compared is whether Fairlead says that something is wrong, or does not end either."""

    project: str
    kind: str
    title: str
    digest: str
    share: float
    whole_files: float
    missed: list[list[str]] = field(default_factory=list)
    differ: list[list[str]] = field(default_factory=list)
    apart: list[list[str]] = field(default_factory=list)
    failures: int = 0
    after_undo: int = 0
    refused: str = ""
    seconds: float = 0.0
    oracle_seconds: float = 0.0
    undo_seconds: float = 0.0
    endless: bool = False


TOO_LONG = "did not end in time"
"""What is said of a run that was stopped."""


class Fairlead:
    """`fairlead test` in a tree."""

    def __init__(self, command: list[str], root: Path, limit: float) -> None:
        self.command = command
        self.root = root
        self.limit = limit

    def test(self, variables: Mapping[str, str] | None = None, limit: float = 0) -> Run:
        with tempfile.TemporaryDirectory(prefix="edits-") as scratch:
            report = Path(scratch) / "report.xml"
            began = time.monotonic()
            done = process.call(
                [*self.command, "test", "--json", "--junit", str(report)],
                self.root,
                {**os.environ, **(variables or {})},
                limit or self.limit,
            )
            seconds = time.monotonic() - began
            if done.code is None:
                return Run([], TOO_LONG, seconds)
            if not report.exists():
                try:
                    said = json.loads(done.out)
                    why = f"{said['what']} ({said['where']})"
                except (ValueError, KeyError, TypeError):
                    why = (done.out + done.err)[-1500:]
                return Run([], why or f"ended with {done.code}", seconds)
            return Run(outcomes.of_suites(report), "", seconds)

    def stop(self) -> None:
        """End the process that stays for this tree, if there is one."""
        process.call([*self.command, "daemon", "stop"], self.root, seconds=60)


class Measure:
    """The edits of one project, in one tree with all verdicts known."""

    def __init__(self, place: Workplace, oracle: Oracle, opened: Opened | None, fairlead: Fairlead) -> None:
        self.place = place
        self.oracle = oracle
        self.opened = opened
        self.fairlead = fairlead
        self.truth = oracle.clean().outcomes or {}
        first = fairlead.test()
        if first.refused:
            raise process.Failed(f"{place.project.name}: {first.refused}")
        self.first = first
        self.unlike = outcomes.compare(first.suites, self.truth)
        self.left_out = {*oracle.flaky(), *(difference.node for difference in self.unlike)}
        second = fairlead.test()
        self.always = {suite.label for suite in second.suites if not suite.reused}
        """Targets that run every time, since they fail in the clean tree."""

    def edit(self, edit: Edit) -> Measured:
        """Apply it, test, take it back, test again."""
        truth = self.oracle.truth(edit)
        endless = truth.outcomes is None
        limit = 60 + 2 * self.first.seconds if endless else 0
        with applied(edit, self.fairlead.root):
            run = self.fairlead.test(edit.variables, limit)
        undone = self.fairlead.test()
        late = sum(len(s.outcomes) or 1 for s in undone.suites if not s.reused and s.label not in self.always)
        found: dict[str, list[list[str]]] = {"missed": [], "differ": [], "apart": []}
        refused = "" if endless and run.refused == TOO_LONG else run.refused
        if endless and not run.refused and all(suite.passed for suite in run.suites):
            found["missed"].append(["", "", "passed", TOO_LONG])
        if truth.outcomes is not None and not run.refused:
            for difference in outcomes.compare(run.suites, truth.outcomes, self.left_out):
                row = [difference.node, difference.label, difference.said, difference.oracle]
                found[self._class(edit, difference, truth.apart)].append(row)
        total = len(self.truth)
        bad = sum(
            outcome in outcomes.BAD and self.truth.get(node) not in outcomes.BAD
            for node, outcome in (truth.outcomes or {}).items()
        )
        return Measured(
            self.place.project.name,
            edit.kind,
            edit.title,
            edit.digest,
            1.0 if run.refused else round(self._again(run) / total, 4),
            round(weight(self.opened.again(edit), self.truth) / total, 4) if self.opened else 0.0,
            **found,
            failures=max(bad, endless),
            after_undo=late,
            refused=refused or undone.refused,
            seconds=round(run.seconds, 2),
            oracle_seconds=round(truth.seconds, 2),
            undo_seconds=round(undone.seconds, 2),
            endless=endless,
        )

    def _again(self, run: Run) -> int:
        """Tests of the clean run whose targets ran now; a target that has fallen over counts with what it
        had."""
        had = {suite.label: len(suite.outcomes) for suite in self.first.suites}
        return sum(had.get(s.label, 0) for s in run.suites if not s.reused and s.label not in self.always)

    def _class(self, edit: Edit, difference: Difference, apart: bool) -> str:
        """Whether a difference counts: not if pytest, given that file alone, says what Fairlead said."""
        path = next((p for p in self._paths(edit, difference)), "")
        if path and not apart:
            alone = self.oracle.alone(edit, path)
            said = alone.get(difference.node, "absent")
            if said == difference.said or (said in outcomes.BAD and difference.said in outcomes.BAD):
                return "apart"
            if difference.said in outcomes.BAD and any(node.startswith("::") for node in alone):
                return "apart"
        return "missed" if difference.reused else "differ"

    def _paths(self, edit: Edit, difference: Difference) -> list[str]:
        name = difference.node.partition("::")
        dotted = f"{name[0] or name[2]}."
        files = [*self.oracle.files(), *(p for p in edit.content if p.endswith(".py"))]
        return [p for p in files if dotted.startswith(p.removesuffix(".py").replace("/", ".") + ".")]


def line(measured: Measured) -> str:
    """As one line of JSON."""
    return json.dumps(asdict(measured), ensure_ascii=True)
