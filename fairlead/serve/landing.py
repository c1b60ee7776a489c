"""The landing queue at work: candidates made, jobs given out, the land rule asked, the trunk moved.

`ship.queue` says what to do next, `ship.decide` whether a candidate may land; this module does it on git
and records.  Only here does the trunk move, and only by compare-and-swap from the candidate's base.

Order of a landing, so that a crash anywhere leaves trunk and records agreeing after the next start:

    1. one transaction: the rule is asked and holds; the land is recorded as intended, with its signed
       evidence; the entry and the diff are `landing`
    2. the evidence is added to refs/fairlead/evidence
    3. the trunk moves from base to commit
    4. one transaction: the land is done, the diff has landed, posts and events say so

`recover` looks at what it finds: trunk at (or past) the commit, then 4 is done now; trunk at the base, then
2 and 3 are; trunk elsewhere, then the intent is dropped and the entry goes back to waiting.  Evidence of
a commit that never landed may stay in the ref: it says what was true, and no trunk contains its commit.

`/queue` is served from the records alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from fairlead.errors import FairleadError, WorkFailed
from fairlead.git import Person as GitPerson
from fairlead.git import Repo
from fairlead.serve import evidence as evidence_store
from fairlead.serve import lifecycle
from fairlead.serve.records import Connection, diffs, events, jobs, queue
from fairlead.serve.records.values import (
    Diff,
    Hosted,
    Job,
    Land,
    Person,
    QueueEntry,
    Reason,
    SignedVerdict,
    Version,
)
from fairlead.serve.reply import NotFound, log
from fairlead.serve.state import State
from fairlead.ship import change, decide, evidence
from fairlead.ship import queue as schedule
from fairlead.ship.values import (
    Approval,
    Candidate,
    Decision,
    Keys,
    KeyStatement,
    Signed,
    Verdict,
    worker_principal,
)
from fairlead.ship.values import Reason as ShipReason
from fairlead.store import crashpoint

BEFORE_REF = crashpoint.declare("serve.land.before-ref", "the land is intended; the trunk is at its base")
AFTER_EVIDENCE = crashpoint.declare(
    "serve.land.after-evidence", "intended, the evidence is in its ref; the trunk is at its base"
)
AFTER_REF = crashpoint.declare("serve.land.after-ref", "the trunk has moved; the records say landing")
AFTER_TRANSACTION = crashpoint.declare("serve.land.after-transaction", "trunk and records both say landed")

_TRIES = 3  # leases of one candidate before its entry is given up


# --- asking ----------------------------------------------------------------------------------------


def enqueue(state: State, person: Person, number: int, *, stack: bool) -> list[int]:
    """Queue a diff, or with `stack` everything open below it too, lowest first; the numbers now queued."""
    with state.records.write() as c:
        diff = diffs.get(c, number)
        if diff is None:
            raise NotFound(f"there is no diff D{number}", remedy="the feed lists them")
        below = _below(c, diff)
        chain = [*[d for d in below if d.state != "landed"], diff]
        if not stack:
            absent = [f"D{d.number}" for d in chain[:-1] if d.state not in ("queued", "landing")]
            if absent:
                raise WorkFailed(
                    f"D{number} stands on {', '.join(absent)}, which has not landed",
                    remedy=f"land them together: fairlead land D{number} --stack",
                )
            chain = [diff]
        for one in chain:
            _may_queue(c, state, one)
        hosted = diffs.repo_named(c, diff.repo)
        assert hosted is not None
        queued = []
        for one in chain:
            if one.state not in ("queued", "landing"):
                n = queue.enqueue(
                    c, repo_id=hosted.id, number=one.number, version=one.latest, person_id=person.id
                )
                lifecycle.move(c, one.number, "queue")
                changed(c, one.number, n, "waiting")
            queued.append(one.number)
    return queued


def changed(c: Connection, number: int, entry: int, new: str, **more: object) -> None:
    """Say in the event log that a queue entry is now in another state."""
    events.append(c, "queue.changed", {"diff": number, "entry": entry, "state": new, **more}, diff=number)


def _below(c: Connection, diff: Diff) -> list[Diff]:
    """What a diff stands on, lowest first."""
    found: list[Diff] = []
    at = diff.stack_parent
    while at is not None and at not in {d.number for d in found}:
        one = diffs.get(c, at)
        assert one is not None
        found.append(one)
        at = one.stack_parent
    return found[::-1]


def _may_queue(c: Connection, state: State, diff: Diff) -> None:
    if diff.state in ("queued", "landing"):
        return
    if diff.state == "landed":
        raise WorkFailed(f"D{diff.number} has landed already")
    reasons = lifecycle.lacking(c, diff, state.settings)
    if reasons:
        raise WorkFailed(
            f"D{diff.number} may not land yet: " + "; ".join(r.text for r in reasons),
            where=f"{state.url}/D{diff.number}",
            remedy="ask for a review, and settle what is open",
        )
    if diff.state != "accepted":
        raise WorkFailed(
            f"D{diff.number} is {diff.state.replace('_', ' ')}; only an accepted diff can land",
            where=f"{state.url}/D{diff.number}",
        )


# --- the queue's work ------------------------------------------------------------------------------


def work(state: State) -> bool:
    """Do the one thing that is to be done now in each repository; whether anything was done."""
    with state.records.read() as c:
        hosted = diffs.repos(c)
    done = [_work_on(state, one) for one in hosted]  # all of them, so that none waits for another
    return any(done)


def _work_on(state: State, hosted: Hosted) -> bool:
    with state.changing:
        recover(state, hosted)
        repo = state.repo(hosted.name)
        tip = repo.ref(f"refs/heads/{hosted.trunk}")
        if tip is None:
            return False
        with state.records.read() as c:
            rows = {e.n: e for e in queue.open_entries(c, hosted.name)}
            below = {n: _below_numbers(c, e) for n, e in rows.items()}
            landed = {
                d
                for numbers in below.values()
                for d in numbers
                if (got := diffs.get(c, d)) and got.state == "landed"
            }
        entries = [
            schedule.Entry(e.n, e.diff, e.version, e.state, below[e.n], e.base)  # type: ignore[arg-type]
            for e in rows.values()
        ]
        step = schedule.step(entries, tip=tip, landed=landed)
        if step is None:
            return False
        entry = rows[step.n]
        if isinstance(step, schedule.Start):
            _start(state, hosted, repo, entry, tip)
        elif isinstance(step, schedule.Restart):
            _restart(state, entry)
        elif isinstance(step, schedule.Refuse):
            _refuse(state, entry, [Reason(step.reason.code, step.reason.text, step.reason.subject)])
        else:
            return _judge(state, hosted, repo, entry)
        return True


def _below_numbers(c: Connection, entry: QueueEntry) -> tuple[int, ...]:
    diff = diffs.get(c, entry.diff)
    assert diff is not None
    return tuple(d.number for d in _below(c, diff))


def _start(state: State, hosted: Hosted, repo: Repo, entry: QueueEntry, tip: str) -> None:
    """Make the candidate: the submitted commit put onto the trunk tip, in the object store."""
    with state.records.read() as c:
        version = diffs.version_of(c, entry.diff, entry.version)
    assert version is not None
    if version.parent == tip:
        commit = version.commit  # it is one step from the tip as it was pushed
    else:
        merged = repo.merge_tree(tip, version.commit, version.parent)
        if merged.tree is None:
            _conflict(state, hosted, entry, merged.conflicts)
            return
        if merged.tree == repo.commit(tip).tree:
            text = f"{hosted.trunk} has this change already: nothing is left to land"
            _refuse(state, entry, [Reason("empty", text, f"D{entry.diff}")])
            return
        pushed = repo.commit(version.commit)
        committer = GitPerson("Fairlead", "fairlead@localhost", int(time.time()), "+0000")
        commit = repo.commit_tree(
            merged.tree, [tip], pushed.message, author=pushed.author, committer=committer
        )
    ref = f"refs/queue/{entry.n}"
    repo.update_ref(ref, commit, repo.ref(ref), reason="candidate")
    payload = {
        "repo": hosted.name,
        "base": tip,
        "commit": commit,
        "diff": entry.diff,
        "trunk": hosted.trunk,
        "settings": state.settings.to_json(),
    }
    with state.records.write() as c:
        now = queue.entry(c, entry.n)
        if now is None or now.state != "waiting":
            return  # taken out of the queue meanwhile
        queue.set_candidate(c, entry.n, base=tip, commit=commit)
        jobs.add(c, entry=entry.n, kind="candidate", payload=payload)
        changed(c, entry.diff, entry.n, "testing", commit=commit)


def _conflict(state: State, hosted: Hosted, entry: QueueEntry, paths: Sequence[str]) -> None:
    """Back to the author; the server never resolves a conflict."""
    command = f"git fetch && git rebase origin/{hosted.trunk}, mend the conflicts, then fairlead submit"
    named = ", ".join(paths)
    reasons = [Reason("conflict", f"it conflicts with {hosted.trunk} in {named}", f"D{entry.diff}")]
    body = (
        f"D{entry.diff} v{entry.version} conflicts with {hosted.trunk} in {named}.\n\nTo go on: `{command}`"
    )
    data: dict[str, object] = {"paths": list(paths), "command": command}
    _refuse(state, entry, reasons, new="conflict", body=body, more=data)


def _restart(state: State, entry: QueueEntry) -> None:
    with state.records.write() as c:
        _cancel_jobs(c, entry.n, "the trunk moved under its candidate")
        if entry.state == "landing":
            lifecycle.move(c, entry.diff, "stop")
        queue.set_state(c, entry.n, "waiting")
        changed(c, entry.diff, entry.n, "waiting")


def _cancel_jobs(c: Connection, entry: int, why: str) -> None:
    for job in jobs.of_entry(c, entry):
        if job.state in ("waiting", "leased"):
            jobs.finish(c, job.id, "cancelled", {"what": why})


def _refuse(
    state: State,
    entry: QueueEntry,
    reasons: Sequence[Reason],
    *,
    new: str = "refused",
    body: str | None = None,
    more: dict[str, object] | None = None,
) -> None:
    """End an entry without landing, and say on the diff why."""
    listed = "\n".join(f"- {r.text}" for r in reasons)
    data: dict[str, object] = {
        "event": new,
        "reasons": [{"code": r.code, "text": r.text, "subject": r.subject} for r in reasons],
        **({"commit": entry.commit} if entry.commit else {}),
        **(more or {}),
    }
    with state.records.write() as c:
        now = queue.entry(c, entry.n)
        if now is None or now.state not in ("waiting", "testing"):
            return
        _cancel_jobs(c, entry.n, "refused")
        queue.set_state(c, entry.n, new, reasons)
        lifecycle.move(c, entry.diff, "dequeue")
        text = body or f"D{entry.diff} v{entry.version} was not landed:\n\n{listed}"
        lifecycle.tell(c, entry.diff, text, version=entry.version, data=data)
        shown = {k: v for k, v in data.items() if k in ("reasons", "log", "label", "commit")}
        changed(c, entry.diff, entry.n, new, **shown)


# --- judging ---------------------------------------------------------------------------------------


def _judge(state: State, hosted: Hosted, repo: Repo, entry: QueueEntry) -> bool:
    """Ask the land rule once the worker is done; whether anything was done."""
    with state.records.read() as c:
        made = jobs.of_entry(c, entry.n)
    job = made[-1] if made else None
    if job is None or job.state == "cancelled":
        _restart(state, entry)
        return True
    if job.state in ("waiting", "leased"):
        return False
    if job.state == "broken":
        _broken(state, entry, job)
        return True
    intended = _decide_and_intend(state, hosted, repo, entry, job)
    if intended is not None:
        _finish(state, hosted, repo, intended)
    return True


def _broken(state: State, entry: QueueEntry, job: Job) -> None:
    """The worker could not do the job: its own words are the reason."""
    said = {k: str(job.outcome.get(k, "")) for k in ("what", "where", "remedy", "log")}
    text = said["what"] or "the worker could not check it"
    if said["where"]:
        text += f" ({said['where']})"
    if said["remedy"]:
        text += f"; {said['remedy']}"
    more: dict[str, object] = {"log": said["log"]} if said["log"] else {}
    body = f"D{entry.diff} v{entry.version} was not landed: {text}" + _log_link(state, said["log"])
    _refuse(state, entry, [Reason("broken", text, f"D{entry.diff}")], body=body, more=more)


def _log_link(state: State, digest: str) -> str:
    return f"\n\n[the log]({state.url}/logs/{digest})" if digest else ""


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


def _decide_and_intend(state: State, hosted: Hosted, repo: Repo, entry: QueueEntry, job: Job) -> Land | None:
    """Step 1.  Merges are computed first; what people said is read in the same transaction that writes."""
    with state.records.read() as c:
        version = diffs.version_of(c, entry.diff, entry.version)
        asked = lifecycle.approvals(c, entry.diff)
    assert version is not None
    candidate = candidate_of(repo, entry, version)
    remerged = remerged_onto(repo, candidate.base, [version.commit, *(a.commit for a in asked)])
    registered = state.registered()
    refusal: tuple[Decision, list[tuple[Verdict, SignedVerdict]]] | None = None
    with state.records.write() as c:
        now, diff = queue.entry(c, entry.n), diffs.get(c, entry.diff)
        if now is None or diff is None or now.state != "testing" or now.commit != entry.commit:
            return None
        pair = statements(c, job.id)
        if pair is None:
            decision, found = _no_keys(entry), []
        else:
            keys = keys_from(pair)
            found = verdicts_on(c, keys)
            approvals = [a for a in lifecycle.approvals(c, entry.diff) if a.commit in remerged]
            authors = lifecycle.authors(c, diff)
            decision = decide.decide(
                candidate,
                keys,
                [v for v, _ in found],
                approvals,
                state.settings,
                author=authors[0],
                contributors=authors[1:],
                registered_workers=registered,
                remerged=remerged,
                objections=lifecycle.objections(c, entry.diff),
            )
        if pair is None or not decision.allowed:
            refusal = (decision, found)
        else:
            standing = [a for a in approvals if _stands(state, a, candidate, remerged, authors)]
            counted = decide.counted(keys, [v for v, _ in found], state.settings, registered)
            rows = {v.payload(): row for v, row in reversed(found)}
            sealed = evidence.seal(
                evidence.Evidence(
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
                    verdicts=tuple(_signed(rows[v.payload()]) for _, v in sorted(counted.items())),
                    approvals=tuple(standing),
                    settings=state.settings,
                    removed=decide.removed(keys),
                    reasons=decision.held,
                    decided=int(time.time()),
                ),
                state.signer.sign,
            )
            queue.intend_land(
                c,
                commit=candidate.commit,
                repo_id=hosted.id,
                entry_n=entry.n,
                number=entry.diff,
                version=entry.version,
                base=candidate.base,
                tree=candidate.tree,
                envelope=sealed.decode("ascii"),
            )
            queue.set_state(c, entry.n, "landing")
            lifecycle.move(c, entry.diff, "start")
            changed(c, entry.diff, entry.n, "landing", commit=candidate.commit)
    if refusal is not None:
        _refuse_for(state, entry, *refusal)
        return None
    crashpoint.here(BEFORE_REF)
    with state.records.read() as c:
        return next(one for one in queue.intended(c, hosted.name) if one.commit == candidate.commit)


def _no_keys(entry: QueueEntry) -> Decision:
    return Decision(False, (ShipReason("keys", "the worker ended without target keys", f"D{entry.diff}"),))


def _stands(
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


def _refuse_for(
    state: State, entry: QueueEntry, decision: Decision, found: Sequence[tuple[Verdict, SignedVerdict]]
) -> None:
    """Refuse with the rule's own reasons, and the log of the first test that is to blame."""
    reasons = [Reason(r.code, r.text, r.subject) for r in decision.missing]
    failing = [r.subject for r in reasons if r.code == "test"]
    latest = {v.label: v for v, _ in found if v.outcome != "pass"}
    blamed = [latest[label] for label in failing if label in latest]
    more: dict[str, object] = {}
    lines = []
    for reason in reasons:
        verdict = latest.get(reason.subject) if reason.code == "test" else None
        link = f": [log]({state.url}/logs/{verdict.log})" if verdict is not None and verdict.log else ""
        lines.append(f"- {reason.text}{link}")
    if blamed:
        more = {"label": blamed[0].label, "log": blamed[0].log, "key": blamed[0].key}
    body = f"D{entry.diff} v{entry.version} was not landed:\n\n" + "\n".join(lines)
    _refuse(state, entry, reasons, body=body, more=more)


