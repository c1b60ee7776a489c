"""The launcher of sandboxed programs. Run by itself, standard library only:
`python -I -S -E init.py mounts.py filter.py landlock.py`.

It waits at a socket, descriptor 3, and starts one program at a time. Its start (an interpreter, its imports,
this file's compilation: 30 ms) is thus paid once, not by every action. A program finds nothing of the one
before: what a launcher keeps is either read-only for programs or compared afterwards with what it was.

At level "namespace" a launcher is for one *base*: what many commands see in common (mounts.py). With its
first command it enters a user, a mount, a network and a host name namespace of its own and mounts the base.
For each command it then makes the *first* process, number 1 of new process, mount and IPC namespaces, which
mounts what is the command's own, gives up all rights, and starts the *program*. When the first process ends,
the kernel ends everything in its namespace, so nothing a program started survives it. The network namespace
serves the next command only if each counter in it stands as it stood when it was new: a program that has
sent as much as one packet to itself costs a new one. Keys and io_uring, which could outlast a program, are
shut off by filter.py; where it cannot be installed, a launcher serves one command.

At the other levels, and for a command that is recorded, an *outer* process between the launcher and the
program answers for the run.

Started as root, the program runs under an unprivileged user of the host, not only without capabilities:
root's files stay root's even if a mount were missed, /proc/sys is not writable, and the limit on processes
holds (the kernel exempts root). An ordinary user's program runs as that user, behind read-only mounts.

Rejected: bubblewrap (a package to install, and no rlimits), `unshare(1)` (cannot map two users nor drop
capabilities), chroot (leaves the old root mounted), an overlay file system as the root (not available to
users on older kernels; a bind that asks for one is read-only there), all namespaces anew for each command
(a network namespace alone costs 0.4 ms, fifty mounts 2 ms).

A request is a length and a JSON document written by launcher.py, with the descriptors of the program's stdout
and stderr. The answer comes back on the socket, so that a full disk can be told: {"code": exit status or
minus signal, "cpu": s, "rss": bytes} or {"failed": what, "phase": "setup" | "exec"}; "{}" if there is none.
With "last" in it the launcher is of no more use; with "stale" it was of none, as it sees the disk of when it
started, and nothing has run. SIGTERM and the end of the caller end the running program
with all that it started, and then the launcher.

With "record" in a request, a path, what the program asks of the file system is noted there: see
build/record/supervisor.py, which "supervisor" names as a file. A request with "lower" alone, a folder, is
answered with a mount of it that an overlay can use.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import select
import signal
import socket
import struct
import sys

TYPE_CHECKING = False  # typing itself would cost each launcher some milliseconds
if TYPE_CHECKING:
    from typing import Any, NoReturn, TypeAlias

    from fairlead.build.sandbox import mounts
    from fairlead.build.sandbox.mounts import libc

    Spec: TypeAlias = dict[str, Any]

CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x2000000, 0x4000000, 0x8000000
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_SECUREBITS = 1, 4, 24, 28
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 36, 38, 47, 4
SECUREBITS_LOCKED = 0b11101111  # no-root, no-setuid-fixup, no keep-caps, no ambient raise; each with its lock
KEYCTL_JOIN_SESSION_KEYRING = 1
CALLS = 3  # descriptor: the launcher's socket
COUNTERS = ("sockstat", "dev", "snmp", "snmp6", "netstat")  # of a network namespace, in /proc/self/net

WALLS: dict[str, Any] = {}
"""The modules filter and landlock, which `main` loads by their paths."""


# ---------------------------------------------------------------- the launcher


class Launcher:
    """Takes requests and starts a program for each."""

    def __init__(self, calls: socket.socket, filtered: bool) -> None:
        self.calls = calls
        self.filtered = filtered
        self.pid = os.getpid()
        self.child = 0
        self.end_by = signal.SIGKILL
        self.told = False
        self.base: Base | None = None
        signal.signal(signal.SIGTERM, self.terminate)

    def terminate(self, *_: object) -> None:
        self.told = True
        if self.child:
            os.kill(self.child, self.end_by)
        else:  # nothing runs, or this is a fork and nothing runs in it yet
            os._exit(0)

    def serve(self) -> None:
        """Until the caller goes."""
        while (request := self.hear()) is not None:
            spec, fds = request
            if "lower" in spec:
                self.lend_lower(spec)
                continue
            said = self.run(spec, fds)
            for fd in fds:
                os.close(fd)
            if spec["level"] == "namespace" and (self.base is None or not self.filtered):
                said["last"] = True
            try:
                self.calls.sendall(json.dumps(said).encode())
            except OSError:  # the caller has gone
                return
            if self.told or "last" in said:
                return

    def hear(self) -> tuple[Spec, list[int]] | None:
        """The next request and the descriptors with it; None if the caller has gone."""
        data, fds, _, _ = socket.recv_fds(self.calls, 1 << 16, 64)
        for fd in fds:
            os.set_inheritable(fd, False)
        if len(data) < 4:
            return None
        (length,) = struct.unpack_from("I", data)
        parts = [data[4:]]
        left = length - len(parts[0])
        while left:
            part = self.calls.recv(min(left, 1 << 20))
            if not part:
                return None
            parts.append(part)
            left -= len(part)
        return json.loads(b"".join(parts)), fds

    def run(self, spec: Spec, fds: list[int]) -> dict[str, Any]:
        """Run one program and say how it ended."""
        try:
            if spec["level"] == "namespace" and self.base is None:
                self.base = Base(spec["base"])
            if self.base is not None:
                self.base.root.prepare(spec["binds"])
        except mounts.StaleError:
            what = "it sees another disk than its caller"
            return {"stale": True, "last": True, "failed": what, "phase": "setup"}
        except (OSError, mounts.SetupError) as error:
            self.base = None
            return {"failed": str(error), "phase": "setup"}
        if self.base is not None and not spec.get("record"):
            said = self.run_inside(spec, fds, None)
        else:
            said = self.run_by_outer(spec, fds)
        if self.base is not None:
            self.base.renew()
        return said

    def run_inside(self, spec: Spec, fds: list[int], recording: Recording | None) -> dict[str, Any]:
        """Run it in namespaces, as the parent of their first process."""
        assert self.base is not None
        status_read, status_write = os.pipe()
        new = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | signal.SIGCHLD
        # not os.fork: namespaces of processes can be changed for a single child only by this call
        child = mounts.syscall("clone", ctypes.c_ulong(new), None, None, None, None)
        if child == 0:
            os.close(status_read)
            start_first(self.base, spec, fds, status_write, recording)
        os.close(status_write)
        if child < 0:
            os.close(status_read)
            return {"failed": f"new namespaces: {os.strerror(ctypes.get_errno())}", "phase": "setup"}
        self.child, self.end_by = child, signal.SIGKILL
        if self.told:
            os.kill(child, signal.SIGKILL)
        if recording is not None:
            recording.hear(status_read)
        self.watch()
        _, ended, used = os.wait4(child, 0)
        self.child = 0
        told = read_all(status_read)
        if not told and ended != signal.SIGKILL:  # it went without a word
            told = b'{"failed": "its first process ended too early", "phase": "setup"}'
        return answer(told, ended, used)

    def run_by_outer(self, spec: Spec, fds: list[int]) -> dict[str, Any]:
        """Run it by way of a fork of this process, of which nothing is kept."""
        answer_read, answer_write = os.pipe()
        child = os.fork()
        if child == 0:
            self.become_outer(spec, fds, answer_write)
        self.child, self.end_by = child, signal.SIGTERM
        if self.told:
            os.kill(child, signal.SIGTERM)
        os.close(answer_write)
        self.watch()
        os.waitpid(child, 0)
        self.child = 0
        os.set_blocking(answer_read, False)  # who may still hold the other end is being killed
        try:
            said = os.read(answer_read, 1 << 16)
        except BlockingIOError:
            said = b""
        os.close(answer_read)
        return json.loads(said or "{}")  # type: ignore[no-any-return]

    def become_outer(self, spec: Spec, fds: list[int], answer_write: int) -> NoReturn:
        try:
            end_with_parent(None)
            if os.getppid() == self.pid:
                recording = Recording(spec) if spec.get("record") else None
                if self.base is not None:
                    said = self.run_inside(spec, fds, recording)
                else:
                    said = self.run_beside(spec, fds, recording)
                os.write(answer_write, json.dumps(said).encode())
        finally:
            os._exit(0)

    def run_beside(self, spec: Spec, fds: list[int], recording: Recording | None) -> dict[str, Any]:
        """Run it without namespaces, as the parent of the program and of the orphans it leaves."""
        if sys.platform == "linux":
            libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        status_read, status_write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(CALLS)
            os.close(status_read)
            start_program(spec, fds, status_write, recording)
        self.child, self.end_by = child, signal.SIGKILL
        if self.told:
            os.kill(child, signal.SIGKILL)
        os.close(status_write)
        if recording is not None:
            ended_fd = os.pidfd_open(child)
            recording.hear(ended_fd)
            os.close(ended_fd)
        self.watch()
        _, ended, used = os.wait4(child, 0)
        self.child = 0
        kill_descendants()
        return answer(read_all(status_read), ended, used)

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

    def lend_lower(self, spec: Spec) -> None:
        """Send a mount of a folder in which its owner's files are those of the program's user."""
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
        os.close(ready_write)
        os.close(go_read)
        found = []
        try:
            if os.read(ready_read, 1):
                found.append(mounts.lower_for(spec["lower"], holder, spec["outside"]))
        except OSError:
            pass
        finally:
            os.close(ready_read)
            os.close(go_write)
            os.waitpid(holder, 0)
        socket.send_fds(self.calls, [b"{}"], found)
        for fd in found:
            os.close(fd)


def answer(told: bytes, ended: int, used: resource.struct_rusage) -> dict[str, Any]:
    """What to say of a run, of which the processes within told `told`."""
    first = told.partition(b"\n")[0]
    said = json.loads(first) if first else {"code": os.waitstatus_to_exitcode(ended)}
    return {**said, "cpu": used.ru_utime + used.ru_stime, "rss": used.ru_maxrss * 1024}


class Recording:
    """The two ends of a recorder: the program offers its listener, the outer process hears it."""

    def __init__(self, spec: Spec) -> None:
        self.module = load(spec["supervisor"])
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


# ---------------------------------------------------------------- namespaces


class Base:
    """The namespaces that a launcher enters, and what of a program's root lasts."""

    def __init__(self, base: Spec) -> None:
        self.network: bool = base["network"]
        libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # for the user map, which an ordinary user writes
        enter_namespaces(base["network"], base["outside"])
        libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        self.root = mounts.Root(base)
        mounts.forbid_more_namespaces()
        mounts.syscall("keyctl", ctypes.c_long(KEYCTL_JOIN_SESSION_KEYRING), None)
        libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
        number = 0
        while libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
            number += 1
        mounts.call("lock capabilities", "prctl", PR_SET_SECUREBITS, SECUREBITS_LOCKED, 0, 0, 0)
        self.counters: list[int] = []
        self.before: list[bytes] = []
        if not self.network:
            self.connect()

    def connect(self) -> None:
        """Make the new network namespace usable, and note how its counters stand."""
        mounts.raise_loopback()
        for fd in self.counters:
            os.close(fd)
        self.counters.clear()
        try:
            for name in COUNTERS:
                if os.path.exists(f"/proc/self/net/{name}"):  # without IPv6 there is no snmp6
                    flags = os.O_RDONLY | os.O_CLOEXEC
                    self.counters.append(os.open(f"/proc/self/net/{name}", flags))
        except OSError:
            self.counters.clear()
        self.before = self.now()

    def now(self) -> list[bytes]:
        """What can be seen of the use of this network namespace: sockets that are left, packets, errors."""
        found = [os.pread(fd, 1 << 16, 0) for fd in self.counters]
        if found:
            found[0] = found[0].partition(b"\n")[0]  # what comes next in sockstat counts the whole machine
        return found

    def renew(self) -> None:
        """After a command: another network namespace, unless this one is as it was."""
        if self.network or (self.counters and self.now() == self.before):
            return
        mounts.call("a new network namespace", "unshare", ctypes.c_int(CLONE_NEWNET))
        self.connect()


