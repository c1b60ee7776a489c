"""Where the files of the project stand in the folder that a test runs in, and the way back.

A test sees sources at their own paths, and modules in link trees, at their places on Python's search path.
For a path that it asked for in vain, `sources` says where the project would have such a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fairlead.build.plan import Plan

OUTPUTS = "fairlead-out"


@dataclass(frozen=True)
class Layout:
    """`trees`: path of a link tree -> path in it -> where that comes from."""

    trees: Mapping[str, Mapping[str, str]]

    @classmethod
    def of(cls, plan: Plan, label: str) -> Layout:
        """The link trees that the test `label` gets."""
        test = plan.targets[label].test
        inputs = set(test.inputs) if test is not None else set()
        return cls(
            {
                action.outputs[0]: dict(action.entries)
                for action in plan.actions
                if action.kind == "link_tree" and action.outputs[0] in inputs
            }
        )

    def shown(self, path: str) -> str:
        """The path as a person knows it: without the name of the link tree that it is in."""
        tree = self._tree(path)
        return path[len(tree) + 1 :] or "." if tree is not None else path or "."

    def sources(self, path: str) -> Iterator[str]:
        """Paths of the project that could stand at `path` of the test's folder, likeliest first."""
        tree = self._tree(path)
        if tree is not None:
            yield from _sources(path[len(tree) + 1 :], self.trees[tree])
        elif path and path.split("/")[0] != OUTPUTS:
            yield path

    def _tree(self, path: str) -> str | None:
        return next((tree for tree in self.trees if path == tree or path.startswith(f"{tree}/")), None)


def _sources(path: str, entries: Mapping[str, str]) -> Iterator[str]:
    """Beside those files that stand next to it in the link tree, else next to its folder; else as named."""
    if not path:
        return
    folder, rest = path, ""
    while folder:
        folder, _, name = folder.rpartition("/")
        rest = f"{name}/{rest}" if rest else name
        beside = sorted({source for dest, source in entries.items() if dest.rpartition("/")[0] == folder})
        places = [source.rpartition("/")[0] for source in beside if source.split("/")[0] != OUTPUTS]
        if places:
            yield from (f"{place}/{rest}" if place else rest for place in dict.fromkeys(places))
            break
    yield path
