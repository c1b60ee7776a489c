"""A push to refs/for/<trunk>: check the stack, make its refs, record it all in one transaction.

What is acknowledged: when git says `ok`, every version's commit is in the repository under its own ref and
every diff, version, stack edge, post and event is in the database, all of it synced to disk.

The order is intent, refs, transaction.  A row of `push_intent` is written first; if the server dies after
the refs, the row and the refs are both there at the next start and the transaction is done then.  If the
refs are not all there, nothing was acknowledged and the row is dropped.

The server alone moves the trunk.  The one exception is asked for here too: an administrator's push of the
first commits of an empty trunk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from fairlead.errors import FairleadError, MachineryError, UsageError, did_you_mean
from fairlead.git import Commit, Repo
from fairlead.git.measure import Measure
from fairlead.serve import lifecycle
from fairlead.serve.records import Connection, diffs, events, jobs, posts
from fairlead.serve.records.values import Diff, Hosted, Person, Reason
from fairlead.serve.reply import log
from fairlead.serve.state import State
from fairlead.ship import change, identity, states
from fairlead.store import crashpoint

BEFORE_REFS = crashpoint.declare("serve.push.before-refs", "the intent is recorded; no ref, no diff")
AFTER_REFS = crashpoint.declare("serve.push.after-refs", "the intent and the refs are there; no diff")
AFTER_TRANSACTION = crashpoint.declare(
    "serve.push.after-transaction", "refs and records are there; the person was not told"
)

_ZERO = "0" * 40
_OPTIONS = ("note", "draft")
_LONGEST_NOTE = 2000


@dataclass(frozen=True)
class Step:
    """What becomes of one pushed commit.  `n` is 0 if it is already the newest version of its diff."""

    number: int
    n: int
    new: bool
    diff_id: str
    commit: str
    parent: str
    base: str
    tree: str
    change: str
    title: str
    message: str
    below: int | None  # the diff it stands on
    carried: tuple[int, ...]  # accepts given on these versions carry to this one

    @property
    def ref(self) -> str:
        return ref_of(self.number, self.n)


@dataclass(frozen=True)
class Plan:
    """What a push will do.  It becomes JSON in the intent, so it holds plain values only."""

    steps: tuple[Step, ...]
    note: str
    draft: bool

    def to_json(self) -> dict[str, object]:
        return {"steps": [asdict(s) for s in self.steps], "note": self.note, "draft": self.draft}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        names = [f.name for f in fields(Step)]
        steps = [
            Step(**{k: row[k] for k in names} | {"carried": tuple(row["carried"])}) for row in data["steps"]
        ]
        return cls(tuple(steps), data["note"], data["draft"])


def ref_of(number: int, n: int) -> str:
    """The ref of a version: two digits first, so that no folder of refs grows without end."""
    return f"refs/diffs/{number % 100:02}/{number}/v{n}"


def allowed(state: State, person: Person, hosted: Hosted, commands: Sequence[Sequence[str]]) -> None:
    """Whether a push may name these refs: one stack for review, or the first push of an empty trunk."""
    trunk = hosted.trunk
    review = f"refs/for/{trunk}"
    for old, new, ref in commands:
        if ref == review:
            if new == _ZERO:
                raise UsageError(f"{ref} cannot be deleted", remedy="abandon the diff on its page instead")
        elif ref == f"refs/heads/{trunk}":
            tip = state.repo(hosted.name).ref(ref)
            if tip is not None or old != _ZERO:
                raise UsageError(
                    f"{trunk} cannot be pushed to: it moves only by landing",
                    where=ref,
                    remedy=f"send your commits for review: fairlead submit (or git push ... HEAD:{review})",
                )
            if not person.admin:
                raise UsageError(
                    f"{trunk} is empty, and only an administrator may push its first commits",
                    where=ref,
                    remedy="ask the person who set up this server",
                )
        elif ref.startswith("refs/for/"):
            wanted = ref.removeprefix("refs/for/")
            raise UsageError(
                f"changes to {hosted.name} are reviewed for {trunk}, not for {wanted}",
                where=ref,
                remedy=f"push to {review}",
            )
        else:
            raise UsageError(
                f"{ref} cannot be pushed: this server takes changes for review only",
                where=ref,
                remedy=f"send your commits for review: fairlead submit (or git push ... HEAD:{review})",
            )
    if len(commands) != 1:
        raise UsageError(
            "one push carries one stack", where=f"{len(commands)} refs", remedy=f"push one commit to {review}"
        )


def options_of(lines: Sequence[str]) -> tuple[str, bool]:
    """The push options: (note, draft)."""
    note, draft = "", False
    for line in lines:
        name, _, value = line.partition("=")
        if name == "note":
            note = value
        elif name == "draft" and value in ("", "true"):
            draft = True
        else:
            raise UsageError(
                f"unknown push option {line!r}",
                remedy=did_you_mean(name, _OPTIONS) or "known: note=TEXT, draft",
            )
    if len(note) > _LONGEST_NOTE:
        raise UsageError(
            f"a note has at most {_LONGEST_NOTE} characters", remedy="comment on the diff instead"
        )
    return note, draft


def receive(
    state: State, person: Person, hosted: Hosted, command: Sequence[str], option_lines: Sequence[str]
) -> tuple[list[dict[str, object]], list[str]]:
    """Do one push: git's reports (ref, refname, old, new) and the lines to show the person."""
    _, new, ref = command
    repo = state.repo(hosted.name)
    with state.changing:
        allowed(state, person, hosted, [command])
        if ref == f"refs/heads/{hosted.trunk}":
            return _first_push(state, repo, hosted, new, ref)
        note, draft = options_of(option_lines)
        replay(state)
        plan = make_plan(state, person, hosted, new, note=note, draft=draft)
        fresh = [s for s in plan.steps if s.n]
        if fresh:
            _carry_out(state, person, hosted, repo, plan)
    reports: list[dict[str, object]] = [
        {"ref": ref, "refname": s.ref, "old": None, "new": s.commit} for s in fresh
    ]
    if not fresh:
        reports = [{"ref": ref, "refname": ref, "old": new, "new": new}]
    return reports, [_line(state, s) for s in plan.steps]