def enter_namespaces(network: bool, outside: int) -> None:
    """New namespaces for this process; a helper that stays behind writes the user map."""
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
                write_maps(target, uid, gid, outside)
                said = b"ok"
        except OSError as error:
            said = str(error).encode()
        os.write(answer_write, said)
        os._exit(0)
    os.close(ready_read)
    os.close(answer_write)
    flags = CLONE_NEWUSER | CLONE_NEWUTS | (0 if network else CLONE_NEWNET)
    try:
        mounts.call("new namespaces", "unshare", ctypes.c_int(flags))
        os.write(ready_write, b"x")
    finally:
        os.close(ready_write)
        said = read_all(answer_read)
        os.waitpid(helper, 0)
    if said != b"ok":
        raise mounts.SetupError("user map: " + said.decode("utf-8", "replace"))
    libc.unshare(ctypes.c_int(CLONE_NEWCGROUP))  # hides names only: not all kernels have it


def write_maps(pid: int, uid: int, gid: int, outside: int) -> None:
    """As root: root stays root for building the new root, the program gets an unprivileged number; else
    one-to-one."""
    inside = mounts.INSIDE
    if uid == 0:
        try:
            mounts.write_proc(pid, "gid_map", f"0 {gid} 1\n{inside} {outside} 1\n")
            mounts.write_proc(pid, "uid_map", f"0 0 1\n{inside} {outside} 1\n")
            return
        except PermissionError as error:
            raise OSError(f"root may not map user {outside} here ({error.strerror})") from error
    mounts.write_proc(pid, "setgroups", "deny")
    mounts.write_proc(pid, "gid_map", f"{inside} {gid} 1\n")
    mounts.write_proc(pid, "uid_map", f"{inside} {uid} 1\n")


