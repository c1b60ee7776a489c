"""What a hostile program can do inside: every test runs one, and looks from outside at what it got.

Always at level "namespace" by name, never "auto": a program that kills all it can see must not run without
one. Every test runs by both launchers, the native one and init.py: the walls are the same.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fairlead.build import sandbox
from fairlead.build.sandbox import MIB, Bind, Command, Completed, process, system
from fairlead.errors import MachineryError, UsageError
from tests.build.launchers import BY, by
from tests.build.ordinary import ordinary_user
from tests.disk import small_disk

ROOT = Path(__file__).parents[2]
BEAT = "while :; do date +%s%N > /outputs/new; mv /outputs/new /outputs/beat; sleep 0.02; done"


@pytest.fixture(autouse=True, scope="module")
def namespaces() -> None:
    """These tests are about namespaces: without them there is nothing to test, and that is a failure."""
    assert sandbox.refusal() == "", "this machine refuses user namespaces: these tests cannot run on it"


@pytest.fixture(autouse=True, params=BY)
def launched_by(request: pytest.FixtureRequest) -> Iterator[str]:
    yield from by(request.param)


class Jail:
    """A folder with an input, a place for outputs, and a log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inputs = folder / "inputs"
        self.outputs = folder / "outputs"
        self.log = folder / "log"
        self.inputs.mkdir()
        self.outputs.mkdir()
        (self.inputs / "source.txt").write_text("as it was")

    def run(self, program: str, **more: object) -> Completed:
        """Run a Python program inside; its log is `self.said`."""
        code = textwrap.dedent(program)
        return self.command([system.interpreter(), "-I", "-c", code], **more)

    def shell(self, line: str, **more: object) -> Completed:
        return self.command(["/bin/sh", "-c", line], **more)

    def command(self, argv: list[str], **more: object) -> Completed:
        given: dict[str, object] = {
            "argv": argv,
            "env": {"PATH": "/usr/bin:/bin"},
            "cwd": "/inputs",
            "stdout": self.log,
            "root_binds": [Bind(self.inputs, "/inputs"), Bind(self.outputs, "/outputs", writable=True)],
            "wall_seconds": 60,
            "level": "namespace",
        }
        return sandbox.run(Command(**(given | more)))  # type: ignore[arg-type]

    @property
    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")


@pytest.fixture
def jail(tmp_path: Path) -> Jail:
    return Jail(tmp_path)


def test_a_program_runs_with_its_code_its_output_and_nothing_of_our_environment(jail: Jail) -> None:
    os.environ["FAIRLEAD_TEST_SECRET"] = "s3cret"
    try:
        done = jail.shell("env | sort; exit 7")
    finally:
        del os.environ["FAIRLEAD_TEST_SECRET"]
    assert (done.code, done.enforced, done.timed_out) == (7, "namespace", False)
    assert "s3cret" not in jail.said
    assert {line.partition("=")[0] for line in jail.said.splitlines()} <= {"PATH", "PWD", "SHLVL", "_"}


def test_only_outputs_and_tmp_can_be_written(jail: Jail) -> None:
    done = jail.run(
        """
        import os
        free, shut = [], []
        for place in [
            "/inputs/new", "/inputs/source.txt", "/new", "/etc/passwd", "/toolchains/x",
            *(f"/{top}/new" for top in "usr etc bin lib dev run var home root".split()),
            "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger",
            "/outputs/made", "/tmp/made", "/dev/shm/made", "/dev/null",
        ]:
            try:
                with open(place, "w") as stream:
                    stream.write("x")
                free.append(place)
            except OSError:
                shut.append(place)
        print(free)
        for act in (
            lambda: os.chmod("/inputs/source.txt", 0o777),
            lambda: os.unlink("/inputs/source.txt"),
            lambda: os.utime("/inputs/source.txt"),
            lambda: os.rename("/inputs", "/tmp/i"),
            lambda: os.link("/inputs/source.txt", "/outputs/linked"),
        ):
            try:
                act()
                print("wrong: allowed")
            except OSError:
                pass
        """
    )
    assert done.code == 0, jail.said
    assert jail.said.strip() == "['/outputs/made', '/tmp/made', '/dev/shm/made', '/dev/null']"
    assert (jail.inputs / "source.txt").read_text() == "as it was"
    assert [path.name for path in jail.outputs.iterdir()] == ["made"]


