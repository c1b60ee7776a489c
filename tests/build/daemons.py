"""Projects whose commands go to a daemon, as a person starts them: whole processes of the console script."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.build.project import write

CONSOLE = "from fairlead.cli import console; console()"


class Desk:
    """A project on disk, and a private place for its daemon. `env` is the environment of every command."""

    def __init__(self, place: Path) -> None:
        self.root = place / "root"
        self.root.mkdir()
        write(self.root, {".buckconfig": ""})
        self.env = {**os.environ, "FAIRLEAD_STATE_DIR": str(place / "state"), "FAIRLEAD_BUILD_DAEMON": "on"}
        self.env |= {"FAIRLEAD_CONFIG_DIR": str(place / "config"), "FAIRLEAD_BUILD_SANDBOX": "none"}
        self.env.pop("CI", None)

    def start(self, *args: str, **kwargs: Any) -> subprocess.Popen[str]:
        """Begin a command."""
        options: dict[str, Any] = {"cwd": self.root, "env": self.env, "text": True}
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | kwargs
        return subprocess.Popen([sys.executable, "-c", CONSOLE, *args], **options)

    def run(self, *args: str, code: int | None = 0, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        with self.start(*args, **kwargs) as process:
            out, err = process.communicate(timeout=120)
        if code is not None:
            assert process.returncode == code, out + err
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def build(self, *args: str) -> dict[str, Any]:
        """The document of a build of everything."""
        found: dict[str, Any] = json.loads(self.run("build", "--json", *(args or ("//...",))).stdout)
        return found

    def status(self) -> dict[str, Any]:
        done = self.run("daemon", "status", "--json", code=None)
        assert done.returncode < 2, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def pid(self) -> int:
        """The process of the daemon, which must be there."""
        status = self.status()
        assert status["running"] is not False, "there is no daemon"
        return int(status["pid"])

    def kill(self) -> None:
        """End the daemon as a power cut would, and wait until it has gone."""
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not alive(pid))


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(what: Callable[[], bool], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.02)


@contextlib.contextmanager
def desk(place: Path) -> Iterator[Desk]:
    """A desk whose daemon is gone afterwards."""
    found = Desk(place)
    try:
        yield found
    finally:
        status = found.status()
        if status["running"] is not False:
            os.kill(status["pid"], signal.SIGKILL)
