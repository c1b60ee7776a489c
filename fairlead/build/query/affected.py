"""What a change can affect: targets whose key differs between two states, each with its causes.

The causes are read off the records: a dependency whose key differs is followed to what differs there, down
to files, attributes and settings. `steps` (what a rule registered) follow from the other parts and are named
only where nothing else differs, which means another version of Fairlead. Nothing is inferred from paths: a
file that no key names affects nothing, and a comment in a BUCK file does not either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from fairlead.store.record import ABSENT, Absent, Difference, Part, Record, explain

State: TypeAlias = Literal["changed", "new", "removed"]
Pair: TypeAlias = tuple[Record, Record]
Keys: TypeAlias = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Cause:
    """A part of the record of the target `label` that differs. There is one object for each such part."""

    label: str
    difference: Difference

    @property
    def file(self) -> str:
        """The path of the file that differs, "" if it is something else."""
        path = self.difference.path
        if path[0] in ("inputs", "files", "python", "metadata", "links") and len(path) > 1:
            return path[1]
        if path[0] == "absent" and len(path) == 3:
            return f"{path[1]}/{path[2]}" if path[1] else path[2]
        return path[2] if path[:2] == ("rule", "files") and len(path) == 3 else ""

    def text(self) -> str:
        """One line: the file and what happened to it, or the part with both values."""
        if not self.file:
            return f"{self.label}: {self.difference.text()}"
        how = "added" if self.difference.old is ABSENT else "changed"
        return f"{self.file} {'removed' if self.difference.new is ABSENT else how} ({self.label})"

    def to_json(self) -> dict[str, object]:
        old, new = self.difference.old, self.difference.new
        return {
            "target": self.label,
            "part": list(self.difference.path),
            "file": self.file or None,
            "old": None if isinstance(old, Absent) else _plain(old),
            "new": None if isinstance(new, Absent) else _plain(new),
        }


@dataclass(frozen=True)
class Affected:
    """A target whose key differs: `old` and `new` are the keys, None on the side that has no such target."""

    label: str
    state: State
    old: str | None
    new: str | None
    causes: tuple[Cause, ...] = ()


@dataclass
class Comparison:
    """Explains pairs of records; `find` gives the record of a key of either side, None if it is not known."""

    find: Callable[[str], Record | None]
    _known: dict[Keys, tuple[list[Cause], list[Pair]]] = field(default_factory=dict)
    _whole: dict[Keys, dict[Cause, None]] = field(default_factory=dict)

    def target(self, label: str, old: Record | None, new: Record | None) -> Affected | None:
        """How one target differs; None if it does not."""
        if old is None:
            return None if new is None else Affected(label, "new", None, new.key)
        if new is None:
            return Affected(label, "removed", old.key, None)
        if old.key == new.key:
            return None
        return Affected(label, "changed", old.key, new.key, self.causes(old, new))

    def causes(self, old: Record, new: Record) -> tuple[Cause, ...]:
        """What differs in the target and all that it depends on, files first. By a stack, since chains are
        long; each pair of records is looked into once, whoever depends on it."""
        stack = [(old, new)]
        while stack:
            pair = stack[-1]
            own, below = self._pair(*pair)
            waiting = [lower for lower in below if _keys(lower) not in self._whole]
            if waiting:
                stack.extend(waiting)
                continue
            stack.pop()
            parts = [dict.fromkeys(own), *(self._whole[_keys(lower)] for lower in below)]
            self._whole[_keys(pair)] = {cause: None for part in parts for cause in part}
        return tuple(sorted(self._whole[_keys((old, new))], key=_order))

    def _pair(self, old: Record, new: Record) -> tuple[list[Cause], list[Pair]]:
        """The causes in the target itself, and the pairs of its dependencies that differ."""
        keys = _keys((old, new))
        if keys not in self._known:
            own: list[Difference] = []
            below: list[Pair] = []
            for difference in explain(old, new):
                pair = self._followed(difference)
                if pair is None:
                    own.append(difference)
                else:
                    below.append(pair)
            told = [d for d in own if d.path[0] != "steps"]
            if not told and not below:
                told = own
            label = str(new.parts["label"])
            self._known[keys] = ([Cause(label, difference) for difference in told], below)
        return self._known[keys]

    def _followed(self, difference: Difference) -> Pair | None:
        old, new = difference.old, difference.new
        if difference.path[0] not in ("dependencies", "toolchains"):
            return None
        if not isinstance(old, str) or not isinstance(new, str):
            return None
        before, now = self.find(old), self.find(new)
        return None if before is None or now is None else (before, now)


def _keys(pair: Pair) -> Keys:
    return pair[0].key, pair[1].key


def _order(cause: Cause) -> tuple[bool, str, str, tuple[str, ...]]:
    return not cause.file, cause.file, cause.label, cause.difference.path


def compare(old: Mapping[str, Record], new: Mapping[str, Record]) -> list[Affected]:
    """The targets that differ between two states (label -> record), in order of label."""
    by_key = {record.key: record for side in (old, new) for record in side.values()}
    comparison = Comparison(by_key.get)
    found = (comparison.target(label, old.get(label), new.get(label)) for label in old.keys() | new.keys())
    return sorted((item for item in found if item is not None), key=lambda item: item.label)


def _plain(part: Part) -> object:
    return part.hex() if isinstance(part, bytes) else part
