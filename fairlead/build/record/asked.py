"""What a run asked of the file system: paths by kind of question, as the recorder heard them.

The answers are not in it. Whoever wants them looks at the tree that the run was given.
"""

from __future__ import annotations

import json
import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Recorder: TypeAlias = Literal["seccomp", "none"]

MOST = 1000
"""Names of one file that are followed: links that lead into themselves have no end of them."""


@dataclass(frozen=True)
class Asked:
    """Normal paths: absolute, or relative to the folder that `below` was given ("" is that folder).

    `opened`: somebody wanted the bytes (or to run it); `probed`: whether and what it is; `listed`: which
    names a folder has; `links`: where a link leads. A path may be in several. `calls` is how many questions
    were heard. `lack` says why the list may not be whole; "" if it is. `again`: how often those were opened
    that were opened more than once. `listings`: how often each folder's names were read from the start.

    `listings.narrowed` finds, in place of what is `listed`, the modules that were `sought` in a folder, and
    the folders that were `described`: looked through for distributions alone.
    """

    recorder: Recorder
    opened: frozenset[str] = frozenset()
    probed: frozenset[str] = frozenset()
    listed: frozenset[str] = frozenset()
    links: frozenset[str] = frozenset()
    calls: int = 0
    lack: str = ""
    again: Mapping[str, int] = field(default_factory=dict, hash=False)
    listings: Mapping[str, int] = field(default_factory=dict, hash=False)
    sought: Mapping[str, frozenset[str]] = field(default_factory=dict, hash=False)
    described: frozenset[str] = frozenset()

    @classmethod
    def unheard(cls, why: str) -> Asked:
        """The record of a run that nobody listened to."""
        return cls("none", lack=why)

    def below(self, folder: str) -> Asked:
        """The questions about `folder` (an absolute path) and what is in it, relative to it."""
        start = folder.rstrip("/") + "/"

        def inner(paths: Iterable[str]) -> frozenset[str]:
            found = {path[len(start) :] for path in paths if path.startswith(start)}
            return frozenset(found | {""} if folder in paths else found)

        return Asked(
            self.recorder,
            inner(self.opened),
            inner(self.probed),
            inner(self.listed),
            inner(self.links),
            self.calls,
            self.lack,
            {path[len(start) :]: n for path, n in self.again.items() if path.startswith(start)},
            {path[len(start) :]: n for path, n in self.listings.items() if f"{path}/".startswith(start)},
        )

    def opens(self, path: str) -> int:
        """How often a path was opened."""
        return self.again.get(path, 1) if path in self.opened else 0

    def paths(self) -> frozenset[str]:
        """Everything that was asked about, whatever the question."""
        return self.opened.union(self.probed, self.listed, self.links, self.sought, self.described)

    def encode(self) -> bytes:
        """JSON; `decode` reads it back."""
        return json.dumps(
            {
                "recorder": self.recorder,
                "refused": self.lack if self.recorder == "none" else "",
                "incomplete": self.lack if self.recorder != "none" else "",
                "calls": self.calls,
                "asked": {
                    "open": sorted(self.opened),
                    "stat": sorted(self.probed),
                    "list": sorted(self.listed),
                    "link": sorted(self.links),
                },
                "again": dict(self.again),
                "listings": dict(self.listings),
            }
        ).encode()

    @classmethod
    def decode(cls, data: bytes) -> Asked:
        """Read what the supervisor wrote or `encode` made; what is neither is a run that nobody heard."""
        try:
            found = json.loads(data)
            asked = found["asked"]
            opened, probed, listed, links = (
                frozenset(map(str, asked[kind])) for kind in ("open", "stat", "list", "link")
            )
            if found["recorder"] != "seccomp":
                return cls.unheard(str(found["refused"]))
            calls, lack = int(found["calls"]), str(found["incomplete"])
            again = {str(path): int(n) for path, n in found["again"].items()}
            listings = {str(path): int(n) for path, n in found["listings"].items()}
            if names := _leading({str(path): [*map(str, to)] for path, to in found.get("names", {}).items()}):
                if any(len(_names(path, names)) >= MOST for path in opened | probed | listed | links):
                    lack = lack or "links that it made have no end"
                again = _counted({path: again.get(path, 1) for path in opened}, names)
                listings = _counted(listings, names)
                again = {path: n for path, n in again.items() if n > 1}
                opened, probed, listed, links = (
                    frozenset(place for path in paths for place in _names(path, names))
                    for paths in (opened, probed, listed, links)
                )
            return cls("seccomp", opened, probed, listed, links, calls, lack, again, listings)
        except (AttributeError, ValueError, KeyError, TypeError):
            return cls.unheard("the record of the run is damaged")


def _leading(names: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Without names for themselves, and links into themselves, through which nobody comes anywhere."""
    found = {
        name: [place for place in to if place != name and not place.startswith(f"{name}/")]
        for name, to in names.items()
    }
    return {name: to for name, to in found.items() if to}


def _names(path: str, names: Mapping[str, Iterable[str]]) -> list[str]:
    """A path, and what it may have stood for by links that the run made and by what it renamed: `names` has
    the places by name. In which order that was is not looked at, so this is more than was asked, and never
    less."""
    found, seen = [path], {path}
    for known in found:
        end = len(known)
        while end > 0:
            for place in names.get(known[:end], ()):
                other = posixpath.normpath(place + known[end:])
                if other not in seen and len(found) < MOST:
                    seen.add(other)
                    found.append(other)
            end = known.rfind("/", 0, end)
    return found


def _counted(found: Mapping[str, int], names: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Counts of paths, each under all of its names."""
    counts: Counter[str] = Counter()
    for path, count in found.items():
        for place in _names(path, names):
            counts[place] += count
    return dict(counts)
