"""Requirements resolved to a lock by uv: every package pinned, every file with its hash, wheels only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fairlead.build import toolchain
from fairlead.build.infer.requires import requirement
from fairlead.errors import MachineryError, UsageError


def resolve(requires: Sequence[str], interpreter: str = "") -> str:
    """The lock of what tests need, pytest among it, for an interpreter ("python3.13"), "" for the one that
    runs this; UsageError if it cannot be had together."""
    text = pins(requires, interpreter)
    if not any(requirement(line) == "pytest" for line in text.splitlines()):
        raise UsageError(
            "pytest is not among what the repository declares for its tests",
            where=", ".join(requires)[:200],
            remedy='say it in fairlead.toml: requires = ["pytest"] below [build]',
        )
    return text


def pins(requires: Sequence[str], interpreter: str = "") -> str:
    """The lock of any `requires`."""
    uv = Path(sys.executable).parent / "uv"
    program = str(uv) if uv.is_file() else shutil.which("uv")
    if program is None:
        raise MachineryError("uv is not installed", where="PATH", remedy="run `pip install uv`")
    words = [program, "pip", "compile", "--quiet", "--generate-hashes", "--no-build", "--no-header"]
    words += ["--no-annotate", "--python-version", toolchain.interpreter(interpreter).minor, "-"]
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
    return done.stdout
