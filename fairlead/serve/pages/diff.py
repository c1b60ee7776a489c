"""The page of a diff, `/D12` and `/D12/v3`, and the forms on it."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response

from fairlead.git import trailers
from fairlead.serve import landing, lifecycle, markdown, review, views
from fairlead.serve.pages import change, conversation, render
from fairlead.serve.pages.feed import stack_of
from fairlead.serve.pages.site import Ask, whole
from fairlead.serve.records import Connection, diffs, posts, queue
from fairlead.serve.records.values import Diff, Post, Version
from fairlead.serve.reply import NotFound
from fairlead.ship import states


def show(ask: Ask) -> Response:
    """The diff as it is, on its latest version or the one in the address."""
    number = whole(ask.path["number"], "diff D")
    with ask.state.records.read() as c:
        diff = review.find(c, number)
        known = {v.n: v for v in diffs.versions(c, number)}
        n = whole(ask.path["n"], "version v") if "n" in ask.path else diff.latest
        if n not in known:
            raise NotFound(f"D{number} has no version {n}", remedy=f"it has versions 1 to {diff.latest}")
        said = posts.of_diff(c, number)
        stack = stack_of(ask, c, diff)
        land = _land(ask, c, diff)
        standing = [
            views.Reviewer(
                views.Person(r.person), r.verdict, r.version, r.given_on,
                carried=r.version == diff.latest and r.given_on < r.version, stale=r.version != diff.latest,
            )
            for r in diffs.reviewers(c, number)
            if r.verdict and r.version is not None and r.given_on is not None
        ]  # fmt: skip
        own = ask.person.name in lifecycle.authors(c, diff)
        shell = ask.shell(
            f"D{number} {diff.title}",
            c=c,
            live_url=f"/D{number}/v{n}",
            topics=[f"D{row.number}" for row in stack.rows],
        )
    page = _page(ask, diff, known, n, said, stack, land, standing, own)
    return render.page("diff.html", shell, page)


def _page(
    ask: Ask,
    diff: Diff,
    known: dict[int, Version],
    n: int,
    said: list[Post],
    stack: views.Stack,
    land: views.LandBox,
    reviewers: list[views.Reviewer],
    own: bool,
) -> views.DiffPage:
    version = known[n]
    repo = ask.state.repo(diff.repo)
    files = change.files_of(repo, version)
    text = change.Text(repo, ask.highlighter, files)
    thread = conversation.build(said, diff.root_post, known, version, repo, ask.highlighter, files, text)
    placed, lost = conversation.spots(thread, files)
    asked = change.Asked(ask.query.get("at", ""), ask.query.get("show", ""))
    versions = tuple(
        views.VersionLink(
            v.n, v.created, v.commit, f"/D{diff.number}/v{v.n}", current=v.n == n, latest=v.n == diff.latest
        )
        for v in known.values()
    )
    return views.DiffPage(
        number=diff.number,
        title=diff.title,
        state=views.State(diff.state),
        author=views.Person(diff.author),
        trunk=stack.trunk,
        created=diff.created,
        root_id=diff.root_post,
        body=markdown.html(description(version.message)),
        version=next(v for v in versions if v.current),
        versions=versions,
        stack=stack,
        thread=thread,
        reviewers=reviewers,
        files=change.show(
            files, text, placed, asked, f"/D{diff.number}/v{n}", repo.sizes(change.unshown(files))
        ),
        lost=lost,
        count=views.Count(len(files), sum(f.added for f in files), sum(f.removed for f in files)),
        land=land,
        may_comment=True,
        may_review=_may_review(ask, diff, own),
        diff_id=diff.diff_id,
    )


def description(message: str) -> str:
    """A commit message without its subject and its trailers."""
    lines = message.strip("\n").split("\n")
    trailing = len(trailers(message)) if len(lines) > 2 else 0
    body = lines[1 : len(lines) - trailing] if trailing else lines[1:]
    return "\n".join(body).strip("\n")


def _may_review(ask: Ask, diff: Diff, own: bool) -> bool:
    open_to_verdicts = diff.state not in ("landing", *states.CLOSED)
    return open_to_verdicts and (not own or ask.state.settings.author_may_approve)


def _land(ask: Ask, c: Connection, diff: Diff) -> views.LandBox:
    """What the land box says."""
    if diff.state == "landed":
        done = queue.land_of(c, diff.number)
        return views.LandBox("landed", commit=done.commit if done else "")
    if diff.state in ("abandoned", "reverted"):
        return views.LandBox("closed")
    if diff.state in ("queued", "landing"):
        waiting = [entry.diff for entry in queue.open_entries(c, diff.repo)]
        position = waiting.index(diff.number) + 1 if diff.number in waiting else None
        asked = [e.person for e in queue.entries_of(c, diff.number) if e.state in queue.OPEN]
        mine = ask.person.name in (*lifecycle.authors(c, diff), *asked)
        if diff.state == "landing":
            return views.LandBox("landing", position=position)
        return views.LandBox("queued", position=position, may_cancel=mine)
    below = _below(c, diff)
    missing = [
        views.Missing(reason.code, _sentence(reason.text), reason.subject)
        for reason in lifecycle.lacking(c, diff, ask.state.settings)
    ]
    for one in below:
        lacking = lifecycle.lacking(c, one, ask.state.settings)
        for reason in lacking:
            missing.append(views.Missing(reason.code, f"D{one.number} below: {reason.text}", reason.subject))
        if not lacking and one.state not in ("accepted", "queued", "landing"):
            missing.append(views.Missing("state", f"D{one.number} below is {one.state.replace('_', ' ')}"))
    if not missing and diff.state != "accepted":
        words = views.State(diff.state).label.lower()
        missing.append(views.Missing("state", f"It is marked as {words}; only an accepted diff can land"))
    tries = [e for e in queue.entries_of(c, diff.number) if e.version == diff.latest]
    refused, digest = "", ""
    if tries and tries[-1].state in ("refused", "conflict"):
        refused = "The last try was refused: " + "; ".join(reason.text for reason in tries[-1].reasons)
        notices = [p for p in posts.of_diff(c, diff.number) if p.kind == "notice" and p.data.get("log")]
        digest = str(notices[-1].data["log"]) if notices and notices[-1].version == diff.latest else ""
    return views.LandBox(
        "open",
        tuple(missing),
        tuple(one.number for one in below),
        may_land=True,
        refused=refused,
        refused_log=digest,
    )


def _below(c: Connection, diff: Diff) -> list[Diff]:
    """The diffs under this one that have not landed, lowest first."""
    found: list[Diff] = []
    at = diff.stack_parent
    while at is not None and at not in {one.number for one in found}:
        one = diffs.get(c, at)
        if one is None:
            break
        found.append(one)
        at = one.stack_parent
    return [one for one in reversed(found) if one.state != "landed"]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def say(ask: Ask) -> Response:
    """The forms that write: a comment, a reply, a comment on a line, a review."""
    number = whole(ask.path["number"], "diff D")
    form = ask.form
    do = form.get("do", "comment")
    n = whole(form["version"], "version v") if form.get("version") else None
    draft = review.Draft(
        kind={"inline": "inline", "accept": "review", "request": "review"}.get(do, "comment"),
        body=form.get("body", ""),
        version=n,
        path=form.get("path") if do == "inline" else None,
        side=form.get("side") or "new",
        line=whole(form.get("line", ""), "line ") if do == "inline" else None,
        parent=form.get("parent") if do == "reply" else None,
        must_fix=do == "inline" and form.get("must_fix") == "1",
        verdict=do if do in review.VERDICTS else None,
    )
    made = review.say(ask.state, ask.person, number, draft)
    with ask.state.records.read() as c:
        latest = review.find(c, number).latest
    page = f"/D{number}" if n in (None, latest) else f"/D{number}/v{n}"
    return RedirectResponse(f"{page}#{'l' if do == 'inline' else 'p'}-{made}", 303)


def settle(ask: Ask) -> Response:
    """The button that marks a thread as done, or opens it again."""
    number = whole(ask.path["number"], "diff D")
    post = ask.form.get("post", "")
    review.set_thread(ask.state, ask.person, post, ask.form.get("state", ""))
    return RedirectResponse(f"/D{number}#p-{post}", 303)


def land(ask: Ask) -> Response:
    """The land button."""
    number = whole(ask.path["number"], "diff D")
    landing.enqueue(ask.state, ask.person, number, stack=ask.form.get("stack") == "1")
    return RedirectResponse(f"/D{number}", 303)


def dequeue(ask: Ask) -> Response:
    """The button that takes a diff out of the queue."""
    number = whole(ask.path["number"], "diff D")
    review.dequeue(ask.state, ask.person, number)
    return RedirectResponse(f"/D{number}", 303)
