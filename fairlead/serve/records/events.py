"""The append-only event log: what machines and live pages follow.

`seq` is given inside the writer's transaction, so a reader who has seen seq N will never see a smaller one
appear later.  Kinds: `diff.submitted`, `diff.versioned`, `diff.state`, `post.added`, `thread.state`,
`queue.changed`, `trunk.moved`, `worker.registered`, `artifact.published`.  The
payload names what to look up; it is not a copy of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from sqlalchemy import Connection, func, insert, select

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


def latest(c: Connection) -> int:
    """The newest sequence number; 0 before the first event."""
    return int(c.execute(select(func.coalesce(func.max(event.c.seq), 0))).scalar_one())
