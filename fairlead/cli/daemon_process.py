"""Be the daemon of a project: started by the commands that want one."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", required=True, help="the root of the project")
    parser.add_argument("--store", required=True, help="the folder of its store")
    parser.add_argument("--ready", type=int, required=True, help="the descriptor to tell when it listens")


def run(args: argparse.Namespace) -> int:
    from fairlead import config
    from fairlead.build.daemon import life
    from fairlead.cli import main

    close_others(args.ready)
    root = Path(args.root)
    idle = config.load(root).number("build.daemon_idle")
    life.serve(root, Path(args.store), main, idle=idle, ready=args.ready)
    return 0


def close_others(ready: int) -> None:
    """Close the descriptors that the caller's caller left open: a lock or a pipe of a script would otherwise
    be held for as long as we live."""
    with contextlib.suppress(OSError):  # there is no such folder, and then we cannot tell
        for number in map(int, os.listdir("/dev/fd")):
            if number > 2 and number != ready:
                with contextlib.suppress(OSError):
                    os.close(number)
