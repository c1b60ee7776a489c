"""Kill build and test at random moments, with the daemon and without it (tests/build/storm.py says how).

Prints a line for each gust's number and what was killed in the end. Exit code 1 with the seed of the storm if
anything was wrong afterwards; its project is kept then.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.build.storm import storm

_LONG = 25
"""Gusts of one storm; then the next begins in a new project, with the next seed."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=300, help="how many commands are hit (300)")
    parser.add_argument("--seed", type=int, default=1, help="of the first storm (1)")
    args = parser.parse_args()
    left, seed, killed = args.kills, args.seed, dict[str, int]()
    while left > 0:
        place = Path(tempfile.mkdtemp(prefix="fairlead-storm-"))
        number = min(left, _LONG)
        left -= number
        began = time.monotonic()
        try:
            with storm(place, seed, daemon=seed % 2 == 0) as found:
                found.check()
                for _ in range(number):
                    found.gust()
                found.clean_run()
        except BaseException:
            print(f"seed {seed} failed; its project is {found.root}", file=sys.stderr)
            raise
        for who, count in found.killed.items():
            killed[who] = killed.get(who, 0) + count
        found.remove()
        print(f"seed {seed}: {number} gusts, {time.monotonic() - began:.0f} s", flush=True)
        seed += 1
    print(", ".join(f"{count} {who}" for who, count in sorted(killed.items())) + " killed; nothing was wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main())
