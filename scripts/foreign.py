"""Compare `fairlead test` with plain pytest, test by test, on projects taken from a package registry.

For each project: its source archive is unpacked twice. In one copy `fairlead init` and `fairlead test` run,
and nothing is written by hand but what `init` asks for. In the other the same distributions and the project
itself are installed, as a contributor would, and pytest runs three times over everything: with its files in
its own order, in the reverse, and shuffled. Tests that do not agree in these three are told and left out.

Each project's answer is a line of `results.jsonl` in the folder; a project that has one is not asked again.
Exit code 1 if any outcome differs, or if there was none.

An archive's own build code runs when pip fetches and installs it. Use it where that is acceptable.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from selection import outcomes
from selection.catalogue import LEFT_OUT, PROJECTS, Foreign, any_of
from selection.measure import Fairlead
from selection.oracle import Oracle
from selection.process import Failed, call
from selection.workplace import Workplace


def compare(project: Foreign, args: argparse.Namespace) -> dict[str, object]:
    """One project's answer, as it is kept."""
    place = Workplace(project, args.folder, args.fairlead, plant=False)
    oracle = Oracle(place)
    fairlead = Fairlead(args.fairlead, place.as_found(), 60 * args.limit)
    try:
        load = os.getloadavg()[0]
        began = time.monotonic()
        call([*args.fairlead, "init", "--json"], place.ours)
        init = time.monotonic() - began
        first, second = fairlead.test(), fairlead.test()
    finally:
        fairlead.stop()
    truth = oracle.clean()
    if truth.outcomes is None:
        raise Failed("pytest itself did not end in time")
    flaky = [] if args.one_order else oracle.flaky()
    differences = outcomes.compare(first.suites, truth.outcomes, flaky)
    return {
        "project": project.name,
        "version": project.version,
        "pytest": dict(Counter(truth.outcomes.values())),
        "fairlead": dict(Counter(o for suite in first.suites for o in suite.outcomes.values())),
        "differ": [[d.node, d.said, d.oracle] for d in differences],
        "flaky": flaky,
        "refused": first.refused,
        "init": round(init, 1),
        "first": round(first.seconds, 1),
        "second": round(second.seconds, 1),
        "again": second.again,
        "load": round(load, 1),
        "orders": 1 if args.one_order else 3,
    }


def show(found: dict[str, object]) -> list[str]:
    """An answer as lines."""
    pytest, differ, flaky = found["pytest"], found["differ"], found["flaky"]
    assert isinstance(pytest, dict) and isinstance(differ, list) and isinstance(flaky, list)
    lines = [
        f"{found['project']} {found['version']}: {sum(pytest.values())} tests, {len(differ)} differ,"
        f" {len(flaky)} flaky (init {found['init']} s, test {found['first']} s,"
        f" again {found['second']} s with {found['again']} tests)",
        f"  pytest {pytest}, fairlead {found['fairlead']} {found['refused']}".rstrip(),
    ]
    lines += [f"  {node}: pytest {oracle}, fairlead {said}" for node, said, oracle in differ[:20]]
    return lines + [f"  flaky: {node}" for node in flaky[:20]]


def table(answers: list[dict[str, object]]) -> list[str]:
    """Answers as a table in Markdown; seconds are those of the clock."""
    rows = [
        "| project | tests | otherwise than pytest | by chance | `init` | first run | second run | load |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for found in answers:
        pytest, differ, flaky = found["pytest"], found["differ"], found["flaky"]
        assert isinstance(pytest, dict) and isinstance(differ, list) and isinstance(flaky, list)
        bad = sum(pytest.get(outcome, 0) for outcome in outcomes.BAD)
        tests = f"{sum(pytest.values())}" + (f", {bad} fail" if bad else "")
        chance = str(len(flaky)) if found.get("orders", 3) == 3 else "not asked"
        again = f"{found['second']} s" + (f", {found['again']} tests" if found["again"] else "")
        rows.append(
            f"| {found['project']} {found['version']} | {tests} | {len(differ)} | {chance}"
            f" | {found['init']} s | {found['first']} s | {again} | {found.get('load', '')} |"
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("projects", nargs="*", help="such as click or click==8.1.8; by default ten of them")
    parser.add_argument("--folder", type=Path, required=True, help="where everything is kept")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these of the list alone")
    parser.add_argument(
        "--answer", action="append", default=[], help="a line below [build], for what init asks"
    )
    parser.add_argument("--jobs", type=int, default=1, help="how many projects at once")
    parser.add_argument("--minutes", type=float, default=1e6, help="start no project after that time")
    parser.add_argument("--limit", type=float, default=30, help="minutes that one test run may take")
    parser.add_argument(
        "--table", action="store_true", help="only print the answers that are kept, as a table"
    )
    parser.add_argument("--one-order", action="store_true", help="run pytest once, in its own order")
    parser.add_argument("--fresh", action="store_true", help="ask again of projects that have an answer")
    parser.add_argument(
        "--fairlead", nargs="+", default=[sys.executable, "-m", "fairlead"], help="the command of fairlead"
    )
    args = parser.parse_args()
    args.folder = args.folder.resolve()
    args.folder.mkdir(parents=True, exist_ok=True)
    names = [*args.projects, *args.only] or [project.name for project in PROJECTS]
    kept = args.folder / "results.jsonl"
    answers = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    if args.table:
        latest = {(a["project"], a["version"]): a for a in answers}
        print("\n".join(table([latest[key] for key in sorted(latest)])))
        return 0
    known = {} if args.fresh else {(a["project"], a["version"]): a for a in answers}
    until = time.monotonic() + 60 * args.minutes

    def one(name: str) -> bool:
        project = any_of(name, tuple(args.answer))
        found = known.get((project.name, project.version))
        if found is None:
            if time.monotonic() > until:
                print(f"{name}: not asked, for the time", flush=True)
                return False
            try:
                found = compare(project, args)
            except Failed as error:
                print(f"{name}: {error}", flush=True)
                return False
            with kept.open("a") as stream:
                stream.write(json.dumps(found) + "\n")
        print("\n".join(show(found)), flush=True)
        return bool(found["pytest"]) and not found["differ"] and not found["refused"]

    with ThreadPoolExecutor(args.jobs) as pool:
        good = list(pool.map(one, names))
    if not args.projects and not args.only:
        print("\n".join(f"left out: {name}: {why}" for name, why in LEFT_OUT.items()))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
