"""Pushes with real git: what becomes a diff, what is refused, and with which words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.ship import identity
from tests.serve.harness import Clone, Person, Site, seeded, site


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("push") / "data", queue=False) as running:
        yield running


@pytest.fixture(scope="module")
def people(here: Site, tmp_path_factory: pytest.TempPathFactory) -> tuple[Person, Person, Clone]:
    return seeded(here, tmp_path_factory.mktemp("people"))


@pytest.fixture
def clone(people: tuple[Person, Person, Clone], here: Site) -> Clone:
    made = people[2]
    made.repo.run("checkout", "-q", "-f", "-B", "work", here.trunk() or "")
    return made


def test_a_stack_becomes_diffs_in_one_push(
    here: Site, people: tuple[Person, Person, Clone], clone: Clone
) -> None:
    author = people[0]
    one = clone.commit({"a.txt": "changed\n"}, "change a", body="because")
    two = clone.commit({"b.txt": "changed\n"}, "change b")
    said = clone.submit("note=first try")
    found = author.call("GET", f"/api/diffs?commit={one}")
    lower = author.diff(found[0]["number"])
    upper = author.diff(author.call("GET", f"/api/diffs?commit={two}")[0]["number"])
    assert f"remote: D{lower['number']} new  change a  {here.url}/D{lower['number']}" in said
    assert f"refs/diffs/{lower['number']:02}/{lower['number']}/v1" in said
    assert lower["stack"] == upper["stack"] == [lower["number"], upper["number"]]
    assert (lower["title"], lower["state"], lower["author"]) == ("change a", "needs_review", "author")
    assert lower["versions"][0]["commit"] == one and lower["versions"][0]["base"] == here.trunk()
    assert upper["versions"][0]["parent"] == one and upper["versions"][0]["base"] == here.trunk()
    assert [p["kind"] for p in lower["posts"]] == ["diff"]
    assert "because" in lower["posts"][0]["body"] and lower["posts"][0]["data"] == {"note": "first try"}
    assert clone.fetch(f"refs/diffs/{lower['number']:02}/{lower['number']}/v1") == one


def test_only_what_changed_makes_a_version(
    here: Site, people: tuple[Person, Person, Clone], clone: Clone
) -> None:
    author = people[0]
    first, second = identity.new(), identity.new()
    clone.commit({"a.txt": "1\n"}, "lower", first)
    clone.commit({"b.txt": "1\n"}, "upper", second)
    clone.submit()
    assert "unchanged" in clone.submit()
    clone.repo.run("commit", "-q", "--amend", "-m", f"upper, better\n\nDiff-Id: {second}\n")
    clone.submit("note=better words")
    lower = author.diff(author.call("GET", f"/api/diffs?diff_id={first}")[0]["number"])
    upper = author.diff(author.call("GET", f"/api/diffs?diff_id={second}")[0]["number"])
    assert [v["n"] for v in lower["versions"]] == [1]
    assert [v["n"] for v in upper["versions"]] == [1, 2]
    assert upper["title"] == "upper, better"
    assert [(p["kind"], p["body"]) for p in upper["posts"][1:]] == [("version", "better words")]


def test_drafts_are_asked_for_review_by_the_next_push(
    people: tuple[Person, Person, Clone], clone: Clone
) -> None:
    author, known = people[0], identity.new()
    clone.commit({"a.txt": "draft\n"}, "draft", known)
    clone.submit("draft")
    number = author.call("GET", f"/api/diffs?diff_id={known}")[0]["number"]
    assert author.diff(number)["state"] == "draft"
    clone.repo.run("commit", "-q", "--amend", "-m", f"no draft\n\nDiff-Id: {known}\n")
    clone.submit()
    assert author.diff(number)["state"] == "needs_review"


def test_versions_are_not_advertised(here: Site, clone: Clone) -> None:
    url, env = f"{here.url}/git/main", clone.person.environment()
    for protocol in ("0", "2"):
        listed = clone.repo.run("-c", f"protocol.version={protocol}", "ls-remote", url, env=env).text
        assert "refs/heads/main" in listed and "refs/diffs" not in listed and "refs/queue" not in listed


def refused(clone: Clone, refspec: str = "HEAD:refs/for/main", *options: str) -> str:
    code, said = clone.push(refspec, *options)
    assert code != 0, said
    assert "remote: what to do:" in said, said
    return said


def test_the_trunk_cannot_be_pushed(here: Site, clone: Clone) -> None:
    before = here.trunk()
    clone.commit({"a.txt": "x\n"}, "straight in")
    said = refused(clone, "HEAD:refs/heads/main")
    assert "remote: error: main cannot be pushed to: it moves only by landing" in said
    assert "fairlead submit" in said
    assert "it moves only by landing" in refused(clone, "+HEAD:refs/heads/main")
    assert "it moves only by landing" in refused(clone, ":refs/heads/main")
    assert here.trunk() == before


@pytest.mark.parametrize(
    "ref",
    ["refs/heads/other", "refs/tags/v1", "refs/diffs/01/1/v1", "refs/queue/1", "refs/fairlead/evidence"],
)
def test_no_other_ref_can_be_pushed(here: Site, clone: Clone, ref: str) -> None:
    clone.commit({"a.txt": "x\n"}, "elsewhere")
    before = here.repo.refs("refs/")
    code, said = clone.push(f"HEAD:{ref}")
    assert code != 0 and ("takes changes for review only" in said or "hidden ref" in said), said
    assert here.repo.refs("refs/") == before


def test_other_branches_are_not_reviewed_for(clone: Clone) -> None:
    clone.commit({"a.txt": "x\n"}, "elsewhere")
    assert "changes to main are reviewed for main, not for stable" in refused(clone, "HEAD:refs/for/stable")


def test_two_refs_in_one_push_are_refused(here: Site, clone: Clone) -> None:
    clone.commit({"a.txt": "x\n"}, "twice")
    env = clone.person.environment()
    done = clone.repo.run(
        "push", f"{here.url}/git/main", "HEAD:refs/for/main", "HEAD:refs/for/main2", env=env, check=False
    )
    assert done.code != 0 and "remote: error:" in done.err


def test_a_merge_commit_is_refused(people: tuple[Person, Person, Clone], here: Site, clone: Clone) -> None:
    clone.commit({"a.txt": "left\n"}, "left")
    clone.repo.run("checkout", "-q", "-B", "side", here.trunk() or "")
    clone.commit({"b.txt": "right\n"}, "right")
    clone.repo.run("checkout", "-q", "work")
    clone.repo.run("merge", "-q", "--no-ff", "-m", f"merge\n\nDiff-Id: {identity.new()}\n", "side")
    said = refused(clone)
    assert "is a merge commit; a diff is one commit with one parent" in said and "git rebase main" in said
    assert not people[0].call("GET", f"/api/diffs?commit={clone.repo.rev('HEAD')}")


def test_two_commits_of_one_id_are_refused(clone: Clone) -> None:
    known = identity.new()
    clone.commit({"a.txt": "1\n"}, "one", known)
    clone.commit({"a.txt": "2\n"}, "two", known)
    said = refused(clone)
    assert f"two commits carry the Diff-Id {known}" in said and "squash" in said


def test_a_missing_or_broken_id_is_refused(clone: Clone) -> None:
    clone.commit({"a.txt": "1\n"}, "nameless", None)
    assert "has no Diff-Id line" in refused(clone)
    clone.repo.run("commit", "-q", "--amend", "-m", "nameless\n\nDiff-Id: 12\n")
    assert "is not a Diff-Id" in refused(clone)


def test_nothing_new_is_refused(clone: Clone) -> None:
    assert "there is nothing to review" in refused(clone)


def test_unrelated_history_is_refused(clone: Clone) -> None:
    clone.repo.run("checkout", "-q", "--orphan", "lone")
    clone.commit({"a.txt": "x\n"}, "alone")
    assert "shares no history with main" in refused(clone)


def raw_commit(
    clone: Clone, extra: str, *, parents: tuple[str, ...] = (), who: str = "a <a@b> 1 +0000"
) -> str:
    """A commit as no git would write it: the work tree's staged files, `extra` after the committer."""
    tree = clone.repo.run("write-tree").text
    lines = [f"tree {tree}", *(f"parent {p}" for p in parents), f"author {who}", f"committer {who}"]
    data = "\n".join(lines) + f"\n{extra}\nodd\n\nDiff-Id: {identity.new()}\n"
    words = ("-t", "commit", "-w", "--literally", "--stdin")
    return clone.repo.run("hash-object", *words, stdin=data.encode()).text


