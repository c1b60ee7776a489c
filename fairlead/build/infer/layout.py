"""Where a project's own packages are: what its build backend packs, found without running the backend.

A repository holds one project or several; each is a folder with a pyproject.toml that describes one, a
setup.cfg or a setup.py. What the files say is known, what follows from names and folders is guessed.
"""

from __future__ import annotations

import ast
import configparser
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from fairlead.build.infer import setupscript
from fairlead.build.infer.finding import Finding, Sure
from fairlead.build.infer.modules import INIT
from fairlead.build.infer.settings import Settings, table, text, texts, toml
from fairlead.build.tree import Tree

_NOT_PACKAGES = {
    "tests", "test", "testing", "docs", "doc", "examples", "example", "benchmarks", "benchmark", "bench",
    "scripts", "tools", "tasks", "build", "dist", "ci", "node_modules", "venv", "requirements",
}  # fmt: skip
_BACKENDS = {
    "hatchling": "hatchling",
    "flit_core": "flit",
    "flit": "flit",
    "setuptools": "setuptools",
    "poetry": "poetry",
    "pdm": "pdm",
    "uv_build": "uv_build",
    "mesonpy": "meson",
    "maturin": "maturin",
    "scikit_build_core": "scikit-build",
}
_SOURCES_OF_EXTENSIONS = (".c", ".cc", ".cpp", ".pyx", ".pyf", ".rs")
_COMPILED = {"meson", "maturin", "scikit-build"}


@dataclass
class Project:
    """One project of the repository. Paths are relative to the repository: `folder` is its own, `roots` are
    the folders from which its modules are imported, `packages` the folders and single files that it packs.
    `setup` is its setup.cfg and the literals of its setup.py, `computed` what setup.py computes.
    `name` and `version` are those of the distribution, "" if not known. `env` are variables that its tests
    see besides those of every test."""

    folder: str
    name: str = ""
    version: str = ""
    roots: list[str] = field(default_factory=list)
    packages: list[str] = field(default_factory=list)
    entry_points: dict[str, dict[str, str]] = field(default_factory=dict)
    pyproject: Mapping[str, object] = field(default_factory=dict)
    setup: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    computed: frozenset[str] = frozenset()
    findings: list[Finding] = field(default_factory=list)
    env: Mapping[str, str] = field(default_factory=dict)

    def at(self, path: str) -> str:
        """The path in the repository of what the project calls `path`."""
        return "/".join(part for part in (*self.folder.split("/"), *path.split("/")) if part not in ("", "."))

    def metadata(self) -> dict[str, str]:
        """What an installation would say of it: files by their paths on the search path, none if it has no
        name or version. The rule python_metadata writes the same."""
        if not (self.name and self.version):
            return {}
        groups = (
            "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in names.items())]) + "\n"
            for group, names in self.entry_points.items()
        )
        folder = f"{self.name.replace('-', '_')}-{self.version}.dist-info"
        described = f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {self.version}\n"
        return {f"{folder}/METADATA": described, f"{folder}/entry_points.txt": "\n".join(groups)}

    def owns(self, path: str) -> bool:
        """Whether `path` lies in one of its packages."""
        return any(path == package or path.startswith(package + "/") for package in self.packages)


def projects(tree: Tree, files: tuple[str, ...], settings: Settings) -> list[Project]:
    """The projects of a repository, the outermost first; one for the whole of it if no file describes any."""
    described = {
        path.rpartition("/")[0]
        for path in files
        if path.rpartition("/")[2] in ("pyproject.toml", "setup.cfg", "setup.py") and _describes(tree, path)
    }
    members = _members(tree, files)
    folders = sorted(f for f in described if f in members or not _below_tests(f))
    if not folders or ("" not in folders and _has_tests_of_its_own(files, folders)):
        folders.insert(0, "")  # such as tests of all members of a workspace, at its top
    return [_project(tree, files, folder, settings) for folder in folders]


