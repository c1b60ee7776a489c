"""Print each setting in force and where its value came from.

Later sources win: the default, your own config.toml, the repository's fairlead.toml (or
[tool.fairlead] in pyproject.toml), and the environment (FAIRLEAD_ROOM_KEY).
"""

from __future__ import annotations

import argparse
import json

from fairlead import config
from fairlead.cli.terminal import say, style
from fairlead.errors import UsageError, did_you_mean


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="one setting, such as build.jobs: print its value alone")


def run(args: argparse.Namespace) -> int:
    rows = list(config.load().items())
    if args.name:
        named = {row.setting.name: row for row in rows}
        if args.name not in named:
            raise UsageError(
                f"there is no setting {args.name}",
                remedy=did_you_mean(args.name, named) or "`fairlead config` lists the settings",
            )
        rows = [named[args.name]]
    if args.json:
        settings = [
            {"name": r.setting.name, "value": r.value, "source": r.source, "help": r.setting.help}
            for r in rows
        ]
        say(json.dumps({"schema": "fairlead.config/1", "settings": settings}))
    elif args.name:
        say(_shown(rows[0].value))
    else:
        width = max(len(row.setting.name) for row in rows)
        for row in rows:
            say(f"{row.setting.name:<{width}}  {_shown(row.value):<20}  {style(row.source, 'dim')}")
    return 0


def _shown(value: config.Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(value) if isinstance(value, list) else str(value)
