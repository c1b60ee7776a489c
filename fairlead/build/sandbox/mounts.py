"""What a sandboxed program sees of the disk: its root folder, made of mounts. init.py loads this file by its
path; standard library only.

A root has two halves. The *lasting* half is the same for many commands: system folders, toolchains, /dev, a
little of /etc. The launcher mounts it once, on a tmpfs in a mount namespace of its own. The *own* half is
made for each command in a copy of that namespace: what the command alone may see, /tmp, /proc. So a command
pays for its own mounts alone, and what it mounted goes with it.

Nothing passes from a command to the next in the lasting half: all of it is read-only for programs, in the
copy, and the places where own binds are mounted are made and removed by the launcher.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct

TYPE_CHECKING = False  # typing itself would cost each launcher some milliseconds
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TypeAlias

    Spec: TypeAlias = dict[str, Any]
    Rows: TypeAlias = list[tuple[str, str, str, list[int] | None]]

CLONE_NEWNS = 0x20000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_REC, MS_PRIVATE = 1024, 2048, 4096, 16384, 1 << 18
MS_RELATIME = 1 << 21
MNT_DETACH = 2
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
OPEN_TREE_CLONE, MOVE_MOUNT_F_EMPTY_PATH, MOUNT_ATTR_IDMAP = 1, 4, 1 << 20
NEW_SYSCALLS = {"open_tree": 428, "move_mount": 429, "mount_setattr": 442}  # the same on all machines
SYSCALLS = {
    "x86_64": {"clone": 56, "pivot_root": 155, "keyctl": 250, **NEW_SYSCALLS},
    "aarch64": {"clone": 220, "pivot_root": 41, "keyctl": 219, **NEW_SYSCALLS},
}
NUMBERS = SYSCALLS.get(os.uname().machine, {})
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
INSIDE = 1000  # user and group number of the program inside
ROOTS = ("/sys", "/mnt", "/srv", "/media")
"""Folders that a root may be mounted over, in a namespace where nobody looks for what they hold."""

NO_LEVERS = ("sys", "bus", "fs", "irq")
NO_SECRETS = ("kcore", "keys", "key-users", "kmsg", "sysrq-trigger", "timer_list", "kallsyms")
"""Parts of /proc that are read-only, and that are empty."""

# Calls keep the interpreter's lock: a launcher has one thread, and what `clone` makes of it holds it too.
libc = ctypes.PyDLL(None, use_errno=True)
if hasattr(libc, "prctl"):
    libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
if NUMBERS:
    libc.mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]
    libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]


class StaleError(Exception):
    """The disk as the launcher sees it is not the caller's any more: something has been mounted since."""


class SetupError(Exception):
    """A step of making the sandbox that the kernel refused; the text says which."""


