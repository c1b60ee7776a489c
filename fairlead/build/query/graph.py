"""The graph that questions are asked about: targets as their BUCK files declare them.

No rule runs, so a project whose rules fail can still be asked; and packages are loaded as the question
reaches them, so `deps(//a:b)` of a large project reads only what lies below. What a rule's actions make is
no part of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from fairlead.build.attrs import to_json
from fairlead.build.buckconfig import BuckConfig
from fairlead.build.evaluate import declaration, named
from fairlead.build.label import parse_label, parse_pattern
from fairlead.build.loader import Loader
from fairlead.build.plan import JSON
from fairlead.build.query.whole import Whole, find, keep, make
from fairlead.build.rule import Declared
from fairlead.build.tree import DiskTree, Kind, Tree
from fairlead.store import Store


@dataclass(frozen=True)
class Node:
    """A target. `package` is its package as in a label, "//a/b"; `build_file` the path of the file that
    declares it and `place` the line; `sources` are paths of files, `deps` labels, both sorted."""

    label: str
    rule: str
    package: str
    build_file: str
    place: str
    attrs: Mapping[str, JSON]
    deps: tuple[str, ...]
    sources: tuple[str, ...]


class Graph(Protocol):
    """What a question needs to know."""

    def targets(self, pattern: str) -> list[str]:
        """The labels that a pattern names, sorted; UsageError if there is no such target."""

    def node(self, label: str, asker: Node | None = None) -> Node:
        """The target of that label; UsageError if there is none, which names the target that asked."""

    def owners(self, path: str) -> list[str]:
        """The labels of the targets that name the file, sorted."""


class DeclaredGraph:
    """The graph of a tree. Patterns and files are meant from the folder `here` of the project. With a store
    it may know all targets as a `whole`, and does once all have been asked for."""

    def __init__(
        self,
        tree: Tree,
        config: BuckConfig | None = None,
        *,
        here: str = "",
        on_print: Callable[[str], None] | None = None,
        store: Store | None = None,
    ) -> None:
        # First, for a tree that has other answers now forgets what it was asked before.
        self._kept: tuple[Store, DiskTree] | None = None
        if store is not None and config is None and isinstance(tree, DiskTree):
            self._kept = store, tree
        self.whole = None if self._kept is None else find(*self._kept)
        self._config = config if config is not None else BuckConfig.load(tree)
        self._loader = Loader(
            tree, self._config, on_print or (lambda text: print(text, file=sys.stderr)), store
        )
        self._here = here
        self._nodes: dict[str, Node] = {}

    def flush(self) -> None:
        """Keep in the store what was evaluated for it."""
        self._loader.flush()

    def targets(self, pattern: str) -> list[str]:
        parsed = parse_pattern(pattern, "", self._here, self._config.cells)
        if self.whole is None and self._kept is not None and str(parsed) == "//...":
            self.whole = make(self._loader)
            if self.whole is not None:
                self._loader.flush()
                keep(*self._kept, self.whole)
            self._kept = None
        found = None if self.whole is None else self.whole.named(parsed)
        return found if found is not None else [str(label) for label in sorted(named(self._loader, parsed))]

    def node(self, label: str, asker: Node | None = None) -> Node:
        found = self._nodes.get(label)
        if found is None:
            parsed = parse_label(label, "", "", self._config.cells).raw_target()
            by, where = ("", "") if asker is None else (asker.label, asker.place)
            found = self._nodes[label] = self._node(declaration(self._loader, parsed, by, where))
        return found

    def has_packages(self) -> bool:
        """Whether there is any package at all."""
        return any(True for _ in self._loader.packages_below("", ""))

    def owners(self, path: str) -> list[str]:
        return sorted(str(target.label) for target in self._around(path) if path in target.sources())

    def beside(self, path: str) -> list[str]:
        """The labels of all targets of the package that a file belongs to, sorted."""
        return sorted(str(target.label) for target in self._around(path))

    def _around(self, path: str) -> Iterable[Declared]:
        folder = self._loader.owner(path.rpartition("/")[0])
        loaded = self._loader.package(*self._loader.cell_of(folder))
        return () if loaded is None else loaded.targets.values()

    def is_build_file(self, path: str) -> bool:
        """Whether a file declares the targets of its folder."""
        return self._loader.build_file(path.rpartition("/")[0]) == path

    def kind(self, path: str) -> Kind | None:
        """What stands at a path."""
        return self._loader.tree.kind(path)

    def _node(self, declared: Declared) -> Node:
        label = declared.label
        attrs: dict[str, JSON] = {"name": label.name}
        attrs.update((name, to_json(value)) for name, value in declared.attrs.items())
        attrs["visibility"] = list(declared.visibility)
        if declared.within_view is not None:
            attrs["within_view"] = list(declared.within_view)
        return Node(
            label=str(label),
            rule=declared.rule._name,
            package=f"{label.cell}//{label.package}",
            build_file=self._loader.build_file(self._config.cells.path(label.cell, label.package)),
            place=declared.place,
            attrs=attrs,
            deps=tuple(sorted(str(ref.label.raw_target()) for ref in declared.deps())),
            sources=tuple(declared.sources()),
        )


def whole_of(graph: Graph) -> Whole | None:
    """All targets as numbers, if they are known as such."""
    return graph.whole if isinstance(graph, DeclaredGraph) else None


def below(graph: Graph, roots: Iterable[str], depth: int | None = None) -> dict[str, Node]:
    """The roots and what they depend on, nearest first; at most `depth` steps away if it is given."""
    found = {label: graph.node(label) for label in roots}
    edge = list(found.values())
    while edge and (depth is None or depth > 0):
        fresh: list[Node] = []
        for node in edge:
            for label in node.deps:
                if label not in found:
                    found[label] = graph.node(label, node)
                    fresh.append(found[label])
        edge = fresh
        depth = None if depth is None else depth - 1
    return found
