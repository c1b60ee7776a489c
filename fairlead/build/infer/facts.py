"""The facts of a repository's Python files, kept by the digest of each file's bytes.

Parsing takes most of the time of an inference. What a file says depends on its bytes and on the Python that
parses it, and on nothing else, so it is parsed once: a second inference reads what has changed.
"""

from __future__ import annotations

import marshal
import sys
from collections.abc import Iterable

from fairlead.build.infer import imports
from fairlead.build.infer.imports import Dynamic, Facts, Import
from fairlead.build.tree import Tree
from fairlead.store.results import Results

_VERSION = 1
_KEPT = f"facts-{_VERSION}-{sys.version_info.major}.{sys.version_info.minor}"


def read(tree: Tree, paths: Iterable[str], results: Results | None = None) -> dict[str, Facts]:
    """Path -> facts. With `results` those of known bytes are not made again."""
    paths = list(paths)
    if results is None:
        return {path: imports.read(tree.read(path)) for path in paths}
    digests = tree.digests(paths)
    known = {key: facts for key, value in _kept(results, digests.values()) if (facts := _decode(value))}
    new: dict[str, bytes] = {}
    for path in paths:
        key = digests[path]
        if key not in known:
            known[key] = imports.read(tree.read(path))
            new[key] = _encode(known[key])
    results.put_many(_KEPT, new)
    return {path: known[digests[path]] for path in paths}


def _kept(results: Results, digests: Iterable[str]) -> Iterable[tuple[str, bytes]]:
    return results.get_many(_KEPT, dict.fromkeys(digests)).items()


def _encode(facts: Facts) -> bytes:
    return marshal.dumps(
        (
            [(item.module, item.level, item.names) for item in facts.imports],
            [(item.line, item.what) for item in facts.dynamic],
            facts.dotted,
            facts.paths,
            facts.plugins,
            facts.ignored,
        )
    )


def _decode(data: bytes) -> Facts | None:
    """What `_encode` made; None if it is something else."""
    try:
        found, dynamic, dotted, paths, plugins, ignored = marshal.loads(data)
        return Facts(
            tuple(Import(*item) for item in found),
            tuple(Dynamic(*item) for item in dynamic),
            dotted,
            paths,
            plugins,
            ignored,
        )
    except (ValueError, EOFError, TypeError):
        return None
