"""Read a Python repository: what it holds, which targets follow from it, and how sure that is.

Nothing of the repository is run. One file is written, fairlead.toml, unless it or [tool.fairlead] in
pyproject.toml is there; then the lines to add are shown. From then on `fairlead test //...` works.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead.cli import terminal
from fairlead.errors import MachineryError, UsageError

if TYPE_CHECKING:
    from fairlead.build.infer import Repository

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


def run(args: argparse.Namespace) -> int:
    began = time.monotonic()
    root = _root(Path.cwd())
    found = _read(root)
    written: list[str] = []
    if args.lock:
        written.append(_resolve(root, found))
        found = _read(root)
    if args.write:
        written.append(_write_out(root, found))
    elif not found.settings.source:
        _create(root / "fairlead.toml", _TEXT)
        written.append("fairlead.toml")
    seconds = time.monotonic() - began
    if args.json:
        print(json.dumps(_document(found, written, seconds), indent=2))
    else:
        _show(root, found, written, seconds)
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

    tree = DiskTree(root)
    loader = Loader(tree, BuckConfig.load(tree), terminal.note)
    build_file = loader.build_file("")
    if build_file and tree.kind(build_file) == "file":
        raise UsageError(
            f"the targets of this repository are written down already, in {build_file}",
            where=str(root),
            remedy="`fairlead targets //...` lists them",
        )
    return infer.infer(tree, loader.inferred_files())


def _resolve(root: Path, found: Repository) -> str:
    """Resolve the declared requirements into a lock; its path in the repository."""
    from fairlead.build.infer.environment import LOCK

    requires = found.environment.requires
    if found.settings.lock:
        raise UsageError(
            f"the repository names its lock already: {found.settings.lock}",
            where=found.settings.source,
            remedy="remove `lock` below [build] to have one made",
        )
    if not requires:
        raise UsageError(
            "the repository declares nothing that its tests need",
            where=str(root),
            remedy='say it in fairlead.toml: requires = ["pytest"] below [build]',
        )
    uv = Path(sys.executable).parent / "uv"
    program = str(uv) if uv.is_file() else shutil.which("uv")
    if program is None:
        raise MachineryError("uv is not installed", where="PATH", remedy="run `pip install uv`")
    words = [program, "pip", "compile", "--quiet", "--generate-hashes", "--no-build", "--no-header"]
    words += ["--no-annotate", "--python-version", f"{sys.version_info.major}.{sys.version_info.minor}", "-"]
    # Not in the repository: neither its uv settings nor its pyproject.toml may say where packages come from.
    done = subprocess.run(
        words,
        input="".join(f"{line}\n" for line in requires),
        capture_output=True,
        text=True,
        errors="replace",
        cwd=os.sep,
        check=False,
    )
    if done.returncode:
        lines = "".join(f"\n  | {line}" for line in done.stderr.strip().splitlines()[-12:])
        raise UsageError(
            f"what the repository declares cannot be resolved to wheels:{lines}",
            where=", ".join(requires)[:200],
            remedy="correct what it declares, or the indexes in your uv settings",
        )
    if not any(line.startswith("pytest==") for line in done.stdout.splitlines()):
        raise UsageError(
            "pytest is not among what the repository declares for its tests",
            where=", ".join(requires)[:200],
            remedy='say it in fairlead.toml: requires = ["pytest"] below [build]',
        )
    from fairlead.store import atomic

    head = "# Made by `fairlead init --lock`; run it again to renew.\n"
    atomic.write(root / LOCK, (head + done.stdout).encode())
    return LOCK


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


def _show(root: Path, found: Repository, written: list[str], seconds: float) -> None:
    """What was found, what is asked for, what was written."""
    width = max((len(f.subject) for f in found.findings), default=0)
    for finding in found.findings:
        mark = terminal.style(f"{finding.sure:<8}", _COLOURS[finding.sure])
        source = f"  ({finding.source})" if finding.source else ""
        terminal.say(f"{mark} {finding.subject:<{width}}  {finding.value}{source}")
    libraries, tests = found.targets.libraries, found.targets.tests
    whole = [test for test in tests if test.whole]
    terminal.say()
    terminal.say(f"libraries   {', '.join('//:' + library.name for library in libraries) or 'none'}")
    terminal.say(
        f"tests       {len(tests)}, of which {len(whole)} get the whole project, since something in them"
        " cannot be told by reading"
    )
    for test in tests[:_SHOWN]:
        terminal.say(f"  //:{test.name}" + (f"  ({test.why})" if test.why else ""))
    if len(tests) > _SHOWN:
        terminal.say(f"  and {len(tests) - _SHOWN} more: `fairlead targets //...`")
    asked = [finding for finding in found.findings if finding.add and finding.sure != "known"]
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


def _document(found: Repository, written: list[str], seconds: float) -> dict[str, object]:
    return {
        "schema": "fairlead.init/1",
        "findings": [finding.to_json() for finding in found.findings],
        "libraries": [f"//:{library.name}" for library in found.targets.libraries],
        "tests": [
            {"label": f"//:{test.name}", "path": test.path, "whole": test.whole, "why": test.why}
            for test in found.targets.tests
        ],
        "written": written,
        "seconds": round(seconds, 3),
    }
