"""Mend what lint finds, where a rule offers how.

Works on the same files as `fairlead lint`, again and again until no rule offers more. With --diff
the changes are shown and nothing is written. A file that changed is written whole or not at all,
with its mode, line ends and encoding.

Exit codes: 0 clean or all mended, 1 findings left, 2 a file is not Python, 3 a rule or the disk failed.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING

from fairlead.cli import terminal
from fairlead.cli.lint import arguments, count, exit_code, lint, tell, write
from fairlead.errors import FairleadError

if TYPE_CHECKING:
    from fairlead.lint.fix import Mended


def configure(parser: argparse.ArgumentParser) -> None:
    arguments(parser)
    parser.add_argument("--diff", action="store_true", help="show the changes and write nothing")


def run(args: argparse.Namespace) -> int:
    start = time.monotonic()
    sources, rules, report = lint(args)
    problems = list(report.problems)
    mended: list[Mended] = []
    fixable = {finding.path for finding in report.findings if finding.fixable}
    if fixable:
        from fairlead.lint.fix import mend_file

        classes = [rule.load() for rule in rules]
        for file in sources:
            if file.name not in fixable:
                continue
            try:
                mended.append(mend_file(file, classes, write=not args.diff))
            except FairleadError as error:
                problems.append(error)
                continue
            if not args.json:
                _show(mended[-1], diff=args.diff)
    told = {(problem.what, problem.where) for problem in problems}
    for one in mended:
        problems += [conflict.error() for conflict in one.conflicts]
        problems += [problem for problem in one.problems if (problem.what, problem.where) not in told]
    left = list(report.findings)
    if not args.diff:
        done = {one.path for one in mended}
        left = sorted([f for f in left if f.path not in done] + [f for one in mended for f in one.left])
    if args.json:
        terminal.say(json.dumps({
            "schema": "fairlead.fix/1",
            "written": not args.diff,
            "files": [_entry(one, diff=args.diff) for one in mended if one.fixes],
            "left": [finding.to_json() for finding in left],
        }))  # fmt: skip
    elif not args.diff:
        for finding in left:
            terminal.say(finding.text())
    tell(problems, as_json=args.json)
    if not args.json:
        fixes, changed = sum(one.fixes for one in mended), sum(1 for one in mended if one.fixes)
        verb = "would mend" if args.diff else "mended"
        text = f"{verb} {count(fixes, 'finding')} in {count(changed, 'file')}" if fixes else "nothing to mend"
        if left and not args.diff:
            text += f", {count(len(left), 'finding')} left"
        terminal.note(f"{text}; {count(report.files, 'file')}; {terminal.seconds(time.monotonic() - start)}")
    return exit_code(left, problems)


def _show(one: Mended, *, diff: bool) -> None:
    from fairlead.lint.fix import patch

    if diff:
        write(patch(one))
    elif one.fixes:
        passes = f" in {count(one.passes, 'pass')}" if one.passes > 1 else ""
        terminal.say(f"{one.path}: mended {count(one.fixes, 'finding')}{passes}")


def _entry(one: Mended, *, diff: bool) -> dict[str, object]:
    from fairlead.lint.fix import patch

    entry: dict[str, object] = {"path": one.path, "fixes": one.fixes, "passes": one.passes}
    if diff:
        entry["diff"] = patch(one).decode("utf-8", "backslashreplace")
    return entry