def _members(tree: Tree, files: tuple[str, ...]) -> set[str]:
    """The folders that a workspace of uv, or a path source of uv or poetry, names as its projects."""
    if tree.kind("pyproject.toml") != "file":
        return set()
    found = toml(tree, "pyproject.toml")
    workspace = table(found, "tool", "uv", "workspace") or {}
    wanted = [pattern.strip("/").removeprefix("./") for pattern in texts(workspace.get("members"))]
    dropped = [pattern.strip("/").removeprefix("./") for pattern in texts(workspace.get("exclude"))]
    for source in (table(found, "tool", "uv", "sources") or {}).values():
        wanted.append(text((table(source) or {}).get("path")).strip("/").removeprefix("./"))
    for dependency in (table(found, "tool", "poetry", "dependencies") or {}).values():
        wanted.append(text((table(dependency) or {}).get("path")).strip("/").removeprefix("./"))
    folders = {path.rpartition("/")[0] for path in files if path.endswith("/pyproject.toml")}
    return {
        folder
        for folder in folders
        if any(_fits(folder, pattern) for pattern in wanted if pattern)
        and not any(_fits(folder, pattern) for pattern in dropped)
    }


def _fits(folder: str, pattern: str) -> bool:
    """Whether a folder fits a pattern part by part: `*` does not cross a slash, `**` does."""
    parts, wanted = folder.split("/"), pattern.split("/")
    if "**" in wanted:
        return fnmatchcase(folder, pattern.replace("**/", "*"))
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _has_tests_of_its_own(files: tuple[str, ...], folders: list[str]) -> bool:
    """Whether there are test files outside of all projects."""
    return any(
        _is_test(path.rpartition("/")[2])
        and path.endswith(".py")
        and not any(path.startswith(f"{folder}/") for folder in folders)
        for path in files
    )


def _describes(tree: Tree, path: str) -> bool:
    """Whether a file describes a project, and not only the settings of tools."""
    if path.endswith("pyproject.toml"):
        found = toml(tree, path)
        return any(
            table(found, *names) is not None for names in (("project",), ("tool", "poetry"), ("tool", "flit"))
        )
    if path.endswith("setup.cfg"):
        return "metadata" in _setup(tree, path)
    return True


def _below_tests(folder: str) -> bool:
    """A project inside a folder of tests or examples is data of these."""
    return any(
        part in ("tests", "test", "testing", "examples", "example", "docs") for part in folder.split("/")
    )


def _setup(tree: Tree, path: str) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(tree.read(path).decode("utf-8", "replace"))
    except configparser.Error:
        return {}
    return {name: dict(parser[name]) for name in parser.sections()}


def _project(tree: Tree, files: tuple[str, ...], folder: str, settings: Settings) -> Project:
    made = Project(folder, env=dict(settings.env))
    if tree.kind(made.at("pyproject.toml")) == "file":
        made.pyproject = toml(tree, made.at("pyproject.toml"))
    if tree.kind(made.at("setup.cfg")) == "file":
        made.setup = _setup(tree, made.at("setup.cfg"))
    if tree.kind(made.at("setup.py")) == "file":
        script = setupscript.read(tree.read(made.at("setup.py")))
        made.computed = script.computed
        made.setup = _merged(script.sections, made.setup)
    backend = _backend(made)
    if "project" in made.pyproject or "tool" in made.pyproject:
        where = made.at("pyproject.toml")
    else:
        where = made.at("setup.cfg" if made.at("setup.cfg") in files else "setup.py")
    project = table(made.pyproject, "project") or {}
    poetry = table(made.pyproject, "tool", "poetry") or {}
    metadata = made.setup.get("metadata", {})
    made.name = text(project.get("name")) or text(poetry.get("name")) or metadata.get("name", "")
    if made.name:
        made.findings.append(Finding("distribution", made.name, "known", where))
    own = [path for path in files if not folder or path.startswith(folder + "/")]
    _packages(made, own, backend, settings)
    _version(tree, made, own, settings)
    made.entry_points = _entry_points(made, project, poetry)
    compiled = [path for path in own if made.owns(path) and path.endswith(_SOURCES_OF_EXTENSIONS)]
    if backend in _COMPILED or compiled:
        made.findings.append(
            Finding(
                "extension modules",
                f"compiled by {backend}, which inference does not run: tests see the Python files alone"
                + "".join(f": {p}" for p in compiled[:1]),
                "unknown",
                where,
                "write a BUCK file with a genrule that builds them",
            )
        )
    return made


