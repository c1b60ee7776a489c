"""Test targets: a test that has passed with the same key is not run again.

Without a pattern all targets are meant, so what runs is what has changed since it last passed. A pattern is
//package:name, //package: (all of a package) or //package/... (all below a folder); without // it is meant
from the current folder. A path is understood too: a test file, one test of it (tests/test_x.py::test_name),
all tests in a folder (tests/). With --rev the files are those of a commit, whatever is on disk: together with
--no-test-cache this replays a verdict of the landing evidence, and prints the key to compare.

With --runs N every test runs N times; one that both passes and fails is flaky, and that is a failure. With
--pdb one pytest target runs in the foreground, with your terminal and without walls, and leaves no verdict.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead.cli import covered, passed_before, pattern, project, terminal, undeclared, watch
from fairlead.errors import UsageError

if TYPE_CHECKING:
    from fairlead.build.engine import Engine, TestReport
    from fairlead.build.event import Event
    from fairlead.build.testing import Tally, TestResult
    from fairlead.store import Store

_LINES = 60
_COLOURS = {"pass": "green", "fail": "red", "timeout": "red", "error": "red"}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "patterns",
        nargs="*",
        metavar="PATTERN",
        help="what to test: //..., //a:b, tests/, tests/test_x.py, tests/test_x.py::test_name (default: all)",
    )
    project.add_options(parser)
    watch.add_options(parser)
    parser.add_argument("--no-test-cache", action="store_true", help="run tests although they have passed")
    parser.add_argument("--runs", type=int, default=None, metavar="N", help="run each test N times")
    parser.add_argument("--junit", metavar="FILE", default=None, help="write the results as JUnit XML")
    covered.add_options(parser)
    parser.add_argument("--pdb", action="store_true", help="run one pytest target under its debugger")
    parser.add_argument("--rev", metavar="COMMIT", default=None, help="test the files of this commit")
    parser.add_argument(
        "--record",
        choices=("failed", "all", "none"),
        default="failed",
        help="whose file calls are noted: failed tests' in a second run, all tests', or none's",
    )


def run(args: argparse.Namespace) -> int:
    _check(args)
    here = project.Project.find()
    store = here.store()
    tree = here.disk(store) if args.rev is None else here.commit(args.rev, store)
    if not args.patterns and not args.json:
        terminal.note("no pattern: all tests, of which those run that have changed since they passed")
    asked = pattern.understand(here, tree, args.patterns)
    before = passed_before.find(args, here, store, tree, asked)
    if before is not None:
        return show_before(args, here, before)
    plan = asked.plan(here, tree, store)
    engine = project.engine(args, here, store, tree, plan)
    engine.record = "none" if args.runs and args.record == "failed" else args.record
    engine.shard_seconds = here.settings.number("build.shard_seconds")
    coverage = covered.begin(args, engine)
    if args.pdb:
        return debug(engine, plan.requested)
    named = [word for word in args.patterns if not word.endswith((":", "...", "/"))]
    if named and not engine.tests(plan.requested):
        raise UsageError(
            f"{named[0]} is no test" if len(named) == 1 else f"none of {', '.join(named)} is a test",
            where="fairlead test",
            remedy="`fairlead build` builds it; `fairlead targets` lists what there is, with its rules",
        )
    if watch.quiet(args):
        engine.on_event = lambda _: None
    elif not args.json:
        engine.on_event = lambda event: show(event, with_key=args.rev is not None)
    reports: list[TestReport] = []
    with watch.watched(args, here, "test", engine) as journal:
        for number in range(args.runs or 1):
            if args.runs and not args.json and not watch.quiet(args):
                terminal.note(f"run {number + 1} of {args.runs}")
            reports.append(engine.test(plan.requested, reuse=not args.no_test_cache and not args.runs))
        code = exit_of(reports)
        measured = None if coverage is None else covered.report(args, here, coverage)
        if measured is not None and not measured.enough:
            code = code or 1
        journal.end(code, ran=reports[-1].ran, known=reports[-1].cached)
    if code == 0:
        passed_before.keep(args, here, store, tree, asked, plan, reports[-1])
    tallies = tally([result for report in reports for result in report.results], store) if args.runs else []
    if args.junit is not None:
        write_junit(Path(args.junit), [result for report in reports for result in report.results], store)
    finder = undeclared.Finder(here, store, tree, plan) if engine.record != "none" else None
    if watch.quiet(args):
        return code
    if args.json:
        more = {} if measured is None else {"coverage": covered.document(measured)}
        print(json.dumps({**document(reports, tallies, finder), **more}, indent=2))
    else:
        for result in (result for report in reports for result in report.results):
            if result.outcome != "pass":
                show_log(result, store)
                if finder is not None:
                    undeclared.show(finder.find(result))
        for counts in tallies:
            show_tally(counts)
        if measured is not None:
            covered.show(measured)
        terminal.say(summary(reports[0]) if not args.runs else summary_of_runs(reports, tallies))
    return code


def show_before(args: argparse.Namespace, here: project.Project, report: TestReport) -> int:
    """The answer when nothing has changed since the same call passed."""
    from fairlead.build import log
    from fairlead.build.event import Event
    from fairlead.build.plan import Plan

    with log.keep(here.root, "test", Plan({}, (), {})) as journal:
        for result in report.results:
            journal.heard(Event("test", result.outcome, result.label, result.seconds, result))
        journal.end(0, ran=0, known=0)
    if args.json:
        print(json.dumps(document([report], []), indent=2))
    elif not watch.quiet(args):
        for result in report.results:
            show_result(result, with_key=False)
        terminal.say(summary(report))
    return 0


def exit_of(reports: Sequence[TestReport]) -> int:
    """0 if all passed; 2 if nothing is bad but what some tests were given, such as a lock; else 1."""
    return min((r.exit for report in reports for r in report.results if r.outcome != "pass"), default=0)


def _check(args: argparse.Namespace) -> None:
    """Options that do not go together."""
    if args.runs is not None and args.runs < 1:
        raise UsageError(f"{args.runs} is no number of runs", where="--runs", remedy="use 1 or more")
    if args.pdb:
        for name in ("json", "runs", "junit", "rev", "events", "coverage"):
            if getattr(args, name):
                raise UsageError(
                    f"--pdb and --{name} do not go together", where="fairlead test", remedy="leave one out"
                )
    if args.coverage and args.rev is not None:
        raise UsageError(
            "--coverage and --rev do not go together",
            where="fairlead test",
            remedy="check the commit out: a report names lines of files on disk",
        )


def debug(engine: Engine, labels: Sequence[str]) -> int:
    """Run the one test that is named, under pytest's debugger."""
    tests = engine.tests(labels)
    if len(tests) != 1:
        raise UsageError(
            f"--pdb runs one test, and {len(tests)} are named",
            where="fairlead test --pdb",
            remedy="name one, such as " + " or ".join(tests[:3]) if tests else "name a python_test",
        )
    spec = engine.plan.targets[tests[0]].test
    if spec is None or not any(word.endswith("/run_pytest.py") for word in spec.argv):
        raise UsageError(
            f"{tests[0]} is not run by pytest",
            where=engine.plan.targets[tests[0]].place,
            remedy="--pdb is for a python_test; `fairlead test` shows the log of any other",
        )
    terminal.note(f"{tests[0]} in the foreground: no walls around it, and no verdict")
    shown = {name: os.environ[name] for name in ("TERM", "COLORTERM", "NO_COLOR") if name in os.environ}
    return 0 if engine.debug(tests[0], ["--pdb"], terminal=shown) == 0 else 1


