"""The trunk moves here and nowhere else, by compare-and-swap from the base of an intended land.

Order of a landing, so that a crash anywhere leaves trunk and records agreeing after the next start:

    1. one transaction (`judgement.ask`): the rule is asked and holds; the land is recorded as intended, with
       its signed evidence; the entry and the diff are `landing`
    2. the evidence is added to refs/fairlead/evidence
    3. the trunk moves from base to commit
    4. one transaction: the land is done, the diff has landed, posts and events say so

`recover` looks at what it finds: trunk at (or past) the commit, then 4 is done now; trunk at the base, then
2 and 3 are; trunk elsewhere, then the intent is dropped and the entry goes back to waiting.  Evidence of
a commit that never landed may stay in the ref: it says what was true, and no trunk contains its commit.
"""

from __future__ import annotations

from fairlead.git import Repo
from fairlead.serve import evidence as evidence_store
from fairlead.serve import lifecycle
from fairlead.serve.records import events, queue
from fairlead.serve.records.values import Hosted, Land
from fairlead.serve.reply import log
from fairlead.serve.state import State
from fairlead.ship import evidence
from fairlead.store import crashpoint

AFTER_EVIDENCE = crashpoint.declare(
    "serve.land.after-evidence", "intended, the evidence is in its ref; the trunk is at its base"
)
AFTER_REF = crashpoint.declare("serve.land.after-ref", "the trunk has moved; the records say landing")
AFTER_TRANSACTION = crashpoint.declare("serve.land.after-transaction", "trunk and records both say landed")


def finish(state: State, hosted: Hosted, repo: Repo, land: Land) -> None:
    """Steps 2 to 4 for an intended land whose base is the trunk tip (or whose commit already is)."""
    ref = f"refs/heads/{hosted.trunk}"
    envelope = land.envelope.encode("ascii")
    evidence_store.publish(repo, land.commit, envelope, evidence.read(envelope).reviewed())
    crashpoint.here(AFTER_EVIDENCE)
    tip = repo.ref(ref)
    if tip != land.commit and (tip is None or not repo.is_ancestor(land.commit, tip)):
        if not repo.update_ref(ref, land.commit, land.base, reason=f"land D{land.diff} v{land.version}"):
            _drop(state, land)
            return
        crashpoint.here(AFTER_REF)
    with state.records.write() as c:
        queue.finish_land(c, land.commit)
        queue.set_state(c, land.entry, "landed")
        lifecycle.move(c, land.diff, "land")
        data: dict[str, object] = {"event": "landed", "commit": land.commit}
        text = f"Landed as [{land.commit[:12]}]({state.url}/commits/{land.commit}) on {hosted.trunk}."
        lifecycle.tell(c, land.diff, text, version=land.version, data=data)
        lifecycle.entry_changed(c, land.diff, land.entry, "landed", commit=land.commit)
        payload = {"repo": hosted.name, "trunk": hosted.trunk, "commit": land.commit, "diff": land.diff}
        events.append(c, "trunk.moved", payload, diff=land.diff)
    crashpoint.here(AFTER_TRANSACTION)
    repo.delete_ref(f"refs/queue/{land.entry}", land.commit)


def _drop(state: State, land: Land) -> None:
    """The trunk moved by another hand before ours did: back to the queue, with a new candidate."""
    log.warning("the trunk moved under D%s; it goes back to the queue", land.diff)
    with state.records.write() as c:
        queue.drop_intended(c, land.commit)
        lifecycle.move(c, land.diff, "stop")
        queue.set_state(c, land.entry, "waiting")
        lifecycle.entry_changed(c, land.diff, land.entry, "waiting")


def recover(state: State, hosted: Hosted) -> int:
    """Finish or drop lands that were cut off; how many there were.  Cheap when there are none."""
    with state.records.read() as c:
        intended = queue.intended(c, hosted.name)
    repo = state.repo(hosted.name)
    for land in intended:
        finish(state, hosted, repo, land)
    return len(intended)
