"""View models: exactly what a page shows, and nothing it would have to look up.

Templates receive only these frozen values, so a page can be rendered by a test from values written by
hand, and a template can neither query the database nor decide anything.  The builders that fill them from
records are in `fairlead/serve/pages/`, one file a page.  Rejected: handing database rows to templates
(every rename in the schema would be a silent hole in a page), and one dictionary a page (no types).

Every `str` is plain text and is escaped by the template.  Times are seconds since the epoch.  `Markup` marks
the only two kinds of text that arrive as HTML: sanitised Markdown (`markdown.py`) and highlighted code
(`highlight.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

# What each state is called on the pages.  The codes are those of `ship/states.py`.
NOTHING = Markup("")

STATE_LABELS = {
    "draft": "Draft",
    "needs_review": "Needs review",
    "changes_requested": "Changes requested",
    "accepted": "Accepted",
    "queued": "In the queue",
    "landing": "Landing",
    "landed": "Landed",
    "changes_planned": "Changes planned",
    "abandoned": "Abandoned",
    "reverted": "Reverted",
}


@dataclass(frozen=True)
class Person:
    """Someone who writes posts: an account, or a part of the system that speaks ("queue")."""

    name: str
    system: bool = False

    @property
    def initials(self) -> str:
        """One or two capitals for the avatar."""
        words = [word for word in self.name.replace("-", " ").replace("_", " ").split() if word]
        if not words:
            return "?"
        if len(words) == 1:
            return words[0][:2].upper()
        return (words[0][0] + words[-1][0]).upper()

    @property
    def tone(self) -> int:
        """One of eight avatar colours, the same for the same name everywhere."""
        return sum((index + 1) * ord(letter) for index, letter in enumerate(self.name)) % 8


@dataclass(frozen=True)
class State:
    """The state of a diff, with its words."""

    code: str

    @property
    def label(self) -> str:
        """What a person reads."""
        return STATE_LABELS.get(self.code, self.code.replace("_", " ").capitalize())


@dataclass(frozen=True)
class Shell:
    """What surrounds every page: who looks, where they are, and where the live stream continues."""

    title: str
    nav: str = ""  # "feed", "queue", "commits" or "" for pages that are in none of them
    viewer: Person | None = None
    csrf: str = ""
    seq: int | None = None  # last event already in this page; None on pages that are not live
    live_url: str = ""  # what to fetch again when an event arrives; "" means this page's own address
    topics: Sequence[str] = ()  # refresh only for events that name one of these ("D12"); empty means all
    back: str = "/"  # where signing in leads back to


@dataclass(frozen=True)
class Count:
    """Lines added and removed, and files touched."""

    files: int
    added: int
    removed: int


@dataclass(frozen=True)
class DiffRow:
    """One diff in a list or on a stack rail."""

    number: int
    title: str
    state: State
    author: Person
    updated: float
    version: int
    posts: int = 0
    count: Count | None = None
    reason: str = ""  # why this is the viewer's turn; "" if it is not
    current: bool = False  # the diff whose page this is

    @property
    def url(self) -> str:
        """The diff's page."""
        return f"/D{self.number}"


@dataclass(frozen=True)
class Stack:
    """A chain of diffs on one branch, the one that lands first first."""

    trunk: str
    rows: Sequence[DiffRow]

    @property
    def author(self) -> Person:
        """Who wrote the first diff; stacks of two authors say so row by row."""
        return self.rows[0].author

    @property
    def size(self) -> int:
        """How many diffs."""
        return len(self.rows)

    @property
    def updated(self) -> float:
        """When anything in the stack last moved."""
        return max(row.updated for row in self.rows)


@dataclass(frozen=True)
class Activity:
    """One line of what happened; `id` is that of the post it came from."""

    id: str
    person: Person
    verb: str  # "accepted", "commented on", "sent v2 of"
    subject: str  # "D12"
    title: str
    url: str
    at: float
    kind: str  # a post kind or a state, for the icon
    excerpt: str = ""


@dataclass(frozen=True)
class FeedPage:
    """The first page: your turn, the open stacks, what happened."""

    turn: Sequence[DiffRow]
    stacks: Sequence[Stack]
    activity: Sequence[Activity]
    queue: Sequence[DiffRow]
    trunk: str
    server: str  # its address, for the empty state
    remote: str  # the git address a newcomer clones
    empty_repository: bool = False