def test_nothing_can_be_mounted_again_or_uncovered(jail: Jail) -> None:
    done = jail.run(
        """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        bind, remount, rec, private = 4096, 32, 16384, 1 << 18
        tries = {
            "remount": lambda: libc.mount(b"none", b"/inputs", None, remount | bind, None),
            "remount root": lambda: libc.mount(b"none", b"/", None, remount, None),
            "tmpfs": lambda: libc.mount(b"t", b"/tmp", b"tmpfs", 0, None),
            "bind": lambda: libc.mount(b"/usr", b"/tmp", None, bind, None),
            "proc": lambda: libc.mount(b"p", b"/tmp", b"proc", 0, None),
            "umount": lambda: libc.umount2(b"/inputs", 2),
            "chroot": lambda: libc.chroot(b"/tmp"),
            "setuid": lambda: libc.setuid(0),
            "setgid": lambda: libc.setgid(0),
            "mknod": lambda: libc.mknod(b"/tmp/disk", 0o60666, (254 << 8)),
            "user namespace": lambda: libc.unshare(0x10000000),
            "mount namespace": lambda: libc.unshare(0x20000),
            "user and mount namespace": lambda: libc.unshare(0x10020000),
            "host name": lambda: libc.sethostname(b"x", 1),
        }
        print([name for name, act in tries.items() if act() >= 0])
        status = open("/proc/self/status").read()
        print([line.split()[1] for line in status.splitlines() if line.startswith(("Cap", "NoNew"))])
        """
    )
    assert done.code == 0, jail.said
    allowed, status = jail.said.splitlines()
    assert allowed == "[]"
    assert status == str(["0" * 16] * 5 + ["1"])


def test_set_user_id_programs_give_nothing(jail: Jail) -> None:
    """A program with the set-user-id bit, such as su, keeps the caller's user."""
    helper = jail.inputs / "helper"
    helper.write_bytes(Path("/usr/bin/id").read_bytes())
    helper.chmod(0o4755)
    done = jail.shell(
        "/inputs/helper -u; for x in su mount passwd; do ls -l /usr/bin/$x; done >/dev/null 2>&1"
    )
    assert jail.said.strip() == "1000"
    assert done.enforced == "namespace"


