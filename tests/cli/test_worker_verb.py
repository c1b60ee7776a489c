"""`fairlead worker` as an operator meets it: enrolling, starting, stopping, and its words when it cannot."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real_server import ROOT, RealServer, end, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    with running(tmp_path_factory.mktemp("server")) as made:
        yield made


def worker(state: Path, *words: str, stdin: str = "", code: int) -> str:
    """Run the verb until it ends by itself; what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "fairlead", "worker", "--state", str(state), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, input=stdin, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
    return done.stderr


def started(server: RealServer, name: str, *, enrol: bool = True) -> subprocess.Popen[bytes]:
    process = server.worker(name, enrol=enrol)
    until = time.monotonic() + 60
    while f"worker {name} of {server.url}" not in server.log(f"worker-{name}.log"):
        assert process.poll() is None and time.monotonic() < until, server.log(f"worker-{name}.log")
        time.sleep(0.05)
    return process


def test_enrolling_stopping_and_starting_again(server: RealServer) -> None:
    process = started(server, "one")
    state = server.folder / "worker-one"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    for name in ("key", "worker.json"):
        assert stat.S_IMODE((state / name).stat().st_mode) == 0o600
    told = worker(state, code=2)
    assert "a worker is running on this folder" in told
    end(process)
    assert process.returncode == 0, "SIGTERM is how one stops it"
    key = (state / "key").read_bytes()
    end(started(server, "one", enrol=False))
    assert (state / "key").read_bytes() == key
    listed = subprocess.run(
        [sys.executable, "-m", "fairlead", "people", "list", "--data", str(server.data)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "one" in listed.stdout


def test_a_revoked_worker_ends_and_says_so(server: RealServer) -> None:
    end(started(server, "two"))
    server.people("revoke-worker", "two")
    told = worker(server.folder / "worker-two", code=2)
    assert "what to do" in told
    token = json.loads((server.folder / "worker-two/worker.json").read_text())["token"]
    assert token not in told


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        ([], "", "not enrolled"),
        (["--enrol-stdin"], "code\n", "which server?"),
        (["--enrol-stdin", "--server", "SERVER"], "", "no enrolment code"),
        (["--enrol-stdin", "--server", "SERVER"], "guess\n", "enrolment code"),
        (["--enrol-stdin", "--server", "SERVER", "--name", "../x"], "code\n", "cannot be a worker's name"),
        (["--enrol-stdin", "--server", "ftp://x"], "code\n", "not the address of a server"),
        (["--sandbox", "auto"], "", "--sandbox cannot be auto"),
    ],
)
def test_wrong_words(server: RealServer, tmp_path: Path, words: list[str], stdin: str, said: str) -> None:
    words = [server.url if word == "SERVER" else word for word in words]
    told = worker(tmp_path / "state", *words, stdin=stdin, code=2)
    assert said in told and "what to do" in told


def test_an_enrolment_code_works_once(server: RealServer, tmp_path: Path) -> None:
    code = server.people("enrol-worker")
    words = ("--server", server.url, "--enrol-stdin", "--name")
    process = subprocess.Popen(
        [sys.executable, "-m", "fairlead", "worker", "--state", str(tmp_path / "a"), *words, "three"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    server.processes.append(process)
    assert process.stdin is not None and process.stderr is not None
    process.stdin.write(f"{code}\n".encode())
    process.stdin.close()
    assert b"worker three of" in process.stderr.readline()
    end(process)
    process.stderr.close()
    told = worker(tmp_path / "b", *words, "four", stdin=f"{code}\n", code=2)
    assert "code" in told and code not in told


@pytest.mark.parametrize("damage", ["{", "[]", '{"format": 9}'])
def test_a_damaged_registration(tmp_path: Path, damage: str) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "worker.json").write_text(damage)
    (state / "worker.json").chmod(0o600)
    assert "damaged" in worker(state, code=2)
    (state / "worker.json").chmod(0o644)
    assert "read by others" in worker(state, code=2)
