"""A real server for tests: uvicorn on loopback, in this process or in one that may be killed; people with
tokens, clones that push with git, and a worker that signs what the test wants it to have seen."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from fairlead import net
from fairlead.cli.client import git_environment
from fairlead.git import Repo
from fairlead.keys.signer import Signer
from fairlead.serve import app as application
from fairlead.serve import auth, server
from fairlead.serve.connection import Connection
from fairlead.serve.pages import routes as page_routes
from fairlead.serve.records import Records
from fairlead.serve.state import Limits, State, open_state
from fairlead.ship import identity
from fairlead.ship.values import KeyStatement, Settings, Signed, Verdict
from fairlead.store import digest

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "a long password"


def wait_for(what: Any, seconds: float = 15.0) -> Any:
    """What `what()` returns once that is true."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
    return found


@dataclass
class Person:
    """Someone with a token."""

    url: str
    name: str
    token: str

    def call(self, method: str, path: str, payload: object | None = None) -> Any:
        return net.fetch_json(method, self.url + path, token=self.token, payload=payload)

    def diff(self, number: int) -> Any:
        return self.call("GET", f"/api/diffs/{number}")

    def say(self, number: int, **fields: object) -> Any:
        return self.call("POST", f"/api/diffs/{number}/posts", {"body": "", **fields})

    def accept(self, number: int, **fields: object) -> Any:
        return self.say(number, kind="review", verdict="accept", **fields)

    def land(self, number: int, *, stack: bool = False) -> Any:
        return self.call("POST", f"/api/diffs/{number}/land", {"stack": stack})

    def environment(self) -> dict[str, str]:
        return git_environment(self.url, self.name, self.token)


@dataclass
class Clone:
    """A person's clone; commits get their Diff-Id like those of `fairlead submit`."""

    person: Person
    path: Path
    repo: Repo
    name: str = "main"

    @classmethod
    def make(cls, person: Person, path: Path) -> Clone:
        """A new repository with nothing in it."""
        subprocess.run(["git", "init", "-q", "-b", "main", str(path)], check=True)
        repo = Repo(path)
        repo.run("config", "user.name", person.name)
        repo.run("config", "user.email", f"{person.name}@localhost")
        return cls(person, path, repo)

    def commit(
        self, files: Mapping[str, str], subject: str, diff_id: str | None = "new", *, body: str = ""
    ) -> str:
        for name, text in files.items():
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        message = subject + (f"\n\n{body}" if body else "")
        if diff_id is not None:
            message += f"\n\nDiff-Id: {identity.new() if diff_id == 'new' else diff_id}\n"
        self.repo.run("add", "-A")
        self.repo.run("commit", "-q", "--allow-empty", "-m", message)
        return self.repo.rev("HEAD")

    def push(self, refspec: str = "HEAD:refs/for/main", *options: str) -> tuple[int, str]:
        """Exit code and everything git printed."""
        flags = [f"--push-option={option}" for option in options]
        url = f"{self.person.url}/git/{self.name}"
        done = self.repo.run("push", *flags, url, refspec, env=self.person.environment(), check=False)
        return done.code, done.err

    def submit(self, *options: str) -> str:
        code, said = self.push("HEAD:refs/for/main", *options)
        assert code == 0, said
        return said

    def fetch(self, ref: str) -> str:
        url = f"{self.person.url}/git/{self.name}"
        self.repo.run("fetch", "-q", url, f"+{ref}:refs/test/fetched", env=self.person.environment())
        return self.repo.rev("refs/test/fetched")


@dataclass
class Worker:
    """A worker that believes what the test tells it: keys by a function of the commit, outcomes by label."""

    url: str
    name: str
    token: str
    signer: Signer
    keys: dict[str, dict[str, str]] = field(default_factory=dict)  # commit -> label -> key

    def call(self, method: str, path: str, payload: object | None = None) -> Any:
        return net.fetch_json(method, self.url + path, token=self.token, payload=payload)

    def lease(self, wait: float = 10.0) -> Any:
        return self.call("POST", "/api/worker/lease", {"wait": wait})["job"]

    def statement(self, commit: str, tree: str, keys: Mapping[str, str]) -> Signed:
        return KeyStatement(commit, tree, keys, self.name).signed(self.signer.sign)

    def hand_in_keys(
        self, job: Any, repo: Repo, base: Mapping[str, str], candidate: Mapping[str, str]
    ) -> list[str]:
        payload = {
            "base": self.statement(job["base"], repo.commit(job["base"]).tree, base).to_json(),
            "candidate": self.statement(job["commit"], repo.commit(job["commit"]).tree, candidate).to_json(),
        }
        run: list[str] = self.call("POST", f"/api/worker/jobs/{job['id']}/keys", payload)["run"]
        return run

    def log(self, text: str) -> str:
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = net.request("PUT", f"{self.url}/api/worker/logs", headers=headers, body=text.encode())
        assert answer.status == 200, answer.body
        return digest.of_bytes(text.encode())

    def verdict(
        self, label: str, key: str, outcome: Any = "pass", log: str = "", enforced: Any = "namespace"
    ) -> Signed:
        return Verdict(label, key, outcome, self.name, enforced, log, 0.5).signed(self.signer.sign)

    def hand_in(self, job: Any, *verdicts: Signed) -> Any:
        payload = {"verdicts": [v.to_json() for v in verdicts]}
        return self.call("POST", f"/api/worker/jobs/{job['id']}/verdicts", payload)

    def finish(self, job: Any, outcome: str = "done", **said: str) -> None:
        self.call("POST", f"/api/worker/jobs/{job['id']}/finish", {"outcome": outcome, **said})

    def do(
        self,
        job: Any,
        repo: Repo,
        candidate: Mapping[str, str],
        outcomes: Mapping[str, str] | None = None,
        base: Mapping[str, str] | None = None,
    ) -> list[str]:
        """A whole job; the labels that ran."""
        run = self.hand_in_keys(job, repo, base or {}, candidate)
        for label in run:
            outcome = (outcomes or {}).get(label, "pass")
            log = self.log(f"{label} {outcome}\n")
            self.hand_in(job, self.verdict(label, candidate[label], outcome, log))
        self.finish(job)
        return run


