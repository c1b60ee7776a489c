"""Check Python files with rules that can mend what they find.

Without PATHS: the Python files that git tracks below this folder. Answers are kept by content, so
a file that was checked before is not checked again. `fairlead fix` mends what can be fixed.

Exit codes: 0 nothing found, 1 findings, 2 a file is not Python, 3 a rule or the disk failed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from fairlead import config
from fairlead.cli import terminal
from fairlead.cli.project import Project
from fairlead.errors import WORK_FAILED, FairleadError, MachineryError, UsageError
from fairlead.lint import engine, files
from fairlead.lint.cache import FindingsCache
from fairlead.lint.finding import Finding
from fairlead.lint.selection import RuleRef, select


def configure(parser: argparse.ArgumentParser) -> None:
    arguments(parser)
    parser.add_argument("--diff", action="store_true", help="show what `fairlead fix` would change")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that `lint` and `fix` share."""
    parser.add_argument("paths", nargs="*", metavar="PATH", help="files and folders (default: this folder)")
    parser.add_argument(
        "--since", metavar="REV", help="only files that changed since this branch left REV, committed or not"
    )
    parser.add_argument("--no-cache", action="store_true", help="check every file again and keep no answer")


def run(args: argparse.Namespace) -> int:
    if args.json and args.diff:
        raise UsageError(
            "--json and --diff do not go together", remedy="`fairlead fix --diff --json` has both"
        )
    start = time.monotonic()
    sources, rules, report = lint(args)
    if args.json:
        terminal.say(json.dumps([finding.to_json() for finding in report.findings]))
    else:
        by_name = {file.name: file for file in sources}
        for name, group in groupby(report.findings, key=lambda finding: finding.path):
            found = list(group)
            for finding in found:
                terminal.say(finding.text())
            if args.diff and any(finding.fixable for finding in found):
                show_diff(by_name[name], rules)
    tell(report.problems, as_json=args.json)
    if not args.json:
        terminal.note(_summary(args, report, time.monotonic() - start))
    return exit_code(report.findings, report.problems)


def lint(args: argparse.Namespace) -> tuple[list[engine.SourceFile], tuple[RuleRef, ...], engine.Report]:
    """The files and rules that `args` and the settings mean, and the report on them."""
    settings = config.load()
    rules = select(settings.words("lint.disable"))
    sources = files.find(Path.cwd(), args.paths, exclude=settings.words("lint.exclude"), since=args.since)
    cache = None if args.no_cache else open_cache(settings)
    report = engine.lint_files(sources, rules, cache)
    if cache is not None and cache.trouble is not None:
        _not_kept(cache.trouble)
    return sources, rules, report


def open_cache(settings: config.Config) -> FindingsCache | None:
    """The cache in the build store; None, and a word about it, where no store can be."""
    try:
        return FindingsCache(_project(settings).store())
    except MachineryError as error:
        _not_kept(error)
        return None


def show_diff(file: engine.SourceFile, rules: Sequence[RuleRef]) -> None:
    """Print what fixing `file` would change."""
    from fairlead.lint.fix import mend_file, patch

    write(patch(mend_file(file, [rule.load() for rule in rules], write=False)))


def write(data: bytes) -> None:
    """Bytes on stdout as they are, between lines of text."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def tell(problems: Iterable[FairleadError], *, as_json: bool) -> None:
    """Each problem on stderr."""
    for problem in problems:
        if as_json:
            print(json.dumps(problem.to_json()), file=sys.stderr)
        else:
            terminal.error(problem)


def exit_code(left: Sequence[Finding], problems: Iterable[FairleadError]) -> int:
    """The worst of the problems, else whether findings are left."""
    return max((problem.exit for problem in problems), default=WORK_FAILED if left else 0)


def count(number: int, noun: str) -> str:
    """A number with its noun, such as "1 file" or "3 files"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{'es' if noun.endswith('s') else 's'}"


def _summary(args: argparse.Namespace, report: engine.Report, seconds: float) -> str:
    if not report.files:
        if args.since is not None:
            return f"no Python file here differs from where this branch left {args.since}"
        if args.paths:
            return "no Python files there: git tracks none, or lint.exclude leaves them out"
        return "no Python files here that git tracks; name a file to check it all the same"
    if report.findings:
        where = len({finding.path for finding in report.findings})
        text = f"{count(len(report.findings), 'finding')} in {where} of {count(report.files, 'file')}"
        fixable = sum(finding.fixable for finding in report.findings)
        if fixable:
            text += f", `fairlead fix` mends {fixable}"
    else:
        text = f"no findings in {count(report.files, 'file')}"
    if report.known:
        text += f"; {report.known} known from before"
    return f"{text}; {terminal.seconds(seconds)}"


def _project(settings: config.Config) -> Project:
    """The build's project, whose store lint shares; without one, the git work tree or this folder."""
    try:
        return Project.find()
    except UsageError:
        here = Path.cwd()
        root = next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), here)
        return Project(root, "", settings)


def _not_kept(error: MachineryError) -> None:
    terminal.note(f"note: answers are not kept: {error.what}")
