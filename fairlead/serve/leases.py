"""What a worker may do with a job: take it, keep it, hand in keys, logs and verdicts, end it.

A worker is believed as far as its registered key reaches and no further.  Each statement must be signed by
the worker whose token brings it, name that worker, speak of this job's commits with the trees that git has,
and a verdict must be on a key that the worker itself stated for the candidate.  The job is named with the
number of its lease, so a worker whose lease has passed to another is refused.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence

from fairlead.errors import FairleadError, UsageError, WorkFailed
from fairlead.serve import judgement
from fairlead.serve.records import Connection, jobs, queue
from fairlead.serve.records.values import Job, Worker
from fairlead.serve.reply import Forbidden, NotFound
from fairlead.serve.state import State
from fairlead.ship import decide
from fairlead.ship.values import KeyStatement, Signed, Verdict, worker_principal
from fairlead.store import crashpoint

_NAME = re.compile(r"[0-9]{1,18}-[0-9]{1,9}")

VERDICT_RECORDED = crashpoint.declare(
    "serve.verdict.recorded", "the verdicts are in the database; the worker was not told"
)


def offer(state: State, worker: Worker) -> dict[str, object] | None:
    """Lease the next waiting job to a worker; None if there is none."""
    with state.records.read() as c:
        if jobs.waiting(c) is None:
            return None
    with state.records.write() as c:
        job = jobs.waiting(c)
        if job is None:
            return None
        jobs.lease(c, job.id, worker.id, time.time() + state.lease_seconds)
        return {
            **job.payload,
            "id": f"{job.id}-{job.lease + 1}",
            "kind": job.kind,
            "lease_seconds": state.lease_seconds,
        }


def _held(c: Connection, worker: Worker, name: str) -> Job:
    """The job that `name` means, if this worker holds this very lease of it."""
    number, _, lease = name.partition("-")
    job = jobs.get(c, int(number)) if _NAME.fullmatch(name) else None
    if job is None:
        raise NotFound(f"there is no job {name}", remedy="lease one first")
    if job.state != "leased" or job.worker != worker.name or job.lease != int(lease):
        raise WorkFailed(
            f"job {name} is not leased to {worker.name} (any more)",
            remedy="drop it and lease the next one; what was recorded before stays",
        )
    return job


def held(state: State, worker: Worker, name: str) -> Job:
    """The job that `name` means, if this worker holds this very lease of it; else it is refused."""
    with state.records.read() as c:
        return _held(c, worker, name)


def keep(state: State, worker: Worker, name: str) -> dict[str, object]:
    """A heartbeat: the lease counts from now again."""
    with state.records.write() as c:
        job = _held(c, worker, name)
        jobs.extend(c, job.id, time.time() + state.lease_seconds)
    return {"lease_seconds": state.lease_seconds}


def _checked(state: State, worker: Worker, signed: Signed, namespace: str, what: str) -> None:
    """The signature is by this worker's registered key, for this purpose."""
    if signed.signer != worker_principal(worker.name):
        raise Forbidden(
            f"the {what} is signed as {signed.signer}, but this token belongs to worker {worker.name}",
            remedy="a worker hands in its own statements only",
        )
    try:
        state.signers().check(signed.signer, namespace, signed.payload, signed.signature, at=int(time.time()))
    except FairleadError as error:
        raise Forbidden(f"the {what} is not believed: {error.what}", remedy=error.remedy) from error


