"""Evaluates a project's BUCK files apart from this process, for code that nobody has reviewed yet.

The dialect is not a security border: a BUCK file that finds a way out of it is a Python program. So a
worker evaluates in a child without network, rights, home folder or server, which sees the tree read-only
and can write to nothing but its answer. That is read as hostile data: bounded in size, checked field by
field, and held against the tree, since a compromised child may answer anything. What it can still do is
describe its *own* project wrongly, and the project's author could have done that in the BUCK file.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from fairlead.build import sandbox
from fairlead.build.plan import Plan
from fairlead.build.sandbox import MIB, Bind, Command, Requested, system
from fairlead.build.tree import DiskTree, Tree
from fairlead.errors import FairleadError, MachineryError, UsageError

SECONDS = 120.0
PLAN_BYTES = 64 * MIB
TARGETS, ACTIONS, TEXT = 100_000, 500_000, 4096
_CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from fairlead.build.evaluator import child
child(sys.argv[2], sys.argv[3:])
"""


def evaluate_apart(
    root: Path,
    patterns: Sequence[str],
    *,
    sandbox: Requested = "auto",
    cancel: threading.Event | None = None,
) -> Plan:
    """The plan of `patterns` in the project at `root`, from a sandboxed child.

    An error of the project's own files comes back as the UsageError that evaluating here would have raised;
    a plan that cannot be trusted is a UsageError too; a child that cannot run is a MachineryError.
    """
    with tempfile.TemporaryDirectory(prefix="fairlead-evaluate-") as folder:
        return _evaluate(root, patterns, sandbox, Path(folder), cancel)


def _evaluate(
    root: Path, patterns: Sequence[str], level: Requested, scratch: Path, cancel: threading.Event | None
) -> Plan:
    enforced = sandbox.enforcement(level)
    package = _package()
    inside = enforced == "namespace"
    seen = Path(f"/fairlead/{package.name}") if inside else package
    project = "/project" if inside else str(root.resolve())
    answer, log = scratch / "answer", scratch / "log"
    library = seen.parent if package.is_dir() else seen
    binds = [Bind(package, str(seen)), Bind(root.resolve(), project)]
    if enforced == "landlock" and package.is_dir():  # what lies beside the package is not for the child
        library = scratch / "library"
        library.mkdir()
        (library / package.name).symlink_to(package)
        binds.append(Bind(library, str(library)))
    command = Command(
        argv=[system.interpreter(), "-I", "-S", "-E", "-c", _CHILD, str(library), project, *patterns],
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=project,
        stdout=answer,
        stderr=log,
        root_binds=binds,
        memory_bytes=2048 * MIB,
        cpu_seconds=int(SECONDS),
        wall_seconds=SECONDS,
        file_bytes=PLAN_BYTES,
        processes=16,
        tmp_bytes=64 * MIB,
        level=level,
    )
    done = sandbox.run(command, cancel=cancel)
    if done.timed_out or done.code == -signal.SIGXCPU:
        raise UsageError(
            f"evaluating the BUCK files took longer than {SECONDS:.0f} seconds",
            where=str(root),
            remedy="look for a loop that does not end",
        )
    kind, _, data = _bounded(answer, PLAN_BYTES).partition(b"\n")
    if done.code != 0 or kind not in (b"plan", b"error"):
        if done.disk_full or os.statvfs(scratch).f_bavail == 0:
            raise MachineryError(
                "the disk ran full while the BUCK files were evaluated: No space left on device",
                where=str(scratch.parent),
                remedy="free some space on that disk, or set TMPDIR to a folder on another one",
            )
        lines = _bounded(log, 64 * 1024).decode("utf-8", "replace").rstrip().splitlines()[-12:]
        raise UsageError(
            f"evaluating the BUCK files ended with code {done.code} and no answer"
            + "".join(f"\n  | {_clean(line)}" for line in lines),
            where=str(root),
            remedy="run `fairlead build //...` in that project to see where",
        )
    if kind == b"error":
        raise _their_error(data)
    try:
        plan = Plan.decode(data)
    except RecursionError:
        raise _refuse("it is nested too deep") from None
    check(plan, DiskTree(root))
    return plan


def check(plan: Plan, tree: Tree) -> None:
    """Hold a plan from a child against the tree: sizes, and that every source it names is there.

    (`Plan.decode` has checked types, labels, paths and references by now.)
    """
    if len(plan.targets) > TARGETS or len(plan.actions) > ACTIONS:
        raise _refuse(f"it has {len(plan.targets)} targets and {len(plan.actions)} actions")
    for target in plan.targets.values():
        if max(len(target.label), len(target.rule)) > TEXT:
            raise _refuse("it has a label longer than a path can be")
    named = {chain.lock for chain in plan.toolchains.values()}
    for action in plan.actions:
        named.update(action.sources)
    for target in plan.targets.values():
        named.update(target.sources)
        named.update(path for path in target.rule_bzl if not path.startswith("prelude//"))
        if target.test is not None:
            named.update(target.test.sources)
            if target.test.timeout > 24 * 3600:
                raise _refuse(f"{target.label} asks for a time-out of more than a day")
    for path in sorted(named):
        if tree.kind(path) != "file":
            raise _refuse(f"it reads {path[:TEXT]!r}, which is no file of the project")


def child(root: str, patterns: Sequence[str]) -> None:
    """What runs in the sandbox: evaluate, and write "plan" or "error" and a JSON document on stdout."""
    from fairlead.build.evaluate import evaluate

    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else prints is log, not answer
    try:
        answer = b"plan\n" + evaluate(DiskTree(Path(root)), list(patterns)).encode()
    except FairleadError as error:
        answer = b"error\n" + json.dumps(error.to_json()).encode()
    with out:
        out.write(answer)


def _package() -> Path:
    """What to show the child so that it can import fairlead: the package's folder, or the zip that holds
    it."""
    folder = Path(__file__).resolve().parent.parent
    if folder.is_dir():
        return folder
    for path in folder.parents:
        if path.is_file():
            return path
    raise MachineryError("cannot find the fairlead package on disk", where=__file__)


def _bounded(path: Path, limit: int) -> bytes:
    """A file of the child's, which may be as long as its limits allow."""
    with path.open("rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise _refuse(f"it is longer than {limit // MIB} MiB")
    return data


def _their_error(data: bytes) -> FairleadError:
    try:
        said = json.loads(data)
        what, where, remedy = (str(said[name])[:TEXT] for name in ("what", "where", "remedy"))
    except (ValueError, RecursionError, KeyError, TypeError):
        return _refuse("its error is not readable")
    return UsageError(_clean(what), where=_clean(where), remedy=_clean(remedy))


def _clean(text: str) -> str:
    """Text from an untrusted program without control characters."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def _refuse(problem: str) -> UsageError:
    return UsageError(
        f"the evaluated plan is not valid: {problem}",
        remedy="a BUCK or .bzl file of this project interferes with its evaluation; look at what it loads",
    )
