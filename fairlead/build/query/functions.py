"""The functions of Buck2's query language, over a graph of declared targets.

Names, arguments and meaning are those of Buck2's `uquery`; what a target "depends on" are all targets that
its attributes name, toolchains among them. A result is a set of targets or a set of files, sorted, except
the path that `somepath` gives, whose order is its point.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from fairlead.build.plan import JSON
from fairlead.build.query.graph import Graph, Node, below, whole_of
from fairlead.build.query.syntax import Call, Chain, Expression, Word, bad, parse
from fairlead.errors import FairleadError, UsageError, did_you_mean


@dataclass(frozen=True)
class Targets:
    """Labels, each once."""

    labels: tuple[str, ...]


@dataclass(frozen=True)
class Files:
    """Paths in the project, each once, sorted."""

    paths: tuple[str, ...]


Result: TypeAlias = Targets | Files
_Run: TypeAlias = Callable[["Query", Call], Result]


def ask(graph: Graph, text: str, *, here: str = "") -> Result:
    """The answer to a question. `here` is the folder that files named in it are meant from."""
    return Query(graph, here).result(parse(text))


class Query:
    """Computes expressions over one graph."""

    def __init__(self, graph: Graph, here: str) -> None:
        self.graph = graph
        self.here = here

    def result(self, expression: Expression) -> Result:
        """The set that an expression stands for."""
        if isinstance(expression, Word):
            return Targets(tuple(self._pattern(expression)))
        if isinstance(expression, Chain):
            found = self.result(expression.first)
            for operator, operand in expression.rest:
                found = self._joined(found, operator, self.result(operand))
            return found
        function = FUNCTIONS.get(expression.name)
        if function is None:
            raise bad(
                f"there is no function {expression.name}",
                expression.at,
                did_you_mean(expression.name, FUNCTIONS) or "there are " + ", ".join(sorted(FUNCTIONS)),
            )
        count = len(expression.args)
        if not function.least <= count <= function.most:
            raise bad(
                f"{expression.name}() takes other arguments than {count}", expression.at, function.usage
            )
        return function.run(self, expression)

    def _pattern(self, word: Word) -> list[str]:
        try:
            return self.graph.targets(word.text)
        except FairleadError as error:
            error.where = error.where or f"column {word.at + 1} of the query"
            raise

    def _joined(self, left: Result, operator: str, right: Result) -> Result:
        one = left.labels if isinstance(left, Targets) else left.paths
        two = right.labels if isinstance(right, Targets) else right.paths
        if type(left) is not type(right) and one and two:
            raise UsageError(
                f"{operator} joins targets with files",
                where="the query",
                remedy="owner(FILE) makes targets of files, inputs(EXPR) files of targets",
            )
        kind = Targets if isinstance(left if one else right, Targets) else Files
        if operator == "+":
            return kind(tuple(sorted({*one, *two})))
        other = set(two)
        return kind(tuple(sorted(name for name in one if (name in other) == (operator == "^"))))

    # Arguments ------------------------------------------------------------------------------------------

    def targets(self, call: Call, index: int) -> tuple[str, ...]:
        """The argument as targets."""
        found = self.result(call.args[index])
        if isinstance(found, Files):
            if not found.paths:
                return ()
            raise bad(
                f"argument {index + 1} of {call.name}() is targets, not files",
                call.at,
                "owner(FILE) makes targets of files",
            )
        return found.labels

    def text(self, call: Call, index: int) -> str:
        """The argument as a string."""
        arg = call.args[index]
        if not isinstance(arg, Word):
            raise bad(f"argument {index + 1} of {call.name}() is a word or a quoted string", call.at)
        return arg.text

    def depth(self, call: Call, index: int) -> int | None:
        """The argument as a number of steps; None if it is not given, or less than 0."""
        if len(call.args) <= index:
            return None
        text = self.text(call, index)
        try:
            return None if int(text) < 0 else int(text)
        except ValueError:
            raise bad(f"argument {index + 1} of {call.name}() is a number, not {text!r}", call.at) from None

    def pattern(self, call: Call, index: int) -> re.Pattern[str]:
        """The argument as a regular expression."""
        text = self.text(call, index)
        try:
            return re.compile(text)
        except re.error as error:
            raise bad(f"{text!r} is no regular expression: {error}", call.at) from None

    def file(self, text: str) -> str:
        """The path in the project of a file as it is named from `here`."""
        path = posixpath.normpath(posixpath.join(self.here, text))
        if path.startswith(("..", "/")):
            raise UsageError(f"{text} is no file of this project", where="the query")
        return path

    def nodes(self, labels: Iterable[str]) -> list[Node]:
        return [self.graph.node(label) for label in labels]

    # Walks ----------------------------------------------------------------------------------------------

    def below(self, roots: Sequence[str], depth: int | None) -> Iterable[str]:
        """`roots` and what they depend on, at most `depth` steps away."""
        whole = whole_of(self.graph)
        numbers = None if whole is None else whole.numbers(roots)
        if whole is None or numbers is None:
            return below(self.graph, roots, depth)
        return [whole.labels[number] for number in whole.below(numbers, depth)]

    def rule(self, label: str) -> str:
        """The rule of a target."""
        whole = whole_of(self.graph)
        number = None if whole is None else whole.ids.get(label)
        return self.graph.node(label).rule if whole is None or number is None else whole.rules[number]

    def rdeps(self, universe: Sequence[str], roots: Sequence[str], depth: int | None) -> set[str]:
        """Those of what `universe` depends on that depend on `roots`, at most `depth` steps away."""
        whole = whole_of(self.graph)
        if whole is not None:
            numbers, lower = whole.numbers(universe), whole.numbers(roots)
            if numbers is not None and lower is not None:
                return {whole.labels[number] for number in whole.dependants(numbers, lower, depth)}
        inside = below(self.graph, universe)
        above: dict[str, list[str]] = {}
        for node in inside.values():
            for label in node.deps:
                above.setdefault(label, []).append(node.label)
        found = {label for label in roots if label in inside}
        edge = found
        while edge and (depth is None or depth > 0):
            edge = {label for lower in edge for label in above.get(lower, ())} - found
            found = found | edge
            depth = None if depth is None else depth - 1
        return found

    def path(self, roots: Sequence[str], ends: set[str]) -> list[str]:
        """A shortest path from one of `roots` to one of `ends`; empty if there is none."""
        whole = whole_of(self.graph)
        if whole is not None:
            numbers, goals = whole.numbers(roots), whole.numbers(ends)
            if numbers is not None and goals is not None:
                return [whole.labels[number] for number in whole.path(numbers, goals)]
        came: dict[str, str | None] = dict.fromkeys(roots)
        edge = list(came)
        while edge:
            fresh: list[str] = []
            for label in edge:
                if label in ends:
                    found = [label]
                    while (before := came[found[-1]]) is not None:
                        found.append(before)
                    return found[::-1]
                for lower in self.graph.node(label).deps:
                    if lower not in came:
                        came[lower] = label
                        fresh.append(lower)
            edge = fresh
        return []


# The functions ----------------------------------------------------------------------------------------------


def _deps(query: Query, call: Call) -> Result:
    return Targets(tuple(sorted(query.below(query.targets(call, 0), query.depth(call, 1)))))


def _rdeps(query: Query, call: Call) -> Result:
    found = query.rdeps(query.targets(call, 0), query.targets(call, 1), query.depth(call, 2))
    return Targets(tuple(sorted(found)))


def _allpaths(query: Query, call: Call) -> Result:
    roots = query.targets(call, 0)
    return Targets(tuple(sorted(query.rdeps(roots, query.targets(call, 1), None))))


def _somepath(query: Query, call: Call) -> Result:
    return Targets(tuple(query.path(query.targets(call, 0), set(query.targets(call, 1)))))


def _set(query: Query, call: Call) -> Result:
    found = {label for index in range(len(call.args)) for label in query.targets(call, index)}
    return Targets(tuple(sorted(found)))


def _kind(query: Query, call: Call) -> Result:
    wanted = query.pattern(call, 0)
    return Targets(tuple(label for label in query.targets(call, 1) if wanted.search(query.rule(label))))


def _filter(query: Query, call: Call) -> Result:
    wanted = query.pattern(call, 0)
    found = query.result(call.args[1])
    if isinstance(found, Files):
        return Files(tuple(path for path in found.paths if wanted.search(path)))
    return Targets(tuple(label for label in found.labels if wanted.search(label)))


def _attrfilter(query: Query, call: Call) -> Result:
    name, wanted = query.text(call, 0), query.text(call, 1)
    return _kept(query.nodes(query.targets(call, 2)), lambda node: wanted in _values(node, name))


def _nattrfilter(query: Query, call: Call) -> Result:
    name, wanted = query.text(call, 0), query.text(call, 1)
    return _kept(query.nodes(query.targets(call, 2)), lambda node: wanted not in _values(node, name))


def _attrregexfilter(query: Query, call: Call) -> Result:
    name, wanted = query.text(call, 0), query.pattern(call, 1)
    return _kept(
        query.nodes(query.targets(call, 2)), lambda node: any(map(wanted.search, _values(node, name)))
    )


def _owner(query: Query, call: Call) -> Result:
    arg = call.args[0]
    if isinstance(arg, Call) and arg.name == "set":
        paths = [query.file(query.text(arg, index)) for index in range(len(arg.args))]
    elif isinstance(arg, Word):
        paths = [query.file(arg.text)]
    else:
        found = query.result(arg)
        if isinstance(found, Targets):
            raise bad("owner() takes files, not targets", call.at, "name a file, or a set() of files")
        paths = list(found.paths)
    return Targets(tuple(sorted({label for path in paths for label in query.graph.owners(path)})))


def _inputs(query: Query, call: Call) -> Result:
    nodes = query.nodes(query.targets(call, 0))
    return Files(tuple(sorted({path for node in nodes for path in node.sources})))


def _buildfile(query: Query, call: Call) -> Result:
    return Files(tuple(sorted({node.build_file for node in query.nodes(query.targets(call, 0))})))


def _testsof(query: Query, call: Call) -> Result:
    nodes = query.nodes(query.targets(call, 0))
    return Targets(tuple(sorted({label for node in nodes for label in _tests(query, node)})))


def _tests(query: Query, node: Node) -> list[str]:
    """The targets that the attribute `tests` names."""
    named = node.attrs.get("tests")
    texts = named if isinstance(named, list) else []
    return [query.graph.node(text, node).label for text in texts if isinstance(text, str)]


def _kept(nodes: Iterable[Node], good: Callable[[Node], bool]) -> Targets:
    return Targets(tuple(node.label for node in nodes if good(node)))


def attributes(node: Node) -> Mapping[str, JSON]:
    """A target's attributes, with those that every target has under `buck.`."""
    return {
        **node.attrs,
        "buck.type": node.rule,
        "buck.package": node.package,
        "buck.deps": list(node.deps),
        "buck.inputs": list(node.sources),
    }


