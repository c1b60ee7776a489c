"""The land rule, asked with facts: keys and verdicts from the records, trees and merges from git.

If it holds, the same transaction records the land as intended, with the evidence sealed by the server's
key.  From there on it is `trunk`'s, and happens even if the server dies in between.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.git import Repo
from fairlead.serve import lifecycle
from fairlead.serve.records import Connection, diffs, people, queue
from fairlead.serve.records.values import Diff, Hosted, Job, Land, QueueEntry, SignedVerdict, Version
from fairlead.serve.state import State
from fairlead.ship import change, decide, evidence
from fairlead.ship.values import (
    Approval,
    Candidate,
    Decision,
    Keys,
    KeyStatement,
    Reason,
    Signed,
    Verdict,
    worker_principal,
)
from fairlead.store import crashpoint

BEFORE_REF = crashpoint.declare("serve.land.before-ref", "the land is intended; the trunk is at its base")


def statements(c: Connection, job: int) -> tuple[Signed, Signed] | None:
    """The signed key statements of a job, base first; their signatures were checked when they came."""
    found = queue.keys_of(c, job)
    if set(found) != {"base", "candidate"}:
        return None
    signed = [
        Signed(found[r].payload.encode(), found[r].signature, worker_principal(found[r].worker))
        for r in ("base", "candidate")
    ]
    return signed[0], signed[1]


def keys_from(pair: tuple[Signed, Signed]) -> Keys:
    """The two statements as ship's values."""
    return Keys(KeyStatement.from_payload(pair[0].payload), KeyStatement.from_payload(pair[1].payload))


def verdicts_on(c: Connection, keys: Keys) -> list[tuple[Verdict, SignedVerdict]]:
    """All recorded verdicts on the keys that the candidate must have passes for, whoever they ran for."""
    rows = queue.verdicts_for(c, decide.affected(keys).items())
    return [(Verdict.from_payload(row.payload.encode()), row) for row in rows]


def candidate_of(repo: Repo, entry: QueueEntry, version: Version) -> Candidate:
    """The facts about an entry's candidate, taken from git."""
    assert entry.base is not None and entry.commit is not None
    commit = repo.commit(entry.commit)
    return Candidate(
        diff=entry.diff,
        version=entry.version,
        base=entry.base,
        base_tree=repo.commit(entry.base).tree,
        commit=commit.oid,
        tree=commit.tree,
        parents=commit.parents,
        change=change.key(repo.changes(entry.base, commit.oid)),
        submitted_commit=version.commit,
    )


def remerged_onto(repo: Repo, base: str, commits: Sequence[str]) -> dict[str, str | None]:
    """Each submitted commit's tree when put onto `base`; None where that conflicts."""
    found: dict[str, str | None] = {}
    for oid in dict.fromkeys(commits):
        found[oid] = repo.merge_tree(base, oid, repo.commit(oid).parents[0]).tree
    return found


@dataclass(frozen=True)
class Refusal:
    """The land rule does not hold: what is missing, and the verdicts there are on the affected targets."""

    decision: Decision
    verdicts: tuple[Verdict, ...]


def ask(state: State, hosted: Hosted, repo: Repo, entry: QueueEntry, job: Job) -> Land | Refusal | None:
    """Ask the land rule about an entry; if it holds, the land is recorded as intended.

    Merges are computed first; what people said is read in the same transaction that records the intent, so
    no word comes between.  None if the entry left the queue meanwhile.
    """
    with state.records.read() as c:
        version = diffs.version_of(c, entry.diff, entry.version)
        asked = lifecycle.approvals(c, entry.diff)
    assert version is not None
    candidate = candidate_of(repo, entry, version)
    remerged = remerged_onto(repo, candidate.base, [version.commit, *(a.commit for a in asked)])
    with state.records.write() as c:
        registered = people.registered_workers(c)  # here, so that no revocation comes between
        now, diff = queue.entry(c, entry.n), diffs.get(c, entry.diff)
        if now is None or diff is None or now.state != "testing" or now.commit != entry.commit:
            return None
        pair = statements(c, job.id)
        if pair is None:
            text = "the worker ended without target keys"
            return Refusal(Decision(False, (Reason("keys", text, f"D{entry.diff}"),)), ())
        keys = keys_from(pair)
        rows = verdicts_on(c, keys)
        verdicts = tuple(verdict for verdict, _ in rows)
        authors = lifecycle.authors(c, diff)
        approvals = lifecycle.approvals(c, entry.diff)
        decision = decide.decide(
            candidate,
            keys,
            verdicts,
            approvals,
            state.settings,
            author=authors[0],
            contributors=authors[1:],
            registered_workers=registered,
            remerged=remerged,
            objections=lifecycle.objections(c, entry.diff),
        )
        if not decision.allowed:
            return Refusal(decision, verdicts)
        counted = decide.counted(keys, verdicts, state.settings, registered)
        signed = dict(reversed(rows))  # of equal verdicts the first
        said = evidence.Evidence(
            base=candidate.base,
            commit=candidate.commit,
            tree=candidate.tree,
            diff=entry.diff,
            diff_id=diff.diff_id,
            version=entry.version,
            submitted=version.commit,
            change=candidate.change,
            authors=authors,
            base_keys=pair[0],
            candidate_keys=pair[1],
            verdicts=tuple(_signed(signed[verdict]) for _, verdict in sorted(counted.items())),
            approvals=tuple(a for a in approvals if _counts(state, a, candidate, remerged, authors)),
            settings=state.settings,
            removed=decide.removed(keys),
            reasons=decision.held,
            decided=int(time.time()),
        )
        land = _intend(c, state, hosted, entry, diff, said)
    crashpoint.here(BEFORE_REF)
    return land


def _intend(
    c: Connection, state: State, hosted: Hosted, entry: QueueEntry, diff: Diff, said: evidence.Evidence
) -> Land:
    queue.intend_land(
        c,
        commit=said.commit,
        repo_id=hosted.id,
        entry_n=entry.n,
        number=diff.number,
        version=entry.version,
        base=said.base,
        tree=said.tree,
        envelope=evidence.seal(said, state.signer.sign).decode("ascii"),
    )
    queue.set_state(c, entry.n, "landing")
    lifecycle.move(c, diff.number, "start")
    lifecycle.entry_changed(c, diff.number, entry.n, "landing", commit=said.commit)
    return next(land for land in queue.intended(c, hosted.name) if land.commit == said.commit)


def _counts(
    state: State,
    approval: Approval,
    candidate: Candidate,
    remerged: dict[str, str | None],
    authors: Sequence[str],
) -> bool:
    """Whether an approval is one of those the rule counted: only these are put into the evidence."""
    if approval.person in authors and not state.settings.author_may_approve:
        return False
    return change.stands(approval, candidate, remerged)


def _signed(row: SignedVerdict) -> Signed:
    return Signed(row.payload.encode(), row.signature, worker_principal(row.worker))
