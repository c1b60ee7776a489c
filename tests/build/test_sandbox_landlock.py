"""What a hostile program can do where namespaces cannot be had: at level "landlock", and what "none" leaves.

Every test runs a program that tries, and looks from outside at what it got. Those that ask how a machine
without namespaces behaves take them away for real: by the kernel's own limit, or by a filter that refuses
the calls.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.build import sandbox
from fairlead.build.sandbox import Bind, Command, Completed, command, filter, landlock, system
from fairlead.errors import MachineryError
from tests.build.launchers import BY, by

ROOT = Path(__file__).parents[2]
WITHOUT_NAMESPACES = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'


@pytest.fixture(autouse=True, scope="module")
def held() -> None:
    """These tests are about Landlock: without it there is nothing to test, and that is a failure."""
    assert landlock.refusal() == "", "these tests need Linux 6.2 with Landlock"


@pytest.fixture(autouse=True, params=BY)
def launched_by(request: pytest.FixtureRequest) -> Iterator[str]:
    yield from by(request.param)


class Jail:
    """A folder with an input, a place for outputs, a private temporary folder, a secret and a log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inputs, self.outputs, self.tmp = folder / "inputs", folder / "outputs", folder / "tmp"
        self.secret, self.log = folder / "secret", folder / "log"
        for path in (self.inputs, self.outputs, self.tmp):
            path.mkdir()
        (self.inputs / "source.txt").write_text("as it was")
        self.secret.write_text("s3cret")

    def run(self, program: str, **more: object) -> Completed:
        return self.command([system.interpreter(), "-I", "-c", textwrap.dedent(program)], **more)

    def command(self, argv: list[str], **more: object) -> Completed:
        given: dict[str, object] = {
            "argv": argv,
            "env": {"PATH": "/usr/bin:/bin", "TMPDIR": str(self.tmp), "HOME": str(self.tmp)},
            "cwd": str(self.inputs),
            "stdout": self.log,
            "root_binds": [
                Bind(self.inputs, str(self.inputs)),
                Bind(self.outputs, str(self.outputs), writable=True),
                Bind(self.tmp, str(self.tmp), writable=True),
            ],
            "wall_seconds": 60,
            "level": "landlock",
        }
        return sandbox.run(Command(**(given | more)))  # type: ignore[arg-type]

    @property
    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")


