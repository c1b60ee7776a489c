"""Targets of a Python repository that has no BUCK files, from the files alone.

`infer` takes a tree and gives what it found: projects, pytest's settings, the environment, targets, and the
text of the BUCK file that declares them. Nothing of the repository is run and nothing outside of the tree
is read, so a commit has the same targets on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.build.infer import buckfile, environment, layout, pytest_settings, settings, targets
from fairlead.build.infer import facts as kept_facts
from fairlead.build.infer.environment import Environment
from fairlead.build.infer.finding import Finding
from fairlead.build.infer.layout import Project
from fairlead.build.infer.settings import Settings
from fairlead.build.infer.targets import Targets
from fairlead.build.tree import Tree
from fairlead.errors import UsageError
from fairlead.store.results import Results


@dataclass(frozen=True)
class Repository:
    """What inference found in a repository."""

    settings: Settings
    projects: list[Project]
    environment: Environment
    targets: Targets
    findings: list[Finding]

    @property
    def text(self) -> str:
        """The BUCK file that declares the targets."""
        return buckfile.render(self.targets, self.projects, self.environment.lock, self.settings.interpreter)


def wanted(tree: Tree) -> bool:
    """Whether the repository asks for inferred targets: `infer = true` below [build]."""
    return settings.read(tree).infer


def infer(tree: Tree, files: Sequence[str], results: Results | None = None) -> Repository:
    """What the repository holds; `files` are those that inference looks at (`listing.files`)."""
    files = tuple(files)
    own = settings.read(tree)
    projects = layout.projects(tree, files, own)
    pytests = [pytest_settings.read(tree, project) for project in projects]
    found = environment.read(tree, files, projects, own)
    facts = kept_facts.read(tree, [path for path in files if path.endswith(".py")], results)
    made = targets.find(files, projects, pytests, facts, found.uses, own.data, own.join)
    findings = [*found.findings]
    for project, pytest in zip(projects, pytests, strict=True):
        findings += [*project.findings, *pytest.findings]
    return Repository(own, projects, found, made, findings)


def text(tree: Tree, files: Sequence[str], results: Results | None = None) -> str:
    """The BUCK file of the repository; UsageError if its tests have no environment to run in."""
    found = infer(tree, files, results)
    if found.targets.tests and not found.environment.lock:
        raise UsageError(
            "no locked environment is known for the tests of this repository",
            where=found.settings.source,
            remedy='run `fairlead init --lock`, or name a lock with hashes: lock = "path" below [build]',
        )
    return found.text
