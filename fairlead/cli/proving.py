"""What `init` does beyond reading: it makes a lock where there is none, installs it, and lets pytest collect.

What a collection lacks is looked for among the packages that the repository itself declares for some other
end, by what their wheels hold. What is not found there is asked for.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead import config
from fairlead.cli import project, terminal
from fairlead.errors import FairleadError, UsageError

if TYPE_CHECKING:
    from fairlead.build.alone import Difference, Runs
    from fairlead.build.collection import Collection, Failure
    from fairlead.build.infer import Repository
    from fairlead.build.infer.finding import Finding
    from fairlead.build.proof import State
    from fairlead.build.stage import Environment
    from fairlead.store import Store

_SEARCHED = "init-distributions"
_VERSION = re.compile(r"(?:[A-Za-z][\w.]*[-_/])?[vV]?(\d+(?:\.\d+)*(?:(?:a|b|rc|\.post|\.dev)\d+)?)")
"""A tag such as 1.2, v1.2rc1 or name-1.2: the part that is the version."""


@dataclass(frozen=True)
class Proof:
    """`found` is the repository as it was proven, `collections` what pytest says of each project, by number.
    `lacking` are requirements that the repository declares elsewhere and its tests need."""

    found: Repository
    collections: Mapping[int, Collection]
    findings: tuple[Finding, ...]
    lacking: tuple[str, ...] = ()


def keep_lock(root: Path, found: Repository) -> str:
    """Make the repository's own lock; its path."""
    from fairlead.build.infer.environment import LOCK

    if found.settings.lock:
        raise UsageError(
            f"the repository names its lock already: {found.settings.lock}",
            where=found.settings.source,
            remedy="remove `lock` below [build] to have one made",
        )
    if not found.environment.requires:
        raise UsageError(
            "the repository declares nothing that its tests need",
            where=str(root),
            remedy='say it in fairlead.toml: requires = ["pytest"] below [build]',
        )
    _make_lock(root, found, LOCK)
    return LOCK


def _make_lock(root: Path, found: Repository, path: str) -> None:
    from fairlead.build.resolve import resolve
    from fairlead.store import atomic

    text = resolve(found.environment.requires, found.environment.interpreter)
    atomic.write(root / path, (found.environment.head() + text).encode())


def prove(root: Path, found: Repository, read: Callable[[Path], Repository], *, level: str) -> Proof:
    """Choose, install and try the environment of the tests of the repository at `root`; `read` reads it
    again. Nothing that goes wrong here ends `init`: it is a finding, with what to do about it."""
    from fairlead.build.infer.environment import KEPT
    from fairlead.build.infer.finding import Finding
    from fairlead.store import atomic

    if not found.targets.tests:
        return Proof(found, {}, ())
    environment = found.environment
    try:
        if (
            not environment.lock or (environment.lock == KEPT and environment.stale)
        ) and environment.has_pytest:
            terminal.note("no lock: resolving what the repository declares for its tests")
            folder = root / KEPT.partition("/")[0]
            if not folder.exists():
                atomic.write(folder / ".gitignore", b"*\n")
            _make_lock(root, found, KEPT)
            found = read(root)
        if not found.environment.lock:
            return Proof(found, {}, ())
        return _prove(root, found, level)
    except FairleadError as error:
        said = Finding("environment", f"cannot be had: {error.what}", "unknown", error.where, error.remedy)
        return Proof(found, {}, (said,))


def _prove(root: Path, found: Repository, level: str) -> Proof:
    from fairlead.build import proof
    from fairlead.build.buckconfig import BuckConfig
    from fairlead.build.infer.finding import Finding
    from fairlead.build.loader import Loader

    here = project.Project(root, "", config.load(root))
    store = here.store()
    tree = here.disk(store)
    files = Loader(tree, BuckConfig.load(tree), terminal.note).inferred_files()
    lock = tree.read(found.environment.lock)
    environment = _installed(found.environment.lock, lock, store, found.environment.interpreter)
    wanted = project.level(level or here.settings.text("build.sandbox"), here)
    proven = proof.prove(root, tree, files, found, environment, store, level=wanted, on_run=terminal.note)
    findings = proof.findings(found, proven)
    lacking: list[str] = []
    for failure in proof.troubles(proven):
        finding, lines = _explained(failure, found, environment, store)
        findings += [finding] if finding else []
        lacking += [line for line in lines if line not in lacking]
    unseen = _ignored_by_git(root, proven)
    if unseen:
        said = ", ".join(unseen[:4]) + (f" and {len(unseen) - 4} more" if len(unseen) > 4 else "")
        findings.append(Finding("read by tests, ignored by git", f"{said}: a commit lacks them", "guessed"))
    return Proof(found, proven, tuple(findings), tuple(lacking))


