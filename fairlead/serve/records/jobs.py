"""Questions about jobs for workers, and the rows of interrupted pushes.

A job is leased for a while and fenced by a number: `lease` counts how often it was handed out, and a worker
speaks of job `<id>-<lease>`.  A worker whose lease ran out and was given to another holds an old number and
is refused, even if it is the same worker.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from sqlalchemy import Connection, Row, Select, delete, insert, or_, select, update

from fairlead.serve.records.database import new_key
from fairlead.serve.records.schema import job, person, push_intent, repo, worker
from fairlead.serve.records.values import Job, Person, PushIntent


def _jobs() -> Select:  # type: ignore[type-arg]
    return select(job, worker.c.name.label("worker_name")).outerjoin(worker, worker.c.id == job.c.worker_id)


def _job(r: Row) -> Job:  # type: ignore[type-arg]
    return Job(
        r.id,
        r.entry,
        r.kind,
        json.loads(r.payload),
        r.state,
        r.worker_name,
        r.lease,
        r.lease_until,
        r.created,
        json.loads(r.outcome),
    )


def add(c: Connection, *, entry: int, kind: str, payload: Mapping[str, object]) -> int:
    done = c.execute(
        insert(job).values(
            entry=entry,
            kind=kind,
            payload=json.dumps(payload, sort_keys=True),
            state="waiting",
            lease=0,
            created=time.time(),
            outcome="{}",
        )
    )
    return new_key(done)


def get(c: Connection, number: int) -> Job | None:
    row = c.execute(_jobs().where(job.c.id == number)).first()
    return _job(row) if row else None


def of_entry(c: Connection, entry: int) -> list[Job]:
    """The jobs of a queue entry, oldest first."""
    return [_job(r) for r in c.execute(_jobs().where(job.c.entry == entry).order_by(job.c.id))]


def waiting(c: Connection) -> Job | None:
    """The job to hand out next."""
    row = c.execute(_jobs().where(job.c.state == "waiting").order_by(job.c.id).limit(1)).first()
    return _job(row) if row else None


def lease(c: Connection, number: int, worker_id: int, until: float) -> None:
    c.execute(
        update(job)
        .where(job.c.id == number)
        .values(state="leased", worker_id=worker_id, lease=job.c.lease + 1, lease_until=until)
    )


def extend(c: Connection, number: int, until: float) -> None:
    c.execute(update(job).where(job.c.id == number).values(lease_until=until))


def expired(c: Connection, now: float) -> list[Job]:
    return [_job(r) for r in c.execute(_jobs().where(job.c.state == "leased", job.c.lease_until <= now))]


def release(c: Connection, number: int) -> None:
    """Back to waiting; the next lease has a new number."""
    c.execute(update(job).where(job.c.id == number).values(state="waiting", worker_id=None, lease_until=None))


def finish(c: Connection, number: int, state: str, outcome: Mapping[str, object]) -> None:
    c.execute(
        update(job)
        .where(job.c.id == number)
        .values(
            state=state, outcome=json.dumps(outcome, sort_keys=True), finished=time.time(), lease_until=None
        )
    )


def logs(c: Connection, after: float) -> set[str]:
    """The logs that jobs name which are not over, or ended after then."""
    rows = c.execute(select(job.c.outcome).where(or_(job.c.finished.is_(None), job.c.finished >= after)))
    return {str(json.loads(r.outcome).get("log", "")) for r in rows}


def intend_push(
    c: Connection, *, intent_id: str, repo_id: int, person_id: int, payload: Mapping[str, object]
) -> None:
    c.execute(
        insert(push_intent).values(
            id=intent_id,
            repo_id=repo_id,
            person_id=person_id,
            payload=json.dumps(payload, sort_keys=True),
            created=time.time(),
        )
    )


def push_intents(c: Connection) -> list[PushIntent]:
    """Pushes that were cut off between their refs and their transaction, oldest first."""
    rows = c.execute(
        select(
            push_intent.c.id,
            push_intent.c.payload,
            push_intent.c.created,
            repo.c.name.label("repo_name"),
            person.c.id.label("person_id"),
            person.c.name.label("person_name"),
            person.c.admin,
            person.c.created.label("joined"),
        )
        .join(repo, repo.c.id == push_intent.c.repo_id)
        .join(person, person.c.id == push_intent.c.person_id)
        .order_by(push_intent.c.created)
    )
    return [
        PushIntent(
            r.id,
            r.repo_name,
            Person(r.person_id, r.person_name, r.admin, r.joined),
            json.loads(r.payload),
            r.created,
        )
        for r in rows
    ]


def forget_push(c: Connection, intent_id: str) -> None:
    c.execute(delete(push_intent).where(push_intent.c.id == intent_id))