def call(what: str, name: str, *args: object) -> None:
    """Call a libc function; a negative answer raises SetupError naming the step."""
    if getattr(libc, name)(*args) < 0:
        raise SetupError(f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(source: str, target: str, kind: bytes | None, flags: int, options: str = "") -> None:
    """mount(2), paths as Python has them."""
    if libc.mount(os.fsencode(source), os.fsencode(target), kind, flags, options.encode() or None) < 0:
        raise SetupError(f"mount {target}: {os.strerror(ctypes.get_errno())}")


def syscall(name: str, *args: object) -> int:
    """A system call without a libc wrapper; -1 where it fails or this machine's number is not known."""
    number = NUMBERS.get(name)
    return -1 if number is None else int(libc.syscall(ctypes.c_long(number), *args))


class Root:
    """The lasting half, mounted, and the places in it for what one command adds."""

    def __init__(self, base: Spec) -> None:
        """In the launcher, in namespaces of its own: mount what lasts."""
        call("a new mount namespace", "unshare", ctypes.c_int(CLONE_NEWNS))
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        self.at = free_folder(row[0] for row in base["binds"])
        self.size = f"size={base['tmp']}"
        self.lasting: set[str] = set()
        self.made: list[str] = []  # for the places below, in order of making
        self.places: dict[str, str] = {}
        root = self.at
        mount("sandbox", root, b"tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=16m")
        for source, dest, _, _ in base["binds"]:
            if os.path.islink(source):
                self.make_place(dest, f"link:{os.readlink(source)}")
                continue
            if not self.is_covered(dest):
                self.make_place(dest, "folder" if os.path.isdir(source) else "file")
            bind(source, root + dest, readonly=True)
            self.lasting.add(dest)
        cover(root, base["masks"])
        self.make_etc(base["hostname"])
        self.make_dev()
        for name in ("tmp", "proc", "run", "var"):
            os.makedirs(f"{root}/{name}", mode=0o755, exist_ok=True)
        if not os.path.lexists(root + "/var/tmp"):
            os.symlink("/tmp", root + "/var/tmp")
        socket.sethostname(base["hostname"])
        self.made.clear()  # they stay
        self.places.clear()

    # -- in the launcher

    def is_covered(self, dest: str) -> bool:
        """Whether a lasting bind lies at or around `dest`, where nothing is ours to make."""
        return dest in self.lasting or any(outer in self.lasting for outer in around(dest))

    def prepare(self, binds: Rows) -> None:
        """Make the places that the next command's own binds need, and see that there are no others."""
        own: set[str] = set()
        wanted = {}
        for source, dest, _, seen in binds:
            if seen != identity(source):
                raise StaleError
            if not self.is_covered(dest) and not any(outer in own for outer in around(dest)):
                wanted[dest] = kind_of(source)
            own.add(dest)
        if wanted == self.places:
            return
        for path in reversed(self.made):
            if os.path.isdir(path) and not os.path.islink(path):
                os.rmdir(path)
            else:
                os.unlink(path)
        self.made.clear()
        self.places = {}
        for dest, kind in wanted.items():
            self.make_place(dest, kind)
        self.places = wanted

    def make_place(self, dest: str, kind: str) -> None:
        """A folder or file to mount on, or a link, in the tmpfs."""
        at = self.at
        *parents, name = dest[1:].split("/")
        for part in parents:
            at += "/" + part
            if not os.path.isdir(at):
                os.mkdir(at, 0o755)
                self.made.append(at)
        at += "/" + name
        if kind.startswith("link:"):
            os.symlink(kind.removeprefix("link:"), at)
        elif kind == "file":
            os.close(os.open(at, os.O_CREAT | os.O_WRONLY, 0o644))
        elif os.path.isdir(at):  # the tmpfs's own, such as /dev
            return
        else:
            os.mkdir(at, 0o755)
        self.made.append(at)

    def make_etc(self, hostname: str) -> None:
        """The few files programs look up: who am I, who is localhost, how names are resolved."""
        folder = self.at + "/etc"
        os.makedirs(folder, exist_ok=True)
        texts = {
            "passwd": f"root:x:0:0:root:/:/bin/sh\nsandbox:x:{INSIDE}:{INSIDE}:sandbox:/tmp:/bin/sh\n",
            "group": f"root:x:0:\nsandbox:x:{INSIDE}:\n",
            "hosts": f"127.0.0.1 localhost {hostname}\n::1 localhost {hostname}\n",
            "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
            "host.conf": "multi on\n",
        }
        for name, text in texts.items():
            if not os.path.lexists(f"{folder}/{name}"):
                with open(f"{folder}/{name}", "w", encoding="ascii") as stream:
                    stream.write(text)

    def make_dev(self) -> None:
        """The devices that every program may use, and a place for its shared memory."""
        dev = self.at + "/dev"
        os.mkdir(dev)
        for name in ("null", "zero", "full", "random", "urandom"):
            os.close(os.open(f"{dev}/{name}", os.O_CREAT | os.O_WRONLY, 0o644))
            mount(f"/dev/{name}", f"{dev}/{name}", None, MS_BIND)
        os.mkdir(dev + "/shm")
        os.symlink("/proc/self/fd", dev + "/fd")
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            os.symlink(f"/proc/self/fd/{number}", f"{dev}/{name}")

    # -- in the first process of a command, in a mount namespace of its own

    def enter(self, spec: Spec, lowers: dict[str, int]) -> list[str]:
        """Mount what is the command's own and leave everything else for good. Returns where an overlay was
        asked for and only a read-only bind could be had. `lowers`: see `mount_overlay`."""
        root = self.at
        bound: set[str] = set()
        overlaid: set[str] = set()
        refused: list[str] = []
        for source, dest, kind, _ in spec["binds"]:
            if self.places.get(dest, "").startswith("link:"):
                continue
            outer = next((outer for outer in around(dest) if outer in bound or outer in self.lasting), "")
            if outer in overlaid:
                make_in_overlay(root + outer, dest[len(outer) + 1 :], os.path.isdir(source))
            elif outer and (not os.path.lexists(root + dest) or os.path.islink(root + dest)):
                raise SetupError(f"{dest} is not there to be mounted on")  # a source is never written to
            bound.add(dest)
            if kind == "overlay":
                if mount_overlay(source, root + dest, root, self.size, lowers.get(dest)):
                    overlaid.add(dest)
                    continue
                refused.append(dest)
            bind(source, root + dest, readonly=kind != "write")
        cover(root, spec["masks"])
        mount("shm", root + "/dev/shm", b"tmpfs", MS_NOSUID | MS_NODEV, "mode=1777," + self.size)
        mount("tmp", root + "/tmp", b"tmpfs", MS_NOSUID | MS_NODEV, "mode=1777," + self.size)
        mount_proc(root + "/proc")
        os.chdir(root)
        if syscall("pivot_root", b".", b".") < 0:
            raise SetupError(f"pivot_root: {os.strerror(ctypes.get_errno())}")
        call("leave the old root", "umount2", b".", MNT_DETACH)
        os.chdir("/")
        restrict("/", MS_RDONLY)
        return refused


def around(dest: str) -> list[str]:
    """The paths around `dest`, inner ones first."""
    found = []
    while (end := dest.rfind("/")) > 0:
        dest = dest[:end]
        found.append(dest)
    return found


def identity(source: str) -> list[int] | None:
    """What tells a file or folder from another one at its path."""
    try:
        found = os.stat(source)
    except OSError:
        return None
    return [found.st_dev, found.st_ino]


def kind_of(source: str) -> str:
    """What stands in the place of a bind of `source`: "folder", "file" or "link:" with its target."""
    if os.path.islink(source):
        return f"link:{os.readlink(source)}"
    return "folder" if os.path.isdir(source) else "file"


def free_folder(sources: Iterable[str]) -> str:
    """Where to mount a root: somewhere that no source lies."""
    used = {source.split("/")[1] for source in sources}
    for path in ROOTS:
        if os.path.isdir(path) and path[1:] not in used:
            return path
    raise SetupError(f"none of {', '.join(ROOTS)} is free to mount a root on")


def bind(source: str, target: str, *, readonly: bool) -> None:
    """`source`, with all that is mounted in it, at `target` too; no set-user-id programs, no devices."""
    mount(source, target, None, MS_BIND | MS_REC)
    wanted = MS_NOSUID | MS_NODEV | (MS_RDONLY if readonly else 0)  # the same numbers as MOUNT_ATTR_
    attributes = struct.pack("4Q", wanted, 0, 0, 0)
    path = os.fsencode(target)
    if syscall("mount_setattr", AT_FDCWD, path, AT_RECURSIVE, attributes, ctypes.c_size_t(32)) == 0:
        return
    for point in mount_points():  # before Linux 5.12
        if point == target or point.startswith(target + "/"):
            restrict(point, MS_RDONLY if readonly else 0)


def restrict(path: str, flags: int) -> None:
    """Remount one mount with `flags`, no set-user-id programs and no devices, keeping flags that the kernel
    has locked."""
    now = os.statvfs(path).f_flag
    # statvfs and mount number the access-time flags alike up to relatime, which is 4096 there
    kept = now & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME)
    kept |= MS_RELATIME if now & 4096 else 0
    mount("none", path, None, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | kept | flags)


