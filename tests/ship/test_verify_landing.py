"""`fairlead land verify` in a real clone: what it prints, what it fetches, how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fairlead.cli import verify_landing
from fairlead.cli.parser import Parser
from fairlead.errors import UsageError
from fairlead.git import Repo
from fairlead.ship import evidence, identity
from fairlead.ship.values import Settings
from tests.ship.landed import KEYRING, SERVER, Landing, Trunk

FILES: dict[str, str | bytes | tuple[str, str]] = {"a.py": "a\n" * 9, "b.py": "b\n" * 9}


class Place:
    """A server's repository with two landed diffs, a clone of it, and a file of keys."""

    def __init__(self, path: Path) -> None:
        self.trunk = Trunk(path / "server", FILES)
        self.seed = self.trunk.tip
        self.repo = self.trunk.repo
        scratch = self.trunk.scratch
        one = scratch.commit({**FILES, "a.py": "A\n" * 9}, self.seed, message="Shout a")
        two = scratch.commit({**FILES, "b.py": "B\n" * 9}, self.seed, message="Shout b")
        self.first = self._land(one, 1, {"//:a": "a1", "//:b": "b1"}, {"//:a": "a2", "//:b": "b1"})
        self.second = self._land(two, 2, {"//:a": "a2", "//:b": "b1"}, {"//:a": "a2", "//:b": "b2"})
        self.repo.run("symbolic-ref", "HEAD", "refs/heads/main")
        self.clone = Repo.clone(f"file://{self.repo.path}", path / "clone")
        self.keys = path / "allowed_signers"
        self.keys.write_text(KEYRING.text())

    def _land(self, submitted: str, diff: int, base_keys: dict[str, str], keys: dict[str, str]) -> Landing:
        return self.trunk.land(
            submitted,
            diff=diff,
            version=1,
            diff_id=identity.encode(bytes([diff]) * 16),
            base_keys=base_keys,
            keys=keys,
            approvals=(self.trunk.scratch.approval(submitted, diff=diff, version=1),),
        )

    def verify(self, span: str = "", *, demand: Settings | None = None) -> int:
        return verify_landing.run(
            self.clone, span or f"{self.seed}..origin/main", self.keys, as_json=True, demand=demand
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_good_range_in_a_fresh_clone(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The clone has neither the evidence nor the submitted commits: one fetch of the ref brings both."""
    submitted = place.first.evidence.submitted
    assert place.clone.ref(evidence.REF) is None and not place.clone.has(submitted)
    assert place.verify() == 0
    said = json.loads(capsys.readouterr().out)
    assert said["schema"] == "fairlead.land/1" and said["good"] is True
    assert [(c["commit"], c["diff"], c["version"], c["good"]) for c in said["commits"]] == [
        (place.first.commit, 1, 1, True),
        (place.second.commit, 2, 1, True),
    ]
    assert place.clone.has(submitted)


def test_it_needs_no_server_once_fetched(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.verify() == 0
    place.repo.path.rename(place.repo.path.with_name("away"))
    assert place.verify() == 0
    assert capsys.readouterr().err == ""


def test_for_a_person_each_commit_and_check_is_a_line(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify_landing.run(place.clone, f"{place.seed}..origin/main", place.keys) == 0
    out = capsys.readouterr().out
    assert f"good {place.first.commit[:12]} D1 v1: Shout a" in out
    assert "1 affected of 2, each with a signed pass at its key" in out
    assert "1: reviewer" in out
    assert out.endswith("2 of 2 landed commits have evidence that holds\n")
    assert "fault" not in out


def test_a_commit_that_was_pushed_past_the_land_rule_is_named(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    sneaked = place.trunk.scratch.commit({"a.py": "evil\n"}, place.trunk.tip, message="Sneaked in")
    place.repo.update_ref("refs/heads/main", sneaked, place.trunk.tip)
    place.clone.run("fetch", "--quiet", "origin")
    assert verify_landing.run(place.clone, f"{place.seed}..origin/main", place.keys) == 1
    out = capsys.readouterr().out
    assert f"BAD  {sneaked[:12]} no diff: Sneaked in" in out
    assert "fault: there is no evidence for it" in out
    assert "1 of 3 landed commits lack evidence" in out
    assert place.verify() == 1
    said = json.loads(capsys.readouterr().out)
    assert [commit["good"] for commit in said["commits"]] == [True, True, False]


def test_evidence_copied_from_another_commit_is_bad(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    sneaked = place.trunk.scratch.commit({"a.py": "evil\n"}, place.trunk.tip, message="Sneaked in")
    place.repo.update_ref("refs/heads/main", sneaked, place.trunk.tip)
    held: dict[str, str | bytes | tuple[str, str]] = {evidence.path_of(sneaked): place.second.envelope}
    link = place.repo.commit_tree(place.trunk.scratch.tree(held), [place.repo.ref(evidence.REF) or ""], "x\n")
    place.repo.update_ref(evidence.REF, link, place.repo.ref(evidence.REF))
    place.clone.run("fetch", "--quiet", "origin")
    assert place.verify(f"{place.trunk.tip}..origin/main") == 1
    assert f"that of commit {place.second.commit[:12]}" in capsys.readouterr().out


def test_a_chain_that_was_rewritten_is_not_taken(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.verify() == 0
    held = place.clone.ref(evidence.REF)
    sneaked = place.trunk.scratch.commit({"a.py": "evil\n"}, place.trunk.tip)
    place.repo.update_ref("refs/heads/main", sneaked, place.trunk.tip)
    rewritten = place.repo.commit_tree(place.trunk.scratch.tree({"x": "y"}), [], "another chain\n")
    place.repo.update_ref(evidence.REF, rewritten, held)
    place.clone.run("fetch", "--quiet", "origin")
    assert place.verify() == 1
    assert place.clone.ref(evidence.REF) == held
    assert "could not be fetched" in capsys.readouterr().err


def test_without_a_remote_the_evidence_that_is_here_counts(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify_landing.run(place.repo, f"{place.seed}..main", place.keys, as_json=True) == 0
    place.clone.run("remote", "remove", "origin")
    assert verify_landing.run(place.clone, f"{place.seed}..HEAD", place.keys, as_json=True) == 1
    captured = capsys.readouterr()
    assert "could not be fetched from origin" in captured.err


def test_keys_of_someone_else_make_everything_bad(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    from dataclasses import replace

    from fairlead.keys.allowed import AllowedSigners
    from fairlead.keys.signer import Signer

    other = AllowedSigners(tuple(replace(entry, key=Signer.generate().public) for entry in KEYRING.entries))
    place.keys.write_text(other.text())
    assert place.verify() == 1
    assert SERVER.public.fingerprint() in capsys.readouterr().out


def test_demands_of_the_verifier(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(prog="x")
    verify_landing.configure(parser)
    assert verify_landing.demanded(parser.parse_args([])) is None
    strict = verify_landing.demanded(parser.parse_args(["--approvals", "1", "--enforcement", "namespace"]))
    assert place.verify(demand=strict) == 0
    assert place.verify(demand=verify_landing.demanded(parser.parse_args(["--approvals", "2"]))) == 1
    with pytest.raises(UsageError):
        verify_landing.demanded(parser.parse_args(["--approvals", "-1"]))
    assert "not 2" in capsys.readouterr().out


def test_an_empty_range_is_no_fault(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_landing.run(place.clone, "HEAD..HEAD", place.keys) == 0
    assert "no commits in that range" in capsys.readouterr().out


def test_a_range_the_wrong_way_round_is_no_good_answer(place: Place) -> None:
    with pytest.raises(UsageError, match="is not in the history of") as caught:
        place.verify(f"origin/main..{place.seed}")
    assert caught.value.remedy == f"swap them: {place.seed}..origin/main"


@pytest.mark.parametrize("span", ["HEAD", "HEAD...HEAD~1", "nothing..HEAD", "--all..HEAD"])
def test_what_is_no_range_is_refused(place: Place, span: str) -> None:
    with pytest.raises(UsageError) as caught:
        place.verify(span)
    assert caught.value.remedy


def test_a_file_of_keys_that_is_not_there(place: Place) -> None:
    place.keys.unlink()
    with pytest.raises(UsageError, match="public keys cannot be read") as caught:
        place.verify()
    assert str(place.keys) in caught.value.where and "/api/keys" in caught.value.remedy


def test_the_very_first_commit_has_no_evidence_and_no_crash(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.clone.run("fetch", "--quiet", "origin")
    seed = place.clone.commit(place.seed)
    known = verify_landing.facts(place.clone, seed, place.first.envelope)
    assert (known.base_tree, known.change, known.reviewed) == ("", "", {})