def _merged(
    script: Mapping[str, Mapping[str, str]], cfg: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, str]]:
    """What setup.py says in literals, and over it what setup.cfg says."""
    return {name: {**script.get(name, {}), **cfg.get(name, {})} for name in {**script, **cfg}}


def _backend(project: Project) -> str:
    system = text((table(project.pyproject, "build-system") or {}).get("build-backend"))
    return _BACKENDS.get(system.partition(".")[0], system or "setuptools")


def _packages(made: Project, files: list[str], backend: str, settings: Settings) -> None:
    """Fill in `packages` and `roots`."""
    given = [path for path in settings.packages if not made.folder or path.startswith(made.folder + "/")]
    if given:
        _take(made, files, given, "known", settings.source)
        return
    said, where = _declared(made, backend, files)
    if said:
        _take(made, files, said, "known", where)
        return
    roots = ["src"] if any(path.startswith(made.at("src") + "/") for path in files) else []
    if roots:
        found = _tops(made.at("src"), files, everything=True)
        if found:
            made.roots = [made.at("src")]
            _take(made, files, found, "known" if made.name else "guessed", "the folder src")
            return
    own = re.sub(r"[-.]+", "_", made.name).lower()
    tops = _tops(made.folder, files, everything=False)
    named = [path for path in tops if path.rpartition("/")[2].removesuffix(".py").lower() == own]
    if named:
        _take(made, files, named, "known", "the distribution's name")
    elif tops:
        _take(made, files, tops, "guessed", "folders with modules")
    elif made.name:
        made.findings.append(
            Finding("packages", "none found", "unknown", add='packages = ["path/of/the/package"]')
        )
    if not made.roots:
        made.roots = [made.folder]


def _take(made: Project, files: list[str], paths: list[str], sure: Sure, source: str) -> None:
    known = [p for p in paths if p in files or any(path.startswith(p + "/") for path in files)]
    made.packages = sorted(dict.fromkeys(known))
    for path in paths:
        if path not in known:
            made.findings.append(Finding("packages", f"{path} is named, but not there", "guessed", source))
    if not made.roots:
        made.roots = sorted({path.rpartition("/")[0] for path in made.packages}) or [made.folder]
    add = "" if sure == "known" else "packages = [" + ", ".join(f'"{p}"' for p in made.packages) + "]"
    made.findings.append(Finding("packages", ", ".join(made.packages) or "none", sure, source, add))


def _tops(folder: str, files: list[str], *, everything: bool) -> list[str]:
    """The folders and files just below `folder` that can be imported. At a project's own top only folders
    with `__init__.py` count, and neither tests nor set-up scripts."""
    found: set[str] = set()
    prefix = f"{folder}/" if folder else ""
    inits = set(files)
    for path in files:
        if not path.endswith(".py") or not path.startswith(prefix):
            continue
        top, slash, _ = path.removeprefix(prefix).partition("/")
        if not slash:
            stem = top.removesuffix(".py")
            if everything or not (stem in ("setup", "conftest", "noxfile", "tasks") or _is_test(top)):
                found.add(prefix + top)
        elif top.isidentifier() and (
            everything or (f"{prefix}{top}/{INIT}" in inits and top not in _NOT_PACKAGES)
        ):
            found.add(prefix + top)
    return sorted(found)


def _is_test(name: str) -> bool:
    return name.startswith("test_") or name.endswith("_test.py")


