"""The program cannot tell that Fairlead started it: compared with the real dotslash, side by side."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from fairlead.launch import manifest
from tests.launch.tools import HELLO, PROBE, ROOT, Run, entry, finished, tar, text_of, write
from tests.net.web import Answer, Web


def serve(web: Web, folder: Path, data: bytes, **more: object) -> Path:
    web.answers["/tool"] = Answer(body=data)
    return write(folder, data, web.url + "/tool", **more)


def python(body: str) -> bytes:
    return f"#!{sys.executable}\n{textwrap.dedent(body)}".encode()


@pytest.fixture(params=["fairlead", "dotslash"])
def launcher(request: pytest.FixtureRequest, oracle: str) -> list[str]:
    """The words before the manifest: every test of this kind must hold for both."""
    return [sys.executable, "-m", "fairlead", "run"] if request.param == "fairlead" else [oracle]


def test_arguments_reach_it_untouched(launcher: list[str], web: Web, tmp_path: Path) -> None:
    words = ["--help", "--", "-x", "", "a b", "ä", "--json", "//a:b", "\udcff"]
    path = serve(web, tmp_path, python("import os, sys; print(ascii(sys.argv[1:]))"))
    done = finished.of([*launcher, str(path), *words])
    assert done.out.strip() == ascii(words)


@pytest.mark.parametrize("typed", ["./tool", "tool", "../{here}/tool", "/{absolute}/tool"])
@pytest.mark.parametrize("arg0", manifest.ARG0)
def test_its_own_name(
    launcher: list[str], web: Web, tmp_path: Path, cache: Path, dotslash: Run, typed: str, arg0: str
) -> None:
    """argv[0] is the manifest as typed, or the executable; a copy of cat's name shows it through /proc."""
    shell = Path("/bin/sh").read_bytes()
    path = serve(web, tmp_path, shell, arg0=arg0)
    typed = typed.format(here=tmp_path.name, absolute=str(tmp_path)[1:])
    done = finished.of(
        [*launcher, typed, "-c", 'printf %s "$0" && tr "\\0" "\\n" < /proc/$$/cmdline'], cwd=tmp_path
    )
    parsed = manifest.parse(path.read_bytes()).platforms[manifest.host()]
    from fairlead.launch.cache import locate

    expected = typed if arg0 == "dotslash-file" else str(locate(parsed, cache).executable)
    assert done.out.startswith(expected + expected + "\n-c\n")


def test_status_of_the_program(launcher: list[str], web: Web, tmp_path: Path) -> None:
    path = serve(web, tmp_path, b'#!/bin/sh\neval "$1"\n')
    for line, code in (("exit 0", 0), ("exit 42", 42), ("kill -TERM $$", -signal.SIGTERM)):
        assert finished.of([*launcher, str(path), line]).code == code


def test_input_and_output_pass_through(launcher: list[str], web: Web, tmp_path: Path) -> None:
    path = serve(web, tmp_path, b"#!/bin/sh\ncat; echo err >&2\n")
    data = bytes(range(256)) * 1000
    done = subprocess.run(
        [*launcher, str(path)], input=data, capture_output=True, cwd=ROOT, env={**os.environ}, timeout=60
    )
    assert (done.stdout, done.stderr) == (data, b"err\n")


def test_it_is_the_same_process(launcher: list[str], web: Web, tmp_path: Path) -> None:
    path = serve(web, tmp_path, b"#!/bin/sh\necho $$\n")
    process = subprocess.Popen([*launcher, str(path)], stdout=subprocess.PIPE, cwd=ROOT)
    assert process.communicate(timeout=60)[0].strip() == str(process.pid).encode()


SIGNALS = """
import signal
for line in open('/proc/self/status'):
    if line.startswith('SigIgn'):
        ignored = int(line.split()[1], 16)
        print(sorted(n for n in range(1, 65) if ignored >> (n - 1) & 1))
"""


@pytest.mark.parametrize("ignored", [[], [signal.SIGPIPE], [signal.SIGINT, signal.SIGHUP]])
def test_signals(launcher: list[str], web: Web, tmp_path: Path, ignored: list[int]) -> None:
    """What the parent ignores stays ignored, save SIGPIPE; what Python ignores for itself does not."""
    # A shell reads its own disposition before any Python of ours can change it.
    path = serve(web, tmp_path, b"#!/bin/sh\ngrep SigIgn /proc/$$/status\n")
    setup = "import signal, sys, os\n"
    setup += "for n in set(range(1, 32)) - {9, 19}: signal.signal(n, signal.SIG_DFL)\n"
    setup += "".join(f"signal.signal({int(n)}, signal.SIG_IGN)\n" for n in ignored)
    setup += "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
    if signal.SIGPIPE not in ignored:
        setup += "signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
    setup += "os.execv(sys.argv[1], sys.argv[1:])"
    done = finished.of([sys.executable, "-c", setup, *launcher, str(path)])
    mask = int(done.out.split()[1], 16)
    assert {n for n in range(1, 32) if mask >> (n - 1) & 1} == set(map(int, ignored)) - {signal.SIGPIPE}


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"LANG": "C"},
        {"LC_CTYPE": "C"},
        {"LC_CTYPE": "C.UTF-8"},
        {"LC_ALL": "C"},
        {"LANG": "C.UTF-8", "X": "\udcff"},
        {"PYTHONPATH": "/x"},
    ],
)
def test_environment(launcher: list[str], web: Web, tmp_path: Path, extra: dict[str, str]) -> None:
    """Nothing is added, changed or lost: not even what CPython sets for itself under the C locale."""
    path = serve(web, tmp_path, b"#!/bin/sh\ntr '\\0' '\\n' < /proc/$$/environ\n")
    env = {"DOTSLASH_CACHE": os.environ["DOTSLASH_CACHE"], "PATH": "/usr/bin:/bin", **extra}
    done = subprocess.run([*launcher, str(path)], env=env, capture_output=True, cwd=ROOT, timeout=60)
    assert done.stderr == b""
    assert sorted(done.stdout.splitlines()) == sorted(os.fsencode(f"{k}={v}") for k, v in env.items())