# --- moving the trunk ------------------------------------------------------------------------------


def _finish(state: State, hosted: Hosted, repo: Repo, land: Land) -> None:
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
        changed(c, land.diff, land.entry, "landed", commit=land.commit)
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
        changed(c, land.diff, land.entry, "waiting")


def recover(state: State, hosted: Hosted) -> int:
    """Finish or drop lands that were cut off; how many there were.  Cheap when there are none."""
    with state.records.read() as c:
        intended = queue.intended(c, hosted.name)
    repo = state.repo(hosted.name)
    for land in intended:
        _finish(state, hosted, repo, land)
    return len(intended)


def give_up(state: State, job: Job, why: str) -> None:
    """A candidate that cost several workers their lease is refused, not tried for ever."""
    with state.records.write() as c:
        now = jobs.get(c, job.id)
        if now is None or now.state != "leased" or now.lease != job.lease:
            return
        if now.lease >= _TRIES:
            jobs.finish(
                c, job.id, "broken", {"what": why, "remedy": "see the worker's own log, then land again"}
            )
        else:
            jobs.release(c, job.id)
            queue.drop_keys(c, job.id)  # the next worker states its own


def expire(state: State) -> None:
    """Take jobs back from workers that fell silent."""
    with state.records.read() as c:
        gone = jobs.expired(c, time.time())
    for job in gone:
        give_up(state, job, f"{_TRIES} workers in turn fell silent while checking it")


def tend(state: State, pause: float = 2.0) -> None:
    """The queue's thread: work while there is work, then wait for news.  Ends when the bus closes."""
    while not state.bus.closed:
        seen = state.bus.count
        try:
            expire(state)
            while work(state) and not state.bus.closed:
                pass
        except FairleadError as error:
            log.error("the queue waits: %s", error)
            state.bus.wait(state.bus.count, pause)
            continue
        except Exception:
            log.exception("the queue met an error it did not expect")
            state.bus.wait(state.bus.count, pause)
            continue
        state.bus.wait(seen, pause)
