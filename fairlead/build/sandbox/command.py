"""What a sandboxed run is asked to do, and what came of it: plain values, no system calls.

Paths in `argv`, `env` and `cwd` are paths *inside* the sandbox; `Bind.src` and the log files are paths
outside. At enforcement level "none" there is no inside: callers ask `enforcement()` first and lay out paths
to suit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fairlead.build.record.asked import Asked

Requested = Literal["auto", "namespace", "landlock", "none"]
"""What a user may ask for: `auto` takes the strongest that the kernel grants."""

Enforced = Literal["namespace", "landlock", "none"]
"""What a run really had."""

LEVELS: tuple[Enforced, ...] = ("none", "landlock", "namespace")
"""Weakest first."""

MIB = 1024 * 1024


@dataclass(frozen=True)
class Bind:
    """One file or folder of the host, seen at `dest` inside; read-only unless `writable`.

    With `overlay` the program sees a private copy of the folder `src`: it may write anywhere in it, what it
    writes is kept in memory and forgotten at its end, and nothing reaches `src`. Other binds may lie below
    `dest`; places for them are made in the copy. The program owns what the owner of `src` owns in it, even
    what others may not read; a file of another user or group it can remove, not change. What is mounted
    somewhere in `src` is no part of it, and a folder of `src` cannot be renamed, only copied (EXDEV).

    A `lasting` one, read-only, is kept mounted for the next command that asks for the same.
    """

    src: Path
    dest: str
    writable: bool = False
    overlay: bool = False
    lasting: bool = False


@dataclass(frozen=True)
class Command:
    """One program to run apart. Sizes in bytes, times in seconds; None means no limit of that kind.

    `memory_bytes` bounds the address space of each process, `processes` how many there may be at once,
    `file_bytes` any one file written (the log too), `tmp_bytes` the private /tmp and /dev/shm. The program is
    ended when the disk of `stdout` has less than `keep_free` bytes left: it may be the one that fills it.
    `root_binds` come on top of the system's own read-only folders (see `system.py`), and each overlay among
    them may take `tmp_bytes` of its own; `masks` are folders among them to cover with nothing. With `record`
    the answer says what the program asked of the file system, where the kernel lets us hear it.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    stdout: Path
    stderr: Path | None = None
    root_binds: Sequence[Bind] = ()
    masks: Sequence[str] = ()
    network: bool = False
    memory_bytes: int | None = 4096 * MIB
    cpu_seconds: int | None = None
    wall_seconds: float | None = None
    file_bytes: int | None = 2048 * MIB
    processes: int | None = 512
    tmp_bytes: int = 1024 * MIB
    keep_free: int = 0
    level: Requested = "auto"
    record: bool = False


@dataclass(frozen=True)
class Completed:
    """How a run ended. `code` is the exit status, or minus the number of the signal that ended the program.

    `not_overlaid` are the `dest` of overlays that were bound read-only, for the kernel made no overlay there;
    at level "none" those of all."""

    code: int
    enforced: Enforced
    timed_out: bool
    seconds: float
    cpu_seconds: float = 0.0
    max_rss_bytes: int = 0
    disk_full: bool = False
    asked: Asked | None = None
    not_overlaid: tuple[str, ...] = ()


def at_least(had: str, wanted: Enforced) -> bool:
    """Whether a run at level `had` was confined as closely as `wanted`; never, at an unknown level."""
    return had in LEVELS[LEVELS.index(wanted) :]
