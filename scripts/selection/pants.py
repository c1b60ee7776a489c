"""Pants by the same oracle: which test files it would choose, and which failures of others are untold then.

Nothing is run by it: `--changed-since` with its dependents says what it takes for concerned, from imports
that it infers itself. It gets a git repository with what `pants tailor` proposes, and places for modules
where pytest has them. Files that no import leads to would have to be declared by hand, as its documentation
says; nobody does that here. After an edit that adds or takes away files `tailor` is asked again, as a careful
person would. An error of its own is told as that, and counts as everything run again.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable

from selection import figures, outcomes, process
from selection.edit import Edit, applied
from selection.measure import Measured, line
from selection.opened import weight
from selection.oracle import Oracle
from selection.workplace import Workplace

VERSION = "2.17.1"
"""The last that the package registry has; it needs Python 3.7 to 3.9."""
_SETTINGS = """[GLOBAL]
pants_version = "{version}"
backend_packages = ["pants.backend.python"]
[anonymous-telemetry]
enabled = false
[source]
root_patterns = {roots}
[python]
interpreter_constraints = ["CPython>=3.7"]
[python-infer]
use_rust_parser = true
"""


class Pants:
    """Pants in a repository with the project's files."""

    def __init__(self, place: Workplace, command: list[str]) -> None:
        self.place = place
        self.command = command
        self.root = place.folder / "pants" / place.project.name
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(place.as_it_is(), self.root, symlinks=True)
        folder = place.project.folder
        roots = ["/", "src", folder, f"{folder}/planted"]
        (self.root / "pants.toml").write_text(_SETTINGS.format(version=VERSION, roots=roots))
        (self.root / ".gitignore").write_text(
            ".pants.d\n__pycache__\n.pids\ndist\n.pants.workdir.file_lock*\n"
        )
        self._git("init", "--quiet")
        said = self.ask("tailor", "::")
        if said[1]:
            raise process.Failed(f"pants tailor: {said[1]}")
        self._commit()

    def _git(self, *words: str) -> None:
        who = ["-c", "user.name=author", "-c", "user.email=author@example.org"]
        process.must(["git", *who, *words], self.root)

    def _commit(self) -> None:
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", "the project")

    def ask(self, *words: str) -> tuple[list[str], str]:
        """The lines of an answer, and how it broke."""
        env = {**os.environ, "PANTS_BOOTSTRAP_TARBALL": "", "PYTHONPATH": ""}
        done = process.call([*self.command, "--no-dynamic-ui", *words], self.root, env, 600)
        if done.code != 0:
            return [], f"ended with {done.code}: {(done.out + done.err)[-600:]}"
        return done.out.splitlines(), ""

    def edit(self, edit: Edit) -> tuple[set[str], str]:
        """The test files that it would run after the edit, and how it broke."""
        with applied(edit, self.root):
            try:
                moved = any(
                    (content is None) == (self.place.as_it_is() / path).exists()
                    for path, content in edit.content.items()
                )
                broke = self.ask("tailor", "::")[1] if moved else ""
                if broke:
                    return set(), broke
                changed = ["--changed-since=HEAD", "--changed-dependents=transitive"]
                lines, broke = self.ask(*changed, "--filter-target-type=python_test", "list")
                return {_path(text) for text in lines if text}, broke
            finally:
                self._git("checkout", "--quiet", "--", ".")
                self._git("clean", "--quiet", "-fd")

    def stop(self) -> None:
        """End the process that stays for this repository."""
        pid = next((self.root / ".pids").glob("*/pantsd/pid"), None)
        if pid is not None and pid.read_text().strip().isdigit():
            process.call(["kill", pid.read_text().strip()], self.root)


def _path(address: str) -> str:
    """The file of an address such as tests/test_a.py:tests or tests/sub/test_a.py:../tests."""
    return address.partition(":")[0]


def measure(
    place: Workplace,
    oracle: Oracle,
    edits: Iterable[Edit],
    until: float,
    say: Callable[[str], None],
    command: list[str],
) -> None:
    """Measure the edits, but for those of a lock, which Pants would have to be told of otherwise. Written
    like Fairlead's."""
    kept = place.folder / "runs" / "pants.jsonl"
    kept.parent.mkdir(exist_ok=True)
    done = {edit.digest for edit in figures.read([kept])} if kept.exists() else set()
    truth = oracle.clean().outcomes or {}
    left = set(oracle.flaky())
    pants = Pants(place, command)
    say(f"{place.project.name}: pants {VERSION}, {len(truth)} tests, {len(left)} left out")
    try:
        for edit in edits:
            if edit.digest in done or edit.pins:
                continue
            if time.monotonic() > until:
                return
            after = oracle.truth(edit).outcomes
            if after is None:
                continue
            began = time.monotonic()
            chosen, broke = pants.edit(edit)
            seconds = time.monotonic() - began
            missed = [] if broke else untold(truth, after, chosen, edit, left)
            share = 1.0 if broke else round(weight(chosen, truth) / len(truth), 4)
            found = Measured(
                place.project.name, edit.kind, edit.title, edit.digest, share, 0.0, missed,
                failures=len(outcomes.bad(after) - outcomes.bad(truth)), refused=broke,
                seconds=round(seconds, 2),
            )  # fmt: skip
            with kept.open("a") as stream:
                stream.write(line(found) + "\n")
    finally:
        pants.stop()


def untold(
    truth: outcomes.Outcomes, after: outcomes.Outcomes, chosen: Iterable[str], edit: Edit, left: set[str]
) -> list[list[str]]:
    """The nodes that end otherwise after the edit, of test files that were not chosen and are still there."""
    ran = tuple(_dotted(path) for path in chosen)
    gone = tuple(_dotted(path) for path, content in edit.content.items() if content is None)
    rows = []
    for node in sorted((truth.keys() | after.keys()) - left):
        name = f"{(node.partition('::')[0] or node.partition('::')[2])}."
        said, true = truth.get(node, "absent"), after.get(node, "absent")
        if said == true or (said in outcomes.BAD and true in outcomes.BAD):
            continue
        if not name.startswith(ran) and not (true == "absent" and name.startswith(gone)):
            rows.append([node, "", said, true])
    return rows


def _dotted(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".") + "."