def keys(state: State, worker: Worker, name: str, base: Signed, candidate: Signed) -> list[str]:
    """Keep the signed target keys of a job's two commits; the labels that still need a pass."""
    with state.records.read() as c:
        job = _held(c, worker, name)
    repo = state.repo(str(job.payload["repo"]))
    for role, signed in (("base", base), ("candidate", candidate)):
        _checked(state, worker, signed, KeyStatement.NAMESPACE, f"key statement of the {role}")
        statement = KeyStatement.from_payload(signed.payload)
        commit = str(job.payload["base" if role == "base" else "commit"])
        if statement.worker != worker.name:
            raise Forbidden(f"the key statement of the {role} names worker {statement.worker}")
        if statement.commit != commit or statement.tree != repo.commit(commit).tree:
            raise Forbidden(
                f"the key statement of the {role} is not about this job",
                where=f"it says {statement.commit[:12]}, the job says {commit[:12]}",
                remedy="compute the keys from the commits of the job",
            )
    with state.records.write() as c:
        _held(c, worker, name)
        known = queue.keys_of(c, job.id)
        for role, signed in (("base", base), ("candidate", candidate)):
            payload = signed.payload.decode("ascii")
            if role not in known:
                queue.put_keys(
                    c,
                    job=job.id,
                    role=role,
                    commit=KeyStatement.from_payload(signed.payload).commit,
                    payload=payload,
                    signature=signed.signature,
                    worker=worker.name,
                )
            elif known[role].payload != payload:
                raise WorkFailed(
                    f"other keys of the {role} were handed in before",
                    where=f"job {name}",
                    remedy="keys are a function of the commit: end the job as broken and look at the worker",
                )
    registered = state.registered()
    with state.records.read() as c:
        pair = judgement.statements(c, job.id)
        assert pair is not None
        stated = judgement.keys_from(pair)
        verdicts = [v for v, _ in judgement.verdicts_on(c, stated)]
    passed = decide.counted(stated, verdicts, state.settings, registered)
    return [label for label in decide.affected(stated) if label not in passed]


def verdicts(state: State, worker: Worker, name: str, signed: Sequence[Signed]) -> int:
    """Keep signed verdicts of a job; how many are new or known.  All of them are good, or none is kept."""
    with state.records.read() as c:
        job = _held(c, worker, name)
        pair = judgement.statements(c, job.id)
    if pair is None:
        raise WorkFailed("verdicts come after the target keys of the job", remedy="hand in the keys first")
    stated = judgement.keys_from(pair).candidate.keys
    believed = [(one, _believed(state, worker, one, stated)) for one in signed]
    with state.records.write() as c:
        _held(c, worker, name)
        for one, verdict in believed:
            queue.add_verdict(
                c,
                job=job.id,
                label=verdict.label,
                key=verdict.key,
                outcome=verdict.outcome,
                worker=verdict.worker,
                enforced=verdict.enforced,
                log=verdict.log,
                seconds=verdict.seconds,
                payload=one.payload.decode("ascii"),
                signature=one.signature,
            )
    crashpoint.here(VERDICT_RECORDED)
    return len(believed)


def _believed(state: State, worker: Worker, signed: Signed, stated: Mapping[str, str]) -> Verdict:
    _checked(state, worker, signed, Verdict.NAMESPACE, "verdict")
    verdict = Verdict.from_payload(signed.payload)
    if verdict.worker != worker.name:
        raise Forbidden(f"the verdict on {verdict.label} names worker {verdict.worker}")
    if stated.get(verdict.label) != verdict.key:
        raise Forbidden(
            f"the verdict on {verdict.label} is at a key that this job's candidate does not have",
            where=verdict.key[:80],
            remedy="test the target at the key that was handed in for the candidate",
        )
    if verdict.log and not _has_log(state, verdict.log):
        raise UsageError(
            f"the log of {verdict.label} was not handed in",
            where=verdict.log[:80],
            remedy="PUT /api/worker/logs first",
        )
    return verdict


def _has_log(state: State, digest: str) -> bool:
    try:
        return state.logs.has(digest)
    except ValueError:
        return False


def finish(state: State, worker: Worker, name: str, outcome: str, said: dict[str, str]) -> None:
    """End a job: done (everything it had to say is here) or broken (it could not be checked, and why)."""
    if outcome not in ("done", "broken"):
        raise UsageError(f"a job cannot end as {outcome!r}", remedy="use done or broken")
    if said.get("log") and not _has_log(state, said["log"]):
        raise UsageError("that log was not handed in", remedy="PUT /api/worker/logs first")
    with state.records.write() as c:
        job = _held(c, worker, name)
        jobs.finish(c, job.id, outcome, said)
