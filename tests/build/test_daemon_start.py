"""What a daemon gets from the process that starts it, and what it must not get."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead import config
from fairlead.build.daemon import server, start, state
from fairlead.build.evaluate import evaluate
from fairlead.build.plan import Plan
from fairlead.store import Store
from tests.build.daemons import CONSOLE, Desk, alive, wait_for
from tests.build.project import write

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of changed files")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.run("daemon", "stop", code=None)


@pytest.fixture
def restored() -> Iterator[None]:
    before = dict(os.environb)
    yield
    server.set_environment(before)


def test_times_and_temporary_files_follow_the_environment(restored: None, tmp_path: Path) -> None:
    tempfile.gettempdir()
    for zone, hour in ((b"UTC0", 0), (b"EAST-3", 3), (b"WEST+3", 21)):
        place = tmp_path / zone.decode()
        place.mkdir()
        server.set_environment({b"TZ": zone, b"TMPDIR": os.fsencode(place)})
        assert time.localtime(0).tm_hour == hour
        assert tempfile.gettempdir() == str(place)


def test_a_new_process_runs_as_python_does_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "PYTHONHASHSEED", "PYTHONIOENCODING", "FAIRLEAD_STATE_DIR", "TZ", "HOME"):
        monkeypatch.setenv(name, "1")
    begun = start.environment(os.environ)
    assert {"PYTHONPATH", "TZ", "LC_ALL"} <= begun.keys()
    assert begun.keys().isdisjoint({"PYTHONHASHSEED", "PYTHONIOENCODING"})
    kept = start.own(os.environ)
    assert kept[b"HOME"] == kept[b"FAIRLEAD_STATE_DIR"] == b"1"
    assert kept.keys().isdisjoint({b"TZ", b"PYTHONPATH"})


@pytest.mark.parametrize(
    "env",
    [
        {"HOME": "/h"},
        {"HOME": "/h", "XDG_CONFIG_HOME": "/x"},
        {"HOME": "/h", "XDG_CONFIG_HOME": "x"},
        {"HOME": "/h", "XDG_CONFIG_HOME": "/x", "FAIRLEAD_CONFIG_DIR": "own"},
        {"HOME": "/h", "FAIRLEAD_CONFIG_DIR": ""},
    ],
)
def test_personal_settings_are_looked_for_where_they_are(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str]
) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "FAIRLEAD_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
        if name in env:
            monkeypatch.setenv(name, env[name])
    assert start.personal(os.environ) == str(config.user_config_dir() / "config.toml")


def test_settings_are_read_where_they_speak_of_daemons(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAIRLEAD_CONFIG_DIR", str(tmp_path / "config"))
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    assert not start.settled(str(inside), os.environ), "this is no project"
    write(tmp_path, {"a/fairlead.toml": ""})
    assert start.settled(str(inside), os.environ)
    write(tmp_path, {"a/fairlead.toml": '[build]\ndaemon = "off"\n'})
    assert not start.settled(str(inside), os.environ)
    write(tmp_path, {"a/fairlead.toml": "", "config/config.toml": "[build]\ndaemon_idle = 5\n"})
    assert not start.settled(str(inside), os.environ)


@LINUX
def test_a_project_that_wants_no_daemon_gets_none(desk: Desk) -> None:
    del desk.env["FAIRLEAD_BUILD_DAEMON"]
    write(desk.root, {"fairlead.toml": '[build]\ndaemon = "off"\n', "BUCK": ""})
    desk.run("build", "//...")
    assert desk.status()["running"] is False


@LINUX
def test_another_niceness_has_another_daemon(desk: Desk) -> None:
    write(desk.root, {"BUCK": 'genrule(name = "a", cmd = "nice > $OUT", out = "a")\n'})
    desk.build()
    first, nice = desk.pid(), os.getpriority(os.PRIO_PROCESS, 0)
    if nice > 17:
        pytest.fail("run this with a niceness below 18")
    write(desk.root, {"BUCK": 'genrule(name = "a", cmd = "nice  > $OUT", out = "a")\n'})
    argv = ["nice", "-n", "2", sys.executable, "-c", CONSOLE, "build", "//..."]
    subprocess.run(argv, cwd=desk.root, env=desk.env, check=True, capture_output=True)
    made = (desk.root / "fairlead-out/gen/__a__/a").read_text()
    assert int(made) == nice + 2
    wait_for(lambda: not alive(first))
    write(desk.root, {"BUCK": 'genrule(name = "a", cmd = "nice   > $OUT", out = "a")\n'})
    desk.build()
    assert int((desk.root / "fairlead-out/gen/__a__/a").read_text()) == nice


@LINUX
def test_signals_that_the_first_caller_ignored_are_not_ignored(desk: Desk) -> None:
    write(desk.root, {"BUCK": ""})
    words = [sys.executable, "-c", CONSOLE, "build", "//..."]
    script = 'trap "" INT QUIT USR1; exec "$@"'
    subprocess.run(["sh", "-c", script, "sh", *words], cwd=desk.root, env=desk.env, check=True)
    rows = Path(f"/proc/{desk.pid()}/status").read_text().splitlines()
    (ignored,) = (int(row.split()[1], 16) for row in rows if row.startswith("SigIgn"))
    assert not any(ignored >> number - 1 & 1 for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1))


def test_who_has_evaluated_much_ends_and_the_next_one_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = 'filegroup(name = "{}", srcs = [])\n'
    write(tmp_path, {".buckconfig": "", "BUCK": "".join(rule.format(n) for n in range(6))})
    monkeypatch.setattr(state, "_LARGE", 5)
    place = tmp_path / "fairlead-out/store"

    def ask(kept: state.State, evaluations: int) -> None:
        made: list[int] = []

        def evaluated() -> tuple[Plan, bool]:
            made.append(1)
            return evaluate(tree, ["//..."]), True

        with kept.command():
            tree = kept.tree()
            assert len(kept.plan(tree, ["", "//..."], evaluated).targets) == 6
        assert len(made) == evaluations
        kept.tidy(lambda: False)
        kept.end()

    first = state.State(tmp_path, Store.open(place))
    ask(first, 1)
    assert not first.stands()
    second = state.State(tmp_path, Store.open(place))
    ask(second, 0)
    assert second.stands()
