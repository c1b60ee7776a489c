"""The system call filter (seccomp): what no program that runs apart may ask of the kernel.

Three filters:

- `launcher`: calls that tests and build steps have no use for and that have often been ways into the kernel:
  io_uring, bpf, userfaultfd, keys, performance counters. The launcher puts itself under it once, and with it
  all that it starts, at every level: making a filter takes the kernel 0.2 to 0.4 ms, far too much for each
  action. In namespaces it is a second layer; what mounts and makes namespaces is missing in it, for the
  launcher does so itself, and the program has no rights to.
- `landlock`, for each program at that level: the same; nothing that makes or joins namespaces or mounts; and
  no network: no socket but a Unix stream, and no `connect`, for by its path or name a program would reach
  what acts for it outside (a container engine, a session's service manager). The filter cannot tell loopback
  from the world, as addresses lie in memory that may change after the look; so there is no loopback either.
  Socket pairs work.
- `none`, for each program at that level: only `kill(-1)`, which would end everything of the user's on the
  machine, is refused. There are no walls then, and a filter alone would be a false promise.

A filter sees numbers and registers, no paths: landlock.py has those. io_uring, which could do refused calls
out of the filter's sight, "does not exist" (ENOSYS), as does clone3, whose flags lie in memory; libraries
then use what is older. Other calling conventions (32 bits) have other numbers: at `landlock` they do not
exist, for `launcher` they have a table of their own.

Rejected: to allow a list and refuse the rest (every new kernel would break programs), and libseccomp (a
package to install). Standard library only: init.py loads this file by its path.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

TYPE_CHECKING = False  # typing itself would cost each launcher some milliseconds
if TYPE_CHECKING:
    from typing import TypeAlias

    Line: TypeAlias = tuple[int, int, int, int]

NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "socket": 41, "connect": 42, "socketpair": 53, "clone": 56, "kill": 62, "pivot_root": 155,
        "mount": 165, "umount2": 166, "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272,
        "perf_event_open": 298, "open_by_handle_at": 304, "setns": 308, "bpf": 321, "userfaultfd": 323,
    },
    "aarch64": {
        "umount2": 39, "mount": 40, "pivot_root": 41, "unshare": 97, "kill": 129, "socket": 198,
        "socketpair": 199, "connect": 203, "add_key": 217, "request_key": 218, "keyctl": 219, "clone": 220,
        "perf_event_open": 241, "open_by_handle_at": 265, "setns": 268, "bpf": 280, "userfaultfd": 282,
    },
    "i386": {
        "add_key": 286, "request_key": 287, "keyctl": 288, "perf_event_open": 336,
        "open_by_handle_at": 342, "bpf": 357, "userfaultfd": 374,
    },
    "arm": {
        "add_key": 309, "request_key": 310, "keyctl": 311, "perf_event_open": 364,
        "open_by_handle_at": 371, "bpf": 386, "userfaultfd": 388,
    },
}  # fmt: skip
"""Calling convention -> system call -> number, from the kernel's tables."""

EVERYWHERE = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "clone3": 435,
    "mount_setattr": 442, "open_tree_attr": 467,
}  # fmt: skip
"""The newer calls, which have one number on all machines."""

RISKY = {
    **dict.fromkeys(("io_uring_setup", "io_uring_enter", "io_uring_register"), errno.ENOSYS),
    **dict.fromkeys(("bpf", "userfaultfd", "perf_event_open", "open_by_handle_at"), errno.EPERM),
    **dict.fromkeys(("add_key", "request_key", "keyctl"), errno.EPERM),
}
"""Refused to everybody, with the error that the caller gets."""

WALLS = {
    "clone3": errno.ENOSYS,
    **dict.fromkeys(("unshare", "setns", "mount", "umount2", "pivot_root", "move_mount"), errno.EPERM),
    **dict.fromkeys(("fsopen", "fsconfig", "fsmount", "fspick"), errno.EPERM),
    **dict.fromkeys(("mount_setattr", "open_tree", "open_tree_attr"), errno.EPERM),
}
"""Refused where no namespace does."""

ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "i386": 0x40000003, "arm": 0x40000028}
OTHERS = {"x86_64": "i386", "aarch64": "arm"}
SECCOMP = {"x86_64": 317, "aarch64": 277}
SET_MODE_FILTER = 1
NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID, NET
AF_UNIX, SOCK_STREAM, SOCK_SEQPACKET, KINDS = 1, 1, 5, 0xF
EVERYONE = 0xFFFFFFFF  # -1 as the process to signal
NEWER, X32 = min(EVERYWHERE.values()), 0x40000000
ERRNO = 0x00050000
LOAD, AND, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCH, FIRST, SECOND = 0, 4, 16, 24  # where the kernel puts them; of arguments the lower halves
ALLOW: Line = (RETURN, 0, 0, 0x7FFF0000)

