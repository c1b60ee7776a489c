"""List the tests that a change can affect: those whose key differs, each with what differs.

`fairlead affected A..B` compares two commits in git's object store, whatever is on disk; with A...B, B with
the point where it left A; with one commit A, the files on disk with A. Without a range the files on disk are
compared with the last state that passed here, test by test, or with HEAD for a test that never has.

With --files the question is another: which tests can a change of these files reach, by the graph alone? No
key is computed, so of a large project the answer comes at once; it is the wider one.
"""

from __future__ import annotations

import argparse
import json
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fairlead.cli import project, terminal
from fairlead.errors import FairleadError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fairlead.build.plan import Plan
    from fairlead.build.query.affected import Affected
    from fairlead.build.tree import Tree
    from fairlead.store import Record, Store

_SHOWN = 5


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "range", nargs="?", metavar="A..B", help="two commits; default: the last pass (or HEAD) and the disk"
    )
    parser.add_argument("--all", action="store_true", help="list all targets, not the tests alone")
    parser.add_argument(
        "--files", nargs="+", metavar="FILE", help="list what depends on these files, by the graph alone"
    )


@dataclass(frozen=True)
class Side:
    """One state of the project. `name` is a commit's id, or "files on disk"; `tree` is None if it has no
    targets."""

    name: str
    plan: Plan
    records: Mapping[str, Record]
    tree: Tree | None = None

    def is_test(self, label: str) -> bool:
        return label in self.plan.targets and self.plan.targets[label].test is not None

    def is_recorded(self, label: str) -> bool:
        test = self.plan.targets[label].test if label in self.plan.targets else None
        return test is not None and test.recorded


def run(args: argparse.Namespace) -> int:
    here = project.Project.find()
    if args.files:
        return _reached(args, here)
    store = here.store()
    if args.range is None:
        now = side(here, here.disk(store), "files on disk", store)
        head = _commit(here, store, "HEAD", optional=True)
        before = "the last pass, or HEAD"
        found = by_passes(here, store, since_pass(store, head, now), None, now)
    else:
        head, now = sides(here, store, args.range)
        before = head.name
        found = by_passes(here, store, between(head, now), head, now)
    if not args.all:
        found = [item for item in found if now.is_test(item.label) or head.is_test(item.label)]
    if args.json:
        rows = [
            {
                "label": item.label,
                "state": item.state,
                "test": now.is_test(item.label) or head.is_test(item.label),
                "old": item.old,
                "new": item.new,
                "causes": [cause.to_json() for cause in item.causes],
            }
            for item in found
        ]
        document = {"schema": "fairlead.affected/1", "from": before, "to": now.name, "targets": rows}
        print(json.dumps(document, indent=2))
        return 0
    for item in found:
        terminal.say(f"{item.state:<7}  {item.label}")
        for cause in item.causes[:_SHOWN]:
            terminal.say(f"         {cause.text()}")
        if len(item.causes) > _SHOWN:
            terminal.say(f"         and {len(item.causes) - _SHOWN} more; --json names them all")
    kinds = now.records if args.all else [label for label in now.records if now.is_test(label)]
    left = [item for item in found if item.state != "removed"]
    noun = "target" if args.all else "test"
    terminal.note(f"{len(left)} of {project.counted(len(kinds), noun)} affected")
    return 0


def _reached(args: argparse.Namespace, here: project.Project) -> int:
    """What depends on files, which are meant from the current folder."""
    from fairlead.build.query.reached import reached

    if args.range is not None:
        raise UsageError("--files goes without a range", where=args.range, remedy="leave one of them out")
    paths = []
    for name in args.files:
        path = posixpath.normpath(posixpath.join(here.package, name))
        if path.startswith(("..", "/")):
            raise UsageError(f"{name} is no file of this project", where="--files")
        paths.append(path)
    with here.graph() as graph:
        found = [item for item in reached(graph, paths) if args.all or item.test]
    if args.json:
        same: dict[str, object] = {"state": "reached", "old": None, "new": None, "causes": []}
        rows = [{"label": item.label, "test": item.test, **same} for item in found]
        document = {"schema": "fairlead.affected/1", "from": None, "to": "files on disk", "targets": rows}
        print(json.dumps(document, indent=2))
        return 0
    for item in found:
        terminal.say(item.label)
    terminal.note(f"{project.counted(len(found), 'target' if args.all else 'test')} reached")
    return 0