def test_home_the_servers_data_and_the_rest_of_the_disk_are_not_there(jail: Jail) -> None:
    secret = jail.folder / "server.sqlite"
    secret.write_text("s3cret")
    secret.chmod(0o644)
    places = [
        str(secret),
        str(Path.home()),
        str(ROOT),
        "/etc/shadow",
        "/etc/hostname",
        "/var/lib",
        "/sys",
        "/boot",
    ]
    done = jail.run(
        f"""
        import os
        for place in {places!r}:
            try:
                print(place, os.listdir(place) if os.path.isdir(place) else open(place).read())
            except OSError as error:
                pass
        print(sorted(os.listdir("/")))
        for number in range(3, 64):
            try:
                os.fstat(number); print("open descriptor", number)
            except OSError:
                pass
        """
    )
    assert done.code == 0
    *seen, top = jail.said.splitlines()
    home = str(Path.home())
    inside_home = [
        part for part in system.prefix_binds(sys.base_prefix) if str(part.src).startswith(home + "/")
    ]
    if inside_home:  # an interpreter in the home folder: the way to it shows, and nothing beside it
        first = inside_home[0].src.relative_to(home).parts[0]
        assert seen == [f"{home} ['{first}']"]
    else:
        assert seen == []
    assert "s3cret" not in jail.said
    assert set(eval(top)) <= {
        *("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "dev", "proc", "tmp", "run", "var"),
        *("inputs", "outputs", Path(sys.base_prefix).parts[1]),
    }


def test_inherited_descriptors_are_closed(jail: Jail) -> None:
    secret = jail.folder / "secret"
    secret.write_text("s3cret")
    fd = os.open(secret, os.O_RDONLY)
    os.set_inheritable(fd, True)
    try:
        jail.shell(f"cat /proc/self/fd/{fd} <&{fd}; cat /dev/fd/{fd}")
    finally:
        os.close(fd)
    assert "s3cret" not in jail.said


def test_other_processes_are_out_of_sight_and_reach(jail: Jail) -> None:
    bystander = subprocess.Popen(["sleep", "300"])
    try:
        done = jail.run(
            f"""
            import os, signal
            print(sorted(int(name) for name in os.listdir("/proc") if name.isdigit()))
            for pid in ({bystander.pid}, {os.getpid()}):
                try:
                    os.kill(pid, 0); print("wrong: reached")
                except ProcessLookupError:
                    pass
            for look in ("environ", "mem", "root/etc"):
                try:
                    os.open("/proc/1/" + look, os.O_RDONLY); print("wrong: opened", look)
                except OSError:
                    pass
            os.kill(1, signal.SIGKILL)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.kill(0, signal.SIGTERM)
            print("still here")
            """
        )
        assert done.code == 0, jail.said
        processes, last = jail.said.splitlines()
        assert len(eval(processes)) == 2
        assert last == "still here"
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_program_that_kills_its_group_kills_only_itself(jail: Jail) -> None:
    assert jail.shell("kill -9 0").code == -9


def test_the_hosts_network_is_out_of_reach_and_loopback_is_its_own(jail: Jail) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        abstract = socket.socket(socket.AF_UNIX)
        abstract.bind(f"\0fairlead-test-{os.getpid()}")
        abstract.listen()
        done = jail.run(
            f"""
            import socket
            for address in (("127.0.0.1", {port}), ("192.0.2.1", 80), ("8.8.8.8", 53)):
                try:
                    socket.create_connection(address, timeout=2); print("wrong: reached", address)
                except OSError:
                    pass
            try:
                socket.socket(socket.AF_UNIX).connect("\\0fairlead-test-{os.getpid()}")
                print("wrong: reached a socket of the host")
            except OSError:
                pass
            with socket.create_server(("127.0.0.1", 0)) as own:
                with socket.create_connection(own.getsockname()):
                    print("loopback works")
            """
        )
        abstract.close()
    assert (done.code, jail.said.strip()) == (0, "loopback works")


def test_network_is_given_when_asked_for(jail: Jail) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = f"import socket; socket.create_connection(('127.0.0.1', {port}), timeout=5)"
        assert jail.run(program, network=True).code == 0


def test_nothing_survives_the_program(jail: Jail) -> None:
    """A daemon that a program leaves behind, in a session of its own, ends with it."""
    jail.shell(f"setsid sh -c '{BEAT}' & sleep 0.3; exit 0")
    first = (jail.outputs / "beat").read_text()
    time.sleep(0.3)
    assert first and (jail.outputs / "beat").read_text() == first


def test_one_launcher_serves_many_and_nothing_passes_between_them(jail: Jail) -> None:
    jail.shell("true")
    kept = [each._pid for each in process.idle]
    look = """
        import os, resource, signal
        limits = [resource.getrlimit(kind) for kind in (resource.RLIMIT_CPU, resource.RLIMIT_AS)]
        mask = os.umask(0)
        print(sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:-1], limits, oct(mask), os.getcwd(),
              sorted(os.environ), os.listdir("/tmp"), os.listdir("/dev/shm"), os.getpid(), os.getuid(),
              signal.getsignal(signal.SIGTERM), signal.pthread_sigmask(signal.SIG_BLOCK, []))
    """
    jail.run(look)
    first = jail.said
    spoil = """
        import os, resource, signal
        open("/tmp/left", "w"); open("/dev/shm/left", "w")
        os.umask(0o777); os.chdir("/usr"); signal.signal(signal.SIGTERM, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
        for fd in range(20, 200): os.dup2(1, fd)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert jail.run(spoil, cpu_seconds=7, memory_bytes=512 * MIB).code == -9
    assert jail.run(look).code == 0
    assert jail.said == first and "left" not in first
    assert kept and [each._pid for each in process.idle] == kept


def test_a_launcher_that_was_killed_or_had_to_stop_is_replaced(jail: Jail) -> None:
    jail.shell("true")
    for each in process.idle:
        os.kill(each._pid, signal.SIGKILL)
        os.waitid(os.P_PID, each._pid, os.WEXITED | os.WNOWAIT)
    assert jail.shell("exit 3").code == 3
    stopped = [each._pid for each in process.idle][-1]
    assert jail.shell("sleep 300", wall_seconds=0.5).timed_out
    assert stopped not in [each._pid for each in process.idle]
    with pytest.raises(ProcessLookupError):
        os.kill(stopped, 0)
    assert jail.shell("exit 4").code == 4


def test_commands_at_once_have_a_launcher_each(jail: Jail) -> None:
    def one(number: int) -> int:
        command = Command(["sh", "-c", f"sleep 0.2; exit {number}"], {"PATH": "/usr/bin:/bin"}, "/",
                          jail.log.with_name(f"log{number}"), level="namespace")  # fmt: skip
        return sandbox.run(command).code

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(12))) == list(range(12))
    assert len({each._pid for each in process.idle}) == len(process.idle) >= 2


def test_the_wall_time_ends_the_whole_tree(jail: Jail) -> None:
    started = time.monotonic()
    done = jail.shell(
        f"trap '' TERM; setsid sh -c '{BEAT}' & sleep 300",
        wall_seconds=1,
    )
    assert done.timed_out and done.code == -9
    assert time.monotonic() - started < 10
    beat = (jail.outputs / "beat").read_text()
    time.sleep(0.3)
    assert (jail.outputs / "beat").read_text() == beat


def test_cancelling_ends_the_tree(jail: Jail) -> None:
    cancel = threading.Event()
    threading.Timer(0.5, cancel.set).start()
    command = Command(["sleep", "300"], {"PATH": "/usr/bin:/bin"}, "/", jail.log, level="namespace")
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        sandbox.run(command, cancel=cancel)
    assert time.monotonic() - started < 10


def test_when_we_are_killed_so_is_the_program(jail: Jail, launched_by: str) -> None:
    code = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from fairlead.build import sandbox
from fairlead.build.sandbox import Bind, Command, native
native.choose({"auto" if launched_by == "native" else "off"!r})
loop = {BEAT!r}
bind = Bind(Path({str(jail.outputs)!r}), "/outputs", writable=True)
sandbox.run(Command(["/bin/sh", "-c", loop], {{"PATH": "/usr/bin:/bin"}}, "/", Path({str(jail.log)!r}),
                    root_binds=[bind], level="namespace"))
"""
    ours = subprocess.Popen([sys.executable, "-c", code])
    beat = jail.outputs / "beat"
    deadline = time.monotonic() + 30
    while not (beat.exists() and beat.read_text()):
        assert time.monotonic() < deadline and ours.poll() is None
        time.sleep(0.05)
    ours.kill()
    ours.wait()
    time.sleep(0.3)
    last = beat.read_text()
    time.sleep(0.3)
    assert beat.read_text() == last


@pytest.mark.parametrize(
    ("program", "limit", "code", "says"),
    [
        ("x = bytearray(1 << 30)", {"memory_bytes": 256 * MIB}, 1, "MemoryError"),
        ("while True: pass", {"cpu_seconds": 1}, -24, ""),
        ("open('/outputs/big', 'wb').truncate(64 << 20)", {"file_bytes": 1 * MIB}, 1, "File too large"),
        ("open('/tmp/big', 'wb').write(bytes(64 << 20))", {"tmp_bytes": 4 * MIB}, 1, "No space left"),
    ],
)
def test_limits_hold(jail: Jail, program: str, limit: Mapping[str, object], code: int, says: str) -> None:
    assert jail.run(program, **limit).code == code
    assert says in jail.said


def test_a_program_that_prints_without_end_fills_no_disk(jail: Jail) -> None:
    assert jail.shell("yes", file_bytes=1 * MIB).code == -25
    assert jail.log.stat().st_size == MIB


def test_a_fork_bomb_is_bounded(jail: Jail) -> None:
    done = jail.run(
        """
        import os, time
        made = 0
        try:
            while made < 500:
                if os.fork() == 0:
                    time.sleep(300)
                made += 1
        except BlockingIOError:
            pass
        print(made)
        """,
        processes=40,
    )
    assert done.code == 0, jail.said
    assert 30 <= int(jail.said) <= 40


def test_a_program_may_try_to_make_a_sandbox_of_its_own(jail: Jail) -> None:
    """unshare inside is refused, the program is told, and the walls stand."""
    done = jail.shell(
        "unshare -Urm true && echo wrong; unshare -Urmpf sh -c 'mount -o remount,rw,bind /inputs'; "
        "echo x > /inputs/new && echo wrong; exit 3"
    )
    assert done.code == 3
    assert "wrong" not in jail.said
    assert [path.name for path in jail.inputs.iterdir()] == ["source.txt"]


def test_site_packages_of_the_interpreter_are_not_there(jail: Jail) -> None:
    jail.run(
        """
        import importlib.util, sys
        print([name for name in ("pip", "pytest", "fairlead") if importlib.util.find_spec(name)])
        """
    )
    assert "pytest" not in jail.said and "fairlead" not in jail.said
    if not sys.base_prefix.startswith("/usr"):
        assert jail.said.strip() == "[]"


def test_dev_and_tmp_are_usable(jail: Jail) -> None:
    done = jail.run(
        """
        import multiprocessing, os, pathlib, pwd, socket, sys, tempfile
        assert len(open("/dev/urandom", "rb").read(8)) == 8 and open("/dev/zero", "rb").read(2) == bytes(2)
        open("/dev/stderr", "a").write("to the log\\n")
        with tempfile.NamedTemporaryFile() as file:
            assert file.name.startswith("/tmp/")
        assert multiprocessing.get_context("fork").Queue() is not None
        assert pwd.getpwuid(os.getuid()).pw_name == "sandbox"
        assert socket.gethostbyname("localhost") == "127.0.0.1"
        """
    )
    assert (done.code, jail.said) == (0, "to the log\n")


def test_a_program_that_is_not_there_is_bad_input(jail: Jail) -> None:
    with pytest.raises(UsageError, match="cannot start /nowhere/tool"):
        jail.command(["/nowhere/tool"])


def test_a_source_that_is_not_there_is_machinery(jail: Jail) -> None:
    with pytest.raises(MachineryError, match="cannot make the sandbox"):
        jail.shell("true", root_binds=[Bind(jail.folder / "absent", "/absent")])


def test_a_source_is_never_written_to_make_room_for_a_bind(jail: Jail) -> None:
    with pytest.raises(MachineryError, match="not there to be mounted on"):
        jail.shell(
            "true",
            root_binds=[Bind(jail.inputs, "/inputs"), Bind(jail.outputs, "/inputs/outputs", writable=True)],
        )
    assert [path.name for path in jail.inputs.iterdir()] == ["source.txt"]


def test_a_full_disk_beside_a_run_is_said_so(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kilobytes=64) as disk:
        (disk / "filler").write_bytes(bytes(64 * 1024))
        command = Command(["sleep", "60"], {"PATH": "/usr/bin:/bin"}, "/", disk / "log", level="namespace",
                          keep_free=4096)  # fmt: skip
        assert sandbox.run(command).disk_full
        assert sorted(path.name for path in disk.iterdir()) == ["filler", "log"]


def test_level_none_ends_the_tree_and_scrubs_the_environment(jail: Jail) -> None:
    beat = jail.outputs / "beat"
    loop = f"while :; do date +%s%N > {beat}.new; mv {beat}.new {beat}; sleep 0.02; done"
    done = jail.shell(f"setsid sh -c '{loop}' & sleep 0.3; env; exit 4", level="none", cwd=str(jail.inputs))
    assert (done.code, done.enforced) == (4, "none")
    assert "HOME" not in jail.said
    last = beat.read_text()
    time.sleep(0.3)
    assert beat.read_text() == last


def test_an_ordinary_user_has_the_same_walls(launched_by: str) -> None:
    user, python = ordinary_user()
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    try:
        for name in ("inputs", "outputs", "secret", "code", "cache"):
            (folder / name).mkdir()
        (folder / "secret/key").write_text("s3cret")
        subprocess.run(["cp", "-r", str(ROOT / "fairlead"), str(folder / "code/fairlead")], check=True)
        shutil.copytree(ROOT / "native", folder / "code/native")
        if os.getuid() == 0:
            subprocess.run(["chown", "-R", str(user), str(folder)], check=True)
        program = f"""
import os, ctypes
print(os.getuid())
for place in ("/inputs/new", "/usr/new", "/new", "{folder}/secret/key", "/proc/sys/kernel/core_pattern"):
    try: open(place, "a"); print("wrong:", place)
    except OSError: pass
libc = ctypes.CDLL(None)
print(libc.mount(b"none", b"/inputs", None, 32 | 4096, None), libc.unshare(0x10020000), libc.setuid(0))
open("/outputs/made", "w").write("made")
print(len([n for n in os.listdir("/proc") if n.isdigit()]))
"""
        code = f"""
import sys; sys.path.insert(0, {str(folder / "code")!r})
from pathlib import Path
from fairlead.build import sandbox
from fairlead.build.sandbox import Bind, Command, native, system
native.choose({"auto" if launched_by == "native" else "off"!r})
assert sandbox.refusal() == "", sandbox.refusal()
inputs = Bind(Path({str(folder / "inputs")!r}), "/inputs")
outputs = Bind(Path({str(folder / "outputs")!r}), "/outputs", writable=True)
done = sandbox.run(Command([system.interpreter(), "-I", "-c", {program!r}], {{}}, "/",
    Path({str(folder / "log")!r}), root_binds=[inputs, outputs], level="namespace"))
print(done.code, done.enforced, "native" if not native.refusal() else "python")
"""
        switch: dict[str, object] = (
            {"user": user, "group": user, "extra_groups": []} if os.getuid() == 0 else {}
        )
        done = subprocess.run(
            [python, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env={**os.environ, "FAIRLEAD_CACHE_DIR": str(folder / "cache")},
            **switch,  # type: ignore[call-overload]
        )
        assert done.stdout.split() == ["0", "namespace", launched_by], done.stderr + done.stdout
        assert (folder / "log").read_text().splitlines() == ["1000", "-1 -1 -1", "2"]
        assert (folder / "outputs/made").read_text() == "made"
        assert (folder / "outputs/made").stat().st_uid == user
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_a_used_network_is_not_the_next_programs(jail: Jail) -> None:
    """Neither sockets that wait for their end, nor names, nor counters of what was sent or could not be."""
    look = """
        import pathlib, socket
        for name in ("snmp", "netstat", "dev", "unix", "tcp"):
            print(pathlib.Path("/proc/net", name).read_text())
        with socket.create_server(("127.0.0.1", 4711)):  # its port was free
            socket.socket(socket.AF_UNIX).bind("\\0name")
    """
    assert jail.run(look).code == 0, jail.said
    first = jail.said
    kept = {each._pid for each in process.idle}
    use = """
        import socket
        with socket.create_server(("127.0.0.1", 4711)) as server:
            one = socket.create_connection(server.getsockname())
            other, _ = server.accept()
            other.close(); one.close()  # TIME_WAIT on the server's port
    """
    lost = """
        import array, socket
        named = socket.socket(socket.AF_UNIX); named.bind("\\0name"); named.listen()
        a, b = socket.socketpair()
        for one, other in ((a, b), (b, a)):  # sockets in flight within each other: nobody closes them soon
            one.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                        array.array("i", [one.fileno(), other.fileno(), named.fileno()]))])
    """
    nowhere = """
        import socket
        try:
            socket.create_connection(("192.0.2.1", 80), timeout=1)
        except OSError:
            pass
    """
    for spoil in (use, lost, nowhere):
        assert jail.run(spoil).code == 0, jail.said
        assert jail.run(look).code == 0, jail.said
        assert jail.said == first
    assert {each._pid for each in process.idle} == kept  # by the same launcher


def test_places_of_one_command_are_not_there_for_the_next(jail: Jail) -> None:
    more = [Bind(jail.inputs, "/deep/in/here"), Bind(jail.inputs / "source.txt", "/etc/given")]
    (jail.folder / "link").symlink_to("/usr")
    more.append(Bind(jail.folder / "link", "/linked"))
    own = [Bind(jail.inputs, "/inputs")]
    assert (
        jail.shell(
            "cat /deep/in/here/source.txt /etc/given; ls -d /linked/bin", root_binds=[*own, *more]
        ).code
        == 0
    )
    assert jail.shell("ls -d /deep /etc/given /linked", root_binds=own).code != 0
    assert "/deep" not in jail.said.replace("'/deep'", "") and jail.said.count("No such file") == 3


def test_what_lasts_is_mounted_again_when_it_was_replaced(jail: Jail) -> None:
    tool = jail.folder / "tool"
    binds = [Bind(tool, "/toolchains/x", lasting=True), Bind(jail.inputs, "/inputs")]
    for content in ("first", "second"):
        tool.mkdir()
        (tool / "file").write_text(content)
        assert jail.shell("cat /toolchains/x/file; echo no 2>&- > /toolchains/x/new && echo wrong; true",
                          root_binds=binds).code == 0  # fmt: skip
        assert jail.said == content
        tool.rename(jail.folder / content)
    assert jail.shell("ls /toolchains", root_binds=binds[1:]).code != 0


def test_many_places_for_outputs_are_mounted_in_time(jail: Jail) -> None:
    """In time that grows with their number, not with its square."""
    folders = [jail.inputs / f"f{number}" for number in range(1500)]
    for folder in folders:
        folder.mkdir()
    binds = [Bind(jail.inputs, "/inputs")]
    binds += [Bind(folder, f"/inputs/{folder.name}", writable=True) for folder in folders]
    started = time.monotonic()
    done = jail.shell("for f in /inputs/f*; do : > $f/out; done; : 2>&- > /inputs/out", root_binds=binds)
    assert done.code != 0 and time.monotonic() - started < 20
    assert all((folder / "out").exists() for folder in folders) and not (jail.inputs / "out").exists()


def test_what_was_mounted_after_a_launcher_had_started_is_seen(jail: Jail) -> None:
    jail.shell("true")
    with small_disk(jail.inputs, kilobytes=64) as disk:
        (disk / "since").write_text("on the new disk")
        assert jail.shell("cat /inputs/since").code == 0
    assert jail.said == "on the new disk"
    assert jail.shell("cat /inputs/source.txt").code == 0