def test_a_parent_in_an_extra_header_is_no_parent(here: Site, clone: Clone) -> None:
    odd = raw_commit(clone, f"parent {here.trunk()}\n")
    assert "shares no history with main" in refused(clone, f"{odd}:refs/for/main")


def test_a_commit_too_long_to_be_read_is_refused(here: Site, clone: Clone) -> None:
    odd = raw_commit(clone, f"note {'x' * 200_000}\n", parents=(here.trunk() or "",))
    assert "is longer than 128 KB by itself" in refused(clone, f"{odd}:refs/for/main")


def test_unknown_push_options_are_refused(clone: Clone) -> None:
    clone.commit({"a.txt": "x\n"}, "optional")
    assert "unknown push option 'drfat'" in refused(clone, "HEAD:refs/for/main", "drfat")


def test_only_the_author_sends_new_versions(
    here: Site, people: tuple[Person, Person, Clone], clone: Clone, tmp_path: Path
) -> None:
    known = identity.new()
    clone.commit({"a.txt": "mine\n"}, "mine", known)
    clone.submit()
    theirs = Clone.make(people[1], tmp_path / "theirs")
    theirs.repo.run("fetch", "-q", f"{here.url}/git/main", "main", env=people[1].environment())
    theirs.repo.run("checkout", "-q", "FETCH_HEAD")
    theirs.commit({"a.txt": "yours\n"}, "taken", known)
    assert "only its author may send a new version" in refused(theirs)