@pytest.fixture
def jail(tmp_path: Path) -> Jail:
    return Jail(tmp_path)


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the same user, which the program has no business with."""
    process = subprocess.Popen(["sleep", "300"], env={"TOKEN": "s3cret"})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_only_outputs_and_the_temporary_folder_can_be_written(jail: Jail) -> None:
    (jail.folder / "beside").mkdir()
    places = [
        *(f"{jail.inputs}/new", f"{jail.inputs}/source.txt", str(jail.secret), f"{jail.folder}/new"),
        *(f"{jail.folder}/beside/new", "/tmp/fairlead-new", "/var/tmp/new"),
        *(f"/{top}/new" for top in ("usr", "etc", "root", "run", "dev")),
        *("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger"),
        *(f"{jail.outputs}/made", f"{jail.tmp}/made", "/dev/null"),
    ]
    done = jail.run(
        f"""
        import os, shutil
        free = []
        for place in {places!r}:
            try:
                with open(place, "a") as stream:
                    stream.write("x")
                free.append(place)
            except OSError:
                pass
        print(free)
        secret, outputs, inputs = {str(jail.secret)!r}, {str(jail.outputs)!r}, {str(jail.inputs)!r}
        for name, act in {{
            "truncate": lambda: os.truncate(secret, 0),
            "truncating open": lambda: os.open(secret, os.O_RDONLY | os.O_TRUNC),
            "unlink": lambda: os.unlink(secret),
            "rename": lambda: os.rename(secret, outputs + "/taken"),
            "rename onto": lambda: os.rename(outputs + "/made", secret),
            "link": lambda: os.link(secret, outputs + "/linked"),
            "link of an input": lambda: os.link(inputs + "/source.txt", outputs + "/linked"),
            "mkdir": lambda: os.mkdir(secret + "-folder"),
            "symlink": lambda: os.symlink("/", secret + "-link"),
            "fifo": lambda: os.mkfifo(secret + "-fifo"),
            "device": lambda: os.mknod(outputs + "/disk", 0o60666, 254 << 8),
            "rmdir": lambda: os.rmdir({str(jail.folder / "beside")!r}),
            "chroot": lambda: os.chroot("/tmp"),
        }}.items():
            try:
                act()
                print("wrong:", name)
            except OSError:
                pass
        os.symlink(secret, outputs + "/way")
        try:
            open(outputs + "/way", "a"); print("wrong: through a link")
        except OSError:
            pass
        """
    )
    assert (done.code, done.enforced) == (0, "landlock"), jail.said
    assert jail.said.strip() == str(places[-3:])
    assert jail.secret.read_text() == "s3cret"
    assert (jail.inputs / "source.txt").read_text() == "as it was"
    assert {path.name for path in jail.folder.iterdir()} == {
        *("inputs", "outputs", "tmp", "secret", "log", "beside")
    }


def test_what_was_not_declared_cannot_be_read(jail: Jail) -> None:
    places = [
        str(jail.secret),
        "/etc/shadow",
        "/etc/ssh",
        "/root",
        str(ROOT / "pyproject.toml"),
        "/",
        "/home",
    ]
    done = jail.run(
        f"""
        import os
        for place in {places!r}:
            try:
                print("wrong:", place, os.listdir(place) if os.path.isdir(place) else open(place).read())
            except FileNotFoundError:
                pass
            except PermissionError:
                pass
        print(open("source.txt").read(), os.path.exists({str(jail.secret)!r}))
        """
    )
    assert done.code == 0, jail.said
    assert jail.said.strip() == "as it was True"


def test_the_site_packages_of_the_interpreter_cannot_be_imported(jail: Jail) -> None:
    # Folders are masked only for an interpreter that is installed apart from the system's own.
    if not system.masks():
        pytest.skip("the interpreter is the system's, whose packages belong to it")
    jail.run(
        """
        import email.mime.text, sqlite3
        for name in ("pip", "setuptools"):
            try:
                __import__(name); print("wrong:", name)
            except (ModuleNotFoundError, PermissionError):
                print("none")
        """
    )
    assert jail.said.split() == ["none", "none"]


def test_there_is_no_network_and_nothing_to_connect_to(jail: Jail) -> None:
    path = str(jail.outputs / "engine.sock")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as engine:
        engine.bind(path)  # in a folder that it may write: it is the connection that is refused
        os.chmod(path, 0o777)
        engine.listen()
        abstract = socket.socket(socket.AF_UNIX)
        abstract.bind(f"\0fairlead-test-{os.getpid()}")
        abstract.listen()
        done = jail.run(
            f"""
            import ctypes, socket
            for family in range(0, 46):
                for kind in (1, 2, 3, 4, 5):
                    try:
                        socket.socket(family, kind)
                        print(family, kind)
                    except OSError:
                        pass
            def refused(act):
                try:
                    act()
                except PermissionError:
                    return
                print("wrong: connected")
            refused(lambda: socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), timeout=2))
            for name in ({path!r}, "\\0fairlead-test-{os.getpid()}"):
                refused(lambda: socket.socket(socket.AF_UNIX).connect(name))
                refused(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
            one, other = socket.socketpair()
            one.send(b"pairs work"); print(other.recv(99).decode())
            libc = ctypes.CDLL(None, use_errno=True)
            print([libc.syscall(ctypes.c_long(number), 1, None) for number in (425, 426, 427)])
            """
        )
        abstract.close()
    assert done.code == 0, jail.said
    assert jail.said.splitlines() == ["1 1", "1 5", "pairs work", "[-1, -1, -1]"]


def test_network_is_given_when_asked_for(jail: Jail) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = f"import socket; socket.create_connection(('127.0.0.1', {port}), timeout=5)"
        assert jail.run(program, network=True).code == 0, jail.said


def test_no_namespace_no_mount_and_no_capability(jail: Jail) -> None:
    done = jail.run(
        """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        stack = ctypes.create_string_buffer(65536)
        top = ctypes.c_void_p(ctypes.addressof(stack) + 65536)
        number = {"x86_64": 0, "aarch64": 1}[os.uname().machine]
        def call(numbers, *args):
            return libc.syscall(ctypes.c_long(numbers[number]), *args)
        tries = {
            "user namespace": lambda: libc.unshare(0x10000000),
            "user and mount namespace": lambda: libc.unshare(0x10020000),
            "clone": lambda: call((56, 220), 0x10000000 | 17, None, None, None, None),
            "clone3": lambda: call((435, 435), None, 0),
            "join a namespace": lambda: libc.setns(os.open("/proc/self/ns/net", os.O_RDONLY), 0),
            "mount": lambda: libc.mount(b"t", b"/tmp", b"tmpfs", 0, None),
            "bind": lambda: libc.mount(b"/usr", b"/tmp", None, 4096, None),
            "unmount": lambda: libc.umount2(b"/proc", 2),
            "new mount calls": lambda: call((430, 430), b"tmpfs", 0),
            "copy of a tree": lambda: call((428, 428), -100, b"/", 1),
            "keys": lambda: call((250, 219), 0, -3, 0),
            "add key": lambda: call((248, 217), b"user", b"x", b"x", 1, -3),
            "bpf": lambda: call((321, 280), 0, None, 0),
            "userfaultfd": lambda: call((323, 282), 0),
            "counters": lambda: call((298, 241), None, 0, -1, -1, 0),
            "another user": lambda: libc.setuid(65533),
            "host name": lambda: libc.sethostname(b"x", 1),
        }
        made = [name for name, act in tries.items() if act() >= 0]
        print(made)
        status = open("/proc/self/status").read()
        wanted = ("CapEff", "CapPrm", "NoNew")
        print([line.split()[1] for line in status.splitlines() if line.startswith(wanted)])
        """
    )
    assert done.code == 0, jail.said
    assert jail.said.splitlines() == ["[]", str(["0" * 16] * 2 + ["1"])]


def test_other_processes_can_be_neither_ended_nor_looked_into(
    jail: Jail, bystander: subprocess.Popen[bytes]
) -> None:
    done = jail.run(
        f"""
        import ctypes, os, signal
        libc = ctypes.CDLL(None, use_errno=True)
        for pid in ({bystander.pid}, {os.getpid()}, os.getppid(), -1):
            try:
                os.kill(pid, signal.SIGKILL); print("wrong: killed", pid)
            except PermissionError:
                pass
            if pid < 0:
                continue
            for look in ("environ", "mem", "root/etc/shadow", "cwd/secret", "fd", "maps"):
                try:
                    open(f"/proc/{{pid}}/{{look}}").read(1); print("wrong: opened", pid, look)
                except OSError:
                    pass
            if libc.ptrace(16, pid, None, None) >= 0:
                print("wrong: traced", pid)
        os.kill(os.getpid(), 0)
        print("still here")
        """
    )
    assert (done.code, jail.said.strip()) == (0, "still here")
    assert bystander.poll() is None


def test_nothing_survives_the_program(jail: Jail) -> None:
    beat = jail.outputs / "beat"
    loop = f"while :; do date +%s%N > {beat}.new; mv {beat}.new {beat}; sleep 0.02; done"
    jail.command(["/bin/sh", "-c", f"setsid sh -c '{loop}' & sleep 0.3; exit 0"])
    last = beat.read_text()
    time.sleep(0.3)
    assert last and beat.read_text() == last


def test_common_work_goes_on(jail: Jail) -> None:
    done = jail.run(
        """
        import multiprocessing, os, pathlib, pwd, subprocess, sys, tempfile, threading, time
        assert len(open("/dev/urandom", "rb").read(8)) == 8 and open("/dev/zero", "rb").read(2) == bytes(2)
        open("/dev/stderr", "a").write("to the log\\n")
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "a"); path.write_text("x"); path.chmod(0o755)
            os.mkdir(folder + "/b"); path.rename(folder + "/b/a"); os.symlink("b", folder + "/c")
            os.truncate(folder + "/c/a", 0); os.link(folder + "/b/a", folder + "/d")
        multiprocessing.get_context("fork").Queue().put(1)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(abs, [-1, -2]) == [1, 2]
        pwd.getpwuid(os.getuid())
        thread = threading.Thread(target=time.sleep, args=(0,)); thread.start(); thread.join()
        assert subprocess.run(["sh", "-c", "echo x | cat"], capture_output=True).stdout == b"x\\n"
        subprocess.run([sys.executable, "-I", "-c", "import sqlite3, ssl"], check=True)
        """
    )
    assert (done.code, jail.said) == (0, "to the log\n")


def test_what_a_held_program_asks_for_is_heard(jail: Jail) -> None:
    done = jail.run("open('source.txt'); __import__('os').path.exists('absent')", record=True)
    assert done.code == 0 and done.asked is not None and done.asked.recorder == "seccomp"
    assert {f"{jail.inputs}/source.txt", f"{jail.inputs}/absent"} <= set(done.asked.paths())


@pytest.mark.parametrize("level", ["none", "landlock"])
def test_a_program_that_would_end_everything_ends_nothing(
    jail: Jail, bystander: subprocess.Popen[bytes], level: str
) -> None:
    """kill(-1): tried with signal 0, which only asks, for what would be lost if the walls were not there."""
    done = jail.run("import os; os.kill(-1, 0)", level=level)
    assert done.code == 1
    assert "PermissionError" in jail.said
    assert bystander.poll() is None


def test_all_levels_refuse_the_calls_that_are_ways_into_the_kernel(jail: Jail) -> None:
    """The launcher's filter, which namespaces leave in place too."""
    program = """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        numbers = {"x86_64": (425, 321, 323, 298, 250), "aarch64": (425, 280, 282, 241, 219)}
        found = []
        for number in numbers[os.uname().machine]:
            libc.syscall(ctypes.c_long(number), 0, None, 0, 0, 0)
            found.append(ctypes.get_errno())
        print(found)
    """
    for level in command.LEVELS:
        assert jail.run(program, level=level, cwd="/", root_binds=[]).code == 0, jail.said
        assert jail.said.strip() == "[38, 1, 1, 1, 1]", level


