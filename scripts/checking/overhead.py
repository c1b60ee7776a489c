"""Recording costs no more than a fifth of the CPU of a run, on Python 3.12 and later with the functions that
are entered. Measured by benchmarks/recorder.py over all tests of the project in one process, as pytest runs
them; the runs take turns. A suite of less than five seconds is run as often as makes five.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from selection import process
from selection.oracle import Oracle
from selection.process import Failed
from selection.workplace import Workplace

ROOT = Path(__file__).parents[2]
SHARE, ROUNDS, SECONDS = 1.2, 3, 5.0


def check(place: Workplace, say: Callable[[str], None]) -> bool:
    """The whole suite, plain and recorded in turn."""
    oracle = Oracle(place)
    clean = oracle.clean()
    failing = [node for node, outcome in (clean.outcomes or {}).items() if outcome in ("failed", "error")]
    if clean.outcomes is None or failing:
        raise Failed(f"left out: its suite does not pass: {failing[:3]}")
    rounds = max(ROUNDS, round(ROUNDS * SECONDS / max(clean.seconds, 0.5)))
    ratio, told = measure(place, oracle.files(), rounds)
    say(f"CPU {ratio:.2f} of the plain run, {rounds} rounds; {told}")
    return ratio <= SHARE


def measure(place: Workplace, files: list[str], rounds: int) -> tuple[float, str]:
    """The CPU of recorded runs as a multiple of the plain ones', and all that the benchmark says."""
    run = [str(place.environment()), str(ROOT / "fairlead/build/prelude/run_pytest.py")]
    command = [*run, "--allow-empty", ".", *files, "--", "-q"]
    entered = ["--entered"] if sys.version_info >= (3, 12) else []
    words = [str(ROOT / "benchmarks/recorder.py"), "--rounds", str(rounds), *entered, *command]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = process.call([sys.executable, *words], place.for_oracle(), env, 7200)
    rows = {line.split()[0]: line for line in done.out.splitlines() if line.strip()}
    row = rows.get("both" if entered else "recorded")
    if done.code != 0 or row is None:
        raise Failed(f"the benchmark ended with {done.code}: {(done.out + done.err)[-2000:]}")
    return float(row.partition("CPU ratio ")[2].partition(",")[0]), done.out.splitlines()[-1]
