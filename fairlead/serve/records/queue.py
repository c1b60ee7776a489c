"""Questions about landing: queue entries, what workers signed, and what landed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from sqlalchemy import Connection, Row, Select, delete, insert, or_, select, tuple_, update

from fairlead.serve.records.database import new_key
from fairlead.serve.records.schema import key_statement, land, person, queue_entry, repo, verdict
from fairlead.serve.records.values import Land, QueueEntry, Reason, SignedKeys, SignedVerdict

OPEN = ("waiting", "testing", "landing")


def _entries() -> Select:  # type: ignore[type-arg]
    return (
        select(queue_entry, repo.c.name.label("repo_name"), person.c.name.label("person_name"))
        .join(repo, repo.c.id == queue_entry.c.repo_id)
        .join(person, person.c.id == queue_entry.c.person_id)
    )


def _entry(r: Row) -> QueueEntry:  # type: ignore[type-arg]
    reasons = tuple(Reason(**one) for one in json.loads(r.reasons))
    return QueueEntry(
        r.n,
        r.repo_name,
        r.diff,
        r.version,
        r.person_name,
        r.state,
        r.base,
        r.commit,
        reasons,
        r.created,
        r.finished,
    )


def enqueue(c: Connection, *, repo_id: int, number: int, version: int, person_id: int) -> int:
    done = c.execute(
        insert(queue_entry).values(
            repo_id=repo_id,
            diff=number,
            version=version,
            person_id=person_id,
            state="waiting",
            reasons="[]",
            created=time.time(),
        )
    )
    return new_key(done)


def open_entries(c: Connection, repo_name: str | None = None) -> list[QueueEntry]:
    """What waits, is tested or is landing, in queue order."""
    question = _entries().where(queue_entry.c.state.in_(OPEN)).order_by(queue_entry.c.n)
    if repo_name is not None:
        question = question.where(repo.c.name == repo_name)
    return [_entry(r) for r in c.execute(question)]


def recent_entries(c: Connection, limit: int = 50) -> list[QueueEntry]:
    """What left the queue, newest first."""
    rows = c.execute(
        _entries()
        .where(queue_entry.c.state.not_in(OPEN))
        .order_by(queue_entry.c.finished.desc(), queue_entry.c.n.desc())
        .limit(limit)
    )
    return [_entry(r) for r in rows]


def ended(c: Connection, before: float) -> list[QueueEntry]:
    """What left the queue before then."""
    rows = c.execute(_entries().where(queue_entry.c.state.not_in(OPEN), queue_entry.c.finished < before))
    return [_entry(r) for r in rows]


def logs(c: Connection, after: float) -> set[str]:
    """The logs of passes, which evidence may name, and of whatever verdict was recorded after then."""
    rows = c.execute(
        select(verdict.c.log).where(or_(verdict.c.outcome == "pass", verdict.c.created >= after)).distinct()
    )
    return {r.log for r in rows}


def envelopes(c: Connection) -> list[str]:
    """The evidence of every land, also of intended ones."""
    return [r.envelope for r in c.execute(select(land.c.envelope))]


def entry(c: Connection, n: int) -> QueueEntry | None:
    row = c.execute(_entries().where(queue_entry.c.n == n)).first()
    return _entry(row) if row else None


def entries_of(c: Connection, number: int) -> list[QueueEntry]:
    """All tries to land a diff, oldest first."""
    return [
        _entry(r) for r in c.execute(_entries().where(queue_entry.c.diff == number).order_by(queue_entry.c.n))
    ]


def set_candidate(c: Connection, n: int, *, base: str, commit: str) -> None:
    """The entry is now tested as `commit` on `base`."""
    c.execute(
        update(queue_entry).where(queue_entry.c.n == n).values(state="testing", base=base, commit=commit)
    )


def set_state(c: Connection, n: int, state: str, reasons: Sequence[Reason] = ()) -> None:
    """Move an entry; a state outside OPEN ends it."""
    finished = None if state in OPEN else time.time()
    c.execute(
        update(queue_entry)
        .where(queue_entry.c.n == n)
        .values(state=state, finished=finished, reasons=json.dumps([asdict(r) for r in reasons]))
    )


def put_keys(
    c: Connection, *, job: int, role: str, commit: str, payload: str, signature: str, worker: str
) -> None:
    """Keep a worker's signed key statement; the caller made sure that the job has none of this role."""
    c.execute(
        insert(key_statement).values(
            job=job,
            role=role,
            commit=commit,
            payload=payload,
            signature=signature,
            worker=worker,
            created=time.time(),
        )
    )


def drop_keys(c: Connection, job: int) -> None:
    """Forget the key statements of a job that goes to another worker."""
    c.execute(delete(key_statement).where(key_statement.c.job == job))