def check(root: Path, proof: Proof, *, level: str) -> Proof:
    """`proof` with findings on what ends otherwise alone than with all others."""
    from fairlead.build.alone import Runs

    found = proof.found
    if not found.environment.lock or not proof.collections:
        return proof
    here = project.Project(root, "", config.load(root))
    store = here.store()
    lock = here.disk(store).read(found.environment.lock)
    environment = _installed(found.environment.lock, lock, store, found.environment.interpreter)
    metadata = {path: text for one in found.projects for path, text in one.metadata().items()}
    wanted = project.level(level or here.settings.text("build.sandbox"), here)
    findings: list[Finding] = []
    for number, one in enumerate(found.projects):
        tests = [test for test in found.targets.tests if test.project == number]
        if not tests:
            continue
        (store.root / "scratch").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="check-", dir=store.root / "scratch") as scratch:
            runs = Runs(
                root,
                one,
                tests,
                environment,
                Path(scratch),
                metadata=metadata,
                level=wanted,
                jobs=here.settings.number("build.jobs") or os.cpu_count() or 1,
            )
            findings += _alone(runs)
    return replace(proof, findings=(*proof.findings, *findings))


def _alone(runs: Runs) -> list[Finding]:
    """A finding for each file with tests that are good in one way of running and bad in the other."""
    from fairlead.build.infer.finding import Finding

    files: dict[str, list[Difference]] = {}
    for difference in runs.compare(terminal.note):
        if difference.matters:
            files.setdefault(difference.path, []).append(difference)
    made = [] if files else [Finding("alone and together", "all tests end alike", "known", "init --check")]
    for path, some in files.items():
        first = some[0]
        said = (
            f"{project.counted(len(some), 'test')}, such as {first.node}: {first.alone} alone, {first.whole}"
        )
        add = ""
        if first.alone in ("failed", "error"):
            terminal.note(f"looking for what {path} needs to run before it")
            other = runs.needs(first)
            add = (
                f'join = ["{path} {other.path}"]'
                if other
                else f'join = ["{path.rpartition("/")[0] or "*.py"}"]'
            )
        made.append(Finding("alone and together", f"{said} together", "guessed", "init --check", add))
    return made


def version_by_tag(root: Path, found: Repository) -> str:
    """The version that the last tag names, where the project's build takes it from git and no file says it;
    "" if there is none, or several projects."""
    from fairlead.git import Repo

    lacking = [one for one in found.projects if one.name and not one.version]
    if len(lacking) != 1 or found.settings.version or not (root / ".git").exists():
        return ""
    done = Repo(root).run("describe", "--tags", "--abbrev=0", check=False)
    tag = done.out.decode("utf-8", "replace").strip() if done.code == 0 else ""
    said = _VERSION.fullmatch(tag)
    return said[1] if said else ""


def _installed(path: str, data: bytes, store: Store, interpreter: str) -> Environment:
    from fairlead.build import toolchain
    from fairlead.build.plan import Toolchain

    wanted = Toolchain("//:python", interpreter, path)
    return toolchain.environment(wanted, data, store, on_install=terminal.note)


