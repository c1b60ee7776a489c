"""The project that build verbs work on: its root, its store, and the plan of what a person asked for."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead import config
from fairlead.build import daemon
from fairlead.errors import MachineryError, UsageError
from fairlead.store import Store

if TYPE_CHECKING:
    from fairlead.build.daemon.state import State
    from fairlead.build.engine import Engine
    from fairlead.build.event import Event
    from fairlead.build.plan import Plan
    from fairlead.build.query.graph import DeclaredGraph
    from fairlead.build.sandbox import Requested
    from fairlead.build.tree import DiskTree, Tree

LEVELS: tuple[Requested, ...] = ("auto", "namespace", "landlock", "none")


@dataclass(frozen=True)
class Project:
    """A folder with a .buckconfig, or whose targets are inferred; `package` is where the person stands."""

    root: Path
    package: str
    settings: config.Config

    @classmethod
    def find(cls, start: Path | None = None) -> Project:
        """The project around `start` (default: here); UsageError if there is none.

        The folder with .buckroot, else the outermost with .buckconfig, as Buck2 has it, else the nearest
        whose settings ask for inference.
        """
        try:
            here = (start or Path.cwd()).resolve()
        except FileNotFoundError:
            raise UsageError(
                "the current folder is gone", where="fairlead", remedy="change to a folder that is there"
            ) from None
        above = [here, *here.parents]
        roots = [folder for folder in above if os.path.isfile(folder / ".buckroot")][:1]
        roots = roots or [folder for folder in above if os.path.isfile(folder / ".buckconfig")][-1:]
        roots = roots or [folder for folder in above if _asks_for_inference(folder)][:1]
        if not roots:
            raise UsageError(
                "this is no project: neither here nor above is there a .buckconfig, or `infer = true` in"
                " fairlead.toml",
                where=str(here),
                remedy="run `fairlead init` in the root of a Python repository; to write BUCK files by hand,"
                " make an empty file .buckconfig there",
            )
        root = roots[0]
        package = "" if here == root else here.relative_to(root).as_posix()
        return cls(root, package, config.load(root))

    def store(self) -> Store:
        """The store of build results: `store.dir`, else fairlead-out/store."""
        chosen = self.settings.text("store.dir")
        place = Path(chosen).expanduser() if chosen else self.root / "fairlead-out/store"
        live = self.live()
        if live is not None and live.store.root == place and place.is_dir():
            return live.store
        if chosen:
            return Store.open(place)
        out = self.root / "fairlead-out"
        if not out.exists():
            from fairlead.store import atomic

            try:
                atomic.write(out / ".gitignore", b"*\n")
            except MachineryError as error:
                error.remedy = (
                    f"{error.remedy}; or choose another place for the store with FAIRLEAD_STORE_DIR"
                )
                raise
        return Store.open(out / "store")

    def live(self) -> State | None:
        """What is kept of the project in this process, if that is its daemon."""
        live = daemon.current
        if live is None or live.root != self.root:
            return None
        if self.settings.text("build.daemon") == "off":
            live.retired = True
        return live

    def disk(self, store: Store | None = None) -> DiskTree:
        """The files as they are now; what the store knows of them is not read again."""
        from fairlead.build.tree import DiskTree

        live = self.live()
        if live is not None and (store is None or store is live.store):
            return live.tree()
        return DiskTree(self.root, None if store is None else store.results)

    def commit(self, name: str, store: Store) -> Tree:
        """The project's files in a commit."""
        from fairlead.build.tree import GitTree
        from fairlead.git import Repo

        repo = Repo.discover(self.root)
        oid = repo.rev(name)
        top = Path(repo.run("rev-parse", "--show-toplevel").out.decode().strip()).resolve()
        inside = self.root.relative_to(top).as_posix()
        return GitTree(repo, oid if inside == "." else f"{oid}:{inside}", store.results)

    def plan(self, tree: Tree, patterns: Sequence[str], store: Store | None = None) -> Plan:
        """What the patterns name; relative ones are meant from where the person stands. The plan of files on
        disk is kept in the store: if nothing that it was made of has changed, nothing is evaluated."""
        from fairlead.build.plans import Plans
        from fairlead.build.tree import DiskTree

        if store is None or not isinstance(tree, DiskTree):
            return self._evaluate(tree, patterns, _warn, store)
        plans, asked = Plans(store), [self.package, *patterns]

        def evaluate() -> tuple[Plan, bool]:
            printed: list[str] = []

            def show(text: str) -> None:
                printed.append(text)
                _warn(text)

            made = self._evaluate(tree, patterns, show, store)
            return made, not printed

        live = self.live()
        if live is not None and store is live.store:
            return live.plan(tree, asked, evaluate)
        found = plans.find(tree, asked)
        if found is None:
            found, keep = evaluate()
            if keep:
                plans.keep(tree, asked, found)
        return found

    def _evaluate(
        self, tree: Tree, patterns: Sequence[str], on_print: Callable[[str], None], store: Store | None
    ) -> Plan:
        from fairlead.build.buckconfig import BuckConfig
        from fairlead.build.evaluate import evaluate
        from fairlead.build.label import parse_pattern

        settings = BuckConfig.load(tree)
        known = [str(parse_pattern(text, "", self.package, settings.cells)) for text in patterns]
        return evaluate(tree, known, settings, on_print=on_print, store=store)

    @contextlib.contextmanager
    def graph(self) -> Iterator[DeclaredGraph]:
        """The targets that the files on disk declare, to ask about; patterns are meant from where the person
        stands. What it evaluates is kept in the store, if there can be one."""
        from fairlead.build.query.graph import DeclaredGraph

        try:
            store = self.store()
        except MachineryError:  # such as a project that is read only: it can be asked all the same
            store = None
        graph = DeclaredGraph(self.disk(store), here=self.package, store=store)
        try:
            yield graph
        finally:
            graph.flush()


