"""kill -9 at every named point, then a restart: nothing acknowledged is lost, trunk and records agree."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import blake3
import pytest

from fairlead import net
from fairlead.errors import FairleadError
from fairlead.serve import app as _  # noqa: F401  (declares every point)
from fairlead.serve import receive
from fairlead.serve.records import diffs, jobs, people, posts, queue
from fairlead.ship import evidence
from fairlead.store import crashpoint, digest
from tests.serve.harness import ROOT, Clone, Person, Site, Worker, process, seeded, site, wait_for

T = "//:t"
PUSH = ["serve.push.before-refs", "serve.push.after-refs", "serve.push.after-transaction"]
LAND = [
    "serve.land.before-ref",
    "serve.land.after-evidence",
    "serve.land.after-ref",
    "serve.land.after-transaction",
]
ARTIFACT = ["serve.artifact.before-rename", "serve.artifact.before-record", "serve.artifact.after-record"]
VERDICT = ["serve.verdict.recorded"]
CLEAN = ["serve.clean.after-candidate", "serve.clean.after-log", "serve.clean.after-events"]


def test_every_point_is_tested() -> None:
    declared = {name for name in crashpoint.NAMES if name.startswith("serve.")}
    assert declared == {*PUSH, *LAND, *ARTIFACT, *VERDICT, *CLEAN}


def died(here: Site) -> None:
    assert here.process is not None
    assert here.process.wait(20) == -signal.SIGKILL


def agree(here: Site) -> None:
    """What the records say of refs is what the refs are."""
    refs = here.repo.refs("refs/diffs/")
    with here.records.read() as c:
        assert jobs.push_intents(c) == [] and queue.intended(c) == []
        known = {}
        for diff in diffs.feed(c, limit=1000):
            for version in diffs.versions(c, diff.number):
                known[f"refs/diffs/{diff.number % 100:02}/{diff.number}/v{version.n}"] = version.commit
            land = queue.land_of(c, diff.number)
            assert (diff.state == "landed") == (land is not None)
            if land is not None:
                assert here.repo.is_ancestor(land.commit, "refs/heads/main")
        landed = {land.commit for land in queue.lands(c, limit=1000)}
    assert refs == known
    trunk = here.repo.commits("refs/heads/main", first_parent=True)
    assert {commit.oid for commit in trunk[1:]} == landed
    for oid in landed:
        assert here.repo.has(f"{evidence.REF}:{evidence.path_of(oid)}")


@pytest.mark.parametrize("point", PUSH)
def test_push(tmp_path: Path, point: str) -> None:
    with process(tmp_path / "data", crash=point) as here:
        author, _, clone = seeded(here, tmp_path)
        one = clone.commit({"a.txt": "1\n"}, "one")
        clone.commit({"b.txt": "2\n"}, "two")
        code, said = clone.push()
        assert code != 0, said
        died(here)
    with process(tmp_path / "data") as here:
        agree(here)
        author = replace(author, url=here.url)
        clone.person = author
        there = author.call("GET", "/api/diffs")
        assert len(there) == (0 if point == PUSH[0] else 2)
        said = clone.submit()
        assert said.count(" new  ") == (2 if point == PUSH[0] else 0), said
        assert author.diff(1)["versions"][0]["commit"] == one
        assert [d["latest"] for d in author.call("GET", "/api/diffs")] == [1, 1]
        agree(here)


def ready_to_land(here: Site, folder: Path) -> tuple[Person, Clone, Worker, Any]:
    """A queued diff and the job for it, leased."""
    author, reviewer, clone = seeded(here, folder)
    worker = here.worker()
    clone.commit({"a.txt": "1\n"}, "one")
    clone.submit()
    reviewer.accept(1)
    author.land(1)
    return author, clone, worker, worker.lease()


@pytest.mark.parametrize("point", LAND)
def test_land(tmp_path: Path, point: str) -> None:
    with process(tmp_path / "data", crash=point) as here:
        author, _, worker, job = ready_to_land(here, tmp_path)
        base = here.trunk()
        with suppress(FairleadError, OSError, http.client.HTTPException):  # it may die before it answers
            worker.do(job, here.repo, {T: "k"})
        died(here)
        assert here.trunk() == (base if point in LAND[:2] else job["commit"])
    with process(tmp_path / "data") as here:
        author = replace(author, url=here.url)
        wait_for(lambda: author.diff(1)["state"] == "landed")
        assert here.trunk() == job["commit"]
        agree(here)
        assert [p["data"]["event"] for p in author.diff(1)["posts"] if p["kind"] == "notice"] == ["landed"]
        moved = [e for e in author.call("GET", "/api/events?after=0") if e["kind"] == "trunk.moved"]
        assert [e["payload"]["commit"] for e in moved] == [base, job["commit"]]


def test_a_verdict_that_was_recorded_but_not_acknowledged(tmp_path: Path) -> None:
    with process(tmp_path / "data", crash=VERDICT[0]) as here:
        author, _, worker, job = ready_to_land(here, tmp_path)
        worker.hand_in_keys(job, here.repo, {}, {T: "k"})
        verdict = worker.verdict(T, "k", log=worker.log("passed\n"))
        with pytest.raises(FairleadError):
            worker.hand_in(job, verdict)
        died(here)
    with process(tmp_path / "data") as here:
        worker.url = here.url
        worker.hand_in(job, verdict)  # the lease still holds, and the same verdict is kept once
        with here.records.read() as c:
            assert len(queue.verdicts_for(c, [(T, "k")])) == 1
        worker.finish(job)
        author = replace(author, url=here.url)
        wait_for(lambda: author.diff(1)["state"] == "landed")
        agree(here)


@pytest.mark.parametrize("point", CLEAN)
def test_cleaning(tmp_path: Path, point: str) -> None:
    """Cut off in the middle, it goes on at the next start; the landed commit keeps its evidence and logs."""
    with process(tmp_path / "data") as here:
        author, clone, worker, job = ready_to_land(here, tmp_path)
        worker.do(job, here.repo, {T: "k"})
        wait_for(lambda: author.diff(1)["state"] == "landed")
        reviewer = here.join("second-reviewer")
        for number in (2, 3):
            clone.repo.run("fetch", "-q", str(here.repo.path), "main")
            clone.repo.run("checkout", "-q", "-f", "-B", "work", "FETCH_HEAD")
            clone.commit({f"{number}.txt": "x\n"}, "to be refused")
            clone.submit()
            reviewer.accept(number)
            author.land(number)
            worker.do(
                worker.lease(), here.repo, {T: f"k{number}", "//:u": str(number)}, {T: "fail", "//:u": "fail"}
            )
            wait_for(lambda number=number: author.diff(number)["queue"][-1]["state"] == "refused")
        passing = digest.of_bytes(b"//:t pass\n")
        assert len(here.repo.refs("refs/queue/")) == 2 and len(list((here.data / "logs").glob("*/*"))) == 3
        long_ago = time.time() - 1000 * 86400
        for path in (here.data / "logs").glob("*/*"):
            os.utime(path, (long_ago, long_ago))
        with here.records.write() as c:
            for table, column in (("event", "created"), ("queue_entry", "finished"), ("verdict", "created")):
                c.exec_driver_sql(f"UPDATE {table} SET {column} = {long_ago} WHERE {column} IS NOT NULL")
            c.exec_driver_sql(f"UPDATE job SET finished = {long_ago} WHERE finished IS NOT NULL")
    with suppress(AssertionError), process(tmp_path / "data", crash=point) as here:  # it may die at its start
        died(here)
    left = len(here.repo.refs("refs/queue/")), len(list((here.data / "logs").glob("*/*")))
    assert left == {CLEAN[0]: (1, 3), CLEAN[1]: (0, 2), CLEAN[2]: (0, 1)}[point]
    with process(tmp_path / "data") as here:
        wait_for(lambda: not here.repo.refs("refs/queue/"))
        wait_for(lambda: len(list((here.data / "logs").glob("*/*"))) == 1)
        assert (here.data / "logs" / passing[:2] / passing[2:]).read_bytes() == b"//:t pass\n"
        author = replace(author, url=here.url)
        wait_for(lambda: len(author.call("GET", "/api/events?after=0")) == 1)
        agree(here)
        commit = here.trunk()
        assert author.call("GET", f"/api/commits/{commit}/evidence")["payloadType"]
        assert author.diff(3)["state"] == "accepted"


def put(person: Person, data: bytes, name: str = "tool") -> net.Response:
    path = f"/a/{blake3.blake3(data).hexdigest()}/{name}"
    headers = {"Authorization": f"Bearer {person.token}"}
    return net.request("PUT", person.url + path, headers=headers, body=data)


@pytest.mark.parametrize("point", ARTIFACT)
def test_publish(tmp_path: Path, point: str) -> None:
    data = os.urandom(100_000)
    path = f"/a/{blake3.blake3(data).hexdigest()}/tool"
    with process(tmp_path / "data", crash=point) as here:
        author = here.join("author")
        with pytest.raises(FairleadError):
            put(author, data)
        died(here)
    with process(tmp_path / "data") as here:
        author = replace(author, url=here.url)
        answer = net.request("GET", here.url + path)
        assert answer.status == (200 if point == ARTIFACT[2] else 404)
        assert list((here.data / "artifacts").glob(".tmp-*")) == []
        assert put(author, data).status == (200 if point == ARTIFACT[2] else 201)
        assert net.request("GET", here.url + path).body == data


def test_what_was_said_survives_a_kill_at_once(tmp_path: Path) -> None:
    with process(tmp_path / "data") as here:
        author, reviewer, clone = seeded(here, tmp_path)
        clone.commit({"a.txt": "1\n"}, "one")
        clone.submit()
        made = [reviewer.say(1, kind="comment", body=f"remark {i}")["id"] for i in range(5)]
        reviewer.accept(1)
        assert here.process is not None
        here.process.kill()
        died(here)
    with process(tmp_path / "data") as here:
        diff = replace(author, url=here.url).diff(1)
        assert diff["state"] == "accepted"
        assert [p["id"] for p in diff["posts"] if p["kind"] == "comment"] == made
        agree(here)


def test_a_second_server_is_kept_out_and_a_stopped_one_lets_go(tmp_path: Path) -> None:
    with process(tmp_path / "data") as here:
        command = [
            sys.executable,
            "-m",
            "fairlead",
            "serve",
            "--data",
            str(here.data),
            "--port",
            "0",
            "--no-worker",
        ]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 2 and "another server runs on this data folder" in done.stderr
        author = here.join("author")
        link = http.client.HTTPConnection(here.url.removeprefix("http://"), timeout=20)
        link.request("GET", "/events", headers={"Authorization": f"Bearer {author.token}"})
        assert link.getresponse().status == 200  # a live stream must not hold the server up
        assert here.process is not None
        began = time.monotonic()
        here.process.send_signal(signal.SIGTERM)
        assert here.process.wait(15) == 0
        assert time.monotonic() - began < 8
    with process(tmp_path / "data") as here:
        assert replace(author, url=here.url).call("GET", "/api/me")["name"] == "author"


def test_a_push_cut_off_whose_diff_was_abandoned_meanwhile_stops_no_start(tmp_path: Path) -> None:
    with site(tmp_path / "data", queue=False) as here:
        author, _, clone = seeded(here, tmp_path)
        first = clone.commit({"a.txt": "1\n"}, "one")
        clone.submit()
        diff_id = author.diff(1)["diff_id"]
        clone.repo.run("reset", "-q", "--hard", here.trunk() or "")
        second = clone.commit({"a.txt": "2\n"}, "two", diff_id)
        here.repo.run("fetch", "-q", str(clone.path), second)
        state = here.state
        assert state is not None
        with state.records.read() as c:
            hosted, person = diffs.repos(c)[0], people.by_name(c, "author")
        assert person is not None
        plan = receive.make_plan(state, person, hosted, second, note="", draft=False)
        with state.records.write() as c:
            payload = plan.to_json()
            jobs.intend_push(
                c, intent_id=posts.new_id(), repo_id=hosted.id, person_id=person.id, payload=payload
            )
        here.repo.update_ref("refs/diffs/01/1/v2", second, None)
        author.call("POST", "/api/diffs/1/abandon", {})
    with site(tmp_path / "data", queue=False) as here:
        assert here.repo.refs("refs/diffs/") == {"refs/diffs/01/1/v1": first}
        with here.records.read() as c:
            assert not jobs.push_intents(c)