def test_every_machine_has_a_filter_that_the_kernel_could_take() -> None:
    for machine in filter.SECCOMP:
        for name in ("launcher", "landlock", "none"):
            code = filter.instructions(name, machine)
            lines = [code[at : at + 8] for at in range(0, len(code), 8)]
            for place, line in enumerate(lines):
                if (
                    line[0] & 7 == 5
                ):  # a jump: never beyond the end, and what follows the last line is nothing
                    assert place + 1 + max(line[2], line[3]) < len(lines)
            assert lines[-1][0] == filter.RETURN


# The program is machine code of that processor; the filter's table for the other is checked above.
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the 32 bits that are tried are those of x86-64")
def test_the_calls_of_32_bits_are_no_way_around(jail: Jail) -> None:
    """int 0x80 in a 64-bit program: socket(AF_INET, SOCK_STREAM, 0), by i386's number."""
    done = jail.run(
        """
        import ctypes, mmap
        code = bytes.fromhex("53b867010000bb02000000b90100000031d2cd805bc3")
        memory = mmap.mmap(-1, 4096, prot=7)
        memory.write(code)
        act = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
        print(act())
        """
    )
    assert done.code in (0, -signal.SIGSEGV), jail.said  # a kernel may have no such calls at all
    assert done.code != 0 or jail.said.strip() == "-38"


