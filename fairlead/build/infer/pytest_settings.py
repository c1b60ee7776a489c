"""What pytest would collect in a project, and how: its settings, without running it."""

from __future__ import annotations

import configparser
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from fairlead.build.infer.finding import Finding
from fairlead.build.infer.layout import Project
from fairlead.build.infer.settings import table, text, texts, toml
from fairlead.build.tree import Tree

FILES = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
"""In pytest's order: the first that holds settings counts."""
_SKIPPED = ("*.egg", ".*", "_darcs", "build", "CVS", "dist", "node_modules", "venv", "{arch}")


@dataclass(frozen=True)
class Pytest:
    """`source` is the file that says so, "" if none does. Folders are relative to the repository."""

    source: str
    testpaths: tuple[str, ...]
    python_files: tuple[str, ...]
    skipped: tuple[str, ...]
    pythonpath: tuple[str, ...]
    import_mode: str
    plugins: tuple[str, ...]
    doctests: bool
    findings: tuple[Finding, ...]

    def is_test(self, path: str) -> bool:
        """Whether pytest collects the file `path`, one below a test path."""
        name = path.rpartition("/")[2]
        if not name.endswith(".py"):
            return False
        return self.doctests or any(fnmatchcase(name, p) or fnmatchcase(path, p) for p in self.python_files)

    def tests(self, folder: str, files: Sequence[str]) -> list[str]:
        """The test files among `files` of the project at `folder`."""
        found = []
        for path in files:
            starts = [
                s for s in self.testpaths or (folder,) if path == s or not s or path.startswith(s + "/")
            ]
            if not starts or not self.is_test(path):
                continue
            inside = path.removeprefix(max(starts, key=len)).strip("/").split("/")[:-1]
            if not any(fnmatchcase(part, pattern) for part in inside for pattern in self.skipped):
                found.append(path)
        return found


def read(tree: Tree, project: Project) -> Pytest:
    """The settings that pytest finds from the project's folder."""
    source, values = _values(tree, project)
    words = _words(values.get("addopts"))
    plugins, mode, doctests = [], "", False
    for number, word in enumerate(words):
        following = words[number + 1] if number + 1 < len(words) else ""
        if word == "-p":
            plugins.append(following)
        elif word.startswith("-p") and not word.startswith("--"):
            plugins.append(word[2:])
        elif word.startswith("--import-mode"):
            mode = word.partition("=")[2] or following
        doctests = doctests or word == "--doctest-modules"
    testpaths = tuple(
        path for entry in _words(values.get("testpaths")) for path in _expanded(tree, project, entry)
    )
    findings = [
        Finding("pytest settings", source or "none", "known", source),
        Finding(
            "test files below",
            ", ".join(testpaths) or project.folder or "the whole repository",
            "known" if testpaths else "guessed",
            source if testpaths else "no testpaths are set",
        ),
    ]
    if doctests:
        findings.append(Finding("doctests", "every module is a test file", "known", source))
    return Pytest(
        source,
        testpaths,
        tuple(_words(values.get("python_files"))) or ("test_*.py", "*_test.py"),
        tuple(_words(values.get("norecursedirs"))) or _SKIPPED,
        tuple(project.at(path) for path in _words(values.get("pythonpath"))),
        mode,
        tuple(name for name in plugins if name and not name.startswith("no:")),
        doctests,
        tuple(findings),
    )


def _expanded(tree: Tree, project: Project, entry: str) -> list[str]:
    """A test path with `*` stands for the folders that fit."""
    if "*" not in entry:
        path = project.at(entry)
        return [path] if tree.kind(path) is not None or path == "" else []
    found = [project.folder]
    for part in entry.strip("/").split("/"):
        found = [
            f"{folder}/{name}".lstrip("/")
            for folder in found
            for name in tree.list(folder)
            if fnmatchcase(name, part)
        ]
    return [path for path in found if tree.kind(path) == "folder"]


def _values(tree: Tree, project: Project) -> tuple[str, dict[str, object]]:
    """The file with pytest's settings, in the project's folder or one above, and what it says."""
    folder = project.folder
    while True:
        for name in FILES:
            path = f"{folder}/{name}".lstrip("/")
            if tree.kind(path) == "file":
                found = _table(tree, path, name)
                if found is not None:
                    return path, found
        if not folder:
            return "", {}
        folder = folder.rpartition("/")[0]


def _table(tree: Tree, path: str, name: str) -> dict[str, object] | None:
    if name.endswith(".toml"):
        found = toml(tree, path)
        if name != "pyproject.toml":
            return dict(table(found, "pytest") or {})
        own = table(found, "tool", "pytest")
        if own is None:
            return None
        ini = table(own, "ini_options")
        return dict(ini if ini is not None else own)
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(tree.read(path).decode("utf-8", "replace"))
    except configparser.Error:
        return None
    section = "tool:pytest" if name == "setup.cfg" else "pytest"
    if parser.has_section(section):
        return dict(parser[section])
    return {} if name in ("pytest.ini", ".pytest.ini") else None


def _words(value: object) -> list[str]:
    if isinstance(value, list):
        return list(texts(value))
    try:
        return shlex.split(text(value), comments=True)
    except ValueError:
        return text(value).split()