def tally(results: list[TestResult], store: Store) -> list[Tally]:
    """Count the outcomes; a pass of a flaky test is worth nothing, so none is kept."""
    from fairlead.build import testing

    counted = testing.tally(results)
    flaky = {counts.label for counts in counted if counts.flaky}
    for result in results:
        if result.label in flaky:
            testing.Verdicts(store).forget(result.key)
    return counted


def write_junit(path: Path, results: list[TestResult], store: Store) -> None:
    """Write the results as JUnit XML, whole or not at all."""
    from fairlead.build import junit
    from fairlead.store import atomic

    suites = []
    for result in results:
        report = store.blobs.get(result.cases) if result.cases and store.blobs.has(result.cases) else b""
        log = store.blobs.get(result.log) if store.blobs.has(result.log) else b""
        suites.append(junit.Suite(result, report, log))
    try:
        atomic.write(path, junit.document(suites))
    except OSError as error:
        raise atomic.failed(error, "write", path) from error


def show(event: Event, *, with_key: bool) -> None:
    """One line for an action or a verdict, as it comes."""
    result = event.result
    if event.case is not None and event.case.outcome in ("failed", "error"):
        terminal.note(terminal.style(f"{event.case.outcome:<7}", "red") + f" {event.label}  {event.case.id}")
    if result is None:
        project.show(event)
        return
    show_result(result, with_key=with_key)


