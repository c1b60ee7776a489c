"""Build targets: run what the store does not know, and put the outputs under fairlead-out.

A pattern is //package:name, //package: (all of a package) or //package/... (all below a folder); without //
it is meant from the current folder.
"""

from __future__ import annotations

import argparse
import json

from fairlead.cli import project, terminal


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "patterns", nargs="+", metavar="PATTERN", help="what to build, such as //... or //a:b"
    )
    project.add_options(parser)


def run(args: argparse.Namespace) -> int:
    here = project.Project.find()
    store = here.store()
    tree = here.disk(store)
    plan = here.plan(tree, args.patterns, store)
    report = project.engine(args, here, store, tree, plan).build(plan.requested)
    if args.json:
        document = {
            "schema": "fairlead.build/1",
            "targets": {label: list(paths) for label, paths in report.outputs.items()},
            "actions": {"ran": report.ran, "known": report.cached},
            "seconds": round(report.seconds, 3),
        }
        print(json.dumps(document, indent=2))
        return 0
    for label, paths in report.outputs.items():
        for path in paths:
            terminal.say(f"{label}  {path}")
    terminal.say(summary(len(report.outputs), report.ran, report.cached, report.seconds))
    return 0


def summary(targets: int, ran: int, known: int, seconds: float) -> str:
    """The last line: what was done, and what did not have to be."""
    work = f"{project.counted(ran, 'action')} ran" if ran else "no action ran"
    built = f"{project.counted(targets, 'target')} built"
    return f"{built}: {work}, {known} known already  ({terminal.seconds(seconds)})"
