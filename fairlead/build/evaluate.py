"""From patterns to a plan: load the packages, follow the dependencies, run the rules.

`evaluate` is a function of the tree, the patterns and the configuration: no clock, no environment, no
randomness; the same inputs give the same bytes of `Plan.encode()` on every machine.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from fairlead.build import daemon
from fairlead.build.analyses import Analyses, Made
from fairlead.build.artifact import Artifact, BuildArtifact, Found, command
from fairlead.build.attrs import DepRef, resolve, to_json
from fairlead.build.buckconfig import BuckConfig
from fairlead.build.context import Actions, Context, environment
from fairlead.build.dialect.fault import DialectError, translate
from fairlead.build.dialect.values import Native, Struct, check_text, freeze, text_of, type_name
from fairlead.build.label import Label, Pattern, parse_pattern
from fairlead.build.loader import INFERRED, Loader
from fairlead.build.plan import Action, Plan, Target, TestSpec, Toolchain
from fairlead.build.provider import DEFAULT, RUN, TEST, Instance, Provider, sort_out
from fairlead.build.rule import Declared
from fairlead.build.sharing import Sharing
from fairlead.build.tree import Tree
from fairlead.errors import FairleadError, UsageError, did_you_mean, nearest
from fairlead.store import Store

TIMEOUT = 600
"""Seconds that a test may take if its target says nothing."""

_MOST_SHARDS = 100

SHARING = 2000
"""Of so many targets equal values are kept as they come: to look for them takes a tenth of the evaluation."""

_PACKAGES = 1000
"""Of so many packages not all are looked at to say which was meant."""


def evaluate(
    tree: Tree,
    patterns: Sequence[str],
    config: BuckConfig | None = None,
    *,
    on_print: Callable[[str], None] | None = None,
    store: Store | None = None,
) -> Plan:
    """The plan of all targets that `patterns` name, with everything that they need.

    `config` is the tree's own `.buckconfig` unless given. `on_print` gets what files print(); by default it
    goes to stderr. Raises `UsageError` that names file and line for anything wrong in the files. What a
    `store` knows of build files is not evaluated again, and it gets to know the rest.
    """
    with uncollected():
        plan = _evaluate(tree, patterns, config, on_print, store)
        if daemon.current is not None:  # it looks at all this when there is nothing else to do: State.tidy
            gc.freeze()
            daemon.current.fresh = True
        return plan


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Without Python's collector of circles: of what is made here nearly all stays, and it would go through
    all of that again and again (a quarter of the time of 10,000 targets)."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _evaluate(
    tree: Tree,
    patterns: Sequence[str],
    config: BuckConfig | None,
    on_print: Callable[[str], None] | None,
    store: Store | None,
) -> Plan:
    config = config if config is not None else BuckConfig.load(tree)
    loader = Loader(tree, config, on_print or (lambda text: print(text, file=sys.stderr)), store)
    requested: set[Label] = set()
    try:
        for text in patterns:
            requested.update(named(loader, parse_pattern(text, "", "", config.cells)))
        ordered = _closure(loader, sorted(requested | _in_suites(loader, requested)))
    finally:
        loader.flush()  # also where one file is wrong: the others need not be evaluated again
    return _Analysis(loader, None if store is None else Analyses(store, loader)).plan(
        ordered, sorted(requested)
    )


def named(loader: Loader, pattern: Pattern) -> Iterable[Label]:
    """The labels that a pattern stands for."""
    if pattern.kind == "target":
        label = Label(pattern.cell, pattern.package, pattern.name)
        declaration(loader, label, "", "")
        return [label]
    if pattern.kind == "package":
        package = loader.package(pattern.cell, pattern.package)
        if package is None:
            raise _no_package(loader, pattern.cell, pattern.package, str(pattern), "")
        return [target.label for target in package.targets.values()]
    found: list[Label] = []
    packages = list(loader.packages_below(pattern.cell, pattern.package))
    if pattern.package and not pattern.cell and loader.build_file("") == INFERRED:
        # Inferred targets all belong to the root, and are named by the folders that they come from.
        inferred = loader.package("", "")
        assert inferred is not None
        below = f"{pattern.package}/"
        found.extend(t.label for t in inferred.targets.values() if t.label.name.startswith(below))
    if not packages and not found:
        known = _packages_near(loader, pattern.cell, pattern.package)
        near = _meant(pattern.package, known, f"{pattern.cell}//", "/...")
        raise UsageError(
            f"no package is at or below {pattern}",
            remedy=near or f"add a {loader.config.build_files[-1]} file there",
        )
    loader.expect(pattern.cell, packages)
    for name in packages:
        package = loader.package(pattern.cell, name)
        if package is not None:
            found.extend(target.label for target in package.targets.values())
    return found


def _in_suites(loader: Loader, requested: Iterable[Label]) -> set[Label]:
    """The tests that the suites and aliases among `requested` stand for: no dependencies of these, but to be
    tested with them."""
    found: set[Label] = set()
    todo = list(requested)
    while todo:
        label = todo.pop()
        suite = declaration(loader, label, "", "")
        for test in _stands_for(suite):
            if test not in found:
                declaration(loader, test, str(label), suite.place)
                found.add(test)
                todo.append(test)
    return found


def _stands_for(target: Declared) -> list[Label]:
    """The targets that are tested when `target` is: what a suite lists, what an alias leads to."""
    if target.rule._module == "prelude//test_suite.bzl":
        return list(target.attrs["tests"])
    if target.rule._module == "prelude//alias.bzl":
        return [ref.label.raw_target() for ref in target.deps()]
    return []


def declaration(loader: Loader, label: Label, asked_by: str, where: str) -> Declared:
    """The declaration of a target; `asked_by` is the label of the target that depends on it, "" a person."""
    package = loader.package(label.cell, label.package)
    if package is None:
        raise _no_package(loader, label.cell, label.package, str(label), where, asked_by)
    target = package.targets.get(label.name)
    if target is None:
        before = f"{label.cell}//{label.package}:"
        shown = ", ".join(f":{name}" for name in sorted(package.targets)[:10]) or "no targets"
        by = f" (a dependency of {asked_by})" if asked_by else ""
        raise UsageError(
            f"unknown target {label}{by}",
            where=where or package.build_file,
            remedy=_meant(label.name, package.targets, before, "") or f"{package.build_file} has {shown}",
        )
    return target


def _no_package(
    loader: Loader, cell: str, package: str, label: str, where: str, asked_by: str = ""
) -> UsageError:
    by = f" (a dependency of {asked_by})" if asked_by else ""
    near = _meant(package, _packages_near(loader, cell, package), f"{cell}//", ":")
    build_file = f"{loader.config.cells.path(cell, package)}/{loader.config.build_files[-1]}".lstrip("/")
    above, _, last = package.rpartition("/")
    # Most often somebody wrote `fairlead build name` and meant the target, not the folder.
    short = not asked_by and bool(last) and label == f"{cell}//{package}:{last}"
    other = f", or write {cell}//{above}:{last} for a target of {cell}//{above}" if short else ""
    return UsageError(
        f"{label}{by}: there is no package {cell}//{package}",
        where=where,
        remedy=near or f"add the file {build_file}{other}",
    )


def _packages_near(loader: Loader, cell: str, package: str) -> list[str]:
    """The packages that may be meant by one that is not there: all, or of a large project those that lie
    beside the folders that are there. Walking 10,000 folders for a typing error takes a second."""
    found = list(islice(loader.packages_below(cell, ""), _PACKAGES))
    if len(found) < _PACKAGES:
        return found
    at, *rest = "", *package.split("/")
    while rest:
        folder = loader.config.cells.path(cell, at)
        inside = {name: f"{at}/{name}".lstrip("/") for name in loader.tree.list(folder)}
        if rest[0] not in inside:
            ends = ["".join(f"/{part}" for part in rest[1:count]) for count in range(len(rest), 0, -1)]
            names = [inside[name] + end for name in nearest(rest[0], inside) for end in ends]
            return [name for name in names if loader.build_file(loader.config.cells.path(cell, name))]
        at = inside[rest.pop(0)]
    return found


def _meant(word: str, known: Iterable[str], before: str, after: str) -> str:
    """Did you mean ...? For one part of a label: only that part is compared, the whole label is shown."""
    names = nearest(word, [name for name in known if name])
    return f"did you mean {' or '.join(before + name + after for name in names)}?" if names else ""


def _closure(loader: Loader, requested: Sequence[Label]) -> list[Declared]:
    """The targets and all that they depend on, dependencies first. By a stack, since chains are long."""
    done: dict[Label, Declared] = {}
    ordered: list[Declared] = []
    for root in requested:
        if root in done:
            continue
        path: list[tuple[Declared, list[DepRef]]] = []
        on_path: dict[Label, None] = {}
        first = declaration(loader, root, "", "")
        path.append((first, first.deps()[::-1]))
        on_path[root] = None
        while path:
            target, rest = path[-1]
            if not rest:
                path.pop()
                del on_path[target.label]
                done[target.label] = target
                ordered.append(target)
                continue
            label = rest.pop().label.raw_target()
            if label in done:
                continue
            if label in on_path:
                names = [str(name) for name in on_path]
                circle = [*names[names.index(str(label)) :], str(label)]
                raise UsageError(
                    f"targets depend on each other in a circle: {' -> '.join(circle)}",
                    where=target.place,
                    remedy="remove one of these dependencies, or move what they share to a target of its own",
                )
            dep = declaration(loader, label, str(target.label), target.place)
            path.append((dep, dep.deps()[::-1]))
            on_path[label] = None
    return ordered


def _is_tested(target: Target) -> bool:
    return target.test is not None or target.rule in ("alias", "test_suite")


class Dependency(Native):
    """What a rule sees of a dependency: `dep[Provider]`, `Provider in dep`, `dep.get(Provider)`, `.label`."""

    TYPE = "Dependency"

    def __init__(self, label: Label, providers: dict[Provider, Instance]) -> None:
        self.label = label
        self._providers = providers

    @property
    def providers(self) -> list[Instance]:
        return list(self._providers.values())

    def __getitem__(self, provider: Any) -> Instance:
        found = self.get(provider)
        if found is None:
            has = ", ".join(str(p) for p in self._providers)
            raise DialectError(f"{self.label} has no {provider}", remedy=f"it has {has}")
        return found

    def __contains__(self, provider: Any) -> bool:
        return provider in self._providers

    def get(self, provider: Any) -> Instance | None:
        if not isinstance(provider, Provider):
            raise DialectError(
                f"a dependency is asked for a provider, not a value of type {type_name(provider)}"
            )
        return self._providers.get(provider)

    def sub_target(self, name: str) -> Dependency:
        """The sub-target `name`, as `//label[name]` names it."""
        subs = self._providers[DEFAULT].__dict__["sub_targets"]
        if name not in subs:
            raise DialectError(
                f"{self.label} has no sub-target {name!r}",
                remedy=did_you_mean(name, subs) or f"it has {', '.join(sorted(subs)) or 'none'}",
            )
        label = Label(self.label.cell, self.label.package, self.label.name, (*self.label.sub_target, name))
        return Dependency(label, sort_out(subs[name], str(label)))

    def __str__(self) -> str:
        return f"<dependency {self.label}>"


class _Analysis:
    """Runs the rules, dependencies first, and gathers the plan."""

    def __init__(self, loader: Loader, kept: Analyses | None) -> None:
        self.loader = loader
        self.kept = kept
        self.declared: dict[Label, Declared] = {}
        self.providers: dict[Label, dict[Provider, Instance]] = {}
        self.toolchains: dict[str, Toolchain] = {}
        self.actions: list[Action] = []
        self.places: dict[str, str] = {}
        self.sharing = Sharing()
        self.now: Declared  # the target whose rule runs

    def plan(self, ordered: Sequence[Declared], requested: Sequence[Label]) -> Plan:
        targets: dict[str, Target] = {}
        if self.kept is not None:
            self.kept.expect(ordered)
        try:
            for declared in ordered:
                self.declared[declared.label] = declared
                self.places[str(declared.label)] = declared.place
                made = self._made(declared)
                self.actions.extend(made.actions)
                if len(ordered) > SHARING:
                    self.sharing.target(made.target)
                    for action in made.actions:
                        self.sharing.action(action)
                if made.toolchain is not None:
                    self.toolchains[made.toolchain.label] = made.toolchain
                targets[str(declared.label)] = made.target
        finally:
            if self.kept is not None:
                self.kept.flush()
        self._check_apart()
        for label in map(str, requested):
            for test in targets[label].tests:
                if targets[label].rule == "test_suite" and not _is_tested(targets[test]):
                    raise UsageError(
                        f"{label} lists {test}, and a {targets[test].rule} is no test",
                        where=targets[label].place,
                        remedy="list tests and other suites only",
                    )
        return Plan(
            targets, tuple(self.actions), dict(sorted(self.toolchains.items())), tuple(map(str, requested))
        )

    def _check_apart(self) -> None:
        """A rule keeps a target's outputs apart; two targets can still meet: a:b with the output c__/x, and
        a:b__/c with the output x."""
        owner = {path: action.owner for action in reversed(self.actions) for path in action.outputs}
        for action in self.actions:
            for path in action.outputs:
                at = path
                while owner.get(at, action.owner) == action.owner and "/" in at:
                    at = at.rpartition("/")[0]
                other = owner.get(at, action.owner)
                if other != action.owner:
                    raise UsageError(
                        f"{action.owner} and {other} both make {path}",
                        where=self.places[action.owner],
                        remedy="rename one of these targets, or its output",
                    )

    def _at(self, error: Exception, declared: Declared) -> FairleadError:
        """The error with the target's place: the rule's own line says what, the BUCK file says where."""
        known = isinstance(error, FairleadError | RecursionError | MemoryError)
        found = translate(error)
        if not known and not found.where:
            raise error  # of ours, not the project's: a bug, to be seen as one
        of = f"{declared.label} ({declared.rule._name})"
        if str(declared.label) not in found.what:
            found.what = f"{of}: {found.what}"
        if declared.place not in found.where:
            found.where = f"{found.where}, for {declared.place}" if found.where else declared.place
        return found

    def _made(self, declared: Declared) -> Made:
        """What the target's rule comes to, or has come to before."""
        found = None if self.kept is None else self.kept.find(declared)
        if found is not None:
            return found
        for lower in self._untold(declared):
            self._run_rule(lower)  # it did not fail before: all that it is made of is the same
        told = self.loader.printed
        made = self._run_rule(declared)
        if self.kept is not None and self.loader.printed == told:
            self.kept.keep(declared, made)
        return made

    def _untold(self, declared: Declared) -> list[Declared]:
        """What the target depends on whose rules have not run here, each after what it depends on itself."""
        found: dict[Label, Declared] = {}
        if all(ref.label.raw_target() in self.providers for ref in declared.deps()):
            return []
        stack = [declared]
        while stack:
            target = stack[-1]
            below = [ref.label.raw_target() for ref in target.deps()]
            waiting = [label for label in below if label not in self.providers and label not in found]
            if waiting:
                stack.extend(self.declared[label] for label in waiting)
                continue
            stack.pop()
            if target is not declared:
                found[target.label] = target
        return list(found.values())

    def _run_rule(self, declared: Declared) -> Made:
        self.now = declared
        try:
            return self._target(declared)
        except Exception as error:
            raise self._at(error, declared) from None

    def _target(self, declared: Declared) -> Made:
        label = declared.label
        attrs = Struct({name: resolve(value, self) for name, value in declared.attrs.items()})
        actions = Actions(label, self.loader.config.cells.path(label.cell, label.package))
        returned = declared.rule._impl(Context(label, attrs, actions))
        found = self.providers[label] = sort_out(returned, f"the rule {declared.rule._name}")
        freeze({"providers": [*found.values()]})  # who depends on this target may not change what it said
        ordered = actions._finish()
        module = self.loader.module(declared.rule._module)
        run, run_inputs = self._run(found)
        tests = tuple(map(str, _stands_for(declared)))
        test = None if tests else self._test(found)  # a test that is handed on is run once, as what it is
        used = {name for action in ordered for name in action.toolchains}
        target = Target(
            label=str(label),
            rule=declared.rule._name,
            rule_bzl=module.closure,
            attrs={name: to_json(value) for name, value in declared.attrs.items()},
            sources=tuple(declared.sources()),
            deps=tuple(sorted(str(ref.label.raw_target()) for ref in declared.deps())),
            toolchains=tuple(sorted(used.union(test.toolchains if test is not None else ()))),
            config=dict(sorted(module.config.items())),
            default_outputs=tuple(a._path for a in found[DEFAULT].__dict__["default_outputs"]),
            run=run,
            run_inputs=run_inputs,
            test=test,
            place=declared.place,
            other_outputs=tuple(
                a._path for a in found[DEFAULT].__dict__["other_outputs"] if isinstance(a, BuildArtifact)
            ),
            tests=tests,
        )
        return Made(target, ordered, actions._toolchain)

    def _run(self, found: dict[Provider, Instance]) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
        if RUN not in found:
            return None, ()
        met = Found()
        argv = command(found[RUN].__dict__["args"], met)
        return (argv or None), tuple(sorted(artifact._path for artifact in met.inputs))

    def _test(self, found: dict[Provider, Instance]) -> TestSpec | None:
        if TEST not in found:
            return None
        info, met = found[TEST].__dict__, Found()
        argv = command(info["command"], met)
        env = environment(info["env"], met)
        program = argv[0].removeprefix("./") if argv else ""
        if program in met.sources and self.loader.tree.mode(program) != "100755":
            raise DialectError(f"{program} is run, but is not executable", remedy=f"chmod +x {program}")
        timeout = TIMEOUT if info["timeout_seconds"] is None else info["timeout_seconds"]
        if type(timeout) is not int or timeout <= 0:
            raise DialectError(
                f"{text_of(timeout)} is no number of seconds for a test", remedy="give 1 or more"
            )
        labels = info["labels"] or ()
        if not isinstance(labels, list | tuple) or not all(isinstance(word, str) for word in labels):
            raise DialectError("the labels of a test are a list of texts")
        if info["recorded"] not in (None, False, True):
            raise DialectError("`recorded` of a test is True or False")
        shards = 0 if info["shards"] is None else info["shards"]
        if type(shards) is not int or not 0 <= shards <= _MOST_SHARDS:
            raise DialectError(
                f"{text_of(shards)} is no number of parts of a test", remedy=f"give 0 to {_MOST_SHARDS}"
            )
        return TestSpec(
            argv=argv,
            env=env,
            sources=tuple(sorted(met.sources)),
            inputs=tuple(sorted(artifact._path for artifact in met.inputs)),
            toolchains=tuple(sorted(met.toolchains)),
            timeout=timeout,
            labels=tuple(map(check_text, labels)),
            recorded=info["recorded"] is True,
            shards=shards,
        )

    # Resolver: what references in attributes lead to ------------------------------------------------------

    def dependency(self, ref: DepRef) -> Dependency:
        target = self.declared[ref.label.raw_target()]
        self._check_visible(target)
        made = Dependency(target.label, self.providers[target.label])
        for sub in ref.label.sub_target:
            made = made.sub_target(sub)
        for provider in ref.providers:
            if provider not in made:
                raise DialectError(
                    f"{self.now.label} needs a dependency with {provider}, and {made.label} "
                    f"({target.rule._name}) has none",
                    remedy=f"depend on a target that has {provider}",
                )
        return made

    def outputs(self, ref: DepRef) -> list[Artifact]:
        found = self.dependency(ref)[DEFAULT].__dict__["default_outputs"]
        return list(found)

    def _check_visible(self, target: Declared) -> None:
        label = self.now.label
        if (target.label.cell, target.label.package) == (label.cell, label.package):
            return
        if not self._allowed(target.visibility, target.label, label):
            raise DialectError(
                f"{target.label} is not visible to {label}",
                remedy=f'add visibility = ["//{label.package}:"] to {target.label} at {target.place}',
            )
        if self.now.within_view is not None and not self._allowed(self.now.within_view, label, target.label):
            raise DialectError(
                f"{target.label} is not within view of {label}",
                remedy=f"add it to within_view of {label} at {self.now.place}",
            )

    def _allowed(self, patterns: Iterable[str], owner: Label, other: Label) -> bool:
        cells = self.loader.config.cells
        return any(
            text == "PUBLIC" or parse_pattern(text, owner.cell, owner.package, cells).matches(other)
            for text in patterns
        )