# ---------------------------------------------------------------- the first process and the program


def start_first(base: Base, spec: Spec, fds: list[int], status: int, recording: Recording | None) -> NoReturn:
    """Process 1 of the namespace: mount what is the command's own, start the program, reap, tell, end."""
    phase, refused = "setup", []
    try:
        for number in (signal.SIGTERM, signal.SIGINT):  # of a signal without a handler process 1 sees nothing
            signal.signal(number, signal.SIG_DFL)
        end_with_parent(status)
        os.close(CALLS)
        take_logs(spec, fds)
        lowers = dict(zip(spec["lowers"], fds[spec["logs"] :], strict=True))
        refused = base.root.enter(spec, lowers)
        drop_privileges()
        end_with_parent(status)  # a change of user made the kernel forget it
        set_limits(spec["limits"], "namespace")
        phase = "exec"
        if recording is None:
            os.chdir(spec["cwd"])
            program = spawn(spec["argv"], spec["env"])
        else:
            program = os.fork()
            if program == 0:
                start_program(spec, fds, status, recording)
            recording.close()
        while True:
            pid, ended = os.wait()
            if pid == program:
                break
        tell(status, {"code": os.waitstatus_to_exitcode(ended), "refused": refused})
    except OSError as error:
        what = f"{spec['argv'][0]}: {error.strerror}" if phase == "exec" else str(error)
        tell(status, {"failed": what, "phase": phase})
    except mounts.SetupError as error:
        tell(status, {"failed": str(error), "phase": "setup"})
    finally:
        os._exit(1)


