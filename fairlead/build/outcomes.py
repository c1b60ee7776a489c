"""How often a test has passed and not passed with the same key: what makes it flaky, and at which rate.

A pass says that a test can pass with what it depends on. That it can also fail shows only over several runs,
so the last `MOST` outcomes of each key are kept, for the last `KEYS` keys of a test.

A test whose inputs are declared has one key. The key of a recorded test is made of what a run asked, and a
run that fails asks other things than one that passes. So each run also says its `state`: everything that it
could have asked. Two runs are of one key if they have the same key, or were made in the same state.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fairlead.store import Store

NAMESPACE = "outcomes"
MOST = 100
KEYS = 8
_STATES = 8
_LETTERS = {"pass": "P", "fail": "F", "timeout": "T"}


@dataclass(frozen=True)
class Rate:
    """Of the last `runs` runs with one key, `failed` did not pass."""

    runs: int
    failed: int

    @property
    def flaky(self) -> bool:
        """Whether it both passed and did not."""
        return 0 < self.failed < self.runs

    @property
    def percent(self) -> int:
        """How many of a hundred runs failed; 0 only if none did, 100 only if all did."""
        whole = round(100 * self.failed / max(1, self.runs))
        return min(99, max(1, whole)) if self.flaky else whole

    def text(self) -> str:
        """In words: failed 3 of its last 20 runs with this key (15 %)."""
        return f"failed {self.failed} of its last {self.runs} runs with this key ({self.percent} %)"


@dataclass
class _Row:
    """A key, the states that it was seen in, and the outcomes, the last one at the end."""

    key: str
    states: list[str]
    outcomes: str

    @property
    def rate(self) -> Rate:
        return Rate(len(self.outcomes), sum(letter != "P" for letter in self.outcomes))


class Outcomes:
    """The outcomes of tests by label, in a store's results."""

    def __init__(self, store: Store) -> None:
        self._results = store.results

    def add(self, label: str, keys: Sequence[str], outcomes: Iterable[str], *, state: str = "") -> Rate:
        """Count runs that ended so, and give the rate that this comes to. `keys` are those that the runs may
        have had: the first one that is known, else the first. A test that could not be run has no outcome."""
        letters = "".join(_LETTERS.get(outcome, "") for outcome in outcomes)
        if not letters:
            return Rate(0, 0)
        rows = self._rows(label)
        own = [row for row in rows if row.key in keys or (state and state in (row.key, *row.states))]
        known = [row.key for row in own if row.key in keys]
        key = [*known, *keys, *(row.key for row in own), state][0]
        states = dict.fromkeys([state] if state else [])
        states |= dict.fromkeys(name for row in own for name in row.states)
        before = "".join(row.outcomes for row in reversed(own))
        made = _Row(key, list(states)[:_STATES], (before + letters)[-MOST:])
        rows = [made, *(row for row in rows if row not in own)][:KEYS]
        document = [[row.key, row.states, row.outcomes] for row in rows]
        self._results.put(NAMESPACE, label, json.dumps(document).encode())
        return made.rate

    def rate(self, label: str, key: str) -> Rate:
        """How the test did with that key; no runs if there were none."""
        return next((row.rate for row in self._rows(label) if row.key == key), Rate(0, 0))

    def last(self, label: str) -> Rate:
        """How the test did with the key that it ran with last."""
        return next((row.rate for row in self._rows(label)), Rate(0, 0))

    def flaky(self) -> dict[str, Rate]:
        """The tests that passed and failed with the key that they ran with last, in order of label."""
        found = {label: self.last(label) for label, _ in self._results.items(NAMESPACE)}
        return {label: rate for label, rate in found.items() if rate.flaky}

    def _rows(self, label: str) -> list[_Row]:
        """The newest key first."""
        data = self._results.get(NAMESPACE, label)
        try:
            found = json.loads(data or b"[]")
            return [_Row(str(key), [*map(str, states)], str(letters)) for key, states, letters in found]
        except (ValueError, TypeError):
            return []
