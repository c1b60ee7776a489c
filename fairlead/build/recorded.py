"""Recorded tests: what is given to them, the view that they run in, and the passes that they leave.

Files on disk are viewed, in a namespace. The tests of a commit run among what they declare, with keys that
every machine has; but a pass on disk counts for a commit that gives the same answers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from fairlead.build import manifest, passes, sandbox, toolchain
from fairlead.build.distributions import Installed
from fairlead.build.manifest import Manifest
from fairlead.build.passes import Given, Passes
from fairlead.build.plan import Plan, TestSpec
from fairlead.build.record import entered, listings
from fairlead.build.snapshot import Snapshot
from fairlead.build.stage import ENVIRONMENT, PROJECT, Environment
from fairlead.build.testing import Ran, TestResult, Verdicts
from fairlead.build.tree import DiskTree, Tree
from fairlead.build.view import View
from fairlead.store import Record, Store, digest
from fairlead.store.record import Part


class RecordedTests:
    """The recorded tests of one plan over one tree. `toolchains` gives environments by label, installed."""

    def __init__(
        self,
        store: Store,
        root: Path | None,
        tree: Tree,
        plan: Plan,
        toolchains: Callable[[Iterable[str]], Mapping[str, Environment]],
    ) -> None:
        self.passes = Passes(store)
        self.given: dict[str, Given] = {}
        self._store = store
        self._root = root
        self._tree = tree
        self._plan = plan
        self._toolchains = toolchains
        self._distributions: dict[str, Installed] = {}

    def among(self, labels: Iterable[str]) -> dict[str, TestSpec]:
        """Those of `labels` that are recorded tests."""
        specs = {label: self._plan.targets[label].test for label in labels}
        return {label: spec for label, spec in specs.items() if spec is not None and spec.recorded}

    def viewed(self, labels: Iterable[str], enforced: sandbox.Enforced) -> set[str]:
        """Those of `labels` that run in the view."""
        if not isinstance(self._tree, DiskTree) or enforced != "namespace":
            return set()
        return self.given.keys() & set(labels)

    def give(self, specs: Mapping[str, TestSpec], made: Mapping[str, Manifest]) -> None:
        """Find what each test gets beside the project's files. A test without some of its inputs, which
        failed to be made, gets nothing here: it is told so among the declared inputs."""
        system = passes.system()
        for label, spec in specs.items():
            if any(path not in made for path in spec.inputs):
                continue
            found = self._installed(spec.toolchains)
            parts: dict[str, Part] = {
                "command": list(spec.argv),
                "environment": {**ENVIRONMENT, **spec.env},
                "inputs": {path: manifest.digest(made[path]) for path in spec.inputs},
                "interpreters": toolchain.versions(self._plan.toolchains, spec.toolchains),
                "distributions": {name: installed.common for name, installed in found.items()},
                "system": system,
            }
            dists = {
                f"{name} {dist}": digest
                for name, installed in found.items()
                for dist, digest in installed.dists.items()
            }
            self.given[label] = Given(parts, dists)

    def state(self, label: str) -> str:
        """A digest of all that the test could ask for."""
        given = self.given[label]
        parts: dict[str, Part] = {"files": self._files, "installed": dict(given.installed), **given.parts}
        return Record("state", 1, parts).key

    @functools.cached_property
    def _files(self) -> str:
        return self.snapshot.name()

    def answers(self, label: str) -> Iterator[Record]:
        """What the files answer to what the earlier passes of the test asked, the newest first."""
        tree = self.snapshot if isinstance(self._tree, DiskTree) else self._tree
        return self.passes.answers(label, tree, self.given[label])

    @functools.cached_property
    def snapshot(self) -> Snapshot:
        """The files of the project, as the tests of this call see them."""
        assert isinstance(self._tree, DiskTree)
        return Snapshot.take(self._tree, self._store.blobs)

    def view(self, labels: Collection[str]) -> Path | None:
        """The folder that the tests `labels` run in, byte-compiled for their toolchains; None for no test."""
        if not labels:
            return None
        name = digest.of_bytes(str(self._root).encode())[:16]
        view = View(self._store.root / "views" / name, self._store.blobs)
        view.show(self.snapshot)
        used = {name for spec in self.among(labels).values() for name in spec.toolchains}
        for environment in self._toolchains(used).values():
            view.compile(self.snapshot, environment)
        return view.files

    def keep(self, label: str, ran: Ran, verdicts: Verdicts) -> TestResult:
        """The result of a run in the view. A pass is kept under what it asked; after a failure no pass with
        the same answers counts."""
        given = self.given[label]
        if ran.result.outcome == "pass" and ran.asked is not None:
            used: set[str] = set()
            for name, outside in ran.outside.items():
                installed = self._distributions[name]
                known = installed.used(outside)
                used |= {f"{name} {dist}" for dist in (installed.dists if known is None else known)}
            asked = listings.narrowed(ran.noted, ran.asked, PROJECT)
            python = entered.bodies(ran.noted, ran.asked, self.snapshot, PROJECT, split=self.passes.split)
            lines = entered.lines_seen(ran.noted)
            kept = self.passes.keep(label, asked, self.snapshot, given, used, python, positions=lines)
            return replace(ran.result, key=kept.key)
        if ran.result.outcome in ("fail", "timeout"):
            for record in self.answers(label):
                verdicts.forget(record.key)
        return ran.result

    def _installed(self, labels: Iterable[str]) -> dict[str, Installed]:
        """What each toolchain's environment holds."""
        for label, environment in self._toolchains(labels).items():
            if label not in self._distributions:
                self._distributions[label] = Installed.of(environment, self._store)
        return {label: self._distributions[label] for label in labels}
