"""What evaluation hands to execution: targets, actions and toolchains as plain values.

A plan is all that leaves the evaluator. It holds strings, numbers and tables only, so it can cross a process
border as JSON: a worker evaluates a submitted commit in a child without rights and reads the plan back as
*untrusted data* (`Plan.from_json` checks every field and every reference). The engine never sees a rule, a
function or a file of the project, only this.

Paths are relative to the project root, with `/`, and never leave it. What actions make lies under
`fairlead-out/gen/<package>/__<name>__/`. An argument names a file of a toolchain as
`{toolchain://:python}/bin/python`: the engine alone knows where the environment is.

Rejected: pickled targets (they run code when read) and actions that name absolute paths (no two machines
would share a key).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias

__all__ = ["GEN", "JSON", "Action", "Plan", "Target", "TestSpec", "Toolchain", "toolchain_file"]

JSON: TypeAlias = bool | int | str | list["JSON"] | dict[str, "JSON"] | None

SCHEMA = "fairlead.plan/1"
GEN = "fairlead-out/gen"
"""The folder, relative to the project root, under which every output of an action lies."""

PATH = 2048
"""The longest path in a plan, in characters: Linux takes 4096 bytes, with the project's place before it."""

ActionKind: TypeAlias = Literal["run", "write", "copy", "link_tree", "download"]
KINDS: tuple[str, ...] = ("run", "write", "copy", "link_tree", "download")

NESTING = 100
"""How deep the lists and tables of an attribute may lie in each other: what handles them calls itself."""

_TOOLCHAIN = re.compile(r"\{toolchain:([^{}\s]+)\}")


def toolchain_file(label: str, path: str) -> str:
    """The text by which an argument names the file `path` inside the environment of toolchain `label`."""
    return f"{{toolchain:{label}}}/{path}"


def toolchains_named(text: str) -> list[str]:
    """The labels of the toolchains that an argument names."""
    return _TOOLCHAIN.findall(text) if "{toolchain:" in text else []


_EMPTY: Mapping[str, str] = {}


def _nothing() -> Mapping[str, str]:
    """The one empty table of all targets and actions without a table: nobody writes into one."""
    return _EMPTY


