"""Loading: .bzl files once each, BUCK files to declared targets, and what files belong to which package."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fairlead.build import infer, packages
from fairlead.build.artifact import CommandLine
from fairlead.build.attrs import ATTRS, SourceRef
from fairlead.build.buckconfig import BuckConfig
from fairlead.build.dialect.codes import Codes
from fairlead.build.dialect.fault import DialectError
from fairlead.build.dialect.functions import Budget, universe
from fairlead.build.dialect.run import run
from fairlead.build.dialect.syntax import Load, compile_source
from fairlead.build.dialect.values import List, Struct, plain
from fairlead.build.glob import compile_glob
from fairlead.build.infer import listing
from fairlead.build.label import Label, parse_label, parse_pattern
from fairlead.build.packages import Asked, Edges, Packages
from fairlead.build.provider import BUILT_IN, Provider, ProviderField
from fairlead.build.rule import CURRENT, Declared, Rule, current
from fairlead.build.tree import Tree
from fairlead.errors import FairleadError, UsageError, did_you_mean
from fairlead.store import Store, digest

PRELUDE = "prelude//"
INFERRED = "BUCK (inferred)"
"""The build file of the root's package where the repository has none and asks for inference."""
_ROOT_OF_PRELUDE = PRELUDE + "prelude.bzl"
_PRELUDE_FILE = re.compile(r"[a-z_]+\.(bzl|py)")


def prelude_file(name: str) -> bytes | None:
    """A file of the bundled prelude (the package may be installed in a zip); None if it has none."""
    if not _PRELUDE_FILE.fullmatch(name):
        return None
    try:
        return pkgutil.get_data("fairlead.build", f"prelude/{name}")
    except OSError:
        return None


@dataclass
class Module:
    """A loaded .bzl file. `closure` are the files it is made of (itself and all that it loads), sorted;
    `config` are the settings that those read while they loaded, `asked` all that they asked for."""

    path: str
    names: dict[str, Any]
    closure: tuple[str, ...]
    config: dict[str, str] = field(default_factory=dict)
    asked: Asked = field(default_factory=Asked)


class Package:
    """A folder with a build file: its targets by name, in the order of declaration."""

    def __init__(self, loader: Loader, cell: str, name: str, build_file: str) -> None:
        self.cell = cell
        self.name = name
        self.build_file = build_file
        self.targets: dict[str, Declared] = {}
        self.asked = Asked()
        self.rows: dict[str, Any] = {}
        self._loader = loader
        self._folder = loader.config.cells.path(cell, name)

    def label(self, text: str) -> Label:
        return parse_label(text, self.cell, self.name, self._loader.config.cells)

    def declare(self, target: Declared) -> None:
        name = target.label.name
        if name in self.targets:
            raise DialectError(
                f"the target {target.label} is declared twice (first at {self.targets[name].place})",
                remedy="rename one",
            )
        for pattern in (*target.visibility, *(target.within_view or ())):
            if pattern != "PUBLIC":
                if "//" not in pattern and ":" not in pattern:
                    raise DialectError(
                        f"{pattern!r} is no pattern of targets (visibility of {target.label})",
                        remedy='write "PUBLIC", "//package:" or "//package/..."',
                    )
                parse_pattern(pattern, self.cell, self.name, self._loader.config.cells)
        self.targets[name] = target

    def source(self, text: str, *, folder: bool) -> SourceRef:
        """The source file (or folder) `text` of this package."""
        parts = text.split("/")
        if not text or any(part in ("", ".", "..") for part in parts):
            raise DialectError(
                f"{text!r} is no path inside the package {self._show()}",
                remedy="name a file below it; files of other packages are named by label",
            )
        path = f"{self._folder}/{text}".lstrip("/")
        tree = self._loader.tree
        kind = self.asked.kinds[path] = tree.kind(path)
        at = path if kind == "folder" else path.rpartition("/")[0]
        owner = self._loader.owner(at)
        if at != self._folder:
            self.asked.owners[at] = owner
        if kind is not None and owner != self._folder:
            raise DialectError(
                f"the source {path} belongs to another package, //{owner}",
                remedy=f"export it there, and name it as //{owner}:{path.removeprefix(f'{owner}/')}",
            )
        if kind is None or self._loader.config.is_ignored(path):
            remedy = did_you_mean(text, self.files()) or "create it, or correct the name"
            raise DialectError(f"the source file {path} does not exist", remedy=remedy)
        if kind == "file":
            return SourceRef(path, text)
        if not folder:
            raise DialectError(f"the source {path} is a folder", remedy=f'name files: glob(["{text}/**"])')
        inside = tuple(
            f"{self._folder}/{file}".lstrip("/") for file in self.files() if file.startswith(f"{text}/")
        )
        if not inside:  # git has no empty folders; a submodule is one until somebody fetches it
            raise DialectError(f"the source {path} is a folder without files", remedy="put a file there")
        return SourceRef(path, text, inside)

    def glob(self, include: Iterable[str], exclude: Iterable[str]) -> List:
        """The files of the package that match, sorted. Sub-packages are not entered."""
        wanted = [compile_glob(pattern) for pattern in include]
        dropped = [compile_glob(pattern) for pattern in exclude]
        return List(
            file
            for file in self.files()
            if any(pattern.fullmatch(file) for pattern in wanted)
            and not any(pattern.fullmatch(file) for pattern in dropped)
        )

    def files(self) -> tuple[str, ...]:
        """The files of the package, relative to it, sorted."""
        files = self._loader.files(self._folder)
        if not self.asked.files:
            self.asked.files = packages.listing(files)
        return files

    def _show(self) -> str:
        return f"{self.cell}//{self.name}"


