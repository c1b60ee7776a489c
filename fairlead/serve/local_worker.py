"""The worker process beside the server: started, enrolled, started again if it dies, stopped at the end.

It is another program (`python -m fairlead worker`) in another process group with an environment of its own:
of the server's only what finds programs, temp folders and the network is passed on.  It is told the
server's address and a one-time enrolment code on standard input.  It is not told where the data folder is;
its state lies in a folder of its own.  It runs as the same system user, so it is its sandbox that keeps
tests away from files.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from fairlead.keys.sshsig import PublicKey
from fairlead.serve import auth
from fairlead.serve.records import people
from fairlead.serve.reply import log
from fairlead.serve.state import State

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "SYSTEMROOT")
_NETWORK = ("SSL_CERT_", "PIP_", "UV_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")  # how it fetches toolchains
_SETTINGS = ("FAIRLEAD_WORKER_", "FAIRLEAD_BUILD_JOBS")
_SHORTEST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_GRACE = 20.0


class LocalWorker:
    """One worker process for the server in `state`, which it reaches at `address`; its folder is `folder`."""

    def __init__(self, state: State, folder: Path, address: str, *, python: str = sys.executable) -> None:
        self._state = state
        self._address = address
        self._folder = folder
        self._python = python
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep_running, name="local worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End it with SIGTERM, and with SIGKILL if it does not listen."""
        self._stopping.set()
        with self._lock:
            process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
        self._thread.join(_GRACE)

    def _keep_running(self) -> None:
        pause = _SHORTEST_PAUSE
        while not self._stopping.is_set():
            began = time.monotonic()
            code = self._run_once()
            if self._stopping.is_set():
                return
            if time.monotonic() - began > _LONGEST_PAUSE:
                pause = _SHORTEST_PAUSE
            log.warning("the local worker ended with code %s; starting it again in %.0f s", code, pause)
            self._stopping.wait(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    def _run_once(self) -> int:
        with self._lock:
            if self._stopping.is_set():
                return 0
            process = subprocess.Popen(
                [self._python, "-m", "fairlead", "worker", "--server", self._address, "--enrol-stdin",
                 "--state", str(self._folder), "--name", self._name(), "--sandbox", self._sandbox()],
                stdin=subprocess.PIPE,
                cwd="/",
                env=self._environment(),
                start_new_session=True,
            )  # fmt: skip
            self._process = process
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.write(auth.enrolment(self._state.records).encode() + b"\n")
            process.stdin.close()
        return process.wait()

    def _name(self) -> str:
        """The name under which the key in its folder is registered, or a free one for a new key."""
        public = self._folder / "key.pub"
        key = PublicKey.parse(public.read_text()).text() if public.is_file() else ""
        with self._state.records.read() as c:
            known = people.workers(c)
        for worker in known:
            if worker.public_key == key and worker.revoked is None:
                return worker.name
        taken = {worker.name for worker in known}
        free = itertools.chain(["local"], (f"local-{number}" for number in itertools.count(2)))
        return next(name for name in free if name not in taken)

    def _sandbox(self) -> str:
        """With weaker walls, or none, only where the repository's own setting counts such verdicts."""
        return self._state.settings.enforcement

    def _environment(self) -> dict[str, str]:
        env = {
            name: value
            for name, value in os.environ.items()
            if name in _PASSED_ON or name.upper().startswith(_NETWORK + _SETTINGS)
        }
        env["HOME"] = str(self._folder)
        env["PYTHONPATH"] = os.pathsep.join(p for p in (_package_root(), env.get("PYTHONPATH", "")) if p)
        return env


def _package_root() -> str:
    """Where this package was imported from, so that the worker is the same version."""
    return str(Path(__file__).resolve().parents[2])
