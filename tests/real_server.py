"""A real server, a real worker and people with clones of their own, for tests that walk through all of it.

Everything is a process, started as people start it, on folders below one temporary folder. The server is
started by a few lines here instead of `fairlead serve` for one reason: its leases last seconds, so that a
test need not wait a minute to see one run out.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 90  # seconds

_SERVE = """
import sys
from pathlib import Path
from fairlead.serve.server import run
from fairlead.ship.values import Settings

def ready(state, *rest):
    Path(sys.argv[1], "url").write_text(state.url)
    Path(sys.argv[2]).write_text(state.url)
    return lambda: None

run(Path(sys.argv[1]), port=int(sys.argv[4]), lease_seconds=float(sys.argv[3]), ready=ready)
"""


@dataclass
class Person:
    """Somebody with a home folder of their own; `clone` is where they stand."""

    name: str
    home: Path
    clone: Path

    def environment(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("FAIRLEAD_", "GIT_", "XDG_"))}
        return {
            **kept,
            "HOME": str(self.home),
            "PYTHONPATH": str(ROOT),
            "FAIRLEAD_CACHE_DIR": os.environ["FAIRLEAD_CACHE_DIR"],
            "GIT_AUTHOR_NAME": self.name,
            "GIT_AUTHOR_EMAIL": f"{self.name}@example.org",
            "GIT_COMMITTER_NAME": self.name,
            "GIT_COMMITTER_EMAIL": f"{self.name}@example.org",
            **more,
        }

    def run(
        self, *args: str, stdin: str = "", code: int | None = 0, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """`fairlead ARGS`; fails the test unless it ends with `code` (None: any)."""
        done = subprocess.run(
            [sys.executable, "-m", "fairlead", *args],
            cwd=self.clone,
            env=self.environment(**more),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert code is None or done.returncode == code, (
            f"{args}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done

    def json(self, *args: str, code: int = 0) -> dict[str, object]:
        answer = json.loads(self.run(*args, "--json", code=code).stdout)
        assert isinstance(answer, dict)
        return answer

    def git(self, *args: str, code: int = 0) -> str:
        done = subprocess.run(
            ["git", *args],
            cwd=self.clone,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == code, f"git {args}: {done.stderr}"
        return done.stdout.strip()

    def commit(self, files: Mapping[str, str | None], message: str, *, amend: bool = False) -> str:
        """Write files (None removes one) and commit them; the commit."""
        for name, text in files.items():
            path = self.clone / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
                if text.startswith("#!"):
                    path.chmod(0o755)
        self.git("add", "--all")
        words = ["--amend", "--no-edit"] if amend else ["-m", message]
        self.git("commit", "--quiet", *words)
        return self.git("rev-parse", "HEAD")


@dataclass
class RealServer:
    """A server on `folder`; `start` and `kill` may be called again and again."""

    folder: Path
    lease_seconds: float = 3.0
    url: str = ""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self, **environment: str) -> None:
        address = self.folder / "url"
        address.unlink(missing_ok=True)
        port = self.url.rpartition(":")[2] or "0"
        self.server = self._spawn(
            [sys.executable, "-c", _SERVE, str(self.data), str(address), str(self.lease_seconds), port],
            "server.log",
            environment,
        )
        until = time.monotonic() + PATIENCE
        while not (address.exists() and address.read_text()):
            assert self.server.poll() is None and time.monotonic() < until, self.log("server.log")
            time.sleep(0.05)
        self.url = address.read_text()

    def worker(
        self, name: str = "local", *words: str, enrol: bool = True, **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start a worker whose state folder is `worker-<name>`."""
        state = self.folder / f"worker-{name}"
        command = [sys.executable, "-m", "fairlead", "worker", "--state", str(state), *words]
        code = b""
        if enrol:
            command += ["--server", self.url, "--name", name, "--enrol-stdin"]
            code = self.people("enrol-worker").encode() + b"\n"
        process = self._spawn(command, f"worker-{name}.log", environment, stdin=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(code)
        process.stdin.close()
        return process

    def people(self, *args: str) -> str:
        """The last word that `fairlead people ARGS` prints."""
        done = subprocess.run(
            [sys.executable, "-m", "fairlead", "people", *args, "--data", str(self.data)],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, cwd=self.folder,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        links = [word for word in done.stdout.split() if "/invite/" in word]
        return links[0] if links else done.stdout.split()[-1]

    def person(self, name: str) -> Person:
        """Invite somebody; they log in, in an empty repository of their own."""
        home = self.folder / name
        clone = home / "clone"
        clone.mkdir(parents=True)
        person = Person(name, home, clone)
        person.git("init", "--quiet", "--initial-branch=main")
        person.run(
            "login", "--invite", self.people("invite", name), "--password-stdin", stdin=f"{name}-password\n"
        )
        return person

    def begun(self, files: Mapping[str, str | None]) -> tuple[Person, Person]:
        """An author, whose first commit with these files is the trunk, and a reviewer."""
        author, reviewer = self.person("author"), self.person("reviewer")
        author.commit(dict(files), "Base")
        author.git("push", "--quiet", f"{self.url}/git/main", "HEAD:refs/heads/main")
        return author, reviewer

    def log(self, name: str) -> str:
        path = self.folder / name
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def api(self, person: Person, path: str) -> object:
        """A JSON answer, read as that person."""
        logins = json.loads((person.home / ".local/state/fairlead/logins.json").read_text())
        request = urllib.request.Request(self.url + path)
        request.add_header("Authorization", f"Bearer {logins['logins'][self.url]['token']}")
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def diff(self, person: Person, number: int) -> dict[str, object]:
        answer = self.api(person, f"/api/diffs/{number}")
        assert isinstance(answer, dict)
        return answer

    def wait_for(self, person: Person, number: int, *states: str) -> dict[str, object]:
        """The diff, once it is in one of `states`."""
        until = time.monotonic() + PATIENCE
        while True:
            diff = self.diff(person, number)
            if diff["state"] in states:
                return diff
            assert time.monotonic() < until, f"D{number} is still {diff['state']}"
            time.sleep(0.1)

    def stop(self) -> None:
        for process in reversed(self.processes):
            end(process)

    def _spawn(
        self, command: list[str], log: str, environment: Mapping[str, str], stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("FAIRLEAD_", "GIT_"))}
        with (self.folder / log).open("ab") as out:
            process = subprocess.Popen(
                command, stdin=stdin, stdout=out, stderr=subprocess.STDOUT, cwd=self.folder,
                env={**kept, "PYTHONPATH": str(ROOT), **environment},
            )  # fmt: skip
        self.processes.append(process)
        return process


def end(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
    """End a process that this test started, and wait for it."""
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def running(folder: Path, *, lease_seconds: float = 3.0) -> Iterator[RealServer]:
    """A server that is up; whatever was started on it ends with it."""
    server = RealServer(folder, lease_seconds)
    server.data.mkdir(parents=True)
    try:
        server.start()
        yield server
    finally:
        server.stop()
