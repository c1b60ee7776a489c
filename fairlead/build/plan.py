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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from fairlead.errors import UsageError

__all__ = ["GEN", "JSON", "Action", "Plan", "Target", "TestSpec", "Toolchain", "toolchain_file"]

JSON: TypeAlias = bool | int | str | list["JSON"] | dict[str, "JSON"] | None

SCHEMA = "fairlead.plan/1"
GEN = "fairlead-out/gen"
"""The folder, relative to the project root, under which every output of an action lies."""

ActionKind: TypeAlias = Literal["run", "write", "copy", "link_tree"]
KINDS: tuple[str, ...] = ("run", "write", "copy", "link_tree")

_LABEL = re.compile(r"[A-Za-z0-9_.-]*//[^:\s\0]*:[^:\s\0]+")
_TOOLCHAIN = re.compile(r"\{toolchain:([^{}\s]+)\}")


def toolchain_file(label: str, path: str) -> str:
    """The text by which an argument names the file `path` inside the environment of toolchain `label`."""
    return f"{{toolchain:{label}}}/{path}"


def toolchains_named(text: str) -> list[str]:
    """The labels of the toolchains that an argument names."""
    return _TOOLCHAIN.findall(text)


@dataclass(frozen=True)
class Action:
    """One step that makes outputs from inputs.

    kind "run": run `argv` with `env` in the project root. "write": make the one output from `content`
    (UTF-8). "copy": `entries` has one item, "" -> source; the output is a copy of that file or folder.
    "link_tree": the one output is a folder; each of `entries` is a path inside it -> the file or folder that
    stands there. Copies and link trees hold regular files, so who reads the folder needs nothing else.

    `executable` sets the x bit of a written file; copies and link trees keep the source's own.
    `sources` are files of the repository that the action may read; `inputs` are outputs of other actions,
    named as those actions name them in `outputs`. Nothing else may be read.
    """

    owner: str
    category: str
    identifier: str
    kind: ActionKind
    outputs: tuple[str, ...]
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    content: str | None = None
    executable: bool = False
    entries: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    directories: frozenset[str] = frozenset()
    toolchains: tuple[str, ...] = ()

    def to_json(self) -> dict[str, JSON]:
        return {
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


@dataclass(frozen=True)
class Toolchain:
    """A Python environment: `lock` is the repository path of a hash-locked requirements file, `interpreter`
    the command that makes the environment ("python3.11"), or "" for the interpreter that runs Fairlead."""

    label: str
    interpreter: str
    lock: str

    def to_json(self) -> dict[str, JSON]:
        return {"label": self.label, "interpreter": self.interpreter, "lock": self.lock}


@dataclass(frozen=True)
class TestSpec:
    """How a target is tested: run `argv` in the project root; exit code 0 is a pass. `timeout` is in seconds.
    `sources`, `inputs` and `toolchains` are all that the test may see, as in `Action`."""

    __test__ = False  # the name begins with "Test", but it is no test class

    argv: tuple[str, ...]
    env: Mapping[str, str]
    sources: tuple[str, ...]
    inputs: tuple[str, ...]
    toolchains: tuple[str, ...]
    timeout: int
    labels: tuple[str, ...] = ()

    def to_json(self) -> dict[str, JSON]:
        return {
            "argv": list(self.argv),
            "env": dict(self.env),
            "sources": list(self.sources),
            "inputs": list(self.inputs),
            "toolchains": list(self.toolchains),
            "timeout": self.timeout,
            "labels": list(self.labels),
        }


@dataclass(frozen=True)
class Target:
    """One target after its rule ran.

    `rule_bzl` are the .bzl files that define the rule, with all that they load, sorted; files of the bundled
    prelude are named `prelude//x.bzl`. `attrs` are the resolved attributes. `sources` are the repository files
    that the attributes name, `deps` the labels they name (toolchains among them). `environment` and `config`
    are what the rule declared to read from outside: config items are "section.key" -> value.
    `default_outputs` are what `build` shows; `run` is the command of `fairlead run`, `run_inputs` the outputs
    that it needs.
    `place` is where the target is declared, "file:line", for messages; it is no part of any key.
    """

    label: str
    rule: str
    rule_bzl: tuple[str, ...]
    attrs: Mapping[str, JSON]
    sources: tuple[str, ...] = ()
    deps: tuple[str, ...] = ()
    toolchains: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    default_outputs: tuple[str, ...] = ()
    run: tuple[str, ...] | None = None
    run_inputs: tuple[str, ...] = ()
    test: TestSpec | None = None
    place: str = ""

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
        }


