"""Target keys: the record of everything that a target's result depends on.

The record names its parts one by one, so that `why` can say which of them changed. The version of the
Fairlead package is not among them; what a rule does is, through the digest of its .bzl files and of the
actions that it registered (`steps`): two versions of Fairlead that would run different commands have
different keys, two that would run the same share their results. Visibility is no part: it decides who may
use a target, not what the target is. `VERSION` changes when a part changes its meaning.
"""

from __future__ import annotations

import functools
import json
import platform as host
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairlead.build import machine
from fairlead.build.loader import PRELUDE, prelude_file
from fairlead.build.plan import Action, Plan, Target
from fairlead.build.stage import ENVIRONMENT
from fairlead.build.tree import Tree
from fairlead.errors import UsageError
from fairlead.store import digest
from fairlead.store.record import Part, Record, shared

KIND = "target"
VERSION = 2

_ARCHES = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True)
class Platform:
    """Where a target is built or tested: operating system, processor, interpreter."""

    os: str
    arch: str
    python: str = "cpython-311"

    @classmethod
    def here(cls) -> Platform:
        """The platform of this process."""
        arch = host.machine().lower()
        name = "macos" if sys.platform == "darwin" else sys.platform
        return cls(name, _ARCHES.get(arch, arch), sys.implementation.cache_tag or sys.implementation.name)


def target_records(plan: Plan, tree: Tree, platform: Platform) -> dict[str, Record]:
    """The record of each target of a plan by label; its `.key` is the target's key.

    `tree` is the tree that the plan was evaluated from, on disk or in git: the records are equal.
    """
    owned: dict[str, list[Action]] = {}
    for action in plan.actions:
        owned.setdefault(action.owner, []).append(action)
    wanted = {path for target in plan.targets.values() for path in target.sources}
    rules = {path for target in plan.targets.values() for path in target.rule_bzl}
    wanted |= {path for path in rules if not path.startswith(PRELUDE)}
    digests = tree.digests(sorted(wanted))
    identities = {path: (tree.mode(path), name) for path, name in digests.items()}
    identities |= prelude_identities(plan)
    records: dict[str, Record] = {}
    keys: dict[str, str] = {}
    for label, target in plan.targets.items():
        found = target_record(target, plan, owned.get(label, []), identities, platform, keys)
        records[label], keys[label] = found, found.key
    return records


def prelude_identities(plan: Plan) -> dict[str, tuple[str, str]]:
    """No mode, and the digest, of the prelude's files that define the rules of a plan's targets."""
    rules = {path for target in plan.targets.values() for path in target.rule_bzl}
    return {path: ("", _prelude_digest(path)) for path in rules if path.startswith(PRELUDE)}


def target_record(
    target: Target,
    plan: Plan,
    owned: Sequence[Action],
    identities: Mapping[str, tuple[str, str]],
    platform: Platform,
    keys: Mapping[str, str],
) -> Record:
    """The record of one target. `owned` are its actions, `identities` the mode and SHA-256 of each file that
    it or its rule has, `keys` those of what it depends on."""
    steps: dict[str, Part] = {action.outputs[0]: _digest(action.to_json()) for action in owned}
    if target.label in plan.toolchains:
        toolchain = plan.toolchains[target.label]
        steps["environment"] = _digest(toolchain.to_json())
        steps["interpreter"] = machine.minor(toolchain.interpreter, platform.python)
    if programs := machine.programs(owned):
        steps["programs"] = programs
    parts: dict[str, Part] = {
        "label": target.label,
        "configuration": None,  # there is one, until there is select()
        "rule": {"name": target.rule, "files": [[p, identities[p][1]] for p in sorted(target.rule_bzl)]},
        "attributes": target.attrs,
        "inputs": [[path, *identities[path]] for path in sorted(target.sources)],
        "toolchains": {label: keys[label] for label in target.toolchains},
        "platform": _platform(platform),
        "environment": target.environment,
        "config": target.config,
        "dependencies": {label: keys[label] for label in target.deps},
        "steps": {
            **steps,
            **({} if target.run is None else {"run": _digest([list(target.run), list(target.run_inputs)])}),
            **({} if target.test is None else {"test": _digest(target.test.to_json())}),
        },
    }
    return Record(KIND, VERSION, parts)


@functools.cache
def _platform(platform: Platform) -> Part:
    names = {"os": platform.os, "arch": platform.arch, "python": platform.python}
    return shared({**names, "environment": dict(ENVIRONMENT)})


_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _digest(value: object) -> str:
    return digest.of_bytes(_JSON.encode(value).encode())


def _prelude_digest(path: str) -> str:
    data = prelude_file(path.removeprefix(PRELUDE))
    if data is None:
        raise UsageError(f"this version of Fairlead has no {path}", remedy="evaluate again with this version")
    return digest.of_bytes(data)