ASK = f"""
import json, sys; sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from fairlead.build import sandbox
from fairlead.build.sandbox import Command
from fairlead.errors import MachineryError
def go(level):
    try:
        done = sandbox.run(Command(["/bin/sh", "-c", "exit 5"], {{"PATH": "/usr/bin:/bin"}}, "/",
                                   Path(sys.argv[1]), level=level))
        return [done.code, done.enforced]
    except MachineryError as error:
        return [error.what, error.remedy]
print(json.dumps({{level: go(level) for level in ("auto", "none", "landlock", "namespace")}}))
"""


def test_where_namespaces_are_refused_landlock_takes_their_place(tmp_path: Path) -> None:
    """In a user namespace that allows no further ones, as in many containers."""
    ask = [sys.executable, "-c", ASK, str(tmp_path / "log")]
    done = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", WITHOUT_NAMESPACES, "sh", *ask],
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout)
    assert said["auto"] == said["landlock"] == [5, "landlock"]
    assert said["none"] == [5, "none"]
    assert "refuses the namespaces" in said["namespace"][0]
    assert "--sandbox landlock" in said["namespace"][1]


REFUSING = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
refused = json.loads(sys.argv.pop(1))
code = [(0x20, 0, 0, 0)]
for number in refused:
    code += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050001)]
