"""What people do to a diff: comment, review, resolve threads, abandon and reclaim.

Each function is one transaction, called by the API and by the pages' forms alike, and returns what the
caller shows.  Landing is asked for in `landing`.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.errors import UsageError, WorkFailed, did_you_mean
from fairlead.git import Repo
from fairlead.serve import lifecycle
from fairlead.serve.records import Connection, diffs, events, posts, queue
from fairlead.serve.records.values import Anchor, Diff, Person, Reason, Version
from fairlead.serve.reply import Forbidden, NotFound
from fairlead.serve.state import State
from fairlead.ship import change, states

KINDS = ("comment", "inline", "review")
VERDICTS = ("accept", "request")
THREADS = ("open", "done", "dropped")


@dataclass(frozen=True)
class Draft:
    """A post as someone asks for it, not checked yet.  `line` and `end` count from 1; `end` is included."""

    kind: str
    body: str
    version: int | None = None
    path: str | None = None
    side: str = "new"
    line: int | None = None
    end: int | None = None
    parent: str | None = None
    verdict: str | None = None
    must_fix: bool = False


def find(c: Connection, number: int) -> Diff:
    """The diff, or NotFound."""
    diff = diffs.get(c, number)
    if diff is None:
        raise NotFound(f"there is no diff D{number}", remedy="the feed lists them")
    return diff


def say(state: State, person: Person, number: int, draft: Draft) -> str:
    """Add a comment, an inline comment, or a review; its id.  It is on disk when this returns."""
    _check(state, draft)
    with state.records.read() as c:
        diff = find(c, number)
        n = diff.latest if draft.version is None else draft.version
        version = diffs.version_of(c, number, n)
    if version is None:
        raise NotFound(f"D{number} has no version {n}", remedy=f"it has versions 1 to {diff.latest}")
    at, holds_for = None, n
    if draft.verdict == "accept" and n < diff.latest:
        holds_for = _holds_for(state, diff, version)
    if draft.kind == "inline":
        side_commit = version.commit if draft.side == "new" else version.parent
        at = _anchor(state.repo(diff.repo), draft, n, side_commit)
    with state.records.write() as c:
        diff = find(c, number)
        parent = _parent(c, number, draft)
        made = posts.add(
            c,
            number=number,
            kind=draft.kind,
            body=draft.body,
            author_id=person.id,
            parent=parent,
            version=n,
            verdict=draft.verdict,
            at=at,
            must_fix=draft.must_fix,
        )
        if draft.kind == "review":
            _review(c, state, person, diff, draft.verdict or "", n, min(holds_for, diff.latest))
        diffs.touch(c, number)
        events.append(c, "post.added", {"diff": number, "post": made, "kind": draft.kind}, diff=number)
    return made


def _check(state: State, draft: Draft) -> None:
    if draft.kind not in KINDS:
        raise UsageError(
            f"a post cannot be of kind {draft.kind!r}",
            remedy=did_you_mean(draft.kind, KINDS) or f"use one of {', '.join(KINDS)}",
        )
    if len(draft.body.encode("utf-8", "replace")) > state.limits.post:
        raise UsageError(
            f"a post has at most {state.limits.post >> 10} KB",
            remedy="put long text into a file of the change",
        )
    if draft.kind == "review":
        if draft.verdict not in VERDICTS:
            raise UsageError("a review needs its verdict", remedy="verdict is accept or request")
    elif draft.verdict is not None:
        raise UsageError(f"a {draft.kind} has no verdict", remedy="send it as a post of kind review")
    elif not draft.body.strip():
        raise UsageError("the post is empty", remedy="say something")
    if draft.kind != "inline" and (draft.path is not None or draft.line is not None):
        raise UsageError(f"a {draft.kind} has no place in a file", remedy="send it as a post of kind inline")
    if draft.must_fix and draft.kind != "inline":
        raise UsageError(
            "only an inline comment opens a thread that must be fixed", remedy="name file and line"
        )


def _anchor(repo: Repo, draft: Draft, n: int, commit: str) -> Anchor:
    """The lines an inline comment is about, checked against the file as it is on that side."""
    if draft.path is None or draft.line is None:
        raise UsageError("an inline comment needs path and line")
    if draft.side not in ("old", "new"):
        raise UsageError(f"there is no side {draft.side!r}", remedy="side is old or new")
    end = draft.end if draft.end is not None else draft.line
    where = f"{draft.path} in v{n}, {draft.side} side"
    folder, _, name = draft.path.rpartition("/")
    try:
        listed = repo.entries(commit, folder)
    except UsageError:
        listed = []
    entry = next((e for e in listed if e.path == draft.path and e.kind == "blob"), None)
    if entry is None or not name:
        names = [e.path for e in listed]
        raise NotFound(
            "there is no such file on that side",
            where=where,
            remedy=did_you_mean(draft.path, names) or "name it as in the repository, from its top folder",
        )
    data = repo.blob(entry.oid)
    lines = data.count(b"\n") + (1 if data and not data.endswith(b"\n") else 0)
    if not 1 <= draft.line <= end <= lines:
        raise UsageError(
            f"there are no lines {draft.line} to {end}: the file has {lines}",
            where=where,
            remedy="lines count from 1, first to last",
        )
    return Anchor(n, draft.side, draft.path, draft.line, end)


def _parent(c: Connection, number: int, draft: Draft) -> str | None:
    if draft.parent is None:
        return None
    parent = posts.get(c, draft.parent)
    if parent is None or parent.diff != number:
        raise NotFound(f"there is no post {draft.parent} on D{number}", remedy="reply to a post of this diff")
    return parent.id


def _holds_for(state: State, diff: Diff, given_on: Version) -> int:
    """The newest version that an accept of an older one holds for, by the rule that carries accepts."""
    with state.records.read() as c:
        latest = diffs.version_of(c, diff.number, diff.latest)
    assert latest is not None
    merged = state.repo(diff.repo).merge_tree(latest.parent, given_on.commit, given_on.parent)
    return latest.n if change.carries(merged.tree, latest.tree) else given_on.n


def _review(
    c: Connection, state: State, person: Person, diff: Diff, verdict: str, n: int, holds_for: int
) -> None:
    """Count a verdict given on version `n`, and let the state of the diff follow."""
    if diff.state in ("landing", "landed", "abandoned", "reverted"):
        raise UsageError(
            f"D{diff.number} is {diff.state}: a verdict would change nothing",
            remedy="leave a comment instead",
        )
    own = person.name in lifecycle.authors(c, diff)
    if own and not (verdict == "accept" and state.settings.author_may_approve):
        raise UsageError(
            f"you are an author of D{diff.number}; others review it",
            remedy="comment instead, or ask someone else for a review",
        )
    diffs.set_verdict(c, diff.number, person.id, verdict, holds_for, n)
    if verdict == "request":
        if diff.state == "queued":
            reason = Reason("changes_requested", f"{person.name} asks for changes", f"D{diff.number}")
            lifecycle.unqueue(c, diff.number, reason)
        if "request" in states.steps(diff.state):
            lifecycle.move(c, diff.number, "request")
        return
    lifecycle.settle(c, diff.number, state.settings)


def set_thread(state: State, person: Person, post_id: str, new: str) -> None:
    """Open a thread again, or close it as done or dropped.  Anyone may; the event says who."""
    if new not in THREADS:
        raise UsageError(f"a thread cannot be {new!r}", remedy=f"use one of {', '.join(THREADS)}")
    with state.records.write() as c:
        post = posts.get(c, post_id)
        if post is None or not posts.set_thread(c, post_id, new):
            raise NotFound(f"no thread begins with post {post_id}")
        payload = {"diff": post.diff, "post": post_id, "state": new, "by": person.name}
        events.append(c, "thread.state", payload, diff=post.diff)


def abandon(state: State, person: Person, number: int) -> None:
    """The author gives a diff up; its conversation stays."""
    with state.records.write() as c:
        diff = find(c, number)
        _own(person, diff)
        if diff.state == "queued":
            lifecycle.unqueue(c, number, Reason("abandoned", f"{person.name} abandoned it", f"D{number}"))
        lifecycle.move(c, number, "abandon")
        lifecycle.tell(c, number, f"{person.name} abandoned this diff.", data={"event": "abandoned"})


def dequeue(state: State, person: Person, number: int) -> None:
    """The author, or who asked to land it, takes a diff out of the queue; it stays accepted."""
    with state.records.write() as c:
        diff = find(c, number)
        asked = [e.person for e in queue.entries_of(c, number) if e.state in queue.OPEN]
        if person.name not in (*lifecycle.authors(c, diff), *asked):
            raise Forbidden(f"D{number} belongs to {diff.author}", remedy=f"ask {diff.author}")
        if diff.state == "landing":
            raise WorkFailed(f"D{number} is landing now: the land rule has held", remedy="wait for it")
        if diff.state != "queued":
            raise WorkFailed(f"D{number} is not in the queue; it is {diff.state.replace('_', ' ')}")
        text = f"{person.name} took it out of the queue"
        lifecycle.unqueue(c, number, Reason("dequeued", text, f"D{number}"))
        lifecycle.move(c, number, "dequeue")
        lifecycle.tell(
            c, number, f"{person.name} took this diff out of the queue.", data={"event": "dequeued"}
        )


def reclaim(state: State, person: Person, number: int) -> None:
    """The author takes up an abandoned diff again."""
    with state.records.write() as c:
        diff = find(c, number)
        _own(person, diff)
        lifecycle.move(c, number, "reclaim")
        lifecycle.settle(c, number, state.settings)
        lifecycle.tell(c, number, f"{person.name} took this diff up again.", data={"event": "reclaimed"})


def publish(state: State, person: Person, number: int) -> None:
    """The author asks for review of a draft."""
    with state.records.write() as c:
        diff = find(c, number)
        _own(person, diff)
        lifecycle.move(c, number, "publish")
        lifecycle.settle(c, number, state.settings)


def _own(person: Person, diff: Diff) -> None:
    if diff.author != person.name:
        raise Forbidden(f"D{diff.number} belongs to {diff.author}", remedy=f"ask {diff.author}")
