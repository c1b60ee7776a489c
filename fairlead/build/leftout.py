"""What of a project neither inference nor the view of a recorded test has.

By default what tools leave behind and no test reads: caches, environments, unpacked packages. More is left
out by `build.ignore`, as in a .gitignore: `*.parquet` and `models` wherever they stand, `data/raw`, `/data`
from the root, `**` for any folders; with a folder goes all that is in it. What git ignores is no guide: tests
read files that are built, generated or downloaded beside the sources.

Read from the tree alone, so that a commit has the same targets everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fairlead.build.glob import one_name
from fairlead.build.tree import NEVER, Tree
from fairlead.errors import UsageError

_MADE = frozenset(
    {"node_modules", "__pypackages__", ".tox", ".nox", ".eggs", ".venv", ".direnv", ".ipynb_checkpoints"}
    | {".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".pytype", ".coverage"}
)


@dataclass(frozen=True)
class LeftOut:
    """What is left out; `source` is the file that says so."""

    patterns: tuple[tuple[str, re.Pattern[str]], ...] = ()
    source: str = ""

    @classmethod
    def of(cls, tree: Tree) -> LeftOut:
        """What the settings of a tree leave out; UsageError for what is no pattern."""
        from fairlead.build.infer import settings  # and with it all of inference

        found = settings.read(tree)
        return cls(tuple((text, _compiled(text, found.source)) for text in found.ignore), found.source)

    def ignores(self, path: str) -> bool:
        """Whether a pattern names this very path."""
        return any(pattern.fullmatch(path) for _, pattern in self.patterns)

    def leaves(self, path: str, name: str) -> bool:
        """Whether a view does not have this path, the last part of which is `name`."""
        return name in NEVER or name in _MADE or name.endswith(".egg-info") or self.ignores(path)

    def why(self, path: str) -> str:
        """What leaves a path out, or a folder above it; "" if nothing does."""
        parts = path.split("/")
        for number in range(1, len(parts) + 1):
            above = "/".join(parts[:number])
            for text, pattern in self.patterns:
                if pattern.fullmatch(above):
                    return f'"{text}" in build.ignore leaves it out: change that in {self.source}'
            if self.leaves(above, parts[number - 1]):
                return f"tests are not shown what tools make, such as {parts[number - 1]}"
        return ""


def _compiled(text: str, source: str) -> re.Pattern[str]:
    parts = text.strip("/").split("/")
    if not text.strip("/") or any(part in ("", ".", "..") for part in parts) or text.startswith("!"):
        raise UsageError(
            f"build.ignore has {text!r}",
            where=source,
            remedy='use paths and patterns of the project, such as "data/raw" or "*.parquet"; there are no'
            " exceptions from one",
        )
    anywhere = "/" not in text.rstrip("/")
    return re.compile(("(?:.*/)?" if anywhere else "") + "".join(_parts(parts)))


def _parts(parts: list[str]) -> Iterable[str]:
    for number, part in enumerate(parts, 1):
        if part == "**":
            yield ".*" if number == len(parts) else "(?:.*/)?"
        else:
            yield one_name(part) + ("" if number == len(parts) else "/")
