"""The options of `fairlead test` for coverage, and its report."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead.cli import terminal

if TYPE_CHECKING:
    from fairlead.build.coverage import Coverage, Report
    from fairlead.build.engine import Engine
    from fairlead.cli.project import Project


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--coverage",
        choices=("report", "xml", "lcov", "html"),
        default=None,
        help="measure coverage of all tests named, and print it, or write it in that form too",
    )
    parser.add_argument(
        "--coverage-to",
        metavar="PATH",
        default="",
        help="the file, or folder for html, to write; by default the one in the project's own settings",
    )


def begin(args: argparse.Namespace, engine: Engine) -> Coverage | None:
    """Have the engine measure, if that is asked for."""
    if args.coverage is None:
        return None
    from fairlead.build.coverage import Coverage

    engine.coverage = Coverage(engine.store, engine.tree)
    return engine.coverage


def report(args: argparse.Namespace, here: Project, coverage: Coverage) -> Report:
    """Put together what was measured, and write it where it should be."""
    to = os.path.abspath(args.coverage_to) if args.coverage_to else ""
    with tempfile.TemporaryDirectory(prefix="fairlead-coverage-") as scratch:
        return coverage.report(here.root, args.coverage, to, Path(scratch))


def show(report: Report) -> None:
    """The table of coverage.py, and what came of it."""
    terminal.say()
    terminal.say(report.text.rstrip())
    if report.to:
        terminal.say(f"written to {report.to}")
    if not report.enough:
        terminal.note(
            f"the coverage of {report.total:.2f} % is less than the {report.fail_under:g} % asked for"
        )


def document(report: Report) -> dict[str, object]:
    """The part of --json."""
    return {
        "total": round(report.total, 4),
        "fail_under": report.fail_under,
        "enough": report.enough,
        "to": report.to,
    }
