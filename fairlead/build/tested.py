"""The last test of a project, so that the same call again finds in one look that all has passed before.

Whatever a test may depend on is in the plan, in the files of the project, in the interpreters and in the
state of the machine. If a call that passed throughout had this plan and these, its passes are today's: no key
is computed and no question is asked. A change of any file, also of one that no test ever looked at, and the
engine decides, test by test.

One call is kept for each root, level and list of patterns; a pass that is taken back ends them all.
"""

from __future__ import annotations

import json
import marshal
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fairlead.build import finished, passes
from fairlead.build.plans import DAMAGED, parts
from fairlead.build.snapshot import Snapshot
from fairlead.build.testing import TESTED, TestResult
from fairlead.build.tree import DiskTree
from fairlead.errors import UsageError
from fairlead.store import Store, digest


@dataclass(frozen=True)
class Call:
    """What was asked for: the level of the sandbox, and the patterns with the folder they are meant from."""

    level: str
    asked: Sequence[str]

    def row(self, tree: DiskTree) -> str:
        """The name of its row."""
        return digest.of_bytes(json.dumps([str(tree.root), self.level, list(self.asked)]).encode())


def find(store: Store, tree: DiskTree, call: Call, plan: str) -> list[TestResult] | None:
    """The results of that call, if it had the plan of this name and all is as it was."""
    row = store.results.get(TESTED, call.row(tree))
    if row is None:
        return None
    try:
        kept = parts(store, row.decode())
        same = (
            kept["plan"] == plan
            and kept["system"] == passes.system()
            and finished.versions(kept["interpreters"]) == kept["interpreters"]
            and kept["files"] == Snapshot.take(tree, store.blobs).name()
        )
        return [TestResult(*fields) for fields in kept["results"]] if same else None
    except (UsageError, *DAMAGED):
        return None


def keep(
    store: Store,
    tree: DiskTree,
    call: Call,
    plan: str,
    interpreters: Collection[str],
    results: Sequence[TestResult],
) -> None:
    """Keep a call whose `results` are all passes. `interpreters` are those that its toolchains ask for. The
    files are those that `tree` knows, which the call has looked at, not what they have become meanwhile."""
    value = {
        "plan": plan,
        "system": passes.system(),
        "interpreters": finished.versions(interpreters),
        "files": Snapshot.take(tree, store.blobs).name(),
        "results": [
            [r.label, r.key, r.outcome, True, r.seconds, r.log, r.enforced, r.detail, r.cases]
            for r in results
        ],
    }
    store.results.put(TESTED, call.row(tree), store.blobs.put(marshal.dumps(value)).encode())