def show_result(result: TestResult, *, with_key: bool) -> None:
    """One line for a verdict."""
    mark = terminal.style(f"{result.outcome:<7}", _COLOURS[result.outcome])
    how = "passed before" if result.reused else terminal.seconds(result.seconds)
    detail = f"  {result.detail}" if result.detail else ""
    if result.rate.flaky:
        detail += f"  {terminal.style('flaky', 'yellow')}: {result.rate.text()}"
    key = f"  key {result.key}" if with_key else ""
    terminal.say(f"{mark} {result.label}  {how}{detail}{key}")


def show_log(result: TestResult, store: Store) -> None:
    """The end of a log that is no pass."""
    lines = store.blobs.get(result.log).decode("utf-8", "replace").rstrip().splitlines()
    terminal.say()
    terminal.say(terminal.style(f"{result.label}: {result.outcome}", "bold"))
    if len(lines) > _LINES:
        terminal.say(f"  ({len(lines) - _LINES} lines before these are in {store.blobs.path(result.log)})")
    if not lines:
        terminal.say("  (it printed nothing)")
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
    if flaky := sum(result.rate.flaky for result in ran):
        parts.append(f"{flaky} flaky")
    weaker = {result.enforced for result in ran} - {"namespace"}
    if weaker:
        parts.append("sandbox: " + ", ".join(sorted(weaker)))
    return ", ".join(parts) + f"  ({terminal.seconds(report.seconds)})"


def show_tally(counts: Tally) -> None:
    """One line for a target over all runs."""
    word = "flaky" if counts.flaky else "pass" if set(counts.outcomes) == {"pass"} else "fail"
    mark = terminal.style(f"{word:<7}", {"flaky": "yellow", "pass": "green", "fail": "red"}[word])
    outcomes = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.outcomes.items()))
    rate = f"  fails in {counts.rate.percent} % of runs" if counts.rate.failed else ""
    terminal.say(f"{mark} {counts.label}  {outcomes}{rate}")


def summary_of_runs(reports: list[TestReport], tallies: list[Tally]) -> str:
    """The last line after several runs."""
    if not tallies:
        return "no target here is a test"
    steady = sum(set(counts.outcomes) == {"pass"} for counts in tallies)
    flaky = sum(counts.flaky for counts in tallies)
    seconds = terminal.seconds(sum(report.seconds for report in reports))
    runs = project.counted(len(reports), "run")
    return f"{steady} of {len(tallies)} passed in each of {runs}, {flaky} flaky  ({seconds})"


def document(
    reports: list[TestReport], tallies: list[Tally], finder: undeclared.Finder | None = None
) -> dict[str, object]:
    """The answer of --json. With --runs, `results` has those of all runs and `runs` the counts."""

    def found_missing(result: TestResult) -> list[dict[str, object]]:
        return [] if finder is None else [item.to_json() for item in finder.find(result)]

    found: dict[str, object] = {
        "schema": "fairlead.test/1",
        "passed": all(report.passed for report in reports),
        "results": [
            {**result.to_json(), "undeclared": found_missing(result)}
            for report in reports
            for result in report.results
        ],
        "actions": {
            "ran": sum(report.ran for report in reports),
            "known": sum(report.cached for report in reports),
        },
        "seconds": round(sum(report.seconds for report in reports), 3),
    }
    if tallies:
        found["runs"] = [
            {
                "label": counts.label,
                "outcomes": dict(counts.outcomes),
                "flaky": counts.flaky,
                "percent failed": counts.rate.percent,
            }
            for counts in tallies
        ]
    return found
