"""The launcher of sandboxed programs. Run by itself: `python -I -S -E init.py`, standard library only.

It waits at a socket, descriptor 3, and starts one program at a time. Its start (an interpreter, its imports,
this file's compilation: 30 ms) is thus paid once, not by every action. It never changes: each request is
served by a fresh fork of it, so a program finds nothing of the one before.

Three processes a program: the *outer* one stays outside and answers for the run; it makes the namespaces and
forks the *first* process (number 1 of the new process namespace), which builds the new root and forks the
*program*. When the first process ends, the kernel ends everything in its namespace, so nothing a program
started survives it.

Started as root, the program runs under an unprivileged user of the host, not only without capabilities:
root's files stay root's even if a mount were missed, /proc/sys is not writable, and the limit on processes
holds (the kernel exempts root). An ordinary user's program runs as that user, behind read-only mounts.

Rejected: bubblewrap (a package to install, and no rlimits), `unshare(1)` (cannot map two users nor drop
capabilities), chroot (leaves the old root mounted), an overlay file system as the root (not available to
users on older kernels; a bind that asks for one is read-only there).

A request is the path of a JSON file written by launcher.py, with the descriptors of the program's stdout and
stderr. The answer comes back on the socket, so that a full disk can be told: {"code": exit status or minus
signal, "cpu": s, "rss": bytes} or {"failed": what, "phase": "setup" | "exec"}; "{}" if there is none. SIGTERM
and the end of the caller end the running program with all that it started, and then the launcher.

With "record" in a request, a path, what the program asks of the file system is noted there: see
build/record/supervisor.py, which "supervisor" names as a file.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import socket
import struct
import sys

TYPE_CHECKING = False  # typing itself would cost each run some milliseconds
if TYPE_CHECKING:
    from typing import Any, NoReturn, TypeAlias

    Spec: TypeAlias = dict[str, Any]

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_REC, MS_PRIVATE, MS_RELATIME = (
    1024,
    2048,
    4096,
    16384,
    1 << 18,
    1 << 21,
)
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_SECUREBITS = 1, 4, 24, 28
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 36, 38, 47, 4
SECUREBITS_LOCKED = 0b11101111  # no-root, no-setuid-fixup, no keep-caps, no ambient raise; each with its lock
AT_FDCWD, AT_EMPTY_PATH = -100, 0x1000
OPEN_TREE_CLONE, MOVE_MOUNT_F_EMPTY_PATH, MOUNT_ATTR_IDMAP = 1, 4, 1 << 20
NEW_SYSCALLS = {"open_tree": 428, "move_mount": 429, "mount_setattr": 442}  # the same on all machines
SYSCALLS = {
    "x86_64": {"pivot_root": 155, "keyctl": 250, **NEW_SYSCALLS},
    "aarch64": {"pivot_root": 41, "keyctl": 219, **NEW_SYSCALLS},
}
KEYCTL_JOIN_SESSION_KEYRING = 1
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
CALLS = ANSWER = 3  # descriptor: the launcher's socket; in what it forks, the pipe for the answer
INSIDE = 1000  # user and group number of the program inside
OUTSIDE = 65432  # the host number of it when we are root: nobody's, and not "nobody", which owns things

WALLS: dict[str, Any] = {}
"""The modules filter and landlock, which `main` loads by their paths."""

libc = ctypes.CDLL(None, use_errno=True)
if sys.platform == "linux":
    libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4


class SetupError(Exception):
    """A step of making the sandbox that the kernel refused; the text says which."""


def call(what: str, name: str, *args: object) -> None:
    """Call a libc function; a negative answer raises SetupError naming the step."""
    ctypes.set_errno(0)
    if getattr(libc, name)(*args) < 0:
        raise SetupError(f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    call(
        f"mount {target}",
        "mount",
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        options.encode() if options else None,
    )


def syscall(name: str, *args: object) -> int:
    """A system call without a libc wrapper; -1 where it fails or this machine's number is not known."""
    number = SYSCALLS.get(os.uname().machine, {}).get(name)
    return -1 if number is None else libc.syscall(ctypes.c_long(number), *args)