def test_open_files_and_folder(launcher: list[str], web: Web, tmp_path: Path) -> None:
    path = serve(
        web,
        tmp_path,
        python("import os; print(os.getcwd(), sorted(os.listdir('/proc/self/fd')), os.read(5, 9))"),
    )
    (tmp_path / "five").write_text("five")
    line = f'cd {tmp_path} && exec "$@" 5<five'
    env = {"PYTHONPATH": str(ROOT)}
    done = finished.of(["sh", "-c", line, "sh", *launcher, str(path)], env=env)
    # 3 is the listing itself.
    assert done.out == f"{tmp_path} ['0', '1', '2', '3', '5'] b'five'\n"


def test_the_time_is_set_at_each_run(launcher: list[str], web: Web, tmp_path: Path, cache: Path) -> None:
    path = serve(web, tmp_path, HELLO)
    finished.of([*launcher, str(path)])
    (executable,) = cache.glob("??/*/bin/tool")
    long_ago = time.time() - 10_000_000
    os.utime(executable, (long_ago, long_ago))
    finished.of([*launcher, str(path)])
    assert abs(executable.stat().st_mtime - time.time()) < 60


def test_a_warm_run_needs_no_server(launcher: list[str], web: Web, tmp_path: Path) -> None:
    path = serve(web, tmp_path, HELLO)
    for _ in range(3):
        assert finished.of([*launcher, str(path)]).out == "hello\n"
    assert len(web.asked) == 1


def test_as_an_interpreter_line_would_call_it(launcher: list[str], web: Web, tmp_path: Path) -> None:
    """`#!/usr/bin/env dotslash` means: with the path of the file as first argument."""
    path = serve(web, tmp_path, PROBE)
    path.chmod(0o755)
    bin_folder = tmp_path / "path"
    bin_folder.mkdir()
    shim = bin_folder / "dotslash"
    quoted = " ".join(f"'{word}'" for word in launcher)
    shim.write_text(f'#!/bin/sh\nexec {quoted} "$@"\n')
    shim.chmod(0o755)
    env = {"PATH": f"{bin_folder}:/usr/bin:/bin"}
    done = finished.of(["./tool", "a", "b c"], cwd=tmp_path, env=env)
    assert done.out.splitlines()[1:] == ["arg:a", "arg:b c"]


FAILURES: dict[str, tuple[bytes, dict[str, Any], int, str]] = {
    "not executable": (tar(("bin/tool", HELLO, {"mode": 0o644})), {"format": "tar"}, 3, "Permission denied"),
    "no interpreter": (b"#!/no/such/interpreter\n", {}, 3, "its interpreter `/no/such/interpreter` is not"),
    "no program": (b"just text\n", {}, 3, "Exec format error"),
    "a folder": (tar(("bin/tool", b"", {"type": b"5"})), {"format": "tar"}, 3, "Permission denied"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_cannot_start(name: str, web: Web, tmp_path: Path, fairlead: Run, dotslash: Run) -> None:
    data, more, code, said = FAILURES[name]
    path = serve(web, tmp_path, data, **more)
    assert dotslash(path).code == 1
    done = fairlead(path)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert "Traceback" not in done.err
    assert "what to do:" in done.err


def test_what_is_no_manifest(tmp_path: Path, fairlead: Run) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "script").write_text("#!/bin/sh\n")
    for what, said in (
        ("none", "No such file"),
        ("folder", "Is a directory"),
        ("script", "does not begin with the line"),
        ("no\udcff", "No such file"),
        (sys.executable, "not UTF-8"),
    ):
        done = fairlead(tmp_path / what)
        assert (done.code, done.out) == (2, ""), done.err
        assert said in done.err
        assert "where:" in done.err
        assert "what to do:" in done.err


def test_no_entry_for_this_machine(tmp_path: Path, fairlead: Run, dotslash: Run) -> None:
    path = tmp_path / "tool"
    path.write_text(text_of(entry(HELLO, "")).replace(manifest.host(), "windows-x86_64"))
    done = fairlead(path)
    assert done.code == 2
    assert f"expected platform `{manifest.host()}`, but found `windows-x86_64`" in done.err
    assert f"expected platform `{manifest.host()}` - but found `windows-x86_64`" in dotslash(path).err


def test_options_before_the_file_are_ours(web: Web, tmp_path: Path, fairlead: Run) -> None:
    path = serve(web, tmp_path, HELLO)
    assert "FILE|LABEL" in fairlead("--help").out
    assert fairlead().code == 2
    wrong = fairlead("--jsn", path)
    assert wrong.code == 2
    assert "--json" in wrong.err
    assert fairlead("--json", path, "--json").out == "hello --json\n"


def test_executable_is_not_touched_when_it_is_executed_by_others(
    web: Web, tmp_path: Path, cache: Path
) -> None:
    """The bits of what was published: readable and executable by all, writable by nobody."""
    path = serve(web, tmp_path, HELLO)
    finished.of([sys.executable, "-m", "fairlead", "run", str(path)])
    (executable,) = cache.glob("??/*/bin/tool")
    assert stat.S_IMODE(executable.stat().st_mode) == 0o555
