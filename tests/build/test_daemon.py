"""The daemon as a person meets it: begun on demand, as good as none to look at, and gone without a loss."""

from __future__ import annotations

import fcntl
import os
import pty
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fairlead
from fairlead.build.daemon import client
from tests.build.daemons import CONSOLE, Desk, alive, desk, wait_for
from tests.build.project import write

GENRULE = 'genrule(name = "a", srcs = ["s"], out = "o", cmd = "cat $SRCS > $OUT")\n'


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path) as found:
        write(found.root, {"BUCK": GENRULE, "s": "one\n"})
        yield found


def slow(here: Desk, seconds: float = 30.0) -> Path:
    """Add a target that takes its time; the file that is there once it runs."""
    flag = here.root.parent / "flag"
    command = f"echo $$ > {flag}.part; mv {flag}.part {flag}; sleep {seconds}; echo > $OUT"
    write(here.root, {"slow/BUCK": f'genrule(name = "slow", srcs = [], out = "o", cmd = "{command}")\n'})
    return flag


def test_one_process_serves_command_after_command(here: Desk) -> None:
    assert here.status() == {"schema": "fairlead.daemon/1", "running": False}
    assert here.build()["actions"] == {"ran": 2, "known": 0}
    pid = here.pid()
    assert here.build()["actions"] == {"ran": 0, "known": 2}
    write(here.root, {"s": "two\n"})
    assert here.build()["actions"] == {"ran": 2, "known": 0}
    status = here.status()
    assert (status["pid"], status["commands"]) == (pid, 3)
    assert (here.root / "fairlead-out/gen/__a__/o").read_text() == "two\n"
    shown = here.run("daemon", "status").stdout
    assert f"process   {pid}" in shown and "3 done" in shown
    assert here.run("daemon", "stop").stdout == "the daemon has ended\n"
    wait_for(lambda: not alive(pid))
    assert here.run("daemon", "stop").stdout == "there is no daemon\n"
    assert here.run("daemon", "status", code=1).stdout == "there is no daemon\n"
    assert not list((here.root.parent / "state/daemon").glob("*.sock"))


def test_what_is_printed_and_the_exit_code_are_those_of_no_daemon(here: Desk) -> None:
    write(here.root, {"bad/BUCK": 'genrule(name = "b", srcs = [], out = "o", cmd = "echo oh; exit 3")\n'})
    here.build("//:")
    for words, code in (
        (["build", "//:a"], 0),
        (["build", "//bad:b"], 1),
        (["build", "//:nothing"], 2),
        (["build", "--jobs", "-3", "//:a"], 2),
        (["build", "--json", "--nonsense", "//:a"], 2),
        (["targets", "//..."], 0),
        (["query", "deps(//:a)"], 0),
        (["why", "//:a"], 0),
        (["build", "-h"], 0),
    ):
        by_daemon = here.run(*words, code=code)
        alone = subprocess.run(
            [sys.executable, "-m", "fairlead", *words],
            cwd=here.root,
            env=here.env,
            capture_output=True,
            text=True,
        )
        assert alone.returncode == code
        told = [text.replace(fairlead_seconds(text), "") for text in (by_daemon.stdout, alone.stdout)]
        assert told[0] == told[1]
        assert by_daemon.stderr == alone.stderr


def fairlead_seconds(text: str) -> str:
    """The duration in the last line, if there is one."""
    return text.rpartition("(")[2] if text.endswith("s)\n") else "\0"


def test_folder_environment_and_umask_are_those_of_the_client(here: Desk) -> None:
    write(here.root, {"p/BUCK": GENRULE, "p/s": "p\n"})
    here.build("//:a")
    inner = here.root / "p"
    assert "//p:a" in here.run("build", ":a", cwd=inner).stdout
    here.env["FAIRLEAD_BUILD_SANDBOX"] = "nonsense"
    assert "there is no sandbox level nonsense" in here.run("build", "//:a", code=2).stderr
    here.env["FAIRLEAD_BUILD_SANDBOX"] = "none"
    here.run("build", "//:a", "--events", "events", cwd=inner, umask=0o077)
    assert (inner / "events").stat().st_mode & 0o777 == 0o600