# ---------------------------------------------------------------- the outer process


class Outer:
    """Waits for the run, ends it when told to (SIGTERM: the time is over), and says how it went."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.child = 0
        self.told = False
        signal.signal(signal.SIGTERM, self.terminate)

    def terminate(self, *_: object) -> None:
        self.told = True
        if self.child:
            os.kill(self.child, signal.SIGKILL)

    def run(self) -> dict[str, object]:
        status_read, status_write = os.pipe()
        error_read, error_write = os.pipe()
        recording = Recording(self.spec) if self.spec.get("record") else None
        try:
            if self.spec["level"] == "namespace":
                enter_namespaces(self.spec["network"])
            elif sys.platform == "linux":
                libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        except (OSError, SetupError) as error:
            return {"failed": str(error), "phase": "setup"}
        self.child = os.fork()
        if self.child == 0:
            os.close(status_read)
            os.close(error_read)
            run_first(self.spec, status_write, error_write, recording)
        if self.told:
            os.kill(self.child, signal.SIGKILL)
        os.close(status_write)
        os.close(error_write)
        if recording is not None:
            recording.hear(status_read)
        failure = read_all(error_read).decode("utf-8", "replace")
        _, ended = os.waitpid(self.child, 0)
        self.child = 0
        if self.spec["level"] != "namespace":
            kill_descendants()
        if failure:
            phase, _, text = failure.partition(":")
            return {"failed": text, "phase": phase}
        said = json.loads(read_all(status_read) or "{}")
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "code": os.waitstatus_to_exitcode(ended),
            "cpu": used.ru_utime + used.ru_stime,
            "rss": used.ru_maxrss * 1024,
            **said,
        }


class Recording:
    """The two ends of a recorder: the program offers its listener, the outer process hears it."""

    def __init__(self, spec: Spec) -> None:
        from importlib.machinery import SourceFileLoader
        from importlib.util import module_from_spec, spec_from_loader

        found = spec_from_loader("supervisor", SourceFileLoader("supervisor", spec["supervisor"]))
        assert found is not None and found.loader is not None
        self.module: Any = module_from_spec(found)
        found.loader.exec_module(self.module)
        self.path: str = spec["record"]
        self.ours, self.theirs = socket.socketpair()

    def hear(self, done: int) -> None:
        """In the outer process: note everything until `done` can be read, then write the record."""
        self.theirs.close()
        recorder = self.module.Recorder(self.ours)
        recorder.run(done)
        with open(self.path, "wb") as stream:
            stream.write(recorder.document())

    def offer(self) -> None:
        """In the program, just before it starts."""
        self.ours.close()
        self.module.offer(self.theirs)

    def close(self) -> None:
        """In the first process, which is not recorded."""
        self.ours.close()
        self.theirs.close()


def read_all(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as stream:
        return stream.read()


def enter_namespaces(network: bool) -> None:
    """New namespaces for this process's children; a helper that stays behind writes the user map."""
    uid, gid = os.getuid(), os.getgid()
    ready_read, ready_write = os.pipe()
    answer_read, answer_write = os.pipe()
    target = os.getpid()
    helper = os.fork()
    if helper == 0:
        os.close(ready_write)
        os.close(answer_read)
        said = b"the sandbox stopped early"
        try:
            if os.read(ready_read, 1):
                write_maps(target, uid, gid)
                said = b"ok"
        except OSError as error:
            said = str(error).encode()
        os.write(answer_write, said)
        os._exit(0)
    os.close(ready_read)
    os.close(answer_write)
    flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS
    flags |= 0 if network else CLONE_NEWNET
    try:
        call("new namespaces", "unshare", ctypes.c_int(flags))
        os.write(ready_write, b"x")
    finally:
        os.close(ready_write)
        said = read_all(answer_read)
        os.waitpid(helper, 0)
    if said != b"ok":
        raise SetupError("user map: " + said.decode("utf-8", "replace"))
    libc.unshare(ctypes.c_int(CLONE_NEWCGROUP))  # hides names only: not all kernels have it


