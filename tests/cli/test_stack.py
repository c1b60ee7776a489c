"""Naming a stack: real git, no server."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.cli import stack
from fairlead.errors import FairleadError, UsageError, WorkFailed
from fairlead.git import Repo, values
from fairlead.ship import identity


def git(clone: Path, *args: str, stdin: bytes | None = None, **env: str) -> str:
    done = subprocess.run(
        ["git", *args],
        cwd=clone,
        input=stdin,
        capture_output=True,
        check=True,
        env={
            "PATH": "/usr/bin:/bin:/usr/local/bin",
            "HOME": str(clone.parent),
            "GIT_AUTHOR_NAME": "author",
            "GIT_AUTHOR_EMAIL": "author@example.org",
            "GIT_COMMITTER_NAME": "author",
            "GIT_COMMITTER_EMAIL": "author@example.org",
            **env,
        },
    )
    return done.stdout.decode().strip()


def commit(clone: Path, name: str, text: str, message: str, **env: str) -> str:
    (clone / name).write_text(text)
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "-m", message, stdin=None, **env)
    return git(clone, "rev-parse", "HEAD")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with one commit, which is the trunk, on the branch `work`."""
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, "base.txt", "base\n", "Base")
    git(folder, "switch", "--quiet", "-c", "work")
    return folder


def submit_locally(clone: Path) -> list[stack.Named]:
    repo = Repo(clone)
    where = stack.place(repo)
    stack.refuse_uncommitted(repo)
    named = stack.give_ids(repo, stack.read(repo, repo.rev("main"), where.tip))
    stack.move(repo, where, named[-1].commit)
    return named


def test_trailers_are_added_and_nothing_else_changes(clone: Path) -> None:
    dates = {"GIT_AUTHOR_DATE": "2001-02-03T04:05:06+0730", "GIT_COMMITTER_DATE": "2002-02-03T04:05:06-0130"}
    one = commit(clone, "a.txt", "a\n", "One\n\nWhy it is so.", **dates)
    two = commit(clone, "b.txt", "b\n", "Two\n\nReviewed-by: reviewer <r@example.org>", **dates)
    index = (clone / ".git/index").read_bytes()
    files = {path: path.stat().st_mtime_ns for path in clone.glob("*.txt")}

    named = submit_locally(clone)

    assert [entry.old for entry in named] == [one, two]
    assert git(clone, "rev-parse", "work") == named[1].commit == git(clone, "rev-parse", "HEAD")
    assert git(clone, "rev-parse", "work~1") == named[0].commit
    everything = "%T%n%an%n%ae%n%ad%n%cn%n%ce%n%cd"
    for old, entry in zip((one, two), named, strict=True):
        before, after = (
            git(clone, "log", "-1", "--date=raw", f"--format={everything}", c) for c in (old, entry.commit)
        )
        assert before == after
        message = git(clone, "log", "-1", "--format=%B", entry.commit)
        assert message.startswith(git(clone, "log", "-1", "--format=%B", old))
        parsed = git(clone, "interpret-trailers", "--parse", stdin=message.encode() + b"\n")
        assert f"Diff-Id: {entry.diff_id}" in parsed.splitlines()
        assert identity.parse(entry.diff_id) == entry.diff_id
    assert git(
        clone, "interpret-trailers", "--parse", stdin=git(clone, "log", "-1", "--format=%B").encode() + b"\n"
    )
    assert (clone / ".git/index").read_bytes() == index
    assert {path: path.stat().st_mtime_ns for path in clone.glob("*.txt")} == files
    assert git(clone, "status", "--porcelain") == ""


def test_the_old_tip_is_in_the_reflog_and_can_be_restored(clone: Path) -> None:
    old = commit(clone, "a.txt", "a\n", "One")
    submit_locally(clone)
    assert git(clone, "rev-parse", "work@{1}") == old
    assert "Diff-Id" in git(clone, "reflog", "show", "work", "-1", "--format=%gs")
    git(clone, "reset", "--quiet", "--soft", "work@{1}")
    assert git(clone, "rev-parse", "work") == old
    assert git(clone, "status", "--porcelain") == ""


