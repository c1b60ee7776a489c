"""The landing queue at work: diffs queued, candidates made, jobs given out, refusals told.

`ship.queue` says what to do next; this module does it on git and records, one thing at a time.  The land
rule is asked in `judgement`, and the trunk moves in `trunk`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from fairlead.errors import FairleadError, WorkFailed
from fairlead.git import Person as GitPerson
from fairlead.git import Repo
from fairlead.serve import judgement, lifecycle, trunk
from fairlead.serve.records import Connection, diffs, jobs, queue
from fairlead.serve.records.values import Diff, Hosted, Job, Person, QueueEntry, Reason
from fairlead.serve.reply import NotFound, log
from fairlead.serve.state import State
from fairlead.ship import queue as schedule

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
                lifecycle.entry_changed(c, one.number, n, "waiting")
            queued.append(one.number)
    return queued


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
        trunk.recover(state, hosted)
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
        try:
            return _take(state, hosted, repo, entry, step, tip)
        except FairleadError:
            raise  # a full disk, say: the queue waits until it is mended
        except Exception:
            if entry.state == "landing":
                raise
            log.exception("D%s leaves the queue by an error that was not expected", entry.diff)
            text = "the server met an error that it did not expect; its log has the details"
            _refuse(state, entry, [Reason("error", text, f"D{entry.diff}")])
            return True


def _take(state: State, hosted: Hosted, repo: Repo, entry: QueueEntry, step: schedule.Step, tip: str) -> bool:
    """Do what the schedule says about an entry; whether anything was done."""
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
        lifecycle.entry_changed(c, entry.diff, entry.n, "testing", commit=commit)


def _conflict(state: State, hosted: Hosted, entry: QueueEntry, paths: Sequence[str]) -> None:
    """Back to the author; the server never resolves a conflict."""
    paths = [path.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for path in paths]
    command = f"git pull --rebase origin {hosted.trunk}"
    said = f"conflicts with {hosted.trunk} in {', '.join(paths)}"
    reasons = [Reason("conflict", f"it {said}", f"D{entry.diff}")]
    way = f"To go on: `{command}`, mend the conflicts, then `fairlead submit`."
    body = f"D{entry.diff} v{entry.version} {said}.\n\n{way}"
    data: dict[str, object] = {"paths": paths, "command": command}
    _refuse(state, entry, reasons, new="conflict", body=body, more=data)


def _restart(state: State, entry: QueueEntry) -> None:
    with state.records.write() as c:
        _cancel_jobs(c, entry.n, "the trunk moved under its candidate")
        if entry.state == "landing":
            lifecycle.move(c, entry.diff, "stop")
        queue.set_state(c, entry.n, "waiting")
        lifecycle.entry_changed(c, entry.diff, entry.n, "waiting")


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
        lifecycle.entry_changed(c, entry.diff, entry.n, new, **shown)


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
    answer = judgement.ask(state, hosted, repo, entry, job)
    if isinstance(answer, judgement.Refusal):
        _refuse_for(state, entry, answer)
    elif answer is not None:
        trunk.finish(state, hosted, repo, answer)
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


def _refuse_for(state: State, entry: QueueEntry, refusal: judgement.Refusal) -> None:
    """Refuse with the rule's own reasons, and the log of the first test that is to blame."""
    reasons = [Reason(r.code, r.text, r.subject) for r in refusal.decision.missing]
    failing = [r.subject for r in reasons if r.code == "test"]
    latest = {v.label: v for v in refusal.verdicts if v.outcome != "pass"}
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


# --- leases ----------------------------------------------------------------------------------------


def give_up(state: State, job: Job, said: Mapping[str, str]) -> None:
    """End a lease without an answer: the job waits for the next worker, and after several is given up.

    `said` is what its author reads then: {what, where, remedy}.
    """
    with state.records.write() as c:
        now = jobs.get(c, job.id)
        if now is None or now.state != "leased" or now.lease != job.lease:
            return
        if now.lease >= _TRIES:
            jobs.finish(c, job.id, "broken", said)
        else:
            jobs.release(c, job.id)
            queue.drop_keys(c, job.id)  # the next worker states its own


def expire(state: State) -> None:
    """Take jobs back from workers that fell silent."""
    with state.records.read() as c:
        gone = jobs.expired(c, time.time())
    for job in gone:
        what = f"{_TRIES} workers in turn fell silent while checking it"
        give_up(state, job, {"what": what, "remedy": "see the worker's own log, then land again"})


def release(state: State, job: Job, said: Mapping[str, str]) -> None:
    """A worker gives a job back: trouble of its own, which the next one may not have. Where on its machine
    that is is nothing for the author."""
    what = f"no worker could check it in {_TRIES} tries: {said.get('what') or 'the last did not say why'}"
    remedy = said.get("remedy") or "see the worker's own log"
    give_up(state, job, {"what": what, "remedy": f"{remedy}; then land again"})


def tend(state: State) -> None:
    """The queue's thread: work while there is work, then wait for news.  Ends when the bus closes."""
    pause = min(2.0, state.lease_seconds / 4)  # how late an expired lease may be noticed
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