def write_maps(pid: int, uid: int, gid: int) -> None:
    """As root: root stays root for building the new root, the program gets an unprivileged number; else
    one-to-one."""
    if uid == 0:
        try:
            write_proc(pid, "gid_map", f"0 {gid} 1\n{INSIDE} {OUTSIDE} 1\n")
            write_proc(pid, "uid_map", f"0 0 1\n{INSIDE} {OUTSIDE} 1\n")
            return
        except PermissionError as error:
            raise OSError(f"root may not map user {OUTSIDE} here ({error.strerror})") from error
    write_proc(pid, "setgroups", "deny")
    write_proc(pid, "gid_map", f"{INSIDE} {gid} 1\n")
    write_proc(pid, "uid_map", f"{INSIDE} {uid} 1\n")


def write_proc(pid: int, name: str, text: str) -> None:
    fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def kill_descendants() -> None:
    """Without a process namespace: end what the program left behind. Orphans come to us because we are their
    subreaper."""
    if sys.platform != "linux":
        return
    while True:
        try:
            with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as stream:
                children = [int(word) for word in stream.read().split()]
        except OSError:
            return
        if not children:
            return
        for pid in children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


# ---------------------------------------------------------------- the first process inside


def run_first(
    spec: Spec, status_write: int, error_write: int, recording: Recording | None = None
) -> NoReturn:
    """Process 1 of the namespace: build the root, start the program, reap, report, end. Never returns."""
    try:
        for number in (signal.SIGTERM, signal.SIGINT):  # of a signal without a handler process 1 sees nothing
            signal.signal(number, signal.SIG_DFL)
        end_with_parent(status_write)
        os.close(ANSWER)
        refused: list[str] = []
        if spec["level"] == "namespace":
            refused = build_root(spec)
            drop_privileges()
            end_with_parent(status_write)  # a change of user made the kernel forget it
        set_limits(spec["limits"], spec["level"])
        program = os.fork()
    except (OSError, SetupError) as error:
        os.write(error_write, f"setup:{error}".encode())
        os._exit(1)
    if program == 0:
        start_program(spec, error_write, recording)
    os.close(error_write)
    if recording is not None:
        recording.close()
    while True:
        pid, ended = os.wait()
        if pid == program:
            break
    said = {"code": os.waitstatus_to_exitcode(ended), "refused": refused}
    os.write(status_write, json.dumps(said).encode())
    os._exit(0)


def end_with_parent(pipe: int | None) -> None:
    """Be killed when the parent ends, also if it has ended by now (then nobody reads `pipe`)."""
    if sys.platform != "linux":
        return
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if pipe is not None:
        waiting = select.poll()
        waiting.register(pipe, select.POLLERR)
        if waiting.poll(0):
            os._exit(1)


def start_program(spec: Spec, error_write: int, recording: Recording | None) -> NoReturn:
    try:
        os.setsid()  # `kill 0` inside must not reach the processes outside
        if spec["level"] != "namespace":
            end_with_parent(None)
        if sys.platform == "linux":
            libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            if spec["level"] != "namespace":
                hold(spec, error_write)
        os.umask(0o022)
        os.chdir(spec["cwd"])
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        if recording is not None:
            recording.offer()
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])
    except OSError as error:
        os.write(error_write, f"exec:{spec['argv'][0]}: {error.strerror}".encode())
    finally:
        os._exit(127)


def hold(spec: Spec, error_write: int) -> None:
    """Where no namespace hides anything: what the kernel refuses to the program all the same."""
    try:
        if spec["level"] == "landlock":
            binds = [(source, kind == "write") for source, _, kind in spec["binds"]]
            WALLS["landlock"].restrict(binds, spec["masks"], network=spec["network"])
            WALLS["landlock"].drop_capabilities()
        WALLS["filter"].install(spec["level"], network=spec["network"])
    except OSError as error:
        if spec["level"] == "landlock":
            os.write(error_write, f"setup:{error.strerror}".encode())
            os._exit(127)


