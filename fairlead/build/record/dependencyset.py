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

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from fairlead.build.record.asked import Asked
from fairlead.build.record.source import Blocks, blocks
from fairlead.build.tree import NEVER, Tree
from fairlead.errors import UsageError
from fairlead.store.record import ABSENT as NO_PART
from fairlead.store.record import Difference, Part, Record, explain

KIND, ANSWERS, VERSION = "dependency-set", "dependencies", 2
ABSENT = "absent"


@dataclass(frozen=True)
class DependencySet:
    """Paths relative to the project's root, by what was asked about them.

    `files`: mode and bytes. `python`: source that was imported and nothing else, with the names of the
    bodies that were entered (`source.Body.name`). `absent`: paths that were asked for in vain. `listed`:
    folders whose names were read. `metadata`: paths of which somebody wanted to know what they are.
    `links`: where a link leads, or that there is none. `positions`: whether line numbers of Python source
    count. `distributions`: those whose files were used, each after its toolchain's label and a space.
    """

    files: frozenset[str] = frozenset()
    python: Mapping[str, frozenset[str]] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()
    listed: frozenset[str] = frozenset()
    metadata: frozenset[str] = frozenset()
    links: frozenset[str] = frozenset()
    positions: bool = True
    distributions: frozenset[str] = frozenset()

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
            metadata=frozenset((asked.probed | asked.opened | asked.listed) & there - files - blocked.keys()),
            links=frozenset(asked.links),
            positions=positions,
            distributions=frozenset(distributions),
        )

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
        )


def evaluate(
    questions: DependencySet,
    tree: Tree,
    given: Mapping[str, Part] = {},
    *,
    split: Callable[[bytes], Blocks | None] = blocks,
    installed: Mapping[str, str] = {},
) -> Record:
    """The answers of `tree`; equal answers have equal keys.

    `given` is what no tree can say, by name: the command, the environment, the toolchain's key, the
    platform. `split` gives a source's blocks (a caller with many trees keeps them by digest); `installed` the
    digests of distributions.
    """
    wanted = [path for path in questions.files if tree.kind(path) == "file"]
    digests = tree.digests(sorted(wanted))

    def file(path: str) -> Part:
        return [tree.mode(path), digests[path]] if path in digests else _kind(tree, path)

    parts: dict[str, Part] = {
        "given": given,
        "files": {path: file(path) for path in questions.files},
        "python": {
            path: _python(tree, path, names, questions.positions, split)
            for path, names in questions.python.items()
        },
        "absent": {
            folder: {name: _kind(tree, f"{folder}/{name}" if folder else name) for name in names}
            for folder, names in _by_folder(questions.absent).items()
        },
        "listed": {path: _listing(tree, path) for path in questions.listed},
        "metadata": {path: _metadata(tree, path) for path in questions.metadata},
        "links": {path: _link(tree, path) for path in questions.links},
        "positions": questions.positions,
        "distributions": {name: installed.get(name, ABSENT) for name in questions.distributions},
    }
    return Record(ANSWERS, VERSION, parts)


def differences(before: Record, now: Record) -> list[str]:
    """What differs between two answers to one set, a line each: the file, function, absence or listing."""
    return [_words(difference) for difference in explain(before, now)]


def _words(difference: Difference) -> str:
    match difference.path:
        case ("absent", folder, name) if isinstance(difference.new, str):
            return f"{folder + '/' if folder else ''}{name} was not there, now it is a {difference.new}"
        case ("listed", folder, name):
            place = folder or "the project's root"
            came, went = difference.old is NO_PART, difference.new is NO_PART
            change = "came" if came else "went" if went else "changed its kind"
            return f"{name} {change} in {place}, which was listed"
        case ("python", path, "bodies", body):
            return f"{body.rpartition('#')[0]} in {path} changed, which was entered"
        case ("python", path, "skeleton"):
            return f"{path} changed outside of the bodies of functions"
        case ("distributions", name):
            return f"{name.rpartition(' ')[2]} is another version, or is not installed"
        case ("python", path, "positions", _):
            return f"lines moved in {path}"
    return difference.text()


def _by_folder(paths: Iterable[str]) -> dict[str, list[str]]:
    """Folder -> sorted names: a folder that many names are looked for in is named once."""
    found: dict[str, list[str]] = {}
    for path in sorted(paths):
        folder, _, name = path.rpartition("/")
        found.setdefault(folder, []).append(name)
    return found


def _kind(tree: Tree, path: str) -> str:
    return tree.kind(path) or ABSENT


def _python(
    tree: Tree, path: str, names: Iterable[str], positions: bool, split: Callable[[bytes], Blocks | None]
) -> Part:
    if tree.kind(path) != "file":
        return _kind(tree, path)
    found = split(tree.read(path))
    if found is None:
        return {"mode": tree.mode(path), "whole": tree.digest(path)}
    known = {body.name: body for body in found.bodies}
    entered = {name: known.get(name) for name in names}
    answer: dict[str, Part] = {
        "mode": tree.mode(path),
        "skeleton": found.skeleton,
        "bodies": {name: body.digest if body else ABSENT for name, body in entered.items()},
    }
    if positions:
        moved = {name: body.lines if body else ABSENT for name, body in entered.items()}
        answer["positions"] = {"": found.lines, **moved}
    return answer


def _listing(tree: Tree, path: str) -> Part:
    """Name -> kind of what a folder holds, without what is never part of a project."""
    if tree.kind(path) != "folder":
        return _kind(tree, path)
    found: dict[str, Part] = {}
    for name in tree.list(path):
        if name not in NEVER:
            inner = f"{path}/{name}" if path else name
            found[name] = "link" if tree.link(inner) is not None else _kind(tree, inner)
    return found


def _link(tree: Tree, path: str) -> Part:
    """Where it leads; of anything else what it is, for there the question fails in other ways."""
    target = tree.link(path)
    return ["link", target] if target is not None else _kind(tree, path)


def _metadata(tree: Tree, path: str) -> Part:
    """Kind, and of a file mode and size. Times are the same for all files of a run, whatever the tree."""
    if tree.kind(path) != "file":
        return _kind(tree, path)
    return ["file", tree.mode(path), tree.size(path)]


def _strings(part: Part) -> frozenset[str]:
    if isinstance(part, str | bytes | int | Mapping) or part is None:
        raise UsageError("a dependency set is damaged", remedy="test again")
    return frozenset(str(item) for item in part)


def _table(part: Part) -> Mapping[str, Part]:
    if not isinstance(part, Mapping):
        raise UsageError("a dependency set is damaged", remedy="test again")
    return part
