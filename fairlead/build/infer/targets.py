"""Targets from facts: a library for each package, a test for each test file, with everything it may need.

Inference predicts, and is widened to be safe. A test gets the modules that it imports, in any scope and
through any number of others, the conftest files and `__init__.py` around it, every file that is no module
in its project's packages and test folders, and pytest's settings. If any of these modules does something
whose reads cannot be told from the text (`imports.Dynamic`), it gets the whole project. What is missing
nevertheless is missing in the sandbox too: the test fails and names the file, and does not pass by mistake.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from fairlead.build.infer import pytest_settings
from fairlead.build.infer.imports import Facts
from fairlead.build.infer.layout import Project
from fairlead.build.infer.modules import Modules
from fairlead.build.infer.pytest_settings import Pytest

CONFTEST = "conftest.py"
_SETTINGS = (*pytest_settings.FILES, "setup.py", "PKG-INFO")
_TEST_FOLDERS = ("tests", "test", "testing", "t")
_BAD = re.compile(r"[^A-Za-z0-9_.,=~@!+$#/-]")


@dataclass(frozen=True)
class Library:
    """A package of a project: its modules and its other files."""

    name: str
    project: int
    srcs: tuple[str, ...]
    resources: tuple[str, ...]


@dataclass(frozen=True)
class Test:
    """A test file, or several that the settings join: `path` is the first, `also` are the others. `why` says
    what made its inputs the whole project, "" if they are exact imports."""

    __test__ = False

    name: str
    project: int
    path: str
    srcs: tuple[str, ...]
    resources: tuple[str, ...]
    whole: bool
    why: str
    search: tuple[str, ...]
    import_mode: str
    also: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """All its test files, in the order in which they run."""
        return (self.path, *self.also)

    def with_all(self, others: Sequence[Test]) -> Test:
        """One test of this one's files and those of `others`."""
        every = (self, *others)
        return replace(
            self,
            srcs=tuple(sorted({path for test in every for path in test.srcs})),
            resources=tuple(sorted({path for test in every for path in test.resources})),
            whole=any(test.whole for test in every),
            why=next((test.why for test in every if test.why), ""),
            also=(*self.also, *(path for test in others for path in test.files)),
        )


@dataclass
class Targets:
    """All targets of a repository."""

    libraries: list[Library] = field(default_factory=list)
    tests: list[Test] = field(default_factory=list)


def find(
    files: Sequence[str],
    projects: Sequence[Project],
    pytests: Sequence[Pytest],
    facts: Mapping[str, Facts],
    uses: Collection[str] = (),
    given: Collection[str] = (),
    join: Sequence[str] = (),
) -> Targets:
    """The targets of the projects, whose files are `files` and whose modules say `facts`.

    Packages of the environment use the distributions `uses`; every test gets the files and folders `given`;
    each text of `join` names test files that are one target.
    """
    modules = Modules(files)
    made = Targets()
    names: set[str] = set()
    for number, project in enumerate(projects):
        _libraries(made, names, number, project, files)
    roots = list(dict.fromkeys(root for project in projects for root in project.roots))
    packed = [[path for path in files if project.owns(path)] for project in projects]
    taken: set[str] = set()
    for number in sorted(range(len(projects)), key=lambda n: -len(projects[n].folder)):
        project, settings = projects[number], pytests[number]
        own = [
            p for p in files if p not in taken and (not project.folder or p.startswith(project.folder + "/"))
        ]
        taken.update(own)
        tests = settings.tests(project.folder, own)
        scope = _Scope(number, project, settings, own, modules, facts, roots, tests, packed)
        scope.given = {p for p in files if any(p == g or p.startswith(f"{g}/") for g in given)}
        if project.name in uses:
            scope.always = "packages of its environment use this project"
        for path in tests:
            if not scope.ignored(path):
                made.tests.append(scope.test(path, _name(names, path.removesuffix(".py"))))
    made.tests.sort(key=lambda test: test.path)
    for words in join:
        made.tests = _joined_tests(made.tests, words.split())
    return made


