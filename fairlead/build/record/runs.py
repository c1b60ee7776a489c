"""The last recorded run of each test: what it asked, and what of that was not there."""

from __future__ import annotations

import json
from dataclasses import dataclass

from fairlead.build.record.asked import Asked
from fairlead.store import Store

NAMESPACE = "asked"


@dataclass(frozen=True)
class RecordedRun:
    """`asked` is relative to the folder that the test ran in; `absent` are those of its paths that were not
    there when it had ended. `key` is the target's, `outcome` as in a test's result."""

    key: str
    outcome: str
    asked: Asked
    absent: frozenset[str]


class Runs:
    """Recorded runs by label, in a store's results. Disposable, like all of it."""

    def __init__(self, store: Store) -> None:
        self._results = store.results

    def put(self, label: str, run: RecordedRun) -> None:
        """Keep the run in place of the one before."""
        document = {
            "key": run.key,
            "outcome": run.outcome,
            "asked": run.asked.encode().decode(),
            "absent": sorted(run.absent),
        }
        self._results.put(NAMESPACE, label, json.dumps(document).encode())

    def get(self, label: str) -> RecordedRun | None:
        """The last one of that label, if there is one."""
        data = self._results.get(NAMESPACE, label)
        if data is None:
            return None
        try:
            found = json.loads(data)
            asked = Asked.decode(str(found["asked"]).encode())
            absent = frozenset(map(str, found["absent"]))
            return RecordedRun(str(found["key"]), str(found["outcome"]), asked, absent)
        except (ValueError, KeyError, TypeError):
            self._results.delete(NAMESPACE, label)
            return None