def _line(state: State, step: Step) -> str:
    what = "unchanged" if not step.n else "new" if step.new else f"v{step.n}"
    return f"D{step.number} {what}  {step.title}  {state.url}/D{step.number}"


def _first_push(
    state: State, repo: Repo, hosted: Hosted, new: str, ref: str
) -> tuple[list[dict[str, object]], list[str]]:
    if not repo.update_ref(ref, new, None, reason="first push"):
        raise UsageError(
            f"{hosted.trunk} is no longer empty", where=ref, remedy="fetch it, then submit on it"
        )
    with state.records.write() as c:
        events.append(
            c, "trunk.moved", {"repo": hosted.name, "trunk": hosted.trunk, "commit": new, "diff": None}
        )
    return [{"ref": ref, "refname": ref, "old": None, "new": new}], [f"{hosted.trunk} starts at {new[:12]}"]


# --- checking --------------------------------------------------------------------------------------


def make_plan(state: State, person: Person, hosted: Hosted, tip: str, *, note: str, draft: bool) -> Plan:
    """Check a pushed stack and say what it will do; every refusal names the commit and the remedy."""
    repo = state.repo(hosted.name)
    trunk = repo.ref(f"refs/heads/{hosted.trunk}")
    if trunk is None:
        raise UsageError(
            f"{hosted.trunk} is empty: there is nothing to review against",
            remedy=f"an administrator pushes its first commits to refs/heads/{hosted.trunk}",
        )
    commits = _stack(state, repo, hosted, trunk, tip)
    named = identity.stack((c.oid, c.message) for c in commits)
    base = commits[0].parents[0]
    steps: list[Step] = []
    with state.records.read() as c:
        number = diffs.last_number(c)
        for commit, one in zip(commits, named, strict=True):
            known = next(iter(diffs.by_id(c, one.diff_id, hosted.name)), None)
            below = steps[-1].number if steps else None
            if known is None:
                number += 1
                steps.append(_step(repo, commit, one.diff_id, base, number, 1, below, new=True, carried=()))
                continue
            newest = diffs.version_of(c, known.number, known.latest)
            assert newest is not None
            if newest.commit == commit.oid and known.state not in states.CLOSED:
                steps.append(
                    _step(repo, commit, one.diff_id, base, known.number, 0, below, new=False, carried=())
                )
                continue
            _may_add(person, known, commit)
            carried = _carried(c, repo, known, commit)
            n = known.latest + 1
            steps.append(
                _step(repo, commit, one.diff_id, base, known.number, n, below, new=False, carried=carried)
            )
    return Plan(tuple(steps), note, draft)


