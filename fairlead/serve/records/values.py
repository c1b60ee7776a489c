"""What the records answer with: frozen dataclasses, safe to hand to any thread, template or JSON writer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Person:
    id: int
    name: str
    admin: bool
    created: float


@dataclass(frozen=True)
class Invitation:
    name: str
    admin: bool
    expires: float
    used: float | None


@dataclass(frozen=True)
class Worker:
    """A program allowed to give verdicts.  Its principal in signatures is `worker:<name>`."""

    id: int
    name: str
    public_key: str  # "ssh-ed25519 AAAA..."
    registered: float
    revoked: float | None


@dataclass(frozen=True)
class Token:
    """Who a token speaks for (a person or a worker, never both) and what it may do."""

    id: int
    person: Person | None
    worker: Worker | None
    scopes: frozenset[str]
    label: str
    created: float
    expires: float | None


@dataclass(frozen=True)
class Session:
    person: Person
    csrf: str
    expires: float


@dataclass(frozen=True)
class Hosted:
    """A hosted repository."""

    id: int
    name: str
    trunk: str
    created: float


@dataclass(frozen=True)
class Diff:
    number: int
    diff_id: str
    repo: str
    root_post: str
    author: str
    title: str
    state: str  # a name of ship.states
    latest: int  # newest version
    stack_parent: int | None
    created: float
    updated: float


@dataclass(frozen=True)
class Version:
    diff: int
    n: int
    commit: str
    parent: str
    base: str  # the commit of the trunk that the stack left
    tree: str
    change: str
    message: str
    pusher: str
    created: float


@dataclass(frozen=True)
class Reviewer:
    person: str
    verdict: str | None  # accept | request
    version: int | None  # holds for this version
    given_on: int | None  # was given on this version; less than `version` if carried
    updated: float


@dataclass(frozen=True)
class Anchor:
    """Lines of a file as they were at `version`; `side` says before or after that version's change."""

    version: int
    side: str
    path: str
    start: int
    end: int


@dataclass(frozen=True)
class Thread:
    state: str  # open | done | dropped
    must_fix: bool


@dataclass(frozen=True)
class Post:
    id: str
    diff: int
    parent: str | None
    author: str | None  # none: the server
    kind: str  # diff comment inline review version notice signal note
    body: str  # Markdown
    version: int | None
    verdict: str | None  # accept | request, on reviews
    data: Mapping[str, object]
    created: float
    anchor: Anchor | None
    thread: Thread | None  # on the first post of an inline thread


@dataclass(frozen=True)
class Reason:
    """Why something does not land, in the shape ship.decide gives."""

    code: str
    text: str
    subject: str


@dataclass(frozen=True)
class QueueEntry:
    n: int
    repo: str
    diff: int
    version: int
    person: str  # who asked
    state: str
    base: str | None
    commit: str | None  # the candidate
    reasons: Sequence[Reason]
    created: float
    finished: float | None


@dataclass(frozen=True)
class Job:
    id: int
    entry: int
    kind: str
    payload: Mapping[str, object]
    state: str
    worker: str | None
    lease: int
    lease_until: float | None
    created: float
    outcome: Mapping[str, object]


@dataclass(frozen=True)
class SignedKeys:
    """A key statement as the worker signed it."""

    job: int
    role: str
    commit: str
    payload: str
    signature: str
    worker: str


@dataclass(frozen=True)
class SignedVerdict:
    """A verdict as the worker signed it, with its fields unpacked for questions."""

    id: int
    job: int
    label: str
    key: str
    outcome: str
    worker: str
    enforced: str
    log: str
    seconds: float
    payload: str
    signature: str
    created: float


@dataclass(frozen=True)
class Land:
    commit: str
    repo: str
    entry: int
    diff: int
    version: int
    base: str
    tree: str
    envelope: str
    state: str
    created: float


@dataclass(frozen=True)
class PushIntent:
    id: str
    repo: str
    person: Person
    payload: Mapping[str, object]
    created: float


@dataclass(frozen=True)
class StoredArtifact:
    digest: str
    name: str
    size: int
    person: str
    created: float


@dataclass(frozen=True)
class Event:
    seq: int
    kind: str
    diff: int | None
    payload: Mapping[str, object]
    created: float
