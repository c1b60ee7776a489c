"""What ages is removed, and nothing that evidence, a pass or an open check refers to."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairlead import net
from fairlead.errors import FairleadError
from fairlead.serve import cleaning
from fairlead.serve.cleaning import DAY, Cleaned
from fairlead.serve.records import events, queue
from fairlead.serve.state import Keep, State
from tests.serve.harness import Person, Site, Worker, seeded, site, wait_for

T = "//:t"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path / "data") as running:
        yield running


class Past:
    """A refused diff (D1), a landed one (D2) and one whose check is not over (D3)."""

    def __init__(self, here: Site, folder: Path) -> None:
        assert here.state is not None
        self.here, self.state = here, here.state
        self.author, self.reviewer, self.clone = seeded(here, folder)
        self.worker = here.worker()
        self.refused = self._job(1)
        self.failing = self._log(b"//:t fail\n")
        self.worker.do(self.refused, here.repo, {T: "1"}, {T: "fail"})
        wait_for(lambda: self.author.diff(1)["state"] == "accepted")
        self.landed = self._job(2)
        self.passing = self._log(b"//:t pass\n")
        self.worker.do(self.landed, here.repo, {T: "2"})
        wait_for(lambda: self.author.diff(2)["state"] == "landed")
        self.open = self._job(3)
        self.worker.hand_in_keys(self.open, here.repo, {T: "2"}, {T: "3", "//:u": "3"})
        self.half = self.worker.log("//:t half\n")
        self.worker.hand_in(self.open, self.worker.verdict(T, "3", "pass", self.half))

    def _job(self, number: int) -> Any:
        self.clone.repo.run("checkout", "-q", "-f", "-B", "work", self.here.trunk() or "")
        self.clone.repo.run("fetch", "-q", str(self.here.repo.path), "main")
        self.clone.repo.run("checkout", "-q", "-f", "-B", "work", "FETCH_HEAD")
        self.clone.commit({f"{number}.txt": "x\n"}, f"number {number}")
        self.clone.submit()
        self.reviewer.accept(number)
        self.author.land(number)
        return self.worker.lease()

    def _log(self, text: bytes) -> str:
        from fairlead.store import digest

        return digest.of_bytes(text)

    def logs(self) -> set[str]:
        return {path.parent.name + path.name for path in cleaning._files(self.state.logs.root)}

    def candidates(self) -> set[str]:
        return set(self.here.repo.refs("refs/queue/"))


def later(state: State, days: float) -> Cleaned:
    return cleaning.sweep(state, time.time() + days * DAY)


def test_each_kind_goes_at_its_age_and_precious_things_never(here: Site, tmp_path: Path) -> None:
    past = Past(here, tmp_path)
    state = past.state
    with state.records.read() as c:
        newest = events.latest(c)
    assert past.candidates() == {"refs/queue/1", "refs/queue/3"}
    assert later(state, 29) == Cleaned(0, 0, 0)
    assert later(state, 31) == Cleaned(1, 0, 0) and past.candidates() == {"refs/queue/3"}
    assert later(state, 91) == Cleaned(0, 0, newest - 1)
    assert past.logs() == {past.failing, past.passing, past.half}
    assert later(state, 400) == Cleaned(0, 1, 0)
    assert past.logs() == {past.passing, past.half}
    assert past.author.diff(1)["state"] == "accepted", "a refused diff stays"
    page = net.request(
        "GET", f"{here.url}/api/logs/{past.failing}", headers={"Authorization": f"Bearer {past.author.token}"}
    )
    assert page.status == 404 and b"180 days" in page.body


def test_evidence_alone_holds_a_log(here: Site, tmp_path: Path) -> None:
    past = Past(here, tmp_path)
    with past.state.records.write() as c:
        c.exec_driver_sql("DELETE FROM verdict")
    assert later(past.state, 400).logs == 2
    assert past.logs() == {past.passing}


def test_a_log_that_is_handed_in_again_is_young_again(here: Site, tmp_path: Path) -> None:
    past = Past(here, tmp_path)
    old = time.time() - 400 * DAY
    for path in cleaning._files(past.state.logs.root):
        os.utime(path, (old, old))
    past.worker.log("//:t fail\n")
    with past.state.records.write() as c:
        c.exec_driver_sql("UPDATE verdict SET created = 0")
        c.exec_driver_sql("UPDATE job SET finished = 1 WHERE finished IS NOT NULL")
    assert cleaning.sweep(past.state).logs == 0 and past.failing in past.logs()


def test_nothing_is_removed_where_days_are_none(here: Site, tmp_path: Path) -> None:
    past = Past(here, tmp_path)
    past.state.keep = Keep(0, 0, 0)
    assert later(past.state, 10_000) == Cleaned(0, 0, 0)


def test_who_follows_events_hears_of_a_gap(here: Site) -> None:
    assert here.state is not None
    author: Person = here.join("author")
    with here.records.write() as c:
        for _ in range(5):
            events.append(c, "x", {})
    with here.records.read() as c:
        newest = events.latest(c)
    assert later(here.state, 91).events == newest - 1
    with here.records.write() as c:
        assert events.append(c, "y", {}) == newest + 1
    with pytest.raises(FairleadError, match=f"events up to {newest - 1} are removed") as caught:
        author.call("GET", "/api/events?after=1")
    assert f"go on after {newest - 1}" in caught.value.remedy
    for after in (0, newest - 1):
        kinds = [event["kind"] for event in author.call("GET", f"/api/events?after={after}")]
        assert kinds == ["x", "y"]


def test_the_pass_of_a_removed_candidate_is_still_found(here: Site, tmp_path: Path) -> None:
    """A key that passed before needs no second run, however old; its log is there for the evidence."""
    past = Past(here, tmp_path)
    later(past.state, 400)
    worker: Worker = past.worker
    past.author.call("POST", "/api/diffs/3/abandon", {})
    job = past._job(4)
    assert worker.hand_in_keys(job, here.repo, {T: "2"}, {T: "3"}) == []
    worker.finish(job)
    wait_for(lambda: past.author.diff(4)["state"] == "landed")
    with past.state.records.read() as c:
        assert past.half in queue.logs(c, time.time() + DAY)
    assert later(past.state, 900).logs == 0
