"""Who hears of a build or test while it runs: the log, a stream of events, and the person at a terminal."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from fairlead.cli import terminal
from fairlead.cli.project import Project
from fairlead.errors import UsageError

if TYPE_CHECKING:
    from fairlead.build.builder import Builder
    from fairlead.build.event import Event
    from fairlead.build.log import Journal
    from fairlead.cli.progress import Progress


def add_options(parser: argparse.ArgumentParser) -> None:
    """The option that build and test share."""
    parser.add_argument(
        "--events",
        metavar="FILE",
        default=None,
        help="write what happens as JSON lines to FILE; - is stdout, in place of the plain lines",
    )


def quiet(args: argparse.Namespace) -> bool:
    """Whether stdout belongs to the events."""
    return bool(args.events == "-")


@contextlib.contextmanager
def watched(args: argparse.Namespace, here: Project, verb: str, engine: Builder) -> Iterator[Journal]:
    """Let log, events and terminal hear the engine, besides whom it tells already.

    Whoever has the journal ends it with the exit code; an exception does so too.
    """
    from fairlead.build import log

    if args.json and quiet(args):
        raise UsageError(
            "both --json and --events - write to stdout", where=f"fairlead {verb}", remedy="use one of them"
        )
    with contextlib.ExitStack() as stack:
        also = _stream(args.events, stack)
        journal = stack.enter_context(log.keep(here.root, verb, engine.plan, also=also))
        listeners = [journal.heard, engine.on_event]
        if not args.json and sys.stdout.isatty() and sys.stderr.isatty():
            from fairlead.cli.progress import Progress

            shown = Progress()
            stack.callback(_tell_what_was_long, here, shown, journal)
            listeners.insert(0, stack.enter_context(shown).heard)

        def heard(event: Event) -> None:
            for listener in listeners:
                listener(event)

        before, engine.on_event = engine.on_event, heard
        stack.callback(setattr, engine, "on_event", before)
        yield journal


def _tell_what_was_long(here: Project, shown: Progress, journal: Journal) -> None:
    """The critical path of a long call that came to its end, when nothing is drawn any more."""
    from fairlead.build import log
    from fairlead.cli.progress import LONG, critical

    logs = log.logs(here.root) if journal.ended and shown.ran and shown.seconds >= LONG else []
    steps = log.critical_path(log.ran(log.read(logs[0]))) if logs else []
    if steps:
        terminal.note(critical(steps))


def _stream(name: str | None, stack: contextlib.ExitStack) -> TextIO | None:
    if name is None:
        return None
    if name == "-":
        return sys.stdout
    from fairlead.build import log

    try:
        stream = open(name, "w", encoding="utf-8")  # noqa: SIM115 - closed by the stack
    except OSError as error:
        raise UsageError(
            f"cannot write the events: {error.strerror}", where=name, remedy="name another file, or -"
        ) from None
    stack.callback(log.close, stream)
    return stream