libc = ctypes.CDLL(None, use_errno=True)


def install(name: str, *, network: bool = False) -> None:
    """Put this process, and all that it starts, under the filter `name`; OSError where it cannot be.

    It must have given up new privileges (PR_SET_NO_NEW_PRIVS) before. With `network` no socket is refused.
    """
    machine = os.uname().machine
    if machine not in SECCOMP:
        raise OSError(errno.ENOSYS, f"no table of system calls for {machine}")
    code = instructions(name, machine, network=network)
    held = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(held))
    number = ctypes.c_long(SECCOMP[machine])
    if libc.syscall(number, ctypes.c_uint(SET_MODE_FILTER), ctypes.c_uint(0), program) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def instructions(name: str, machine: str, *, network: bool = False) -> bytes:
    """The filter, in the kernel's packet filter code; KeyError for an unknown machine."""
    gone = _refuse(errno.ENOSYS)
    if name == "launcher":
        own, foreign = _listed(machine, RISKY), [*_foreign(OTHERS[machine]), gone]
    elif name == "landlock":
        own, foreign = [*_listed(machine, RISKY | WALLS), *_clones(machine), *_signals(machine)], [gone]
        own += [] if network else _sockets(machine)
    else:
        own, foreign = _signals(machine), [ALLOW]
    body = [(LOAD, 0, 0, NUMBER), *_when(AT_LEAST, X32, foreign[-1:]), *own, ALLOW]
    code = [(LOAD, 0, 0, ARCH), *_when(EQUAL, ARCHES[machine], body), *foreign]
    return b"".join(struct.pack("HBBI", *line) for line in code)


def _when(test: int, value: int, then: list[Line]) -> list[Line]:
    """`then`, which must return in each way through it, if the test holds; else what comes next."""
    return [(test, 0, len(then), value), *then]


def _refuse(number: int) -> Line:
    return (RETURN, 0, 0, ERRNO | number)


def _listed(convention: str, refused: dict[str, int]) -> list[Line]:
    """Calls that are refused whatever their arguments are. Few calls are as new as 425: one look for them."""
    numbers = NUMBERS[convention] | EVERYWHERE
    ends = [(numbers[name], [_refuse(error)]) for name, error in refused.items()]
    newer = [line for number, end in ends if number >= NEWER for line in _when(EQUAL, number, end)]
    older = [line for number, end in ends if number < NEWER for line in _when(EQUAL, number, end)]
    return [*_when(AT_LEAST, NEWER, [*newer, ALLOW]), *older]


def _foreign(convention: str) -> list[Line]:
    """What is refused in the machine's other calling convention."""
    body = [(LOAD, 0, 0, NUMBER), *_listed(convention, RISKY), ALLOW]
    return _when(EQUAL, ARCHES[convention], body)


def _clones(machine: str) -> list[Line]:
    flags = [(LOAD, 0, 0, FIRST), *_when(ANY_BIT, NEW_NAMESPACES, [_refuse(errno.EPERM)]), ALLOW]
    return _when(EQUAL, NUMBERS[machine]["clone"], flags)


def _signals(machine: str) -> list[Line]:
    everyone = [(LOAD, 0, 0, FIRST), *_when(EQUAL, EVERYONE, [_refuse(errno.EPERM)]), ALLOW]
    return _when(EQUAL, NUMBERS[machine]["kill"], everyone)


def _sockets(machine: str) -> list[Line]:
    """Unix streams alone, and no connection: a datagram could be sent to any name without one."""
    numbers, no = NUMBERS[machine], _refuse(errno.EACCES)
    kinds = [(LOAD, 0, 0, SECOND), (AND, 0, 0, KINDS)]
    kinds += [*_when(EQUAL, SOCK_STREAM, [ALLOW]), *_when(EQUAL, SOCK_SEQPACKET, [ALLOW]), no]
    made = [(LOAD, 0, 0, FIRST), *_when(EQUAL, AF_UNIX, kinds), no]
    lines = _when(EQUAL, numbers["connect"], [no])
    return [*lines, *_when(EQUAL, numbers["socket"], made), *_when(EQUAL, numbers["socketpair"], made)]
