"""Recording costs no more than a fifth of the CPU of a run, on Python 3.12 and later with the functions that
are entered. Measured by benchmarks/recorder.py over all tests of the project in one process, as pytest runs
them; the runs take turns. It is promised of suites that take five seconds of CPU: of a shorter one the figure
is told alone, since most of it is the start.
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
    ratio, seconds, told = measure(place, oracle.files(), ROUNDS)
    judged = "" if seconds >= SECONDS else ", too short to be judged"
    say(f"CPU {ratio:.2f} x the {seconds:.1f} s of the plain run{judged}; {told}")
    return ratio <= SHARE or bool(judged)


def measure(place: Workplace, files: list[str], rounds: int) -> tuple[float, float, str]:
    """The CPU of recorded runs as a multiple of the plain ones', the seconds of these, and the benchmark's
    last line."""
    run = [str(place.environment()), str(ROOT / "fairlead/build/prelude/run_pytest.py")]
    command = [*run, "--allow-empty", ".", *files, "--", "--import-mode=prepend", "-q"]
    entered = ["--entered"] if sys.version_info >= (3, 12) else []
    words = [str(ROOT / "benchmarks/recorder.py"), "--rounds", str(rounds), *entered, *command]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = process.call([sys.executable, *words], place.for_oracle(), env, 7200)
    rows = {line.split()[0]: line for line in done.out.splitlines() if line.strip()}
    row = rows.get("both" if entered else "recorded")
    if done.code != 0 or row is None:
        raise Failed(f"the benchmark ended with {done.code}: {(done.out + done.err)[-2000:]}")
    ratio, seconds = (
        float(text.partition(word)[2].split()[0].rstrip(",")) for text, word in
        ((row, "CPU ratio "), (rows["plain"], "CPU "))
    )  # fmt: skip
    return ratio, seconds, done.out.splitlines()[-1]
