"""Diff-Id: the trailer that makes a commit the same diff through every rewrite.

128 random bits in lower-case base32 without padding, made by the client. So `submit` reserves nothing,
retries are harmless, and the id survives rebase, amend and cherry-pick as any other line of a message.
(Rejected: `git patch-id` and the author's date, which change with the content; a number from the server,
which needs a server before a commit can be named.)
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from fairlead.errors import UsageError
from fairlead.git.trailers import values

TRAILER = "Diff-Id"
_BYTES = 16
_LENGTH = 26


def new() -> str:
    """A fresh id."""
    return encode(secrets.token_bytes(_BYTES))


def encode(data: bytes) -> str:
    """16 bytes as an id."""
    if len(data) != _BYTES:
        raise ValueError("a Diff-Id is 128 bits")
    return base64.b32encode(data).decode("ascii").rstrip("=").lower()


def parse(text: str, where: str = "") -> str:
    """`text` if it is an id in its one spelling, else a UsageError that names `where`."""
    try:
        data = base64.b32decode(text.upper() + "=" * (-len(text) % 8)) if len(text) == _LENGTH else b""
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != _BYTES or encode(data) != text:
        raise UsageError(
            f"{text!r} is not a Diff-Id",
            where=where,
            remedy=f"it is {_LENGTH} of a-z and 2-7; remove the line and fairlead submit writes a new one",
        )
    return text


def of_message(message: str, where: str = "") -> str | None:
    """The id in a commit message, None without one; two different ones are a UsageError."""
    found = sorted(set(values(message, TRAILER)))
    if len(found) > 1:
        raise UsageError(
            f"one commit carries {len(found)} Diff-Ids: {', '.join(found)}",
            where=where,
            remedy="keep the one whose conversation should go on, and amend the message",
        )
    return parse(found[0], where) if found else None


@dataclass(frozen=True)
class Named:
    """A commit and the diff it is a version of."""

    commit: str
    diff_id: str


def stack(commits: Iterable[tuple[str, str]]) -> list[Named]:
    """The ids of a pushed stack, given as (commit, message), in its order.

    A commit without an id, and two commits with one id, are UsageErrors that name the commits.
    """
    first: dict[str, tuple[str, str]] = {}
    named = []
    for commit, message in commits:
        subject = message.strip("\n").partition("\n")[0]
        diff_id = of_message(message, f"commit {commit[:12]} {subject!r}")
        if diff_id is None:
            raise UsageError(
                f"commit {commit[:12]} has no {TRAILER} line",
                where=repr(subject),
                remedy="send it with fairlead submit, which adds one",
            )
        if diff_id in first:
            other, other_subject = first[diff_id]
            raise UsageError(
                f"two commits carry the Diff-Id {diff_id}: "
                f"{other[:12]} {other_subject!r} and {commit[:12]} {subject!r}",
                where=f"commit {commit[:12]}",
                remedy=f"squash the two, or remove the {TRAILER} line from the newer one and submit again",
            )
        first[diff_id] = (commit, subject)
        named.append(Named(commit, diff_id))
    return named
