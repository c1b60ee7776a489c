"""The packages that a repository's tests run with: its lock, or the requirements from which one is made.

Names come from what the repository declares, and from nowhere else: a module called `yaml` is no reason to
install something called `yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fairlead.build import lockfile
from fairlead.build.infer.finding import Finding
from fairlead.build.infer.layout import Project
from fairlead.build.infer.settings import Settings, table, text, texts
from fairlead.build.lockfile import GROUPS, normal
from fairlead.build.tree import Tree
from fairlead.errors import UsageError

LOCK = "requirements.tests.lock"
"""The lock that `fairlead init --lock` writes."""
_REQUIREMENTS = re.compile(
    r"(requirements/)?((requirements[-_.]?)?(tests?|dev|development|testing)|(tests?|dev)[-_.]requirements"
    r"|tests?/requirements)\.(txt|in)"
)
_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?(.*)", re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[A-Za-z0-9._, -]*\])?\s*([(<>=!~;][^@\r\n]*)?")
_CARET = re.compile(r"([~^])\s*(\d+(?:\.\d+)*)(\S*)")


@dataclass(frozen=True)
class Environment:
    """`lock` is the repository's lock, "" if there is none. `requires` is what one would be made from.
    `uses` are the repository's own distributions that the lock holds: other packages need them, plugins of
    pytest for one, so every test may load any of their modules before it begins."""

    lock: str
    requires: tuple[str, ...]
    uses: frozenset[str]
    findings: tuple[Finding, ...]


def read(tree: Tree, files: Sequence[str], projects: Sequence[Project], settings: Settings) -> Environment:
    """The environment of a repository's tests."""
    requires, sources, problems = _declared(tree, files, projects, settings)
    lock, sure = _lock(tree, files, settings)
    findings = list(problems)
    if lock:
        findings.insert(0, Finding("environment", lock, "known", sure))
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
        if requires:
            findings.append(
                Finding("declared requirements", ", ".join(requires), "known", ", ".join(sources))
            )
        if "pytest" not in {_name(line) for line in requires}:
            findings.append(
                Finding("pytest", "in no group that is for tests", "unknown", add='requires = ["pytest"]')
            )
    uses = frozenset[str]()
    if lock and not lockfile.reads(lock):
        held = {_name(line) for line in tree.read(lock).decode("utf-8", "replace").splitlines()}
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
    return Environment(lock, requires, uses, tuple(findings))


def _lock(tree: Tree, files: Sequence[str], settings: Settings) -> tuple[str, str]:
    """The lock and why it is the one."""
    if settings.lock:
        if tree.kind(settings.lock) != "file":
            raise UsageError(
                f"the lock {settings.lock} does not exist",
                where=settings.source,
                remedy="correct `lock` below [build], or remove it and run `fairlead init --lock`",
            )
        return settings.lock, settings.source
    if LOCK in files:
        return LOCK, "made by `fairlead init --lock`"
    top = [path for path in files if path.count("/") < 2]
    for path in top:
        name = path.rpartition("/")[2]
        if "requirements" in path and name.endswith((".txt", ".lock")) and _is_hashed(tree, path):
            return path, "every requirement has a hash, pytest is one of them"
    for path in top:
        if "/" not in path and lockfile.reads(path):
            try:
                lines = lockfile.requirements(path, tree.read(path).decode("utf-8", "replace"))
            except UsageError:
                continue
            if re.search(r"^pytest==", lines, re.MULTILINE):
                return path, "complete, and holds pytest"
    return "", ""


def _is_hashed(tree: Tree, path: str) -> bool:
    """Whether a requirements file pins and hashes everything, pytest among it."""
    data = tree.read(path).decode("utf-8", "replace").replace("\\\n", " ")
    lines = [re.sub(r"(^|\s)#.*$", "", line).strip() for line in data.splitlines()]
    lines = [line for line in lines if line]
    return all("==" in line and "--hash=" in line for line in lines) and any(
        _name(line) == "pytest" for line in lines
    )


