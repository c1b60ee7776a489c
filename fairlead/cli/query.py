"""Ask about the graph of targets, in Buck2's query language; no rule and no action runs.

Functions: allpaths, attrfilter, attrregexfilter, buildfile, deps, filter, inputs, kind, nattrfilter, owner,
rdeps, set, somepath, testsof. Operators, applied from the left: + - ^, or union, except, intersect. A word is
a target pattern, meant from the current folder.

With %s in the query it is asked once for each ARG; with %Ss once, for the set of all. An ARG that begins with
@ is a file with one argument a line.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead.cli import project, terminal
from fairlead.errors import UsageError

if TYPE_CHECKING:
    from fairlead.build.query.functions import Result
    from fairlead.build.query.graph import Graph

FORMATS = ("list", "json", "dot")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", metavar="EXPR", help="the question, such as 'rdeps(//..., owner(a.py))'")
    parser.add_argument("args", nargs="*", metavar="ARG", help="what %%s or %%Ss in the question stands for")
    parser.add_argument(
        "--output-format", choices=FORMATS, default="list", help="how the answer is printed: list, json, dot"
    )
    parser.add_argument(
        "--output-attribute",
        action="append",
        default=[],
        metavar="REGEX",
        help="with json, also the attributes with such names",
    )


def run(args: argparse.Namespace) -> int:
    from fairlead.build.query.functions import ask

    here = project.Project.find()
    wanted = [_compiled(text) for text in args.output_attribute]
    if wanted and not args.json and args.output_format != "json":
        raise UsageError(
            "attributes are shown as JSON only",
            where="--output-attribute",
            remedy="add --output-format json",
        )
    with here.graph() as graph:
        answers = {
            name: ask(graph, text, here=here.package)
            for name, text in questions(args.query, args.args).items()
        }
        many = "%s" in args.query
        if args.json or args.output_format == "json":
            shown = {name: _json(graph, found, wanted) for name, found in answers.items()}
            result: object = shown if many else shown[""]
            if args.json:
                result = {"schema": "fairlead.query/1", "query": args.query, "result": result}
            print(json.dumps(result, indent=2))
            return 0
        if args.output_format == "dot":
            terminal.say(dot(graph, list(dict.fromkeys(name for a in answers.values() for name in names(a)))))
            return 0
        for name in dict.fromkeys(name for answer in answers.values() for name in names(answer)):
            terminal.say(name)
        return 0


def questions(query: str, args: list[str]) -> dict[str, str]:
    """The questions to ask, by the argument that each is for ("" if it is for none)."""
    words = [line for word in args for line in _lines(word)]
    if "%s" not in query and "%Ss" not in query:
        if args:
            raise UsageError(
                f"{args[0]} is an argument, but the query has no %s",
                where=query,
                remedy="quote the whole query as one word of the shell",
            )
        return {"": query}
    if not args:
        raise UsageError(
            "the query has %s, but there is no argument", where=query, remedy="name some targets"
        )
    for word in words:
        if '"' in word:
            raise UsageError(f"{word} cannot stand in a query", remedy='an argument holds no "')
    query = query.replace("%Ss", "set(" + " ".join(f'"{word}"' for word in words) + ")")
    if "%s" not in query:
        return {"": query}
    return {word: query.replace("%s", f'"{word}"') for word in words}


def _lines(word: str) -> list[str]:
    if not word.startswith("@") or "//" in word:  # @cell//a:b is a label
        return [word]
    try:
        text = Path(word[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the arguments: {error}", where=word) from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def names(answer: Result) -> tuple[str, ...]:
    """Labels or paths."""
    from fairlead.build.query.functions import Targets

    return answer.labels if isinstance(answer, Targets) else answer.paths


def dot(graph: Graph, shown: list[str]) -> str:
    """The targets and what they depend on among themselves, in Graphviz' language; files have no edges."""
    lines = ["digraph result_graph {"]
    lines += [f"  {_quoted(name)};" for name in shown]
    inside = {name for name in shown if "//" in name}
    for name in shown:
        if name in inside:
            lines += [
                f"  {_quoted(name)} -> {_quoted(dep)};" for dep in graph.node(name).deps if dep in inside
            ]
    return "\n".join([*lines, "}"])


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _compiled(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise UsageError(f"{text!r} is no regular expression: {error}", where="--output-attribute") from None


def _json(graph: Graph, answer: Result, wanted: list[re.Pattern[str]]) -> object:
    """Names alone, or with the attributes that were asked for."""
    from fairlead.build.query.functions import Targets, attributes

    if not wanted or not isinstance(answer, Targets):
        return list(names(answer))
    return {
        label: {
            name: value
            for name, value in attributes(graph.node(label)).items()
            if any(pattern.fullmatch(name) for pattern in wanted)
        }
        for label in answer.labels
    }
