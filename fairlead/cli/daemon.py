"""Look at the daemon of this project, or end it.

status: its process, what it does at the moment, what it watches and the memory it takes; exit code 1 if there
is none. stop: end it when the command that it runs, if any, is done. The next `fairlead build` or `test`
starts a new one, unless the setting `build.daemon` is off.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from fairlead.cli import project, terminal

MODES = ("auto", "on", "off")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("status", "stop"), help="what to do")


def run(args: argparse.Namespace) -> int:
    from fairlead.build.daemon import life

    here = project.Project.find()
    found: dict[str, Any]
    if args.what == "stop":
        ended = life.stop(here.root)
        found = {"stopped": ended}
        text = "the daemon has ended" if ended else "there is no daemon"
        code = 0
    else:
        status = life.status(here.root)
        found = {"running": status is not None, **(status or {})}
        text = "there is no daemon" if status is None else describe(status)
        code = 1 if status is None else 0
    if args.json:
        print(json.dumps({"schema": "fairlead.daemon/1", **found}, indent=2))
    else:
        terminal.say(text)
    return code


def describe(status: dict[str, Any]) -> str:
    """The state of a daemon, for people."""
    age = terminal.seconds(max(0.0, time.time() - status["started"]))
    doing = "nothing" if status["running"] is None else "fairlead " + " ".join(status["running"])
    watched = (
        "no folders: files are looked at by each command"
        if status["watcher"] == "none"
        else project.counted(status["watched"], "folder")
    )
    return "\n".join(
        [
            f"process   {status['pid']}, fairlead {status['version']}, since {age}",
            f"project   {status['root']}",
            f"store     {status['store']}",
            f"does      {doing}; {status['waiting']} waiting; {status['commands']} done",
            f"watches   {watched}",
            f"memory    {status['memory'] / 2**20:.0f} MiB",
            f"launcher  {status['launcher']}",
        ]
    )


def wanted(here: project.Project) -> bool:
    """Whether the project's settings want a daemon: "auto" does where one makes commands faster."""
    mode = here.settings.text("build.daemon")
    return mode == "on" or (mode == "auto" and _helps())


def _helps() -> bool:
    """Whether a daemon makes commands faster here: it does where the system tells of changed files. What
    runs from a zip could not tell when it is replaced."""
    return sys.platform == "linux" and os.environ.get("CI") != "true" and Path(__file__).is_file()
