"""Test targets: a test that has passed with the same key is not run again.

A pattern is //package:name, //package: (all of a package) or //package/... (all below a folder); without //
it is meant from the current folder. With --rev the files are those of a commit, whatever is on disk:
together with --no-test-cache this replays a verdict of the landing evidence, and prints the key to compare.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from fairlead.cli import project, terminal

if TYPE_CHECKING:
    from fairlead.build.engine import Event, TestReport
    from fairlead.build.testing import TestResult
    from fairlead.store import Store

_LINES = 60
_COLOURS = {"pass": "green", "fail": "red", "timeout": "red", "error": "red"}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("patterns", nargs="+", metavar="PATTERN", help="what to test, such as //... or //a:b")
    project.add_options(parser)
    parser.add_argument("--no-test-cache", action="store_true", help="run tests although they have passed")
    parser.add_argument("--rev", metavar="COMMIT", default=None, help="test the files of this commit")


def run(args: argparse.Namespace) -> int:
    here = project.Project.find()
    store = here.store()
    tree = here.disk() if args.rev is None else here.commit(args.rev, store)
    plan = here.plan(tree, args.patterns)
    engine = project.engine(args, here, store, tree, plan)
    if not args.json:
        engine.on_event = lambda event: show(event, with_key=args.rev is not None)
    report = engine.test(plan.requested, reuse=not args.no_test_cache)
    if args.json:
        print(json.dumps(document(report), indent=2))
    else:
        for result in report.results:
            if result.outcome != "pass":
                show_log(result, store)
        terminal.say(summary(report))
    return 0 if report.passed else 1


def show(event: Event, *, with_key: bool) -> None:
    """One line for an action or a verdict, as it comes."""
    result = event.result
    if result is None:
        project.show(event)
        return
    mark = terminal.style(f"{result.outcome:<7}", _COLOURS[result.outcome])
    how = "passed before" if result.reused else terminal.seconds(result.seconds)
    detail = f"  {result.detail}" if result.detail else ""
    key = f"  key {result.key}" if with_key else ""
    terminal.say(f"{mark} {result.label}  {how}{detail}{key}")


def show_log(result: TestResult, store: Store) -> None:
    """The end of a log that is no pass."""
    lines = store.blobs.get(result.log).decode("utf-8", "replace").rstrip().splitlines()
    terminal.say()
    terminal.say(terminal.style(f"{result.label}: {result.outcome}", "bold"))
    if len(lines) > _LINES:
        terminal.say(f"  ({len(lines) - _LINES} lines before these are in {store.blobs.path(result.log)})")
    for line in lines[-_LINES:]:
        terminal.say("  | " + "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in line))


def summary(report: TestReport) -> str:
    """The last line: how many passed, how many of these ran now, how long it took."""
    results = report.results
    if not results:
        return "no target here is a test"
    ran = [result for result in results if not result.reused]
    bad = sum(result.outcome != "pass" for result in results)
    parts = [f"{len(results) - bad} of {len(results)} passed"]
    parts.append(f"{len(ran)} ran" if ran else "no test ran")
    parts.append(f"{len(results) - len(ran)} passed before")
    parts.append(project.counted(report.ran, "action") + " ran" if report.ran else "no action ran")
    return ", ".join(parts) + f"  ({terminal.seconds(report.seconds)})"


def document(report: TestReport) -> dict[str, object]:
    """The answer of --json."""
    return {
        "schema": "fairlead.test/1",
        "passed": report.passed,
        "results": [result.to_json() for result in report.results],
        "actions": {"ran": report.ran, "known": report.cached},
        "seconds": round(report.seconds, 3),
    }
