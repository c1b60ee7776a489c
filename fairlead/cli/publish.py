"""Publish a built executable as a DotSlash file that pins it by digest.

  fairlead publish //:tool               build the target, send it to the server, write ./tool
  fairlead publish --file dist/tool      the same for a file that is already there
  fairlead publish --file dist/tool --url URL    send nothing: the bytes are already at URL

Before anything is written, the address is asked whether it really serves those bytes. Commit the file that is
written: `fairlead run ./tool` and `dotslash ./tool` start the program, on every machine that can reach it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from fairlead.cli import client, project, terminal
from fairlead.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """What can be asked."""
    parser.add_argument("label", nargs="?", metavar="LABEL", help="the target to build and publish")
    parser.add_argument("--file", type=Path, metavar="PATH", help="publish this file instead of a target")
    parser.add_argument("--name", help="the program's name; default: that of the file")
    parser.add_argument("--out", type=Path, metavar="PATH", help="where to write; default: the name, here")
    parser.add_argument("--url", default="", help="where the bytes are already served; sends nothing")
    parser.add_argument(
        "--platform",
        action="append",
        default=[],
        metavar="PLATFORM",
        help="a platform it runs on, such as linux-x86_64; may be repeated; default: this one, or all but"
        " Windows for a zip with a #! line",
    )
    client.add_server_option(parser)
    project.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Build if need be, publish, and say where it is."""
    from fairlead.launch import publish

    file = _file(args)
    name = args.name or file.name
    server, token = "", None
    if not args.url:
        known = client.connect(args.server, client.here())
        assert known.login is not None
        server, token = known.url, known.login.token
    made = publish.publish(
        file,
        name=name,
        out=args.out or Path(name),
        url=args.url,
        server=server,
        token=token,
        platforms=args.platform,
    )
    if args.json:
        document = {
            "schema": "fairlead.publish/1",
            "manifest": str(made.manifest),
            "url": made.url,
            "size": made.size,
            "blake3": made.digest,
            "platforms": list(made.platforms),
            "uploaded": made.uploaded,
        }
        print(json.dumps(document, indent=2))
        return 0
    how = "uploaded to" if made.uploaded else "already at"
    terminal.say(f"{name}: {made.size} bytes, {how} {made.url}")
    terminal.say(f"wrote {made.manifest} for {', '.join(made.platforms)}")
    return 0


def _file(args: argparse.Namespace) -> Path:
    """The file to publish: the one named, or the one output of the target."""
    if (args.label is None) == (args.file is None):
        raise UsageError(
            "name what to publish: either a target or a file",
            where="fairlead publish",
            remedy="fairlead publish //package:name, or fairlead publish --file PATH",
        )
    if args.file is not None:
        path: Path = args.file
        return path
    from fairlead.cli import target

    built = target.build(args, args.label)
    if len(built.outputs) != 1 or not built.outputs[0].is_file():
        raise UsageError(
            f"{built.label} does not make one file: it makes {len(built.outputs)} outputs"
            if len(built.outputs) != 1
            else f"{built.label} makes a folder, not a file",
            remedy="publish a target with one executable output, such as a python_binary",
        )
    return built.outputs[0]
