"""The recorder: hears every file call of a program and of all it starts, and notes what was asked for.

The program installs a seccomp filter that reports its file calls to a listener (user notification, Linux
5.5); the launcher holds the listener, reads the path from the caller's memory, and lets the call go on. So
nothing is refused, no root and no ptrace is needed, and children, C extensions and libc itself are heard;
what was *not* there is heard too, since it is the question that is noted and not the answer. The answer is
found afterwards: a sandboxed program's files are fixed, so whoever reads the record looks at the same tree.
Links that the program makes and names that it changes are noted too: that tree has none of them.

A path can change between the look and the call, by another thread: good enough to record what honest
programs do, never to enforce anything. Not heard: what comes through descriptors that were inherited or
passed, paths of Unix sockets, and the program that a script's first line names. Asynchronous calls
(io_uring) cannot be heard, so the filter answers that this kernel has none. A call in another calling
convention (32 bits) goes on, and makes the record incomplete.

Rejected: ptrace (strace costs 1.8 times the time on such suites), LD_PRELOAD (misses static programs and
libc's own calls), audit hooks (miss stat, C code and children). A supervisor in C was weighed: see
docs/performance.md.

Standard library only: sandbox/init.py loads this file by its path.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import re
import select
import socket
import struct

TYPE_CHECKING = False  # typing itself would cost each run some milliseconds
if TYPE_CHECKING:
    from typing import TypeAlias

    Places: TypeAlias = tuple[tuple[int, int], ...]

CWD = -1
"""In CALLS, for the argument that holds a folder's descriptor: there is none, the working folder counts."""

CALLS: dict[str, tuple[str, Places]] = {
    "open": ("open", ((CWD, 0),)),
    "creat": ("open", ((CWD, 0),)),
    "openat": ("open", ((0, 1),)),
    "openat2": ("open", ((0, 1),)),
    "open_tree": ("open", ((0, 1),)),
    "execve": ("open", ((CWD, 0),)),
    "execveat": ("open", ((0, 1),)),
    "truncate": ("open", ((CWD, 0),)),
    "getdents": ("list", ()),
    "getdents64": ("list", ()),
    "readlink": ("link", ((CWD, 0),)),
    "readlinkat": ("link", ((0, 1),)),
    "stat": ("stat", ((CWD, 0),)),
    "lstat": ("stat", ((CWD, 0),)),
    "newfstatat": ("stat", ((0, 1),)),
    "statx": ("stat", ((0, 1),)),
    "statfs": ("stat", ((CWD, 0),)),
    "access": ("stat", ((CWD, 0),)),
    "faccessat": ("stat", ((0, 1),)),
    "faccessat2": ("stat", ((0, 1),)),
    "chdir": ("stat", ((CWD, 0),)),
    "getxattr": ("stat", ((CWD, 0),)),
    "lgetxattr": ("stat", ((CWD, 0),)),
    "listxattr": ("stat", ((CWD, 0),)),
    "llistxattr": ("stat", ((CWD, 0),)),
    "setxattr": ("stat", ((CWD, 0),)),
    "lsetxattr": ("stat", ((CWD, 0),)),
    "removexattr": ("stat", ((CWD, 0),)),
    "lremovexattr": ("stat", ((CWD, 0),)),
    "inotify_add_watch": ("stat", ((CWD, 1),)),
    "name_to_handle_at": ("stat", ((0, 1),)),
    "mkdir": ("stat", ((CWD, 0),)),
    "mkdirat": ("stat", ((0, 1),)),
    "mknod": ("stat", ((CWD, 0),)),
    "mknodat": ("stat", ((0, 1),)),
    "rmdir": ("stat", ((CWD, 0),)),
    "unlink": ("stat", ((CWD, 0),)),
    "unlinkat": ("stat", ((0, 1),)),
    "rename": ("stat", ((CWD, 0), (CWD, 1))),
    "renameat": ("stat", ((0, 1), (2, 3))),
    "renameat2": ("stat", ((0, 1), (2, 3))),
    "link": ("stat", ((CWD, 0), (CWD, 1))),
    "linkat": ("stat", ((0, 1), (2, 3))),
    "symlink": ("stat", ((CWD, 1),)),
    "symlinkat": ("stat", ((1, 2),)),
    "chmod": ("stat", ((CWD, 0),)),
    "fchmodat": ("stat", ((0, 1),)),
    "fchmodat2": ("stat", ((0, 1),)),
    "chown": ("stat", ((CWD, 0),)),
    "lchown": ("stat", ((CWD, 0),)),
    "fchownat": ("stat", ((0, 1),)),
    "utime": ("stat", ((CWD, 0),)),
    "utimes": ("stat", ((CWD, 0),)),
    "futimesat": ("stat", ((0, 1),)),
    "utimensat": ("stat", ((0, 1),)),
}
"""System call -> what it asks (open: the bytes, list: a folder's names, link: where a link leads, stat:
whether and what something is), and the arguments that hold a folder's descriptor and a path."""

NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "open": 2, "stat": 4, "lstat": 6, "access": 21, "execve": 59, "truncate": 76, "getdents": 78,
        "chdir": 80, "rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85, "link": 86, "unlink": 87,
        "symlink": 88, "readlink": 89, "chmod": 90, "chown": 92, "lchown": 94, "utime": 132, "mknod": 133,
        "statfs": 137, "setxattr": 188, "lsetxattr": 189, "getxattr": 191, "lgetxattr": 192,
        "listxattr": 194, "llistxattr": 195, "removexattr": 197, "lremovexattr": 198, "getdents64": 217,
        "utimes": 235, "inotify_add_watch": 254, "openat": 257, "mkdirat": 258, "mknodat": 259,
        "fchownat": 260, "futimesat": 261, "newfstatat": 262, "unlinkat": 263, "renameat": 264,
        "linkat": 265, "symlinkat": 266, "readlinkat": 267, "fchmodat": 268, "faccessat": 269,
        "utimensat": 280, "name_to_handle_at": 303, "renameat2": 316, "execveat": 322, "statx": 332,
        "open_tree": 428, "openat2": 437, "faccessat2": 439, "fchmodat2": 452,
    },
    "aarch64": {
        "setxattr": 5, "lsetxattr": 6, "getxattr": 8, "lgetxattr": 9, "listxattr": 11, "llistxattr": 12,
        "removexattr": 14, "lremovexattr": 15, "inotify_add_watch": 27, "mknodat": 33, "mkdirat": 34,
        "unlinkat": 35, "symlinkat": 36, "linkat": 37, "renameat": 38, "statfs": 43, "truncate": 45,
        "faccessat": 48, "chdir": 49, "fchmodat": 53, "fchownat": 54, "openat": 56, "getdents64": 61,
        "readlinkat": 78, "newfstatat": 79, "utimensat": 88, "execve": 221, "name_to_handle_at": 264,
        "renameat2": 276, "execveat": 281, "statx": 291, "open_tree": 428, "openat2": 437,
        "faccessat2": 439, "fchmodat2": 452,
    },
}  # fmt: skip
"""Processor -> system call -> number, from the kernel's tables."""

ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
SECCOMP = {"x86_64": 317, "aarch64": 277}
IO_URING_SETUP = 425
X32 = 0x40000000
SET_MODE_FILTER, NEW_LISTENER, WAIT_KILLABLE = 1, 8, 32
ALLOW, NOTIFY, REFUSE = 0x7FFF0000, 0x7FC00000, 0x00050000 | errno.ENOSYS
RECEIVE, SEND, SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082104
CONTINUE, SYNC_WAKE_UP = 1, 1
PR_SET_DUMPABLE = 4
AT_FDCWD = -100
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
MOST = 400_000
"""Distinct questions that are noted; a program that asks more has no whole record."""

SCRIPTS = 5
"""Interpreters that are scripts themselves, as deep as the kernel follows them."""

MOVES = ("rename", "renameat", "renameat2", "link", "linkat")
"""Calls that give a file or folder another name."""

LINKS = 40
"""Symbolic links that are followed for one path, as in Linux."""

_UP = re.compile(rb"/\.\.(?=/|$)")
_SELF = re.compile(rb"/proc/(self|thread-self|self/task/\d+)/(cwd|root|fd/\d+)(?=/|$)")
_OTHER = re.compile(rb"/proc/\d+/(task/\d+/)?(cwd|root|fd/\d+)(/|$)")

libc = ctypes.CDLL(None, use_errno=True)
if os.uname().sysname == "Linux":
    libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4


# ---------------------------------------------------------------- in the program, before it starts