def spawn(argv: list[str], env: dict[str, str]) -> int:
    """Start the program without copying this process. Like os.execvpe, the PATH is the program's own."""
    name, wrong = argv[0], None
    folders = [""] if "/" in name else env.get("PATH", os.defpath).split(os.pathsep)
    for folder in folders:
        try:
            path = os.path.join(folder, name)
            ignored = (signal.SIGPIPE, signal.SIGXFSZ)
            return os.posix_spawn(path, argv, env, setsid=True, setsigdef=ignored)
        except (FileNotFoundError, NotADirectoryError) as error:
            last: OSError = error
        except OSError as error:
            last, wrong = error, wrong or error
    raise wrong or last


def tell(status: int, said: dict[str, Any]) -> None:
    """To the parent: the first line counts."""
    os.write(status, json.dumps(said).encode() + b"\n")


def take_logs(spec: Spec, fds: list[int]) -> None:
    """Stdout and stderr, which may be one file."""
    logs = fds[: spec["logs"]]
    os.dup2(logs[0], 1)
    os.dup2(logs[-1], 2)


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


def start_program(spec: Spec, fds: list[int], status: int, recording: Recording | None) -> NoReturn:
    """In a fork: become the program."""
    try:
        os.setsid()  # `kill 0` inside must not reach the processes outside
        if spec["level"] != "namespace":
            end_with_parent(None)
            take_logs(spec, fds)
            set_limits(spec["limits"], spec["level"])
        if sys.platform == "linux":
            libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            if spec["level"] != "namespace":
                hold(spec, status)
        os.chdir(spec["cwd"])
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        if recording is not None:
            recording.offer()
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])
    except OSError as error:
        tell(status, {"failed": f"{spec['argv'][0]}: {error.strerror}", "phase": "exec"})
    finally:
        os._exit(127)


