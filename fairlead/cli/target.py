"""One target, built for a verb that does something with it: `run` starts it, `publish` publishes it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fairlead.cli import project
from fairlead.errors import UsageError


@dataclass(frozen=True)
class Built:
    """A built target: its outputs (absolute), and the command that runs it, or None if it cannot be run."""

    label: str
    outputs: tuple[Path, ...]
    command: tuple[str, ...] | None


def build(args: argparse.Namespace, pattern: str, *, to_run: bool = False) -> Built:
    """Build the one target that `pattern` names; with `to_run`, also what its command needs to start."""
    here = project.Project.find()
    store = here.store()
    tree = here.disk(store)
    plan = here.plan(tree, [pattern], store)
    if len(plan.requested) != 1:
        raise UsageError(
            f"{pattern} names {len(plan.requested)} targets, but one is needed",
            remedy="name one, such as " + " or ".join(plan.requested[:3]) if plan.requested else "",
        )
    label = plan.requested[0]
    target = plan.targets[label]
    if to_run and target.run is None:
        raise UsageError(
            f"{label} cannot be run: a {target.rule} makes no program",
            where=target.place,
            remedy="run a python_binary, or another target whose rule returns RunInfo",
        )
    # What a command reads need not be what `build` shows; outputs are no part of any key.
    wanted = tuple(dict.fromkeys((*target.default_outputs, *(target.run_inputs if to_run else ()))))
    plan = replace(plan, targets={**plan.targets, label: replace(target, default_outputs=wanted)})
    project.engine(args, here, store, tree, plan).build([label])
    command = None
    if to_run and target.run is not None:
        from fairlead.build import toolchain
        from fairlead.build.plan import toolchains_named

        folders = {
            named: str(
                toolchain.environment(
                    plan.toolchains[named], tree.read(plan.toolchains[named].lock), store
                ).folder
            )
            for word in target.run
            for named in toolchains_named(word)
        }
        files = {path: str(here.root / path) for path in (*wanted, *target.sources)}
        command = tuple(absolute(word, folders, files) for word in target.run)
    return Built(label, tuple(here.root / path for path in target.default_outputs), command)


def absolute(word: str, toolchains: Mapping[str, str], files: Mapping[str, str]) -> str:
    """An argument of a plan as it is meant outside of a sandbox: no place is relative to the project.

    `toolchains` are their folders by label, `files` the absolute paths of files that the command may name.
    """
    for label, folder in toolchains.items():
        word = word.replace(f"{{toolchain:{label}}}", folder)
    if word in files:
        return files[word]
    for path in sorted(files, key=len, reverse=True):
        before, found, after = word.partition(path)
        # Inside of a longer word, such as --config=PATH or PATH/inner, only where a path can begin and end.
        if found and (not before or before[-1] in "=:,@") and (not after or after[0] in "/:,"):
            return before + files[path] + after
    return word