def instructions(machine: str) -> bytes:
    """The filter, in the kernel's packet filter code: file calls are reported, the rest goes on."""
    numbers = sorted(NUMBERS[machine][name] for name in NUMBERS[machine])
    length = len(numbers)
    code = [(LOAD, 0, 0, 4), (EQUAL, 0, length + 4, ARCHES[machine]), (LOAD, 0, 0, 0)]
    code.append((AT_LEAST, length + 2, 0, X32))
    code.append((EQUAL, length + 2, 0, IO_URING_SETUP))
    code += [(EQUAL, length - place, 0, number) for place, number in enumerate(numbers)]
    code += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, NOTIFY), (RETURN, 0, 0, REFUSE)]
    return b"".join(struct.pack("HBBI", *line) for line in code)


def install() -> int:
    """Put this process under the filter; the listener's descriptor. OSError where the kernel refuses."""
    machine = os.uname().machine
    if machine not in NUMBERS:
        raise OSError(errno.ENOSYS, f"no table of system calls for {machine}")
    code = instructions(machine)
    held = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(held))
    for flags in (NEW_LISTENER | WAIT_KILLABLE, NEW_LISTENER):
        found: int = libc.syscall(
            ctypes.c_long(SECCOMP[machine]), ctypes.c_uint(SET_MODE_FILTER), ctypes.c_uint(flags), program
        )
        if found >= 0:
            return found
        number = ctypes.get_errno()
        if number != errno.EINVAL:
            break
    raise OSError(number, os.strerror(number))