def test_a_second_run_changes_nothing(clone: Path) -> None:
    commit(clone, "a.txt", "a\n", "One")
    first = submit_locally(clone)
    tip = git(clone, "rev-parse", "work")
    again = submit_locally(clone)
    assert [entry.diff_id for entry in again] == [entry.diff_id for entry in first]
    assert git(clone, "rev-parse", "work") == tip
    assert [entry.old for entry in again] == [entry.commit for entry in again]


def test_amending_keeps_the_id_and_a_new_commit_below_gets_its_own(clone: Path) -> None:
    commit(clone, "a.txt", "a\n", "One")
    [one] = submit_locally(clone)
    (clone / "a.txt").write_text("a\nmore\n")
    git(clone, "commit", "--quiet", "--all", "--amend", "--no-edit")
    amended = git(clone, "rev-parse", "work")
    git(clone, "switch", "--quiet", "-c", "below", "main")
    commit(clone, "z.txt", "z\n", "Zero")
    git(clone, "cherry-pick", amended)
    git(clone, "branch", "--force", "work", "below")
    git(clone, "switch", "--quiet", "work")
    zero, again = submit_locally(clone)
    assert again.diff_id == one.diff_id != zero.diff_id
    assert again.commit != again.old, "its parent was rewritten, so it was"


def test_a_detached_head(clone: Path) -> None:
    git(clone, "switch", "--quiet", "--detach")
    with pytest.raises(UsageError) as told:
        stack.place(Repo(clone))
    assert "not on a branch" in told.value.what and "git switch -c" in told.value.remedy


def test_a_branch_without_commits(clone: Path) -> None:
    git(clone, "switch", "--quiet", "--orphan", "empty")
    with pytest.raises(UsageError, match="empty has no commits"):
        stack.place(Repo(clone))


@pytest.mark.parametrize("staged", [False, True])
def test_a_dirty_tree(clone: Path, staged: bool) -> None:
    commit(clone, "a.txt", "a\n", "One")
    (clone / "a.txt").write_text("changed\n")
    if staged:
        git(clone, "add", "a.txt")
    with pytest.raises(UsageError) as told:
        stack.refuse_uncommitted(Repo(clone))
    assert "a.txt" in told.value.what and "--dirty" in told.value.remedy


def test_untracked_files_are_no_matter(clone: Path) -> None:
    (clone / "notes.txt").write_text("mine\n")
    stack.refuse_uncommitted(Repo(clone))


def test_nothing_to_submit(clone: Path) -> None:
    repo = Repo(clone)
    with pytest.raises(UsageError, match="nothing to submit"):
        stack.read(repo, repo.rev("main"), repo.rev("work"))


def test_a_merge_commit_is_named(clone: Path) -> None:
    git(clone, "switch", "--quiet", "-c", "other")
    commit(clone, "o.txt", "o\n", "Other")
    git(clone, "switch", "--quiet", "work")
    commit(clone, "a.txt", "a\n", "One")
    git(clone, "merge", "--quiet", "--no-edit", "other")
    merge = git(clone, "rev-parse", "HEAD")
    repo = Repo(clone)
    with pytest.raises(UsageError) as told:
        stack.read(repo, repo.rev("main"), merge)
    assert merge[:12] in told.value.what and "git rebase" in told.value.remedy


def test_a_history_without_the_trunk(clone: Path) -> None:
    git(clone, "switch", "--quiet", "--orphan", "stranger")
    commit(clone, "s.txt", "s\n", "Stranger")
    repo = Repo(clone)
    with pytest.raises(UsageError, match="has no parent"):
        stack.read(repo, repo.rev("main"), repo.rev("stranger"))


def test_a_commit_without_a_message(clone: Path) -> None:
    (clone / "a.txt").write_text("a\n")
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--allow-empty-message", "-m", "")
    repo = Repo(clone)
    with pytest.raises(UsageError, match="has no message"):
        stack.read(repo, repo.rev("main"), repo.rev("work"))


def test_two_commits_of_one_id_are_refused_before_anything_is_written(clone: Path) -> None:
    commit(clone, "n.txt", "n\n", "Nameless")
    commit(clone, "a.txt", "a\n", f"One\n\nDiff-Id: {'a' * 26}")
    commit(clone, "b.txt", "b\n", f"Two\n\nDiff-Id: {'a' * 26}")
    repo = Repo(clone)
    before = git(clone, "count-objects", "-v")
    with pytest.raises(UsageError) as told:
        stack.give_ids(repo, stack.read(repo, repo.rev("main"), repo.rev("work")))
    assert "'One'" in told.value.what and "'Two'" in told.value.what
    assert git(clone, "count-objects", "-v") == before


