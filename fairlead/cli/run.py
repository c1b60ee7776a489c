"""Run a pinned executable, or build a target and run it.

  fairlead run ./tool ARGS...            ./tool is a DotSlash file; ARGS reach the program untouched
  fairlead run //package:name ARGS...    build that target, then run what it made; one leading -- is dropped

Options of fairlead itself come before what is run. The exit code is that of the program.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from fairlead.cli import terminal


def configure(parser: argparse.ArgumentParser) -> None:
    """What can be asked."""
    parser.add_argument("--jobs", type=int, help="how many actions run at once while a target is built")
    parser.add_argument(
        "--sandbox",
        choices=("auto", "namespace", "landlock", "none"),
        help="how a target's actions are kept apart",
    )
    parser.add_argument("what", metavar="FILE|LABEL", help="a DotSlash file, or a build target")
    parser.add_argument("args", metavar="ARGS", nargs=argparse.REMAINDER, help="arguments of the program")


def parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Split off what belongs to the program before argparse can see it: an option there is not ours."""
    place = 0
    while place < len(argv) and argv[place].startswith("-"):
        place += 2 if argv[place] in ("--jobs", "--sandbox") else 1
    args = parser.parse_args(argv[: place + 1])
    args.args = list(argv[place + 1 :])
    return args


def is_label(text: str) -> bool:
    """Whether the word names a build target rather than a file."""
    return "//" in text or text.startswith(":")


def run(args: argparse.Namespace) -> int:
    """Become the program; returns only by an error."""
    from fairlead.launch import execute

    if not is_label(args.what):
        execute.run(args.what, args.args, say=terminal.note)
    from fairlead.cli import target

    built = target.build(args, args.what, to_run=True)
    assert built.command is not None
    execute.replace([*built.command, *(args.args[1:] if args.args[:1] == ["--"] else args.args)])