def keys_of(c: Connection, job: int) -> dict[str, SignedKeys]:
    """role (base, candidate) -> the signed statement."""
    rows = c.execute(select(key_statement).where(key_statement.c.job == job))
    return {r.role: SignedKeys(r.job, r.role, r.commit, r.payload, r.signature, r.worker) for r in rows}


def _verdict(r: Row) -> SignedVerdict:  # type: ignore[type-arg]
    return SignedVerdict(
        r.id,
        r.job,
        r.label,
        r.key,
        r.outcome,
        r.worker,
        r.enforced,
        r.log,
        r.seconds,
        r.payload,
        r.signature,
        r.created,
    )


def add_verdict(
    c: Connection,
    *,
    job: int,
    label: str,
    key: str,
    outcome: str,
    worker: str,
    enforced: str,
    log: str,
    seconds: float,
    payload: str,
    signature: str,
) -> int:
    """Keep a verdict whose signature the caller has checked; the same one twice is kept once."""
    same = c.execute(select(verdict.c.id).where(verdict.c.job == job, verdict.c.payload == payload)).first()
    if same is not None:
        return int(same.id)
    done = c.execute(
        insert(verdict).values(
            job=job,
            label=label,
            key=key,
            outcome=outcome,
            worker=worker,
            enforced=enforced,
            log=log,
            seconds=seconds,
            payload=payload,
            signature=signature,
            created=time.time(),
        )
    )
    return new_key(done)


def verdicts_for(c: Connection, pairs: Iterable[tuple[str, str]]) -> list[SignedVerdict]:
    """Every verdict on these (label, key) pairs, oldest first, whoever asked for it."""
    wanted = sorted(set(pairs))
    found: list[SignedVerdict] = []
    for start in range(0, len(wanted), 400):  # SQLite's limit on variables
        rows = c.execute(
            select(verdict)
            .where(tuple_(verdict.c.label, verdict.c.key).in_(wanted[start : start + 400]))
            .order_by(verdict.c.id)
        )
        found.extend(_verdict(r) for r in rows)
    return found


def verdicts_of(c: Connection, job: int) -> list[SignedVerdict]:
    """The verdicts that ran for one job, oldest first."""
    return [
        _verdict(r) for r in c.execute(select(verdict).where(verdict.c.job == job).order_by(verdict.c.id))
    ]


def _lands() -> Select:  # type: ignore[type-arg]
    return select(land, repo.c.name.label("repo_name")).join(repo, repo.c.id == land.c.repo_id)


def _land(r: Row) -> Land:  # type: ignore[type-arg]
    return Land(
        r.commit, r.repo_name, r.entry, r.diff, r.version, r.base, r.tree, r.envelope, r.state, r.created
    )


def intend_land(
    c: Connection,
    *,
    commit: str,
    repo_id: int,
    entry_n: int,
    number: int,
    version: int,
    base: str,
    tree: str,
    envelope: str,
) -> None:
    c.execute(
        insert(land).values(
            commit=commit,
            repo_id=repo_id,
            entry=entry_n,
            diff=number,
            version=version,
            base=base,
            tree=tree,
            envelope=envelope,
            state="intended",
            created=time.time(),
        )
    )


def intended(c: Connection, repo_name: str | None = None) -> list[Land]:
    """Lands decided but not yet seen on the trunk: at most one a repository, more is a bug."""
    question = _lands().where(land.c.state == "intended").order_by(land.c.entry)
    if repo_name is not None:
        question = question.where(repo.c.name == repo_name)
    return [_land(r) for r in c.execute(question)]


def finish_land(c: Connection, commit: str) -> None:
    c.execute(update(land).where(land.c.commit == commit).values(state="done"))


def drop_intended(c: Connection, commit: str) -> None:
    c.execute(land.delete().where(land.c.commit == commit, land.c.state == "intended"))


def landed(c: Connection, commit: str) -> Land | None:
    """The finished land of a commit of the trunk."""
    row = c.execute(_lands().where(land.c.commit == commit, land.c.state == "done")).first()
    return _land(row) if row else None


def land_of(c: Connection, number: int) -> Land | None:
    """The newest finished land of a diff."""
    row = c.execute(
        _lands().where(land.c.diff == number, land.c.state == "done").order_by(land.c.entry.desc()).limit(1)
    ).first()
    return _land(row) if row else None


def lands(c: Connection, *, limit: int = 50, before: int | None = None) -> list[Land]:
    """Finished lands, newest first.  Page on with `before` = `entry` of the last one seen."""
    question = _lands().where(land.c.state == "done").order_by(land.c.entry.desc()).limit(limit)
    if before is not None:
        question = question.where(land.c.entry < before)
    return [_land(r) for r in c.execute(question)]
