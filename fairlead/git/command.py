"""Running the git binary: one place that knows its environment and its failures.

The binary and not a library: merges as people know them (ort), hooks, credentials and the
user's own configuration come with it. GIT_* variables of the caller are dropped, since a hook
or an outer git command would otherwise point every call at its own repository.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairlead.errors import MachineryError

_KEPT = frozenset(
    {"GIT_SSH", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_SSL_CAINFO", "GIT_SSL_NO_VERIFY", "GIT_TRACE"}
)


@dataclass(frozen=True)
class Completed:
    """What a git command answered: exit code, stdout as bytes, stderr as text."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """stdout as text without the last line end."""
        return self.out.decode("utf-8", "surrogateescape").rstrip("\n")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The caller's environment without GIT_*, with stable messages and no prompt, plus `extra`."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or k in _KEPT}
    env.update(LC_ALL="C.UTF-8", GIT_TERMINAL_PROMPT="0")
    env.update(extra or {})
    return env


def run(
    args: Sequence[str],
    *,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
) -> Completed:
    """Run `git ARGS`; with `check`, a failure is a `MachineryError` with git's own words."""
    try:
        done = subprocess.run(
            ["git", *args],
            cwd=cwd,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env=environment(env),
            check=False,
        )
    except FileNotFoundError:
        if cwd is not None and not cwd.is_dir():
            raise MachineryError(f"no such folder: {cwd}", where=str(cwd)) from None
        raise MachineryError("git is not installed", remedy="install git 2.38 or newer") from None
    result = Completed(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))
    if check and result.code != 0:
        raise failure(args, result, cwd)
    return result


def read_at_most(
    limit: int, args: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> bytes | None:
    """What `git ARGS` prints, or None if that is more than `limit` bytes: then git is stopped."""
    process = subprocess.Popen(
        ["git", *args],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(env),
    )
    with process:
        assert process.stdout is not None
        data = process.stdout.read(limit + 1)
        if len(data) > limit:
            process.kill()
            return None
    if process.returncode != 0:
        raise failure(args, Completed(process.returncode, b"", ""), cwd)
    return data


def failure(args: Sequence[str], result: Completed, cwd: Path | None) -> MachineryError:
    """A failed git command as an error for a person; values of `-c key=value` are not shown."""
    shown = " ".join(_redacted(args))
    said = result.err.strip() or f"exit code {result.code}"
    full = "No space left on device" in said
    return MachineryError(
        f"git {shown} failed: {said}",
        where=str(cwd or Path.cwd()),
        remedy="free some space on that disk and run it again" if full else "",
    )


def _redacted(args: Sequence[str]) -> list[str]:
    shown, hide = [], False
    for arg in args:
        if hide:
            shown.append(arg.partition("=")[0])
        else:
            shown.append(re.sub(r"(\w+://)[^/@\s]+@", r"\1", arg))
        hide = arg == "-c"
    return shown


@functools.cache
def version() -> tuple[int, int, int]:
    """The version of the git binary, such as (2, 39, 5)."""
    text = run(["version"]).text
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if found is None:
        raise MachineryError(f"cannot read git's version from {text!r}")
    return int(found[1]), int(found[2]), int(found[3] or 0)


def require(least: tuple[int, int], purpose: str) -> None:
    """`MachineryError` unless git is at least that version."""
    if version() < (*least, 0):
        have, need = ".".join(map(str, version())), ".".join(map(str, least))
        raise MachineryError(
            f"{purpose} needs git {need} or newer, this is {have}", remedy=f"install git {need} or newer"
        )
