"""Whether tests end alone as they end in company: each target by itself, beside one run of the whole project.

Tests run a target at a time. A file that relies on what another file did before it, or that breaks what comes
after it, ends otherwise then. Such files are named, and a setting joins them to one target. The comparison
runs every test twice, so it is made when somebody asks for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fairlead.build import sandbox
from fairlead.build.collection import prepare, start
from fairlead.build.infer.layout import Project
from fairlead.build.infer.targets import Test
from fairlead.build.stage import Environment

_SECONDS = 1800.0
_BAD = ("error", "failed", "not run")


@dataclass(frozen=True)
class Difference:
    """A test that ends otherwise alone: outcomes "passed", "skipped", "failed", "error" or "not run"."""

    path: str
    node: str
    whole: str
    alone: str

    @property
    def matters(self) -> bool:
        """Whether it is good in one way and bad in the other."""
        return (self.whole in _BAD) != (self.alone in _BAD)


class Runs:
    """Runs of one project's tests by pytest, as a whole and in parts; `scratch` is a new folder."""

    def __init__(
        self,
        root: Path,
        project: Project,
        tests: Sequence[Test],
        environment: Environment,
        scratch: Path,
        *,
        metadata: Mapping[str, str],
        level: sandbox.Requested = "auto",
        jobs: int = 2,
    ) -> None:
        self.root = root
        self.project = project
        self.tests = tests
        self.environment = environment
        self.scratch = scratch
        self.level = level
        self.jobs = jobs
        self._number = itertools.count()
        prepare(scratch, metadata)

    def outcomes(self, files: Sequence[str] = ()) -> dict[str, str]:
        """The outcome of each node id when these files run in one process; all files if there are none."""
        prefix = f"{self.project.folder}/" if self.project.folder else ""
        answer, _, _ = start(
            self.root,
            self.project,
            self.tests[0].search,
            self.environment,
            self.scratch,
            "0",
            self.level,
            False,
            files=[path.removeprefix(prefix) for path in files],
            run=True,
            name=str(next(self._number)),
            seconds=_SECONDS,
        )
        return _outcomes(answer)

    def compare(self, on_run: Callable[[str], None] = lambda _: None) -> list[Difference]:
        """The tests that end otherwise when their target runs alone."""
        on_run(f"running all tests of {self.project.folder or 'the repository'} together")
        whole = self.outcomes()
        on_run(f"running {len(self.tests)} targets, each alone")
        with ThreadPoolExecutor(self.jobs) as pool:
            each = list(pool.map(lambda test: self.outcomes(test.files), self.tests))
        return differences(self.tests, whole, each)

    def needs(self, found: Difference) -> Test | None:
        """The target that makes a test pass which does not pass alone, by halving those that may run before
        it; None if it takes more than one, or another order."""
        mine = next(test for test in self.tests if found.path in test.files)
        before = [test for test in self.tests if test is not mine]

        def passes(some: Sequence[Test]) -> bool:
            files = [path for test in some for path in test.files]
            return self.outcomes([*files, *mine.files]).get(found.node, "not run") not in _BAD

        while len(before) > 1:
            half = before[: len(before) // 2]
            before = half if passes(half) else before[len(before) // 2 :]
        return before[0] if before and passes(before) else None


def differences(
    tests: Sequence[Test], whole: Mapping[str, str], each: Sequence[Mapping[str, str]]
) -> list[Difference]:
    """Where the run of a target and the run of everything do not agree. What only one of them has was not
    run in the other."""
    made = []
    named = {path: number for number, test in enumerate(tests) for path in test.files}
    for number, alone in enumerate(each):
        test = tests[number]
        mine = {node for node in whole if _file(node, named) in test.files}
        for node in sorted(mine | alone.keys()):
            one, other = whole.get(node, "not run"), alone.get(node, "not run")
            if one != other:
                made.append(Difference(_file(node, named) or test.path, node, one, other))
    return made


def _file(node: str, named: Mapping[str, int]) -> str:
    """The file of a node id, whose path is relative to pytest's rootdir: that of the project or one above."""
    path = node.partition("::")[0]
    return path if path in named else next((known for known in named if known.endswith(f"/{path}")), "")


def _outcomes(answer: object) -> dict[str, str]:
    found = answer.get("outcomes") if isinstance(answer, dict) else None
    return {str(node): str(outcome) for node, outcome in found.items()} if isinstance(found, dict) else {}
