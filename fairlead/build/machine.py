"""What of this machine a result depends on and no file of the project says: the Python that a toolchain's
`interpreter` leads to, and the compilers that actions find on the system.

Two workers may share a verdict only if both are alike. A Python counts by its minor version, for machines
share what their last digits do not change (`toolchain.versions`). A program counts by where it was found, by
the SHA-256 of its file and, if it is a compiler, by what it says of its version: a driver stays the same file
while the compiler behind it is another, and distributions name their build of it there.

Only a program in a folder of the sandbox's PATH is asked for its version, and only if it is called as a
compiler is: a submitted change names programs as it likes, and this asks outside of the sandbox.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from fairlead.build import toolchain
from fairlead.build.plan import Action, programs_of
from fairlead.build.stage import ENVIRONMENT
from fairlead.errors import UsageError
from fairlead.store import digest
from fairlead.store.record import Part

_COMPILER = re.compile(r"(?:[A-Za-z0-9_.]+-)*(?:cc|c\+\+|gcc|g\+\+|clang|clang\+\+)(?:-[0-9.]+)?")
_FRESH = 1.0  # seconds for which what was found is not looked for again

_known: dict[str, tuple[float, tuple[str, str, str]]] = {}


def minor(interpreter: str, ours: str) -> str:
    """The Python that a toolchain's `interpreter` leads to, such as "cpython-312"; `ours` if it names none,
    "" if there is no such one here."""
    if not interpreter:
        return ours
    try:
        return "cpython-" + toolchain.interpreter(interpreter).minor.replace(".", "")
    except UsageError:  # if anything needs it, the run says so
        return ""


def version(name: str) -> str:
    """What stands here under the name of an interpreter or of a program, to be compared; UsageError for an
    interpreter that is not there."""
    if name.startswith("python3"):
        return toolchain.interpreter(name).version
    return " ".join(program(name))


def programs(actions: Iterable[Action]) -> dict[str, Part]:
    """The programs of the system that C and C++ actions start, by the name they are called by: path, SHA-256
    of the file, SHA-256 of its words on its version. One that is not there is left out: the run says so."""
    found = {name: program(name) for name in programs_of(actions)}
    return {name: list(parts) for name, parts in found.items() if parts[0]}


def look_again() -> None:
    """Believe nothing of the programs that was found before; what their unchanged files hold stays known."""
    _known.clear()


def program(name: str) -> tuple[str, str, str]:
    """Path, digest and digest of the version of a program of the system; three times "" if there is none."""
    now = time.monotonic()
    at, found = _known.get(name, (0.0, ("", "", "")))
    if name not in _known or now - at > _FRESH:
        found = _look(name)
        _known[name] = now, found
    return found


def _look(name: str) -> tuple[str, str, str]:
    path = _where(name)
    if path is None:
        return "", "", ""
    real = os.path.realpath(path)
    try:
        seen = os.stat(real)
        state = (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
        return path, _file(real, state), _version(path, real, state)
    except OSError:
        return "", "", ""


def _folders() -> list[str]:
    return ENVIRONMENT["PATH"].split(":")


def _where(name: str) -> str | None:
    """The file that is started under a name; None for one of the project or of a toolchain."""
    if name.startswith("/"):
        return name if os.path.isfile(name) else None
    if "/" in name or "{" in name:
        return None
    paths = (f"{folder}/{name}" for folder in _folders())
    return next((path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)), None)


@functools.lru_cache(maxsize=64)
def _file(real: str, state: tuple[int, ...]) -> str:
    return digest.of_file(Path(real))


@functools.lru_cache(maxsize=64)
def _version(path: str, real: str, state: tuple[int, ...]) -> str:
    """What a compiler says of itself, as a digest; "" for what is none, or does not say."""
    folder, _, name = path.rpartition("/")
    if folder not in _folders() or _COMPILER.fullmatch(name) is None:
        return ""
    try:
        done = subprocess.run(
            [path, "--version"],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=20, env=dict(ENVIRONMENT), check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return digest.of_bytes(done.stdout)
