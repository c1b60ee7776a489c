"""The native launcher beside init.py: a program sees and may do the same by both; and what is its own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.build import sandbox
from fairlead.build.sandbox import MIB, Bind, Command, command, filter, launcher, native, process, system
from fairlead.errors import FairleadError, UsageError
from tests.build.launchers import BY, by

LOOK = r"""
import os, resource, signal, stat, sys
def tell(name, value):
    print(name, value)
status = open("/proc/self/status").read().splitlines()
kept = ("Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp:", "SigBlk", "SigIgn", "Umask", "NSpid", "PPid")
tell("status", [line.split() for line in status if line.startswith(kept)])
tell("limits", [resource.getrlimit(kind) for kind in range(16)])
tell("open", sorted((int(fd), os.readlink("/proc/self/fd/" + fd)) for fd in os.listdir("/proc/self/fd")
                    if os.path.lexists("/proc/self/fd/" + fd)))
tell("environment", sorted(os.environ.items()))
tell("folder", os.getcwd())
tell("session", os.getsid(0) == os.getpid() == os.getpgid(0))
tell("host", os.uname()[:2])
if sys.argv[1] == "namespace":
    mounts = []
    for line in open("/proc/self/mountinfo"):
        _, _, device, root, place, options, rest = line.split(maxsplit=6)
        kind = rest.rpartition("- ")[2].strip()
        mounts.append((place, root, options, kind, rest.startswith(("shared", "master"))))
    for found in sorted(mounts):
        tell("mount", found)
    tell("processes", sorted(name for name in os.listdir("/proc") if name.isdigit()))
    tell("network", open("/proc/net/dev").read())
    for folder, inner, files in os.walk("/"):
        left_out = ("usr", "proc", "lib", "bin") if folder == "/" else ()
        inner[:] = sorted(name for name in inner if name not in left_out)
        if folder.count("/") > 3:
            inner.clear()
        for name in sorted(inner + files):
            found = os.lstat(os.path.join(folder, name))
            tell(os.path.join(folder, name), (stat.filemode(found.st_mode), found.st_uid, found.st_gid))
    for path in ("/etc/passwd", "/etc/group", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf"):
        tell(path, open(path).read())
for path in ("/proc/sys/kernel/ostype", "/proc/kallsyms", "/proc/keys", "/etc/shadow", "/dev/kmsg", "/"):
    for flags in (os.O_RDONLY, os.O_WRONLY):
        try:
            os.close(os.open(path, flags))
            tell(path, (flags, "opens"))
        except OSError as error:
            tell(path, (flags, error.strerror))
"""


@pytest.fixture(autouse=True, scope="module")
def there() -> None:
    assert sandbox.refusal() == "" and native.refusal() == ""


class Place:
    """A folder with an input and a place for outputs, as it is seen at each level."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inputs, self.outputs, self.log = folder / "inputs", folder / "inputs/out", folder / "log"
        self.outputs.mkdir(parents=True)
        (self.inputs / "source.txt").write_text("as it was")

    def ask(self, level: command.Enforced, argv: list[str], **more: object) -> tuple[object, str]:
        """How it ended, and what was written."""
        inside = "/inputs" if level == "namespace" else str(self.inputs)
        given: dict[str, object] = {
            "argv": argv,
            "env": {"PATH": "/nowhere:/usr/bin:/bin", "ODD": 'quoted "\\ \u00e9 \udcff\n'},
            "cwd": inside,
            "stdout": self.log,
            "root_binds": [Bind(self.inputs, inside), Bind(self.outputs, f"{inside}/out", writable=True)],
            "wall_seconds": 60,
            "level": level,
        }
        try:
            done = sandbox.run(Command(**(given | more)))  # type: ignore[arg-type]
        except FairleadError as error:
            return (type(error), error.what, error.remedy), ""
        assert done.max_rss_bytes > 0 and done.cpu_seconds >= 0
        return (done.code, done.enforced, done.timed_out, done.not_overlaid), self.log.read_text(
            "utf-8", "surrogateescape"
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def end_idle() -> None:
    while process.idle:
        process.idle.pop().close()


def both(place: Place, level: command.Enforced, argv: list[str], **more: object) -> list[tuple[object, str]]:
    found = []
    for name in BY:
        for _ in by(name):
            found.append(place.ask(level, argv, **more))
    return found


@pytest.mark.parametrize("level", command.LEVELS)
def test_a_program_finds_the_same_world_by_both(place: Place, level: command.Enforced) -> None:
    more: dict[str, object] = {
        "cpu_seconds": 50,
        "memory_bytes": 3000 * MIB,
        "file_bytes": 7 * MIB,
        "processes": 60,
        "tmp_bytes": 5 * MIB,
        "stderr": place.folder / "err",
    }
    if level == "namespace":
        more["masks"] = ["/usr/share/doc", "/inputs/hidden"]
        (place.inputs / "hidden").mkdir()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup: no program gets that from us
    try:
        ours, theirs = both(place, level, [system.interpreter(), "-I", "-c", LOOK, level], **more)
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    assert ours[0] == (0, level, False, ()), ours
    for one, other in zip(ours[1].splitlines(), theirs[1].splitlines(), strict=True):
        if one.startswith("status ") and level != "namespace":
            one, other = (re.sub(r"\['(PPid|NSpid).*?\]", "", line) for line in (one, other))
            one, other = (re.sub(r"'Seccomp_filters:', '\d+'", "", line) for line in (one, other))
        assert one == other
    assert ours[0] == theirs[0]


@pytest.mark.parametrize("level", command.LEVELS)
def test_ends_and_errors_are_told_alike(place: Place, level: command.Enforced) -> None:
    (place.inputs / "not-a-program").write_text("text")
    (place.inputs / "shut").write_text("#!/bin/sh\n")
    os.chmod(place.inputs / "not-a-program", 0o755)
    for argv in (
        ["sh", "-c", "exit 7"],
        ["sh", "-c", "kill -9 $$"],
        ["sh", "-c", "echo said; cat source.txt; echo made > out/made; cat out/made"],
        ["sh", "-c", 'printf %s "$ODD"; kill -TERM $$; sleep 9'],
        ["sh", "-c", "sleep 300 & sleep 300 & exit 3"],
        ["absent-program"],
        ["/absent/program"],
        ["./shut"],
        ["./not-a-program"],
        ["./source.txt/x"],
        ["/"],
        ["sh" * 200],
    ):
        ours, theirs = both(place, level, argv)
        assert ours == theirs, argv
    ours, theirs = both(place, level, ["sh", "-c", "yes"], file_bytes=MIB)
    assert ours == theirs


@pytest.mark.parametrize("level", command.LEVELS)
def test_words_that_no_program_can_have_are_bad_input(place: Place, level: command.Enforced) -> None:
    for argv, env in (
        (["/bin/echo", "a\0b"], {}),
        (["/bin/echo", "a\ud800b"], {}),
        ([""], {}),
        (["/usr/bin/env"], {"A": "a\0b"}),
        (["/usr/bin/env"], {"A": "a\udc00b"}),
        (["/usr/bin/env"], {"A=B": "x"}),
        (["/usr/bin/env"], {"": "x"}),
    ):
        ours, theirs = both(place, level, argv, env=env)
        assert ours == theirs, argv
        said = ours[0]
        assert isinstance(said, tuple) and said[0] is UsageError, argv
        assert said[1].startswith("the program cannot be started: "), argv
    ours, theirs = both(place, level, ["/bin/sh", "-c", "echo $#", *["x" * 10] * 10_000])
    assert ours == theirs == ((0, level, False, ()), "9999\n")


def test_binds_that_cannot_be_are_told_alike(place: Place) -> None:
    (place.folder / "link").symlink_to("/usr")
    (place.folder / "file").write_text("x")
    base = [Bind(place.inputs, "/inputs")]
    for binds in (
        [Bind(place.folder / "absent", "/absent")],
        [*base, Bind(place.outputs, "/inputs/nowhere")],
        [*base, Bind(place.folder / "link", "/linked"), Bind(place.folder / "file", "/deep/in/file")],
        [*base, Bind(place.folder / "file", "/inputs/source.txt")],
        [*base, Bind(place.folder / "file", "/etc/passwd")],
    ):
        look = [
            "sh",
            "-c",
            "ls -ld /inputs /linked/bin /deep/in/* /etc/passwd; cat /inputs/source.txt",
        ]
        ours, theirs = both(place, "namespace", look, root_binds=binds, cwd="/")
        dated = [re.sub(r"\d\d:\d\d", "", said) for _, said in (ours, theirs)]
        assert str(ours[0]).replace("mount /", "mount /sys/") == str(theirs[0]) or ours[0] == theirs[0]
        assert dated[0] == dated[1], binds


def test_the_setting_decides(place: Place) -> None:
    def programs() -> set[str]:
        return {os.readlink(f"/proc/{each._pid}/exe").rpartition("/")[2] for each in process.idle}

    end_idle()
    native.choose("off")
    try:
        assert "native_launcher is off" in native.refusal()
        assert place.ask("namespace", ["true"])[0] == (0, "namespace", False, ())
        assert native.NAME not in programs()
    finally:
        native.choose("auto")
    assert place.ask("namespace", ["true"])[0] == (0, "namespace", False, ())
    assert native.NAME in programs()
    assert not native.can_run(Command(["true"], {}, "/", place.log, record=True))
    overlay = [Bind(place.inputs, "/inputs", overlay=True)]
    assert not native.can_run(Command(["true"], {}, "/", place.log, root_binds=overlay))


# ---------------------------------------------------------------- the program

SOURCES = native._sources()


@pytest.mark.parametrize("level", command.LEVELS)
@pytest.mark.parametrize("spoilt", ["empty", "half", "shut", "another program"])
def test_one_that_does_not_start_is_given_up(tmp_path: Path, level: command.Enforced, spoilt: str) -> None:
    """In a process of its own: what was found out about the machine is kept."""
    program = tmp_path / native.NAME
    shutil.copy(native._program(), program)
    if spoilt == "shut":
        os.chmod(program, 0o600)
    elif spoilt == "another program":
        program.write_text("#!/bin/sh\nexit 3\n")
    else:
        os.truncate(program, 0 if spoilt == "empty" else 20_000)
    code = f"""
from pathlib import Path
from fairlead.build import sandbox
from fairlead.build.sandbox import Command, native
native._found = lambda: {str(program)!r}
done = sandbox.run(Command(["/bin/sh", "-c", "exit 7"], {{}}, "/", Path("log").absolute(), level={level!r}))
print(done.code, done.enforced, native.refusal())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith(f"7 {level} a trial of it failed: "), done.stdout + done.stderr


def test_it_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text('#!/bin/sh\necho made >> "$0.log"\nexec cc "$@"\n')
    compiler.chmod(0o755)
    made = native.make(SOURCES, str(compiler), tmp_path / "cache")
    assert made.parent.stat().st_mode & 0o777 == 0o700 and os.access(made, os.X_OK)
    assert native.make(SOURCES, str(compiler), tmp_path / "cache") == made
    assert compiler.with_name("cc.log").read_text() == "made\n"
    assert [path.name for path in made.parent.iterdir()] == [native.NAME]
    other = native.make({**SOURCES, "more.c": b"int more = 1;\n"}, str(compiler), tmp_path / "cache")
    assert other != made
    made.parent.chmod(0o777)
    with pytest.raises(native.NoneError, match="not ours alone"):
        native.make(SOURCES, str(compiler), tmp_path / "cache")


def test_a_cleared_folder_is_filled_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_CACHE_DIR", str(place.folder / "cache"))
    native._found.cache_clear()
    try:
        for _ in range(2):
            end_idle()
            assert place.ask("none", ["true"])[0] == (0, "none", False, ())
            made = Path(native._program())
            assert made.is_file() and made.is_relative_to(place.folder)
            shutil.rmtree(place.folder / "cache")
    finally:
        native._found.cache_clear()
        end_idle()


def test_what_a_compiler_refuses_is_not_tried_again(tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text('#!/bin/sh\necho tried >> "$0.log"; echo no such header; exit 1\n')
    compiler.chmod(0o755)
    for _ in range(2):
        with pytest.raises(native.NoneError, match="the compiler refused it") as refused:
            native.make(SOURCES, str(compiler), tmp_path / "cache")
    assert compiler.with_name("cc.log").read_text() == "tried\n"
    assert Path(str(refused.value).rpartition(" ")[2]).read_text() == "no such header\n"


def test_without_a_compiler_the_other_launcher_does_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    native._found.cache_clear()
    try:
        assert "no cc" in native.refusal()
        assert place.ask("namespace", ["true"])[0] == (0, "namespace", False, ())
    finally:
        monkeypatch.undo()
        native._found.cache_clear()
    assert native.refusal() == ""


def test_a_launcher_that_does_not_suit_the_machine_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    end_idle()
    monkeypatch.setattr(native, "_found", lambda: "/bin/false")
    monkeypatch.setattr(native, "_off", [])
    assert launcher._refused("namespace") == ""
    assert "a trial of it failed" in native.refusal()


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program, made with every warning an error, and with checks of memory and of undefined behaviour."""
    folder = tmp_path_factory.mktemp("checked")
    for name, data in SOURCES.items():
        (folder / name).write_bytes(data)
    strict = ["-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wconversion", "-std=gnu11", "-D_GNU_SOURCE", "-g"]
    checks = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    compiler = shutil.which("cc")
    assert compiler, "these tests need a C compiler"
    files = sorted(str(path) for path in folder.glob("*.c"))
    subprocess.run([compiler, *strict, *checks, "-o", str(folder / native.NAME), *files], check=True)
    return str(folder / native.NAME)


def test_it_keeps_to_its_memory(place: Place, checked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_found", lambda: checked)
    end_idle()
    for level in command.LEVELS:
        for number in range(3):
            code, said = place.ask(level, ["sh", "-c", f"cat source.txt; exit {number}"], memory_bytes=None)
            assert (code, said) == ((number, level, False, ()), "as it was")
        assert place.ask(level, ["absent"], memory_bytes=None)[0][0].__name__ == "UsageError"  # type: ignore
    folders = [place.inputs / f"f{number}" for number in range(150)]
    for folder in folders:
        folder.mkdir()
    binds = [Bind(place.inputs, "/inputs")]
    binds += [Bind(folder, f"/inputs/{folder.name}", writable=True) for folder in folders]
    done, said = place.ask("namespace", ["sh", "-c", "echo > f9/x"], root_binds=binds, memory_bytes=None)
    assert done == (0, "namespace", False, ()), said
    for each in process.idle:
        assert os.readlink(f"/proc/{each._pid}/exe") == checked
    end_idle()


def talk(program: str, data: bytes) -> tuple[int, bytes, bytes]:
    """Say this to it as its only request: exit code, answer, and what it said on stderr."""
    ours, theirs = socket.socketpair()
    with ours, theirs, tempfile.TemporaryFile() as errors:
        actions = [
            (os.POSIX_SPAWN_DUP2, theirs.fileno(), 3),
            (os.POSIX_SPAWN_DUP2, errors.fileno(), 2),
        ]
        child = os.posix_spawn(program, [program], {"PATH": "/bin"}, file_actions=actions)
        theirs.close()
        ours.settimeout(60)
        answer = b""
        with contextlib.suppress(BrokenPipeError, ConnectionError):  # it ends without reading all
            ours.sendall(data)
            ours.shutdown(socket.SHUT_WR)
            while part := ours.recv(1 << 16):
                answer += part
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        errors.seek(0)
        return code, answer, errors.read()


def valid() -> bytes:
    own: Mapping[str, object] = {
        "level": "none",
        "argv": ["/bin/true", "x"],
        "env": {"A": "b"},
        "cwd": "/",
        "binds": [],
        "masks": [],
        "logs": 1,
        "limits": {"memory": None, "cpu": 1, "file": 2, "processes": None},
        "landlock": (b"12345678", [("/usr", 1), ("/bin", 2)]),
    }
    return native.encode(own, native._base(native.level_of("none", False)))


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_nonsense_is_refused_without_harm(checked: str, data: st.DataObject) -> None:
    """Cut, changed or made up: it ends, or says that the request does not fit."""
    good = valid()
    kind = data.draw(st.sampled_from(["cut", "changed", "made up", "whole"]))
    if kind == "cut":
        body = good[: data.draw(st.integers(0, len(good) - 1))]
    elif kind == "changed":
        body = bytearray(good)  # type: ignore[assignment]
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(good) - 1))
            body[at] = data.draw(st.sampled_from([0, 1, 2, 255, 127]))  # type: ignore[index]
    else:
        body = data.draw(st.binary(max_size=200)) if kind == "made up" else good
    length = data.draw(st.sampled_from([len(body)] * 5 + [len(body) + 1, 1 << 31, 3]))
    code, answer, said = talk(checked, struct.pack("=I", length) + bytes(body))
    assert (code, said) == (0, b"")
    assert answer == b"" or b"does not fit" in answer  # it came without a log


def test_the_filters_and_levels_are_those_of_the_other(place: Place) -> None:
    """The numbers that both sides of the socket count on."""
    assert command.LEVELS == ("none", "landlock", "namespace")
    header = SOURCES["sandbox.h"].decode()
    assert "enum level { LEVEL_NONE, LEVEL_LANDLOCK, LEVEL_NAMESPACE };" in header
    base = native._base(native.level_of("landlock", False))
    assert filter.instructions("landlock", os.uname().machine, network=False) in base


def test_started_by_hand_it_says_what_it_is() -> None:
    done = subprocess.run([native._program()], capture_output=True, text=True, close_fds=True, check=False)
    assert done.returncode == 2 and "is started by Fairlead" in done.stderr
