"""The requirements that a repository declares, and which of them are for its tests.

Names come from what the repository's files say, and from nowhere else: a module called `yaml` is no reason to
install something called `yaml`. Which group is for tests is told by its name; else by what it holds, pytest
that is; else by the commands of tox, nox, a Makefile or the hosting site's workflows that install it.
"""

from __future__ import annotations

import ast
import configparser
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fairlead.build.infer.finding import Finding
from fairlead.build.infer.layout import Project
from fairlead.build.infer.settings import Settings, table, text, texts
from fairlead.build.lockfile import GROUPS, normal
from fairlead.build.tree import Tree

_FILE = re.compile(
    r"(requirements/)?((requirements[-_.]?)?(tests?|dev|development|testing)|(tests?|dev)[-_.]requirements"
    r"|tests?/requirements)\.(txt|in)"
)
_ANY_FILE = re.compile(r"(requirements/[\w.-]+|[\w.-]*requirements[\w.-]*)\.(txt|in)")
_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?(.*)", re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[A-Za-z0-9._, -]*\])?\s*([(<>=!~;][^@\r\n]*)?")
_CARET = re.compile(r"([~^])\s*(\d+(?:\.\d+)*)(\S*)")
_EXTRAS = re.compile(r"""(?:^|[\s"'=])\.?/?\.\[([A-Za-z0-9_., -]+)\]""")
_CHOSEN = re.compile(r"--(?:group|extra|only-group|with|groups|extras)[= ]([A-Za-z0-9_.,-]+)")


@dataclass
class Group:
    """A list of requirements with a name: a dependency group of PEP 735, an extra, a group of poetry or pdm.
    `source` is where it stands; `lines` are its requirements, with those of the groups and extras of the same
    project that it includes."""

    project: int
    name: str
    source: str
    lines: tuple[str, ...]

    @property
    def has_pytest(self) -> bool:
        """Whether it names pytest itself."""
        return any(requirement(line) == "pytest" for line in self.lines)


@dataclass
class Requires:
    """`lines` are what tests need, from `sources`; `others` what the repository declares for something else,
    with its place. `hinted` are groups and extras that a command installs for tests, by that command's
    file."""

    lines: dict[str, None] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def has_pytest(self) -> bool:
        """Whether pytest itself is among `lines`."""
        return any(requirement(line) == "pytest" for line in self.lines)


def requirement(line: str) -> str:
    """The normalised distribution that a requirement names, "" if it names none."""
    found = _NAME.match(line)
    return normal(found[1]) if found else ""


def read(tree: Tree, files: Sequence[str], projects: Sequence[Project], settings: Settings) -> Requires:
    """What the tests of a repository need, as far as it is declared."""
    made = Requires()
    own = {normal(project.name) for project in projects if project.name}

    def add(lines: Iterable[str], source: str) -> None:
        lines = [line.strip() for line in lines if line.strip() and not _is_member(line, own, projects)]
        # An option or an address would let the repository choose where this machine fetches from.
        made.findings.extend(
            Finding("requirement", repr(line), "unknown", source, 'requires = ["name==1.0"]')
            for line in lines
            if not _PLAIN.fullmatch(line)
        )
        kept = [line for line in lines if _PLAIN.fullmatch(line) and requirement(line) not in own]
        made.lines.update(dict.fromkeys(kept))
        if kept and source not in made.sources:
            made.sources.append(source)

    groups: list[Group] = []
    for number, project in enumerate(projects):
        add(*_plain(project))
        for path in _dynamic(project, "dependencies"):
            if path in files:
                add(_file(tree, files, path, set()), path)
        made.findings += _computed(project, files)
        groups += _groups(number, project)
    chosen = _chosen(tree, files, groups, settings, made)
    for group in chosen:
        add(group.lines, group.source)
    taken: list[str] = []
    if not made.has_pytest:
        candidates = [path for path in files if _FILE.fullmatch(path)]
        candidates.sort(key=lambda path: (path.endswith(".in"), "test" not in path, path))
        for path in candidates[:1]:
            taken.append(path)
            add(_file(tree, files, path, set()), path)
    if not made.has_pytest:
        add(*_of_tox(tree, files))
    add(settings.requires, settings.source)
    for group in groups:
        if group not in chosen:
            _other(made, own, group.lines, group.source)
    for path in files:
        if path not in taken and _ANY_FILE.fullmatch(path):
            _other(made, own, _file(tree, files, path, set()), path)
    return made


def _is_member(line: str, own: Collection[str], projects: Sequence[Project]) -> bool:
    """Whether a requirement is another project of the repository, by its name or by a path that ends in its
    folder."""
    if requirement(line) in own and not line.lstrip().startswith("-"):
        return True
    path = re.fullmatch(
        r"\s*-e\s+(?:file:/*)?(?:\$\{PROJECT_ROOT\}|\{root:uri\})?([./\w-]+?)/*(?:\[.*\])?\s*", line
    )
    if path is None:
        return False
    parts = [part for part in path[1].split("/") if part not in ("", ".", "..")]
    return any(project.folder.split("/")[-len(parts) :] == parts if parts else True for project in projects)


