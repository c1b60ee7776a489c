"""Commits of the trunk, and the page that answers "why is this green?" from the evidence alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from starlette.responses import Response

from fairlead.errors import FairleadError
from fairlead.git import Repo
from fairlead.git.objects import Commit, parse_commit
from fairlead.serve import markdown, views
from fairlead.serve.pages import render
from fairlead.serve.pages.diff import description
from fairlead.serve.pages.feed import row_of
from fairlead.serve.pages.site import Ask, the_repo
from fairlead.serve.records import Connection, diffs, queue
from fairlead.serve.records.values import Diff
from fairlead.serve.reply import NotFound
from fairlead.ship import decide, evidence
from fairlead.ship.values import Keys, KeyStatement, Verdict

PAGE = 50
_OID = re.compile(r"[0-9a-f]{7,64}")


def index(ask: Ask) -> Response:
    """The trunk, newest first, a page at a time."""
    with ask.state.records.read() as c:
        hosted = the_repo(c)
        repo = ask.state.repo(hosted.name)
        start = ask.query.get("from", "")
        tip = _resolve(repo, start) if start else repo.ref(f"refs/heads/{hosted.trunk}")
        found = _history(repo, tip, PAGE + 1) if tip else []
        rows = [_row(c, commit) for commit in found[:PAGE]]
        older = f"/commits?from={found[PAGE].oid}" if len(found) > PAGE else ""
        shell = ask.shell(f"Commits on {hosted.trunk}", "commits", c=c)
    return render.page("commits.html", shell, views.CommitsPage(hosted.trunk, rows, older))


def _history(repo: Repo, tip: str, count: int) -> list[Commit]:
    oids = repo.run("rev-list", "--first-parent", f"--max-count={count}", tip).text.split()
    return [parse_commit(oid, data) for oid, data in repo.blobs(oids)]


def _row(c: Connection, commit: Commit) -> views.CommitRow:
    land = queue.landed(c, commit.oid)
    opened = _opened(land.envelope) if land else None
    return views.CommitRow(
        commit.oid,
        commit.subject,
        _byline(commit, opened[0].authors if opened else ()),
        float(commit.committer.time),
        land.diff if land else None,
        len(decide.affected(opened[1])) if opened else None,
    )


def _byline(commit: Commit, accounts: Sequence[str]) -> views.Byline:
    """The accounts that pushed it, and the name in the commit, which a pusher may write as they like."""
    written = commit.author.name
    return views.Byline(
        tuple(views.Person(name) for name in accounts), "" if written in accounts else written
    )


@lru_cache(maxsize=512)  # an envelope never changes
def _opened(envelope: str) -> tuple[evidence.Evidence, Keys]:
    found = evidence.read(envelope.encode("ascii"))
    base = KeyStatement.from_payload(found.base_keys.payload)
    return found, Keys(base, KeyStatement.from_payload(found.candidate_keys.payload))


def _resolve(repo: Repo, name: str) -> str:
    """A full commit id from seven or more of its digits."""
    if not _OID.fullmatch(name):
        raise NotFound(f"{name[:80]!r} is not a commit id", remedy="use at least 7 of its hexadecimal digits")
    oid = repo.ref(f"{name}^{{commit}}")
    if oid is None:
        raise NotFound(f"there is no commit {name}", remedy="the list of commits has all of the trunk")
    return oid


def show(ask: Ask) -> Response:
    """One commit: why it is green, or that there is no evidence for it."""
    with ask.state.records.read() as c:
        hosted = the_repo(c)
        repo = ask.state.repo(hosted.name)
        commit = repo.commit(_resolve(repo, ask.path["oid"]))
        land = queue.landed(c, commit.oid)
        diff = diffs.get(c, land.diff) if land else next(iter(diffs.by_commit(c, commit.oid)), None)
        row = row_of(ask, c, diff) if diff else None
        if land is not None:
            found, keys = _opened(land.envelope)
            page = _green(_head(commit, found.authors, row), found, keys)
        else:
            pushers = (
                {v.pusher for v in diffs.versions(c, diff.number) if v.commit == commit.oid} if diff else ()
            )
            page = _plain(repo, hosted.trunk, commit, _head(commit, sorted(pushers), row), diff)
        title = "Why is this green?" if land else "Commit"
        shell = ask.shell(f"{title} {commit.oid[:12]}", "commits")
    return render.page("commit.html", shell, page)


def _head(commit: Commit, accounts: Sequence[str], row: views.DiffRow | None) -> views.CommitHead:
    return views.CommitHead(
        oid=commit.oid,
        title=commit.subject,
        body=markdown.html(description(commit.message)),
        by=_byline(commit, accounts),
        at=float(commit.committer.time),
        diff=row,
    )


def _plain(
    repo: Repo, trunk: str, commit: Commit, head: views.CommitHead, diff: Diff | None
) -> views.CommitPage:
    tip = repo.ref(f"refs/heads/{trunk}")
    if tip is not None and repo.is_ancestor(commit.oid, tip):
        answer = f"There is no evidence for this commit: it came to {trunk} before landing by evidence began."
        caveat = "Every commit that landed since has a page that says why it is green."
    elif diff is not None:
        answer = f"This commit is not on {trunk}: it is a version of D{diff.number}."
        caveat = "What landed is made anew on the tip of the trunk, so it has another id."
    else:
        answer, caveat = f"This commit is not on {trunk}, and no diff has it as a version.", ""
    return views.CommitPage(head, False, answer, caveat, facts=_parents(commit))


def _parents(commit: Commit) -> tuple[views.Fact, ...]:
    parents = [views.Fact("Parent", oid[:12], oid, f"/commits/{oid}") for oid in commit.parents]
    return (*parents, views.Fact("Tree", commit.tree[:12], commit.tree))


def _green(head: views.CommitHead, found: evidence.Evidence, keys: Keys) -> views.CommitPage:
    if found.commit != head.oid:
        raise FairleadError("the evidence kept for this commit names another one", where=head.oid, exit=3)
    affected = decide.affected(keys)
    passes = {v.label: v for v in (Verdict.from_payload(signed.payload) for signed in found.verdicts)}
    unaffected = len(keys.candidate.keys) - len(affected)
    targets = tuple(
        _target(head.oid, label, key, keys.base.keys.get(label, ""), passes[label])
        for label, key in affected.items()
        if label in passes
    )
    approvals = tuple(
        views.ApprovalRow(views.Person(a.person), a.version, a.version != found.version, a.commit, a.change)
        for a in found.approvals
    )
    rules = found.settings
    people = f"{rules.approvals} {'approval' if rules.approvals == 1 else 'approvals'}"
    authors = "the author's counts too" if rules.author_may_approve else "not by an author"
    held = f"tests held to their inputs by {rules.enforcement} or stronger"
    return views.CommitPage(
        head=head,
        green=True,
        answer=_answer(len(affected), unaffected, [a.person.name for a in approvals]),
        caveat=(
            "An unaffected test is as green as on the parent, whose page says why. Nothing is said about "
            "a test that depends on more than its declared inputs."
        ),
        targets=targets,
        unaffected=unaffected,
        removed=found.removed,
        approvals=approvals,
        facts=(
            _fact("Parent", found.base, f"the tip of {rules.trunk} then", f"/commits/{found.base}"),
            _fact("Tree", found.tree, "the keys were computed from exactly this tree"),
            _fact(
                "Submitted",
                found.submitted,
                f"D{found.diff} v{found.version}; merged onto the parent it gives this tree",
                f"/D{found.diff}/v{found.version}",
            ),
            _fact("Change", found.change, "every touched path with its old and new content"),
            views.Fact("Diff-Id", found.diff_id, found.diff_id),
            views.Fact("Keys by", keys.candidate.worker, note="signed for this commit and for its parent"),
        ),
        settings=(views.Fact("Rule", f"{people}, {authors}; {held}"),),
        replay=targets[0].replay if targets else "",
        verify=f"fairlead land verify {found.base}..{head.oid}",
        envelope=f"/api/commits/{head.oid}/evidence",
        parent=found.base,
    )


def _fact(name: str, digest: str, note: str, url: str = "") -> views.Fact:
    return views.Fact(name, digest[:12], digest, url, note)


def _target(commit: str, label: str, key: str, old_key: str, verdict: Verdict) -> views.TargetRow:
    return views.TargetRow(
        label,
        key,
        old_key,
        verdict.outcome,
        verdict.worker,
        verdict.enforced,
        verdict.seconds,
        verdict.log,
        f"fairlead test --rev {commit} {label} --no-test-cache",
    )


def _answer(affected: int, unaffected: int, names: list[str]) -> str:
    """The one sentence."""
    if affected == 0:
        tests = "no test can see this change"
    elif affected == 1:
        tests = "the one test that this commit can affect passed at its exact key"
    else:
        tests = f"all {affected} tests that this commit can affect passed at their exact keys"
    if unaffected == 1:
        tests += ", the other one keeps the key it has on the parent"
    elif unaffected:
        tests += (
            f", the {'' if affected == 0 else 'other '}{unaffected} keep the keys they have on the parent"
        )
    who = " and ".join(names) if len(names) < 3 else ", ".join(names[:-1]) + f" and {names[-1]}"
    return f"By evidence: {tests}" + (f", and {who} accepted this very change." if names else ".")
