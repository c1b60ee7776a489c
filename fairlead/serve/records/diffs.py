"""Questions about repositories, diffs, their versions, stacks and reviewers."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sqlalchemy import Connection, Row, Select, delete, func, insert, select, update

from fairlead.serve.records.database import new_key
from fairlead.serve.records.schema import diff, person, repo, reviewer, version
from fairlead.serve.records.values import Diff, Hosted, Reviewer, Version

# States in which a diff takes no part in a stack's future any more.
_CLOSED = ("landed", "abandoned", "reverted")


def add_repo(c: Connection, name: str, trunk: str) -> Hosted:
    now = time.time()
    done = c.execute(insert(repo).values(name=name, trunk=trunk, created=now))
    return Hosted(new_key(done), name, trunk, now)


def repos(c: Connection) -> list[Hosted]:
    return [Hosted(r.id, r.name, r.trunk, r.created) for r in c.execute(select(repo).order_by(repo.c.id))]


def repo_named(c: Connection, name: str) -> Hosted | None:
    r = c.execute(select(repo).where(repo.c.name == name)).first()
    return Hosted(r.id, r.name, r.trunk, r.created) if r else None


def _select() -> Select:  # type: ignore[type-arg]
    return (
        select(diff, repo.c.name.label("repo_name"), person.c.name.label("author_name"))
        .join(repo, repo.c.id == diff.c.repo_id)
        .join(person, person.c.id == diff.c.author_id)
    )


def _diff(r: Row) -> Diff:  # type: ignore[type-arg]
    return Diff(
        r.number,
        r.diff_id,
        r.repo_name,
        r.root_post,
        r.author_name,
        r.title,
        r.state,
        r.latest,
        r.stack_parent,
        r.created,
        r.updated,
    )


def get(c: Connection, number: int) -> Diff | None:
    row = c.execute(_select().where(diff.c.number == number)).first()
    return _diff(row) if row else None


def by_id(c: Connection, diff_id: str, repo_name: str | None = None) -> list[Diff]:
    """Diffs that carry this Diff-Id: at most one in each repository."""
    question = _select().where(diff.c.diff_id == diff_id).order_by(diff.c.number)
    if repo_name is not None:
        question = question.where(repo.c.name == repo_name)
    return [_diff(r) for r in c.execute(question)]


def by_commit(c: Connection, commit: str) -> list[Diff]:
    """Diffs of which this commit is a version."""
    numbers = select(version.c.diff).where(version.c.commit == commit)
    return [_diff(r) for r in c.execute(_select().where(diff.c.number.in_(numbers)).order_by(diff.c.number))]


def feed(
    c: Connection,
    *,
    limit: int = 50,
    before: float | None = None,
    state: str | None = None,
    author: str | None = None,
) -> list[Diff]:
    """Diffs by latest change, newest first.  Page on with `before` = `updated` of the last one seen."""
    question = _select().order_by(diff.c.updated.desc(), diff.c.number.desc()).limit(limit)
    if before is not None:
        question = question.where(diff.c.updated < before)
    if state is not None:
        question = question.where(diff.c.state == state)
    if author is not None:
        question = question.where(person.c.name == author)
    return [_diff(r) for r in c.execute(question)]


def stack(c: Connection, number: int) -> list[Diff]:
    """The stack a diff is part of, bottom first: what it stands on, itself, and what stands on it.

    Where two open diffs stand on the same one, both follow, the older first.
    """
    below: list[Diff] = []
    at = get(c, number)
    while at is not None and at.number not in {d.number for d in below}:
        below.append(at)
        at = get(c, at.stack_parent) if at.stack_parent is not None else None
    chain = list(reversed(below))
    queue = [number]
    while queue:
        above = [
            _diff(r)
            for r in c.execute(
                _select()
                .where(diff.c.stack_parent == queue.pop(0), diff.c.state.not_in(_CLOSED))
                .order_by(diff.c.number)
            )
        ]
        fresh = [d for d in above if d.number not in {x.number for x in chain}]
        chain.extend(fresh)
        queue.extend(d.number for d in fresh)
    return chain


def add(
    c: Connection,
    *,
    diff_id: str,
    repo_id: int,
    root_post: str,
    author_id: int,
    title: str,
    state: str,
    stack_parent: int | None,
    number: int | None = None,
) -> int:
    """Make a diff without a version yet; returns its number.  `number` is given when a push is replayed."""
    now = time.time()
    done = c.execute(
        insert(diff).values(
            number=number,
            diff_id=diff_id,
            repo_id=repo_id,
            root_post=root_post,
            author_id=author_id,
            title=title,
            state=state,
            latest=0,
            stack_parent=stack_parent,
            created=now,
            updated=now,
        )
    )
    return new_key(done)


def last_number(c: Connection) -> int:
    return int(c.execute(select(func.coalesce(func.max(diff.c.number), 0))).scalar_one())


def set_state(c: Connection, number: int, state: str) -> None:
    """Write a state; whether the step is allowed is ship.states' business, asked by the caller."""
    c.execute(update(diff).where(diff.c.number == number).values(state=state, updated=time.time()))


