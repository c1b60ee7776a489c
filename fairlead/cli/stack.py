"""The commits a person is about to submit, and giving each its Diff-Id.

A stack is the straight line of commits from the trunk to HEAD. `submit` writes the missing
`Diff-Id` trailers: a new message means a new commit, so every commit from the first nameless one up
is written again, into the object store only: same tree, same author, same committer, same dates.
Trees stay the same, so neither the work tree nor the index has anything to notice. Then the branch
moves by compare-and-swap, with a line in its reflog.

`git rebase --exec` and `git commit --amend` were turned down: both need a clean work tree, both run
hooks and touch files, and a kill half way leaves a rebase to clean up. A kill here leaves some unused
objects, or the finished branch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fairlead.errors import UsageError, WorkFailed
from fairlead.git import Commit, Repo, add_trailer
from fairlead.ship import identity
from fairlead.store import crashpoint

OLDEST_GIT = (2, 34)

AFTER_REWRITE = crashpoint.declare(
    "submit.after-rewrite", "commits with trailers are in the object store; the branch is where it was"
)


@dataclass(frozen=True)
class Place:
    """Where a stack sits: the branch that HEAD is on, as a full ref, and its tip."""

    branch: str
    tip: str

    @property
    def short(self) -> str:
        """The branch as people write it."""
        return self.branch.removeprefix("refs/heads/")


@dataclass(frozen=True)
class Named:
    """A commit of the stack with its Diff-Id; `old` is the commit it replaces, or itself."""

    commit: str
    old: str
    diff_id: str
    subject: str


def place(repo: Repo) -> Place:
    """The branch HEAD is on. A detached HEAD or a branch without commits is a UsageError."""
    head = repo.run("symbolic-ref", "--quiet", "HEAD", check=False)
    if head.code != 0:
        raise UsageError(
            "HEAD is not on a branch, and submit moves a branch",
            where=str(repo.path),
            remedy="finish the rebase or bisect that is under way, or make a branch: git switch -c NAME",
        )
    branch = head.text
    tip = repo.run("rev-parse", "--verify", "--quiet", f"{branch}^{{commit}}", check=False)
    if tip.code != 0:
        raise UsageError(
            f"the branch {branch.removeprefix('refs/heads/')} has no commits yet",
            where=str(repo.path),
            remedy="commit something first",
        )
    return Place(branch, tip.text)


def refuse_uncommitted(repo: Repo) -> None:
    """UsageError if tracked files differ from HEAD: what is not committed is not submitted."""
    listed = repo.run(
        "--no-optional-locks", "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=no"
    ).out
    names = [entry[3:].decode(errors="replace") for entry in listed.split(b"\0") if entry]
    if names:
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise UsageError(
            f"not committed: {shown}",
            where=str(repo.path),
            remedy="commit them (git commit --amend), put them aside (git stash),"
            " or submit without them: fairlead submit --dirty",
        )


def read(repo: Repo, trunk: str, tip: str) -> list[Commit]:
    """The commits of `trunk`..`tip`, oldest first: a straight line that begins at a commit of the trunk.

    `trunk` and `tip` are commit ids. Nothing to submit, a merge, and a line that does not begin at the
    trunk are UsageErrors.
    """
    commits = repo.commits(f"{trunk}..{tip}")
    if not commits:
        raise UsageError(
            "nothing to submit: the branch has no commit that the trunk has not",
            where=f"{trunk[:12]}..{tip[:12]}",
            remedy="commit your work first; the trunk moves by fairlead land alone",
        )
    for commit in commits:
        if len(commit.parents) > 1:
            raise UsageError(
                f"commit {commit.oid[:12]} is a merge, and a diff is one commit on one parent",
                where=commit.subject,
                remedy=f"git rebase {trunk[:12]}",
            )
        if not commit.message.strip():
            raise UsageError(
                f"commit {commit.oid[:12]} has no message, and its first line is the title of the diff",
                where=commit.oid,
                remedy="git rebase -i, and reword it",
            )
    if not commits[0].parents:
        raise UsageError(
            f"commit {commits[0].oid[:12]} has no parent: this history is not that of the trunk",
            where=commits[0].subject,
            remedy="start a branch from the trunk and cherry-pick onto it",
        )
    return commits


def ids(commits: Sequence[Commit]) -> list[tuple[Commit, str | None]]:
    """Each commit with the Diff-Id it carries, if any.

    Two commits with one id, and one commit with two, are UsageErrors: a server would refuse them too.
    """
    found = [
        (commit, identity.of_message(commit.message, f"commit {commit.oid[:12]} {commit.subject!r}"))
        for commit in commits
    ]
    identity.stack((commit.oid, commit.message) for commit, diff_id in found if diff_id)
    return found


def give_ids(repo: Repo, commits: Sequence[Commit], fresh: Callable[[], str] = identity.new) -> list[Named]:
    """Write commits with Diff-Ids where they are missing; the named stack, oldest first.

    `fresh` makes ids. Writes objects only: no ref, index or file changes. A stack whose ids are wrong is
    refused before anything is written.
    """
    named: list[Named] = []
    parent = commits[0].parents[0]
    for commit, known in ids(commits):
        diff_id = known or fresh()
        if known and commit.parents == (parent,):
            parent = commit.oid
        else:
            message = commit.message if known else add_trailer(commit.message, identity.TRAILER, diff_id)
            data = rewritten(repo.run("cat-file", "commit", commit.oid).out, parent, message)
            parent = repo.run("hash-object", "-t", "commit", "-w", "--stdin", stdin=data).text
        named.append(Named(parent, commit.oid, diff_id, commit.subject))
    crashpoint.here(AFTER_REWRITE)
    return named


def move(repo: Repo, where: Place, tip: str) -> bool:
    """Move the branch of `where` to `tip` if it is still where it was; whether it had to move.

    The old tip is the next entry of the branch's reflog. A branch that someone moved meanwhile is left
    alone: WorkFailed.
    """
    if tip == where.tip:
        return False
    if not repo.update_ref(where.branch, tip, where.tip, reason="fairlead submit: add Diff-Id trailers"):
        raise WorkFailed(
            f"the branch {where.short} moved while its commits were being named; nothing was changed",
            where=str(repo.path),
            remedy="run fairlead submit again",
        )
    return True


def signed(repo: Repo, commits: Sequence[Commit], named: Sequence[Named]) -> list[str]:
    """The rewritten commits that carried a signature, which covers the old message and is gone now."""
    lost = []
    for commit, after in zip(commits, named, strict=True):
        if commit.oid != after.commit:
            header = repo.run("cat-file", "commit", commit.oid).out.partition(b"\n\n")[0]
            if any(line.startswith((b"gpgsig ", b"gpgsig-sha256 ")) for line in header.split(b"\n")):
                lost.append(commit.oid)
    return lost


def rewritten(data: bytes, parent: str, message: str) -> bytes:
    """The bytes of a commit with one parent and one message changed, and everything else as it was.

    Works on the object's bytes, because what a value does not carry (an `encoding` header, an odd time
    zone) must survive. A signature covers the old bytes, so it goes.
    """
    head = data.partition(b"\n\n")[0]
    kept, dropping = [], False
    for line in head.split(b"\n"):
        if line.startswith(b" ") and dropping:
            continue
        dropping = line.startswith((b"gpgsig ", b"gpgsig-sha256 "))
        if line.startswith(b"parent "):
            line = b"parent " + parent.encode()
        if not dropping:
            kept.append(line)
    return b"\n".join(kept) + b"\n\n" + message.encode("utf-8", "surrogateescape")
