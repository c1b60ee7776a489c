"""Whose turn is it?  One pure function, asked by every page that says so.

A turn is computed from what has happened, never a field that somebody has to set; and it always comes with
its reason, because a list that does not say why something is on it is soon not read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fairlead.serve.records.values import Diff, Post, QueueEntry, Reason, Reviewer


def reason(
    diff: Diff,
    person: str,
    *,
    authors: Collection[str],
    reviewers: Sequence[Reviewer],
    posts: Sequence[Post],
    lacking: Sequence[Reason],
    tries: Sequence[QueueEntry],
) -> str:
    """Why it is `person`'s turn on `diff`, as a sentence; "" if it is not.

    `posts` and `tries` are oldest first; `lacking` is what stands between the diff and the queue.
    """
    if person in authors:
        return _author(diff, person, posts, lacking, tries)
    if diff.state not in ("needs_review", "changes_requested", "accepted"):
        return ""
    own = next((r for r in reviewers if r.person == person), None)
    if own is None or own.given_on is None:
        return "Needs a review; you have given none yet" if diff.state == "needs_review" else ""
    if own.version != diff.latest and diff.state != "accepted":
        return f"v{diff.latest} is new since you reviewed v{own.given_on}"
    return ""


def _author(
    diff: Diff, person: str, posts: Sequence[Post], lacking: Sequence[Reason], tries: Sequence[QueueEntry]
) -> str:
    if diff.state == "changes_requested":
        asked = next((r.text for r in lacking if r.code == "changes_requested"), "")
        return _sentence(asked) or "Changes are asked for"
    if diff.state == "accepted":
        last = tries[-1] if tries else None
        if last is not None and last.version == diff.latest and last.state in ("refused", "conflict"):
            return "It was not landed: " + "; ".join(r.text for r in last.reasons)
        return "Accepted, ready to land" if not lacking else _sentence(lacking[0].text)
    if diff.state == "needs_review":
        said = [p for p in posts if p.author is not None and p.kind in ("comment", "inline", "review")]
        if said and said[-1].author != person and said[-1].version == diff.latest:
            return f"{said[-1].author} wrote last"
    return ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