def _joined_tests(tests: Sequence[Test], wanted: Sequence[str]) -> list[Test]:
    """`tests` with those that fit one of the paths, folders or patterns `wanted` made one, project by
    project."""
    made: list[Test] = []
    together: dict[int, list[Test]] = {}
    for test in tests:
        if any(test.path.startswith(f"{w.rstrip('/')}/") or fnmatchcase(test.path, w) for w in wanted):
            together.setdefault(test.project, []).append(test)
        else:
            made.append(test)
    made += [first.with_all(others) for first, *others in together.values()]
    return sorted(made, key=lambda test: test.path)


def _libraries(made: Targets, names: set[str], number: int, project: Project, files: Sequence[str]) -> None:
    for package in project.packages:
        inside = [path for path in files if path == package or path.startswith(package + "/")]
        name = package.rpartition("/")[2].removesuffix(".py")
        made.libraries.append(
            Library(
                _name(names, name if name not in names else package.removesuffix(".py")),
                number,
                tuple(path for path in inside if path.endswith(".py")),
                tuple(path for path in inside if not path.endswith(".py")),
            )
        )


def _name(names: set[str], wanted: str) -> str:
    """`wanted` as the name of a target, made different from those there are."""
    clean = _BAD.sub("_", wanted)
    name, number = clean, 1
    while name in names:
        number += 1
        name = f"{clean}.{number}"
    names.add(name)
    return name


