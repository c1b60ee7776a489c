"""List targets: the label, the rule and the place of each.

A pattern is //package:name, //package: (all of a package) or //package/... (all below a folder); without //
it is meant from the current folder. Without a pattern all targets of the project are listed. No rule runs.
"""

from __future__ import annotations

import argparse
import json

from fairlead.cli import project, terminal


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "patterns", nargs="*", metavar="PATTERN", help="what to list, such as //... or //a: (default: all)"
    )


def run(args: argparse.Namespace) -> int:
    here = project.Project.find()
    with here.graph() as graph:
        labels = sorted({label for text in args.patterns or ["//..."] for label in graph.targets(text)})
        nodes = [graph.node(label) for label in labels]
    if args.json:
        rows = [
            {"label": node.label, "rule": node.rule, "package": node.package, "place": node.place}
            for node in nodes
        ]
        print(json.dumps({"schema": "fairlead.targets/1", "targets": rows}, indent=2))
        return 0
    first = max((len(node.label) for node in nodes), default=0)
    second = max((len(node.rule) for node in nodes), default=0)
    for node in nodes:
        terminal.say(f"{node.label:<{first}}  {node.rule:<{second}}  {node.place}")
    return 0