@dataclass(frozen=True, slots=True)
class Action:
    """One step that makes outputs from inputs.

    kind "run": run `argv` with `env` in the project root. "write": make the one output from `content`
    (UTF-8). "copy": `entries` has one item, "" -> source; the output is a copy of that file or folder.
    "link_tree": the one output is a folder; each of `entries` is a path inside it -> the file or folder that
    stands there. "download": the one output is the file with the digest `sha256`, which is at each of `urls`;
    the engine fetches it, no program of the project does. Copies and link trees hold regular files, so who
    reads the folder needs nothing else.

    `dep_file` is one of the outputs or "": it says which of `judged`, some of the sources and inputs, the
    command read. A change of the others alone is then no reason to run it again.

    `executable` sets the x bit of a written or downloaded file; copies and link trees keep the source's own.
    `sources` are files of the repository that the action may read; `inputs` are outputs of other actions,
    named as those actions name them in `outputs`. Nothing else may be read.
    """

    owner: str
    category: str
    identifier: str
    kind: ActionKind
    outputs: tuple[str, ...]
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=_nothing)
    content: str | None = None
    executable: bool = False
    entries: Mapping[str, str] = field(default_factory=_nothing)
    sources: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    toolchains: tuple[str, ...] = ()
    dep_file: str = ""
    judged: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    sha256: str = ""

    def to_json(self) -> dict[str, JSON]:
        # Fields that came later are left out where they say nothing, so that keys stay what they were.
        later: dict[str, JSON] = {"dep_file": self.dep_file, "judged": list(self.judged)}
        fetched: dict[str, JSON] = {"urls": list(self.urls), "sha256": self.sha256}
        return {
            **(later if self.dep_file else {}),
            **(fetched if self.urls else {}),
            "owner": self.owner,
            "category": self.category,
            "identifier": self.identifier,
            "kind": self.kind,
            "outputs": list(self.outputs),
            "argv": list(self.argv),
            "env": dict(self.env),
            "content": self.content,
            "executable": self.executable,
            "entries": dict(self.entries),
            "sources": list(self.sources),
            "inputs": list(self.inputs),
            "directories": list[JSON](sorted(self.directories)),
            "toolchains": list(self.toolchains),
        }


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A Python environment: `lock` is the repository path of a hash-locked requirements file, `interpreter`
    the command that makes the environment ("python3.11"), or "" for the interpreter that runs Fairlead."""

    label: str
    interpreter: str
    lock: str

    def to_json(self) -> dict[str, JSON]:
        return {"label": self.label, "interpreter": self.interpreter, "lock": self.lock}


@dataclass(frozen=True, slots=True)
class TestSpec:
    """How a target is tested: run `argv` in the project root; exit code 0 is a pass. `timeout` is in seconds.
    `sources`, `inputs` and `toolchains` are all that the test may see, as in `Action`. Of a `recorded` one
    the sources are what it is expected to need; where what it asks can be heard, it sees the whole project.
    One of pytest runs in `shards` parts, if that is more than 1.
    """

    __test__ = False  # the name begins with "Test", but it is no test class

    argv: tuple[str, ...]
    env: Mapping[str, str]
    sources: tuple[str, ...]
    inputs: tuple[str, ...]
    toolchains: tuple[str, ...]
    timeout: int
    labels: tuple[str, ...] = ()
    recorded: bool = False
    shards: int = 0

    def to_json(self) -> dict[str, JSON]:
        return {
            **({"recorded": True} if self.recorded else {}),  # it came later, as in Action
            **({"shards": self.shards} if self.shards else {}),
            "argv": list(self.argv),
            "env": dict(self.env),
            "sources": list(self.sources),
            "inputs": list(self.inputs),
            "toolchains": list(self.toolchains),
            "timeout": self.timeout,
            "labels": list(self.labels),
        }


@dataclass(frozen=True, slots=True)
class Target:
    """One target after its rule ran.

    `rule_bzl` are the .bzl files that define the rule, with all that they load, sorted; files of the bundled
    prelude are named `prelude//x.bzl`. `attrs` are the resolved attributes. `sources` are the repository
    files that the attributes name, `deps` the labels they name (toolchains among them). `environment` and
    `config` are what the rule declared to read from outside: config items are "section.key" -> value.
    `default_outputs` are what `build` shows, `other_outputs` what it makes beside them; `run` is the command
    of `fairlead run`, `run_inputs` the outputs that it needs. `tests` are the tests that the target stands
    for: those of a suite, or the one that an alias leads to; they are in the plan if this one was requested.
    `place` is where the target is declared, "file:line", for messages; it is no part
    of any key.
    """

    label: str
    rule: str
    rule_bzl: tuple[str, ...]
    attrs: Mapping[str, JSON]
    sources: tuple[str, ...] = ()
    deps: tuple[str, ...] = ()
    toolchains: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=_nothing)
    config: Mapping[str, str] = field(default_factory=_nothing)
    default_outputs: tuple[str, ...] = ()
    run: tuple[str, ...] | None = None
    run_inputs: tuple[str, ...] = ()
    test: TestSpec | None = None
    place: str = ""
    other_outputs: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()

    def to_json(self) -> dict[str, JSON]:
        return {
            "label": self.label,
            "rule": self.rule,
            "rule_bzl": list(self.rule_bzl),
            "attrs": dict(self.attrs),
            "sources": list(self.sources),
            "deps": list(self.deps),
            "toolchains": list(self.toolchains),
            "environment": dict(self.environment),
            "config": dict(self.config),
            "default_outputs": list(self.default_outputs),
            "run": None if self.run is None else list(self.run),
            "run_inputs": list(self.run_inputs),
            "test": None if self.test is None else self.test.to_json(),
            "place": self.place,
            "other_outputs": list(self.other_outputs),
            "tests": list(self.tests),
        }


def programs_of(actions: Iterable[Action]) -> list[str]:
    """The names of system programs that some actions start; those of other rules are not known by name."""
    return sorted({a.argv[0] for a in actions if a.category.startswith("cxx_") and a.argv})


@dataclass(frozen=True)
class Plan:
    """Targets by label with everything they need, in an order where dependencies come first; so do actions.
    `requested` are the labels that the patterns named, sorted."""

    targets: Mapping[str, Target]
    actions: tuple[Action, ...]
    toolchains: Mapping[str, Toolchain]
    requested: tuple[str, ...] = ()

    @cached_property
    def toolchains_behind(self) -> Mapping[str, frozenset[str]]:
        """For each target the toolchains that it, or anything that it depends on, runs programs of."""
        found: dict[str, frozenset[str]] = {}
        for label, target in self.targets.items():
            below = {found.get(dep, frozenset()) for dep in target.deps}
            below.add(frozenset(target.toolchains))
            widest = max(below, key=len)
            found[label] = widest if all(one <= widest for one in below) else frozenset().union(*below)
        return found

    @cached_property
    def programs(self) -> frozenset[str]:
        """The programs of the system that its C and C++ actions start, by the name they are called by."""
        return frozenset(programs_of(self.actions))

    def to_json(self) -> dict[str, JSON]:
        return {
            "schema": SCHEMA,
            "targets": [target.to_json() for target in self.targets.values()],
            "actions": [action.to_json() for action in self.actions],
            "toolchains": [toolchain.to_json() for toolchain in self.toolchains.values()],
            "requested": list(self.requested),
        }

    def encode(self) -> bytes:
        """The canonical bytes: equal plans have equal bytes."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def decode(cls, data: bytes) -> Plan:
        """Read `encode`'s bytes as untrusted data."""
        from fairlead.build.plan_reader import parse

        return cls.from_json(parse(data))

    @classmethod
    def from_json(cls, document: object) -> Plan:
        """Read a plan from untrusted data: each field has its type, each path stays in the project, each
        reference has its object, no output is made twice, and nothing waits for itself."""
        from fairlead.build.plan_reader import read

        return read(document)
