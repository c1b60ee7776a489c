"""The last build of a project, so that the same build again finds in one look that there is nothing to do.

What a build comes to is fixed by its plan, by what its sources hold and by the versions of the interpreters
that its toolchains name. If the last build had this plan and these, and all that it put into fairlead-out
stands there untouched, its report is today's report: no key is computed, no action looked up. Anything else,
and the engine decides, action by action.

One build is kept for each root, the last, and all are dropped once a store comes to know another state of a
target: so `why` still compares with the right one.
"""

from __future__ import annotations

import marshal
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.build import materialise
from fairlead.build.plans import DAMAGED, parts
from fairlead.build.tree import DiskTree
from fairlead.errors import UsageError
from fairlead.store import Store

NAMESPACE = "finished"
_MANY = 500
"""Changes that are kept beside a build rather than with it: a row of the store is to stay small."""


@dataclass(frozen=True)
class Finished:
    """Label -> paths of its outputs, and the number of actions that stand behind them."""

    outputs: Mapping[str, tuple[str, ...]]
    actions: int


def find(store: Store, tree: DiskTree, plan: str) -> Finished | None:
    """The last build below the tree's root, if it had the plan of this name and all is as it was."""
    row = store.results.get(NAMESPACE, str(tree.root))
    if row is None:
        return None
    try:
        kept = _kept(store, row)
        same = (
            kept["plan"] == plan
            and tree.digests(kept["digests"]) == kept["digests"]
            and versions(kept["interpreters"]) == kept["interpreters"]
            and all(tree.mode(path) == mode for path, mode in kept["modes"].items())
            and all(
                materialise.state(tree.root / path, names) == state
                for path, (names, state) in kept["placed"].items()
            )
        )
        return Finished(kept["outputs"], kept["actions"]) if same else None
    except (UsageError, *DAMAGED):  # something is gone or damaged: the engine says what is wrong
        return None


def keep(
    store: Store,
    tree: DiskTree,
    plan: str,
    sources: Sequence[str],
    placed: Mapping[str, tuple[list[str] | None, str]],
    interpreters: Collection[str],
    done: Finished,
) -> bytes:
    """Keep a build that has ended well. `sources` are all that its keys were made of; `placed` tells the
    state of each output (`materialise.state`) with the names that were looked at. `interpreters` are those
    that its actions may have run by, as toolchains ask for them."""
    value = {
        "plan": plan,
        "digests": tree.digests(sources),
        "modes": {path: tree.mode(path) for path in sources},
        "placed": dict(placed),
        "interpreters": versions(interpreters),
        "outputs": dict(done.outputs),
        "actions": done.actions,
    }
    row = store.blobs.put(marshal.dumps(value)).encode()
    store.results.put(NAMESPACE, str(tree.root), row)
    return row


def row(store: Store, root: Path) -> bytes | None:
    """What the store says of the last build below `root`, as bytes to compare: `keep` and `amend` give it."""
    return store.results.get(NAMESPACE, str(root))


def amend(
    store: Store,
    root: Path,
    before: bytes,
    sources: Mapping[str, tuple[str, str]],
    placed: Mapping[str, tuple[list[str] | None, str]],
) -> bytes | None:
    """Keep a build that differs from the last one, whose row is `before`, in a few sources (path -> mode and
    SHA-256) and outputs. None if there are so many that it is better to `keep` all."""
    more: dict[str, Any] = marshal.loads(before[64:]) if len(before) > 64 else {"sources": {}, "placed": {}}
    more = {"sources": {**more["sources"], **sources}, "placed": {**more["placed"], **placed}}
    if len(more["sources"]) + len(more["placed"]) > _MANY:
        return None
    after = before[:64] + marshal.dumps(more)
    store.results.put(NAMESPACE, str(root), after)
    return after


def _kept(store: Store, row: bytes) -> Any:
    """A build as it was kept, with what was amended since."""
    kept = parts(store, row[:64].decode())
    if len(row) > 64:
        more = marshal.loads(row[64:])
        kept["placed"].update(more["placed"])
        for path, (mode, name) in more["sources"].items():
            kept["modes"][path], kept["digests"][path] = mode, name
    return kept


def versions(interpreters: Iterable[str]) -> dict[str, str]:
    """Interpreters and compilers as they are here. "", the one that runs us, is in the name of the plan."""
    asked = sorted(set(interpreters) - {""})
    if not asked:
        return {}
    from fairlead.build import machine  # and with it programs, which most builds do without

    return {request: machine.version(request) for request in asked}


def forget(store: Store) -> None:
    """Something else has been built or tested, here or from another folder: `why` compares with that now."""
    for root, _ in list(store.results.items(NAMESPACE)):
        store.results.delete(NAMESPACE, root)