def set_title(c: Connection, number: int, title: str) -> None:
    c.execute(update(diff).where(diff.c.number == number).values(title=title))


def set_stack_parent(c: Connection, number: int, below: int | None) -> None:
    c.execute(update(diff).where(diff.c.number == number).values(stack_parent=below))


def touch(c: Connection, number: int) -> None:
    """Bring a diff to the top of the feed."""
    c.execute(update(diff).where(diff.c.number == number).values(updated=time.time()))


def add_version(
    c: Connection,
    *,
    number: int,
    n: int,
    commit: str,
    parent: str,
    base: str,
    tree: str,
    change: str,
    message: str,
    pusher_id: int,
) -> None:
    now = time.time()
    c.execute(
        insert(version).values(
            diff=number,
            n=n,
            commit=commit,
            parent=parent,
            base=base,
            tree=tree,
            change=change,
            message=message,
            pusher_id=pusher_id,
            created=now,
        )
    )
    c.execute(update(diff).where(diff.c.number == number).values(latest=n, updated=now))


def versions(c: Connection, number: int) -> list[Version]:
    """All versions of a diff, oldest first."""
    rows = c.execute(
        select(version, person.c.name)
        .join(person, person.c.id == version.c.pusher_id)
        .where(version.c.diff == number)
        .order_by(version.c.n)
    )
    return [
        Version(r.diff, r.n, r.commit, r.parent, r.base, r.tree, r.change, r.message, r.name, r.created)
        for r in rows
    ]


def version_of(c: Connection, number: int, n: int) -> Version | None:
    return next((v for v in versions(c, number) if v.n == n), None)


def reviewers(c: Connection, number: int) -> list[Reviewer]:
    """Everyone who gave a verdict on a diff, with the version it holds for."""
    rows = c.execute(
        select(reviewer, person.c.name)
        .join(person, person.c.id == reviewer.c.person_id)
        .where(reviewer.c.diff == number)
        .order_by(person.c.name)
    )
    return [Reviewer(r.name, r.verdict, r.version, r.given_on, r.updated) for r in rows]


def set_verdict(
    c: Connection, number: int, person_id: int, verdict: str, holds_for: int, given_on: int
) -> None:
    """Record a reviewer's latest verdict; it replaces an earlier one of the same person."""
    c.execute(delete(reviewer).where(reviewer.c.diff == number, reviewer.c.person_id == person_id))
    c.execute(
        insert(reviewer).values(
            diff=number,
            person_id=person_id,
            verdict=verdict,
            version=holds_for,
            given_on=given_on,
            updated=time.time(),
        )
    )


def carry_accepts(
    c: Connection, number: int, given_on: Iterable[int], from_version: int, to_version: int
) -> None:
    """Let accepts that were given on some of `given_on` hold for a newer version; the caller asked ship."""
    c.execute(
        update(reviewer)
        .where(
            reviewer.c.diff == number,
            reviewer.c.verdict == "accept",
            reviewer.c.version == from_version,
            reviewer.c.given_on.in_(list(given_on)),
        )
        .values(version=to_version)
    )
