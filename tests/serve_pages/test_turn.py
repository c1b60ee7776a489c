"""Whose turn it is, from what happened."""

from __future__ import annotations

import pytest

from fairlead.serve.records.values import Diff, Post, QueueEntry, Reason, Reviewer
from fairlead.serve.turn import reason


def diff(state: str, latest: int = 2) -> Diff:
    return Diff(1, "id", "main", "root", "author", "title", state, latest, None, 0.0, 0.0)


def post(author: str | None, kind: str = "comment", version: int = 2) -> Post:
    return Post("p", 1, None, author, kind, "text", version, None, {}, 0.0, None, None)


def entry(state: str, version: int = 2, text: str = "//:t failed") -> QueueEntry:
    why = (Reason("test", text, "//:t"),)
    return QueueEntry(1, "main", 1, version, "author", state, None, None, why, 0.0, 1.0)


ACCEPTED = Reviewer("reviewer", "accept", 2, 2, 0.0)
OLDER = Reviewer("reviewer", "request", 1, 1, 0.0)
ASKED = Reason("changes_requested", "reviewer asks for changes", "p")


@pytest.mark.parametrize(
    ("person", "state", "reviewers", "posts", "lacking", "tries", "expected"),
    [
        ("reviewer", "needs_review", [], [], [], [], "Needs a review; you have given none yet"),
        ("reviewer", "needs_review", [OLDER], [], [], [], "v2 is new since you reviewed v1"),
        ("reviewer", "changes_requested", [OLDER], [], [], [], "v2 is new since you reviewed v1"),
        ("reviewer", "needs_review", [ACCEPTED], [], [], [], ""),
        ("reviewer", "accepted", [], [], [], [], ""),
        ("reviewer", "draft", [], [], [], [], ""),
        ("reviewer", "queued", [], [], [], [], ""),
        ("author", "changes_requested", [OLDER], [], [ASKED], [], "Reviewer asks for changes"),
        ("author", "accepted", [ACCEPTED], [], [], [], "Accepted, ready to land"),
        (
            "author",
            "accepted",
            [ACCEPTED],
            [],
            [Reason("must_fix", "a thread is open", "p")],
            [],
            "A thread is open",
        ),
        ("author", "accepted", [ACCEPTED], [], [], [entry("refused")], "It was not landed: //:t failed"),
        ("author", "accepted", [ACCEPTED], [], [], [entry("refused", 1)], "Accepted, ready to land"),
        ("author", "accepted", [ACCEPTED], [], [], [entry("conflict")], "It was not landed: //:t failed"),
        ("author", "needs_review", [], [post("author"), post("reviewer")], [], [], "reviewer wrote last"),
        ("author", "needs_review", [], [post("reviewer"), post("author")], [], [], ""),
        (
            "author",
            "needs_review",
            [],
            [post("reviewer"), post(None, "notice")],
            [],
            [],
            "reviewer wrote last",
        ),
        ("author", "needs_review", [], [post("reviewer", version=1)], [], [], ""),
        ("author", "queued", [ACCEPTED], [], [], [], ""),
    ],
)
def test_turn(
    person: str,
    state: str,
    reviewers: list[Reviewer],
    posts: list[Post],
    lacking: list[Reason],
    tries: list[QueueEntry],
    expected: str,
) -> None:
    found = reason(
        diff(state),
        person,
        authors=("author",),
        reviewers=reviewers,
        posts=posts,
        lacking=lacking,
        tries=tries,
    )
    assert found == expected
