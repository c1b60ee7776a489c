"""The append-only event log: what machines and live pages follow. Old events are removed (`serve.cleaning`).

`seq` is given inside the writer's transaction, so a reader who has seen seq N will never see a smaller one
appear later.  The payload names what to look up; it is not a copy of it.  Kinds and payloads:

    diff.submitted      diff, version, commit        a new diff
    diff.versioned      diff, version, commit        a new version of one
    diff.state          diff, state                  every change of a diff's state
    post.added          diff, post, kind             anything said, by people or the server
    thread.state        diff, post, state
    queue.changed       diff, entry, state, and what applies of: commit, log, label, reasons
    trunk.moved         repo, trunk, commit, diff    (diff is null for the first push)
    worker.registered   worker
    artifact.published  digest, name
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from sqlalchemy import Connection, delete, func, insert, select

from fairlead.serve.records.database import new_key
from fairlead.serve.records.schema import event
from fairlead.serve.records.values import Event


def append(c: Connection, kind: str, payload: Mapping[str, object], *, diff: int | None = None) -> int:
    """Add an event to this transaction and return its sequence number."""
    text = json.dumps(payload, sort_keys=True)
    done = c.execute(insert(event).values(kind=kind, diff=diff, payload=text, created=time.time()))
    return new_key(done)


def since(c: Connection, after: int, limit: int = 500) -> list[Event]:
    """Events with a sequence greater than `after`, oldest first, at most `limit`."""
    rows = c.execute(select(event).where(event.c.seq > after).order_by(event.c.seq).limit(limit))
    return [Event(r.seq, r.kind, r.diff, json.loads(r.payload), r.created) for r in rows]


def first(c: Connection) -> int:
    """The oldest sequence number that is still here; 0 before the first event."""
    return int(c.execute(select(func.coalesce(func.min(event.c.seq), 0))).scalar_one())


def forget(c: Connection, before: float, limit: int) -> int:
    """Remove at most `limit` events that are older, oldest first, and never the newest; how many."""
    old = (
        select(event.c.seq)
        .where(event.c.created < before, event.c.seq < latest(c))
        .order_by(event.c.seq)
        .limit(limit)
    )
    return c.execute(delete(event).where(event.c.seq.in_(old))).rowcount


def latest(c: Connection) -> int:
    """The newest sequence number; 0 before the first event."""
    return int(c.execute(select(func.coalesce(func.max(event.c.seq), 0))).scalar_one())
