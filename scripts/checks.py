"""Checks of inferred tests that take too long for the test suite: one name, one check. Each has a short form
in tests/build/test_checks.py, with projects made on the spot.

    traced    no path that strace sees in a run lacks in the run's record
    overhead  recording costs no more CPU than a fifth of the run
    shared    nothing of one test is left for the next, nor of one run for the next
    moved     another folder, home and host name: the same keys, and with the store no test runs
    start     `fairlead init` takes less than a minute, asks for what is unknown and installs none of it

Beside them: `scripts/edits` edits the projects, and its table has what share of tests ran again, by kind;
`scripts/foreign` compares the outcomes of unmodified projects, in three orders; benchmarks/ has the figures
of a run in which nothing has changed.

Exit code 1 if a promise is not kept. An archive's own build code runs when pip fetches and installs it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from checking import moved, overhead, shared, start, traced
from selection import process
from selection.catalogue import chosen
from selection.process import Failed
from selection.workplace import Workplace

CHECKS: dict[str, Callable[[Workplace, Callable[[str], None]], bool]] = {
    "traced": traced.check,
    "overhead": overhead.check,
    "shared": shared.check,
    "moved": moved.check,
    "start": start.check,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=sorted(CHECKS))
    parser.add_argument("--folder", type=Path, required=True, help="where everything is kept")
    parser.add_argument("--only", nargs="+", default=[], metavar="PROJECT", help="these projects alone")
    parser.add_argument(
        "--fairlead",
        nargs="+",
        default=process.INSTALLED,
        help="the command of fairlead; by default with a daemon, as the installed command is",
    )
    args = parser.parse_args()
    good = True
    for project in chosen(args.only):
        place = Workplace(project, args.folder.resolve(), args.fairlead)

        def say(text: str, name: str = project.name) -> None:
            print(f"{name}: {text}", flush=True)

        try:
            kept = CHECKS[args.name](place, say)
        except Failed as error:
            say(str(error))
            kept = False
        good = good and kept
    print(f"{args.name}: {'kept' if good else 'NOT KEPT'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
