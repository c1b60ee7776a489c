"""Reading a plan as untrusted data.

A plan that comes out of a sandboxed evaluation may say anything: the code that made it may have taken its
process over. So each field has its type, each path stays in the project, each reference has its object, no
output is made twice, and nothing waits for itself; else the plan is refused as a whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fairlead.build.plan import (
    GEN,
    JSON,
    KINDS,
    NESTING,
    PATH,
    SCHEMA,
    Action,
    Plan,
    Target,
    TestSpec,
    Toolchain,
    toolchains_named,
)
from fairlead.errors import UsageError
from fairlead.store.digest import is_digest

_URL = re.compile(r"https?://[^\s\\\0]+", re.IGNORECASE)
_LABEL = re.compile(r"[A-Za-z0-9_.-]*//[^:\s\0]*:[^:\s\0]+")


def parse(data: bytes) -> object:
    """The JSON document in `data`."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _refuse("document", f"is not JSON ({error})") from None


def read(document: object) -> Plan:
    """The plan that a JSON document describes; `UsageError` if any part of it is not as it must be."""
    try:
        return _read(document)
    except RecursionError:
        raise _refuse("document", "is nested too deep") from None


def _read(document: object) -> Plan:
    top = _Reader("plan", document)
    if top.text("schema") != SCHEMA:
        raise _refuse("schema", f"is not {SCHEMA}")
    targets: dict[str, Target] = {}
    for target in map(_target, top.items("targets")):
        if target.label in targets:
            raise _refuse("targets", f"holds {target.label} twice")
        targets[target.label] = target
    toolchains = {toolchain.label: toolchain for toolchain in map(_toolchain, top.items("toolchains"))}
    actions = tuple(_action(r) for r in top.items("actions"))
    plan = Plan(targets, actions, toolchains, top.texts("requested"))
    _check(plan)
    return plan


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
        _json(value, f"{self.where}.{name}", NESTING + 1)  # and the table itself
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

    def paths(self, name: str, *, made: bool | None) -> tuple[str, ...]:
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


def _json(value: Any, where: str, depth: int) -> None:
    if not depth and isinstance(value, dict | list):
        raise _refuse(where, "is nested too deep")
    if isinstance(value, dict):
        for key, item in value.items():
            _text(key, where)
            _json(item, where, depth - 1)
    elif isinstance(value, list):
        for item in value:
            _json(item, where, depth - 1)
    elif isinstance(value, str):
        _text(value, where)
    elif isinstance(value, float) or not isinstance(value, int | bool | None):
        raise _refuse(where, "holds a value that is no text, number, list or table")


def _label(value: str, where: str) -> str:
    if not _LABEL.fullmatch(value):
        raise _refuse(where, f"{value!r} is no label")
    return value


def _path(value: str, where: str, *, made: bool | None) -> str:
    if len(value) > PATH:
        raise _refuse(where, f"{value[:80]!r}... is longer than a path may be")
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
    judging, fetching = "dep_file" in reader.value, "urls" in reader.value
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
        directories=tuple(sorted(set(reader.texts("directories")))),
        toolchains=reader.labels("toolchains"),
        dep_file=reader.text("dep_file") if judging else "",
        judged=reader.paths("judged", made=None) if judging else (),
        urls=reader.texts("urls") if fetching else (),
        sha256=reader.text("sha256") if fetching else "",
    )
    if (kind == "download") != bool(action.urls):
        raise _refuse(f"{reader.where}.urls", f"does not fit a {kind!r} action")
    if not all(len(url) <= PATH and _URL.fullmatch(url) for url in action.urls):
        raise _refuse(f"{reader.where}.urls", "names something that is no address of the web")
    if fetching and (not is_digest(action.sha256) or action.directories):
        raise _refuse(f"{reader.where}.sha256", "is not the digest of one file")
    if judging and (
        kind != "run" or action.dep_file not in set(action.outputs).difference(action.directories)
    ):
        raise _refuse(f"{reader.where}.dep_file", f"{action.dep_file!r} is no file that the command makes")
    if not set(action.judged) <= {*action.sources, *action.inputs}:
        raise _refuse(f"{reader.where}.judged", "names something that is not read")
    if not action.outputs:
        raise _refuse(f"{reader.where}.outputs", "is empty")
    if not set(action.directories) <= set(action.outputs):
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
        default_outputs=reader.paths("default_outputs", made=None),
        run=None if run is None else reader.texts("run"),
        run_inputs=reader.paths("run_inputs", made=True),
        test=None if test is None else _test(_Reader(f"{reader.where}.test", test)),
        place=reader.text("place"),
        other_outputs=reader.paths("other_outputs", made=True),
        tests=reader.labels("tests"),
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
        recorded="recorded" in reader.value and reader.flag("recorded"),
        shards=reader.number("shards") if "shards" in reader.value else 0,
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
        named = [name for word in target.run or () for name in toolchains_named(word)]
        _check_toolchains(plan, f"target {label}", named)
        for path in target.other_outputs:
            if not any(p in made for p in (path, *_folders(path))):
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
    _check_reach(plan)


def _check_reach(plan: Plan) -> None:
    """What a target's actions and test read comes from it or from what it depends on.

    Its key names nothing else. A plan that read more could have a test pass under the key of another one.
    """
    reach: dict[str, int] = {}  # label -> the bits of itself and of all below it
    declared: dict[str, int] = {}  # source -> the bits of the targets that name it
    for number, (label, target) in enumerate(plan.targets.items()):
        bits = 1 << number
        for path in target.sources:
            declared[path] = declared.get(path, 0) | bits
        for dep in target.deps:
            bits |= reach[dep]
        reach[label] = bits
    own = {label: 1 << number for number, label in enumerate(plan.targets)}
    maker = {path: own[action.owner] for action in plan.actions for path in action.outputs}

    def check(label: str, sources: Iterable[str], inputs: Iterable[str], toolchains: Iterable[str]) -> None:
        bits = reach[label]
        for path in sources:
            if not bits & declared.get(path, 0):
                raise _refuse(f"target {label}", f"reads the source {path!r}, which it does not depend on")
        for path in inputs:
            if not bits & maker[path]:
                raise _refuse(f"target {label}", f"reads {path!r}, which it does not depend on")
        for name in toolchains:
            if not bits & own.get(name, 0):
                raise _refuse(f"target {label}", f"uses the toolchain {name!r}, which it does not depend on")

    for action in plan.actions:
        check(action.owner, action.sources, action.inputs, action.toolchains)
    for label, target in plan.targets.items():
        check(label, (), target.run_inputs, target.toolchains)
        if target.test is not None:
            check(label, target.test.sources, target.test.inputs, target.test.toolchains)
            if not set(target.test.toolchains) <= set(target.toolchains):
                raise _refuse(f"target {label}", "tests with a toolchain that is not among its own")
    for action in plan.actions:
        if not set(action.toolchains) <= set(plan.targets[action.owner].toolchains):
            raise _refuse(f"target {action.owner}", "runs with a toolchain that is not among its own")
    for label, toolchain in plan.toolchains.items():
        if label not in plan.targets:
            raise _refuse("toolchains", f"{label!r} is no target")
        check(label, (toolchain.lock,), (), ())


def _folders(path: str) -> Iterator[str]:
    """The folders that `path` lies in, nearest first."""
    while path := path.rpartition("/")[0]:
        yield path


def _check_toolchains(plan: Plan, where: str, labels: Iterable[str]) -> None:
    for label in labels:
        if label not in plan.toolchains:
            raise _refuse(where, f"{label!r} is no toolchain of the plan")