def test_a_terminal_is_one_for_the_daemon_too(here: Desk) -> None:
    here.build()

    def shown(argv: list[str]) -> bytes:
        ours, theirs = pty.openpty()
        env = {**here.env, "TERM": "xterm"}
        subprocess.run(argv, cwd=here.root, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        found = b""
        try:
            while part := os.read(ours, 4096):
                found += part
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(ours)
        return found

    words = ["build", "//:nothing"]
    coloured = shown([sys.executable, "-c", CONSOLE, *words])
    assert b"\x1b[1;31merror:\x1b[0m" in coloured
    assert coloured == shown([sys.executable, "-m", "fairlead", *words])


def test_a_killed_daemon_costs_no_action(here: Desk) -> None:
    here.build()
    here.kill()
    assert here.build()["actions"] == {"ran": 0, "known": 2}
    write(here.root, {"s": "two\n"})
    here.kill()
    assert here.build()["actions"] == {"ran": 2, "known": 0}


def test_a_daemon_killed_at_work_is_replaced_by_the_client_itself(here: Desk) -> None:
    flag = slow(here, 1.0)
    here.build("//:a")
    pid = here.pid()
    with here.start("build", "--json", "//...") as process:
        wait_for(flag.exists)
        os.kill(pid, signal.SIGKILL)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "the daemon ended; the command runs without it" in err
    assert '"//slow:slow"' in out


def test_ctrl_c_ends_the_work_and_not_the_daemon(here: Desk) -> None:
    flag = slow(here)
    here.build("//:a")
    pid = here.pid()
    with here.start("build", "//slow:slow") as process:
        wait_for(flag.exists)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith("interrupted\n")
    wait_for(lambda: not alive(int(flag.read_text())))
    assert here.pid() == pid
    assert here.build("//:a")["actions"] == {"ran": 0, "known": 2}


def test_a_client_that_is_gone_needs_no_answer(here: Desk) -> None:
    flag = slow(here)
    with here.start("build", "//slow:slow") as process:
        wait_for(flag.exists)
        process.kill()
    wait_for(lambda: not alive(int(flag.read_text())))
    assert here.build("//:a")["actions"]["ran"] == 2
    assert here.status()["commands"] == 2


def test_a_second_command_waits_and_says_for_what(here: Desk) -> None:
    flag = slow(here, 1.0)
    with here.start("build", "//slow:slow") as first:
        wait_for(flag.exists)
        second = here.run("build", "//:a")
        first.communicate(timeout=60)
    assert first.returncode == 0
    assert "waiting for another command in this project: fairlead build //slow:slow" in second.stderr


def test_stop_waits_for_what_runs_and_the_next_command_begins_anew(here: Desk) -> None:
    flag = slow(here, 1.0)
    with here.start("build", "//slow:slow") as first:
        wait_for(flag.exists)
        pid = here.pid()
        here.run("daemon", "stop")
        first.communicate(timeout=60)
    assert first.returncode == 0
    wait_for(lambda: not alive(pid))
    here.build("//:a")
    assert here.pid() != pid


def test_nobody_asks_and_it_ends(here: Desk) -> None:
    here.env["FAIRLEAD_BUILD_DAEMON_IDLE"] = "1"
    here.build()
    wait_for(lambda: here.status()["running"] is False)
    assert here.build()["actions"]["ran"] == 0


def test_another_program_gets_another_daemon(here: Desk) -> None:
    package = here.root.parent / "site/fairlead"
    ignored = shutil.ignore_patterns("__pycache__", "static", "templates")
    shutil.copytree(Path(fairlead.__file__).parent, package, ignore=ignored)
    here.build()
    first = here.pid()
    here.env["PYTHONPATH"] = str(package.parent)
    assert here.build()["actions"]["ran"] == 0  # other code, but it does the same
    second = here.pid()
    wait_for(lambda: not alive(first))
    with (package / "build/engine.py").open("a") as file:
        file.write("\n# edited\n")
    assert here.build()["actions"]["ran"] == 0
    assert here.pid() not in (first, second)


@pytest.mark.parametrize("how", ["option", "environment", "file", "ci"])
def test_without_a_daemon(here: Desk, how: str) -> None:
    words = ["build", "//..."]
    if how == "option":
        words.append("--no-daemon")
    elif how == "environment":
        here.env["FAIRLEAD_BUILD_DAEMON"] = "off"
    else:
        del here.env["FAIRLEAD_BUILD_DAEMON"]
    if how == "file":
        write(here.root, {"fairlead.toml": '[build]\ndaemon = "off"\n'})
    if how == "ci":
        here.env["CI"] = "true"
    here.run(*words)
    assert here.status()["running"] is False


def test_a_daemon_ends_when_the_settings_want_none(here: Desk) -> None:
    del here.env["FAIRLEAD_BUILD_DAEMON"]
    here.build()
    pid = here.pid()
    write(here.root, {"fairlead.toml": '[build]\ndaemon = "off"\n'})
    assert here.build()["actions"] == {"ran": 0, "known": 2}
    wait_for(lambda: not alive(pid))


def test_a_folder_that_others_may_enter_is_closed_to_them_first(here: Desk) -> None:
    place = here.root.parent / "state/daemon"
    place.mkdir(parents=True, mode=0o755)
    here.build()
    assert place.stat().st_mode & 0o777 == 0o700
    assert not client.private(str(here.root))


def test_a_long_path_to_the_socket(here: Desk) -> None:
    here.env["FAIRLEAD_STATE_DIR"] = str(here.root.parent / ("long" * 30))
    here.build()
    assert here.pid() == here.pid()


def test_what_is_no_request_does_no_harm(here: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    here.build()
    (address,) = (here.root.parent / "state/daemon").glob("*.sock")
    for data in (b"", b"x" * 100, (1 << 40).to_bytes(8, "big"), (3).to_bytes(8, "big") + b"a\0b"):
        with socket.socket(socket.AF_UNIX) as sock:
            monkeypatch.chdir(address.parent)
            sock.connect(address.name)
            sock.sendall(data)
    assert here.build()["actions"]["ran"] == 0


def test_the_project_is_removed_and_another_takes_its_name(here: Desk) -> None:
    here.build()
    os.rename(here.root, here.root.with_name("old"))
    here.root.mkdir()
    write(here.root, {".buckconfig": "", "BUCK": GENRULE, "s": "new\n"})
    here.build()
    assert (here.root / "fairlead-out/gen/__a__/o").read_text() == "new\n"


def test_it_keeps_no_file_of_the_caller_open(here: Desk) -> None:
    lock = os.open(here.root.parent / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    here.run("build", "//...", pass_fds=[lock])
    os.close(lock)
    again = os.open(here.root.parent / "lock", os.O_RDWR)
    fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(again)
    assert here.pid()


def test_one_that_sees_other_mounts_is_not_asked(here: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    here.build()
    monkeypatch.chdir(here.root)
    before = client.program()
    readlink = os.readlink
    monkeypatch.setattr(os, "readlink", lambda path: "mnt:[1]" if "/ns/" in str(path) else readlink(path))
    assert client.program() != before


def test_a_folder_that_is_gone_is_an_error_in_words(here: Desk) -> None:
    for words in (["build", "//..."], ["build", "--no-daemon", "//..."], ["daemon", "status"]):
        place = here.root / "gone"
        place.mkdir()
        code = f"import os; os.rmdir({str(place)!r}); {CONSOLE}"
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, *words],
            cwd=place,
            env=here.env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2
        assert done.stderr.startswith("error: the current folder is gone\n")


@pytest.mark.parametrize("words", [["build", "//..."], ["build", "--no-daemon", "//..."]])
def test_streams_that_are_closed_or_full(here: Desk, words: list[str]) -> None:
    here.build()
    line = shlex.join([sys.executable, "-c", CONSOLE, *words])
    for how, code, said in (
        (">&-", 0, ""),
        ("<&-", 0, ""),
        ("2>&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
        (">/dev/full", 3, "error: cannot write what is to be printed: No space left on device\n"),
    ):
        done = subprocess.run(
            ["sh", "-c", f"{line} {how}"], cwd=here.root, env=here.env, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (code, said), how


def test_a_reader_that_leaves_costs_the_daemon_no_descriptor(here: Desk) -> None:
    rules = "".join(GENRULE.replace('"a"', f'"{"long" * 20}{n}"') for n in range(2000))
    write(here.root, {"BUCK": rules})
    here.run("targets")
    held = Path(f"/proc/{here.pid()}/fd")

    def nothings() -> int:
        return [os.readlink(path) for path in held.iterdir() if path.is_symlink()].count(os.devnull)

    before = nothings()
    for _ in range(5):
        with here.start("targets") as process:
            assert process.stdout is not None
            process.stdout.close()
            process.wait(60)
        assert process.returncode == 1
    assert nothings() == before
