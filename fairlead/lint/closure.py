"""Closures: the sources that a rule's answer depends on, found without running them.

A module's imports are read from its syntax, those inside functions and under TYPE_CHECKING too;
one too many costs a run, one too few would keep a stale answer. Modules that `read` does not know
(the standard library, LibCST) are outside, and stand in the key by their versions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fairlead.store import digest


@dataclass(frozen=True)
class Source:
    """A module's text, and whether it is a package's __init__ (relative imports differ)."""

    data: bytes
    package: bool


def closure(
    modules: Iterable[str],
    read: Callable[[str], Source | None],
    imports_of: Callable[[str, Source], list[str]] | None = None,
) -> dict[str, str]:
    """SHA-256 of each module that `modules` reach by imports and `read` knows, by dotted name.

    `imports_of` may answer for `imports` from a memory, to spare the parsing.
    """
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        source = read(name)
        if source is None:
            continue
        found[name] = digest.of_bytes(source.data)
        waiting += (imports_of or imports)(name, source)
        parent = name.rpartition(".")[0]  # importing a.b runs a
        if parent:
            waiting.append(parent)
    return dict(sorted(found.items()))


def imports(name: str, source: Source) -> list[str]:
    """Dotted names that may be modules which `source` imports. `from a import b` gives a and a.b."""
    import ast

    found = []
    here = name.split(".") if source.package else name.split(".")[:-1]
    for node in ast.walk(ast.parse(source.data)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return found


def fairlead_source(name: str) -> Source | None:
    """A module of this package, read through its loader, so from a zip too; None for any other."""
    import fairlead

    top, *rest = name.split(".")
    spec = fairlead.__spec__
    if top != "fairlead" or spec is None or spec.origin is None:
        return None
    base = os.path.join(os.path.dirname(spec.origin), *rest)
    for path, package in ((os.path.join(base, "__init__.py"), True), (f"{base}.py", False)):
        try:
            return Source(spec.loader.get_data(path), package)  # type: ignore[union-attr]
        except OSError:
            continue
    return None