@dataclass
class Site:
    """A running server and the people on it."""

    url: str
    data: Path
    records: Records
    state: State | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def repo(self) -> Repo:
        return Repo(self.data / "git" / "main.git")

    def join(self, name: str, *, admin: bool = False) -> Person:
        code = auth.invite(self.records, name, admin=admin)
        answer: Any = net.fetch_json(
            "POST", f"{self.url}/api/invitations/{code}", payload={"password": PASSWORD}
        )
        return Person(self.url, answer["person"], answer["token"])

    def worker(self, name: str = "tester") -> Worker:
        signer = Signer.generate()
        payload = {"name": name, "public_key": signer.public.text()}
        code = auth.enrolment(self.records)
        answer: Any = net.fetch_json("POST", f"{self.url}/api/worker/register", token=code, payload=payload)
        return Worker(self.url, name, answer["token"], signer)

    def trunk(self) -> str | None:
        return self.repo.ref("refs/heads/main")


@contextlib.contextmanager
def site(data: Path, *, queue: bool = True, settings: Settings | None = None, limits: Limits | None = None,
         lease_seconds: float = 60.0, pages: bool = False) -> Iterator[Site]:  # fmt: skip
    """A server in this process."""
    listener = server._bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    state = open_state(data, url=url, settings=settings, limits=limits, lease_seconds=lease_seconds)
    application.start(state)
    app = application.create(state, pages=page_routes(state) if pages else (), queue=queue)
    config = uvicorn.Config(
        app,
        http=Connection,
        log_config=None,
        access_log=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=5,
    )
    running = uvicorn.Server(config)
    listener.listen(128)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        wait_for(lambda: running.started)
        yield Site(url, data, state.records, state)
    finally:
        state.bus.close()
        running.should_exit = True
        thread.join(20)
        listener.close()
        state.close()


@contextlib.contextmanager
def process(data: Path, *, port: int = 0, crash: str = "", env: Mapping[str, str] | None = None,
            arguments: tuple[str, ...] = ("--no-worker",)) -> Iterator[Site]:  # fmt: skip
    """A server in a process of its own, as `fairlead serve` starts it; killed at the end if it still runs."""
    url_file = data.parent / f"{data.name}.url"
    url_file.unlink(missing_ok=True)
    full = {**os.environ, "PYTHONPATH": str(ROOT), "FAIRLEAD_CRASH_AT": crash, **(env or {})}
    command = [
        sys.executable,
        "-m",
        "fairlead",
        "serve",
        "--data",
        str(data),
        "--port",
        str(port),
        "--url-file",
        str(url_file),
    ]
    log = (data.parent / f"{data.name}.log").open("ab")
    child = subprocess.Popen([*command, *arguments], env=full, stdout=log, stderr=log, cwd=data.parent)
    log.close()
    records = None
    try:
        wait_for(lambda: url_file.exists() or child.poll() is not None, 30)
        assert child.poll() is None, (data.parent / f"{data.name}.log").read_text()
        url = url_file.read_text().strip()
        records = Records(data / "fairlead.sqlite")
        yield Site(url, data, records, process=child)
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if records is not None:
            records.close()


def seeded(here: Site, folder: Path) -> tuple[Person, Person, Clone]:
    """An author who is administrator, a reviewer, and the author's clone; the trunk has one commit."""
    author, reviewer = here.join("author"), here.join("reviewer")
    clone = Clone.make(author, folder / "clone")
    clone.commit({"a.txt": "".join(f"line {i}\n" for i in range(1, 21)), "b.txt": "b\n"}, "first", None)
    code, said = clone.push("HEAD:refs/heads/main")
    assert code == 0, said
    return author, reviewer, clone
