"""What a change of some files can reach, by the graph as it is declared: no rule runs and no key is computed.

Wider than `affected`, which compares keys: all that depends on a target that names the file, whether or not
its result will differ. So it needs no earlier state, and of 200,000 targets walks only those that it names.

A file reaches the targets that name it; a build file all of its package; a .bzl file all packages that load
it; settings everything; and a file that is gone all of the package that it was in, which may have listed it.
A file is meant by its own path: a symbolic link that leads to it is another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fairlead.build.query.functions import Query
from fairlead.build.query.graph import DeclaredGraph


@dataclass(frozen=True)
class Reached:
    """A target that a change can reach; `test` says that its rule's name ends with `_test`."""

    label: str
    rule: str
    test: bool


def reached(graph: DeclaredGraph, paths: Iterable[str]) -> list[Reached]:
    """The targets that a change of the files can reach, in order of label. Paths are relative to the root."""
    universe = graph.targets("//...")
    query = Query(graph, "")
    roots = sorted({label for path in paths for label in _at(graph, path, universe)})
    known = set(universe)
    found = query.rdeps(universe, [label for label in roots if label in known], None)
    # What the universe does not hold, such as another cell's target, is reached all the same.
    rules = {label: query.rule(label) for label in sorted({*found, *roots})}
    return [Reached(label, rule, rule.endswith("_test")) for label, rule in rules.items()]


def _at(graph: DeclaredGraph, path: str, universe: list[str]) -> list[str]:
    """The targets that a file is a part of."""
    if path in (".buckconfig", ".buckconfig.local") or path.startswith(".buckconfig.d/"):
        return universe
    found = graph.owners(path)
    if graph.is_build_file(path) or graph.kind(path) is None:
        found = graph.beside(path)
    if path.endswith(".bzl"):
        if graph.whole is None:
            return universe
        for place in graph.whole.places:
            if path in place.modules:
                found = found + graph.whole.labels[place.first : place.end]
    return found
