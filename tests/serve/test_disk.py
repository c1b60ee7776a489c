"""A full disk: a clear error, nothing half written, and all well again once there is space."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import blake3
import pytest

from fairlead import net
from fairlead.errors import MachineryError
from fairlead.serve import evidence, landing
from fairlead.serve.records import diffs, jobs
from tests.disk import small_disk
from tests.serve.harness import Person, Site, seeded, site

KILOBYTES = 24_000


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with small_disk(tmp_path / "disk", kilobytes=KILOBYTES) as disk:
        with site(disk / "data") as running:
            yield running


@contextlib.contextmanager
def filled(here: Site, leave: int = 0) -> Iterator[None]:
    """All but `leave` bytes of the disk are taken."""
    ballast = here.data.parent / "ballast"
    with ballast.open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        file.truncate(max(0, file.tell() - leave))
    try:
        yield
    finally:
        ballast.unlink()


def files(here: Site) -> set[str]:
    git = here.data / "git" / "main.git"
    return {str(p.relative_to(git)) for p in git.rglob("*") if p.is_file() and "objects" not in p.parts}


def test_push(here: Site, tmp_path: Path) -> None:
    author, _, clone = seeded(here, tmp_path)
    before = files(here)
    (clone.path / "big").write_bytes(os.urandom(600_000))
    clone.commit({}, "big")
    with filled(here, leave=200_000):
        code, said = clone.push()
        assert code != 0 and "No space left on device" in said, said
    unchanged(here, before)
    clone.submit()
    assert [d["number"] for d in author.call("GET", "/api/diffs")] == [1]


def test_push_that_fits_but_cannot_be_recorded(here: Site, tmp_path: Path) -> None:
    author, _, clone = seeded(here, tmp_path)
    clone.commit({"a.txt": "x\n"}, "small")
    clone.submit()  # the objects are there; only refs and records of the next version are new
    before = files(here)
    clone.repo.run("commit", "-q", "--amend", "--date=2001-01-01T00:00:00Z", "-C", "HEAD")
    refused = 0
    for leave in (0, 4096, 8192, 16384, 24576, 32768, 49152):
        with filled(here, leave=leave):
            code, said = clone.push()
        if code == 0:
            break
        refused += 1
        assert any(words in said for words in ("disk is full", "No space left", "Out of diskspace")), said
        assert author.diff(1)["latest"] == 1
        unchanged(here, before)
    assert refused
    clone.submit()
    assert author.diff(1)["latest"] == 2


def unchanged(here: Site, before: set[str]) -> None:
    assert {name for name in files(here) - before if not name.endswith(".lock")} == set()
    assert [name for name in files(here) if name.endswith(".lock")] == []
    assert not list((here.data / "git" / "main.git" / "objects").glob("incoming-*"))
    with here.records.read() as c:
        assert jobs.push_intents(c) == []
        assert here.repo.refs("refs/diffs/").keys() == {
            f"refs/diffs/{d.number % 100:02}/{d.number}/v{v.n}"
            for d in diffs.feed(c)
            for v in diffs.versions(c, d.number)
        }


def test_posts(here: Site, tmp_path: Path) -> None:
    _, reviewer, clone = seeded(here, tmp_path)
    clone.commit({"a.txt": "x\n"}, "one")
    clone.submit()
    count = len(reviewer.diff(1)["posts"])
    with filled(here):
        with pytest.raises(MachineryError, match="the server's disk is full"):
            for _ in range(20):  # the database may still have room for a few
                reviewer.say(1, kind="comment", body="x" * 60_000)
                count += 1
        assert len(reviewer.diff(1)["posts"]) == count  # reading goes on
    reviewer.say(1, kind="comment", body="again")
    assert len(reviewer.diff(1)["posts"]) == count + 1


def put(person: Person, data: bytes) -> net.Response:
    path = f"/a/{blake3.blake3(data).hexdigest()}/tool"
    return net.request(
        "PUT", person.url + path, headers={"Authorization": f"Bearer {person.token}"}, body=data
    )


def test_publish(here: Site) -> None:
    author = here.join("author")
    data = os.urandom(3_000_000)
    with filled(here, leave=1_000_000):
        answer = put(author, data)
        assert answer.status == 507 and b"No space left on device" in answer.body
        assert [p for p in (here.data / "artifacts").rglob("*") if p.is_file()] == []
    assert put(author, data).status == 201
    assert net.request("GET", f"{here.url}/a/{blake3.blake3(data).hexdigest()}/tool").body == data


def test_a_log(here: Site, tmp_path: Path) -> None:
    worker = here.worker()
    headers = {"Authorization": f"Bearer {worker.token}"}
    with filled(here, leave=100_000):
        answer = net.request("PUT", f"{here.url}/api/worker/logs", headers=headers, body=os.urandom(400_000))
        assert answer.status == 507, answer.body
    assert [p for p in (here.data / "logs").rglob("*") if p.is_file()] == []
    assert worker.log("fits now\n")


def test_landing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kilobytes=KILOBYTES) as disk:
        with site(disk / "data", queue=False) as here:
            author, reviewer, clone = seeded(here, tmp_path)
            worker = here.worker()
            clone.commit({"a.txt": "x\n"}, "one")
            clone.submit()
            reviewer.accept(1)
            author.land(1)
            assert here.state is not None and landing.work(here.state)
            job = worker.lease()
            worker.do(job, here.repo, {"//:t": "k"})
            before, failed = here.trunk(), 0
            for leave in (0, 8192, 16384, 65536):
                with filled(here, leave=leave):
                    try:
                        landing.work(here.state)
                    except MachineryError as error:
                        assert "full" in error.what or "space" in str(error), error
                        failed += 1
                        if here.trunk() != before:  # moved, but there was no room to record it yet
                            assert here.trunk() == job["commit"]
                            assert author.diff(1)["state"] == "landing"
            assert failed
            while landing.work(here.state):
                pass
            assert author.diff(1)["state"] == "landed" and here.trunk() == job["commit"]
            assert evidence.read(here.repo, job["commit"]) is not None
