"""Edit foreign projects, run `fairlead test` after each edit, and compare with plain pytest over everything.

For each project: its source archive is unpacked twice, with a few planted tests for inputs that it has not
(a file that only a child process reads, and the like). `fairlead init` finds the targets of one copy; in the
other the same distributions and the project itself are installed, and pytest runs over everything: the
oracle. Then edits are drawn by a seed. After each one `fairlead test` runs from a state in which all
verdicts of the clean tree are known, its outcomes are compared node by node with the oracle's, and the edit
is undone, after which nothing may run.

What the oracle says is kept in the folder, by edit. So are the figures of a run (`--run NAME`): the same
command goes on where it was stopped. `--oracle` fills in the oracle alone. `--table` prints what is there.

An archive's own build code runs when pip fetches and installs it. Use it where that is acceptable. Exit code
1 if a verdict was stale or an outcome differs.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from selection import figures, kinds, pants, process, releases, rival
from selection.catalogue import Foreign, chosen
from selection.edit import Edit
from selection.measure import Fairlead, Measure, line
from selection.opened import Opened
from selection.oracle import Oracle
from selection.process import Failed
from selection.workplace import Workplace


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def drawn(place: Workplace, args: argparse.Namespace) -> Iterator[Edit]:
    """The project's edits, endless ones not yet left out."""
    seed = kinds.seed_of(place.project.name, args.seed)
    given = releases.edits(place, args.seed)
    pool = kinds.Kinds(place.content(), place.project.folder, place.historic(), given, seed)
    edits = pool.draw()
    return (edit for edit in edits if edit.kind in args.kind) if args.kind else edits


def ask_oracle(place: Workplace, args: argparse.Namespace, until: float) -> None:
    """Fill in the oracle."""
    oracle = Oracle(place)
    clean = oracle.clean()
    say(f"{place.project.name}: {len(clean.outcomes or {})} tests in {clean.seconds:.1f} s")
    say(f"{place.project.name}: {len(oracle.flaky())} flaky, {len(oracle.files())} files")
    Opened(place, oracle).by_file()
    for number, edit in enumerate(itertools.islice(drawn(place, args), args.count)):
        if time.monotonic() > until:
            say(f"{place.project.name}: stopped for the time after {number} edits")
            return
        oracle.truth(edit)
    say(f"{place.project.name}: {args.count} edits are known to the oracle")


def ahead(oracle: Oracle, edits: Iterable[Edit]) -> Iterator[Edit]:
    """The edits, the oracle asked of the next one while the caller is at work on one: the trees are two."""
    with ThreadPoolExecutor(1) as pool:
        before: Edit | None = None
        for edit in edits:
            asked = pool.submit(oracle.truth, edit)
            if before is not None:
                yield before
            asked.result()
            before = edit
        if before is not None:
            yield before


def measure(place: Workplace, args: argparse.Namespace, until: float) -> None:
    """Measure the edits that are not measured yet."""
    name = place.project.name
    kept = place.folder / "runs" / f"{args.run}.jsonl"
    kept.parent.mkdir(exist_ok=True)
    if args.fresh:
        kept.unlink(missing_ok=True)
    done = {edit.digest for edit in figures.read([kept])} if kept.exists() else set()
    if len(done) >= args.count:
        return
    oracle = Oracle(place)
    limit = 20 * (oracle.clean().seconds + 30)
    fairlead = Fairlead(args.fairlead, place.for_fairlead(), limit)
    try:
        measured = Measure(place, oracle, Opened(place, oracle), fairlead)
        left = measured.left_out
        say(f"{name}: {measured.first.nodes} tests in {measured.first.seconds:.1f} s, {len(left)} left out")
        for node in oracle.flaky()[:20]:
            say(f"{name}: flaky: {node}")
        for difference in measured.unlike[:20]:
            say(f"{name}: {difference.node}: fairlead {difference.said}, pytest {difference.oracle}")
        for label in sorted(measured.always):
            say(f"{name}: {label} fails in the clean tree, so it always runs")
        new = (edit for edit in drawn(place, args) if edit.digest not in done)
        for edit in ahead(oracle, itertools.islice(new, args.count - len(done))):
            if time.monotonic() > until:
                say(f"{name}: stopped for the time after {len(done)} edits")
                break
            found = measured.edit(edit)
            with kept.open("a") as stream:
                stream.write(line(found) + "\n")
            done.add(edit.digest)
            for fault in figures.faults([found]):
                say(fault)
    finally:
        fairlead.stop()


def work(project: Foreign, args: argparse.Namespace, until: float) -> bool:
    place = Workplace(project, args.folder, args.fairlead)
    try:
        if args.oracle:
            ask_oracle(place, args, until)
        elif args.testmon or args.pants:
            edits = itertools.islice(drawn(place, args), args.count)
            if args.pants:
                pants.measure(place, Oracle(place), edits, until, say, args.pants)
            else:
                rival.measure(place, Oracle(place), edits, until, say)
        else:
            measure(place, args, until)
    except Failed as error:
        say(f"{project.name}: {error}")
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="where everything is kept")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these projects alone")
    parser.add_argument("--kind", nargs="+", default=[], help="these kinds of edits alone")
    parser.add_argument("--count", type=int, default=200, help="edits of each project")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="how many projects at once")
    parser.add_argument("--minutes", type=float, default=1e6, help="start nothing after that time")
    parser.add_argument("--run", default="run", help="the name that the figures are kept under")
    parser.add_argument("--fresh", action="store_true", help="drop the figures kept under that name")
    parser.add_argument("--oracle", action="store_true", help="ask the oracle alone")
    parser.add_argument("--testmon", action="store_true", help="measure pytest-testmon in place of fairlead")
    parser.add_argument(
        "--pants", nargs="+", metavar="WORD", help=f"ask Pants {pants.VERSION} instead, by this command"
    )
    parser.add_argument("--table", action="store_true", help="print the figures that are there")
    parser.add_argument(
        "--fairlead",
        nargs="+",
        default=process.INSTALLED,
        help="the command of fairlead; by default with a daemon, as the installed command is",
    )
    args = parser.parse_args()
    args.folder = args.folder.resolve()
    projects = chosen(args.only)
    until = time.monotonic() + 60 * args.minutes
    good = True
    if not args.table:
        with ThreadPoolExecutor(args.jobs) as pool:
            good = all(pool.map(lambda project: work(project, args, until), projects))
    if args.oracle:
        return 0 if good else 1
    name = "pants" if args.pants else "testmon" if args.testmon else args.run
    places = [Workplace(project, args.folder, args.fairlead) for project in projects]
    paths = [place.folder / "runs" / f"{name}.jsonl" for place in places]
    edits = figures.read(path for path in paths if path.exists())
    print("\n".join([*figures.faults(edits), "", *figures.table(edits)]))
    return 0 if good and not any(edit.missed or edit.differ for edit in edits) else 1


if __name__ == "__main__":
    sys.exit(main())
