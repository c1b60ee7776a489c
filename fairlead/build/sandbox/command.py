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

Requested = Literal["auto", "namespace", "none"]
"""What a user may ask for: `auto` takes namespaces where the kernel grants them and says so where not."""

Enforced = Literal["namespace", "none"]
"""What a run really had. (`landlock` is a name reserved for a level between the two.)"""

MIB = 1024 * 1024


@dataclass(frozen=True)
class Bind:
    """One file or folder of the host, seen at `dest` inside; read-only unless `writable`."""

    src: Path
    dest: str
    writable: bool = False


@dataclass(frozen=True)
class Command:
    """One program to run apart. Sizes in bytes, times in seconds; None means no limit of that kind.

    `memory_bytes` bounds the address space of each process, `processes` how many there may be at once,
    `file_bytes` any one file written (the log too), `tmp_bytes` the private /tmp and /dev/shm. The program is
    ended when the disk of `stdout` has less than `keep_free` bytes left: it may be the one that fills it.
    `root_binds` come on top of the system's own read-only folders (see `system.py`); `masks` are folders
    among them to cover with nothing. With `record` the answer says what the program asked of the file system,
    where the kernel lets us hear it.
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
    """How a run ended. `code` is the exit status, or minus the number of the signal that ended the
    program."""

    code: int
    enforced: Enforced
    timed_out: bool
    seconds: float
    cpu_seconds: float = 0.0
    max_rss_bytes: int = 0
    disk_full: bool = False
    asked: Asked | None = None