def _explained(
    failure: Failure, found: Repository, environment: Environment, store: Store
) -> tuple[Finding | None, Sequence[str]]:
    """A failure as a finding, and the requirements that mend it."""
    from fairlead.build import proof
    from fairlead.build.infer.finding import Finding

    place = failure.path or "pytest"
    if failure.trouble == "clash":
        add = 'import_mode is pytest\'s: addopts = ["--import-mode=importlib"], or rename one'
        said = f"{place} and {', '.join(failure.names)} have one base name: pytest collects the first alone"
        return Finding("clash", said, "guessed", "pytest", add), ()
    if failure.trouble == "removed":
        add = f"requires = [{json.dumps(failure.names[0])}]"
        return Finding("release of pytest", f"too new for it: {failure.what}", "guessed", place, add), ()
    if failure.trouble not in ("module", "plugin", "option"):
        return (None if failure.path else Finding("collection", failure.what, "unknown", place)), ()
    names = ", ".join(failure.names)
    if failure.trouble == "module" and proof.is_own(failure.names[0], found):
        said = f"{names}, which {place} imports, is in no file here: a tool makes it, or a compiler"
        return Finding("module", said, "unknown", place), ()
    if proof.providers(environment, failure):
        return Finding("module", f"{names} is installed, and {place} cannot import it", "unknown", place), ()
    there = _elsewhere(failure, found, store)
    if there:
        lines = ", ".join(json.dumps(line) for line in there)
        sources = {found.environment.others.get(line, "a wheel of the environment") for line in there}
        said = f"{names} for {place} is in {', '.join(there)}"
        return Finding(
            failure.trouble, said, "guessed", ", ".join(sorted(sources)), f"requires = [{lines}]"
        ), there
    said = f"{names}, for {place}, is in no package that the repository declares"
    kind = "the module" if failure.trouble == "module" else failure.trouble
    add = f'requires = ["NAME"], NAME being the distribution that has {kind} {names}'
    return Finding(failure.trouble, said, "unknown", place, add), ()


def _elsewhere(failure: Failure, found: Repository, store: Store) -> list[str]:
    """The requirements declared for other ends whose wheels hold what is missing; what they need in turn is
    looked through too."""
    from fairlead.build import proof
    from fairlead.build.infer.requires import requirement
    from fairlead.build.resolve import resolve

    own = found.environment
    if failure.trouble == "plugin":  # pytest's own settings name the distribution
        return list(failure.names)
    if not own.others or not own.has_pytest:
        return []
    key = json.dumps([sorted(own.requires), sorted(own.others), failure.trouble, failure.names])
    kept = store.results.get(_SEARCHED, key)
    if kept is None:
        terminal.note(f"looking for {', '.join(failure.names)} in the other packages that are declared")
        named = {requirement(line): line for line in own.others}
        lines: list[str] = []
        for some in _together(own.others):
            try:
                text = resolve([*own.requires, *some], own.interpreter)
                environment = _installed("requirements.wide.lock", text.encode(), store, own.interpreter)
            except FairleadError:
                continue  # one of them has no wheel, or does not go with the rest
            lines = sorted(named.get(name, name) for name in proof.providers(environment, failure))
            if lines:
                break
        kept = json.dumps(lines).encode()
        store.results.put(_SEARCHED, key, kept)
    return [str(line) for line in json.loads(kept)]


def _ignored_by_git(root: Path, proven: Mapping[int, Collection]) -> list[str]:
    """Files that the collection read and that git leaves out of commits, what installations and Python leave
    behind aside."""
    from fairlead.git import Repo

    if not (root / ".git").exists():
        return []
    read = sorted(
        path
        for whole in proven.values()
        for path in whole.read or ()
        if "__pycache__" not in path
        and ".egg-info" not in path
        and not path.startswith((".", "fairlead-out/"))
        if (root / path).is_file()
    )
    if not read:
        return []
    listed = os.fsencode("\0".join(read))
    done = Repo(root).run("check-ignore", "-z", "--stdin", stdin=listed, check=False)
    return [os.fsdecode(path) for path in done.out.split(b"\0") if path]


def states(found: Repository, proof: Proof | None) -> list[State]:
    """Every test target and how sure it is."""
    from fairlead.build import proof as proofs

    return proofs.states(found, dict(proof.collections) if proof else {})


def _together(others: Mapping[str, str]) -> list[list[str]]:
    """What is declared for other ends: all of it at once, then that of each place alone, as all of it may not
    go together."""
    places: dict[str, list[str]] = {}
    for line, place in others.items():
        places.setdefault(place, []).append(line)
    return [sorted(others), *places.values()] if len(places) > 1 else [sorted(others)]
