"""The first page: whose turn it is and why, the open stacks, and what happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from fairlead.serve import lifecycle, turn, views
from fairlead.serve.pages import change, render
from fairlead.serve.pages.site import SYSTEM, Ask, the_repo
from fairlead.serve.records import Connection, diffs, posts, queue
from fairlead.serve.records.values import Diff, Post
from fairlead.ship import states

MOST = 100  # open diffs on the page, the latest first
ACTIVITY = 20


@dataclass(frozen=True)
class _Open:
    diff: Diff
    row: views.DiffRow


def show(ask: Ask) -> Response:
    """The feed of the person who is signed in."""
    with ask.state.records.read() as c:
        hosted = the_repo(c)
        repo = ask.state.repo(hosted.name)
        still_open = [s for s in states.STATES if s not in states.CLOSED]
        found = [d for state in still_open for d in diffs.feed(c, limit=MOST, state=state)]
        found.sort(key=lambda d: (-d.updated, -d.number))
        opened = {d.number: _Open(d, row_of(ask, c, d)) for d in found[:MOST]}
        on_the_way = [e.diff for e in queue.open_entries(c, hosted.name)]
        page = views.FeedPage(
            turn=[one.row for one in opened.values() if one.row.reason],
            stacks=_stacks(hosted.trunk, opened),
            activity=_activity(c, posts.recent(c, limit=ACTIVITY)),
            queue=[opened[n].row for n in on_the_way if n in opened],
            trunk=hosted.trunk,
            server=ask.state.url,
            remote=f"{ask.state.url}/git/{hosted.name}",
            empty_repository=repo.ref(f"refs/heads/{hosted.trunk}") is None,
        )
        shell = ask.shell("Feed", "feed", c=c)
    return render.page("feed.html", shell, page)


def row_of(ask: Ask, c: Connection, diff: Diff, *, current: bool = False) -> views.DiffRow:
    """A diff as a line of a list."""
    said = posts.of_diff(c, diff.number)
    version = diffs.version_of(c, diff.number, diff.latest)
    reason = turn.reason(
        diff,
        ask.person.name,
        authors=lifecycle.authors(c, diff),
        reviewers=diffs.reviewers(c, diff.number),
        posts=said,
        lacking=lifecycle.lacking(c, diff, ask.state.settings),
        tries=queue.entries_of(c, diff.number),
    )
    return views.DiffRow(
        number=diff.number,
        title=diff.title,
        state=views.State(diff.state),
        author=views.Person(diff.author),
        updated=diff.updated,
        version=diff.latest,
        posts=sum(post.kind in ("comment", "inline", "review") for post in said),
        count=change.count_of(ask.state.repo(diff.repo), version) if version else None,
        reason=reason,
        current=current,
    )


def stack_of(ask: Ask, c: Connection, diff: Diff) -> views.Stack:
    """The stack that a diff is part of; what has landed below it is left out, unless it is this one."""
    hosted = next(one for one in diffs.repos(c) if one.name == diff.repo)
    chain = [
        d for d in diffs.stack(c, diff.number) if d.number == diff.number or d.state not in states.CLOSED
    ]
    return views.Stack(hosted.trunk, [row_of(ask, c, d, current=d.number == diff.number) for d in chain])


def _stacks(trunk: str, opened: dict[int, _Open]) -> list[views.Stack]:
    """The open diffs as chains, the one that moved last first.  A fork makes its own chain."""
    above: dict[int, list[int]] = {}
    bottoms = []
    for number, one in sorted(opened.items()):
        if one.diff.stack_parent in opened:
            above.setdefault(int(one.diff.stack_parent or 0), []).append(number)
        else:
            bottoms.append(number)
    stacks = [views.Stack(trunk, [opened[n].row for n in _walk(bottom, above)]) for bottom in bottoms]
    return sorted(stacks, key=lambda stack: -stack.updated)


def _walk(number: int, above: dict[int, list[int]]) -> Iterable[int]:
    yield number
    for upper in above.get(number, ()):
        yield from _walk(upper, above)


_VERBS = {"diff": "sent", "comment": "commented on", "inline": "commented on", "review": "reviewed"}


def _activity(c: Connection, recent: Sequence[Post]) -> list[views.Activity]:
    out = []
    for post in recent:
        diff = diffs.get(c, post.diff)
        if diff is None:
            continue
        url = f"/D{post.diff}" if post.kind == "diff" else f"/D{post.diff}#p-{post.id}"
        verb, excerpt = _VERBS.get(post.kind, ""), ""
        if post.kind == "version":
            verb = f"sent v{post.version} of"
        elif post.kind == "notice":
            event = str(post.data.get("event") or "")
            verb = {"landed": "landed", "refused": "did not land", "conflict": "could not merge"}.get(
                event, "noted on"
            )
        elif post.verdict == "accept":
            verb = "accepted"
        elif post.verdict == "request":
            verb = "asked for changes on"
        if post.kind in ("comment", "inline", "review"):
            excerpt = " ".join(post.body.split())[:140]
        author = views.Person(post.author) if post.author else SYSTEM
        out.append(
            views.Activity(
                post.id, author, verb, f"D{post.diff}", diff.title, url, post.created, post.kind, excerpt
            )
        )
    return out
