"""Every change of a diff's state goes through here: ship's table of states, the record, and the event.

These functions run inside the caller's transaction and know neither git nor HTTP.
"""

from __future__ import annotations

from fairlead.errors import UsageError
from fairlead.serve.records import Connection, diffs, events, jobs, posts, queue
from fairlead.serve.records.values import Diff, Reason
from fairlead.ship import states
from fairlead.ship.values import Approval, Objection, Settings


def move(c: Connection, number: int, step: states.Step) -> str:
    """Take a step of ship's table; a step that is not in it is a UsageError.  The state afterwards."""
    diff = diffs.get(c, number)
    if diff is None:
        raise UsageError(f"there is no diff D{number}")
    new = states.after(diff.state, step)
    if new != diff.state:
        diffs.set_state(c, number, new)
        events.append(c, "diff.state", {"diff": number, "state": new}, diff=number)
    return new


def authors(c: Connection, diff: Diff) -> tuple[str, ...]:
    """The owner of a diff first, then everyone else who pushed a version of it."""
    pushers = (v.pusher for v in diffs.versions(c, diff.number))
    return tuple(dict.fromkeys([diff.author, *pushers]))


def approvals(c: Connection, number: int) -> tuple[Approval, ...]:
    """Each reviewer's standing accept, bound to the version it was given on."""
    known = {v.n: v for v in diffs.versions(c, number)}
    return tuple(
        Approval(number, r.given_on, r.person, known[r.given_on].commit, known[r.given_on].change)
        for r in diffs.reviewers(c, number)
        if r.verdict == "accept" and r.given_on is not None
    )


def objections(c: Connection, number: int) -> tuple[Objection, ...]:
    """What people said that stops a landing: requests for changes, and open threads that must be fixed."""
    said = posts.of_diff(c, number)
    found = []
    for reviewer in diffs.reviewers(c, number):
        if reviewer.verdict == "request":
            ids = [p.id for p in said if p.author == reviewer.person and p.verdict == "request"]
            found.append(Objection(reviewer.person, "changes_requested", ids[-1] if ids else ""))
    for post in said:
        if post.thread is not None and post.thread.must_fix and post.thread.state == "open":
            found.append(Objection(post.author or "", "must_fix", post.id))
    return tuple(found)


def lacking(c: Connection, diff: Diff, settings: Settings) -> list[Reason]:
    """What people still have to say before a diff may be queued.  The land rule itself is asked later."""
    counted = {
        r.person
        for r in diffs.reviewers(c, diff.number)
        if r.verdict == "accept"
        and r.version == diff.latest
        and (settings.author_may_approve or r.person not in authors(c, diff))
    }
    found = []
    if len(counted) < settings.approvals:
        text = f"{len(counted)} of {settings.approvals} approvals of version {diff.latest}"
        found.append(Reason("approval", text, f"D{diff.number}"))
    for objection in objections(c, diff.number):
        if objection.kind == "must_fix":
            text = f"a thread that {objection.person} marked as must fix is open"
        else:
            text = f"{objection.person} asks for changes"
        found.append(Reason(objection.kind, text, objection.post))
    return found


def _blocking(c: Connection, diff: Diff, settings: Settings) -> set[str]:
    return {r.code for r in lacking(c, diff, settings)} & {"approval", "changes_requested"}


def accepted(c: Connection, number: int, settings: Settings) -> bool:
    """Whether the newest version has its approvals and nobody asks for changes."""
    diff = diffs.get(c, number)
    return diff is not None and not _blocking(c, diff, settings)


def settle(c: Connection, number: int, settings: Settings) -> str:
    """Let the state follow what reviewers have said by now.  The state afterwards.

    Open threads that must be fixed do not touch the state: they stop a landing, not an accept.
    """
    diff = diffs.get(c, number)
    assert diff is not None
    blocking = _blocking(c, diff, settings)
    if not blocking and "accept" in states.steps(diff.state):
        return move(c, number, "accept")
    if diff.state == "changes_requested" and "changes_requested" not in blocking:
        return move(c, number, "retract")
    return diff.state


def unqueue(c: Connection, number: int, why: Reason) -> None:
    """Take a diff's open entry out of the queue, with its job; the caller moves the diff's state."""
    for entry in queue.entries_of(c, number):
        if entry.state in ("waiting", "testing"):
            for job in jobs.of_entry(c, entry.n):
                if job.state in ("waiting", "leased"):
                    jobs.finish(c, job.id, "cancelled", {"what": why.text})
            queue.set_state(c, entry.n, "cancelled", [why])
            entry_changed(c, number, entry.n, "cancelled")


def tell(
    c: Connection, number: int, body: str, *, version: int | None = None, data: dict[str, object]
) -> str:
    """A notice of the server on a diff; its id."""
    made = posts.add(c, number=number, kind="notice", body=body, author_id=None, version=version, data=data)
    diffs.touch(c, number)
    events.append(c, "post.added", {"diff": number, "post": made, "kind": "notice"}, diff=number)
    return made


def entry_changed(c: Connection, number: int, entry: int, new: str, **more: object) -> None:
    """Say in the event log that a queue entry is now in another state."""
    events.append(c, "queue.changed", {"diff": number, "entry": entry, "state": new, **more}, diff=number)