def test_a_branch_that_moved_meanwhile_is_left_alone(clone: Path) -> None:
    commit(clone, "a.txt", "a\n", "One")
    repo = Repo(clone)
    where = stack.place(repo)
    named = stack.give_ids(repo, stack.read(repo, repo.rev("main"), where.tip))
    other = commit(clone, "b.txt", "b\n", "Meanwhile")
    with pytest.raises(WorkFailed, match="moved while"):
        stack.move(repo, where, named[-1].commit)
    assert git(clone, "rev-parse", "work") == other


def test_a_lost_signature_is_told_of(clone: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (clone / "a.txt").write_text("a\n")
    git(clone, "add", "--all")
    git(
        clone,
        "-c",
        "gpg.format=ssh",
        "-c",
        f"user.signingkey={key}",
        "commit",
        "--quiet",
        "-S",
        "-m",
        "Signed",
    )
    repo = Repo(clone)
    where = stack.place(repo)
    commits = stack.read(repo, repo.rev("main"), where.tip)
    named = stack.give_ids(repo, commits)
    assert stack.signed(repo, commits, named) == [where.tip]
    assert b"gpgsig" not in repo.run("cat-file", "commit", named[0].commit).out
    assert repo.run("fsck", "--strict", check=False).code == 0


def test_an_old_encoding_is_kept(clone: Path) -> None:
    (clone / "a.txt").write_text("a\n")
    git(clone, "add", "--all")
    message = "Gr\u00fc\u00dfe".encode("latin-1")
    git(clone, "-c", "i18n.commitEncoding=ISO-8859-1", "commit", "--quiet", "-F", "-", stdin=message)
    [named] = submit_locally(clone)
    assert git(clone, "log", "-1", "--encoding=UTF-8", "--format=%s", named.commit) == "Gr\u00fc\u00dfe"


words = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), min_size=1).filter(str.strip)


@settings(max_examples=60, deadline=None)
@given(message=words, signature=st.lists(st.text("ABC=\n", max_size=10), max_size=3))
def test_rewriting_changes_parent_and_message_alone(message: str, signature: list[str]) -> None:
    head = ["tree " + "1" * 40, "parent " + "2" * 40, "author a <a@b> 1 +0000", "committer a <a@b> 1 -0000"]
    signed = ["gpgsig x", *(" " + line for text in signature for line in text.split("\n"))]
    tail = ["encoding ISO-8859-1", "x-other y", " continued"]
    data = "\n".join([*head, *signed, *tail]).encode() + b"\n\nold message\n"
    result = stack.rewritten(data, "3" * 40, message)
    expected = "\n".join([head[0], "parent " + "3" * 40, *head[2:], *tail]).encode()
    assert result == expected + b"\n\n" + message.encode()


def test_what_submit_adds_is_found_again(clone: Path) -> None:
    """Whatever a message looks like, the id that was added is the id that is read."""
    shapes = [
        "One",
        "One\n\nNote: looks like a trailer\nbut is prose",
        "One\n\nSigned-off-by: a <a@b>\n",
        "One\n\n\n\nbody\n\n",
        "fix: a subject like a trailer",
        "One\n\nhttp://example.org: a link",
        "One\n\nCo-authored-by: a <a@b>\n continued",
    ]
    for number, message in enumerate(shapes):
        commit(clone, f"{number}.txt", "x\n", message)
    named = submit_locally(clone)
    repo = Repo(clone)
    for entry in named:
        assert values(repo.commit(entry.commit).message, "Diff-Id") == [entry.diff_id]
        raw = repo.run("log", "-1", "--format=%(trailers:key=Diff-Id,valueonly)", entry.commit).text.strip()
        assert raw == entry.diff_id, "git reads it too"


def test_too_old_a_git_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from fairlead import git as ground
    from fairlead.git import command

    monkeypatch.setattr(command, "version", lambda: (2, 25, 1))
    with pytest.raises(FairleadError) as told:
        ground.require(stack.OLDEST_GIT, "fairlead submit")
    assert "2.34" in told.value.what and "2.25.1" in told.value.what