def _warn(text: str) -> None:
    print(text, file=sys.stderr)


def _asks_for_inference(folder: Path) -> bool:
    """Whether the settings in a folder ask for inferred targets."""
    if not any(os.path.isfile(folder / name) for name in ("fairlead.toml", "pyproject.toml")):
        return False
    from fairlead.build import infer
    from fairlead.build.tree import DiskTree

    return infer.wanted(DiskTree(folder))


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that build, test and run share."""
    parser.add_argument("--jobs", type=int, default=None, help="how many actions and tests run at once")
    parser.add_argument("--sandbox", choices=LEVELS, default=None, help="how programs are kept apart")
    parser.add_argument("--no-daemon", action="store_true", help="do it in this process, from what is stored")


def sandbox_level(args: argparse.Namespace, project: Project) -> Requested:
    """The level asked for on the command line, else in the settings; UsageError for an unknown one."""
    return level(args.sandbox or project.settings.text("build.sandbox"), project)


def level(wanted: str, project: Project) -> Requested:
    """A level by its name; UsageError for an unknown one. With it goes which launcher starts what is held."""
    _choose_launcher(project)
    for known in LEVELS:
        if wanted == known:
            return known
    raise UsageError(
        f"there is no sandbox level {wanted}",
        where=project.settings.source("build.sandbox"),
        remedy="use " + ", ".join(LEVELS),
    )


def _choose_launcher(project: Project) -> None:
    wanted = project.settings.text("build.native_launcher")
    if wanted not in ("auto", "off"):
        raise UsageError(
            f"the native launcher is auto or off, not {wanted}",
            where=project.settings.source("build.native_launcher"),
        )
    # A build that has nothing to do loads no sandbox, and "auto" is what holds if nobody chooses.
    if wanted == "off" or "fairlead.build.sandbox" in sys.modules:
        from fairlead.build.sandbox import native

        native.choose(wanted)


def jobs(args: argparse.Namespace, project: Project) -> int:
    """How many jobs at once, by the command line, else the settings; 0 means one a processor."""
    number: int = args.jobs if args.jobs is not None else project.settings.number("build.jobs")
    if number < 0:
        raise UsageError(
            f"{number} is no number of jobs",
            where="--jobs" if args.jobs is not None else project.settings.source("build.jobs"),
            remedy="use 1 or more, or 0 for one for each processor",
        )
    return number


def engine(args: argparse.Namespace, project: Project, store: Store, tree: Tree, plan: Plan) -> Engine:
    """An engine with the options of the command line; it tells its work on stderr."""
    from fairlead.build.engine import Engine

    on_disk = getattr(args, "rev", None) is None
    return Engine(
        store,
        project.root if on_disk else None,
        tree,
        plan,
        sandbox=sandbox_level(args, project),
        jobs=jobs(args, project),
        on_event=(lambda _: None) if args.json else show,
    )


def has_passed(store: Store, plan: Plan, label: str, key: str) -> bool:
    """Whether the test `label` has a pass at that key which counts on this machine."""
    from fairlead.build import toolchain
    from fairlead.build.testing import Verdicts

    if plan.targets[label].test is None:
        return False
    interpreters = toolchain.versions(plan.toolchains, plan.toolchains_behind[label])
    return Verdicts(store).get(label, key, enforced="none", interpreters=interpreters) is not None


def show(event: Event) -> None:
    """One line for something that the engine did."""
    from fairlead.cli import terminal

    if event.kind == "note":
        terminal.note(event.text)
    elif event.kind == "action":
        terminal.note(f"ran   {event.label}  {event.text}  {terminal.seconds(event.seconds)}")


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 action, 2 actions."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