def _declared(
    tree: Tree, files: Sequence[str], projects: Sequence[Project], settings: Settings
) -> tuple[tuple[str, ...], list[str], list[Finding]]:
    found: dict[str, None] = {}
    sources: list[str] = []
    problems: list[Finding] = []
    own = {normal(project.name) for project in projects if project.name}

    def add(lines: Iterable[str], source: str) -> None:
        lines = [line.strip() for line in lines if line.strip()]
        # An option or an address would let the repository choose where this machine fetches from.
        problems.extend(
            Finding("requirement", repr(line), "unknown", source, 'requires = ["name==1.0"]')
            for line in lines
            if not _PLAIN.fullmatch(line)
        )
        kept = [line for line in lines if _PLAIN.fullmatch(line) and _name(line) not in own]
        found.update(dict.fromkeys(kept))
        if kept and source not in sources:
            sources.append(source)

    for project in projects:
        where = project.at("pyproject.toml")
        described = table(project.pyproject, "project") or {}
        add(texts(described.get("dependencies")), where)
        extras = table(described, "optional-dependencies") or {}
        for name in _extras(project, extras):
            add(texts(extras.get(name)), f"{where} [{name}]")
        groups = table(project.pyproject, "dependency-groups") or {}
        for name in groups:
            if normal(name) in GROUPS:
                lines = list(_group(groups, name, ()))
                add(lines, f"{where} [dependency-groups] {name}")
        ini = project.setup.get("options", {})
        add(ini.get("install_requires", "").splitlines(), project.at("setup.cfg"))
        for name, listed in project.setup.get("options.extras_require", {}).items():
            if normal(name) in GROUPS:
                add(listed.splitlines(), project.at("setup.cfg") + f" [{name}]")
        add(_poetry(project), where)
        dynamic = texts(described.get("dynamic"))
        if "dependencies" in dynamic:
            problems.append(
                Finding(
                    "dependencies of " + project.name,
                    "declared as dynamic",
                    "unknown",
                    where,
                    'requires = ["name>=1.0"]',
                )
            )
        if not project.pyproject and project.at("setup.py") in files and "options" not in project.setup:
            problems.append(
                Finding(
                    "dependencies", "setup.py is not run", "unknown", project.at("setup.py"),
                    'requires = ["name>=1.0"]',
                )
            )  # fmt: skip
    if "pytest" not in {_name(line) for line in found}:
        candidates = [path for path in files if _REQUIREMENTS.fullmatch(path)]
        candidates.sort(key=lambda path: (path.endswith(".in"), "test" not in path, path))
        for path in candidates[:1]:
            add(_file(tree, files, path, set()), path)
    add(settings.requires, settings.source)
    return tuple(found), sources, problems


def _extras(project: Project, extras: Mapping[str, object]) -> list[str]:
    """The extras for tests, and those that they name of the project itself: all = ["name[a,b]"]."""
    done: list[str] = []
    todo = [name for name in extras if normal(name) in GROUPS]
    while todo:
        name = todo.pop()
        if name in done:
            continue
        done.append(name)
        for line in texts(extras.get(name)):
            parts = _NAME.match(line)
            if parts and parts[2] and normal(parts[1]) == normal(project.name):
                todo += [extra.strip() for extra in parts[2].strip("[]").split(",")]
    return done


def _group(groups: Mapping[str, object], name: str, chain: tuple[str, ...]) -> Iterable[str]:
    """A dependency group with those that it includes."""
    known = next((key for key in groups if normal(key) == normal(name)), None)
    items = groups.get(known) if known is not None else None
    if name in chain or not isinstance(items, list):
        return
    for item in items:
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            yield from _group(groups, text(item.get("include-group")), (*chain, name))


def _poetry(project: Project) -> Iterable[str]:
    """Poetry's requirements: `^1.2` and `~1.2` as ranges, what is not from the registry left out."""
    poetry = table(project.pyproject, "tool", "poetry") or {}
    tables = [table(poetry, "dependencies"), table(poetry, "dev-dependencies")]
    for name, group in (table(poetry, "group") or {}).items():
        if normal(name) in GROUPS:
            tables.append(table(group, "dependencies"))
    for listed in tables:
        for name, value in (listed or {}).items():
            version = value if isinstance(value, str) else text((table(value) or {}).get("version"))
            optional = (table(value) or {}).get("optional") is True
            if name != "python" and version and not optional:
                yield name + _range(version)


def _range(text: str) -> str:
    """Poetry's constraint as PEP 440 has it."""
    made = []
    for part in text.split(","):
        part = part.strip()
        caret = _CARET.fullmatch(part)
        if part == "*":
            continue
        if caret:
            numbers = [int(number) for number in caret[2].split(".")]
            place = 0 if caret[1] == "^" else min(1, len(numbers) - 1)
            while caret[1] == "^" and place < len(numbers) - 1 and numbers[place] == 0:
                place += 1
            upper = [*numbers[:place], numbers[place] + 1]
            made.append(f">={caret[2]}{caret[3]},<{'.'.join(map(str, upper))}")
        elif part[0].isdigit():
            made.append(f"=={part}")
        else:
            made.append(part)
    return ",".join(made)


def _file(tree: Tree, files: Sequence[str], path: str, seen: set[str]) -> Iterable[str]:
    """The requirements in a file and those that it includes; other options are left to the resolver."""
    seen.add(path)
    for raw in tree.read(path).decode("utf-8", "replace").replace("\\\n", " ").splitlines():
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        included = re.fullmatch(r"(?:-r|--requirement)[ =]?\s*(\S+)", line)
        if included:
            folder = path.rpartition("/")[0]
            other = f"{folder}/{included[1]}".lstrip("/")
            if other in files and other not in seen:
                yield from _file(tree, files, other, seen)
        elif line and not line.startswith(("-", ".", "/")) and _NAME.match(line):
            yield re.sub(r"\s+--hash=\S+", "", line)


def _name(line: str) -> str:
    """The normalised distribution of a requirement."""
    found = _NAME.match(line)
    return normal(found[1]) if found else ""