def offer(channel: socket.socket) -> None:
    """Install the filter and send its listener through `channel`, or why there is none. From here to its
    own start the program may make no file call: nobody would answer before the listener is received."""
    try:
        listener = install()
    except OSError as error:
        channel.sendall(f"no{error.strerror}".encode())
    else:
        libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # until it starts, the memory is still our own hidden one
        channel.sendmsg([b"ok"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", listener))])
        os.close(listener)
    channel.close()


# ---------------------------------------------------------------- in the launcher, while it runs


class _Slice(ctypes.Structure):
    """struct iovec"""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Recorder:
    """Answers the listener and notes the questions. Use: `run(done)`, then `document()`."""

    def __init__(self, channel: socket.socket) -> None:
        self.asked: dict[str, set[bytes]] = {"open": set(), "stat": set(), "list": set(), "link": set()}
        self.opens: dict[bytes, int] = {}
        self.listings: dict[bytes, int] = {}
        self.names: dict[bytes, set[bytes]] = {}
        self.calls = 0
        self.incomplete = ""
        self.refused = ""
        self.listener = self._receive(channel)
        machine = os.uname().machine
        self._arch = ARCHES.get(machine, 0)
        known = NUMBERS.get(machine, {})
        self._table = {number: CALLS[name] for name, number in known.items()}
        self._starts = {known[name] for name in ("execve", "execveat") if name in known}
        self._symlinks = {known[name] for name in ("symlink", "symlinkat") if name in known}
        self._moves = {known[name] for name in MOVES if name in known}
        self._buffer = ctypes.create_string_buffer(4096)
        self._local, self._remote = _Slice(ctypes.addressof(self._buffer), 0), _Slice(0, 0)
        self._read = getattr(libc, "process_vm_readv", None)
        if self._read is not None:
            slices, number = ctypes.POINTER(_Slice), ctypes.c_ulong
            self._read.argtypes = [ctypes.c_int, slices, number, slices, number, number]
            self._read.restype = ctypes.c_ssize_t

    def _receive(self, channel: socket.socket) -> int:
        with channel:
            said, extra, _, _ = channel.recvmsg(4096, socket.CMSG_SPACE(4))
        if said[:2] == b"ok" and extra:
            listener: int = struct.unpack("i", extra[0][2][:4])[0]
            os.set_inheritable(listener, False)
            return listener
        self.refused = said[2:].decode("utf-8", "replace") or "the program did not start"
        return -1

    def run(self, done: int) -> None:
        """Answer until the descriptor `done` can be read, or all that was under the filter has ended."""
        if self.listener < 0:
            return
        try:  # keeps caller and supervisor on one processor (Linux 6.6): no wait for another to wake up
            fcntl.ioctl(self.listener, SET_FLAGS, SYNC_WAKE_UP)
        except OSError:
            pass
        waiting = select.poll()
        waiting.register(self.listener, select.POLLIN)
        waiting.register(done, select.POLLIN)
        question, empty = bytearray(80), bytes(80)
        unpack, pack = struct.Struct("=QIIiIQ6Q").unpack, struct.Struct("=QqiI").pack
        try:
            while True:
                ready = dict(waiting.poll())
                if not ready.get(self.listener, 0) & select.POLLIN:
                    return
                question[:] = empty
                try:
                    fcntl.ioctl(self.listener, RECEIVE, question)
                except (FileNotFoundError, InterruptedError):  # who asked has been killed meanwhile
                    continue
                number, pid, _, call, arch, _, *arguments = unpack(question)
                found = self._look(pid, call, arguments) if arch == self._arch else None
                try:
                    fcntl.ioctl(self.listener, SEND, pack(number, 0, 0, CONTINUE))
                except FileNotFoundError:  # the same; what was read may be another's memory
                    continue
                self.calls += 1
                if found is None:
                    self._lacks("a program used another calling convention")
                else:
                    kind, paths = found
                    self.asked[kind].update(paths)
                    if kind == "open":
                        for path in paths:
                            self.opens[path] = self.opens.get(path, 0) + 1
                    if not self.calls % 4096 and sum(map(len, self.asked.values())) > MOST:
                        self._lacks("it asks for too many files")
                        self.asked = {kind: set() for kind in self.asked}
                        self.opens, self.listings = {}, {}
        finally:
            os.close(self.listener)

    def _lacks(self, why: str) -> None:
        self.incomplete = self.incomplete or why

    def _look(self, pid: int, call: int, arguments: list[int]) -> tuple[str, list[bytes]] | None:
        entry = self._table.get(call)
        if entry is None:
            return None
        kind, places = entry
        if not places:
            descriptor = arguments[0] & 0xFFFFFFFF
            folder = self._linked(pid, b"fd/%d" % descriptor)
            if self._begins(pid, descriptor):
                self.listings[folder] = self.listings.get(folder, 0) + 1
            return kind, [folder] if folder.startswith(b"/") else []
        found = []
        for folder_at, path_at in places:
            path = self._text(pid, arguments[path_at])
            if not path:
                continue
            if path.startswith((b"/proc/", b"/dev/fd/")):
                path = self._through(pid, path)
            if not path.startswith(b"/"):
                descriptor = AT_FDCWD
                if folder_at != CWD:
                    descriptor = ctypes.c_int(arguments[folder_at] & 0xFFFFFFFF).value
                base = self._linked(pid, b"cwd" if descriptor == AT_FDCWD else b"fd/%d" % descriptor)
                if not base:
                    continue  # no such descriptor: the call fails whatever the files are
                path = base + b"/" + path
            found.append(self._climbed(pid, path) if _UP.search(path) else path)
        if call in self._starts and found:
            found += self._interpreters(pid, found[0])
        elif call in self._symlinks and found:
            if not os.path.lexists(b"/proc/%d/root%b" % (pid, found[0])):  # else the call fails
                self._leads(found[0], self._target(pid, found[0], arguments[0]))
        elif call in self._moves and len(found) == 2:
            self._leads(found[1], found[0])
            self._leads(found[0], found[1])  # they may change places
        return kind, found

    def _leads(self, name: bytes, place: bytes) -> None:
        """From now on `name` may be another name of what is, or was, at `place`."""
        self.names.setdefault(name, set()).add(place or name)

    def _target(self, pid: int, link: bytes, address: int) -> bytes:
        """The path that a new symbolic link stands for; "" for none."""
        target = self._text(pid, address)
        if target.startswith((b"/proc/", b"/dev/fd/")):
            target = self._through(pid, target)
        if target and not target.startswith(b"/"):
            target = self._real(pid, link.rstrip(b"/").rpartition(b"/")[0]) + b"/" + target
        return self._climbed(pid, target) if _UP.search(target) else target

    def _interpreters(self, pid: int, path: bytes) -> list[bytes]:
        """The programs that the first lines of a script, and of its interpreter, name: the kernel opens them
        without a call that could be heard."""
        found: list[bytes] = []
        while len(found) < SCRIPTS:
            try:
                file = os.open(b"/proc/%d/root%b" % (pid, path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    line = os.read(file, 256).partition(b"\n")[0]
                finally:
                    os.close(file)
            except OSError:
                break
            words = line[2:].split() if line.startswith(b"#!") else []
            if not words:
                break
            path = words[0] if words[0].startswith(b"/") else self._linked(pid, b"cwd") + b"/" + words[0]
            path = self._climbed(pid, path) if _UP.search(path) else path
            found.append(path)
        return found

    def _climbed(self, pid: int, path: bytes) -> bytes:
        """A path without its `..`, each of which leads up from where the links before it lead, as the process
        sees them now. What stands before one is asked about too."""
        place = b""
        for part in path.split(b"/"):
            if part == b"..":
                self.asked["stat"].add(place or b"/")
                place = self._real(pid, place).rpartition(b"/")[0]
            elif part not in (b"", b"."):
                place += b"/" + part
        return place or b"/"

    def _real(self, pid: int, path: bytes) -> bytes:
        todo, done, links = path.split(b"/")[::-1], b"", 0
        while todo:
            part = todo.pop()
            if part == b"..":
                done = done.rpartition(b"/")[0]
            elif part not in (b"", b"."):
                target = self._linked(pid, b"root" + done + b"/" + part)
                links += 1 if target else 0
                if not target or links > LINKS:
                    done += b"/" + part
                    continue
                todo += target.split(b"/")[::-1]
                done = b"" if target.startswith(b"/") else done
        return done

    def _text(self, pid: int, address: int) -> bytes:
        """The text at an address of a process, which ends with a zero byte; "" if there is none."""
        if not address or self._read is None:
            return b""
        text, piece = b"", 256
        while len(text) < 4096:
            size = min(
                piece, 4096 - address % 4096
            )  # never over the end of a page: the next may be no memory
            self._local.length = self._remote.length = size
            self._remote.base = address
            done = self._read(pid, self._local, 1, self._remote, 1, 0)
            if done != size:
                if done < 0 and ctypes.get_errno() == errno.EPERM:
                    self._lacks("the kernel does not show the program's memory")
                return b""
            read = self._buffer.raw[:size]
            end = read.find(b"\0")
            if end >= 0:
                return text + read[:end]
            text += read
            address += size
            piece = 4096
        return b""  # longer than any path may be: the call fails

    def _begins(self, pid: int, descriptor: int) -> bool:
        """Whether a listing is at its beginning; one takes several calls."""
        try:
            with open(b"/proc/%d/fdinfo/%d" % (pid, descriptor), "rb") as stream:
                return b"pos:\t0\n" in stream.read()
        except OSError:
            return True

    def _linked(self, pid: int, name: bytes) -> bytes:
        try:
            return os.readlink(b"/proc/%d/%b" % (pid, name))
        except OSError:
            return b""

    def _through(self, pid: int, path: bytes) -> bytes:
        """A path through /proc/self/cwd and the like, as the path that it stands for."""
        if path.startswith(b"/dev/fd/"):
            path = b"/proc/self" + path[4:]
        found = _SELF.match(path)
        if found:
            base = self._linked(pid, found[2])
            return base.rstrip(b"/") + path[found.end() :] if base.startswith(b"/") else path
        if _OTHER.match(path):
            self._lacks("a program looked through another's working folder or descriptors")
        return path

    def document(self) -> bytes:
        """What was asked, as JSON: see record/asked.py."""
        asked = {kind: sorted(map(_normal, paths)) for kind, paths in self.asked.items()}
        opens, listings = _counted(self.opens), _counted(self.listings)
        return json.dumps(
            {
                "recorder": "none" if self.listener < 0 else "seccomp",
                "refused": self.refused,
                "incomplete": self.incomplete,
                "calls": self.calls,
                "asked": asked,
                "again": {path: count for path, count in opens.items() if count > 1},
                "listings": listings,
                "names": {_normal(name): sorted(map(_normal, to)) for name, to in self.names.items()},
            }
        ).encode("utf-8", "surrogatepass")


def _normal(path: bytes) -> str:
    return os.path.normpath(os.fsdecode(path))


def _counted(found: dict[bytes, int]) -> dict[str, int]:
    """Counts by normal path."""
    counts: dict[str, int] = {}
    for named, count in found.items():
        path = _normal(named)
        counts[path] = counts.get(path, 0) + count
    return counts
