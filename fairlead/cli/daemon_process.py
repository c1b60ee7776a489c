"""Be the daemon of a project: started by the commands that want one."""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", required=True, help="the root of the project")
    parser.add_argument("--store", required=True, help="the folder of its store")
    parser.add_argument("--ready", type=int, required=True, help="the descriptor to tell when it listens")


def run(args: argparse.Namespace) -> int:
    from fairlead import config
    from fairlead.build.daemon import life
    from fairlead.cli import main

    root = Path(args.root)
    idle = config.load(root).number("build.daemon_idle")
    life.serve(root, Path(args.store), main, idle=idle, ready=args.ready)
    return 0
