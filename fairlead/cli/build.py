"""Build targets: run what the store does not know, and put the outputs under fairlead-out.

A pattern is //package:name, //package: (all of a package) or //package/... (all below a folder); without //
it is meant from the current folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING

from fairlead.build import finished
from fairlead.build.finished import Finished
from fairlead.build.plans import Plans
from fairlead.cli import project, terminal, watch
from fairlead.errors import UsageError

if TYPE_CHECKING:
    from fairlead.build.builder import BuildReport
    from fairlead.build.daemon.state import State
    from fairlead.build.plan import Plan
    from fairlead.build.tree import DiskTree
    from fairlead.cli.project import Project
    from fairlead.store import Store


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "patterns", nargs="+", metavar="PATTERN", help="what to build, such as //... or //a:b"
    )
    project.add_options(parser)
    watch.add_options(parser)


def run(args: argparse.Namespace) -> int:
    here = project.Project.find()
    store = here.store()
    tree = here.disk(store)
    started = time.monotonic()
    shown: dict[str, str] = {}
    live = here.live()
    if live is not None and live.files is not None and live.store is store and not args.events:
        done, ran, shown = _by_graph(args, here, live, tree)
    else:
        known = None if args.events else _known(args, here, store, tree)
        done, ran = (known, 0) if known is not None else _built(args, here, store, tree)
    seconds = time.monotonic() - started
    if watch.quiet(args):
        return 0
    if args.json:
        document = {
            "schema": "fairlead.build/1",
            "targets": None,
            "actions": {"ran": ran, "known": done.actions - ran},
            "seconds": round(seconds, 3),
        }
        if "json" not in shown:
            shown["json"] = _table(done)
        print(json.dumps(document, indent=2).replace("null", shown["json"], 1))
        return 0
    if "text" not in shown:
        rows = [f"{label}  {path}\n" for label, paths in done.outputs.items() for path in paths]
        shown["text"] = "".join(terminal.tame(row) for row in rows)
    sys.stdout.write(shown["text"])
    terminal.say(summary(len(done.outputs), ran, done.actions - ran, seconds))
    return 0


def _table(done: Finished) -> str:
    """What `json.dumps` writes of the outputs, indented, which it does in Python, a piece a call."""
    quote = json.dumps
    rows = [
        f"{quote(label)}: [\n      " + ",\n      ".join(map(quote, paths)) + "\n    ]"
        if paths
        else f"{quote(label)}: []"
        for label, paths in done.outputs.items()
    ]
    return "{\n    " + ",\n    ".join(rows) + "\n  }" if rows else "{}"


def _built(args: argparse.Namespace, here: Project, store: Store, tree: DiskTree) -> tuple[Finished, int]:
    """Build what is asked for; the report, and how many actions ran."""
    plan = here.plan(tree, args.patterns, store)
    engine = project.engine(args, here, store, tree, plan)
    with watch.watched(args, here, "build", engine) as journal:
        report = engine.build(plan.requested)
        journal.end(0, ran=report.ran, known=report.cached)
    _keep(args, here, store, tree, plan, report)
    return Finished(report.outputs, report.ran + report.cached), report.ran


def _by_graph(
    args: argparse.Namespace, here: Project, live: State, tree: DiskTree
) -> tuple[Finished, int, dict[str, str]]:
    """The same by what the daemon keeps; also what was printed of such a report, if it was."""
    asked, level = [here.package, *args.patterns], project.sandbox_level(args, here)
    jobs = project.jobs(args, here)
    graph = live.graph(tree, asked, level)
    if graph is None:
        known = _known(args, here, live.store, tree)
        if known is not None:
            live.unread = tuple(asked), level, known
            return known, 0, {}
        live.unread = None
        here.plan(tree, args.patterns, live.store)
        graph = live.graph(tree, asked, level, create=True)
        if graph is None:  # such as a plan whose evaluation prints something
            return *_built(args, here, live.store, tree), {}
    if graph.done is not None and graph.idle(finished.row(live.store, here.root)):
        return graph.done, 0, graph.shown
    engine = live.engine(tree, asked, level, graph, jobs)
    engine.on_event = (lambda _: None) if args.json else project.show
    with watch.watched(args, here, "build", engine) as journal:
        report = engine.build(graph.plan.requested)
        journal.end(0, ran=report.ran, known=report.cached)
    assert graph.done is not None
    return graph.done, report.ran, graph.shown


def _known(args: argparse.Namespace, here: Project, store: Store, tree: DiskTree) -> Finished | None:
    """The report of the last build, if it was this one and nothing has changed."""
    name = _name(args, here, store, tree)
    return None if name is None else finished.find(store, tree, name)


def _keep(
    args: argparse.Namespace, here: Project, store: Store, tree: DiskTree, plan: Plan, report: BuildReport
) -> None:
    from fairlead.build.materialise import placed

    name = _name(args, here, store, tree)
    if name is not None:
        sources = {path for target in plan.targets.values() for path in target.sources}
        sources |= {path for action in plan.actions for path in action.sources}
        sources |= {toolchain.lock for toolchain in plan.toolchains.values()}
        used = {label for action in plan.actions for label in action.toolchains}
        interpreters = {plan.toolchains[label].interpreter for label in used} | plan.programs
        done = finished.Finished(report.outputs, report.ran + report.cached)
        stand = placed(here.root, report.placed, store)
        with contextlib.suppress(UsageError):  # an interpreter is not there that a test would need
            finished.keep(store, tree, name, sorted(sources), stand, interpreters, done)


def _name(args: argparse.Namespace, here: Project, store: Store, tree: DiskTree) -> str | None:
    """What is asked for: the plan, and how closely its actions must have been confined."""
    project.jobs(args, here)
    level = project.sandbox_level(args, here)
    name = Plans(store).name(tree, [here.package, *args.patterns])
    return None if name is None else f"{name} {level}"


def summary(targets: int, ran: int, known: int, seconds: float) -> str:
    """The last line: what was done, and what did not have to be."""
    work = f"{project.counted(ran, 'action')} ran" if ran else "no action ran"
    built = f"{project.counted(targets, 'target')} built"
    return f"{built}: {work}, {known} known already  ({terminal.seconds(seconds)})"
