"""The command and settings reference, generated from the parsers and the table of settings.

`scripts/reference` writes docs/commands.md and docs/settings.md; the test of the documentation
calls `commands()` and `settings()` and fails if the files differ.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from fairlead import config
from fairlead.cli import verbs
from fairlead.cli.parser import Parser

DOCS = Path(__file__).resolve().parent.parent / "docs"


def commands() -> str:
    """The text of docs/commands.md."""
    lines = [
        "# Commands",
        "",
        "Written by `scripts/reference` from the program; edit the program instead. Exit codes of every",
        "verb: 0 done, 1 the work failed (a test, a finding, a refused landing), 2 wrong usage or bad input,",
        "3 machinery (disk, network, server). Every verb takes `--json`.",
        "",
    ]
    for verb in verbs.VERBS:
        module = importlib.import_module(verb.module)
        parser = Parser(prog=f"fairlead {verb.name}")
        module.configure(parser)
        lines += [f"## fairlead {verb.name}", "", *(module.__doc__ or "").strip().splitlines(), ""]
        lines += _options(parser, f"fairlead {verb.name}")
    return "\n".join(lines).rstrip() + "\n"


def _options(parser: argparse.ArgumentParser, prog: str) -> list[str]:
    lines: list[str] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                title = f"{prog} {name}"
                lines += [f"### {title}", "", inner.description or "", "", *_options(inner, title)]
        elif not isinstance(action, argparse._HelpAction) and action.help != argparse.SUPPRESS:
            names = ", ".join(action.option_strings) or str(action.metavar or action.dest)
            value = ""
            if action.option_strings and action.nargs != 0:
                value = " " + str(action.metavar or action.dest.upper())
            lines.append(
                f"- `{names}{value}`: {action.help or 'one of ' + ', '.join(map(str, action.choices or ()))}"
            )
    return [*lines, ""] if lines else []


def settings() -> str:
    """The text of docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Written by `scripts/reference` from the table in `fairlead/config.py`. `fairlead config` prints",
        "each value in force with its source. Later sources win: the default; your own `config.toml` in",
        "`~/.config/fairlead` (or `FAIRLEAD_CONFIG_DIR`); the repository's `fairlead.toml`, or",
        "`[tool.fairlead]` in `pyproject.toml`; the environment, as `FAIRLEAD_<ROOM>_<KEY>`. Tables are",
        "named by room:",
        "",
        "```toml",
        "[build]",
        "jobs = 4",
        "```",
        "",
        "| setting | default | what it does |",
        "|---|---|---|",
    ]
    for setting in sorted(config.SETTINGS, key=lambda s: s.name):
        default = setting.default if setting.default not in ("", []) else "(empty)"
        own = " Personal: not read from a repository's files." if setting.personal else ""
        lines.append(f"| `{setting.name}` | `{default}` | {setting.help}{own} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (DOCS / "commands.md").write_text(commands())
    (DOCS / "settings.md").write_text(settings())