def _other(made: Requires, own: set[str], lines: Iterable[str], source: str) -> None:
    for line in lines:
        if _PLAIN.fullmatch(line) and line not in made.lines and requirement(line) not in own:
            made.others.setdefault(line, source)


def _plain(project: Project) -> tuple[list[str], str]:
    """What the project itself needs to run."""
    where = project.at("pyproject.toml")
    lines = [*texts((table(project.pyproject, "project") or {}).get("dependencies"))]
    poetry = table(project.pyproject, "tool", "poetry") or {}
    lines += _poetry(table(poetry, "dependencies"))
    flit = table(project.pyproject, "tool", "flit", "metadata") or {}
    lines += texts(flit.get("requires"))
    if not lines:
        lines = [
            line for line in project.setup.get("options", {}).get("install_requires", "").splitlines() if line
        ]
        where = project.at("setup.cfg")
    return lines, where


def _dynamic(project: Project, name: str) -> list[str]:
    """The requirements files from which setuptools or hatchling take what the project calls dynamic."""
    files = texts((table(project.pyproject, "tool", "setuptools", "dynamic", name) or {}).get("file"))
    hook = table(project.pyproject, "tool", "hatch", "metadata", "hooks", "requirements_txt") or {}
    return [project.at(path) for path in (*files, *texts(hook.get("files")))]


def _computed(project: Project, files: Sequence[str]) -> Iterator[Finding]:
    """What the project needs, where only running its build would tell."""
    add = 'requires = ["name>=1.0"]'
    dynamic = texts((table(project.pyproject, "project") or {}).get("dynamic"))
    said = project.setup.get("options", {}).get("install_requires") or _dynamic(project, "dependencies")
    if "dependencies" in dynamic and not said:
        where = project.at("pyproject.toml")
        yield Finding(f"dependencies of {project.name}", "declared as dynamic", "unknown", where, add)
    if project.computed & {"install_requires", "everything"} and project.at("setup.py") in files:
        where = project.at("setup.py")
        yield Finding("dependencies", "setup.py computes them, and is not run", "unknown", where, add)


def _groups(number: int, project: Project) -> Iterator[Group]:
    """All groups and extras of a project, whatever they are for."""
    where = project.at("pyproject.toml")
    extras: dict[str, tuple[str, ...]] = {}
    for found in (
        table(project.pyproject, "project", "optional-dependencies"),
        table(project.pyproject, "tool", "flit", "metadata", "requires-extra"),
    ):
        extras.update({name: texts(lines) for name, lines in (found or {}).items()})
    poetry = table(project.pyproject, "tool", "poetry") or {}
    optional = table(poetry, "dependencies") or {}
    for name, names in (table(poetry, "extras") or {}).items():
        listed = {normal(n) for n in texts(names)}
        extras[name] = tuple(
            _poetry({k: v for k, v in optional.items() if normal(k) in listed}, optional=True)
        )
    cfg = project.setup.get("options.extras_require", {})
    extras.update(
        {
            name: tuple(line.strip() for line in lines.splitlines() if line.strip())
            for name, lines in cfg.items()
        }
    )
    groups = table(project.pyproject, "dependency-groups") or {}
    made: dict[str, tuple[str, ...]] = {name: tuple(_group(groups, name, ())) for name in groups}
    pdm = table(project.pyproject, "tool", "pdm", "dev-dependencies") or {}
    made.update({name: texts(lines) for name, lines in pdm.items()})
    old = table(project.pyproject, "tool", "poetry", "dev-dependencies")
    if old:
        made["dev"] = tuple(_poetry(old))
    for name, group in (table(poetry, "group") or {}).items():
        made[name] = tuple(_poetry(table(group, "dependencies")))
    hatch = table(project.pyproject, "tool", "hatch", "envs") or {}
    for name, group in hatch.items():
        listed_there = (*texts((table(group) or {}).get("dependencies")),)
        listed_there += texts((table(group) or {}).get("extra-dependencies"))
        chosen = texts((table(group) or {}).get("features"))
        lines = (*listed_there, *(line for extra in chosen for line in extras.get(extra, ())))
        if lines:
            made.setdefault(f"hatch {name}", lines)
    uv = texts((table(project.pyproject, "tool", "uv") or {}).get("dev-dependencies"))
    if uv:
        made["dev"] = (*made.get("dev", ()), *uv)
    for name, lines in {**extras, **made}.items():
        if name in extras and name in made:
            lines = (*extras[name], *made[name])
        kind = "extra " if name in extras and name not in made else "group " * (name in made)
        yield Group(
            number,
            name.removeprefix("hatch "),
            f"{where} [{kind.strip()} {name}]",
            tuple(_expanded(project, lines, extras, frozenset())),
        )


