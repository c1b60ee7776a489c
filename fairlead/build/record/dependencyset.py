"""What one run of a test depended on: the questions that it asked, and their answers on any tree.

A run is a function of the answers to its questions. If today's tree gives every question of an earlier
passing run the answer that it had then, the run would go the same way again, and need not be made. Files
that it never asked about cannot matter; files that were *not* there when it asked can.

A `DependencySet` holds the questions alone, about paths of the project. `evaluate` gives the answers on a
tree, on disk or in git alike, as a record: its key is what a verdict is kept under, and two of them are
compared by `store.explain` like any other records. So one set can be asked of many trees, and many runs that
asked the same share one set.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from fairlead.build.record.asked import Asked
from fairlead.build.record.finders import ENDINGS
from fairlead.build.record.source import Blocks, Body, blocks
from fairlead.build.tree import NEVER, Tree
from fairlead.errors import UsageError
from fairlead.store import digest
from fairlead.store.record import ABSENT as GONE
from fairlead.store.record import Difference, Part, Record, explain

KIND, ANSWERS, VERSION = "dependency-set", "dependencies", 10
"""A set names what recorder and hook have heard: when they learn to hear more, it is another version."""
ABSENT = "absent"
INFO = ("dist-info", "egg-info")
"""What the names of folders end with that say which distributions are installed."""


@dataclass(frozen=True)
class DependencySet:
    """Paths relative to the project's root, by what was asked about them.

    `files`: mode and bytes. `python`: source that was imported and nothing else, with the names of the
    bodies that were entered (`source.Body.name`). `absent`: paths that were asked for in vain. `listed`:
    folders whose names were read. `metadata`: paths of which somebody wanted to know what they are.
    `links`: where a link leads, or that there is none. `positions`: whether line numbers of Python source
    count. `distributions`: those whose files were used, each after its toolchain's label and a space.
    `sought`: by folder, the modules that were looked for in it by its names; `described`: folders that were
    looked through for distributions.
    """

    files: frozenset[str] = frozenset()
    python: Mapping[str, frozenset[str]] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()
    listed: frozenset[str] = frozenset()
    metadata: frozenset[str] = frozenset()
    links: frozenset[str] = frozenset()
    positions: bool = True
    distributions: frozenset[str] = frozenset()
    sought: Mapping[str, frozenset[str]] = field(default_factory=dict)
    described: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        asked: Asked,
        tree: Tree,
        python: Mapping[str, Iterable[str]] = {},
        *,
        positions: bool = True,
        distributions: Iterable[str] = (),
    ) -> DependencySet:
        """What a run on `tree` depended on, by what it asked (below the project's root).

        `python` names, for source that was only imported, the bodies that were entered; without it every
        source counts whole. A record with a `lack` gives a set that must not be relied on: callers look.
        """
        kinds = {path: tree.kind(path) for path in asked.paths()}
        there = {path for path, kind in kinds.items() if kind is not None}
        blocked = {path: frozenset(names) for path, names in python.items() if kinds.get(path) == "file"}
        files = {path for path in asked.opened if kinds[path] == "file"} - blocked.keys()
        return cls(
            files=frozenset(files),
            python=blocked,
            absent=frozenset(kinds.keys() - there),
            listed=frozenset(path for path in asked.listed if kinds[path] == "folder"),
            metadata=frozenset(
                asked.probed.union(asked.opened, asked.listed, asked.sought, asked.described)
                & there - files - blocked.keys()
            ),
            links=frozenset(asked.links),
            positions=positions,
            distributions=frozenset(distributions),
            sought={path: names for path, names in asked.sought.items() if kinds[path] == "folder"},
            described=frozenset(path for path in asked.described if kinds[path] == "folder"),
        )

    def paths(self) -> frozenset[str]:
        """Everything that is asked about, whatever the question."""
        there = self.files.union(self.python, self.listed, self.metadata, self.sought, self.described)
        return there.union(self.absent, self.links)

    def record(self) -> Record:
        """The questions, canonically; `from_record` reads them back."""
        parts: dict[str, Part] = {
            "files": sorted(self.files),
            "python": {path: sorted(names) for path, names in self.python.items()},
            "absent": {folder: sorted(names) for folder, names in _by_folder(self.absent).items()},
            "listed": sorted(self.listed),
            "metadata": sorted(self.metadata),
            "links": sorted(self.links),
            "positions": self.positions,
            "distributions": sorted(self.distributions),
            "sought": {path: sorted(names) for path, names in self.sought.items()},
            "described": sorted(self.described),
        }
        return Record(KIND, VERSION, parts)

    @classmethod
    def from_record(cls, record: Record) -> DependencySet:
        """The set that `record` was made of; UsageError if it is none of this version."""
        parts = record.parts
        if (record.kind, record.version) != (KIND, VERSION):
            raise UsageError("this record is no dependency set of this version", remedy="test again")
        return cls(
            files=_strings(parts["files"]),
            python={path: _strings(names) for path, names in _table(parts["python"]).items()},
            absent=frozenset(
                f"{folder}/{name}" if folder else name
                for folder, names in _table(parts["absent"]).items()
                for name in _strings(names)
            ),
            listed=_strings(parts["listed"]),
            metadata=_strings(parts["metadata"]),
            links=_strings(parts["links"]),
            positions=bool(parts["positions"]),
            distributions=_strings(parts["distributions"]),
            sought={path: _strings(names) for path, names in _table(parts["sought"]).items()},
            described=_strings(parts["described"]),
        )


class Answers:
    """One tree's answers, each question asked once: many tests ask the same. `split` gives a source's blocks.

    What a folder holds is answered by the digest of a listing; `listings` has those that were made.
    """

    def __init__(self, tree: Tree, *, split: Callable[[bytes], Blocks | None] = blocks) -> None:
        self.tree = tree
        self.listings: dict[str, bytes] = {}
        self._split = split
        self._kinds: dict[str, Part] = {}
        self._files: dict[str, Part] = {}
        self._listed: dict[str, Part] = {}
        self._names: dict[str, dict[str, str]] = {}
        self._modules: dict[str, dict[str, list[str]]] = {}
        self._metadata: dict[str, Part] = {}
        self._links: dict[str, Part] = {}
        self._ways: dict[str, Mapping[str, str]] = {}
        self._blocks: dict[str, tuple[Blocks, dict[str, Body]] | None] = {}

    def kind(self, path: str) -> Part:
        """What is at a path, or that nothing is."""
        found = self._kinds.get(path)
        if found is None:
            found = self._kinds[path] = self.tree.kind(path) or ABSENT
        return found

    def files(self, paths: Iterable[str]) -> dict[str, Part]:
        """Mode and digest of each path that is a file."""
        known, tree = self._files, self.tree
        new = [path for path in paths if path not in known]
        digests = tree.digests(sorted(path for path in new if self.kind(path) == "file"))
        for path in new:
            known[path] = [tree.mode(path), digests[path]] if path in digests else self.kind(path)
        return {path: known[path] for path in paths}

    def listing(self, path: str) -> Part:
        """A digest of the names and kinds of what a folder holds, without what is never part of a project."""
        found = self._listed.get(path)
        if found is None:
            found = self._listed[path] = self._list(path)
        return found

    def _list(self, path: str) -> Part:
        if self.kind(path) != "folder":
            return self.kind(path)
        data = json.dumps(self._held(path), sort_keys=True).encode()
        key = digest.of_bytes(data)
        self.listings[key] = data
        return ["folder", key]

    def _held(self, path: str) -> Mapping[str, str]:
        """The names in a folder, and what they are."""
        names = self._names.get(path)
        if names is None:
            names = self._names[path] = {}
            for name in self.tree.names(path):
                if name not in NEVER:
                    inner = f"{path}/{name}" if path else name
                    names[name] = "link" if self.tree.link(inner) is not None else str(self.kind(inner))
        return names

    def sought(self, path: str, modules: frozenset[str]) -> Part:
        """What a folder holds that could be one of `modules`: a folder of that name, or a file with one of
        the endings that Python knows, whatever tag is between."""
        if self.kind(path) != "folder":
            return self.kind(path)
        known = self._modules.get(path)
        if known is None:
            known = self._modules[path] = {}
            for name in self._held(path):
                stem, dot, _ = name.partition(".")
                if not dot or name.endswith(ENDINGS):
                    known.setdefault(stem, []).append(name)
        names = self._held(path)
        return {name: names[name] for module in modules & known.keys() for name in known[module]}

    def described(self, path: str) -> Part:
        """The distributions that a folder says are installed in it."""
        if self.kind(path) != "folder":
            return self.kind(path)
        return {name: kind for name, kind in self._held(path).items() if name.lower().endswith(INFO)}

    def metadata(self, path: str) -> Part:
        """Kind, and of a file mode and size. Times are the same for all files of a run, whatever the tree."""
        found = self._metadata.get(path)
        if found is None:
            found = self.kind(path)
            if found == "file":
                found = ["file", self.tree.mode(path), self.tree.size(path)]
            self._metadata[path] = found
        return found

    def link(self, path: str) -> Part:
        """Where it leads; of anything else what it is, for there the question fails in other ways."""
        found = self._links.get(path)
        if found is None:
            target = self.tree.link(path)
            found = self._links[path] = ["link", target] if target is not None else self.kind(path)
        return found

    def ways(self, paths: Iterable[str]) -> dict[str, Part]:
        """The symbolic links on the way to any of `paths`, themselves among them, and where each leads.

        A link may come, go or lead elsewhere while a path's own answer stays: that of a working folder, of a
        file that is now a link to the same bytes, of a link that leads nowhere.
        """
        found: dict[str, Part] = {}
        for path in paths:
            way = self._ways.get(path)
            if way is None:
                way = self._ways[path] = self._way(path)
                if not way:
                    self._ways.setdefault(posixpath.dirname(path), way)
            if way:
                found.update(way)
        return found

    def _way(self, path: str) -> Mapping[str, str]:
        found: dict[str, str] = {}
        todo = [path]
        while todo:
            place = todo.pop()
            while place and place not in found:
                target = self.tree.link(place)
                if target is not None:
                    found[place] = target
                    if not target.startswith("/"):
                        todo.append(posixpath.normpath(posixpath.join(posixpath.dirname(place), target)))
                place, inner = posixpath.dirname(place), place
                if place in self._ways and place != inner:
                    found.update(self._ways[place])
                    break
        return found

    def python(self, path: str, names: Iterable[str], positions: bool) -> Part:
        """A source's skeleton and some of its bodies; its bytes if it cannot be split."""
        if self.kind(path) != "file":
            return self.kind(path)
        if path not in self._blocks:
            found = self._split(self.tree.read(path))
            self._blocks[path] = (
                None if found is None else (found, {body.name: body for body in found.bodies})
            )
        split = self._blocks[path]
        if split is None:
            return {"mode": self.tree.mode(path), "whole": self.tree.digest(path)}
        whole, known = split
        entered = {name: known.get(name) for name in names}
        answer: dict[str, Part] = {
            "mode": self.tree.mode(path),
            "skeleton": whole.skeleton,
            "bodies": {name: body.digest if body else ABSENT for name, body in entered.items()},
        }
        if positions:
            moved = {name: body.lines if body else ABSENT for name, body in entered.items()}
            answer["positions"] = {"": whole.lines, **moved}
        return answer


def evaluate(
    questions: DependencySet,
    tree: Tree | Answers,
    given: Mapping[str, Part] = {},
    *,
    installed: Mapping[str, str] = {},
) -> Record:
    """The answers of `tree`; equal answers have equal keys. Who asks many sets of one tree gives `Answers`.

    `given` is what no tree can say, by name: the command, the environment, the toolchain's key, the
    platform; `installed` are the digests of distributions.
    """
    answers = tree if isinstance(tree, Answers) else Answers(tree)
    parts: dict[str, Part] = {
        "given": given,
        "files": answers.files(questions.files),
        "python": {
            path: answers.python(path, names, questions.positions) for path, names in questions.python.items()
        },
        "absent": {
            folder: {name: answers.kind(f"{folder}/{name}" if folder else name) for name in names}
            for folder, names in _by_folder(questions.absent).items()
        },
        "listed": {path: answers.listing(path) for path in questions.listed},
        "metadata": {path: answers.metadata(path) for path in questions.metadata},
        "links": {path: answers.link(path) for path in questions.links},
        "positions": questions.positions,
        "distributions": {name: installed.get(name, ABSENT) for name in questions.distributions},
        "ways": answers.ways(questions.paths()),
        "sought": {path: answers.sought(path, names) for path, names in questions.sought.items()},
        "described": {path: answers.described(path) for path in questions.described},
    }
    return Record(ANSWERS, VERSION, parts)


def differences(
    before: Record, now: Record, listing: Callable[[str], bytes | None] = lambda _: None
) -> list[str]:
    """What differs between two answers to one set, a line each: the file, function, absence or listing.
    `listing` gives a listing by its digest, where it is known."""
    lines: list[str] = []
    for difference in explain(before, now):
        if difference.path[0] == "listed" and len(difference.path) > 1:
            lines += _listed(difference, listing)
        else:
            lines.append(_words(difference))
    return list(dict.fromkeys(lines))


def _listed(difference: Difference, listing: Callable[[str], bytes | None]) -> list[str]:
    """What came and went in a folder that was listed."""
    folder = difference.path[1]
    sides = []
    for part in (difference.old, difference.new):
        known = listing(str(part[1])) if isinstance(part, list) else None
        if known is None:
            return [f"what is in {folder or 'the root of the project'} changed, which was listed"]
        sides.append(json.loads(known))
    old, new = sides
    place = folder or "the root of the project"
    said = dict.fromkeys(new.keys() - old.keys(), "came")
    said |= dict.fromkeys(old.keys() - new.keys(), "went")
    said |= {name: "changed its kind" for name in new.keys() & old.keys() if new[name] != old[name]}
    return [f"{name} {how} in {place}, which was listed" for name, how in sorted(said.items())]


def _words(difference: Difference) -> str:
    match difference.path:
        case ("absent", folder, name) if isinstance(difference.new, str):
            return f"{folder + '/' if folder else ''}{name} was not there, now it is a {difference.new}"
        case ("python", path, "bodies", body):
            return f"{body.rpartition('#')[0]} in {path} changed, which was entered"
        case ("python", path, "skeleton"):
            return f"{path} changed outside of the bodies of functions"
        case ("distributions", name):
            return f"{name.rpartition(' ')[2]} is another version, or is not installed"
        case ("python", path, "positions", _):
            return f"lines moved in {path}"
        case ("sought" | "described", folder, name):
            what = "a module of that name" if difference.path[0] == "sought" else "distributions"
            came = (
                "came" if difference.old is GONE else "went" if difference.new is GONE else "changed its kind"
            )
            return f"{name} {came} in {folder or 'the root of the project'}, where {what} was looked for"
        case ("ways", path) if isinstance(difference.new, str):
            return f"{path} is a symbolic link to {difference.new}"
        case ("ways", path):
            return f"{path} is no symbolic link any more"
    return difference.text()


def _by_folder(paths: Iterable[str]) -> dict[str, list[str]]:
    """Folder -> sorted names: a folder that many names are looked for in is named once."""
    found: dict[str, list[str]] = {}
    for path in sorted(paths):
        folder, _, name = path.rpartition("/")
        found.setdefault(folder, []).append(name)
    return found


def _strings(part: Part) -> frozenset[str]:
    if isinstance(part, str | bytes | int | Mapping) or part is None:
        raise UsageError("a dependency set is damaged", remedy="test again")
    return frozenset(str(item) for item in part)


def _table(part: Part) -> Mapping[str, Part]:
    if not isinstance(part, Mapping):
        raise UsageError("a dependency set is damaged", remedy="test again")
    return part
