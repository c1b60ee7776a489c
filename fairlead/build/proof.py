"""Whether what inference read is what pytest finds: every target known, guessed or unknown, and why.

The proof of a repository is kept in the store under all that it was made from, so that it is made once for
each state of the files. What is missing is looked for in what the wheels of the lock say of themselves
(RECORD), never by the likeness of names.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairlead.build import sandbox
from fairlead.build.collection import Collection, Failure, collect
from fairlead.build.infer import Repository
from fairlead.build.infer.finding import Finding, Sure
from fairlead.build.lockfile import normal
from fairlead.build.stage import Environment
from fairlead.build.tree import Tree
from fairlead.store import Record, Store, digest

_KEPT = "collection"
_VERSION = 4


@dataclass(frozen=True)
class State:
    """One test target: how sure it is, why not more, and how many tests pytest finds in it."""

    label: str
    path: str
    sure: Sure
    why: str
    tests: int


def prove(
    root: Path,
    tree: Tree,
    files: Sequence[str],
    found: Repository,
    environment: Environment,
    store: Store,
    *,
    level: sandbox.Requested = "auto",
    on_run: Callable[[str], None] = lambda _: None,
) -> dict[int, Collection]:
    """The collection of each project that has tests, by its number."""
    texts = {path: text for project in found.projects for path, text in project.metadata().items()}
    every = digest.of_bytes(repr(sorted(tree.digests(files).items())).encode())
    made: dict[int, Collection] = {}
    for number, project in enumerate(found.projects):
        tests = [test for test in found.targets.tests if test.project == number]
        if not tests:
            continue
        search = tests[0].search
        key = Record(
            _KEPT,
            _VERSION,
            {
                "environment": environment.key,
                "enforced": sandbox.enforcement(level),
                "files": every,
                "folder": project.folder,
                "metadata": texts,
                "search": list(search),
                "variables": dict(project.env),
            },
        ).key
        known = _kept(store, key)
        if known is None:
            on_run(f"collecting {len(tests)} files of tests, twice")
            (store.root / "scratch").mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="collect-", dir=store.root / "scratch") as scratch:
                known = collect(
                    root, project, search, environment, Path(scratch), metadata=texts, level=level
                )
            store.results.put(_KEPT, key, known.encode())
        made[number] = known
    return made


def _kept(store: Store, key: str) -> Collection | None:
    value = store.results.get(_KEPT, key)
    if value is None:
        return None
    try:
        return Collection.decode(value)
    except (ValueError, KeyError, TypeError):
        return None


def states(found: Repository, proven: dict[int, Collection]) -> list[State]:
    """Every test target with what pytest says of it."""
    made = []
    for test in found.targets.tests:
        label, whole = f"//:{test.name}", proven.get(test.project)
        if whole is None:
            made.append(State(label, test.path, "guessed", "read, and not collected yet", 0))
            continue
        ids = [node for path in test.files for node in whole.items.get(path, ())]
        failed = [failure for failure in whole.failures if failure.path in test.files]
        skipped = [why for path, why in whole.skipped if path in test.files]
        if whole.error:
            state: tuple[Sure, str] = ("unknown", "pytest does not begin")
        elif failed and failed[0].trouble == "clash":
            state = ("guessed", f"not collected beside {', '.join(failed[0].names)}: {failed[0].what}")
        elif failed:
            state = ("unknown", failed[0].what)
        elif any(path in whole.unstable for path in test.files):
            state = ("guessed", "its tests have other ids in each run")
        elif skipped and not ids:
            state = ("known", f"skips itself: {skipped[0]}")
        elif not ids and any(path in whole.deselected for path in test.files):
            state = ("known", "pytest's settings deselect all of its tests")
        elif not ids:
            state = ("guessed", "pytest finds no test in it")
        else:
            state = ("known", "")
        made.append(State(label, test.path, *state, len(ids)))
    return made


def findings(found: Repository, proven: dict[int, Collection]) -> list[Finding]:
    """What the collections say beyond single targets."""
    made = []
    targets = {path for test in found.targets.tests for path in test.files}
    for number, whole in proven.items():
        place = found.projects[number].folder or "the repository"
        if whole.error:
            made.append(
                Finding("collection", f"of {place} ends at once:\n{_indented(whole.error)}", "unknown")
            )
        apart = sorted(path for path in whole.items if path not in targets)
        if apart:
            listed = ", ".join(apart[:5]) + (f" and {len(apart) - 5} more" if len(apart) > 5 else "")
            made.append(Finding("collected by pytest, and no target", listed, "unknown"))
    return made


def _indented(text: str) -> str:
    return "\n".join(f"  | {line}" for line in text.splitlines())


def troubles(proven: dict[int, Collection]) -> list[Failure]:
    """All failures, each kind with the same names once."""
    made: dict[tuple[str, tuple[str, ...]], Failure] = {}
    for whole in proven.values():
        for failure in whole.failures:
            made.setdefault((failure.trouble, failure.names or (failure.path,)), failure)
    return list(made.values())


def is_own(module: str, found: Repository) -> bool:
    """Whether the repository itself should have the module: then a tool makes it, or nobody does."""
    top = module.partition(".")[0]
    packages = (path for project in found.projects for path in project.packages)
    return any(path.rpartition("/")[2].removesuffix(".py") == top for path in packages)


def providers(environment: Environment, failure: Failure) -> set[str]:
    """The distributions of an environment that have what was missing, by what their wheels say they hold."""
    made: set[str] = set()
    for info in environment.folder.glob("lib/python*/site-packages/*.dist-info"):
        name = normal(info.name.removesuffix(".dist-info").rpartition("-")[0])
        if failure.trouble == "plugin":
            if name in {normal(wanted) for wanted in failure.names}:
                made.add(name)
        elif any(_holds(info, failure, wanted) for wanted in failure.names):
            made.add(name)
    return made


def _holds(info: Path, failure: Failure, wanted: str) -> bool:
    if failure.trouble == "module":
        start = wanted.replace(".", "/")
        endings = re.compile(re.escape(start) + r"(/.*|\.py|\.[\w-]+\.so|\.so|\.abi3\.so)")
        return any(endings.fullmatch(path) for path in _record(info))
    if failure.trouble == "option" and _offers_plugin(info):
        word = wanted.partition("=")[0]
        quoted = (f'"{word}"'.encode(), f"'{word}'".encode())
        for path in _record(info):
            if path.endswith(".py"):
                try:
                    source = (info.parent / path).read_bytes()
                except OSError:
                    continue
                if any(text in source for text in quoted):
                    return True
    return False


def _offers_plugin(info: Path) -> bool:
    try:
        return "[pytest11]" in (info / "entry_points.txt").read_text("utf-8", "replace")
    except OSError:
        return False


def _record(info: Path) -> Iterator[str]:
    """The files of a distribution, relative to site-packages."""
    try:
        lines: Iterable[str] = (info / "RECORD").read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        yield line.rpartition(",")[0].rpartition(",")[0].strip('"')