def _expanded(
    project: Project, lines: Iterable[str], extras: Mapping[str, tuple[str, ...]], seen: frozenset[str]
) -> Iterator[str]:
    """`lines`, with the project's own extras put in the place of `name[a,b]`."""
    known = {normal(name): found for name, found in extras.items()}
    for line in lines:
        parts = _NAME.match(line)
        if not (parts and parts[2] and project.name and normal(parts[1]) == normal(project.name)):
            yield line
            continue
        for extra in parts[2].strip("[]").split(","):
            name = normal(extra.strip())
            if name not in seen:
                yield from _expanded(project, known.get(name, ()), extras, seen | {name})


def _group(groups: Mapping[str, object], name: str, chain: tuple[str, ...]) -> Iterator[str]:
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


def _chosen(
    tree: Tree, files: Sequence[str], groups: Sequence[Group], settings: Settings, made: Requires
) -> list[Group]:
    """The groups that are for tests, and a finding where that is no more than likely."""
    if settings.groups:
        wanted = {normal(name) for name in settings.groups}
        for name in sorted(wanted - {normal(group.name) for group in groups}):
            made.findings.append(
                Finding("group", f"{name} is in no project", "unknown", settings.source, "groups = [...]")
            )
        return [group for group in groups if normal(group.name) in wanted]
    chosen = [group for group in groups if normal(group.name) in GROUPS]
    if made.has_pytest or any(group.has_pytest for group in chosen):
        return chosen
    holding = [group for group in groups if group.has_pytest]
    why = "the group that holds pytest"
    if not holding:
        hinted, where = _hints(tree, files)
        holding = [group for group in groups if normal(group.name) in hinted and group not in chosen]
        why = f"{where} installs it for tests"
    for group in holding:
        if group not in chosen:
            made.findings.append(
                Finding(
                    "group for tests",
                    f"{group.name}: {why}",
                    "guessed",
                    group.source,
                    f'groups = ["{group.name}"]',
                )
            )
            chosen.append(group)
    return chosen


def _hints(tree: Tree, files: Sequence[str]) -> tuple[set[str], str]:
    """Groups and extras that commands which run tests install, by normalised name, and the file with them."""
    places = ["tox.ini", "tox.toml", "noxfile.py", "Makefile", "justfile", "Justfile"]
    places += [f".github/workflows/{name}" for name in tree.list(".github/workflows")]
    for place in places:
        if tree.kind(place) != "file":
            continue
        said = tree.read(place).decode("utf-8", "replace")
        if "pytest" not in said and not place.startswith(".github"):
            continue
        found = {n for m in (*_EXTRAS.finditer(said), *_CHOSEN.finditer(said)) for n in m[1].split(",")}
        for line in re.findall(
            r"^\s*(?:extras|dependency_groups)\s*=\s*((?:.*\n?)(?:[ \t]+\S.*\n?)*)", said, re.M
        ):
            found.update(re.findall(r"[A-Za-z0-9][\w.-]*", line))
        if found:
            return {normal(name.strip()) for name in found}, place
    return set(), ""


def _of_tox(tree: Tree, files: Sequence[str]) -> tuple[list[str], str]:
    """The `deps` of tox's plain environment and the literal texts that nox installs beside pytest."""
    if "tox.ini" in files:
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read_string(tree.read("tox.ini").decode("utf-8", "replace"))
        except configparser.Error:
            return [], ""
        lines = parser.get("testenv", "deps", fallback="").splitlines()
        found: list[str] = []
        for line in map(str.strip, lines):
            included = re.fullmatch(r"-r\s*(?:\{toxinidir\}/)?(\S+)", line)
            if included and included[1] in files:
                found += _file(tree, files, included[1], set())
            elif line and ":" not in line.partition(";")[0] and "{" not in line and not line.startswith("-"):
                found.append(line)
        return found, "tox.ini"
    if "noxfile.py" in files:
        return _of_nox(tree.read("noxfile.py")), "noxfile.py"
    return [], ""


def _of_nox(source: bytes) -> list[str]:
    """What the session that runs pytest installs, where it says so in literals."""
    try:
        body = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    for session in (node for node in ast.walk(body) if isinstance(node, ast.FunctionDef)):
        calls = [
            (
                call.func.attr,
                [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)],
            )
            for call in ast.walk(session)
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
        ]
        if any(name == "run" and "pytest" in words for name, words in calls):
            return [
                word
                for name, words in calls
                if name == "install" and not any(w.startswith("-") for w in words)
                for word in words
                if _PLAIN.fullmatch(word)
            ]
    return []


def _poetry(listed: Mapping[str, object] | None, *, optional: bool = False) -> Iterator[str]:
    """Poetry's requirements: `^1.2` and `~1.2` as ranges, what is not from the registry left out."""
    for name, value in (listed or {}).items():
        described = table(value) or {}
        version = value if isinstance(value, str) else text(described.get("version"))
        extras = ",".join(texts(described.get("extras")))
        if name != "python" and version and (optional or described.get("optional") is not True):
            yield name + (f"[{extras}]" if extras else "") + _range(version)


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
        elif part[:1].isdigit():
            made.append(f"=={part}")
        else:
            made.append(part)
    return ",".join(made)


def _file(tree: Tree, files: Sequence[str], path: str, seen: set[str]) -> Iterator[str]:
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
