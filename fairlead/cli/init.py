"""Read a Python repository: what it holds, which targets follow from it, and how sure that is.

Then prove it: the environment of the tests is chosen (the repository's lock, else one made and kept on
this machine), installed, and pytest collects everything once in the sandbox. One file is written,
fairlead.toml, unless it or [tool.fairlead] in pyproject.toml is there; then the lines to add are shown. From
then on `fairlead test` works.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead import config
from fairlead.cli import project, proving, terminal
from fairlead.errors import UsageError

if TYPE_CHECKING:
    from fairlead.build.infer import Repository
    from fairlead.build.infer.finding import Finding
    from fairlead.cli.proving import Proof

_TEXT = """\
# Targets are found by reading the repository; `fairlead init` shows them.
[build]
infer = true
"""
_COLOURS = {"known": "green", "guessed": "yellow", "unknown": "red"}
_SHOWN = 12


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lock",
        action="store_true",
        help="resolve what the repository declares for its tests, and keep it in requirements.tests.lock",
    )
    parser.add_argument("--write", action="store_true", help="write the targets out as a BUCK file")
    parser.add_argument(
        "--static", action="store_true", help="only read: install nothing and run no code of the repository"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="run all tests together and each target alone, and name what ends otherwise",
    )
    parser.add_argument(
        "--sandbox", choices=("auto", "namespace", "none"), default=None, help="how pytest is kept apart"
    )


def run(args: argparse.Namespace) -> int:
    began = time.monotonic()
    root = _root(Path.cwd())
    found = _read(root)
    written: list[str] = []
    proof: Proof | None = None
    if args.lock:
        written.append(proving.keep_lock(root, found))
        found = _read(root)
    if args.write:
        written.append(_write_out(root, found))
    else:
        fresh = not found.settings.source
        tagged = proving.version_by_tag(root, found)
        text = _TEXT + (f'version = "{tagged}"  # the last tag; tests ask for it\n' if tagged else "")
        if fresh:
            _create(root / "fairlead.toml", text)
            written.append("fairlead.toml")
            found = _read(root)
        if not args.static:
            proof = proving.prove(root, found, _read, level=args.sandbox or "")
            if fresh and proof.lacking:
                lines = ", ".join(json.dumps(line) for line in proof.lacking)
                _create(root / "fairlead.toml", f"{text}requires = [{lines}]\n")
                proof = replace(proving.prove(root, _read(root), _read, level=args.sandbox or ""), lacking=())
            found = proof.found
            if args.check:
                proof = proving.check(root, proof, level=args.sandbox or "")
    seconds = time.monotonic() - began
    if args.json:
        print(json.dumps(_document(found, proof, written, seconds), indent=2))
    else:
        _show(root, found, proof, written, seconds)
    return 0


def _root(here: Path) -> Path:
    """The repository around `here`: the folder with settings of ours or with .git, else `here`."""
    for folder in (here, *here.parents):
        if (folder / "fairlead.toml").is_file() or (folder / ".git").exists():
            return folder
    return here


def _read(root: Path) -> Repository:
    from fairlead.build import infer
    from fairlead.build.buckconfig import BuckConfig
    from fairlead.build.loader import Loader
    from fairlead.build.tree import DiskTree

    store = project.Project(root, "", config.load(root)).store()
    tree = DiskTree(root, store.results)
    loader = Loader(tree, BuckConfig.load(tree), terminal.note)
    build_file = loader.build_file("")
    if build_file and tree.kind(build_file) == "file":
        raise UsageError(
            f"the targets of this repository are written down already, in {build_file}",
            where=str(root),
            remedy="`fairlead targets //...` lists them",
        )
    return infer.infer(tree, loader.inferred_files(), store.results)


def _write_out(root: Path, found: Repository) -> str:
    path = root / "BUCK"
    if found.targets.tests and not found.environment.lock:
        raise UsageError(
            "the tests have no environment yet", where=str(root), remedy="run `fairlead init --lock` first"
        )
    _create(path, found.text)
    if not any((root / name).is_file() for name in (".buckconfig", ".buckroot")):
        _create(root / ".buckconfig", "")
    return "BUCK"


def _create(path: Path, text: str) -> None:
    from fairlead.store import atomic

    atomic.write(path, text.encode())


def _show(root: Path, found: Repository, proof: Proof | None, written: list[str], seconds: float) -> None:
    """What was found, what is asked for, what was written."""
    findings = _findings(found, proof)
    width = max((len(f.subject) for f in findings), default=0)
    for finding in findings:
        mark = terminal.style(f"{finding.sure:<8}", _COLOURS[finding.sure])
        source = f"  ({finding.source})" if finding.source else ""
        terminal.say(f"{mark} {finding.subject:<{width}}  {finding.value}{source}")
    libraries = found.targets.libraries
    terminal.say()
    terminal.say(f"libraries   {', '.join('//:' + library.name for library in libraries) or 'none'}")
    _show_tests(found, proof)
    asked = [finding for finding in findings if finding.add and finding.sure != "known"]
    if asked:
        terminal.say()
        terminal.say(
            "To be settled by you, below [build] in " + (found.settings.source or "fairlead.toml") + ":"
        )
        for finding in asked:
            terminal.say(f"  {finding.subject} is {finding.sure}: {finding.add}")
    if found.settings.source and not found.settings.infer:
        terminal.say()
        terminal.say(
            f"Targets are not inferred yet. Add to {found.settings.source}: infer = true below [build]"
        )
    terminal.say()
    wrote = f"wrote {', '.join(written)}" if written else "nothing written"
    terminal.say(f"{wrote}  ({terminal.seconds(seconds)})")


def _findings(found: Repository, proof: Proof | None) -> list[Finding]:
    """What the repository says, what its proof says, and what this machine has."""
    from fairlead.build.infer import pythons

    made = [*found.findings, *(proof.findings if proof else ())]
    if found.targets.tests and not found.settings.interpreter:
        other = pythons.proposed(found.projects, sys.version_info[:2], _is_interpreter)
        made += [other] if other else []
    return made


def _is_interpreter(name: str) -> bool:
    """Whether a command is an interpreter here: a name on the PATH may be one that asks for another."""
    from fairlead.build import toolchain

    try:
        return toolchain.interpreter(name).minor == name.removeprefix("python")
    except UsageError:
        return False


def _show_tests(found: Repository, proof: Proof | None) -> None:
    """The test targets, the doubtful ones first."""
    states = proving.states(found, proof)
    counts = {sure: sum(state.sure == sure for state in states) for sure in _COLOURS}
    said = ", ".join(f"{number} {sure}" for sure, number in counts.items() if number)
    number = sum(state.tests for state in states)
    terminal.say(f"tests       {len(states)} targets" + (f": {said}" if said else "") + f"; {number} tests")
    states.sort(key=lambda state: [*_COLOURS][::-1].index(state.sure))
    for state in states[:_SHOWN]:
        mark = terminal.style(f"{state.sure:<8}", _COLOURS[state.sure])
        counted = f"  {state.tests}" if state.tests else ""
        terminal.say(f"  {mark} {state.label}{counted}" + (f"  {state.why}" if state.why else ""))
    if len(states) > _SHOWN:
        terminal.say(f"  and {len(states) - _SHOWN} more: `fairlead targets //...`")


def _document(
    found: Repository, proof: Proof | None, written: list[str], seconds: float
) -> dict[str, object]:
    states = {state.label: state for state in proving.states(found, proof)}
    return {
        "schema": "fairlead.init/1",
        "findings": [f.to_json() for f in _findings(found, proof)],
        "libraries": [f"//:{library.name}" for library in found.targets.libraries],
        "tests": [
            {
                "label": f"//:{test.name}",
                "path": test.path,
                "also": list(test.also),
                "whole": test.whole,
                "why": test.why,
                "sure": states[f"//:{test.name}"].sure,
                "reason": states[f"//:{test.name}"].why,
                "tests": states[f"//:{test.name}"].tests,
            }
            for test in found.targets.tests
        ],
        "written": written,
        "seconds": round(seconds, 3),
    }
