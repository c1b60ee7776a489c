"""Be the daemon of a project: started by the commands that want one."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path

from fairlead.errors import FairleadError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--start", required=True, help="the folder in whose project a command is waiting")
    parser.add_argument("--ready", type=int, required=True, help="the descriptor to tell when it listens")


def run(args: argparse.Namespace) -> int:
    from fairlead.build.daemon import life, start
    from fairlead.cli import daemon, main, project

    close_others(args.ready)
    try:
        here = project.Project.find(Path(args.start))
        if not daemon.wanted(here):
            os.write(args.ready, start.UNWANTED)
            return 0
        idle = here.settings.number("build.daemon_idle")
        store = here.store().root
    except FairleadError:  # what is wrong with the project is for the command itself to say
        os.write(args.ready, start.UNWANTED)
        return 0
    life.serve(here.root, store, main, idle=idle, ready=args.ready)
    return 0


def close_others(ready: int) -> None:
    """Close the descriptors that the caller's caller left open: a lock or a pipe of a script would otherwise
    be held for as long as we live."""
    with contextlib.suppress(OSError):  # there is no such folder, and then we cannot tell
        for number in map(int, os.listdir("/dev/fd")):
            if number > 2 and number != ready:
                with contextlib.suppress(OSError):
                    os.close(number)