class Loader:
    """The files of one tree, read and run at most once each; with a store, what it knows of them is not run
    again. `flush` keeps what was run."""

    def __init__(
        self,
        tree: Tree,
        config: BuckConfig,
        on_print: Callable[[str], None],
        store: Store | None = None,
    ) -> None:
        self.tree = tree
        self.config = config
        self.layout = config.layout()
        self._results = None if store is None else store.results
        self._kept = None if store is None else Packages(store)
        self._codes = None if store is None else Codes(store.root)
        self._compile = compile_source if self._codes is None else self._codes.compile
        self._on_print = on_print
        self.printed = 0
        self._budget = Budget()
        self._universe = universe(self._budget, self._print)
        self._digests: dict[str, str] = {}
        self._globals: dict[str, dict[int, str]] = {}
        self._modules: dict[str, Module] = {}
        self._loading: list[str] = []
        self._open: list[Module] = []  # .bzl files that run, the innermost last
        self._packages: dict[str, Package] = {}
        self._files: dict[str, tuple[str, ...]] = {}
        self._is_package: dict[str, str] = {}
        self._native: Struct | None = None

    def flush(self) -> None:
        """Keep what was compiled and evaluated for the next one."""
        for kept in (self._codes, self._kept):
            if kept is not None:
                kept.flush()

    def digest(self, path: str) -> str:
        """The SHA-256 of a file of the language, as a kept package asks for it; "" if there is none."""
        found = self._digests.get(path)
        if found is None:
            is_file = self.tree.kind(path) == "file"
            found = self._digests[path] = packages.digests(self.tree, [path])[path] if is_file else ""
        return found

    def global_name(self, rule: Rule) -> str | None:
        """The name by which a rule's file holds it, None if it does not."""
        if rule._module not in self._globals:
            names = self.module(rule._module).names
            self._globals[rule._module] = {
                id(value): name for name, value in names.items() if isinstance(value, Rule)
            }
        return self._globals[rule._module].get(id(rule))

    def row(self, target: Declared) -> tuple[Any, ...] | None:
        """A target as data, None if it cannot be told so."""
        package = self.package(target.label.cell, target.label.package)
        rows = {} if package is None else package.rows
        name = target.label.name
        found: tuple[Any, ...] | None = rows[name] if name in rows else packages.row(self, target)
        return found

    def _print(self, text: str) -> None:
        self.printed += 1
        package = CURRENT.get()
        if self._open:
            self._open[-1].asked.printed = True
        elif isinstance(package, Package):
            package.asked.printed = True
        self._on_print(text)

    # Which files are where ------------------------------------------------------------------------------

    def build_file(self, folder: str) -> str:
        """The path of the folder's build file, "" if it is no package."""
        found = self._is_package.get(folder)
        if found is None:
            found = ""
            if not self.config.is_ignored(folder):
                names = self.tree.list(folder)
                for name in self.config.build_files:
                    path = f"{folder}/{name}".lstrip("/")
                    if name in names and self.tree.kind(path) == "file":
                        found = path
                        break
                else:
                    if not folder and infer.wanted(self.tree):
                        found = INFERRED
            self._is_package[folder] = found
        return found

    def owner(self, folder: str) -> str:
        """The package that the files of a folder belong to: the nearest above, itself included."""
        while folder and not self.build_file(folder):
            folder = folder.rpartition("/")[0]
        return folder

    def files(self, folder: str) -> tuple[str, ...]:
        """The files of a package, relative to it, sorted."""
        if folder not in self._files:
            self._files[folder] = tuple(sorted(self._walk(folder, "")))
        return self._files[folder]

    def _walk(self, package: str, below: str) -> Iterator[str]:
        folder = f"{package}/{below}".strip("/")
        for name in self.tree.list(folder):
            path = f"{folder}/{name}".lstrip("/")
            if self.config.is_ignored(path):
                continue
            kind = self.tree.kind(path)
            inside = f"{below}/{name}".lstrip("/")
            if kind == "file":
                yield inside
            elif kind == "folder" and not self.build_file(path):
                yield from self._walk(package, inside)

    def packages_below(self, cell: str, package: str) -> Iterator[str]:
        """The names of all packages of a cell at or below `package`, sorted by folder."""
        root = self.config.cells.path(cell, "")
        others = {path for path in self.config.cells.folders.values() if path and path != root}
        stack = [self.config.cells.path(cell, package)]
        while stack:
            folder = stack.pop()
            if self.config.is_ignored(folder):
                continue
            if self.build_file(folder):
                yield folder.removeprefix(root).lstrip("/")
            below = [f"{folder}/{name}".lstrip("/") for name in self.tree.list(folder)]
            stack.extend(p for p in reversed(below) if p not in others and self.tree.kind(p) == "folder")

    # Files of the language ------------------------------------------------------------------------------

    def module(self, path: str, asked_by: str = "") -> Module:
        """Load a .bzl file, by its path in the project or `prelude//name`."""
        if path in self._modules:
            return self._modules[path]
        if path in self._loading:
            circle = [*self._loading[self._loading.index(path) :], path]
            raise UsageError(
                f"files load each other in a circle: {' -> '.join(circle)}",
                where=asked_by,
                remedy="move what they share to a file of its own",
            )
        source = self._source(path, asked_by)
        self._loading.append(path)
        try:
            module = self._run_module(path, source)
        finally:
            self._loading.pop()
        self._modules[path] = module
        return module

    def _source(self, path: str, asked_by: str) -> bytes:
        if path.startswith(PRELUDE):
            source = prelude_file(path.removeprefix(PRELUDE))
        else:
            source = self.tree.read(path) if self.tree.kind(path) == "file" else None
        if source is None:
            folder, _, name = path.rpartition("/")
            near = did_you_mean(name, [n for n in self.tree.list(folder) if n.endswith(".bzl")])
            raise UsageError(f"the file {path} does not exist", where=asked_by, remedy=near or "create it")
        return source

    def _run_module(self, path: str, source: bytes) -> Module:
        code = self._compile(source, path, is_bzl=True)
        loaded, modules = self._loads(code.loads, path)
        module = Module(path, {}, ())
        for other in modules:
            module.config.update(other.config)
            module.asked.add(other.asked)
        if not path.startswith(PRELUDE):
            module.asked.modules[path] = digest.of_bytes(source)
        extra: set[str] = set()
        names = self._names(path)
        if path.startswith(PRELUDE):

            def prelude_text(name: str) -> str:
                data = prelude_file(name)
                if data is None:
                    raise DialectError(f"the prelude has no file {name}")
                extra.add(PRELUDE + name)
                return data.decode()

            names["prelude_text"] = prelude_text
        else:
            names["native"] = self._prelude()
            module.asked.add(self.module(_ROOT_OF_PRELUDE).asked)
        token = CURRENT.set(None)  # a file loaded by a BUCK file declares no targets while it loads
        self._open.append(module)
        try:
            module.names = run(code, names, loaded)
        finally:
            self._open.pop()
            CURRENT.reset(token)
        for name, value in module.names.items():
            if isinstance(value, Rule | Provider) and not value._name:
                value._name = name.lstrip("_")
        module.closure = tuple(sorted({path, *extra, *(file for other in modules for file in other.closure)}))
        return module

    def _loads(self, loads: Iterable[Load], path: str) -> tuple[dict[str, Any], list[Module]]:
        """What load() lines bring, and the modules they bring it from."""
        brought: dict[str, Any] = {}
        modules: list[Module] = []
        for load in loads:
            try:
                module = self.module(self._resolve(load.path, path), load.where)
            except FairleadError as error:
                if error.where != load.where and load.where not in error.where:
                    error.where = f"{error.where}, loaded from {load.where}" if error.where else load.where
                raise
            modules.append(module)
            for local, remote in load.names:
                if remote not in module.names:
                    known = [name for name in module.names if not name.startswith("_")]
                    raise UsageError(
                        f"{module.path} has no {remote!r}",
                        where=load.where,
                        remedy=did_you_mean(remote, known)
                        or f"it has {', '.join(sorted(known)) or 'nothing'}",
                    )
                brought[local] = module.names[remote]
        return brought, modules

    def _resolve(self, text: str, asked_by: str) -> str:
        """The path of the file that `text` names in a load() of the file `asked_by`."""
        bare = text.removeprefix("@")
        inside_prelude = asked_by.startswith(PRELUDE)
        if bare.startswith(PRELUDE) or (inside_prelude and text.startswith(":")):
            return PRELUDE + bare.removeprefix(PRELUDE).lstrip(":").replace(":", "/")
        folder = asked_by.rpartition("/")[0]
        cell, package = self.cell_of(folder)
        label = parse_label(text, cell, package, self.config.cells)
        if ":" not in text:
            raise UsageError(
                f"load() cannot read {text!r}", remedy='write "//package:file.bzl" or ":file.bzl"'
            )
        if not label.name.endswith(".bzl"):
            raise UsageError(
                f"load() reads .bzl files, not {label.name!r}", remedy="rename it, or load another"
            )
        return f"{self.config.cells.path(label.cell, label.package)}/{label.name}".lstrip("/")

    def cell_of(self, folder: str) -> tuple[str, str]:
        """The cell and package of a folder of the project."""
        best_cell, best = "", ""
        for cell, path in self.config.cells.folders.items():
            if path and f"{folder}/".startswith(f"{path}/") and len(path) > len(best):
                best_cell, best = cell, path
        return best_cell, folder.removeprefix(best).lstrip("/")

    def _read_config(self, section: str, key: str, default: Any = None) -> Any:
        """A setting. While a .bzl file runs, it is noted as read by that file and all that load it; what a
        BUCK file reads stands in the attributes of its targets."""
        if not self._open and CURRENT.get() is None:
            raise DialectError(
                "read_config() works while files load, not in a rule", remedy="use an attribute"
            )
        value = self.config.get(section, key)
        package = CURRENT.get()
        if isinstance(package, Package):
            package.asked.settings[f"{section}\0{key}"] = value
        if self._open:
            self._open[-1].asked.settings[f"{section}\0{key}"] = value
            self._open[-1].config[f"{section}.{key}"] = "" if value is None else value
        return default if value is None else value

    def _names(self, path: str) -> dict[str, Any]:
        """The built-in names of a file."""

        def rule(*, impl: Any, attrs: Any, doc: str = "", is_toolchain_rule: bool = False) -> Rule:
            return Rule(impl, attrs, path, doc, is_toolchain_rule)

        return {
            **self._universe,
            **BUILT_IN,
            "attrs": ATTRS,
            "cmd_args": CommandLine,
            "glob": _glob_here,
            "package_name": _package_here,
            "provider": lambda fields, doc="": Provider(fields, doc),
            "provider_field": ProviderField,
            "read_config": self._read_config,
            "read_root_config": self._read_config,
            "rule": rule,
        }

    def _prelude(self) -> Struct:
        if self._native is None:
            native = self.module(_ROOT_OF_PRELUDE).names["native"]
            self._native = Struct({**native.__dict__, "glob": _glob_here, "package_name": _package_here})
        return self._native

    # Packages -------------------------------------------------------------------------------------------

    def package(self, cell: str, name: str) -> Package | None:
        """Evaluate a build file; None if the folder has none."""
        folder = self.config.cells.path(cell, name)
        if folder in self._packages:
            return self._packages[folder]
        build_file = self.build_file(folder)
        if not build_file:
            return None
        package = Package(self, cell, name, build_file)
        kept = None if build_file == INFERRED else self._kept
        known = None if kept is None else kept.find(self, build_file)
        declared = None if known is None else known.targets(self)
        if known is not None and declared is not None:
            package.asked = known.asked
            package.targets = {target.label.name: target for target in declared}
            package.rows = dict(zip(package.targets, known.rows, strict=True))
            self._packages[folder] = package
            return package
        source = self._inferred() if build_file == INFERRED else self.tree.read(build_file)
        code = self._compile(source, build_file, is_bzl=False)
        loaded, modules = self._loads(code.loads, build_file)
        native = self._prelude()
        for module in (self.module(_ROOT_OF_PRELUDE), *modules):
            package.asked.add(module.asked)
        names = {**self._names(build_file), **native.__dict__, "native": native}
        for forbidden in ("rule", "provider", "provider_field", "attrs"):
            del names[forbidden]
        token = CURRENT.set(package)
        try:
            run(code, names, loaded)
        finally:
            CURRENT.reset(token)
        self._packages[folder] = package
        if kept is not None:
            sha = digest.of_bytes(source)
            declared = [*package.targets.values()]
            rows = kept.keep(self, build_file, sha, folder, package.asked, declared)
            package.rows = dict(zip(package.targets, rows, strict=True))
        return package

    def edges(self, cell: str, name: str) -> tuple[Asked, list[Edges]] | None:
        """What a package is to others; None if the folder has no build file. The package itself is not held,
        so that all packages of a large project can be gone through."""
        folder = self.config.cells.path(cell, name)
        build_file = self.build_file(folder)
        held = folder in self._packages
        if self._kept is not None and build_file not in ("", INFERRED) and not held:
            known = self._kept.find(self, build_file)
            if known is not None:
                return known.asked, known.edges()
        package = self.package(cell, name)
        if package is None:
            return None
        if not held:
            del self._packages[folder]
        return package.asked, [Edges.of(target) for target in package.targets.values()]

    def expect(self, cell: str, names: Iterable[str]) -> None:
        """These packages will be asked for."""
        if self._kept is not None:
            files = [self.build_file(self.config.cells.path(cell, name)) for name in names]
            self._kept.expect(self, [path for path in files if path and path != INFERRED])

    def inferred_files(self) -> tuple[str, ...]:
        """The files that inference looks at: those that no build file below the root owns."""
        return listing.files(
            self.tree, lambda path: self.config.is_ignored(path) or bool(path and self.build_file(path))
        )

    def _inferred(self) -> bytes:
        return infer.text(self.tree, self.inferred_files(), self._results).encode()


def _glob_here(include: Any, exclude: Any = ()) -> List:
    for given in (include, exclude):
        if isinstance(given, str):
            raise DialectError("glob() takes a list of patterns", remedy=f'write glob(["{given}"])')
    return current("glob()").glob(plain(include), plain(exclude))


def _package_here() -> str:
    return current("package_name()").name