def _stack(state: State, repo: Repo, hosted: Hosted, trunk: str, tip: str) -> list[Commit]:
    """The commits between the trunk and `tip`, oldest first, each on the one before."""
    limit = state.limits.stack
    oids = repo.run("rev-list", f"--max-count={limit + 1}", f"{trunk}..{tip}").text.split()
    count = len(oids)
    if count == 0:
        raise UsageError(
            f"{tip[:12]} is part of {hosted.trunk} already: there is nothing to review",
            remedy="commit your change on top of the trunk, then submit",
        )
    if count > limit:
        raise UsageError(
            f"the push holds more than {limit} commits that are not in {hosted.trunk}",
            remedy=f"rebase onto {hosted.trunk}, or submit the stack in parts, lowest first",
        )
    for oid, size in repo.sizes(oids).items():  # before any is read: one may have a gigabyte of header
        if size > 2 * state.limits.message:
            raise UsageError(
                f"the commit {oid[:12]} is longer than {2 * state.limits.message >> 10} KB by itself",
                where=f"commit {oid[:12]}",
                remedy="shorten its message; long text belongs in a file or a comment",
            )
    commits = repo.commits(f"{trunk}..{tip}")
    for commit in commits:
        where = f"commit {commit.oid[:12]} {commit.subject!r}"
        if len(commit.parents) > 1:
            raise UsageError(
                f"{commit.oid[:12]} is a merge commit; a diff is one commit with one parent",
                where=where,
                remedy=f"rebase instead of merging: git rebase {hosted.trunk}",
            )
        if not commit.parents:
            raise UsageError(
                f"{commit.oid[:12]} has no parent: it shares no history with {hosted.trunk}",
                where=where,
                remedy=f"rebase it onto {hosted.trunk}",
            )
        if len(commit.message.encode("utf-8", "surrogateescape")) > state.limits.message:
            raise UsageError(
                f"the message of {commit.oid[:12]} is longer than {state.limits.message >> 10} KB",
                where=where,
                remedy="shorten it; long text belongs in a file or a comment",
            )
        if not commit.message.strip():
            raise UsageError(f"{commit.oid[:12]} has no message", where=where, remedy="say what it does")
    _measured(state, repo, commits)
    return commits


def _measured(state: State, repo: Repo, commits: Sequence[Commit]) -> None:
    """Refuse a change of more paths than can be listed, before anything lists them."""
    limit = state.limits.paths
    with Measure(repo) as measure:
        before = repo.commit(commits[0].parents[0]).tree
        for commit in commits:
            if measure.paths(before, commit.tree, limit) > limit:
                raise UsageError(
                    f"{commit.oid[:12]} changes more than {limit} files",
                    where=f"commit {commit.oid[:12]} {commit.subject!r}",
                    remedy="split it into several diffs",
                )
            before = commit.tree


