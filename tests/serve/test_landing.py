"""From an accept to a moved trunk: the queue, the land rule's answers, conflicts, evidence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairlead.errors import FairleadError, WorkFailed
from fairlead.git import Repo
from fairlead.serve import judgement
from fairlead.serve.records.values import QueueEntry, Version
from fairlead.ship import evidence
from fairlead.ship.values import Candidate, Settings
from tests.serve.harness import Clone, Site, seeded, site, wait_for

T, U = "//:t", "//:u"


class Team:
    """A site with an author, a reviewer, a clone and a worker."""

    def __init__(self, here: Site, folder: Path) -> None:
        self.here = here
        self.author, self.reviewer, self.clone = seeded(here, folder)
        self.worker = here.worker()

    def submitted(self, files: dict[str, str], subject: str) -> int:
        """A fresh diff on the trunk; its number."""
        self.clone.repo.run("fetch", "-q", f"{self.here.url}/git/main", "main", env=self.author.environment())
        self.clone.repo.run("checkout", "-q", "-f", "-B", "work", "FETCH_HEAD")
        commit = self.clone.commit(files, subject)
        self.clone.submit()
        return self.number(commit)

    def number(self, commit: str) -> int:
        return int(self.author.call("GET", f"/api/diffs?commit={commit}")[0]["number"])

    def accepted(self, files: dict[str, str], subject: str) -> int:
        number = self.submitted(files, subject)
        self.reviewer.accept(number)
        return number

    def ended(self, number: int) -> Any:
        """The last queue entry of a diff, once it has left the queue."""
        done = ("landed", "refused", "conflict", "cancelled")
        return wait_for(
            lambda: next((e for e in self.author.diff(number)["queue"][-1:] if e["state"] in done), None)
        )


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    with site(tmp_path / "data") as here:
        yield Team(here, tmp_path)


def test_an_accepted_diff_lands_with_its_evidence(team: Team) -> None:
    number = team.accepted({"a.txt": "better\n"}, "better a")
    assert team.author.diff(number)["state"] == "accepted"
    assert team.author.land(number) == {"queued": [number]}
    job = team.worker.lease()
    base = team.here.trunk()
    assert (job["kind"], job["repo"], job["base"], job["diff"], job["trunk"]) == (
        "candidate",
        "main",
        base,
        number,
        "main",
    )
    assert job["settings"]["enforcement"] == "namespace"
    assert team.clone.fetch(job["commit"]) == job["commit"]  # a worker fetches it by its id
    assert team.worker.do(job, team.here.repo, {T: "k2", U: "k1"}, base={T: "k1", U: "k1"}) == [T]
    assert team.ended(number)["state"] == "landed"
    diff = team.author.diff(number)
    assert diff["state"] == "landed" and diff["landed"] == job["commit"] == team.here.trunk()
    notice = diff["posts"][-1]
    assert notice["kind"] == "notice" and notice["author"] is None
    assert notice["data"] == {"event": "landed", "commit": job["commit"]}

    envelope = team.author.call("GET", f"/api/commits/{job['commit']}/evidence")
    from_git = team.here.repo.run("show", f"{evidence.REF}:{evidence.path_of(job['commit'])}").out
    import json

    assert json.loads(from_git) == envelope
    said = evidence.read(from_git)
    assert (said.base, said.commit, said.diff, said.version) == (base, job["commit"], number, 1)
    assert [a.person for a in said.approvals] == ["reviewer"]
    assert len(said.verdicts) == 1
    signed = evidence.Envelope.from_bytes(from_git)
    state = team.here.state
    assert state is not None
    state.signers().check("server", evidence.NAMESPACE, signed.signed_bytes(), signed.signatures[0][1])
    assert "refs/queue" not in " ".join(team.here.repo.refs("refs/"))


def test_a_stack_lands_bottom_first_and_in_one_request(team: Team) -> None:
    clone = team.clone
    clone.repo.run("checkout", "-q", "-B", "work", team.here.trunk() or "")
    one = clone.commit({"a.txt": "1\n"}, "lower")
    two = clone.commit({"b.txt": "2\n"}, "upper")
    clone.submit()
    lower, upper = team.number(one), team.number(two)
    for number in (lower, upper):
        team.reviewer.accept(number)
    with pytest.raises(WorkFailed, match=f"stands on D{lower}"):
        team.author.land(upper)
    assert team.author.land(upper, stack=True) == {"queued": [lower, upper]}
    first = team.worker.lease()
    assert (first["diff"], first["commit"]) == (lower, one)  # one step from the tip: landed as it was pushed
    assert team.worker.lease(wait=0) is None  # serial
    team.worker.do(first, team.here.repo, {T: "k1"})
    second = team.worker.lease()
    assert (second["diff"], second["base"], second["commit"]) == (upper, one, two)
    assert team.worker.do(second, team.here.repo, {T: "k1"}, base={T: "k1"}) == []
    assert team.ended(upper)["state"] == "landed"
    assert team.here.trunk() == two


def test_a_moved_trunk_means_a_new_candidate_and_a_pass_is_found_by_its_key(team: Team) -> None:
    one = team.accepted({"a.txt": "1\n"}, "one")
    two = team.accepted({"b.txt": "2\n"}, "two")
    team.author.land(one)
    team.author.land(two)
    team.worker.do(team.worker.lease(), team.here.repo, {T: "k1"})
    team.ended(one)
    job = team.worker.lease()
    submitted = team.author.diff(two)["versions"][0]["commit"]
    assert job["base"] == team.here.trunk() and job["commit"] != submitted
    made, pushed = team.here.repo.commit(job["commit"]), team.here.repo.commit(submitted)
    assert (made.message, made.author) == (pushed.message, pushed.author)
    assert {e.path for e in team.here.repo.entries(job["commit"])} == {"a.txt", "b.txt"}
    # The key k1 passed for the diff before: it does not run again, whoever asks.
    assert team.worker.do(job, team.here.repo, {T: "k1", U: "new"}) == [U]
    assert team.ended(two)["state"] == "landed"


def test_a_failing_test_refuses_with_its_log(team: Team) -> None:
    number = team.accepted({"a.txt": "broken\n"}, "break it")
    before = team.here.trunk()
    team.author.land(number)
    team.worker.do(team.worker.lease(), team.here.repo, {T: "k9", U: "k8"}, {T: "fail"})
    entry = team.ended(number)
    assert entry["state"] == "refused" and [r["code"] for r in entry["reasons"]] == ["test"]
    assert entry["reasons"][0]["text"].startswith("//:t failed")
    diff = team.author.diff(number)
    assert diff["state"] == "accepted" and team.here.trunk() == before
    notice = diff["posts"][-1]
    assert notice["data"]["label"] == T
    log = notice["data"]["log"]
    assert f"{team.here.url}/logs/{log}" in notice["body"]
    from fairlead import net

    headers = {"Authorization": f"Bearer {team.author.token}"}
    assert net.request("GET", f"{team.here.url}/api/logs/{log}", headers=headers).body == b"//:t fail\n"
    # Asked again, the failure is not believed a second time: the test runs anew.
    team.author.land(number)
    assert T in team.worker.hand_in_keys(team.worker.lease(), team.here.repo, {}, {T: "k9", U: "k8"})


def test_a_weakly_enforced_pass_does_not_count(team: Team) -> None:
    number = team.accepted({"a.txt": "x\n"}, "weak")
    team.author.land(number)
    job = team.worker.lease()
    team.worker.hand_in_keys(job, team.here.repo, {}, {T: "k"})
    team.worker.hand_in(job, team.worker.verdict(T, "k", enforced="none"))
    team.worker.finish(job)
    assert "weaker enforcement than namespace" in team.ended(number)["reasons"][0]["text"]


def test_a_diff_that_breaks_the_server_leaves_the_queue(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    real = judgement.candidate_of
    one, other = team.accepted({"one.txt": "1\n"}, "one"), team.accepted({"other.txt": "2\n"}, "other")

    def broken(repo: Repo, entry: QueueEntry, version: Version) -> Candidate:
        if entry.diff == one:
            raise ValueError("nobody thought of this")
        return real(repo, entry, version)

    monkeypatch.setattr(judgement, "candidate_of", broken)
    team.author.land(one)
    team.author.land(other)
    for _ in range(2):
        team.worker.do(team.worker.lease(), team.here.repo, {})
    assert "an error that it did not expect" in team.ended(one)["reasons"][0]["text"]
    assert team.ended(other)["state"] == "landed"


def test_a_conflict_in_a_path_that_is_no_text_stops_nobody_else(team: Team) -> None:
    odd = os.fsdecode(b"\xff.txt")
    one, other = team.accepted({odd: "1\n"}, "odd"), team.accepted({odd: "2\n"}, "odd too")
    third = team.accepted({"third.txt": "3\n"}, "third")
    for number in (one, other, third):
        team.author.land(number)
    for _ in range(2):
        team.worker.do(team.worker.lease(), team.here.repo, {})
    assert (
        team.ended(other)["reasons"][0]["text"] == "it conflicts with main in \N{REPLACEMENT CHARACTER}.txt"
    )
    assert team.ended(third)["state"] == "landed"


def test_a_conflict_goes_back_to_the_author(team: Team) -> None:
    one = team.accepted({"a.txt": "one\n"}, "one")
    two = team.accepted({"a.txt": "two\n"}, "two")
    team.author.land(one)
    team.worker.do(team.worker.lease(), team.here.repo, {})
    team.ended(one)
    team.author.land(two)
    entry = team.ended(two)
    assert entry["state"] == "conflict" and "a.txt" in entry["reasons"][0]["text"]
    data = team.author.diff(two)["posts"][-1]["data"]
    assert data["paths"] == ["a.txt"] and data["command"] == "git pull --rebase origin main"
    assert team.worker.lease(wait=0) is None


def test_what_the_trunk_has_already_is_refused(team: Team) -> None:
    one = team.accepted({"a.txt": "same\n"}, "one")
    two = team.accepted({"a.txt": "same\n"}, "two")
    for number in (one, two):
        team.author.land(number)
    team.worker.do(team.worker.lease(), team.here.repo, {})
    assert "has this change already" in team.ended(two)["reasons"][0]["text"]


def test_a_broken_candidate_is_refused_in_the_workers_words(team: Team) -> None:
    number = team.accepted({"BUCK": "oops("}, "broken BUCK")
    team.author.land(number)
    job = team.worker.lease()
    team.worker.finish(
        job, "broken", what="the BUCK file cannot be read", where="BUCK:1", remedy="close the bracket"
    )
    reasons = team.ended(number)["reasons"]
    assert reasons[0]["text"] == "the BUCK file cannot be read (BUCK:1); close the bracket"


def test_a_worker_that_says_nothing_lands_nothing(team: Team) -> None:
    number = team.accepted({"a.txt": "x\n"}, "silent")
    before = team.here.trunk()
    team.author.land(number)
    team.worker.finish(team.worker.lease())
    assert team.ended(number)["reasons"][0]["code"] == "keys"
    assert team.here.trunk() == before


def test_approval_is_asked_for_before_the_queue(team: Team) -> None:
    number = team.submitted({"a.txt": "x\n"}, "not reviewed")
    with pytest.raises(WorkFailed, match="0 of 1 approvals of version 1"):
        team.author.land(number)
    with pytest.raises(FairleadError, match="others review it"):
        team.author.accept(number)
    team.reviewer.say(number, kind="review", verdict="request", body="no")
    assert team.author.diff(number)["state"] == "changes_requested"
    with pytest.raises(WorkFailed, match="reviewer asks for changes"):
        team.author.land(number)
    missing = team.author.diff(number)["missing"]
    assert {m["code"] for m in missing} == {"approval", "changes_requested"}
    team.reviewer.accept(number)
    assert team.author.diff(number)["missing"] == []


def test_a_request_takes_a_queued_diff_out(team: Team) -> None:
    number = team.accepted({"a.txt": "x\n"}, "wait")
    team.author.land(number)
    job = team.worker.lease()
    team.reviewer.say(number, kind="review", verdict="request", body="stop")
    assert team.ended(number)["state"] == "cancelled"
    assert team.author.diff(number)["state"] == "changes_requested"
    with pytest.raises(FairleadError, match="is not leased to tester"):
        team.worker.hand_in_keys(job, team.here.repo, {}, {T: "k"})


def test_an_author_takes_a_diff_out_of_the_queue_and_may_queue_it_again(team: Team) -> None:
    number = team.accepted({"a.txt": "x\n"}, "not yet")
    stranger = team.here.join("stranger")
    with pytest.raises(WorkFailed, match="is not in the queue; it is accepted"):
        team.author.call("POST", f"/api/diffs/{number}/dequeue", {})
    team.author.land(number)
    job = team.worker.lease()
    with pytest.raises(FairleadError, match="belongs to author"):
        stranger.call("POST", f"/api/diffs/{number}/dequeue", {})
    answer = team.author.call("POST", f"/api/diffs/{number}/dequeue", {})
    assert answer == {"number": number, "state": "accepted"}
    entry = team.ended(number)
    assert entry["state"] == "cancelled" and entry["reasons"][0]["text"] == "author took it out of the queue"
    with pytest.raises(FairleadError, match="is not leased to tester"):
        team.worker.hand_in_keys(job, team.here.repo, {}, {T: "k"})
    stranger.land(number)
    assert stranger.call("POST", f"/api/diffs/{number}/dequeue", {})["state"] == "accepted"
    team.author.land(number)
    team.worker.do(team.worker.lease(), team.here.repo, {T: "k"})
    assert team.ended(number)["state"] == "landed"
    with pytest.raises(WorkFailed, match="it is landed"):
        team.author.call("POST", f"/api/diffs/{number}/dequeue", {})


def test_what_stands_on_a_diff_that_left_the_queue_leaves_it_too(team: Team) -> None:
    lower = team.submitted({"a.txt": "x\n"}, "lower")
    commit = team.clone.commit({"b.txt": "x\n"}, "upper")
    team.clone.submit()
    upper = team.number(commit)
    team.reviewer.accept(lower)
    team.reviewer.accept(upper)
    team.author.land(upper, stack=True)
    team.author.call("POST", f"/api/diffs/{lower}/dequeue", {})
    assert team.ended(lower)["state"] == "cancelled"
    entry = team.ended(upper)
    assert entry["state"] == "refused" and f"D{lower}" in entry["reasons"][0]["text"]


def test_an_open_thread_that_must_be_fixed_stops_a_landing(team: Team) -> None:
    number = team.accepted({"a.txt": "x\n"}, "thread")
    post = team.reviewer.say(number, kind="inline", path="a.txt", line=1, body="mend this", must_fix=True)
    with pytest.raises(WorkFailed, match="marked as must fix"):
        team.author.land(number)
    team.author.call("POST", f"/api/posts/{post['id']}/thread", {"state": "done"})
    assert team.author.land(number) == {"queued": [number]}


def test_a_new_version_of_a_queued_diff_leaves_the_queue(team: Team) -> None:
    number = team.accepted({"a.txt": "x\n"}, "moving")
    known = team.author.diff(number)["diff_id"]
    team.author.land(number)
    team.worker.lease()
    (team.clone.path / "a.txt").write_text("y\n")
    team.clone.repo.run("commit", "-q", "-a", "--amend", "-m", f"moving\n\nDiff-Id: {known}\n")
    team.clone.submit()
    assert team.ended(number)["state"] == "cancelled"
    assert team.author.diff(number)["state"] == "needs_review"


def rebased(team: Team, number: int, text: str | None = None) -> Any:
    """The diff, put onto the moved trunk by its author, with another content if `text`."""
    team.clone.repo.run("fetch", "-q", f"{team.here.url}/git/main", "main", env=team.author.environment())
    version = team.author.diff(number)["versions"][-1]
    team.clone.repo.run("checkout", "-q", "-f", version["commit"])
    team.clone.repo.run("rebase", "-q", "FETCH_HEAD")
    if text is not None:
        (team.clone.path / "b.txt").write_text(text)
        team.clone.repo.run("commit", "-q", "-a", "--amend", "-C", "HEAD")
    team.clone.submit()
    return team.author.diff(number)


def test_an_accept_carries_over_a_plain_rebase_only(team: Team) -> None:
    mover = team.accepted({"a.txt": "moved\n"}, "mover")
    plain = team.accepted({"b.txt": "plain\n"}, "plain")
    changed = team.accepted({"b.txt": "other\n"}, "changed")
    team.author.land(mover)
    team.worker.do(team.worker.lease(), team.here.repo, {})
    team.ended(mover)
    kept = rebased(team, plain)
    assert kept["state"] == "accepted"
    assert kept["reviewers"] == [{"person": "reviewer", "verdict": "accept", "version": 2, "given_on": 1}]
    assert kept["posts"][-1]["data"] == {"carried": 1}
    lost = rebased(team, changed, "other \n")
    assert lost["state"] == "needs_review"
    assert lost["missing"][0]["code"] == "approval"
    team.author.land(plain)
    team.worker.do(team.worker.lease(), team.here.repo, {})
    assert team.ended(plain)["state"] == "landed"
    said = evidence.read(
        team.here.repo.run("show", f"{evidence.REF}:{evidence.path_of(team.here.trunk() or '')}").out
    )
    assert [(a.version, a.person) for a in said.approvals] == [(1, "reviewer")]


def test_an_accept_of_an_older_version_counts_if_it_carries(team: Team) -> None:
    """A newer version may arrive while someone reads: what they accept is what they saw."""
    mover = team.accepted({"a.txt": "moved\n"}, "mover")
    plain = team.submitted({"b.txt": "plain\n"}, "plain")
    changed = team.submitted({"b.txt": "other\n"}, "changed")
    team.author.land(mover)
    team.worker.do(team.worker.lease(), team.here.repo, {})
    team.ended(mover)
    assert rebased(team, plain)["latest"] == rebased(team, changed, "another\n")["latest"] == 2
    for number in (plain, changed):
        team.reviewer.accept(number, version=1)
    kept, lost = team.author.diff(plain), team.author.diff(changed)
    assert kept["state"] == "accepted" and kept["reviewers"][0]["version"] == 2
    assert lost["state"] == "needs_review" and lost["reviewers"][0]["version"] == 1
    team.reviewer.say(plain, kind="review", verdict="request", body="wait", version=1)
    assert team.author.diff(plain)["state"] == "changes_requested"


def test_landed_and_abandoned_diffs_take_no_version(team: Team) -> None:
    number = team.accepted({"a.txt": "x\n"}, "done")
    known = team.author.diff(number)["diff_id"]
    team.author.land(number)
    team.worker.do(team.worker.lease(), team.here.repo, {})
    team.ended(number)
    team.clone.repo.run("checkout", "-q", "-f", "-B", "work", team.here.trunk() or "")
    team.clone.commit({"a.txt": "again\n"}, "again", known)
    code, said = team.clone.push()
    assert code != 0 and f"D{number} has landed" in said
    other = team.submitted({"b.txt": "x\n"}, "given up")
    with pytest.raises(FairleadError, match="belongs to author"):
        team.reviewer.call("POST", f"/api/diffs/{other}/abandon", {})
    team.author.call("POST", f"/api/diffs/{other}/abandon", {})
    assert team.author.diff(other)["state"] == "abandoned"
    team.clone.repo.run(
        "commit",
        "-q",
        "--amend",
        "--allow-empty",
        "-m",
        f"x\n\nDiff-Id: {team.author.diff(other)['diff_id']}\n",
    )
    code, said = team.clone.push()
    assert code != 0 and f"D{other} was abandoned" in said
    team.author.call("POST", f"/api/diffs/{other}/reclaim", {})
    team.clone.submit()
    assert team.author.diff(other)["latest"] == 2


def test_two_approvals_can_be_asked_for(tmp_path: Path) -> None:
    with site(tmp_path / "data", settings=Settings(approvals=2)) as here:
        team = Team(here, tmp_path)
        third = here.join("third")
        number = team.accepted({"a.txt": "x\n"}, "two of them")
        assert team.author.diff(number)["state"] == "needs_review"
        third.accept(number)
        assert team.author.diff(number)["state"] == "accepted"


def test_a_lease_that_ran_out_goes_to_another_worker(tmp_path: Path) -> None:
    with site(tmp_path / "data", lease_seconds=1.0) as here:
        team = Team(here, tmp_path)
        other = here.worker("other")
        number = team.accepted({"a.txt": "x\n"}, "slow")
        team.author.land(number)
        job = team.worker.lease()
        for _ in range(3):
            team.worker.call("POST", f"/api/worker/jobs/{job['id']}/heartbeat", {})
            assert other.lease(wait=0.5) is None
        again = other.lease(wait=10)
        assert again is not None and again["id"] != job["id"] and again["commit"] == job["commit"]
        with pytest.raises(FairleadError, match="is not leased to tester"):
            team.worker.hand_in_keys(job, here.repo, {}, {T: "k"})
        other.do(again, here.repo, {T: "k"})
        assert team.ended(number)["state"] == "landed"


def test_a_candidate_that_silences_every_worker_is_given_up(tmp_path: Path) -> None:
    with site(tmp_path / "data", lease_seconds=0.3) as here:
        team = Team(here, tmp_path)
        number = team.accepted({"a.txt": "x\n"}, "poison")
        team.author.land(number)
        for _ in range(3):
            assert team.worker.lease() is not None
        entry = team.ended(number)
        assert entry["state"] == "refused" and "fell silent" in entry["reasons"][0]["text"]


def test_a_job_that_is_given_back_goes_to_another_worker_at_once(team: Team) -> None:
    other = team.here.worker("helper")
    number = team.accepted({"a.txt": "x\n"}, "given back")
    team.author.land(number)
    job = team.worker.lease()
    team.worker.hand_in_keys(job, team.here.repo, {}, {T: "half done"})
    with pytest.raises(FairleadError, match="is not leased to helper"):
        other.call("POST", f"/api/worker/jobs/{job['id']}/release", {})
    team.worker.call("POST", f"/api/worker/jobs/{job['id']}/release", {"what": "my disk is full"})
    again = other.lease(wait=2)
    assert again["id"] != job["id"] and again["commit"] == job["commit"]
    other.do(again, team.here.repo, {T: "k"})
    assert team.ended(number)["state"] == "landed"


def test_a_job_that_every_worker_gives_back_is_refused_in_the_last_ones_words(team: Team) -> None:
    number = team.accepted({"b.txt": "x\n"}, "given back thrice")
    team.author.land(number)
    for _ in range(3):
        job = team.worker.lease(wait=5)
        said = {"what": "my disk is full", "where": "/secret/place", "remedy": "free some space on it"}
        team.worker.call("POST", f"/api/worker/jobs/{job['id']}/release", said)
    text = team.ended(number)["reasons"][0]["text"]
    assert "no worker could check it in 3 tries: my disk is full" in text and "/secret" not in text
    assert text.endswith("free some space on it; then land again")


def test_a_trunk_moved_by_hand_restarts_the_candidate(team: Team) -> None:
    number = team.accepted({"b.txt": "x\n"}, "late")
    team.author.land(number)
    assert team.worker.lease() is not None
    repo = team.here.repo
    old = team.here.trunk()
    assert old is not None
    moved = repo.commit_tree(repo.commit(old).tree, [old], "by hand\n")
    assert repo.update_ref("refs/heads/main", moved, old)
    again = team.worker.lease()
    assert again["base"] == moved
    team.worker.do(again, repo, {T: "k"})
    assert team.ended(number)["state"] == "landed"
    assert repo.commit(team.here.trunk() or "").parents == (moved,)


def whitespace(clone: Clone) -> None:
    (clone.path / "twin.py").write_text(TWIN.replace("    first()", "        first()", 1))


def mode(clone: Clone) -> None:
    (clone.path / "b.txt").chmod(0o755)


def twin(clone: Clone) -> None:
    """The same hunk, in the other of two places that look alike: git patch-id sees no difference."""
    (clone.path / "twin.py").write_text("def a():\n    pass\n\n\ndef b():\n    first()\n    pass\n")


def submodule(clone: Clone) -> None:
    entry = f"160000,{clone.repo.rev('HEAD^')},vendored"
    clone.repo.run("update-index", "--add", "--cacheinfo", entry)
    (clone.path / "vendored").mkdir(exist_ok=True)


TWIN = "def a():\n    first()\n    pass\n\n\ndef b():\n    pass\n"


@pytest.mark.parametrize("alteration", [whitespace, mode, twin, submodule])
def test_no_change_after_an_accept_slips_in(team: Team, alteration: Any) -> None:
    before = team.accepted({"twin.py": "def a():\n    pass\n\n\ndef b():\n    pass\n"}, "ground")
    team.author.land(before)
    team.worker.do(team.worker.lease(), team.here.repo, {})
    team.ended(before)
    number = team.accepted({"twin.py": TWIN, "b.txt": "changed\n"}, "to be altered")
    assert team.author.diff(number)["state"] == "accepted"
    if alteration is not submodule:
        alteration(team.clone)
        team.clone.repo.run("add", "-A")
    else:
        submodule(team.clone)
    team.clone.repo.run("commit", "-q", "--amend", "-C", "HEAD")
    team.clone.submit()
    diff = team.author.diff(number)
    assert diff["latest"] == 2 and diff["state"] == "needs_review"
    with pytest.raises(WorkFailed, match="0 of 1 approvals of version 2"):
        team.author.land(number)
