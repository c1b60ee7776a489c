"""Where evidence is kept: a chain of commits in `refs/fairlead/evidence` of the hosted repository.

One file a landed commit, as `ship.evidence` lays it out, so that evidence is fetched, cloned and backed up
with the code it speaks of.  Writing the same envelope twice adds nothing, which makes recovery simple.
"""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.errors import MachineryError
from fairlead.git import Entry, Repo
from fairlead.ship import evidence

_ATTEMPTS = 5


def publish(repo: Repo, commit: str, envelope: bytes, reviewed: Sequence[str]) -> None:
    """Add the envelope of `commit` to the chain; `reviewed` commits become further parents of the link."""
    path = evidence.path_of(commit)
    folder, _, name = path.partition("/")
    for _ in range(_ATTEMPTS):
        tip = repo.ref(evidence.REF)
        if tip is not None and read(repo, commit) == envelope:
            return
        blob = repo.run("hash-object", "-w", "--stdin", stdin=envelope).text
        inner = {e.path.rpartition("/")[2]: (e.mode, e.kind, e.oid) for e in _entries(repo, tip, folder)}
        inner[name] = ("100644", "blob", blob)
        outer = {e.path: (e.mode, e.kind, e.oid) for e in _entries(repo, tip, "")}
        outer[folder] = ("040000", "tree", _tree(repo, inner))
        parents = [*([tip] if tip else []), *(c for c in reviewed if c != tip)]
        link = repo.commit_tree(_tree(repo, outer), parents, f"evidence for {commit}\n")
        if repo.update_ref(evidence.REF, link, tip, reason=f"evidence for {commit[:12]}"):
            return
    raise MachineryError(
        "the evidence could not be written: its ref moves all the time",
        where=evidence.REF,
        remedy="land again",
    )


def read(repo: Repo, commit: str) -> bytes | None:
    """The envelope of a commit, or None."""
    oid = repo.ref(f"{evidence.REF}:{evidence.path_of(commit)}")
    return None if oid is None else repo.blob(oid)


def _entries(repo: Repo, tip: str | None, folder: str) -> list[Entry]:
    return [] if tip is None else repo.entries(tip, folder)


def _tree(repo: Repo, entries: dict[str, tuple[str, str, str]]) -> str:
    rows = "".join(f"{mode} {kind} {oid}\t{name}\0" for name, (mode, kind, oid) in sorted(entries.items()))
    return repo.run("mktree", "-z", stdin=rows.encode()).text
