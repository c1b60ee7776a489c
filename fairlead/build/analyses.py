"""What rules came to, kept: a rule runs again only if its target, or one below it, is declared otherwise.

A rule is a function of its target's attributes and of what its dependencies tell, and it reads no file. So
what it came to is known by a key made of the target as it is declared, the .bzl files and settings behind its
rule, and the keys of its dependencies. What a rule tells its dependants holds functions and links between
values, and is not kept: where a rule must run, those below it run again too, for their answers alone.

Kept by package, the last state of each target, as data that is read back only if its bytes have the digest
that they were kept under. A rule that prints is run each time.

Rejected: keeping what rules tell (values of every kind, and quadratic where a target tells of all below it).
"""

from __future__ import annotations

import hashlib
import marshal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.build.label import Label
from fairlead.build.loader import Loader
from fairlead.build.packages import DAMAGED
from fairlead.build.plan import Action, Target, TestSpec, Toolchain
from fairlead.build.plans import maker, program, taker
from fairlead.build.rule import Declared
from fairlead.errors import FairleadError, MachineryError
from fairlead.store import Store, digest

NAMESPACE = "analysis"
_DIGEST = 32  # bytes of a SHA-256
_PLAIN = 2  # the version of marshal that writes equal values as equal bytes


@dataclass(frozen=True)
class Made:
    """What a rule came to: the target, its actions, and the toolchain that it is."""

    target: Target
    actions: Sequence[Action]
    toolchain: Toolchain | None


class Analyses:
    """The kept results of rules, for the targets of one evaluation."""

    def __init__(self, store: Store, loader: Loader) -> None:
        self._results = store.results
        self._loader = loader
        self._start = f"{program()} {loader.layout}".encode()
        self._keys: dict[Label, bytes | None] = {}
        self._modules: dict[str, bytes] = {}
        self._rows: dict[tuple[str, str], dict[str, Any]] = {}
        self._changed: set[tuple[str, str]] = set()
        self._takers = (taker(Target), taker(TestSpec), taker(Action), taker(Toolchain))
        self._makers = (maker(Target), maker(TestSpec), maker(Action), maker(Toolchain))

    def expect(self, targets: Iterable[Declared]) -> None:
        """These will be asked for, in this order: read what is known of their packages."""
        packages = dict.fromkeys((target.label.cell, target.label.package) for target in targets)
        names = {package: self._name(package) for package in packages}
        found = self._results.get_many(NAMESPACE, names.values())
        for package, name in names.items():
            self._rows[package] = _read(found.get(name))

    def find(self, target: Declared) -> Made | None:
        """What the target's rule came to, if that is known. Dependencies are to be asked for before."""
        key = self._keys[target.label] = self._key(target)
        row = self._rows[target.label.cell, target.label.package].get(target.label.name)
        if key is None or row is None:
            return None
        try:
            if row[0] != key:
                return None
            made = self._made(*row[1:])
        except DAMAGED:
            return None
        return made if self._can_run(made.target) else None

    def keep(self, declared: Declared, made: Made) -> None:
        """Keep what a rule came to; nothing is written before `flush`."""
        key = self._keys.get(declared.label)
        if key is None:
            return
        package = declared.label.cell, declared.label.package
        test = made.target.test
        take_target, take_test, take_action, take_toolchain = self._takers
        self._rows[package][declared.label.name] = (
            key,
            take_target(made.target),
            None if test is None else take_test(test),
            [take_action(action) for action in made.actions],
            None if made.toolchain is None else take_toolchain(made.toolchain),
        )
        self._changed.add(package)

    def flush(self) -> None:
        """Write what was kept, in one transaction; of targets that are no more nothing is kept."""
        rows: dict[str, bytes] = {}
        for package in self._changed:
            loaded = self._loader.package(*package)
            known = () if loaded is None else loaded.targets
            data = marshal.dumps({name: row for name, row in self._rows[package].items() if name in known})
            rows[self._name(package)] = hashlib.sha256(data).digest() + data
        self._changed.clear()
        self._results.put_many(NAMESPACE, rows)

    def _name(self, package: tuple[str, str]) -> str:
        return digest.of_bytes(f"{program()} {package!r}".encode())

    def _key(self, target: Declared) -> bytes | None:
        """The key; None for a target that cannot be told as data, and all that depends on it."""
        row = self._loader.row(target)
        below = [self._keys.get(ref.label.raw_target()) for ref in target.deps()]
        if row is None or None in below:
            return None
        state = hashlib.sha256(self._start)
        state.update(self._module(target.rule._module))
        state.update(hashlib.sha256(marshal.dumps(row, _PLAIN)).digest())
        for key in below:
            state.update(key or b"")
        return state.digest()

    def _module(self, path: str) -> bytes:
        """What a rule's file is made of and has read."""
        if path not in self._modules:
            module = self._loader.module(path)
            asked = module.asked
            told = (module.closure, sorted(asked.modules.items()), sorted(asked.settings.items()))
            self._modules[path] = hashlib.sha256(repr(told).encode()).digest()
        return self._modules[path]

    def _made(self, target: Any, test: Any, actions: Any, toolchain: Any) -> Made:
        make_target, make_test, make_action, make_toolchain = self._makers
        return Made(
            make_target(target) if test is None else make_target(target, test=make_test(test)),
            [make_action(action) for action in actions],
            None if toolchain is None else make_toolchain(toolchain),
        )

    def _can_run(self, target: Target) -> bool:
        """Whether a test's program can be run: the one thing that is looked at when a rule has run."""
        test = target.test
        if test is None or test.argv[0].removeprefix("./") not in test.sources:
            return True
        try:
            return self._loader.tree.mode(test.argv[0].removeprefix("./")) == "100755"
        except FairleadError:
            return False


def _read(row: bytes | None) -> dict[str, Any]:
    if row is None or hashlib.sha256(row[_DIGEST:]).digest() != row[:_DIGEST]:
        return {}
    try:
        found = marshal.loads(row[_DIGEST:])
    except (ValueError, EOFError, TypeError, MachineryError):
        return {}
    return found if isinstance(found, dict) else {}