def _may_add(person: Person, diff: Diff, commit: Commit) -> None:
    where = f"commit {commit.oid[:12]} {commit.subject!r}"
    if diff.state in ("landed", "reverted"):
        raise UsageError(
            f"D{diff.number} has landed; its Diff-Id cannot be used again",
            where=where,
            remedy="rebase onto the trunk, which drops it; for a further change remove the Diff-Id line",
        )
    if diff.state == "abandoned":
        raise UsageError(
            f"D{diff.number} was abandoned", where=where, remedy="reclaim it on its page, then submit again"
        )
    if diff.state == "landing":
        raise UsageError(
            f"D{diff.number} is landing at this moment",
            where=where,
            remedy="wait for it, then submit what is left",
        )
    if diff.author != person.name:
        raise UsageError(
            f"D{diff.number} belongs to {diff.author}; only its author may send a new version",
            where=where,
            remedy=f"ask {diff.author}, or remove the Diff-Id line to make a diff of your own",
        )


def _carried(c: Connection, repo: Repo, diff: Diff, commit: Commit) -> tuple[int, ...]:
    """Which accepts of the newest version hold for the new commit too: ship's rule, asked of git."""
    found = []
    accepts = {
        r.given_on
        for r in diffs.reviewers(c, diff.number)
        if r.verdict == "accept" and r.version == diff.latest and r.given_on is not None
    }
    for given_on in sorted(accepts):
        approved = diffs.version_of(c, diff.number, given_on)
        assert approved is not None
        remerged = repo.merge_tree(commit.parents[0], approved.commit, approved.parent)
        if change.carries(remerged.tree, commit.tree):
            found.append(given_on)
    return tuple(found)


def _step(
    repo: Repo, commit: Commit, diff_id: str, base: str, number: int, n: int, below: int | None, *,
    new: bool, carried: tuple[int, ...],
) -> Step:  # fmt: skip
    parent = commit.parents[0]
    return Step(
        number=number,
        n=n,
        new=new,
        diff_id=diff_id,
        commit=commit.oid,
        parent=parent,
        base=base,
        tree=commit.tree,
        change=change.key(repo.changes(parent, commit.oid)),
        title=_printable(commit.subject)[:500] or commit.oid[:12],
        message=_printable(commit.message),
        below=below,
        carried=carried,
    )


