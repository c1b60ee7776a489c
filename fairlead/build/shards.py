"""Which tests run first, and which are split because they take long.

What failed last time runs first, then what was edited, then the longest: a person sees soon what is of
interest, and no processor is left with one long test at the end.

A file of pytest that takes long runs as several processes at once. Each collects the whole file and runs its
share: a case is in exactly one share, also one that nobody has seen before, so nothing is left out. The
verdict is one and its key is that of the whole, for together they run all of it: each says what it collected,
and if that differs they have not. A file whose cases need each other might fail in parts: so a share that
fails is no verdict. In both cases the whole runs instead; if that passes, the file is not split again.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from fairlead.build import junit
from fairlead.build.record.asked import Asked
from fairlead.build.record.entered import Log
from fairlead.build.sandbox.command import LEVELS
from fairlead.build.testing import Outcome, Ran
from fairlead.store import Store

NAMESPACE = "history"
SHORT = 10.0
"""Seconds below which a test is not split, unless the setting says so: starting pytest takes one of them."""

_WORST: tuple[Outcome, ...] = ("pass", "fail", "timeout", "error")


@dataclass(frozen=True)
class Last:
    """How a test's last run went. `seconds` is the time of all its processes together, `cases` that of each
    case by node id; `whole` says that it must not be split."""

    outcome: str
    seconds: float
    cases: Mapping[str, float]
    whole: bool = False


class History:
    """The last run of each test, in a store's results."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, label: str) -> Last | None:
        """The last run of the test."""
        data = self._store.results.get(NAMESPACE, label)
        try:
            found = json.loads(data or b"null")
            cases = {str(name): float(seconds) for name, seconds in found["cases"].items()}
            return Last(str(found["outcome"]), float(found["seconds"]), cases, bool(found["whole"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def put(self, label: str, last: Last) -> None:
        """Remember the run."""
        value = {**vars(last), "cases": dict(last.cases)}
        self._store.results.put(NAMESPACE, label, json.dumps(value).encode())


def order(labels: Collection[str], last: Callable[[str], Last | None], edited: Collection[str]) -> list[str]:
    """The labels in the order in which they should start."""

    def place(label: str) -> tuple[bool, bool, float, str]:
        known = last(label)
        failed = known is not None and known.outcome != "pass"
        return not failed, label not in edited, -(known.seconds if known is not None else math.inf), label

    return sorted(labels, key=place)


@dataclass(frozen=True)
class Shard:
    """One of `of` shares of a test. `table` says for functions, and for single cases of long ones, in which
    share they are; what it does not name is where its name's checksum puts it."""

    number: int
    of: int
    table: Mapping[str, int]

    def to_json(self) -> dict[str, object]:
        """What beside.py is told."""
        return {"number": self.number, "of": self.of, "table": dict(self.table)}


def split(seconds: Mapping[str, float], *, jobs: int, limit: float) -> dict[str, int]:
    """Of tests with these times, which should run in how many parts: those that take longer than `limit`, or
    than a processor's share of all."""
    share = sum(seconds.values()) / jobs
    found = {}
    for label, took in seconds.items():
        if limit > 0 and jobs > 1 and (took >= limit or (took > share and took >= SHORT)):
            found[label] = min(jobs, max(2, math.ceil(took / share)))
    return found


def shards(cases: Mapping[str, float], of: int) -> list[Shard]:
    """Shares of about equal time, by the times of the last run: the longest goes where least is."""
    functions: dict[str, float] = {}
    for name, seconds in cases.items():
        functions[function(name)] = functions.get(function(name), 0.0) + seconds
    most = sum(functions.values()) / of
    units = {name: seconds for name, seconds in functions.items() if seconds <= most}
    units |= {name: seconds for name, seconds in cases.items() if function(name) not in units}
    table: dict[str, int] = {}
    filled = [0.0] * of
    for name, seconds in sorted(units.items(), key=lambda unit: (-unit[1], unit[0])):
        number = filled.index(min(filled))
        table[name] = number
        filled[number] += seconds + 1e-4
    return [Shard(number, of, table) for number in range(of)]


def function(name: str) -> str:
    """The node id without the parameters of one case."""
    return name.partition("[")[0]


def chosen(name: str, of: int, table: Mapping[str, int]) -> int:
    """The share that a case is in. beside.py decides by the same rule."""
    known = table.get(name, table.get(function(name)))
    return zlib.crc32(function(name).encode("utf-8", "replace")) % of if known is None else known


def is_all(parts: Sequence[Ran]) -> bool:
    """Whether the parts had the same cases to choose from. Node ids that differ from process to process, such
    as those with addresses, would leave cases in no part."""
    return len({part.collected for part in parts}) == 1 and parts[0].collected != ""


def merged(parts: Sequence[Ran], store: Store) -> Ran:
    """One run from those of all shares."""
    results = [part.result for part in parts]
    worst = max(results, key=lambda result: _WORST.index(result.outcome))
    logs = [store.blobs.get(result.log) for result in results]
    reports = [store.blobs.get(result.cases) for result in results if result.cases]
    whole = replace(
        worst,
        seconds=max(result.seconds for result in results),
        enforced=min((result.enforced for result in results), key=LEVELS.index),
        log=store.blobs.put(b"".join(log.rstrip(b"\n") + b"\n" for log in logs)),
        cases=store.blobs.put(junit.joined(reports)) if len(reports) == len(parts) else "",
    )
    asked = [part.asked for part in parts]
    heard = [each for each in asked if each is not None]
    accounts = [part.noted for part in parts]
    return Ran(
        whole,
        union(heard) if len(heard) == len(asked) else None,
        {name: union([part.outside[name] for part in parts]) for name in parts[0].outside},
        b"".join(accounts) if not any(Log.read(account).lack for account in accounts) else b"",
    )


def union(asked: Sequence[Asked]) -> Asked:
    """What several processes asked, together."""
    lack = next((each.lack for each in asked if each.lack), "")
    if any(each.recorder == "none" for each in asked):
        return Asked.unheard(lack)
    opened = frozenset().union(*(each.opened for each in asked))
    counts = {path: sum(each.opens(path) for each in asked) for path in opened}
    return Asked(
        "seccomp",
        opened,
        frozenset().union(*(each.probed for each in asked)),
        frozenset().union(*(each.listed for each in asked)),
        frozenset().union(*(each.links for each in asked)),
        sum(each.calls for each in asked),
        lack,
        {path: count for path, count in counts.items() if count > 1},
    )