def set_limits(limits: dict[str, int | None], level: str) -> None:
    kinds = [
        ("memory", resource.RLIMIT_AS),
        ("cpu", resource.RLIMIT_CPU),
        ("file", resource.RLIMIT_FSIZE),
    ]
    # Before Linux 5.14, and outside a user namespace, this counts everything the user runs on the machine.
    if level == "namespace" and tuple(int(part) for part in os.uname().release.split(".")[:2]) >= (
        5,
        14,
    ):
        kinds.append(("processes", resource.RLIMIT_NPROC))
    for name, kind in kinds:
        wanted = limits.get(name)
        if wanted is not None:
            hard = resource.getrlimit(kind)[1]
            wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            # One second more before SIGKILL lets SIGXCPU tell what the end was.
            above = wanted + 1 if name == "cpu" and hard != wanted else wanted
            resource.setrlimit(kind, (wanted, above))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def build_root(spec: Spec) -> list[str]:
    """A new root on tmpfs that holds the listed binds and nothing else, then leave the old one for good.
    Returns where an overlay was asked for and only a read-only bind could be had."""
    # Not with the other namespaces: pivot_root moves the root of every process that shares this one.
    call("a new mount namespace", "unshare", ctypes.c_int(CLONE_NEWNS))
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    forbid_more_namespaces()
    root = spec["mountpoint"]
    mount("sandbox", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=16m")
    tmp = f"size={spec['limits']['tmp']}"
    bound: list[tuple[str, bool]] = []
    overlaid: list[str] = []
    refused: list[str] = []
    for source, dest, kind in spec["binds"]:
        if os.path.islink(source):
            make_parents(root, dest, bound)
            os.symlink(os.readlink(source), root + dest)
            continue
        make_mountpoint(root, dest, os.path.isdir(source), bound, overlaid)
        if kind == "overlay" and mount_overlay(source, root + dest, root, tmp, spec["lowers"].get(dest)):
            overlaid.append(dest)
            bound.append((dest, True))
            continue
        if kind == "overlay":
            refused.append(dest)
        mount(source, root + dest, "", MS_BIND | MS_REC)
        bound.append((dest, kind == "write"))
    mounted = mount_points()
    for dest, writable in bound:
        inside = root + dest + "/"
        for point in (point for point in mounted if f"{point}/".startswith(inside)):
            if writable or not any(point == root + other for other, free in bound if free):
                restrict(point, 0 if writable else MS_RDONLY)
    for path in spec["masks"]:
        if os.path.isdir(root + path):
            mount("nothing", root + path, "tmpfs", MS_NOSUID | MS_NODEV | MS_RDONLY, "mode=755,size=4k")
    make_etc(root, spec["hostname"])
    make_dev(root, tmp)
    os.mkdir(root + "/tmp")
    mount("tmp", root + "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777," + tmp)
    for name in ("run", "var"):
        os.makedirs(f"{root}/{name}", exist_ok=True)
    if not os.path.lexists(root + "/var/tmp"):
        os.symlink("/tmp", root + "/var/tmp")
    make_proc(root)
    os.chdir(root)
    if syscall("pivot_root", b".", b".") < 0:
        raise SetupError(f"pivot_root: {os.strerror(ctypes.get_errno())}")
    call("leave the old root", "umount2", b".", MNT_DETACH)
    os.chdir("/")
    restrict("/", MS_RDONLY)
    socket.sethostname(spec["hostname"])
    if not spec["network"]:
        raise_loopback()
    syscall("keyctl", ctypes.c_long(KEYCTL_JOIN_SESSION_KEYRING), None)
    return refused


def mount_overlay(source: str, target: str, root: str, size: str, lower: int | None) -> bool:
    """A private writable copy of the folder `source` at `target`, what is written to it in memory; False
    where the kernel makes none. `lower` is a detached mount of `source` that `lower_for` made."""
    before, place = os.getcwd(), root + "/.overlay"
    os.mkdir(place)
    mount("overlay", place, "tmpfs", MS_NOSUID | MS_NODEV, "mode=700," + size)
    try:
        os.chdir(place)  # paths with a comma or a colon have no place in the options
        for name in ("lower", "upper", "work"):
            os.mkdir(name)
        if lower is None:
            mount(source, "lower", "", MS_BIND)
        else:
            path = b"lower"
            if syscall("move_mount", lower, b"", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0:
                return False
        found = os.stat("lower")
        if found.st_uid != INSIDE:
            return False  # its files are another user's: there would be nothing to write
        os.chown("upper", INSIDE, INSIDE)
        os.chmod("upper", found.st_mode & 0o7777)
        options = "lowerdir=lower,upperdir=upper,workdir=work"
        # trusted.* attributes are not for users; a kernel too old for user.* refuses the option
        mount("overlay", target, "overlay", MS_NOSUID | MS_NODEV, options + ",userxattr")
        return True
    except (OSError, SetupError):
        return False
    finally:
        os.chdir(before)
        call("leave the parts of an overlay", "umount2", os.fsencode(place), MNT_DETACH)
        os.rmdir(place)


def lower_for(source: str) -> int | None:
    """As root, before the namespaces: `source` as a mount of its own in which its owner's files are those of
    the program's user. None where that needs no mount, or none can be had (before Linux 5.12 and on some file
    systems)."""
    owner = os.stat(source)
    if (owner.st_uid, owner.st_gid) == (OUTSIDE, OUTSIDE):
        return None
    flags = OPEN_TREE_CLONE | os.O_CLOEXEC
    tree = syscall("open_tree", AT_FDCWD, os.fsencode(source), flags)
    if tree < 0:
        return None
    ready_read, ready_write = os.pipe()
    go_read, go_write = os.pipe()
    holder = os.fork()
    if holder == 0:
        os.close(go_write)
        end_with_parent(None)
        if libc.unshare(ctypes.c_int(CLONE_NEWUSER)) == 0:
            os.write(ready_write, b"x")
            os.read(go_read, 1)
        os._exit(0)
    try:
        os.close(ready_write)
        os.close(go_read)
        if not os.read(ready_read, 1):
            raise OSError("no user namespace")
        write_proc(holder, "uid_map", swapped(owner.st_uid))
        write_proc(holder, "gid_map", swapped(owner.st_gid))
        namespace = os.open(f"/proc/{holder}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        attributes = struct.pack("4Q", MOUNT_ATTR_IDMAP, 0, 0, namespace)
        done = syscall(
            "mount_setattr", tree, b"", AT_EMPTY_PATH, attributes, ctypes.c_size_t(len(attributes))
        )
        os.close(namespace)
        if done < 0:
            raise OSError("no mapped mount")
    except OSError:
        os.close(tree)
        return None
    finally:
        os.close(ready_read)
        os.close(go_write)
        os.waitpid(holder, 0)
    return tree


def swapped(number: int) -> str:
    """A user map in which `number` and OUTSIDE have changed places."""
    lines, at = [], 0
    for here, there in sorted([(number, OUTSIDE), (OUTSIDE, number)])[: 1 + (number != OUTSIDE)]:
        if here > at:
            lines.append(f"{at} {at} {here - at}\n")
        lines.append(f"{here} {there} 1\n")
        at = here + 1
    return "".join([*lines, f"{at} {at} {0xFFFFFFFF - at}\n"])


def forbid_more_namespaces() -> None:
    """No namespaces within: a program that could make some would hold capabilities over them, and reach
    more kernel."""
    try:
        with open("/proc/sys/user/max_user_namespaces", "w", encoding="ascii") as stream:
            stream.write("0")
    except OSError:
        return  # old kernels; mounts stay locked either way


def make_parents(root: str, dest: str, bound: list[tuple[str, bool]]) -> None:
    parent = os.path.dirname(dest)
    inside_bind = any(parent == other or parent.startswith(other + "/") for other, _ in bound)
    if not inside_bind:
        os.makedirs(root + parent, mode=0o755, exist_ok=True)


def make_mountpoint(
    root: str, dest: str, folder: bool, bound: list[tuple[str, bool]], overlaid: list[str]
) -> None:
    """A place to mount on. Below an earlier bind it must exist already: a source is never written to. An
    overlay may be."""
    path = root + dest
    around = max((other for other, _ in bound if dest.startswith(other + "/")), key=len, default="")
    if around in overlaid:
        make_in_overlay(root + around, dest[len(around) + 1 :], folder)
        return
    if around:
        if not os.path.lexists(path) or os.path.islink(path):
            raise SetupError(f"{dest} is not there to be mounted on")
        return
    make_parents(root, dest, bound)
    if folder:
        os.makedirs(path, mode=0o755, exist_ok=True)
    else:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))


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


def mount_points() -> list[str]:
    """All that is mounted here, sorted: a recursive bind brings the mounts inside its source."""
    with open("/proc/self/mountinfo", "rb") as stream:
        found = {line.split()[4] for line in stream}
    return sorted(os.fsdecode(point.decode("unicode_escape").encode("latin-1")) for point in found)


def restrict(path: str, flags: int) -> None:
    """Remount with `flags`, no set-user-id programs and no devices, keeping flags that the kernel has
    locked."""
    now = os.statvfs(path).f_flag
    # statvfs and mount number the access-time flags alike up to relatime, which is 4096 there
    kept = now & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME)
    kept |= MS_RELATIME if now & 4096 else 0
    devices = 0 if path.startswith("/dev/") else MS_NODEV
    mount("none", path, "", MS_REMOUNT | MS_BIND | MS_NOSUID | devices | kept | flags)


