"""The query language over small graphs: what each function means, and what is said of a bad question."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.build.plan import JSON
from fairlead.build.query.functions import FUNCTIONS, Files, ask
from fairlead.build.query.graph import Node
from fairlead.build.query.syntax import parse
from fairlead.errors import UsageError


class Drawn:
    """A graph given as label -> dependencies. `//...` names all of it."""

    def __init__(self, edges: dict[str, list[str]], **attrs: dict[str, JSON]) -> None:
        self.edges = edges
        self.attrs = attrs

    def targets(self, pattern: str) -> list[str]:
        if pattern == "//...":
            return sorted(self.edges)
        label = pattern if "//" in pattern else f"//:{pattern}"
        if label not in self.edges:
            raise UsageError(f"unknown target {label}")
        return [label]

    def node(self, label: str, asker: Node | None = None) -> Node:
        name = label.removeprefix("//:")
        return Node(
            label=label,
            rule="py_test" if name.startswith("t") else "py_library",
            package="//",
            build_file="BUCK",
            place="BUCK:1",
            attrs={"name": name, **self.attrs.get(name, {})},
            deps=tuple(f"//:{dep}" for dep in self.edges[label]),
            sources=(f"src/{name}.py",),
        )

    def owners(self, path: str) -> list[str]:
        return [label for label in sorted(self.edges) if path in self.node(label).sources]


def drawn(text: str, **attrs: dict[str, JSON]) -> Drawn:
    """ "a>b,c b>c" as a graph."""
    edges: dict[str, list[str]] = {}
    for word in text.split():
        name, _, deps = word.partition(">")
        edges[f"//:{name}"] = deps.split(",") if deps else []
    return Drawn(edges, **attrs)


#       t1   t2
#       |    |
#       a    b
#      / \  /
#     c   d
#      \ /
#       e       alone
GRAPH = drawn(
    "t1>a t2>b a>c,d b>d c>e d>e e alone",
    a={"labels": ["fast", "net"], "tests": ["//:t1"], "size": 3, "env": {"MODE": "on"}},
    b={"labels": ["fast"], "tests": ["//:t2", "//:t1"]},
)


def answer(text: str, graph: Drawn = GRAPH) -> str:
    found = ask(graph, text, here="src")
    names = found.paths if isinstance(found, Files) else found.labels
    return " ".join(name.removeprefix("//:") for name in names)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", "a"),
        ("//:a", "a"),
        ("deps(a)", "a c d e"),
        ("deps(a, 0)", "a"),
        ("deps(a, 1)", "a c d"),
        ("deps(set(a b))", "a b c d e"),
        ("rdeps(//..., d)", "a b d t1 t2"),
        ("rdeps(//..., d, 1)", "a b d"),
        ("rdeps(t2, d)", "b d t2"),
        ("rdeps(t1, b)", ""),  # outside of the universe
        ("kind(test, //...)", "t1 t2"),
        ("kind('^py_lib', deps(t2))", "b d e"),
        ("filter('[ab]$', //...)", "a b"),
        ("filter(c, inputs(deps(a)))", "src/a.py src/c.py src/d.py src/e.py"),
        ("attrfilter(labels, fast, //...)", "a b"),
        ("attrfilter(labels, net, //...)", "a"),
        ("attrfilter(labels, fas, //...)", ""),
        ("attrfilter(size, 3, //...)", "a"),
        ("attrfilter(env, MODE, //...)", "a"),
        ("attrfilter(buck.type, py_test, //...)", "t1 t2"),
        ("attrfilter(buck.deps, //:d, //...)", "a b"),
        ("nattrfilter(labels, fast, deps(a))", "c d e"),
        ("attrregexfilter(labels, '^n', //...)", "a"),
        ("owner(c.py)", "c"),
        ("owner('../src/c.py')", "c"),
        ("owner(set(c.py d.py none.py))", "c d"),
        ("owner(inputs(a))", "a"),
        ("inputs(set(a c))", "src/a.py src/c.py"),
        ("buildfile(//...)", "BUCK"),
        ("testsof(set(a b))", "t1 t2"),
        ("testsof(e)", ""),
        ("allpaths(t1, e)", "a c d e t1"),
        ("allpaths(t2, c)", ""),
        ("allpaths(a, a)", "a"),
        ("somepath(t2, e)", "t2 b d e"),
        ("somepath(e, t2)", ""),
        ("somepath(a, a)", "a"),
        ("set()", ""),
        ("a + b", "a b"),
        ("deps(a) - c", "a d e"),
        ("deps(a) ^ deps(b)", "d e"),
        ("deps(a) union b except c intersect //...", "a b d e"),
        ("a + b - b", "a"),  # one precedence, from the left
        ("a - a + b", "b"),
        ("b + a ^ a", "a"),
        ("b + (b ^ a)", "b"),
        ("a - (a + b)", ""),
        ("set(a b) + inputs(set())", "a b"),
        ("  deps( a ,1 )  ", "a c d"),
    ],
)
def test_what_the_functions_mean(text: str, expected: str) -> None:
    assert answer(text) == expected


def test_every_function_is_in_the_table_above() -> None:
    (mark,) = [m for m in test_what_the_functions_mean.pytestmark if m.name == "parametrize"]  # type: ignore[attr-defined]
    tried = " ".join(text for text, _ in mark.args[1])
    assert [name for name in FUNCTIONS if f"{name}(" not in tried] == []


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", 1, "an expression is missing"),
        ("deps(a", 7, ") is missing"),
        ("deps(a))", 8, "')' is too much"),
        ("a b", 3, "'b' is too much"),
        ("a +", 4, "an expression is missing"),
        ("- a", 1, "an expression is missing"),
        ("dep(a)", 1, "did you mean deps"),
        ("deps()", 1, "deps(EXPR[, DEPTH])"),
        ("deps(a, b)", 1, "is a number, not 'b'"),
        ("deps(a, deps(b))", 1, "is a word or a quoted string"),
        ("kind('(', a)", 1, "no regular expression"),
        ("a + 'b", 5, "a quote is not closed"),
        ("a & b", 3, "'&'"),
        ("set(a, b)", 6, "parted by spaces"),
        ("deps(inputs(a))", 1, "targets, not files"),
        ("owner(deps(a))", 1, "files, not targets"),
        ("nothing", 1, "unknown target //:nothing"),
        ("(" * 2000 + "a" + ")" * 2000, 102, "nested deeper"),
    ],
)
def test_a_bad_question_is_told_with_its_column(text: str, column: int, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        answer(text)
    said = caught.value
    assert said.where == f"column {column} of the query" and words in f"{said.what} {said.remedy}"


def test_files_and_targets_are_not_joined() -> None:
    with pytest.raises(UsageError, match="joins targets with files"):
        answer("a + inputs(a)")


@given(st.text(alphabet="ab()+-^, '\"%deps1set", max_size=30))
def test_any_text_is_a_question_or_a_told_mistake(text: str) -> None:
    try:
        parse(text)
    except UsageError as error:
        assert error.where.startswith("column ")


EDGES = st.integers(1, 9).flatmap(
    lambda size: st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)), max_size=20).map(
        lambda pairs: (size, {(max(p), min(p)) for p in pairs if p[0] != p[1]})
    )
)


@given(EDGES, st.data())
def test_walks_agree_with_the_closure_of_the_relation(
    graph: tuple[int, set[tuple[int, int]]], data: st.DataObject
) -> None:
    size, edges = graph
    reach = {(n, n) for n in range(size)} | edges
    while True:
        more = reach | {(a, d) for a, b in reach for c, d in edges if b == c}
        if more == reach:
            break
        reach = more
    made = Drawn({f"//:{n}": [str(b) for a, b in sorted(edges) if a == n] for n in range(size)})
    one, two = (data.draw(st.integers(0, size - 1)) for _ in range(2))

    def numbers(text: str) -> set[int]:
        return {int(word) for word in answer(text, made).split()}

    assert numbers(f"deps({one})") == {n for n in range(size) if (one, n) in reach}
    assert numbers(f"rdeps(//..., {one})") == {n for n in range(size) if (n, one) in reach}
    between = {n for n in range(size) if (one, n) in reach and (n, two) in reach}
    assert numbers(f"allpaths({one}, {two})") == between
    path = [int(word) for word in answer(f"somepath({one}, {two})", made).split()]
    assert bool(path) == ((one, two) in reach)
    if path:
        assert (path[0], path[-1]) == (one, two) and set(itertools.pairwise(path)) <= edges
    depth = data.draw(st.integers(0, 4))
    near = {one}
    for _ in range(depth):
        near |= {b for a, b in edges if a in near}
    assert numbers(f"deps({one}, {depth})") == near
