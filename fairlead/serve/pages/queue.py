"""The queue's page: what is on its way, what just ended, and the workers."""

from __future__ import annotations

from starlette.responses import Response

from fairlead.serve import views
from fairlead.serve.pages import render
from fairlead.serve.pages.feed import row_of
from fairlead.serve.pages.site import Ask, the_repo
from fairlead.serve.records import Connection, diffs, jobs, people, posts, queue
from fairlead.serve.records.values import QueueEntry

LATELY = 20
_PHASES = {"waiting": "waiting", "testing": "testing", "landing": "landing"}


def show(ask: Ask) -> Response:
    """The queue as the records have it."""
    with ask.state.records.read() as c:
        hosted = the_repo(c)
        busy: dict[str, str] = {}
        rows = []
        for place, entry in enumerate(queue.open_entries(c, hosted.name), 1):
            rows.append(_row(ask, c, place, entry, busy))
        ended = [_end(ask, c, entry) for entry in queue.recent_entries(c, LATELY)]
        workers = [
            views.Worker(w.name, None, busy.get(w.name, "")) for w in people.workers(c) if w.revoked is None
        ]
        page = views.QueuePage(hosted.trunk, rows, ended, workers)
        shell = ask.shell("Queue", "queue", c=c)
    return render.page("queue.html", shell, page)


def _row(ask: Ask, c: Connection, place: int, entry: QueueEntry, busy: dict[str, str]) -> views.QueueRow:
    note = ""
    for job in jobs.of_entry(c, entry.n):
        if job.state == "leased" and job.worker:
            busy[job.worker] = f"checks D{entry.diff}"
            count = len(queue.verdicts_of(c, job.id))
            note = f"by {job.worker}" + (
                f", {count} {'verdict' if count == 1 else 'verdicts'} so far" if count else ""
            )
        elif job.state == "waiting":
            note = "until a worker is free"
    return views.QueueRow(
        place, _diff(ask, c, entry.diff), _PHASES.get(entry.state, entry.state), entry.created, note
    )


def _end(ask: Ask, c: Connection, entry: QueueEntry) -> views.QueueEnd:
    landed = entry.state == "landed"
    why = "; ".join(reason.text for reason in entry.reasons) or entry.state
    digest = ""
    if not landed:
        notices = [
            p
            for p in posts.of_diff(c, entry.diff)
            if p.kind == "notice" and p.data.get("log") and p.version == entry.version
            and p.created >= (entry.finished or 0) - 1 and p.data.get("commit") == entry.commit
        ]  # fmt: skip
        digest = str(notices[0].data["log"]) if notices else ""
    return views.QueueEnd(
        entry.n,
        _diff(ask, c, entry.diff),
        landed,
        entry.finished or entry.created,
        (entry.commit or "") if landed else "",
        why,
        digest,
    )


def _diff(ask: Ask, c: Connection, number: int) -> views.DiffRow:
    diff = diffs.get(c, number)
    assert diff is not None  # an entry refers to a diff that exists
    return row_of(ask, c, diff)