def side(here: project.Project, tree: Tree, name: str, store: Store) -> Side:
    """The keys of all targets of a tree; a tree without any package has none. What the store knows of build
    files and rules is not evaluated again."""
    from fairlead.build.key import Platform, target_records
    from fairlead.build.plan import Plan
    from fairlead.build.query.graph import DeclaredGraph

    if not DeclaredGraph(tree).has_packages():
        return Side(name, Plan({}, (), {}), {})
    try:
        plan = here.plan(tree, ["//..."], store)
        return Side(name, plan, target_records(plan, tree, Platform.here()), tree)
    except FairleadError as error:
        error.where = f"{error.where}, in {name}" if error.where else name
        raise


def sides(here: project.Project, store: Store, span: str) -> tuple[Side, Side]:
    """Both states that a range names."""
    from fairlead.git import Repo

    first, dots, second = span.partition("...") if "..." in span else span.partition("..")
    old = first or "HEAD"
    if not dots:
        return _commit(here, store, old), side(here, here.disk(store), "files on disk", store)
    new = second or "HEAD"
    if dots == "...":
        repo = Repo.discover(here.root)
        base = repo.merge_base(repo.rev(old), repo.rev(new))
        if base is None:
            raise UsageError(f"{old} and {new} have no commit in common", where=span, remedy="use A..B")
        old = base
    return _commit(here, store, old), _commit(here, store, new)


def _commit(here: project.Project, store: Store, name: str, *, optional: bool = False) -> Side:
    """A commit's state; with `optional`, an empty one where there is no repository or no such commit."""
    from fairlead.build.plan import Plan
    from fairlead.git import Repo

    try:
        oid = Repo.discover(here.root).rev(name)
        tree = here.commit(oid, store)
    except UsageError:
        if not optional:
            raise
        return Side(name, Plan({}, (), {}), {})
    return side(here, tree, oid, store)


def between(old: Side, new: Side) -> list[Affected]:
    """What differs between two states."""
    from fairlead.build.query.affected import compare

    return compare(old.records, new.records)


def by_passes(
    here: project.Project, store: Store, found: list[Affected], old: Side | None, new: Side
) -> list[Affected]:
    """`found` as the passes of recorded tests have it, which is more exact than their keys.

    A test is left out if an earlier pass has the answers of both states (of the new one alone if `old` is
    None), and added if one has those of the old state alone.
    """
    from fairlead.build.query.affected import Affected, Cause
    from fairlead.build.testing import Verdicts
    from fairlead.store.record import explain

    labels = [label for label in new.records if new.is_recorded(label)]
    labels = [label for label in labels if old is None or label in old.records]
    if not labels:
        return found
    now = _answers(here, store, new, labels)
    before = now if old is None else _answers(here, store, old, labels)

    def passed(label: str, answers: Mapping[str, list[Record]]) -> dict[str, Record]:
        records = answers.get(label, [])
        return {r.key: r for r in records if project.has_passed(store, new.plan, label, r.key)}

    left = {item.label: item for item in found}
    for label in labels:
        was, known = passed(label, before), passed(label, now)
        if was.keys() & known.keys():
            left.pop(label, None)
            continue
        last = next(iter(was.values()), None)
        if last is None and old is None:
            key = Verdicts(store).last(label)
            last = None if key is None else store.get_record(key)
        answers = now.get(label, [])
        if last is not None and answers and last.kind == answers[0].kind:
            causes = tuple(Cause(label, difference) for difference in explain(last, answers[0]))
            left[label] = Affected(label, "changed", last.key, answers[0].key, causes)
    return [left[label] for label in sorted(left)]


def _answers(
    here: project.Project, store: Store, state: Side, labels: Sequence[str]
) -> dict[str, list[Record]]:
    """What a state answers to the questions of each test's passes."""
    from fairlead.build.engine import Engine

    if state.tree is None:
        return {}
    known = [label for label in labels if label in state.plan.targets]
    return Engine(store, here.root, state.tree, state.plan).answers(known)


def since_pass(store: Store, head: Side, now: Side) -> list[Affected]:
    """What differs from the last pass of each test, and from HEAD for what has none."""
    from fairlead.build.query.affected import Comparison
    from fairlead.build.testing import Verdicts

    by_key = {record.key: record for known in (head, now) for record in known.records.values()}
    comparison = Comparison(lambda key: by_key.get(key) or store.get_record(key))
    verdicts = Verdicts(store)
    found: list[Affected] = []
    for label in sorted(head.records.keys() | now.records.keys()):
        old, new = head.records.get(label), now.records.get(label)
        if new is not None and now.is_test(label):
            if project.has_passed(store, now.plan, label, new.key):
                continue
            last = verdicts.last(label)
            old = (store.get_record(last) if last is not None else None) or old
        item = comparison.target(label, old, new)
        if item is not None:
            found.append(item)
    return found
