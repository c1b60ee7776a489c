"""The packages that a repository's tests run with: its lock, or the requirements from which one is made.

Names come from what the repository declares, and from nowhere else: a module called `yaml` is no reason to
install something called `yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairlead.build import lockfile
from fairlead.build.infer import requires
from fairlead.build.infer.finding import Finding
from fairlead.build.infer.layout import Project
from fairlead.build.infer.requires import requirement
from fairlead.build.infer.settings import Settings
from fairlead.build.lockfile import normal
from fairlead.build.tree import Tree
from fairlead.errors import UsageError
from fairlead.store import digest

LOCK = "requirements.tests.lock"
"""The lock that `fairlead init --lock` writes: part of the repository, the same for everybody."""
KEPT = ".fairlead/requirements.tests.lock"
"""The lock that `fairlead init` makes where the repository has none. It stays on this machine: the folder
holds a .gitignore of its own."""
MADE = (LOCK, KEPT)


_LOCKS = ("pylock.toml", "uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock")
_FROM = "# from: "


@dataclass(frozen=True)
class Environment:
    """`lock` is the lock that tests run with, "" if there is none. `requires` is what one would be made from,
    `others` what the repository declares for other ends, with its place: a name there may be installed too if
    a test turns out to need it. `uses` are the repository's own distributions that the lock holds: other
    packages need them, plugins of pytest for one, so every test may load any of their modules before it
    begins. `interpreter` is what they run with, "" for the one that runs this. `stale` says that the lock was
    made here from other requirements than the repository has now."""

    lock: str
    requires: tuple[str, ...]
    uses: frozenset[str]
    findings: tuple[Finding, ...]
    others: Mapping[str, str]
    stale: bool = False
    interpreter: str = ""

    @property
    def has_pytest(self) -> bool:
        """Whether the repository declares pytest."""
        return any(requirement(line) == "pytest" for line in self.requires)

    def head(self) -> str:
        """The first lines of a lock made from `requires`."""
        origin = _origin(self.requires, self.interpreter)
        return f"# Made by `fairlead init --lock`; run it again to renew.\n{_FROM}{origin}\n"


def read(tree: Tree, files: Sequence[str], projects: Sequence[Project], settings: Settings) -> Environment:
    """The environment of a repository's tests."""
    declared = requires.read(tree, files, projects, settings)
    lines = tuple(declared.lines)
    lock, sure, problems = _lock(tree, files, settings)
    findings = [*problems, *declared.findings]
    stale = lock in MADE and _is_stale(tree, lock, lines, settings.interpreter)
    if lock:
        findings.insert(0, Finding("environment", lock, "known", sure))
        if stale:
            findings.insert(
                1,
                Finding(
                    "age of the lock",
                    "what the repository declares has changed since",
                    "guessed",
                    lock,
                    "run `fairlead init --lock`",
                ),
            )
    else:
        findings.insert(
            0,
            Finding(
                "environment",
                "no lock with hashes that holds pytest",
                "unknown",
                add='run `fairlead init --lock`, or name one: lock = "path"',
            ),
        )
        if not declared.has_pytest:
            findings.append(
                Finding("pytest", "in no group that is for tests", "unknown", add='requires = ["pytest"]')
            )
    if lines and (not lock or lock in MADE):
        findings.append(
            Finding("declared requirements", ", ".join(lines), "known", ", ".join(declared.sources))
        )
    uses = frozenset[str]()
    if lock and not lockfile.reads(lock):
        held = {requirement(line) for line in tree.read(lock).decode("utf-8", "replace").splitlines()}
        uses = frozenset(project.name for project in projects if normal(project.name) in held)
    for name in sorted(uses):
        findings.append(
            Finding(
                f"{name} in the lock",
                "packages of the environment use it: every test gets all of it",
                "known",
                lock,
            )
        )
    return Environment(lock, lines, uses, tuple(findings), dict(declared.others), stale, settings.interpreter)


def _lock(tree: Tree, files: Sequence[str], settings: Settings) -> tuple[str, str, list[Finding]]:
    """The lock, why it is the one, and which others cannot be used."""
    if settings.lock:
        if tree.kind(settings.lock) != "file":
            raise UsageError(
                f"the lock {settings.lock} does not exist",
                where=settings.source,
                remedy="correct `lock` below [build], or remove it and run `fairlead init --lock`",
            )
        return settings.lock, settings.source, []
    if LOCK in files:
        return LOCK, "made by `fairlead init --lock`", []
    problems: list[Finding] = []
    top = [path for path in files if path.count("/") < 2]
    locks = [path for path in top if "/" not in path and lockfile.reads(path)]
    for path in sorted(locks, key=lambda path: _LOCKS.index(path) if path in _LOCKS else 0):
        try:
            lines = lockfile.requirements(path, tree.read(path).decode("utf-8", "replace"))
        except UsageError as error:
            problems.append(Finding(path, f"not used: {error.what}", "guessed", path, error.remedy))
            continue
        if re.search(r"^pytest==", lines, re.MULTILINE):
            return path, "complete, and holds pytest", []
        problems.append(Finding(path, "not used: no pytest in its groups for tests", "guessed", path))
    for path in top:
        name = path.rpartition("/")[2]
        if "requirements" in path and name.endswith((".txt", ".lock")) and _is_hashed(tree, path):
            return path, "every requirement has a hash, pytest is one of them", []
    if tree.kind(KEPT) == "file":
        return KEPT, "made by `fairlead init`, kept on this machine", problems
    return "", "", problems


def _is_hashed(tree: Tree, path: str) -> bool:
    """Whether a requirements file pins and hashes everything, pytest among it."""
    data = tree.read(path).decode("utf-8", "replace").replace("\\\n", " ")
    lines = [re.sub(r"(^|\s)#.*$", "", line).strip() for line in data.splitlines()]
    lines = [line for line in lines if line]
    return all("==" in line and "--hash=" in line for line in lines) and any(
        requirement(line) == "pytest" for line in lines
    )


def _is_stale(tree: Tree, lock: str, lines: Sequence[str], interpreter: str) -> bool:
    """Whether a lock that was made here says that it was made from something else."""
    for line in tree.read(lock).decode("utf-8", "replace").splitlines()[:4]:
        if line.startswith(_FROM):
            return line.removeprefix(_FROM) != _origin(lines, interpreter)
    return False


def _origin(lines: Sequence[str], interpreter: str) -> str:
    return digest.of_bytes("\n".join([*sorted(lines), interpreter]).encode())[:16]
