"""A diff's posts as a conversation: what was said at top level, each with its replies, inline ones placed.

One level of nesting is shown.  An answer to an answer stands under the same first post, in order of time,
as people read it; who answered whom deeper down is kept in the records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from markupsafe import Markup

from fairlead.git import Repo
from fairlead.serve import markdown, views
from fairlead.serve.highlight import Highlighter
from fairlead.serve.pages import change
from fairlead.serve.pages.site import SYSTEM
from fairlead.serve.placing import place
from fairlead.serve.records.values import Post, Version
from fairlead.ship.hunks import FileDiff

_THREADS: dict[str, Literal["open", "done", "dropped"]] = {
    "open": "open",
    "done": "done",
    "dropped": "dropped",
}


def build(
    posts: Sequence[Post],
    root: str,
    versions: Mapping[int, Version],
    shown: Version,
    repo: Repo,
    highlighter: Highlighter,
    files: Sequence[FileDiff],
    text: change.Text,
) -> list[views.Post]:
    """The conversation as it reads on version `shown`, which changes `files` with these `text`s."""
    by_id = {post.id: post for post in posts}
    tops: dict[str, list[Post]] = {}
    for post in posts:
        if post.id == root:
            continue
        top = _top(post, by_id, root)
        tops.setdefault(top.id, [])
        if top is not post:
            tops[top.id].append(post)
    out = []
    for top_id, replies in tops.items():
        post = by_id[top_id]
        at = _place(post, versions, shown, repo, highlighter, files, text)
        out.append(_view(post, at, tuple(_view(reply, None, ()) for reply in replies)))
    return out


def _top(post: Post, by_id: Mapping[str, Post], root: str) -> Post:
    seen = set()
    while post.parent is not None and post.parent != root and post.parent in by_id and post.id not in seen:
        seen.add(post.id)
        post = by_id[post.parent]
    return post


def _place(
    post: Post,
    versions: Mapping[int, Version],
    shown: Version,
    repo: Repo,
    highlighter: Highlighter,
    files: Sequence[FileDiff],
    text: change.Text,
) -> views.Place | None:
    anchor = post.anchor
    if anchor is None or anchor.version not in versions:
        return None
    found = place(repo, anchor, versions[anchor.version], shown)
    gone = found.fate == "gone"
    old = anchor.side == "old"
    moved = anchor.version != shown.n and (gone or (found.path, found.start) != (anchor.path, anchor.start))
    commit = shown.parent if old else shown.commit
    if gone:
        made_on = versions[anchor.version]
        commit = made_on.parent if old else made_on.commit
    link = f"/D{shown.diff}/v{shown.n}"
    names = [f.old_path if old else f.new_path for f in files]
    file = files[names.index(found.path)] if found.path in names and not gone else None
    blob = (file.old_blob if old else file.new_blob) if file else ""
    lines = text.excerpt(blob, found.path, found.start, found.end)
    return views.Place(
        path=found.path,
        side="old" if old else "new",
        line=None if gone else found.start,
        end=None if gone else found.end,
        url=f"{link}#l-{post.id}" if file or gone else f"{link}#p-{post.id}",
        moved_from=f"line {anchor.start} of v{anchor.version}" if moved or found.fate != "placed" else "",
        changed=found.fate == "changed",
        gone=gone,
        excerpt=lines or change.excerpt(repo, highlighter, commit, found.path, found.start, found.end),
    )


def _view(post: Post, at: views.Place | None, replies: tuple[views.Post, ...]) -> views.Post:
    author = views.Person(post.author) if post.author else SYSTEM
    if post.kind == "version":
        return _version(post, author, replies)
    if post.kind == "notice":
        return _notice(post, author, replies)
    return views.Post(
        id=post.id,
        author=author,
        at=post.created,
        kind=post.kind,
        body=markdown.html(post.body),
        verdict=post.verdict or "",
        version=post.version,
        place=at,
        thread=_THREADS.get(post.thread.state, "") if post.thread else "",
        must_fix=post.thread.must_fix if post.thread else False,
        replies=replies,
    )


def _version(post: Post, author: views.Person, replies: tuple[views.Post, ...]) -> views.Post:
    carried = post.data.get("carried")
    kept = f"; {carried} {'accept' if carried == 1 else 'accepts'} carried over" if carried else ""
    return views.Post(
        post.id, author, post.created, "version", markdown.html(post.body), f"sent v{post.version}{kept}",
        version=post.version, replies=replies, link=f"/D{post.diff}/v{post.version}",
        link_text=f"Show v{post.version}", link_icon="version",
    )  # fmt: skip


def _notice(post: Post, author: views.Person, replies: tuple[views.Post, ...]) -> views.Post:
    """What the server says; the notices it makes itself get better words than their Markdown."""
    event, commit, digest = (str(post.data.get(name) or "") for name in ("event", "commit", "log"))
    reasons = post.data.get("reasons")
    points = tuple(
        str(one.get("text", ""))
        for one in (reasons if isinstance(reasons, list) else ())
        if isinstance(one, dict)
    )
    text, body, link, words, icon = "", Markup(""), "", "", "log"
    if event == "landed" and commit:
        text, link, words, icon = (
            f"landed v{post.version} as {commit[:12]}",
            f"/commits/{commit}",
            "Why is this green?",
            "commits",
        )
    elif event in ("refused", "conflict") and points:
        text = f"did not land v{post.version}"
        if digest:
            label = str(post.data.get("label") or "")
            link, words = f"/logs/{digest}", f"Read the log of {label}" if label else "Read the log"
        command = str(post.data.get("command") or "")
        body = markdown.html(f"To go on: `{command}`") if command else body
    else:
        body, points = markdown.html(post.body), ()
    return views.Post(
        post.id, author, post.created, "notice", body, text, version=post.version, replies=replies,
        points=points, link=link, link_text=words, link_icon=icon,
    )  # fmt: skip


def spots(
    thread: Sequence[views.Post], files: Sequence[FileDiff]
) -> tuple[dict[change.Spot, list[views.Post]], list[views.Post]]:
    """The inline posts by the line they stand under, and those whose line is in no file of the change."""
    by_side = {("old", f.old_path): f.path for f in files} | {("new", f.new_path): f.path for f in files}
    found: dict[change.Spot, list[views.Post]] = {}
    lost = []
    for post in thread:
        if post.place is None:
            continue
        path = by_side.get((post.place.side, post.place.path))
        if post.place.line is None or path is None:
            lost.append(post)
        else:
            found.setdefault((path, post.place.side, post.place.end or post.place.line), []).append(post)
    return found, lost
