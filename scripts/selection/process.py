"""Starting programs: with a limit in time, the whole group ended when it is reached."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """How a program ended; `code` is None if it was stopped for its time."""

    code: int | None
    out: str
    err: str


def call(
    words: Sequence[str], folder: Path, env: Mapping[str, str] | None = None, seconds: float = 1800
) -> Ended:
    """Run a program to its end or the limit; the caller looks at how it ended. Output goes to files, so that
    a child it leaves behind holds nobody up."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        program = subprocess.Popen(
            list(words),
            cwd=folder,
            env=dict(os.environ if env is None else env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        code: int | None
        try:
            code = program.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            try:
                os.killpg(program.pid, signal.SIGKILL)  # its own session: what it left, and no other's
            except ProcessLookupError:
                pass
            program.wait()
        out.seek(0)
        err.seek(0)
        return Ended(code, out.read().decode("utf-8", "replace"), err.read().decode("utf-8", "replace"))


class Failed(Exception):
    """A program that has to work did not."""


def must(words: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a program that has to work, and return its output."""
    done = call(words, folder, env)
    if done.code != 0:
        raise Failed(f"{' '.join(words)} ended with {done.code}\n{done.out[-2000:]}\n{done.err[-4000:]}")
    return done.out


def python(*words: str) -> list[str]:
    """A command of the Python that runs this."""
    return [sys.executable, *words]


INSTALLED = python("-c", "from fairlead.cli import console; console()")
"""What the installed command does: a daemon answers where it can."""