@dataclass(frozen=True)
class Place:
    """Where in the code an inline comment stands, on the version being shown."""

    path: str
    side: Literal["old", "new"]
    line: int | None  # None: the file is gone, or the line cannot be placed
    end: int | None
    url: str  # to the line in the diff
    moved_from: str = ""  # "line 12 of v1" when the comment was written on another version
    changed: bool = False  # the lines it was written on have changed since
    gone: bool = False  # the file is not there any more
    excerpt: Sequence[tuple[int, Markup]] = ()  # the line or lines, highlighted

    @property
    def label(self) -> str:
        """ "file.py:12" or "file.py:12-14", as people write it."""
        if self.line is None:
            return self.path
        if self.end is not None and self.end != self.line:
            return f"{self.path}:{self.line}\u2013{self.end}"
        return f"{self.path}:{self.line}"


@dataclass(frozen=True)
class Post:
    """One post of a conversation with the replies under it."""

    id: str
    author: Person
    at: float
    kind: str  # diff, comment, inline, review, version, notice, signal, note
    body: Markup = NOTHING
    text: str = ""  # the sentence of a system post ("sent v2")
    verdict: str = ""  # "accept" or "request" on a review
    version: int | None = None
    place: Place | None = None
    thread: Literal["", "open", "done", "dropped"] = ""  # of the thread that an inline comment opens
    must_fix: bool = False
    replies: Sequence[Post] = ()
    points: Sequence[str] = ()  # the reasons of a refusal, one line each
    link: str = ""  # where a system post leads: a log, a commit
    link_text: str = ""
    link_icon: str = "log"

    @property
    def quiet(self) -> bool:
        """System posts are one line, not a card."""
        return self.kind in {"version", "notice", "signal"}


@dataclass(frozen=True)
class VersionLink:
    """One version of a diff in the version switch."""

    n: int
    at: float
    commit: str
    url: str
    current: bool
    latest: bool


@dataclass(frozen=True)
class Row:
    """One line of a file's diff, or a heading between hunks, or a thread that stands under a line."""

    kind: Literal["context", "add", "del", "hunk", "thread", "composer"]
    old: int | None = None
    new: int | None = None
    code: Markup = NOTHING
    no_newline: bool = False
    threads: Sequence[Post] = ()
    composer: Composer | None = None


@dataclass(frozen=True)
class Composer:
    """The form for an inline comment on one line; `key` names its draft in the browser."""

    path: str
    side: Literal["old", "new"]
    line: int
    key: str


@dataclass(frozen=True)
class Raw:
    """A link to a file as it is, where the page has no lines of it."""

    label: str
    url: str
    size: int  # bytes


@dataclass(frozen=True)
class FileDiff:
    """One file of a change."""

    key: str  # stable in the page's anchors: the same path has the same key on every version
    path: str
    old_path: str
    status: Literal["added", "removed", "changed", "renamed", "mode"]
    added: int
    removed: int
    chunks: Sequence[Sequence[Row]] = ()  # at most 200 rows each, so the browser may skip those out of sight
    notes: Sequence[str] = ()  # "mode 100644 to 100755", "binary file, 4 KB to 5 KB"
    raw: Sequence[Raw] = ()  # before and after, of a file without lines
    threads: Sequence[Post] = ()  # inline threads that have no line any more
    deferred: str = ""  # address that shows this file, when it is too large to show unasked


@dataclass(frozen=True)
class Missing:
    """One thing that stands between a diff and the trunk."""

    code: str
    text: str
    subject: str = ""


@dataclass(frozen=True)
class LandBox:
    """What the land box says: ready, what exactly is missing, on its way, or done."""

    phase: Literal["open", "queued", "landing", "landed", "closed"]
    missing: Sequence[Missing] = ()
    below: Sequence[int] = ()  # diffs under this one that have to land with it
    may_land: bool = False  # the viewer may press the button
    commit: str = ""  # the landed commit
    position: int | None = None  # place in the queue, 1 is next
    may_cancel: bool = False  # the viewer may take it out of the queue
    refused: str = ""  # why the last attempt was refused
    refused_log: str = ""


@dataclass(frozen=True)
class Reviewer:
    """A person's standing on a diff."""

    person: Person
    verdict: str  # "accept" or "request"
    version: int  # the version it holds for
    given_on: int
    carried: bool = False  # given on an earlier version and still counting
    stale: bool = False  # given on an earlier version and no longer counting


