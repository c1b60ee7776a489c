"""What a server does not keep for ever: candidates that did not land, logs and events, each by its age.

Precious are the trunk, the versions of diffs, the posts, the verdicts and the evidence; nothing here touches
them. A log stays as long as evidence refers to it, as a pass does that may yet become evidence, as a check
that is not over does, or as anything younger than the limit does. A log that is handed in again is young
again, under the same lock as the removal, so that no log vanishes between its upload and its verdict.

Each step is whole in itself: cut off anywhere, the next start goes on with what is left. (Rejected: doing it
by hand with a verb, which nobody does before the disk is full; counting references in a table, which would
have to be right for ever, while the question asked anew is right today.)
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fairlead.errors import FairleadError
from fairlead.serve.records import events, jobs, queue
from fairlead.serve.reply import log
from fairlead.serve.state import State
from fairlead.ship import evidence
from fairlead.ship.values import Verdict
from fairlead.store import crashpoint

AFTER_CANDIDATE = crashpoint.declare(
    "serve.clean.after-candidate", "one old candidate's ref is gone of several"
)
AFTER_LOG = crashpoint.declare("serve.clean.after-log", "one old log is gone of several")
AFTER_EVENTS = crashpoint.declare("serve.clean.after-events", "some of the old events are gone")

DAY = 86400.0
_EVENTS_AT_ONCE = 2000  # in one transaction: writers wait for it


@dataclass(frozen=True)
class Cleaned:
    """How much one pass removed."""

    candidates: int
    logs: int
    events: int


def sweep(state: State, now: float | None = None) -> Cleaned:
    """Remove what is older than the settings say, as of `now`."""
    now = time.time() if now is None else now
    keep = state.keep
    return Cleaned(
        _candidates(state, now - keep.candidates * DAY) if keep.candidates else 0,
        _logs(state, now - keep.logs * DAY) if keep.logs else 0,
        _events(state, now - keep.events * DAY) if keep.events else 0,
    )


def _candidates(state: State, before: float) -> int:
    """The refs of candidates whose entry left the queue before then; git frees the objects in time."""
    with state.records.read() as c:
        ended = queue.ended(c, before)
    count = 0
    for repo_name in {entry.repo for entry in ended}:
        repo = state.repo(repo_name)
        old = {f"refs/queue/{entry.n}" for entry in ended if entry.repo == repo_name}
        for ref, commit in repo.refs("refs/queue/").items():
            if ref in old and repo.delete_ref(ref, commit):
                count += 1
                crashpoint.here(AFTER_CANDIDATE)
    return count


def _logs(state: State, before: float) -> int:
    """The logs that were handed in before then and that nothing refers to that stays."""
    old = [path for path in _files(state.logs.root) if _older(path, before)]
    if not old:
        return 0
    with state.records.read() as c:
        wanted = queue.logs(c, before) | jobs.logs(c, before)
        envelopes = queue.envelopes(c)
    for envelope in envelopes:
        for signed in evidence.read(envelope.encode("ascii")).verdicts:
            wanted.add(Verdict.from_payload(signed.payload).log)
    count = 0
    for path in old:
        if path.parent.name + path.name in wanted:
            continue
        with state.shelf:
            if not _older(path, before):  # handed in again meanwhile
                continue
            path.unlink(missing_ok=True)
        count += 1
        crashpoint.here(AFTER_LOG)
    return count


def _files(root: Path) -> Iterator[Path]:
    """The blobs below `root`; what is being written has a name with a dot."""
    for folder in sorted(root.glob("[0-9a-f][0-9a-f]")):
        yield from (path for path in folder.iterdir() if not path.name.startswith("."))


def _older(path: Path, before: float) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime < before
    return False


def _events(state: State, before: float) -> int:
    """The events of before then; the newest stays, for its number is where listeners go on."""
    count = 0
    while True:
        with state.records.write() as c:
            gone = events.forget(c, before, _EVENTS_AT_ONCE)
        if not gone:
            return count
        count += gone
        crashpoint.here(AFTER_EVENTS)


def hand_in(state: State, data: bytes) -> str:
    """Keep a log; its digest. One that is here already is young again."""
    with state.shelf:
        digest = state.logs.put(data)
        os.utime(state.logs.path(digest))
    return digest


def remedy(state: State) -> str:
    """What to tell who asks for a log that is not here."""
    days = state.keep.logs
    kept = f"logs that no evidence needs are kept for {days} days; " if days else ""
    return f"{kept}follow the link on the page of its diff or commit"


def tend(state: State) -> None:
    """The thread that cleans: at the start, then once a day.  Ends when the bus closes."""
    due = 0.0
    while not state.bus.closed:
        if time.monotonic() >= due:
            try:
                done = sweep(state)
                if done != Cleaned(0, 0, 0):
                    log.info(
                        "cleaned: %s candidates, %s logs, %s events", done.candidates, done.logs, done.events
                    )
            except FairleadError as error:
                log.error("cleaning is put off until tomorrow: %s", error)
            except Exception:
                log.exception("cleaning met an error it did not expect")
            due = time.monotonic() + DAY
        state.bus.wait_closed(min(DAY, due - time.monotonic()))
