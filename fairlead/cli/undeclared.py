"""Names the inputs that a failed test asked for in vain although the project has them, and what to declare.

To say which target has a file, the file's own package is evaluated; the plan of the test does not reach it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fairlead.cli import terminal
from fairlead.errors import FairleadError

if TYPE_CHECKING:
    from fairlead.build.plan import Plan, Target
    from fairlead.build.record.missing import Missing, Owner
    from fairlead.build.testing import TestResult
    from fairlead.build.tree import Tree
    from fairlead.cli.project import Project
    from fairlead.store import Store

_MOST = 12


@dataclass(frozen=True)
class Undeclared:
    """A path of the project that the test may not see, what it wanted of it, and what to do about it."""

    path: str
    how: str
    remedy: str

    def to_json(self) -> dict[str, object]:
        return {"path": self.path, "how": self.how, "remedy": self.remedy}


class Finder:
    """The undeclared inputs of results of one call."""

    def __init__(self, project: Project, store: Store, tree: Tree, plan: Plan) -> None:
        self.project = project
        self.store = store
        self.tree = tree
        self.plan = plan
        self._packages: dict[str, list[Target]] = {}

    def find(self, result: TestResult) -> list[Undeclared]:
        """Those of a test that failed, likeliest cause first; none if its run was not recorded."""
        from fairlead.build.leftout import LeftOut
        from fairlead.build.record.layout import Layout
        from fairlead.build.record.missing import missing, remedy
        from fairlead.build.record.runs import Runs

        run = Runs(self.store).get(result.label)
        if result.outcome == "pass" or run is None or run.key != result.key:
            return []
        log = self.store.blobs.get(result.log).decode("utf-8", "replace")
        found = missing(run, log, Layout.of(self.plan, result.label), self.tree)
        rule = self.plan.targets[result.label].rule
        inferred = self._inferred(result.label)
        left = LeftOut.of(self.tree) if inferred else LeftOut()
        return [
            Undeclared(
                item.path,
                item.how,
                left.why(item.path) or f'add data = ["{item.path}"] below [build] in {inferred}'
                if inferred
                else remedy(item, self._owner(item), result.label, rule),
            )
            for item in found
        ]

    def _inferred(self, label: str) -> str:
        """The file whose settings make `label` an inferred target, "" if a build file declares it."""
        from fairlead.build.buckconfig import BuckConfig
        from fairlead.build.infer import settings

        names = BuckConfig.load(self.tree).build_files
        if not label.startswith("//:") or any(self.tree.kind(name) == "file" for name in names):
            return ""
        return settings.read(self.tree).source

    def _owner(self, item: Missing) -> Owner:
        from fairlead.build.buckconfig import BuckConfig
        from fairlead.build.record.missing import Owner

        names = BuckConfig.load(self.tree).build_files
        package = item.path if self.tree.kind(item.path) == "folder" else item.path.rpartition("/")[0]
        while not any(self.tree.kind(f"{package}/{name}".lstrip("/")) == "file" for name in names):
            if not package:
                return Owner(None)
            package = package.rpartition("/")[0]
        targets = [target for target in self._targets(package) if _has(target, item.path)]
        return Owner(package, tuple((target.label, target.rule) for target in targets))

    def _targets(self, package: str) -> list[Target]:
        """The targets of a package; none if it cannot be evaluated, which is another's error."""
        if package not in self._packages:
            try:
                plan = self.project.plan(self.tree, [f"//{package}:"])
            except FairleadError:
                return []
            self._packages[package] = [plan.targets[label] for label in plan.requested]
        return self._packages[package]


def _has(target: Target, path: str) -> bool:
    return any(source == path or source.startswith(f"{path}/") for source in target.sources)


def show(found: list[Undeclared]) -> None:
    """What a person is told below a failed test's log."""
    inputs = [item for item in found if item.how != "setting"]
    if inputs:
        terminal.say("  It asked in vain for what the project has, and it does not get:")
    for item in inputs[:_MOST]:
        terminal.say(f"    {item.path} ({item.how}): {item.remedy}")
    if len(inputs) > _MOST:
        terminal.say(f"    and {len(inputs) - _MOST} more: fairlead test --json names all")
    settings = [item.path for item in found if item.how == "setting"]
    if settings:
        names = ", ".join(settings[:_MOST])
        terminal.say(f"  pytest looked for {names}: declare them if the tests need them.")