@dataclass(frozen=True)
class DiffPage:
    """A diff: the root post, its attachment and its conversation."""

    number: int
    title: str
    state: State
    author: Person
    trunk: str
    created: float
    root_id: str
    body: Markup
    version: VersionLink
    versions: Sequence[VersionLink]
    stack: Stack
    thread: Sequence[Post]
    reviewers: Sequence[Reviewer]
    files: Sequence[FileDiff]
    lost: Sequence[Post]  # inline threads on files that are not in this version's change
    count: Count
    land: LandBox
    may_comment: bool
    may_review: bool
    diff_id: str

    @property
    def newer(self) -> VersionLink | None:
        """The latest version, if this page shows an older one."""
        return None if self.version.latest else self.versions[-1]


@dataclass(frozen=True)
class QueueRow:
    """A diff on its way to the trunk."""

    position: int
    diff: DiffRow
    phase: str  # "waiting", "computing keys", "testing", "landing"
    since: float
    note: str = ""


@dataclass(frozen=True)
class QueueEnd:
    """How an attempt to land ended; `n` is the number of the queue entry."""

    n: int
    diff: DiffRow
    landed: bool
    at: float
    commit: str = ""
    why: str = ""
    log: str = ""


@dataclass(frozen=True)
class QueuePage:
    """The queue: what is on its way, what just ended, who works."""

    trunk: str
    rows: Sequence[QueueRow]
    ended: Sequence[QueueEnd]
    workers: Sequence[Worker]


@dataclass(frozen=True)
class Worker:
    """A machine that tests candidates."""

    name: str
    seen: float | None
    doing: str = ""


@dataclass(frozen=True)
class Byline:
    """Whose commit it is: the accounts that pushed it, as far as the server knows them.

    The name inside a commit is whatever its maker wrote, so it never stands for an account.
    """

    people: Sequence[Person] = ()  # the owner of the diff first; empty for a commit that no diff brought
    written: str = ""  # the author that the commit names, where no account here has just that name


@dataclass(frozen=True)
class CommitRow:
    """One commit of the trunk in the list."""

    oid: str
    title: str
    by: Byline
    at: float
    diff: int | None
    affected: int | None  # test targets whose key differed; None without evidence

    @property
    def url(self) -> str:
        """The commit's page."""
        return f"/commits/{self.oid}"


@dataclass(frozen=True)
class CommitsPage:
    """The trunk, newest first."""

    trunk: str
    rows: Sequence[CommitRow]
    older: str = ""  # address of the next page


@dataclass(frozen=True)
class TargetRow:
    """One affected test target with the verdict that counted for it."""

    label: str
    key: str
    old_key: str  # key on the parent; "" for a new target
    outcome: str
    worker: str
    enforced: str
    seconds: float
    log: str
    replay: str  # the command that runs it again


@dataclass(frozen=True)
class ApprovalRow:
    """An approval in the evidence."""

    person: Person
    version: int
    carried: bool
    commit: str
    change: str


@dataclass(frozen=True)
class Fact:
    """A named digest or setting; `full` is what copying gives."""

    name: str
    short: str
    full: str = ""
    url: str = ""
    note: str = ""


@dataclass(frozen=True)
class CommitHead:
    """What a commit's page says of any commit, green or not."""

    oid: str
    title: str
    body: Markup
    by: Byline
    at: float
    diff: DiffRow | None


@dataclass(frozen=True)
class CommitPage:
    """ "Why is this green?" for one commit of the trunk."""

    head: CommitHead
    green: bool
    answer: str  # one sentence
    caveat: str  # what the answer does not cover, or ""
    targets: Sequence[TargetRow] = ()
    unaffected: int = 0
    removed: Sequence[str] = ()
    approvals: Sequence[ApprovalRow] = ()
    facts: Sequence[Fact] = ()
    settings: Sequence[Fact] = ()
    replay: str = ""
    verify: str = ""
    envelope: str = ""  # address of the raw evidence
    parent: str = ""


@dataclass(frozen=True)
class LogPage:
    """A test's or action's output."""

    digest: str
    chunks: Sequence[Sequence[tuple[int, Markup]]]
    size: int  # bytes
    lines: int
    cut: int = 0  # lines not shown


@dataclass(frozen=True)
class SignInPage:
    """The sign-in form, or the form behind an invitation."""

    back: str
    name: str = ""
    code: str = ""  # the invitation
    error: str = ""
    remedy: str = ""
    known: bool = False  # the account is there, and gets another password


@dataclass(frozen=True)
class ErrorPage:
    """What went wrong, where, and what to do."""

    status: int
    what: str
    where: str = ""
    remedy: str = ""
    link: str = ""
    link_text: str = ""
