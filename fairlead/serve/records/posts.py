"""Questions about posts: everything people and the server say on a diff.

`data` of typed posts: kind `notice` (queued, landed, refused, ...) carries {"event": ...,
"reasons": [{code, text, subject}], "log": digest, "commit": oid, "label": failing test, "paths": [...],
"command": text}, each only where it applies; kind `version` carries {"carried": n of accepts carried}.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping

from sqlalchemy import Connection, Row, Select, insert, select, update

from fairlead.serve.records.schema import anchor, person, post, thread
from fairlead.serve.records.values import Anchor, Post, Thread

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's, lower case for addresses
_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """A ULID: 48 bits of milliseconds, 80 random bits; ids made in one process always sort in order."""
    global _last
    with _lock:
        fresh = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
        _last = fresh if fresh > _last else _last + 1
        number = _last
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def add(
    c: Connection,
    *,
    number: int,
    kind: str,
    body: str,
    author_id: int | None,
    parent: str | None = None,
    version: int | None = None,
    verdict: str | None = None,
    data: Mapping[str, object] | None = None,
    at: Anchor | None = None,
    must_fix: bool = False,
    post_id: str | None = None,
) -> str:
    """Add a post to diff `number`; an anchored post opens a thread.  Returns its id."""
    chosen = post_id or new_id()
    now = time.time()
    c.execute(
        insert(post).values(
            id=chosen,
            diff=number,
            parent=parent,
            author_id=author_id,
            kind=kind,
            body=body,
            version=version,
            verdict=verdict,
            data=json.dumps(data or {}, sort_keys=True),
            created=now,
        )
    )
    if at is not None:
        c.execute(
            insert(anchor).values(
                post=chosen, version=at.version, side=at.side, path=at.path, start=at.start, end=at.end
            )
        )
        c.execute(insert(thread).values(post=chosen, state="open", must_fix=must_fix, updated=now))
    return chosen


def _select() -> Select:  # type: ignore[type-arg]
    return (
        select(
            post,
            person.c.name.label("author_name"),
            anchor.c.version.label("at_version"),
            anchor.c.side,
            anchor.c.path,
            anchor.c.start,
            anchor.c.end,
            thread.c.state.label("thread_state"),
            thread.c.must_fix,
        )
        .outerjoin(person, person.c.id == post.c.author_id)
        .outerjoin(anchor, anchor.c.post == post.c.id)
        .outerjoin(thread, thread.c.post == post.c.id)
    )


def _post(r: Row) -> Post:  # type: ignore[type-arg]
    at = Anchor(r.at_version, r.side, r.path, r.start, r.end) if r.path is not None else None
    talk = Thread(r.thread_state, r.must_fix) if r.thread_state is not None else None
    return Post(
        r.id,
        r.diff,
        r.parent,
        r.author_name,
        r.kind,
        r.body,
        r.version,
        r.verdict,
        json.loads(r.data),
        r.created,
        at,
        talk,
    )


def of_diff(c: Connection, number: int) -> list[Post]:
    """All posts of a diff, oldest first; the first is its root."""
    return [_post(r) for r in c.execute(_select().where(post.c.diff == number).order_by(post.c.id))]


def get(c: Connection, post_id: str) -> Post | None:
    row = c.execute(_select().where(post.c.id == post_id)).first()
    return _post(row) if row else None


def recent(c: Connection, *, limit: int = 50, before: str | None = None) -> list[Post]:
    """Posts of all diffs, newest first.  Page on with `before` = the last id seen."""
    question = _select().order_by(post.c.id.desc()).limit(limit)
    if before is not None:
        question = question.where(post.c.id < before)
    return [_post(r) for r in c.execute(question)]


def set_thread(c: Connection, post_id: str, state: str) -> bool:
    """Open, close (done) or drop a thread; False if the post opens no thread."""
    done = c.execute(update(thread).where(thread.c.post == post_id).values(state=state, updated=time.time()))
    return done.rowcount == 1


def set_body(c: Connection, post_id: str, body: str) -> None:
    """Rewrite the root post when a new version changes the commit message."""
    c.execute(update(post).where(post.c.id == post_id).values(body=body))


def must_fix_open(c: Connection, number: int) -> list[str]:
    """Ids of the posts whose "must fix" threads are open."""
    rows = c.execute(
        select(post.c.id)
        .join(thread, thread.c.post == post.c.id)
        .where(post.c.diff == number, thread.c.must_fix.is_(True), thread.c.state == "open")
        .order_by(post.c.id)
    )
    return [r.id for r in rows]
