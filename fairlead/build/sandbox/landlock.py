"""Landlock: the kernel holds a program to a list of files and folders, where namespaces cannot be had.

Everything that is not listed is refused; nothing is hidden. A program still learns that a file is there
(stat, chdir and the names in a listed folder go through), may change modes, times and owners of what its
user owns, and lock files. It sees the machine's own processes, but may look into none of them. So this is a
weaker wall than a namespace, and results say so. What Landlock leaves open beside files is the matter of
filter.py: sockets, and calls that make namespaces.

Wanted is version 3 (Linux 6.2), the first that keeps a file from being truncated. With version 4 ports are
refused a second time, with 5 ioctl on devices, with 6 signals to processes outside.

Rejected: Landlock as a second layer in namespaces. Only what is mounted there can be reached, so it has
nothing to refuse; it would cost each action 0.5 ms, and each opened file half as much time again.

Standard library only: init.py loads this file by its path.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct

TYPE_CHECKING = False  # typing itself would cost each launcher some milliseconds
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

LEAST = 3
CREATE, ADD, RESTRICT = 444, 445, 446  # the same on all machines
ASK_VERSION, BENEATH = 1, 1
O_PATH = 0o10000000  # the same on all machines that the filter knows

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_DEVICES = 1 << 6 | 1 << 11
REFER, TRUNCATE, IOCTL = 1 << 13, 1 << 14, 1 << 15
EVERYTHING = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""Version -> all rights to files that it knows."""
READ = EXECUTE | READ_FILE | READ_DIR
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL
PORTS, SCOPES = 0b11, 0b11  # bind and connect; abstract Unix sockets and signals

READABLE = ("/proc", "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf")
"""What every program may read beside its binds. Files there of other processes stay closed to it."""
WRITABLE = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/shm")
"""/dev/shm is the machine's own: without it there are no semaphores, and most of multiprocessing is lost."""

libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """What this kernel has; 0 if it has none, or has it switched off."""
    found: int = libc.syscall(ctypes.c_long(CREATE), None, ctypes.c_size_t(0), ctypes.c_uint(ASK_VERSION))
    return max(found, 0)


def refusal() -> str:
    """Why this kernel cannot hold a program by Landlock, or "" if it seems so."""
    found = version()
    if not found:
        return "this kernel has no Landlock, or does not allow it"
    return "" if found >= LEAST else f"this kernel has version {found} of Landlock, and {LEAST} is needed"


def restrict(binds: Sequence[tuple[str, bool]], masks: Collection[str], *, network: bool = False) -> None:
    """Hold this process, and all that it starts, to `rules`. It must have given up new privileges
    (PR_SET_NO_NEW_PRIVS) before. OSError where the kernel refuses.
    """
    handled, found = rules(binds, masks, network=network)
    ruleset = _call(CREATE, handled, ctypes.c_size_t(len(handled)), 0)
    try:
        for path, rights in found:
            _add(ruleset, path, rights)
        _call(RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def rules(
    binds: Iterable[tuple[str, bool]], masks: Collection[str], *, network: bool = False
) -> tuple[bytes, list[tuple[str, int]]]:
    """What holds a program to `binds`, (path, whether it may be written): the kernel's struct that says what
    is handled, and the paths with the rights to them. Of these a file can have those `ON_FILES` alone.

    `masks` are folders below the binds that stay closed: their names can be read and nothing in them. A path
    may be one that is not there.
    """
    known = version()
    closed = {os.path.realpath(path) for path in masks}
    files = EVERYTHING[max(number for number in EVERYTHING if number <= known)]
    ports = PORTS if known >= 4 and not network else 0
    parts = [files, *([ports] if known >= 4 else []), *([SCOPES] if known >= 6 else [])]
    found = [(path, files & READ) for path in READABLE]
    found += [(path, files & ~MAKE_DEVICES & ~EXECUTE) for path in WRITABLE]
    for path, writable in binds:
        rights = files & ~MAKE_DEVICES & ~IOCTL if writable else files & READ
        inner = _around(os.path.realpath(path), closed)
        found += [(part, rights if whole else READ_DIR) for part, whole in inner]
    return struct.pack(f"{len(parts)}Q", *parts), found


def drop_capabilities() -> None:
    """Give up what root may do: else it could mount over the rules. With no new privileges it is for good."""
    if libc.capset(struct.pack("Ii", 0x20080522, 0), bytes(24)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _around(path: str, closed: set[str]) -> Iterator[tuple[str, bool]]:
    """`path`; or, as a rule covers all below it, the parts of it that hold no closed folder. Of a folder that
    is not taken whole the names may be read, for imports look at them."""
    if path in closed:
        return
    whole = not any(folder.startswith(f"{path}/") for folder in closed)
    yield path, whole
    if not whole:
        for name in os.listdir(path):
            yield from _around(f"{path}/{name}", closed)


def _add(ruleset: int, path: str, rights: int) -> None:
    """A rule; none if nothing stands at `path`."""
    try:
        found = os.open(path, O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(found).st_mode):
            rights &= ON_FILES
        rule = struct.pack("=Qi", rights, found)
        _call(ADD, ruleset, BENEATH, rule, 0)
    finally:
        os.close(found)


def _call(number: int, *arguments: object) -> int:
    done: int = libc.syscall(ctypes.c_long(number), *arguments)
    if done < 0:
        problem = ctypes.get_errno()
        raise OSError(problem, os.strerror(problem))
    return done