def _values(node: Node, name: str) -> list[str]:
    """What an attribute holds, as texts: of a list its items, of a dict its keys and values."""
    found: list[str] = []
    todo = [attributes(node).get(name)]
    while todo:
        value = todo.pop()
        if isinstance(value, list):
            todo.extend(value)
        elif isinstance(value, dict):
            todo.extend((*value, *value.values()))
        elif value is not None:
            found.append(str(value))
    return found


@dataclass(frozen=True)
class Function:
    """A function of the language: how many arguments it takes, and how it is written."""

    run: _Run
    usage: str
    least: int
    most: int


FUNCTIONS: Mapping[str, Function] = {
    "allpaths": Function(_allpaths, "allpaths(FROM, TO)", 2, 2),
    "attrfilter": Function(_attrfilter, "attrfilter(ATTRIBUTE, VALUE, EXPR)", 3, 3),
    "attrregexfilter": Function(_attrregexfilter, "attrregexfilter(ATTRIBUTE, REGEX, EXPR)", 3, 3),
    "buildfile": Function(_buildfile, "buildfile(EXPR)", 1, 1),
    "deps": Function(_deps, "deps(EXPR[, DEPTH])", 1, 2),
    "filter": Function(_filter, "filter(REGEX, EXPR)", 2, 2),
    "inputs": Function(_inputs, "inputs(EXPR)", 1, 1),
    "kind": Function(_kind, "kind(REGEX, EXPR)", 2, 2),
    "nattrfilter": Function(_nattrfilter, "nattrfilter(ATTRIBUTE, VALUE, EXPR)", 3, 3),
    "owner": Function(_owner, "owner(FILE)", 1, 1),
    "rdeps": Function(_rdeps, "rdeps(UNIVERSE, EXPR[, DEPTH])", 2, 3),
    "set": Function(_set, "set(A B ...)", 0, 1 << 20),
    "somepath": Function(_somepath, "somepath(FROM, TO)", 2, 2),
    "testsof": Function(_testsof, "testsof(EXPR)", 1, 1),
}
"""Every function by its name."""
