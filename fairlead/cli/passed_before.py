"""Whether a call of `fairlead test` finds at one look that nothing has changed since all passed."""

from __future__ import annotations

import argparse
import contextlib
import time
from typing import TYPE_CHECKING

from fairlead.build.plans import Plans
from fairlead.cli import project
from fairlead.errors import UsageError

if TYPE_CHECKING:
    from fairlead.build.engine import TestReport
    from fairlead.build.plan import Plan
    from fairlead.build.tested import Call
    from fairlead.build.tree import Tree
    from fairlead.cli.pattern import Asked
    from fairlead.cli.project import Project
    from fairlead.store import Store

_OTHERWISE = ("rev", "no_test_cache", "runs", "junit", "pdb", "coverage", "events")
"""Options with which the engine is asked in any case."""


def find(
    args: argparse.Namespace, here: Project, store: Store, tree: Tree, asked: Asked
) -> TestReport | None:
    """The report of the same call before, if it is today's."""
    started = time.monotonic()
    call = _call(args, here, asked)
    if call is None:
        return None
    from fairlead.build import tested
    from fairlead.build.engine import TestReport
    from fairlead.build.tree import DiskTree

    if not isinstance(tree, DiskTree):
        return None
    name = Plans(store).name(tree, call.asked)
    results = None if name is None else tested.find(store, tree, call, name)
    return None if results is None else TestReport(results, 0, 0, time.monotonic() - started)


def keep(
    args: argparse.Namespace,
    here: Project,
    store: Store,
    tree: Tree,
    asked: Asked,
    plan: Plan,
    report: TestReport,
) -> None:
    """Keep a call that has passed throughout."""
    from fairlead.build import tested
    from fairlead.build.tree import DiskTree

    call = _call(args, here, asked)
    if call is None or not isinstance(tree, DiskTree) or not report.passed:
        return
    name = Plans(store).name(tree, call.asked)
    if name is not None:
        interpreters = {found.interpreter for found in plan.toolchains.values()} | plan.programs
        with contextlib.suppress(UsageError):  # an interpreter is not there that no test needs
            tested.keep(store, tree, call, name, interpreters, report.results)


def _call(args: argparse.Namespace, here: Project, asked: Asked) -> Call | None:
    from fairlead.build.tested import Call

    if asked.names_files or args.record == "all" or any(getattr(args, name) for name in _OTHERWISE):
        return None
    project.jobs(args, here)
    level = project.sandbox_level(args, here)
    return Call(level, [here.package, *(asked.labels or ["//..."])])
