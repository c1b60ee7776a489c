"""Pages filled by hand: each field holds what is hard to show (long words, markup, hidden characters)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from fairlead.serve import markdown, views
from fairlead.serve.highlight import colour, line_html, shown
from fairlead.serve.views import Person, Row, State

NOW = time.time()
AUTHOR = Person("author")
REVIEWER = Person("reviewer")
OWNER = Person("code-owner")
SERVER = Person("Fairlead", system=True)
KEY = "c0ffee" + "3a9b27d41e" * 5 + "deadbeef"
OID = "4f1d2c3b" * 5

BEFORE = '''"""Durations as people write them."""

import re

UNITS = {"s": 1, "m": 60, "h": 3600}


def parse(text):
    """Seconds in a text such as 1h30m."""
    total = 0
    for amount, unit in re.findall(r"(\\d+)([smh])", text):
        total += int(amount) * UNITS[unit]
    return total
'''
AFTER = '''"""Durations as people write them."""

import re

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PART = re.compile(r"(\\d+)([smhd])")


def parse(text: str) -> int:
    """Seconds in a text such as 1h30m; raises ValueError for anything else."""
    total = 0
    end = 0
    for part in _PART.finditer(text):
        if part.start() != end:
            raise ValueError(f"not a duration: {text!r}")
        total += int(part[1]) * UNITS[part[2]]  # a comment \u202e// hidden
        end = part.end()
    return total
'''


def shell(title: str = "Feed", **more: object) -> views.Shell:
    base = views.Shell(title=title, nav="feed", viewer=REVIEWER, csrf="token", seq=7, topics=("D2",))
    return views.Shell(**{**base.__dict__, **more})


def diff(number: int, title: str, state: str, **more: object) -> views.DiffRow:
    row = {
        "number": number,
        "title": title,
        "state": State(state),
        "author": AUTHOR,
        "updated": NOW - 240 * number,
        "version": 2,
        "posts": 3,
        "count": views.Count(2, 14, 5),
    }
    return views.DiffRow(**{**row, **more})  # type: ignore[arg-type]


FIRST = diff(1, "Name the units in one table", "accepted")
SECOND = diff(2, "Parse durations strictly, and know days", "needs_review")
THIRD = diff(3, "Say in the error where the text stops being a duration", "draft", posts=0, version=1)
STACK = views.Stack("main", (FIRST, SECOND, THIRD))


def feed(empty: bool = False) -> views.FeedPage:
    if empty:
        return views.FeedPage(
            (), (), (), (), "main", "http://127.0.0.1:8000", "http://127.0.0.1:8000/git/main", True
        )
    lone = diff(
        7,
        "Retry downloads <script>alert(1)</script> after \u202eserver errors",
        "changes_requested",
        author=OWNER,
        version=4,
    )
    return views.FeedPage(
        turn=(
            diff(2, SECOND.title, "needs_review", reason="You are asked to review: no verdict on v2 yet"),
            diff(
                9,
                "Drop the second lock",
                "accepted",
                author=REVIEWER,
                reason="Yours, accepted: ready to land",
            ),
        ),
        stacks=(STACK, views.Stack("main", (lone,))),
        activity=(
            views.Activity(
                "01a",
                REVIEWER,
                "commented on",
                "D2",
                SECOND.title,
                "/D2#p-1",
                NOW - 60,
                "inline",
                "Should this not be an error when the text is empty?",
            ),
            views.Activity("01b", AUTHOR, "sent v2 of", "D2", SECOND.title, "/D2/v2", NOW - 300, "version"),
            views.Activity("01c", REVIEWER, "accepted", "D1", FIRST.title, "/D1", NOW - 4000, "review"),
            views.Activity(
                "01d", SERVER, "landed", "D6", "One lock a folder", "/commits/" + OID, NOW - 90000, "notice"
            ),
        ),
        queue=(diff(6, "Keep the log of each run by digest", "queued"),),
        trunk="main",
        server="http://127.0.0.1:8000",
        remote="http://127.0.0.1:8000/git/main",
    )


def rows(with_threads: Sequence[views.Post]) -> tuple[Row, ...]:
    import difflib

    old, new = colour("a.py", BEFORE), colour("a.py", AFTER)
    out = [Row("hunk", code=shown("@@ -1,13 +1,18 @@"))]
    matcher = difflib.SequenceMatcher(None, BEFORE.splitlines(), AFTER.splitlines(), autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            out += [Row("context", a + i + 1, c + i + 1, line_html(new[c + i])) for i in range(b - a)]
            continue
        out += [Row("del", i + 1, None, line_html(old[i], [(4, 9)])) for i in range(a, b)]
        for i in range(c, d):
            out.append(Row("add", None, i + 1, line_html(new[i], [(4, 12)])))
            if i + 1 == 13:
                out.append(Row("thread", threads=with_threads))
    return tuple(out)


def place(**more: object) -> views.Place:
    base = {
        "path": "example/durations.py",
        "side": "new",
        "line": 13,
        "end": 13,
        "url": "#f1n13",
        "moved_from": "line 11 of v1",
        "excerpt": ((13, line_html(colour("a.py", AFTER)[12])),),
    }
    return views.Place(**{**base, **more})  # type: ignore[arg-type]


def post(id: str, author: Person, kind: str = "comment", body: str = "", **more: object) -> views.Post:
    text = markdown.html(body) if body else views.NOTHING
    return views.Post(id, author, NOW - 600, kind, text, **more)  # type: ignore[arg-type]


def diff_page(**more: object) -> views.DiffPage:
    inline = post(
        "i1",
        REVIEWER,
        "inline",
        "Why `ValueError`, and not our own error? See D1.",
        place=place(),
        version=1,
        replies=(
            post(
                "i2",
                AUTHOR,
                body="The standard library's `float` does the same.\n\n```python\nfloat('x')\n```",
            ),
            post("i3", REVIEWER, body="Fine by me."),
        ),
    )
    inline = replace(inline, thread="open", must_fix=True)
    ported = post(
        "i4",
        OWNER,
        "inline",
        "This name says little.",
        version=1,
        thread="done",
        place=place(changed=True, line=5, end=6),
    )
    gone = post(
        "i5",
        OWNER,
        "inline",
        "Do we need this file?",
        version=1,
        place=place(
            path="example/old.py", line=None, end=None, gone=True, excerpt=(), moved_from="line 3 of v1"
        ),
    )
    versions = tuple(views.VersionLink(n, NOW - 900 / n, OID, f"/D2/v{n}", n == 2, n == 2) for n in (1, 2))
    base = {
        "number": 2,
        "title": SECOND.title,
        "state": State("needs_review"),
        "author": AUTHOR,
        "trunk": "main",
        "created": NOW - 3600,
        "root_id": "r0",
        "version": versions[1],
        "versions": versions,
        "body": markdown.html(
            "`parse` took `1x` for zero. Now a text is a duration or an error, and `d` is a day.\n\n"
            "- one table of units\n- one pattern, compiled once"
        ),
        "stack": views.Stack("main", (FIRST, diff(2, SECOND.title, "needs_review", current=True), THIRD)),
        "thread": (
            inline,
            post("v2", AUTHOR, "version", text="sent v2, rebased on main"),
            ported,
            post(
                "rv",
                REVIEWER,
                "review",
                "Strict is right. Two questions in the code.",
                verdict="request",
                version=1,
            ),
            gone,
            post(
                "n1",
                SERVER,
                "notice",
                text="took it out of the queue: a test failed",
                link="/logs/" + KEY,
                link_text="Read the log of //example:test_durations",
                points=("//example:test_durations fails at its key",),
            ),
            post("rv2", REVIEWER, "review", verdict="accept", version=2),
        ),
        "lost": (gone,),
        "reviewers": (
            views.Reviewer(REVIEWER, "accept", 2, 1, carried=True),
            views.Reviewer(OWNER, "accept", 1, 1, stale=True),
        ),
        "files": (
            views.FileDiff("f1", "example/durations.py", "", "changed", 9, 4, (rows((inline,)),)),
            views.FileDiff(
                "f2",
                "example/" + "a_very_long_name_" * 6 + ".py",
                "",
                "added",
                1,
                0,
                (
                    (
                        Row("hunk", code=shown("@@ -0,0 +1 @@")),
                        Row("add", None, 1, shown("x" * 300), no_newline=True),
                    ),
                ),
            ),
            views.FileDiff(
                "f5",
                "data/map.bin",
                "data/map.bin",
                "changed",
                0,
                0,
                notes=("a binary file, or too large to show: its lines are not on this page",),
                raw=(
                    views.Raw("as it was", "/raw?side=old", 4_000),
                    views.Raw("as it is now", "/raw", 98_000_000),
                ),
            ),
            views.FileDiff(
                "f3", "scripts/check", "scripts/check", "mode", 0, 0, notes=("mode 100644 to 100755",)
            ),
            views.FileDiff("f4", "example/old.py", "", "removed", 0, 2400, deferred="?show=f4#f4"),
        ),
        "count": views.Count(4, 10, 2404),
        "land": views.LandBox(
            "open",
            (
                views.Missing("approvals", "1 approval of v2 is missing"),
                views.Missing("must-fix", "a thread marked must fix is open"),
            ),
            (1,),
            True,
            refused="the last try was refused: //example:test_durations fails",
            refused_log=KEY,
        ),
        "may_comment": True,
        "may_review": True,
        "diff_id": "abcdefgh",
    }
    return views.DiffPage(**{**base, **more})  # type: ignore[arg-type]


def queue() -> views.QueuePage:
    return views.QueuePage(
        "main",
        (
            views.QueueRow(
                1, diff(4, "Fetch over HTTP with the standard library alone", "landing"), "landing", NOW - 20
            ),
            views.QueueRow(2, diff(5, SECOND.title, "queued"), "testing", NOW - 90, "on top of D4"),
        ),
        (
            views.QueueEnd(3, FIRST, True, NOW - 1000, OID),
            views.QueueEnd(
                2, THIRD, False, NOW - 5000, why="//example:test_durations fails at its key", log=KEY
            ),
        ),
        (views.Worker("local", NOW - 3, "testing D5"), views.Worker("second", None)),
    )


def commits() -> views.CommitsPage:
    return views.CommitsPage(
        "main",
        (
            views.CommitRow(OID, SECOND.title, views.Byline((AUTHOR,), "A. N. Author"), NOW - 60, 2, 3),
            views.CommitRow(OID[::-1], FIRST.title, views.Byline((AUTHOR, OWNER)), NOW - 600, 1, 0),
            views.CommitRow(
                KEY[:40], "Lay the ground", views.Byline(written="code-owner"), NOW - 900000, None, None
            ),
        ),
        "/commits?after=" + OID,
    )


def commit(**more: object) -> views.CommitPage:
    base = {
        "head": views.CommitHead(
            OID,
            SECOND.title,
            markdown.html("`parse` took `1x` for zero."),
            views.Byline((AUTHOR, OWNER), "rev\u202eiewer " + "of a long name " * 6),
            NOW - 60,
            SECOND,
        ),
        "green": True,
        "answer": "By evidence: all 3 tests that this commit can affect passed at their exact keys, 41 "
        "others keep the keys they passed at, and reviewer accepted this very change.",
        "caveat": "It says nothing about tests that depend on more than their declared inputs.",
        "targets": tuple(
            views.TargetRow(
                label,
                KEY[i:] + KEY[:i],
                "" if i == 2 else KEY[::-1],
                "pass",
                "local",
                "namespace",
                0.41 * (i + 1),
                KEY,
                f"fairlead test --rev {OID} {label} --no-test-cache",
            )
            for i, label in enumerate(
                (
                    "//example:test_durations",
                    "//example:test_reports_of_very_long_running_jobs",
                    "//example/new:test",
                )
            )
        ),
        "unaffected": 41,
        "removed": ("//example:test_old",),
        "approvals": (views.ApprovalRow(REVIEWER, 2, True, OID, KEY),),
        "facts": (
            views.Fact("Parent", OID[:12], OID, "/commits/" + OID, "the tip of main when this landed"),
            views.Fact("Tree", KEY[:12], KEY[:40], note="the tree that the keys were computed from"),
            views.Fact("Submitted", OID[:12], OID, "/D2/v2", "D2 v2"),
        ),
        "settings": (views.Fact("Rule", "1 approval, not by the author; tests enforced by namespace"),),
        "replay": f"fairlead test --rev {OID} //example:test_durations --no-test-cache",
        "verify": f"fairlead land verify {OID[:12]}..{OID}",
        "envelope": f"/api/commits/{OID}/evidence",
        "parent": OID,
    }
    return views.CommitPage(**{**base, **more})  # type: ignore[arg-type]


def log() -> views.LogPage:
    text = [
        "============ test session starts ============",
        "collected 3 items",
        "",
        "test_durations.py ..F",
        "E   assert parse('1x') == 0 \x1b[31mred\x1b[0m",
        "1 failed, 2 passed in 0.31s",
    ]
    return views.LogPage(KEY, (tuple((i + 1, shown(line)) for i, line in enumerate(text)),), 1234, len(text))


PAGES: dict[str, tuple[str, views.Shell, object]] = {
    "feed": ("feed.html", shell(), feed()),
    "feed-empty": ("feed.html", shell(), feed(empty=True)),
    "diff": ("diff.html", shell("D2"), diff_page()),
    "diff-landed": (
        "diff.html",
        shell("D2"),
        diff_page(
            state=State("landed"),
            title="Rename " + "LongestNameOfAll" * 6,
            thread=(),
            land=views.LandBox("landed", commit=OID),
        ),
    ),
    "queue": ("queue.html", shell("Queue", nav="queue"), queue()),
    "queue-empty": ("queue.html", shell("Queue", nav="queue"), views.QueuePage("main", (), (), ())),
    "commits": ("commits.html", shell("Commits", nav="commits"), commits()),
    "commit": ("commit.html", shell("Why is this green?", nav="commits"), commit()),
    "commit-plain": (
        "commit.html",
        shell("Commit", nav="commits"),
        commit(
            green=False,
            answer="There is no evidence for this commit: it was there before landing began.",
            caveat="",
        ),
    ),
    "log": ("log.html", shell("Log", seq=None), log()),
    "sign-in": (
        "sign_in.html",
        shell("Sign in", viewer=None, seq=None),
        views.SignInPage("/", error="name and password do not fit", remedy="check both"),
    ),
    "invite": (
        "sign_in.html",
        shell("Welcome", viewer=None, seq=None),
        views.SignInPage("/", "reviewer", "c0de"),
    ),
    "reset": (
        "sign_in.html",
        shell("Welcome", viewer=None, seq=None),
        views.SignInPage("/", "reviewer", "c0de", known=True),
    ),
    "queued": (
        "diff.html",
        shell("D2"),
        diff_page(state=State("queued"), land=views.LandBox("queued", position=2, may_cancel=True)),
    ),
    "error": (
        "error.html",
        shell("Not found", seq=None),
        views.ErrorPage(404, "there is no diff D99", "/D99", "the newest is D3", "/D3", "Open D3"),
    ),
}