def mount_points() -> list[str]:
    """All that is mounted here, sorted: a recursive bind brings the mounts inside its source."""
    with open("/proc/self/mountinfo", "rb") as stream:
        found = {line.split()[4] for line in stream}
    return sorted(os.fsdecode(point.decode("unicode_escape").encode("latin-1")) for point in found)


def cover(root: str, masks: list[str]) -> None:
    """Nothing where these folders are."""
    for path in masks:
        if os.path.isdir(root + path):
            options = "mode=755,size=4k"
            mount("nothing", root + path, b"tmpfs", MS_NOSUID | MS_NODEV | MS_RDONLY, options)


def mount_proc(proc: str) -> None:
    """/proc of the new process namespace, without its levers. Some containers refuse it: then it stays
    empty."""
    try:
        mount("proc", proc, b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except SetupError:
        return
    kept = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RELATIME
    for name in NO_LEVERS:
        path = f"{proc}/{name}".encode()
        if libc.mount(path, path, None, MS_BIND, None) == 0:
            if libc.mount(None, path, None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept, None) < 0:
                raise SetupError(f"mount {name} of proc: {os.strerror(ctypes.get_errno())}")
        elif os.path.exists(path):
            raise SetupError(f"mount {name} of proc: {os.strerror(ctypes.get_errno())}")
    for name in NO_SECRETS:
        path = f"{proc}/{name}".encode()
        if libc.mount(b"/dev/null", path, None, MS_BIND, None) < 0 and os.path.exists(path):
            raise SetupError(f"mount {name} of proc: {os.strerror(ctypes.get_errno())}")


def forbid_more_namespaces() -> None:
    """No namespaces within: a program that could make some would hold capabilities over them, and reach
    more kernel."""
    try:
        with open("/proc/sys/user/max_user_namespaces", "w", encoding="ascii") as stream:
            stream.write("0")
    except OSError:
        return  # old kernels; mounts stay locked either way


def raise_loopback() -> None:
    """Bring the loopback device of this network namespace up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(device, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(device, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


# ---------------------------------------------------------------- overlays


def mount_overlay(source: str, target: str, root: str, size: str, lower: int | None) -> bool:
    """A private writable copy of the folder `source` at `target`, what is written to it in memory; False
    where the kernel makes none. `lower` is a detached mount of `source` that `lower_for` made."""
    before, place = os.getcwd(), root + "/.overlay"
    os.mkdir(place)
    mount("overlay", place, b"tmpfs", MS_NOSUID | MS_NODEV, "mode=700," + size)
    try:
        os.chdir(place)  # paths with a comma or a colon have no place in the options
        for name in ("lower", "upper", "work"):
            os.mkdir(name)
        if lower is None:
            mount(source, "lower", None, MS_BIND)
        elif syscall("move_mount", lower, b"", AT_FDCWD, b"lower", MOVE_MOUNT_F_EMPTY_PATH) < 0:
            return False
        found = os.stat("lower")
        if found.st_uid != INSIDE:
            return False  # its files are another user's: there would be nothing to write
        os.chown("upper", INSIDE, INSIDE)
        os.chmod("upper", found.st_mode & 0o7777)
        options = "lowerdir=lower,upperdir=upper,workdir=work"
        # trusted.* attributes are not for users; a kernel too old for user.* refuses the option
        mount("overlay", target, b"overlay", MS_NOSUID | MS_NODEV, options + ",userxattr")
        return True
    except (OSError, SetupError):
        return False
    finally:
        os.chdir(before)
        call("leave the parts of an overlay", "umount2", os.fsencode(place), MNT_DETACH)
        os.rmdir(place)


def make_in_overlay(at: str, dest: str, folder: bool) -> None:
    """A place to mount on in somebody's private copy; the folders on the way are the program's own. Nothing
    there leads astray: no link is followed."""
    *parents, name = dest.split("/")
    for part in [*parents, name] if folder else parents:
        at += "/" + part
        if not os.path.lexists(at):
            os.mkdir(at, 0o755)
            os.chown(at, INSIDE, INSIDE)
        elif os.path.islink(at) or not os.path.isdir(at):
            raise SetupError(f"{at} is no folder to be mounted on")
    if not folder:
        os.close(os.open(f"{at}/{name}", os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o644))


def lower_for(source: str, holder: int, outside: int) -> int:
    """As the machine's root: `source` as a mount of its own in which its owner's files are those of the
    program's user. `holder` is a process in a user namespace without a map, which it gets. OSError where none
    can be had (before Linux 5.12, and on some file systems)."""
    owner = os.stat(source)
    tree = syscall("open_tree", AT_FDCWD, os.fsencode(source), OPEN_TREE_CLONE | os.O_CLOEXEC)
    if tree < 0:
        raise OSError(ctypes.get_errno(), "open_tree")
    try:
        write_proc(holder, "uid_map", swapped(owner.st_uid, outside))
        write_proc(holder, "gid_map", swapped(owner.st_gid, outside))
        namespace = os.open(f"/proc/{holder}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        attributes = struct.pack("4Q", MOUNT_ATTR_IDMAP, 0, 0, namespace)
        done = syscall("mount_setattr", tree, b"", AT_EMPTY_PATH, attributes, ctypes.c_size_t(32))
        os.close(namespace)
        if done < 0:
            raise OSError(ctypes.get_errno(), "mount_setattr")
        return tree
    except OSError:
        os.close(tree)
        raise


def swapped(number: int, other: int) -> str:
    """A user map in which two numbers have changed places."""
    lines, at = [], 0
    for here, there in sorted({(number, other), (other, number)}):
        if here > at:
            lines.append(f"{at} {at} {here - at}\n")
        lines.append(f"{here} {there} 1\n")
        at = here + 1
    return "".join([*lines, f"{at} {at} {0xFFFFFFFF - at}\n"])


def write_proc(pid: int, name: str, text: str) -> None:
    """Write a file of /proc/PID in one piece."""
    fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