code.append((0x06, 0, 0, 0x7FFF0000))
data = b"".join(struct.pack("HBBI", *line) for line in code)
held = ctypes.create_string_buffer(data, len(data))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, struct.pack("HxxxxxxP", len(code), ctypes.addressof(held)), 0, 0) == 0
"""


@pytest.mark.parametrize(("calls", "level"), [(("unshare",), "landlock"), (("unshare", "landlock"), "none")])
def test_a_container_that_refuses_the_calls(tmp_path: Path, calls: tuple[str, ...], level: str) -> None:
    """As container engines do it: a filter answers the call with "not permitted"."""
    numbers = {"unshare": filter.NUMBERS[platform.machine()]["unshare"], "landlock": landlock.CREATE}
    code = "import json\n" + REFUSING + ASK
    refused = json.dumps([numbers[call] for call in calls])
    done = subprocess.run(
        [sys.executable, "-c", code, refused, str(tmp_path / "log")],
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout)
    assert said["auto"] == [5, level]
    assert said["none"] == [5, "none"]
    if level == "none":
        assert "Landlock" in said["landlock"][0]
        assert "--sandbox none" in said["namespace"][1]


def test_a_program_that_cannot_be_held_is_not_started(jail: Jail) -> None:
    """The walls come before the program: where a step fails there is an error and no run."""
    with pytest.raises(MachineryError, match="folder to run in"):
        jail.command(["/bin/true"], cwd=str(jail.folder / "absent"))


def test_without_namespaces_tests_and_workers_are_held_by_landlock(tmp_path: Path) -> None:
    from tests.build.test_build_verbs import Clone

    clone = Clone(tmp_path / "clone")
    hidden = tmp_path / "hidden"
    hidden.write_text("ONE\n")
    clone.write(
        "lib/check.sh", f'#!/bin/sh\n! cat {hidden} && grep "$1" fairlead-out/gen/lib/__upper__/upper.txt\n'
    )
    level = "from fairlead.cli import worker; print(worker._level('landlock'))"
    for words, expected in (
        (["-m", "fairlead", "test", "//lib:has_one", "--json"], '"enforced": "landlock"'),
        (["-m", "fairlead", "test", "//lib:has_two"], "sandbox: landlock"),
        (["-c", level], "landlock"),
    ):
        done = subprocess.run(
            ["unshare", "-Ur", "sh", "-c", WITHOUT_NAMESPACES, "sh", sys.executable, *words],
            cwd=clone.root,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 and expected in done.stdout, done.stdout + done.stderr