@dataclass(frozen=True)
class Plan:
    """Targets by label with everything they need, in an order where dependencies come first; so do actions.
    `requested` are the labels that the patterns named, sorted."""

    targets: Mapping[str, Target]
    actions: tuple[Action, ...]
    toolchains: Mapping[str, Toolchain]
    requested: tuple[str, ...] = ()

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
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise _refuse("document", f"is not JSON ({error})") from None
        return cls.from_json(document)

    @classmethod
    def from_json(cls, document: object) -> Plan:
        """Read a plan from untrusted data: each field has its type, each path stays in the project, each
        reference has its object, no output is made twice, and nothing waits for itself."""
        top = _Reader("plan", document)
        if top.text("schema") != SCHEMA:
            raise _refuse("schema", f"is not {SCHEMA}")
        targets = {t.label: t for t in (_target(r) for r in top.items("targets"))}
        toolchains = {t.label: t for t in (_toolchain(r) for r in top.items("toolchains"))}
        actions = tuple(_action(r) for r in top.items("actions"))
        plan = cls(targets, actions, toolchains, top.texts("requested"))
        _check(plan)
        return plan


# Reading untrusted data ---------------------------------------------------------------------------------


def _refuse(field_name: str, problem: str) -> UsageError:
    return UsageError(
        f"the evaluated plan is not valid: {field_name} {problem}",
        remedy="evaluate again; if it stays, a BUCK or .bzl file is tampering with its evaluator",
    )


class _Reader:
    """One JSON object whose fields are taken out by type."""

    def __init__(self, where: str, value: object) -> None:
        if not isinstance(value, dict):
            raise _refuse(where, "is not an object")
        self.where = where
        self.value: dict[str, object] = value

    def _get(self, name: str) -> object:
        if name not in self.value:
            raise _refuse(f"{self.where}.{name}", "is missing")
        return self.value[name]

    def text(self, name: str) -> str:
        return _text(self._get(name), f"{self.where}.{name}")

    def flag(self, name: str) -> bool:
        value = self._get(name)
        if not isinstance(value, bool):
            raise _refuse(f"{self.where}.{name}", "is not true or false")
        return value

    def number(self, name: str) -> int:
        value = self._get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise _refuse(f"{self.where}.{name}", "is not a whole number")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._get(name)
        if not isinstance(value, list):
            raise _refuse(f"{self.where}.{name}", "is not a list")
        return tuple(_text(item, f"{self.where}.{name}") for item in value)

    def table(self, name: str) -> dict[str, str]:
        value = self._get(name)
        if not isinstance(value, dict):
            raise _refuse(f"{self.where}.{name}", "is not a table")
        where = f"{self.where}.{name}"
        return {_text(key, where): _text(item, where) for key, item in value.items()}

    def json(self, name: str) -> dict[str, JSON]:
        value = self._get(name)
        if not isinstance(value, dict):
            raise _refuse(f"{self.where}.{name}", "is not a table")
        _json(value, f"{self.where}.{name}")
        return value

    def items(self, name: str) -> Iterable[_Reader]:
        value = self._get(name)
        if not isinstance(value, list):
            raise _refuse(f"{self.where}.{name}", "is not a list")
        return [_Reader(f"{name}[{i}]", item) for i, item in enumerate(value)]

    def labels(self, name: str) -> tuple[str, ...]:
        found = self.texts(name)
        for label in found:
            _label(label, f"{self.where}.{name}")
        return found

    def paths(self, name: str, *, made: bool) -> tuple[str, ...]:
        found = self.texts(name)
        for path in found:
            _path(path, f"{self.where}.{name}", made=made)
        return found


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _refuse(where, "is not text")
    if "\0" in value:
        raise _refuse(where, "holds a NUL")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _refuse(where, "is not valid Unicode") from None
    return value


