"""The supervisor against a small server that speaks the worker's part of the API, and jobs that misbehave.

The jobs here are one-line programs, because the subject is what the supervisor does about their ends.
"""

from __future__ import annotations

import http.server
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.errors import FairleadError, MachineryError
from fairlead.worker.job import Job
from fairlead.worker.server import Server, register
from fairlead.worker.state import State
from fairlead.worker.supervisor import PATIENCE, Answer, Supervisor, scrubbed

TOKEN = "t0ken-of-the-worker"
JOB = {
    "id": "7-1",
    "kind": "candidate",
    "repo": "main",
    "base": "a" * 40,
    "commit": "b" * 40,
    "diff": 12,
    "trunk": "main",
    "lease_seconds": 0.6,
    "settings": {"enforcement": "namespace"},
}


class Api(http.server.ThreadingHTTPServer):
    """Hands out `jobs`, keeps every call, answers `answers[path]` where given: a status, or one a call."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.jobs: list[dict[str, object]] = []
        self.calls: list[tuple[str, dict[str, object]]] = []
        self.statuses: dict[str, int] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def finished(self) -> list[dict[str, object]]:
        return [payload for path, payload in self.calls if path.endswith("/finish")]

    def released(self) -> list[dict[str, object]]:
        return [payload for path, payload in self.calls if path.endswith("/release")]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Api

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.calls.append((self.path, body))
        status = self.server.statuses.get(self.path.rpartition("/")[2], 200)
        answer: dict[str, object] = {}
        if status != 200:
            answer = {"what": "the lease is another's", "where": "", "remedy": ""}
        elif self.path == "/api/worker/lease":
            if not self.server.jobs:
                time.sleep(0.1)
            answer = {"job": self.server.jobs.pop(0) if self.server.jobs else None}
        elif self.path == "/api/worker/register":
            answer = {"token": TOKEN}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def state(tmp_path: Path) -> State:
    made = State(tmp_path / "state")
    made.prepare()
    return made


def supervisor(api: Api, state: State, program: str, *, seconds: float = 30) -> Supervisor:
    command = [
        sys.executable,
        "-c",
        "import sys, json, os, time, signal; line = sys.stdin.readline()\n" + program,
    ]
    return Supervisor(Server(api.url, TOKEN), state, command, seconds, lambda text: None)


def say(outcome: str, what: str = "") -> str:
    return f"print({Answer(outcome, what).to_line()!r}, flush=True)"


def test_a_job_is_done_and_finished(api: Api, state: State) -> None:
    api.jobs.append(JOB)
    check = "job = json.loads(line); assert job['commit'] == 'b' * 40 and job['enforcement'] == 'namespace'\n"
    supervisor(api, state, check + say("done")).run(once=True)
    assert api.finished() == [{"outcome": "done", "what": "", "where": "", "remedy": "", "log": ""}]


def test_a_broken_candidate_is_finished_with_its_words(api: Api, state: State) -> None:
    api.jobs.append(JOB)
    supervisor(api, state, say("broken", "no such rule")).run(once=True)
    [told] = api.finished()
    assert told["outcome"] == "broken" and told["what"] == "no such rule"


def test_the_lease_is_kept_while_the_job_runs(api: Api, state: State) -> None:
    api.jobs.append(JOB)
    supervisor(api, state, "time.sleep(1.2)\n" + say("done")).run(once=True)
    beats = [path for path, _ in api.calls if path == "/api/worker/jobs/7-1/heartbeat"]
    assert len(beats) >= 3
    assert len(api.finished()) == 1


def test_a_lost_lease_ends_the_process_and_tells_nothing(api: Api, state: State, tmp_path: Path) -> None:
    api.jobs.append(JOB)
    api.statuses["heartbeat"] = 409
    started = time.monotonic()
    supervisor(
        api, state, f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    ).run(once=True)
    assert time.monotonic() - started < 20
    assert api.finished() == []
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_server_that_is_silent_for_a_whole_lease_loses_the_job(api: Api, state: State) -> None:
    api.jobs.append(JOB)
    api.statuses["heartbeat"] = 503
    started = time.monotonic()
    supervisor(api, state, "time.sleep(60)").run(once=True)
    assert 0.6 < time.monotonic() - started < 20
    assert api.finished() == []


def test_a_job_that_takes_too_long_is_broken(api: Api, state: State) -> None:
    api.jobs.append(JOB)
    supervisor(api, state, "time.sleep(60)", seconds=0.5).run(once=True)
    [told] = api.finished()
    assert told["outcome"] == "broken" and "longer than" in str(told["what"]) and told["remedy"]


def test_what_a_job_started_ends_with_it(api: Api, state: State, tmp_path: Path) -> None:
    api.jobs.append(JOB)
    program = (
        f"import subprocess; p = subprocess.Popen(['sleep', '60']); "
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid))\ntime.sleep(60)"
    )
    supervisor(api, state, program, seconds=1.5).run(once=True)
    pid = int((tmp_path / "pid").read_text())
    for _ in range(50):
        state_of = Path(f"/proc/{pid}/stat")
        if not state_of.exists() or state_of.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    raise AssertionError("the job's child lives on")


def test_a_silent_end_is_tried_again_until_patience_ends(api: Api, state: State) -> None:
    for attempt in range(1, PATIENCE + 1):
        api.jobs.append({**JOB, "id": f"7-{attempt}"})
        supervisor(api, state, "os.kill(os.getpid(), signal.SIGKILL)").run(once=True)
        assert len(api.finished()) == (attempt == PATIENCE)
    [told] = api.finished()
    assert told["outcome"] == "broken" and "signal 9" in str(told["what"])


@pytest.mark.parametrize(
    "answer", ["not json", "[]", '{"outcome": "landed"}', '{"outcome": "done", "extra": 1}']
)
def test_an_answer_that_cannot_be_read_is_no_answer(api: Api, state: State, answer: str) -> None:
    api.jobs.append(JOB)
    supervisor(api, state, f"print({answer!r})").run(once=True)
    assert api.finished() == []


def test_an_answer_followed_by_a_crash_is_no_answer(api: Api, state: State) -> None:
    api.jobs.append(JOB)
    supervisor(api, state, say("done") + "; sys.exit(1)").run(once=True)
    assert api.finished() == []


def test_a_retry_gives_the_job_back(api: Api, state: State) -> None:
    api.jobs.append(JOB)
    supervisor(api, state, say("retry", "the disk is full")).run(once=True)
    assert api.finished() == [] and api.released() == [
        {"what": "the disk is full", "where": "", "remedy": ""}
    ]


def test_after_giving_back_a_worker_rests_longer_each_time(api: Api, state: State) -> None:
    api.jobs += [{**JOB, "id": f"7-{attempt}"} for attempt in range(1, 4)]
    worker = supervisor(api, state, say("retry", "the disk is full"))
    worker.rest = 0.4
    thread = threading.Thread(target=worker.run)
    began = time.monotonic()
    thread.start()
    while len(api.released()) < 3:
        time.sleep(0.05)
        assert time.monotonic() - began < 30
    assert time.monotonic() - began > 0.4 + 0.8
    worker.stop.set()
    thread.join(10)
    assert not thread.is_alive()


def test_a_worker_that_is_stopped_gives_its_job_back(api: Api, state: State) -> None:
    api.jobs.append(JOB)
    worker = supervisor(api, state, "time.sleep(60)")
    thread = threading.Thread(target=worker.run)
    thread.start()
    while not any(path.endswith("/heartbeat") for path, _ in api.calls):
        time.sleep(0.05)
    worker.stop.set()
    thread.join(10)
    assert not thread.is_alive() and api.released()[0]["what"] == "the worker was told to stop"


def test_a_server_that_takes_nothing_back_is_borne(api: Api, state: State) -> None:
    api.jobs.append(JOB)
    api.statuses["release"] = 404
    supervisor(api, state, say("retry", "the disk is full")).run(once=True)


def test_an_absent_server_is_asked_again_and_stop_ends_it(state: State) -> None:
    told: list[str] = []
    worker = Supervisor(Server("http://127.0.0.1:1", TOKEN), state, ["true"], 1, told.append)
    thread = threading.Thread(target=worker.run)
    thread.start()
    time.sleep(0.8)
    worker.stop.set()
    thread.join(5)
    assert not thread.is_alive()
    assert told and "no job" in told[0] and TOKEN not in "".join(told)


def test_a_worker_that_is_not_known_any_more_ends(api: Api, state: State) -> None:
    api.statuses["lease"] = 401
    with pytest.raises(FairleadError):
        supervisor(api, state, "").run()


@pytest.mark.parametrize(
    "change",
    [
        {"id": "../../x"}, {"id": ".."}, {"repo": "../main"}, {"repo": "-x"}, {"base": "HEAD"},
        {"commit": "b" * 39}, {"kind": "campaign"}, {"settings": {}}, {"lease_seconds": 0},
        {"lease_seconds": "1"}, {"diff": None},
    ],
)  # fmt: skip
def test_a_job_that_could_reach_elsewhere_is_not_read(change: dict[str, object]) -> None:
    with pytest.raises(MachineryError, match="cannot be read"):
        Job.from_json({**JOB, **change})


def test_a_job_survives_its_line() -> None:
    job = Job.from_json(JOB)
    assert Job.from_line(job.to_line()) == job


def test_registering(api: Api) -> None:
    assert register(api.url, "one-time", "local", "ssh-ed25519 AAAA") == TOKEN
    assert api.calls == [("/api/worker/register", {"name": "local", "public_key": "ssh-ed25519 AAAA"})]


def test_the_token_is_in_no_text_about_the_server() -> None:
    server = Server("http://127.0.0.1:1", TOKEN)
    assert TOKEN not in repr(server)
    with pytest.raises(FairleadError) as told:
        server.lease(0)
    assert TOKEN not in str(told.value)


def test_the_job_process_sees_a_scrubbed_environment() -> None:
    seen = scrubbed(
        {"PATH": "/bin", "SECRET": "x", "FAIRLEAD_STATE_DIR": "/s", "SSH_AUTH_SOCK": "/a"}, Path("/home")
    )
    assert seen["PATH"] == "/bin" and seen["HOME"] == "/home"
    assert not {"SECRET", "FAIRLEAD_STATE_DIR", "SSH_AUTH_SOCK"} & seen.keys()


def test_killing_the_supervisor_ends_the_job(tmp_path: Path) -> None:
    """The job's process ends itself at the end of its standard input: by the real entry's own thread."""
    import subprocess

    code = (
        "import os, sys, threading, time\n"
        "from fairlead.cli import worker_job\n"
        "threading.Thread(target=worker_job._watch_supervisor, daemon=True).start()\n"
        "print('up', flush=True)\n"
        "time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdin is not None
    assert child.stdout.readline() == b"up\n"
    child.stdin.close()
    assert child.wait(10) == 3
    child.stdout.close()