def _declared(made: Project, backend: str, files: list[str]) -> tuple[list[str], str]:
    """The packages that the backend's own settings name."""
    tool = table(made.pyproject, "tool") or {}
    where = made.at("pyproject.toml")
    found: list[str] = []
    if backend == "hatchling":
        build = table(tool, "hatch", "build") or {}
        wheel = table(build, "targets", "wheel") or {}
        for name in ("packages", "only-include", "include"):
            said = texts(wheel.get(name)) or texts(build.get(name))
            found = [made.at(path.strip("/").removesuffix("/**").removesuffix("/*")) for path in said]
            found = [path for path in found if "*" not in path and not path.endswith((".typed", ".pyi"))]
            if found:
                break
        sources = wheel.get("sources", build.get("sources"))
        for source in [*sources] if isinstance(sources, list | dict) else ():
            if found and isinstance(source, str) and made.at(source) not in made.roots:
                made.roots.append(made.at(source))
    elif backend == "poetry":
        packages = (table(tool, "poetry") or {}).get("packages")
        for item in packages if isinstance(packages, list) else ():
            if isinstance(item, dict) and text(item.get("include")):
                root = text(item.get("from"))
                if root and made.at(root) not in made.roots:
                    made.roots.append(made.at(root))
                found.append(made.at(f"{root}/{text(item.get('include')).partition('/')[0]}"))
    elif backend == "flit":
        flit = table(tool, "flit", "module") or {}
        module = text(flit.get("name")) or made.name.replace("-", "_")
        path = module.replace(".", "/")
        for place in (f"src/{path}", f"src/{path}.py", path, f"{path}.py"):
            if made.at(place) in files or any(f.startswith(made.at(place) + "/") for f in files):
                made.roots = [made.at("src" if place.startswith("src/") else "")]
                return [made.at(place)], where
    elif backend == "uv_build":
        uv = table(tool, "uv", "build-backend") or {}
        root = text(uv.get("module-root", "src"))
        names = texts(uv.get("module-name")) or (re.sub(r"[-.]+", "_", made.name).lower(),)
        made.roots = [made.at(root)]
        found = [made.at(f"{root}/{name.replace('.', '/')}") for name in names]
    elif backend == "pdm":
        root = text((table(tool, "pdm", "build") or {}).get("package-dir"))
        if root:
            made.roots = [made.at(root)]
            found = _tops(made.at(root), files, everything=True)
    elif backend == "setuptools":
        return _setuptools(made, tool, files)
    return found, where


def _setuptools(made: Project, tool: Mapping[str, object], files: list[str]) -> tuple[list[str], str]:
    ini = made.setup.get("options", {})
    own = table(tool, "setuptools") or {}
    folders = {name: text(path) for name, path in (table(own, "package-dir") or {}).items()}
    for line in ini.get("package_dir", "").splitlines():
        name, equals, path = line.partition("=")
        if equals:
            folders[name.strip()] = path.strip()
    where = made.at("pyproject.toml" if own else "setup.cfg")
    root = folders.get("", "")
    found = table(own, "packages", "find") or {}
    search = texts(found.get("where"))
    search = search or tuple(made.setup.get("options.packages.find", {}).get("where", "").split())
    roots = [made.at(path) for path in search] or ([made.at(root)] if root else [])
    names = texts(own.get("packages")) or tuple(
        line.strip() for line in ini.get("packages", "").splitlines() if line.strip() and "find" not in line
    )
    modules = texts(own.get("py-modules")) or tuple(ini.get("py_modules", "").split())
    if names or modules:
        made.roots = roots or [made.folder]
        base = made.roots[0]
        prefix = f"{base}/" if base else ""
        mapped = {name.partition(".")[0]: made.at(path) for name, path in folders.items() if name}
        made.roots += [r for path in mapped.values() if (r := path.rpartition("/")[0]) not in made.roots]
        tops = [mapped.get(name.partition(".")[0]) or f"{prefix}{name.partition('.')[0]}" for name in names]
        return [*tops, *(f"{prefix}{name.replace('.', '/')}.py" for name in modules)], where
    if any(path != made.folder for path in roots):
        made.roots = roots
        return [top for path in roots for top in _tops(path, files, everything=True)], where
    include = texts(found.get("include"))
    if include:
        tops = _tops(made.folder, files, everything=False)
        wanted = {pattern.partition(".")[0].rstrip("*") for pattern in include}
        return [t for t in tops if any(t.rpartition("/")[2].startswith(w) for w in wanted if w)], where
    return [], where