def _json(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _text(key, where)
            _json(item, where)
    elif isinstance(value, list):
        for item in value:
            _json(item, where)
    elif isinstance(value, str):
        _text(value, where)
    elif isinstance(value, float) or not isinstance(value, int | bool | None):
        raise _refuse(where, "holds a value that is no text, number, list or table")


def _label(value: str, where: str) -> str:
    if not _LABEL.fullmatch(value):
        raise _refuse(where, f"{value!r} is no label")
    return value


def _path(value: str, where: str, *, made: bool | None) -> str:
    parts = value.split("/")
    if value.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise _refuse(where, f"{value!r} is no path inside the project")
    if made is True and not value.startswith(GEN + "/"):
        raise _refuse(where, f"{value!r} is not under {GEN}")
    if made is False and parts[0] in (".git", "fairlead-out"):
        raise _refuse(where, f"{value!r} is no source file")
    return value


def _action(reader: _Reader) -> Action:
    kind = reader.text("kind")
    if kind not in KINDS:
        raise _refuse(f"{reader.where}.kind", f"{kind!r} is unknown")
    content = reader.value.get("content")
    action = Action(
        owner=reader.text("owner"),
        category=reader.text("category"),
        identifier=reader.text("identifier"),
        kind=kind,  # type: ignore[arg-type]  # checked above
        outputs=reader.paths("outputs", made=True),
        argv=reader.texts("argv"),
        env=reader.table("env"),
        content=None if content is None else _text(content, f"{reader.where}.content"),
        executable=reader.flag("executable"),
        entries=reader.table("entries"),
        sources=reader.paths("sources", made=False),
        inputs=reader.paths("inputs", made=True),
        directories=frozenset(reader.texts("directories")),
        toolchains=reader.labels("toolchains"),
    )
    if not action.outputs:
        raise _refuse(f"{reader.where}.outputs", "is empty")
    if not action.directories <= set(action.outputs):
        raise _refuse(f"{reader.where}.directories", "names something that is no output")
    if kind == "run" and not action.argv:
        raise _refuse(f"{reader.where}.argv", "is empty")
    if kind != "run" and len(action.outputs) != 1:
        raise _refuse(f"{reader.where}.outputs", f"has {len(action.outputs)} items for a {kind!r} action")
    if (kind == "write") != (action.content is not None):
        raise _refuse(f"{reader.where}.content", f"does not fit a {kind!r} action")
    if kind == "link_tree" and not action.directories:
        raise _refuse(f"{reader.where}.directories", "does not name the link tree")
    if kind == "copy" and list(action.entries) != [""]:
        raise _refuse(f"{reader.where}.entries", "does not name the one file to copy")
    for place, source in action.entries.items():
        if kind == "link_tree":
            _path(place, f"{reader.where}.entries", made=None)
        _path(source, f"{reader.where}.entries", made=None)
        if source not in action.sources and not any(_within(source, made) for made in action.inputs):
            raise _refuse(f"{reader.where}.entries", f"{source!r} is no declared input")
    for place in action.entries:
        inside = next((folder for folder in _folders(place) if folder in action.entries), None)
        if inside is not None:
            raise _refuse(f"{reader.where}.entries", f"{place!r} lies inside {inside!r}")
    _check_names(reader.where, action.argv, action.env, action.toolchains)
    return action


def _toolchain(reader: _Reader) -> Toolchain:
    return Toolchain(
        _label(reader.text("label"), reader.where),
        reader.text("interpreter"),
        _path(reader.text("lock"), f"{reader.where}.lock", made=False),
    )


def _target(reader: _Reader) -> Target:
    test, run = reader.value.get("test"), reader.value.get("run")
    return Target(
        label=_label(reader.text("label"), reader.where),
        rule=reader.text("rule"),
        rule_bzl=reader.texts("rule_bzl"),
        attrs=reader.json("attrs"),
        sources=reader.paths("sources", made=False),
        deps=reader.labels("deps"),
        toolchains=reader.labels("toolchains"),
        environment=reader.table("environment"),
        config=reader.table("config"),
        default_outputs=reader.texts("default_outputs"),
        run=None if run is None else reader.texts("run"),
        run_inputs=reader.paths("run_inputs", made=True),
        test=None if test is None else _test(_Reader(f"{reader.where}.test", test)),
        place=reader.text("place"),
    )


def _test(reader: _Reader) -> TestSpec:
    test = TestSpec(
        argv=reader.texts("argv"),
        env=reader.table("env"),
        sources=reader.paths("sources", made=False),
        inputs=reader.paths("inputs", made=True),
        toolchains=reader.labels("toolchains"),
        timeout=reader.number("timeout"),
        labels=reader.texts("labels"),
    )
    if not test.argv or test.timeout <= 0:
        raise _refuse(reader.where, "has no command or no time")
    _check_names(reader.where, test.argv, test.env, test.toolchains)
    return test


def _check_names(where: str, argv: Iterable[str], env: Mapping[str, str], toolchains: Iterable[str]) -> None:
    known = set(toolchains)
    for text in (*argv, *env.values()):
        for name in toolchains_named(text):
            if name not in known:
                raise _refuse(where, f"names the toolchain {name!r} without declaring it")
    for name in env:
        if not name or "=" in name:
            raise _refuse(where, f"{name!r} is no name of an environment variable")


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _check(plan: Plan) -> None:
    """The references between the parts of a plan."""
    made: dict[str, int] = {}
    for number, action in enumerate(plan.actions):
        if action.owner not in plan.targets:
            raise _refuse(f"actions[{number}].owner", f"{action.owner!r} is no target")
        for path in action.outputs:
            if path in made:
                raise _refuse(f"actions[{number}].outputs", f"{path!r} is made twice")
            made[path] = number
    for path in made:
        inside = next((folder for folder in _folders(path) if folder in made), None)
        if inside is not None:
            raise _refuse("actions", f"{path!r} lies inside the output {inside!r}")
    for number, action in enumerate(plan.actions):
        for path in action.inputs:
            # Actions come in an order where what they read is made before: so none waits for itself.
            if made.get(path, number) >= number:
                raise _refuse(f"actions[{number}].inputs", f"{path!r} is not made by an earlier action")
        _check_toolchains(plan, f"actions[{number}]", action.toolchains)
    seen: set[str] = set()
    for label, target in plan.targets.items():
        for dep in target.deps:
            if dep not in seen:
                raise _refuse(f"target {label}", f"comes before its dependency {dep}")
        seen.add(label)
        _check_toolchains(plan, f"target {label}", target.toolchains)
        for path in target.default_outputs:
            if path not in target.sources and not any(p in made for p in (path, *_folders(path))):
                raise _refuse(f"target {label}", f"offers {path!r}, which no action makes")
        for path in target.run_inputs:
            if path not in made:
                raise _refuse(f"target {label}", f"runs with {path!r}, which no action makes")
        if target.test is not None:
            _check_toolchains(plan, f"target {label}", target.test.toolchains)
            for path in target.test.inputs:
                if path not in made:
                    raise _refuse(f"target {label}", f"tests with {path!r}, which no action makes")
    for label in plan.requested:
        if label not in plan.targets:
            raise _refuse("requested", f"{label!r} is no target")


def _folders(path: str) -> Iterator[str]:
    """The folders that `path` lies in, nearest first."""
    while path := path.rpartition("/")[0]:
        yield path


def _check_toolchains(plan: Plan, where: str, labels: Iterable[str]) -> None:
    for label in labels:
        if label not in plan.toolchains:
            raise _refuse(where, f"{label!r} is no toolchain of the plan")
