"""pytest-testmon by the same oracle: what it chose to run, and which failures it did not tell.

It gets a pytest that it accepts, so its environment is not quite the oracle's: nodes that differ in the
clean tree are left out. A run that ends with an error of its own is told as that, and counts as everything
run again.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from selection import figures, outcomes, process
from selection.edit import Edit, applied
from selection.measure import Measured, line
from selection.oracle import Oracle
from selection.workplace import Workplace

VERSIONS = ("pytest-testmon==2.1.4", "pytest<9")
_DATA = (".testmondata", ".testmondata-shm", ".testmondata-wal")


class Testmon:
    """pytest with testmon in the oracle's tree, with its data of the clean tree before every edit."""

    def __init__(self, place: Workplace, oracle: Oracle) -> None:
        self.place = place
        self.oracle = oracle
        pins = {name: version for name, version in place.installed.items() if name != "pytest"}
        self.command = place.pytest(pins, VERSIONS)
        self.saved = place.folder / "testmon"
        self.saved.mkdir(exist_ok=True)
        self.clean, why = self._run(process_seconds=1800)
        if why:
            raise process.Failed(f"testmon in the clean tree: {why}")
        for name in _DATA:
            if (place.plain / name).exists():
                shutil.copy(place.plain / name, self.saved / name)
        self.forget()

    def forget(self) -> None:
        """The oracle's tree without testmon's data."""
        for name in _DATA:
            (self.place.plain / name).unlink(missing_ok=True)

    def _run(self, process_seconds: float) -> tuple[dict[str, str], str]:
        with tempfile.TemporaryDirectory(prefix="testmon-", dir=self.place.folder) as scratch:
            report = Path(scratch) / "report.xml"
            words = [*self.command, "-q", "--testmon", f"--junit-xml={report}"]
            done = process.call(
                [*words, "--continue-on-collection-errors"],
                self.place.plain,
                self.place.variables(Path(scratch)),
                process_seconds,
            )
            found = outcomes.of_report(report)
            if done.code == 5:  # nothing was chosen
                return found or {}, ""
            if found is None or done.code is None or done.code >= 3 or "INTERNALERROR" in done.out + done.err:
                return found or {}, f"ended with {done.code}: {(done.out + done.err)[-300:]}"
            return found, ""

    def edit(self, edit: Edit, limit: float) -> tuple[dict[str, str], str]:
        """The outcomes of what it ran, and how it broke."""
        with applied(edit, self.place.plain):
            for name in _DATA:
                if (self.saved / name).exists():
                    shutil.copy(self.saved / name, self.place.plain / name)
            try:
                return self._run(limit)
            finally:
                self.forget()


def measure(
    place: Workplace, oracle: Oracle, edits: Iterable[Edit], until: float, say: Callable[[str], None]
) -> None:
    """Measure the edits, but for those of a lock: testmon's environment is another. Written like
    Fairlead's."""
    kept = place.folder / "runs" / "testmon.jsonl"
    kept.parent.mkdir(exist_ok=True)
    done = {edit.digest for edit in figures.read([kept])} if kept.exists() else set()
    truth = oracle.clean().outcomes or {}
    testmon = Testmon(place, oracle)
    unlike = {
        node for node in truth.keys() | testmon.clean.keys() if truth.get(node) != testmon.clean.get(node)
    }
    left = unlike | set(oracle.flaky())
    say(f"{place.project.name}: testmon, {len(testmon.clean)} tests, {len(left)} left out")
    for edit in edits:
        after = oracle.truth(edit)
        if edit.digest in done or edit.pins or after.outcomes is None:
            continue
        if time.monotonic() > until:
            return
        began = time.monotonic()
        ran, broke = testmon.edit(edit, 4 * oracle.clean().seconds + 120)
        seconds = time.monotonic() - began
        missed: list[list[str]] = []
        differ: list[list[str]] = []
        for node in sorted((truth.keys() | after.outcomes.keys()) - left):
            said, true = ran.get(node, truth.get(node, "absent")), after.outcomes.get(node, "absent")
            if broke or said == true or (said in outcomes.BAD and true in outcomes.BAD):
                continue
            if true == "absent" and any(n.startswith("::") for n in ran):
                continue  # a file that neither could collect
            (differ if node in ran else missed).append([node, "", said, true])
        with kept.open("a") as stream:
            stream.write(
                line(
                    Measured(
                        place.project.name,
                        edit.kind,
                        edit.title,
                        edit.digest,
                        1.0 if broke else round(len(ran.keys() & truth.keys()) / len(truth), 4),
                        0.0,
                        missed,
                        differ,
                        refused=broke,
                        seconds=round(seconds, 2),
                    )
                )
                + "\n"
            )