def _printable(text: str) -> str:
    """A message as records keep it; bytes that are no UTF-8 stay in the commit and show as a mark."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


# --- doing -----------------------------------------------------------------------------------------


def _carry_out(state: State, person: Person, hosted: Hosted, repo: Repo, plan: Plan) -> None:
    intent = posts.new_id()
    with state.records.write() as c:
        jobs.intend_push(c, intent_id=intent, repo_id=hosted.id, person_id=person.id, payload=plan.to_json())
    crashpoint.here(BEFORE_REFS)
    try:
        _make_refs(repo, plan)
        crashpoint.here(AFTER_REFS)
        _record(state, person, hosted, plan, intent)
    except BaseException:
        _undo(state, repo, plan, intent)
        raise
    crashpoint.here(AFTER_TRANSACTION)


def _make_refs(repo: Repo, plan: Plan) -> None:
    """All refs of the push in one of git's transactions: all or none.

    `update`, not `create`: a ref that no record knows is what a restored backup or a failed undo left.
    """
    lines = [f"update {s.ref} {s.commit}\n" for s in plan.steps if s.n]
    text = "start\n" + "".join(lines) + "prepare\ncommit\n"
    repo.run("update-ref", "--stdin", stdin=text.encode())


def _undo(state: State, repo: Repo, plan: Plan, intent: str) -> None:
    """After a failure: no ref without a record.  What cannot be undone now is dropped at the next push."""
    for step in plan.steps:
        if step.n:
            repo.delete_ref(step.ref, step.commit)
    try:
        with state.records.write() as c:
            jobs.forget_push(c, intent)
    except FairleadError:
        pass  # a full disk: the refs are gone, so `replay` drops the row


def replay(state: State) -> int:
    """Finish or drop pushes that were cut off, at start and before each push; how many were finished."""
    with state.records.read() as c:
        intents = jobs.push_intents(c)
        hosted = {one.name: one for one in diffs.repos(c)}
    done = 0
    for intent in intents:
        plan = Plan.from_json(intent.payload)
        repo = state.repo(intent.repo)
        if all(repo.ref(s.ref) == s.commit for s in plan.steps if s.n):
            try:
                _record(state, intent.person, hosted[intent.repo], plan, intent.id)
                done += 1
                continue
            except UsageError as error:  # a diff was abandoned between plan and crash: nobody was told "ok"
                log.warning("a push that was cut off is dropped: %s", error.what)
        _undo(state, repo, plan, intent.id)
    return done


def _record(state: State, person: Person, hosted: Hosted, plan: Plan, intent: str) -> None:
    """The one transaction of a push."""
    with state.records.write() as c:
        for step in plan.steps:
            if step.new:
                _add_diff(c, state, person, hosted, plan, step)
            elif step.n:
                _add_version(c, state, person, plan, step)
            diffs.set_stack_parent(c, step.number, step.below)
        jobs.forget_push(c, intent)


def _add_diff(c: Connection, state: State, person: Person, hosted: Hosted, plan: Plan, step: Step) -> None:
    root = posts.new_id()
    diffs.add(
        c,
        number=step.number,
        diff_id=step.diff_id,
        repo_id=hosted.id,
        root_post=root,
        author_id=person.id,
        title=step.title,
        state="draft" if plan.draft else "needs_review",
        stack_parent=step.below,
    )
    data = {"note": plan.note} if plan.note else {}
    posts.add(
        c, number=step.number, kind="diff", body=step.message, author_id=person.id, version=1, data=data,
        post_id=root,
    )  # fmt: skip
    _write_version(c, person, step)
    payload = {"diff": step.number, "version": 1, "commit": step.commit}
    events.append(c, "diff.submitted", payload, diff=step.number)
    events.append(c, "post.added", {"diff": step.number, "post": root, "kind": "diff"}, diff=step.number)
    if not plan.draft:
        lifecycle.settle(c, step.number, state.settings)


def _add_version(c: Connection, state: State, person: Person, plan: Plan, step: Step) -> None:
    diff = diffs.get(c, step.number)
    if diff is None or diff.latest != step.n - 1:
        raise MachineryError(
            f"D{step.number} changed while it was being pushed", remedy="push again; nothing was recorded"
        )
    _write_version(c, person, step)
    diffs.set_title(c, step.number, step.title)
    posts.set_body(c, diff.root_post, step.message)
    if step.carried:
        diffs.carry_accepts(c, step.number, step.carried, diff.latest, step.n)
    if diff.state == "queued":
        why = Reason(
            "version",
            f"version {step.n} was submitted while version {diff.latest} was queued",
            f"D{diff.number}",
        )
        lifecycle.unqueue(c, step.number, why)
    enough = bool(step.carried) and lifecycle.accepted(c, step.number, state.settings)
    lifecycle.move(
        c, step.number, "carried" if enough and "carried" in states.steps(diff.state) else "version"
    )
    if diff.state == "draft" and not plan.draft:
        lifecycle.move(c, step.number, "publish")
    lifecycle.settle(c, step.number, state.settings)
    made = posts.add(
        c, number=step.number, kind="version", body=plan.note, author_id=person.id, version=step.n,
        data={"carried": len(step.carried)},
    )  # fmt: skip
    payload = {"diff": step.number, "version": step.n, "commit": step.commit}
    events.append(c, "diff.versioned", payload, diff=step.number)
    events.append(c, "post.added", {"diff": step.number, "post": made, "kind": "version"}, diff=step.number)


def _write_version(c: Connection, person: Person, step: Step) -> None:
    diffs.add_version(
        c,
        number=step.number,
        n=step.n,
        commit=step.commit,
        parent=step.parent,
        base=step.base,
        tree=step.tree,
        change=step.change,
        message=step.message,
        pusher_id=person.id,
    )