def make_etc(root: str, hostname: str) -> None:
    """The few files programs look up: who am I, who is localhost, how names are resolved."""
    os.makedirs(root + "/etc", exist_ok=True)
    texts = {
        "passwd": f"root:x:0:0:root:/:/bin/sh\nsandbox:x:{INSIDE}:{INSIDE}:sandbox:/tmp:/bin/sh\n",
        "group": f"root:x:0:\nsandbox:x:{INSIDE}:\n",
        "hosts": f"127.0.0.1 localhost {hostname}\n::1 localhost {hostname}\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
        "host.conf": "multi on\n",
    }
    for name, text in texts.items():
        if not os.path.lexists(f"{root}/etc/{name}"):
            with open(f"{root}/etc/{name}", "w", encoding="ascii") as stream:
                stream.write(text)


def make_dev(root: str, tmp: str) -> None:
    os.mkdir(root + "/dev")
    for name in ("null", "zero", "full", "random", "urandom"):
        os.close(os.open(f"{root}/dev/{name}", os.O_CREAT | os.O_WRONLY, 0o644))
        mount(f"/dev/{name}", f"{root}/dev/{name}", "", MS_BIND)
    os.mkdir(root + "/dev/shm")
    mount("shm", root + "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777," + tmp)
    os.symlink("/proc/self/fd", root + "/dev/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"{root}/dev/{name}")


def make_proc(root: str) -> None:
    """/proc of the new process namespace, without its levers. Some containers refuse it: then it stays
    empty."""
    os.mkdir(root + "/proc")
    try:
        mount("proc", root + "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except SetupError:
        return
    for name in ("sys", "bus", "fs", "irq"):
        path = f"{root}/proc/{name}"
        if os.path.isdir(path):
            mount(path, path, "", MS_BIND)
            restrict(path, MS_RDONLY)
    for name in ("kcore", "keys", "key-users", "kmsg", "sysrq-trigger", "timer_list", "kallsyms"):
        path = f"{root}/proc/{name}"
        if os.path.exists(path):
            mount("/dev/null", path, "", MS_BIND)


def raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(device, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(device, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def drop_privileges() -> None:
    """Give up root's number and every capability, for good. The program is forked after this."""
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    number = 0
    while libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    call("lock capabilities", "prctl", PR_SET_SECUREBITS, SECUREBITS_LOCKED, 0, 0, 0)
    if os.getuid() != INSIDE:
        os.setgroups([])
        os.setresgid(INSIDE, INSIDE, INSIDE)
        os.setresuid(INSIDE, INSIDE, INSIDE)
    header = struct.pack("Ii", 0x20080522, 0)
    call("drop capabilities", "capset", header, bytes(24))
    call("no new privileges", "prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # the program may not look into process 1


# ---------------------------------------------------------------- the launcher


class Launcher:
    """Takes requests and forks for each; of a request it keeps nothing."""

    def __init__(self, calls: socket.socket) -> None:
        self.calls = calls
        self.pid = os.getpid()
        self.child = 0
        self.told = False
        signal.signal(signal.SIGTERM, self.terminate)

    def terminate(self, *_: object) -> None:
        self.told = True
        if self.child:
            os.kill(self.child, signal.SIGTERM)
        else:  # nothing runs, or this is the fork and nothing runs in it yet
            os._exit(0)

    def serve(self) -> None:
        """Until the caller goes."""
        while True:
            request, (*logs,), _, _ = socket.recv_fds(self.calls, 8192, 2)
            if not request:
                return
            answer_read, answer_write = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(answer_read)
                self.become_outer(os.fsdecode(request), logs, answer_write)
            self.child = child
            if self.told:
                os.kill(child, signal.SIGTERM)
            for fd in (*logs, answer_write):
                os.close(fd)
            self.watch()
            os.waitpid(child, 0)
            self.child = 0
            os.set_blocking(answer_read, False)  # who may still hold the other end is being killed
            try:
                said = os.read(answer_read, 65536)
            except BlockingIOError:
                said = b""
            os.close(answer_read)
            try:
                self.calls.send(said or b"{}")
            except OSError:  # the caller has gone
                return
            if self.told:
                return

    def watch(self) -> None:
        """Wait for the child's end. The caller's end is the child's too."""
        if not hasattr(os, "pidfd_open"):
            return
        ended = os.pidfd_open(self.child)
        waiting = select.poll()
        waiting.register(ended, select.POLLIN)
        waiting.register(self.calls, 0)  # its end alone
        while not any(fd == ended for fd, _ in waiting.poll()):
            waiting.unregister(self.calls)
            self.terminate()
        os.close(ended)

    def become_outer(self, path: str, logs: list[int], answer: int) -> NoReturn:
        """In the fork: hold the program's descriptors and no others, and run it."""
        try:
            os.dup2(logs[0], 1)
            os.dup2(logs[-1], 2)
            os.dup2(answer, ANSWER, inheritable=False)
            os.closerange(ANSWER + 1, 1 << 20)
            end_with_parent(None)
            if sys.platform == "linux":  # for the user map, which an ordinary user writes, it must be so
                libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
            if os.getppid() == self.pid:
                with open(path, encoding="utf-8") as stream:
                    spec = json.load(stream)
                serve_one(spec)
        finally:
            os._exit(0)


def serve_one(spec: Spec) -> None:
    spec["lowers"] = {}  # dest -> mounts made for the overlays there
    if spec["level"] == "namespace" and os.getuid() == 0:
        for source, dest, kind in spec["binds"]:
            if kind == "write":
                os.chown(source, OUTSIDE, OUTSIDE)
            elif kind == "overlay" and (lower := lower_for(source)) is not None:
                spec["lowers"][dest] = lower
    os.write(ANSWER, json.dumps(Outer(spec).run()).encode())


def load_walls(paths: list[str]) -> None:
    """The files filter.py and landlock.py, once; the launcher itself goes under the filter that all share."""
    from importlib.machinery import SourceFileLoader

    for path in paths:
        name = os.path.basename(path).removesuffix(".py")
        module: Any = type(sys)(name)
        code = SourceFileLoader(name, path).get_code(name)
        assert code is not None
        exec(code, module.__dict__)
        WALLS[name] = module
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    try:
        WALLS["filter"].install("launcher")
    except OSError:  # it is a second layer
        pass


def main() -> None:
    os.set_inheritable(CALLS, False)
    os.umask(0o022)  # the program's user must get through the folders that are made for it
    os.closerange(CALLS + 1, 1 << 20)  # whatever the caller's own parent left open
    if sys.platform == "linux":
        libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # no program looks into what will start the next one
        load_walls(sys.argv[1:])
    with socket.socket(fileno=CALLS) as calls:
        Launcher(calls).serve()


if __name__ == "__main__":
    main()