class _Scope:
    """One project and its tests."""

    def __init__(
        self,
        number: int,
        project: Project,
        settings: Pytest,
        own: list[str],
        modules: Modules,
        facts: Mapping[str, Facts],
        roots: list[str],
        tests: list[str],
        packed: list[list[str]],
    ) -> None:
        self.number = number
        self.project = project
        self.settings = settings
        self.own = own
        self.modules = modules
        self.facts = facts
        self.roots = roots
        self.known = frozenset(own)
        self.settings_files = [p for p in own if p.rpartition("/")[2] in _SETTINGS]
        if settings.source and settings.source not in self.known:
            self.settings_files.append(settings.source)
        self.folders = sorted({self._test_folder(path) for path in tests})
        self.inner = {f for p in own for f in _folders(p)} - {project.folder}
        self.given: set[str] = set()
        self.packed = packed
        self._named: dict[str, frozenset[str]] = {}
        self._tops: dict[tuple[str, tuple[str, ...]], frozenset[str]] = {}
        self._parts: dict[tuple[int, tuple[str, ...]], frozenset[str]] = {}
        self.always = "doctests run in every module" if settings.doctests else ""
        """Why every test gets the whole project, "" if not every one does."""

    def ignored(self, path: str) -> bool:
        """Whether a conftest's `collect_ignore` names the file."""
        for conftest in self._chain(path):
            folder = conftest.rpartition("/")[0]
            for name in self.facts[conftest].ignored:
                ignored = f"{folder}/{name}".lstrip("/")
                if path == ignored or path.startswith(ignored + "/"):
                    return True
        return False

    def test(self, path: str, name: str) -> Test:
        chain = self._chain(path)
        starts = [path, *chain, *self.modules.inits(path)]
        search = list(dict.fromkeys([*self.project.roots, *self.roots]))
        folders = [*search, *self.settings.pythonpath, self.project.folder]
        folders += [self.modules.base(p) for p in (path, *chain)]
        for plugin in (*self.settings.plugins, *self._own_plugins()):
            for folder in folders:
                starts += self.modules.named(plugin, folder)
        closure = self.modules.closure(starts, self.facts, folders)
        why = self._dynamic(closure) or self.always
        srcs = set(closure)
        if why:
            srcs = self._whole(srcs, path, folders)
        data = {p for p in self._packed(srcs) if not p.endswith(".py")} | set(self.settings_files)
        data |= {p for p in self.own if not p.endswith(".py") and _below(p, self._test_folder(path))}
        named = self._named_files([p for p in srcs if not self.project.owns(p)] or [path]) | self.given
        data |= {p for p in named if not p.endswith(".py")}
        if any(p.endswith(".py") and p not in srcs for p in named):
            srcs = set(self.modules.closure(srcs | named, self.facts, folders))
        return Test(
            name,
            self.number,
            path,
            tuple(sorted(srcs)),
            tuple(sorted(data)),
            bool(why),
            why,
            tuple(search),
            self.settings.import_mode or "prepend",
        )

    def _packed(self, srcs: set[str]) -> list[str]:
        """The files of the project's packages. Those of the repository's other projects count alike as soon
        as one of them is imported."""
        return [
            p
            for n, inside in enumerate(self.packed)
            if n == self.number or not srcs.isdisjoint(inside)
            for p in inside
        ]

    def _whole(self, srcs: set[str], path: str, folders: list[str]) -> set[str]:
        """`srcs` with all modules of the packages, of the test's folder and of the project's top, and what
        they import."""
        tests, prefix = self._test_folder(path), self._prefix()
        found = set(srcs)
        key = (tests, tuple(folders))
        if key not in self._tops:
            more = [p for p in self.own if _below(p, tests) or "/" not in p.removeprefix(prefix)]
            self._tops[key] = frozenset(self.modules.closure(more, self.facts, folders))
        found |= self._tops[key]
        taken: set[int] = set()
        while True:
            touched = {
                n for n, inside in enumerate(self.packed) if n == self.number or not found.isdisjoint(inside)
            }
            if touched == taken:
                return found
            for n in touched - taken:
                part = (n, tuple(folders))
                if part not in self._parts:
                    modules = [p for p in self.packed[n] if p.endswith(".py")]
                    self._parts[part] = frozenset(self.modules.closure(modules, self.facts, folders))
                found |= self._parts[part]
            taken = touched

    def _prefix(self) -> str:
        return f"{self.project.folder}/" if self.project.folder else ""

    def _chain(self, path: str) -> list[str]:
        """The conftest files from the repository's top down to the file."""
        found = []
        folder = path.rpartition("/")[0]
        while True:
            conftest = f"{folder}/{CONFTEST}".lstrip("/")
            if conftest in self.modules.files:
                found.append(conftest)
            if not folder:
                return found[::-1]
            folder = folder.rpartition("/")[0]

    def _own_plugins(self) -> list[str]:
        """The modules that the project itself offers to pytest as plugins."""
        offered = self.project.entry_points.get("pytest11", {})
        return [value.partition(":")[0] for value in offered.values()]

    def _test_folder(self, path: str) -> str:
        """The folder whose files belong to a test: the outermost called tests, the test path that holds it,
        else its own."""
        inside = path.removeprefix(self._prefix()).split("/")[:-1]
        for number, part in enumerate(inside):
            if part in _TEST_FOLDERS:
                return self._prefix() + "/".join(inside[: number + 1])
        for start in self.settings.testpaths:
            if start != self.project.folder and _below(path, start):
                return start
        return path.rpartition("/")[0]

    def _dynamic(self, closure: Sequence[str]) -> str:
        """The first reason why imports do not tell all, with its place."""
        for path in closure:
            for found in self.facts[path].dynamic:
                return f"{path}:{found.line} {found.what}"
        return ""

    def _named_files(self, by: Sequence[str]) -> set[str]:
        """The project's files, and all below its folders, that texts in the files `by` name."""
        return set().union(*(self._named_by(path) for path in by))

    def _named_by(self, path: str) -> frozenset[str]:
        if path not in self._named:
            found: set[str] = set()
            for text in self.facts[path].paths:
                for folder in self._above(path):
                    named = _joined(folder, text)
                    if named in self.known:
                        found.add(named)
                    elif named in self.inner and ("/" in text or named not in self.folders):
                        found.update(p for p in self.own if p.startswith(f"{named}/"))
            self._named[path] = frozenset(found)
        return self._named[path]

    def _above(self, path: str) -> list[str]:
        folders = [self.project.folder]
        folder = path.rpartition("/")[0]
        while folder and folder != self.project.folder:
            folders.append(folder)
            folder = folder.rpartition("/")[0]
        return folders


def _folders(path: str) -> list[str]:
    """The folders around a file, the repository's own left out."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _below(path: str, folder: str) -> bool:
    """Whether a file is in a folder; of the top itself only the files directly in it."""
    return path.startswith(folder + "/") if folder else "/" not in path


def _joined(folder: str, text: str) -> str | None:
    parts = folder.split("/") if folder else []
    for part in text.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