def test_long_stacks_and_messages_are_refused(tmp_path: Path) -> None:
    from fairlead.serve.state import Limits

    with site(tmp_path / "data", queue=False, limits=Limits(stack=3, message=2000)) as small:
        _, _, clone = seeded(small, tmp_path)
        clone.commit({"a.txt": "x\n"}, "long", body="x" * 2000)
        assert "is longer than 1 KB" in refused(clone)
        clone.repo.run("reset", "-q", "--hard", "HEAD^")
        for i in range(4):
            clone.commit({"a.txt": f"{i}\n"}, f"commit {i}")
        assert "more than 3 commits" in refused(clone)


def test_a_change_of_more_files_than_can_be_listed_is_refused(here: Site, clone: Clone) -> None:
    """Trees within trees: a small pack that stands for 10 ** 12 files."""
    repo = clone.repo
    blob = repo.run("hash-object", "-w", "--stdin", stdin=b"x").text
    tree = repo.run("mktree", stdin=f"100644 blob {blob}\tx\n".encode()).text
    for _ in range(12):
        rows = "".join(f"040000 tree {tree}\t{i}\n" for i in range(10))
        tree = repo.run("mktree", stdin=rows.encode()).text
    bomb = repo.commit_tree(tree, [here.trunk() or ""], f"bomb\n\nDiff-Id: {identity.new()}\n")
    assert "changes more than 100000 files" in refused(clone, f"{bomb}:refs/for/main")


def test_a_pack_larger_than_the_limit_is_refused(tmp_path: Path) -> None:
    import os

    from fairlead.serve.state import Limits

    with site(tmp_path / "data", queue=False, limits=Limits(push=1 << 20)) as small:
        author, _, clone = seeded(small, tmp_path)
        (clone.path / "big").write_bytes(os.urandom(3 << 20))
        clone.commit({}, "big")
        code, said = clone.push()
        assert code != 0 and "exceeds maximum allowed size" in said
        assert author.call("GET", "/api/diffs") == []


def test_an_empty_trunk_takes_the_first_push_of_an_administrator_alone(tmp_path: Path) -> None:
    with site(tmp_path / "data", queue=False) as fresh:
        author, other = fresh.join("author"), fresh.join("other")
        clone = Clone.make(other, tmp_path / "other")
        clone.commit({"a.txt": "x\n"}, "first")
        assert "only an administrator may push its first commits" in refused(clone, "HEAD:refs/heads/main")
        assert "there is nothing to review against" in refused(clone)
        clone.person = author
        code, said = clone.push("HEAD:refs/heads/main")
        assert code == 0, said
        assert fresh.trunk() == clone.repo.rev("HEAD")


def test_a_token_is_needed_and_a_worker_may_only_fetch(here: Site, clone: Clone) -> None:
    url = f"{here.url}/git/main"
    done = clone.repo.run("ls-remote", url, env={"GIT_TERMINAL_PROMPT": "0"}, check=False)
    assert done.code != 0 and "could not read Username" in done.err
    worker = here.worker("fetcher")
    env = Person(here.url, "worker", worker.token).environment()
    assert "refs/heads/main" in clone.repo.run("ls-remote", url, env=env).text
    clone.commit({"a.txt": "x\n"}, "from a worker")
    done = clone.repo.run("push", url, "HEAD:refs/for/main", env=env, check=False)
    assert done.code != 0 and "403" in done.err
    wrong = Person(here.url, "author", "wrong").environment()
    assert clone.repo.run("ls-remote", url, env=wrong, check=False).code != 0
