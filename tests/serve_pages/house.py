"""A real server with real people, pushes and landings, and a worker whose answers are scripted.

Only the worker is ours: it signs what a test tells it to, so that no test here waits for a build.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import uvicorn

from fairlead.keys.signer import Signer
from fairlead.serve import app, auth, landing, leases
from fairlead.serve.pages import routes
from fairlead.serve.records import people
from fairlead.serve.state import State, open_state
from fairlead.ship import identity
from fairlead.ship.values import KeyStatement, Verdict
from fairlead.store.digest import of_bytes

PASSWORD = "correct horse"


class House:
    """One server on a free port, with an author, a reviewer and a worker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._socket = socket.socket(proto=socket.IPPROTO_TCP)  # without it asyncio leaves Nagle on
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.state: State = open_state(folder / "data", url=self.url)
        app.start(self.state)
        made = app.create(self.state, pages=routes(self.state), queue=False)
        self._server = uvicorn.Server(uvicorn.Config(made, log_config=None, access_log=False, lifespan="on"))
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._server.serve([self._socket])), daemon=True
        )
        self._thread.start()
        self.tokens: dict[str, str] = {}
        for name in ("author", "reviewer"):
            code = auth.invite(self.state.records, name)
            _, self.tokens[name] = auth.accept(self.state.records, code, PASSWORD)
        self._signer = Signer.generate()
        code = auth.enrolment(self.state.records)
        auth.register(self.state.records, code, "local", self._signer.public.text())
        with self.state.records.read() as c:
            found = people.worker_by_name(c, "local")
        assert found is not None
        self.worker = found
        self.clone = folder / "clone"
        self.clone.mkdir()
        self.git("init", "-q", "-b", "main")
        deadline = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)

    def close(self) -> None:
        self.state.bus.close()
        self._server.should_exit = True
        self._thread.join(20)
        self.state.close()
        self._socket.close()

    # --- git -------------------------------------------------------------------------------------

    def git(self, *args: str, check: bool = True) -> str:
        env = {
            **os.environ,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            **{f"GIT_{role}_NAME": "author" for role in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{role}_EMAIL": "author@example.org" for role in ("AUTHOR", "COMMITTER")},
        }
        done = subprocess.run(
            ["git", *args], cwd=self.clone, env=env, capture_output=True, text=True, timeout=60
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(
        self, subject: str, files: Mapping[str, str | bytes | None], body: str = "", *, amend: bool = False
    ) -> str:
        """Write files (None removes) and commit; a Diff-Id is added, and kept when amending."""
        for name, content in files.items():
            path = self.clone / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.git("add", "-A")
        old = identity.of_message(self.git("log", "-1", "--format=%B")) if amend else None
        message = f"{subject}\n\n{body}\n\nDiff-Id: {old or identity.new()}\n"
        self.git("commit", "-q", *(["--amend"] if amend else []), "-m", message)
        return self.git("rev-parse", "HEAD")

    def push(self, ref: str = "refs/for/main", who: str = "author") -> None:
        remote = self.url.replace("http://", f"http://{who}:{self.tokens[who]}@") + "/git/main"
        self.git("push", "-q", remote, f"HEAD:{ref}")

    # --- landing -----------------------------------------------------------------------------------

    def land(self, keys: Mapping[str, tuple[str, str]], outcomes: Mapping[str, str] | None = None) -> None:
        """Let the queue start a candidate, answer as its worker, and let the queue end it.

        `keys`: label -> (key on the base, key on the candidate), "" for absent; `outcomes`: label -> outcome.
        """
        while landing.work(self.state):
            pass
        job = leases.offer(self.state, self.worker)
        assert job is not None
        repo = self.state.repo("main")
        pair = []
        for role, side in (("base", 0), ("commit", 1)):
            commit = repo.commit(str(job[role]))
            stated = {label: of_bytes(pair[side].encode()) for label, pair in keys.items() if pair[side]}
            pair.append(KeyStatement(commit.oid, commit.tree, stated, "local").signed(self._signer.sign))
        run = leases.keys(self.state, self.worker, str(job["id"]), pair[0], pair[1])
        verdicts = []
        for label in run:
            outcome = (outcomes or {}).get(label, "pass")
            log = self.state.logs.put(f"{label}\n1 {outcome}\n".encode())
            verdict = Verdict(
                label,
                KeyStatement.from_payload(pair[1].payload).keys[label],
                outcome,  # type: ignore[arg-type]
                "local",
                "namespace",
                log,
                0.25,
            )
            verdicts.append(verdict.signed(self._signer.sign))
        leases.verdicts(self.state, self.worker, str(job["id"]), verdicts)
        leases.finish(self.state, self.worker, str(job["id"]), "done", {})
        while landing.work(self.state):
            pass

    # --- people --------------------------------------------------------------------------------------

    def browser(self, who: str | None = "reviewer") -> Form:
        """A client with the cookie of `who`, as a browser without JavaScript would be."""
        client = Form(self.url)
        if who:
            answer = client.submit("/sign-in", {"name": who, "password": PASSWORD})
            assert answer.status_code == 303, answer.text
        return client


class Form(httpx.Client):
    """Sends forms as browsers do: with Origin, and with the hidden fields of the page."""

    def __init__(self, url: str) -> None:
        super().__init__(base_url=url, timeout=30, trust_env=False)

    def page(self, path: str) -> str:
        answer = self.get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:2000])
        return answer.text

    def submit(self, path: str, fields: Mapping[str, str], *, csrf: bool = True) -> httpx.Response:
        data = dict(fields)
        if csrf and self.cookies:
            found = re.search(r'name="csrf" value="([^"]+)"', self.page("/"))
            assert found
            data["csrf"] = found[1]
        return self.post(path, data=data, headers={"origin": str(self.base_url).rstrip("/")})