def hold(spec: Spec, status: int) -> None:
    """Where no namespace hides anything: what the kernel refuses to the program all the same."""
    try:
        if spec["level"] == "landlock":
            binds = [(source, kind == "write") for source, _, kind, _ in spec["binds"]]
            WALLS["landlock"].restrict(binds, spec["masks"], network=spec["network"])
            WALLS["landlock"].drop_capabilities()
        WALLS["filter"].install(spec["level"], network=spec["network"])
    except OSError as error:
        if spec["level"] == "landlock":
            tell(status, {"failed": str(error.strerror), "phase": "setup"})
            os._exit(127)


def set_limits(limits: dict[str, int | None], level: str) -> None:
    kinds = [
        ("memory", resource.RLIMIT_AS),
        ("cpu", resource.RLIMIT_CPU),
        ("file", resource.RLIMIT_FSIZE),
    ]
    # Before Linux 5.14, and outside a user namespace, this counts everything the user runs on the machine.
    kernel = tuple(int(part) for part in os.uname().release.split(".")[:2])
    if level == "namespace" and kernel >= (5, 14):
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


def drop_privileges() -> None:
    """Give up root's number and every capability, for good. The program is started after this."""
    inside = mounts.INSIDE
    if os.getuid() != inside:
        os.setgroups([])
        os.setresgid(inside, inside, inside)
        os.setresuid(inside, inside, inside)
    header = struct.pack("Ii", 0x20080522, 0)
    mounts.call("drop capabilities", "capset", header, bytes(24))
    mounts.call("no new privileges", "prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # the program may not look into process 1


# ---------------------------------------------------------------- start


def load(path: str) -> Any:
    """A module from its file, without the ways by which modules are found."""
    from importlib.machinery import SourceFileLoader

    name = os.path.basename(path).removesuffix(".py")
    module: Any = type(sys)(name)
    code = SourceFileLoader(name, path).get_code(name)
    assert code is not None
    exec(code, module.__dict__)
    return module


def load_walls(paths: list[str]) -> bool:
    """The files filter.py and landlock.py, once; the launcher itself goes under the filter that all share.
    Whether it could."""
    for path in paths:
        WALLS[os.path.basename(path).removesuffix(".py")] = load(path)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    try:
        WALLS["filter"].install("launcher")
    except OSError:  # it is a second layer
        return False
    return True


def clear_signals() -> None:
    """Signals as they are for a new program, whatever our caller's parent (nohup, say) ignored or blocked.
    What Python ignores for itself is put back when a program is started."""
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def main() -> None:
    clear_signals()
    os.set_inheritable(CALLS, False)
    os.umask(0o022)  # the program's user must get through the folders that are made for it
    os.closerange(CALLS + 1, 1 << 20)  # whatever the caller's own parent left open
    filtered = False
    if sys.platform == "linux":
        libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # no program looks into what will start the next one
        filtered = load_walls(sys.argv[2:])
    gc.freeze()  # a collection in a fork would copy every page
    with socket.socket(fileno=CALLS) as calls:
        Launcher(calls, filtered).serve()


if not TYPE_CHECKING:
    mounts = load(sys.argv[1])
    libc = mounts.libc
if __name__ == "__main__":
    main()
