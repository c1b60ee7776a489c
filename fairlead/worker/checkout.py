"""Commits of the server as folders.

Fetched into the worker's own bare repository, then written out file by file from the object store.
`git checkout` is not used: a submitted commit controls `.gitattributes`, which can change line ends,
expand `$Id$` and name filters, and the bytes of a work tree must be those that the keys were computed
from. Nor is a `.git` put into the folder, so nothing that runs there finds a repository.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from fairlead.errors import MachineryError, UsageError
from fairlead.git import GITLINK, SYMLINK, Entry, Repo
from fairlead.store import atomic
from fairlead.worker.job import Job
from fairlead.worker.server import Server

_BATCH_FILES = 2000
_KEPT_CANDIDATES = 20


def fetch(server: Server, repository: Path, job: Job) -> Repo:
    """Have `job`'s base and candidate in the bare repository at `repository`."""
    repo = Repo.init_bare(repository)
    if not repo.has(f"{job.commit}^{{tree}}"):
        url = f"{server.url}/git/{job.repo}"
        done = repo.run(
            "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance",
            "--no-recurse-submodules", url, f"+{job.commit}:refs/fetched/{job.commit}",
            env=server.git_environment(), check=False,
        )  # fmt: skip
        if done.code != 0:
            raise MachineryError(
                f"the candidate {job.commit[:12]} cannot be fetched: {' '.join(done.err.split())}",
                where=url,
                remedy="check that the server runs; the job will be leased again",
            )
        _forget_old(repo)
    if not repo.is_ancestor(job.base, job.commit):
        raise MachineryError(
            f"the candidate {job.commit[:12]} does not follow its base {job.base[:12]}",
            where=str(repository),
            remedy="look for an error of the server: it makes candidates on the trunk",
        )
    return repo


def _forget_old(repo: Repo) -> None:
    """Drop the refs of all but the newest fetched candidates, and let git free what that leaves."""
    listed = repo.run("for-each-ref", "--sort=-committerdate", "--format=%(refname)", "refs/fetched/")
    old = listed.text.split("\n")[_KEPT_CANDIDATES:]
    if old:
        repo.run("update-ref", "--stdin", stdin="".join(f"delete {name}\n" for name in old).encode())
        repo.run("-c", "gc.autoDetach=false", "gc", "--auto", "--quiet", check=False)


def write(repo: Repo, commit: str, folder: Path) -> None:
    """Write the tree of `commit` into `folder`, which must not exist; submodules become empty folders.

    Links are made last, so that no file is ever written through one. UsageError for a tree whose names
    no work tree may have; git's own checks refuse those on most ways in, but not on all.
    """
    if folder.exists():
        raise MachineryError("the folder for a work tree is not free", where=str(folder))
    entries = repo.entries(commit, recursive=True)
    for entry in entries:
        _check(entry)
    links = [entry for entry in entries if entry.mode == SYMLINK]
    modules = [entry for entry in entries if entry.mode == GITLINK]
    files = [entry for entry in entries if entry.mode not in (SYMLINK, GITLINK)]
    try:
        with atomic.folder(folder) as temp:
            for place in sorted({(temp / entry.path).parent for entry in entries}):
                place.mkdir(parents=True, exist_ok=True)
            for entry in modules:
                (temp / entry.path).mkdir()
            for entry, data in _contents(repo, files):
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                fd = os.open(temp / entry.path, flags, 0o755 if entry.mode == "100755" else 0o644)
                with open(fd, "wb") as file:
                    file.write(data)
            for entry, data in _contents(repo, links):
                _link(entry, data, temp / entry.path)
    except MachineryError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENAMETOOLONG:
            raise UsageError(
                f"the commit {commit[:12]} holds a name or a path that is too long for a work tree",
                where=max((entry.path for entry in entries), key=_longest)[:400],
                remedy="use names of at most 255 bytes, and paths of at most some 3000",
            ) from None
        if isinstance(error.__cause__, FileExistsError | NotADirectoryError | IsADirectoryError):
            raise UsageError(
                f"the commit {commit[:12]} names two things alike", where=error.where, remedy=_DAMAGED
            ) from None
        raise


def _longest(path: str) -> tuple[int, int]:
    """What of a path is likeliest too long."""
    raw = os.fsencode(path)
    return max(0, max(map(len, raw.split(b"/"))) - 255), len(raw)


def _contents(repo: Repo, entries: list[Entry]) -> Iterator[tuple[Entry, bytes]]:
    for start in range(0, len(entries), _BATCH_FILES):
        batch = entries[start : start + _BATCH_FILES]
        for entry, (_, data) in zip(batch, repo.blobs(entry.oid for entry in batch), strict=True):
            yield entry, data


def _link(entry: Entry, target: bytes, path: Path) -> None:
    if not target or b"\0" in target or len(target) > 4095:
        raise UsageError(f"the link {entry.path!r} points nowhere a link can point", remedy=_DAMAGED)
    os.symlink(target, os.fsencode(path))


def _check(entry: Entry) -> None:
    for part in entry.path.split("/"):
        if part in ("", ".", "..") or part.lower() == ".git":
            raise UsageError(
                f"the commit holds a file named {entry.path!r}, which no work tree may have", remedy=_DAMAGED
            )


_DAMAGED = "run git fsck in the clone it came from: it names the damaged tree"