def _version(tree: Tree, made: Project, files: list[str], settings: Settings) -> None:
    """The distribution's version, if it is written down somewhere."""
    project = table(made.pyproject, "project") or {}
    poetry = table(made.pyproject, "tool", "poetry") or {}
    said, where = settings.version, settings.source
    if not said:
        said, where = text(project.get("version")) or text(poetry.get("version")), made.at("pyproject.toml")
    ini = made.setup.get("metadata", {}).get("version", "")
    if not said and ini and not ini.startswith(("attr:", "file:")):
        said, where = ini, made.at("setup.cfg")
    if not said:
        said, where = _written_version(tree, made, files, ini)
    if not said and made.at("PKG-INFO") in files:
        where = made.at("PKG-INFO")
        for line in tree.read(where).decode("utf-8", "replace").splitlines():
            if line.startswith("Version: "):
                said = line.removeprefix("Version: ").strip()
                break
    if not said:
        for tool in (("setuptools_scm",), ("hatch", "version"), ("versioningit",), ("pdm", "version")):
            found = table(made.pyproject, "tool", *tool) or {}
            said = said or text(found.get("fallback_version")) or text(found.get("fallback-version"))
            where = made.at("pyproject.toml")
    if said:
        made.version = said
        made.findings.append(Finding("version", said, "known", where))
    elif made.name:
        made.findings.append(
            Finding(
                "version", "not written in any file that inference reads", "unknown", add='version = "1.0"'
            )
        )


def _written_version(tree: Tree, made: Project, files: list[str], ini: str) -> tuple[str, str]:
    """The version that a backend takes from a file: hatch's path, setuptools' attr, flit's __version__."""
    tool = table(made.pyproject, "tool") or {}
    places = [made.at(p) for p in texts((table(tool, "hatch", "version") or {}).get("path"))]
    attr = text((table(tool, "setuptools", "dynamic", "version") or {}).get("attr"))
    attr = attr or ini.removeprefix("attr:").strip() * ini.startswith("attr:")
    if attr:
        module = attr.rpartition(".")[0].replace(".", "/")
        for root in made.roots:
            base = f"{root}/{module}".strip("/")
            places += [f"{base}.py", f"{base}/{INIT}"]
    if not places:
        places = [p if p.endswith(".py") else f"{p}/{INIT}" for p in made.packages]
    for path in places:
        if path in files:
            found = _assigned_version(tree.read(path))
            if found:
                return found, path
    return "", ""


def _assigned_version(source: bytes) -> str:
    """The text that a file assigns to __version__, VERSION or version at its top."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    for node in body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        named = isinstance(target, ast.Name) and target.id in ("__version__", "VERSION", "version")
        if named and isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value
    return ""


def _entry_points(
    made: Project, project: Mapping[str, object], poetry: Mapping[str, object]
) -> dict[str, dict[str, str]]:
    """The entry points of the distribution, by group."""
    found: dict[str, dict[str, str]] = {}

    def add(group: str, names: object) -> None:
        for name, value in (names if isinstance(names, dict) else {}).items():
            if isinstance(value, str):
                found.setdefault(group, {})[name] = value

    add("console_scripts", project.get("scripts"))
    add("gui_scripts", project.get("gui-scripts"))
    add("console_scripts", poetry.get("scripts"))
    for tables in (project.get("entry-points"), poetry.get("plugins")):
        for group, names in (tables if isinstance(tables, dict) else {}).items():
            add(group, names)
    for group, lines in made.setup.get("options.entry_points", {}).items():
        pairs = (line.partition("=") for line in lines.splitlines() if "=" in line)
        add(group, {name.strip(): value.strip() for name, _, value in pairs})
    return found
