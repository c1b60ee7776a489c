"""The database: migrations give exactly the schema, writers take turns, nothing of a failed write stays."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import Connection, inspect

from fairlead.errors import MachineryError
from fairlead.serve.records import Records, diffs, events, jobs, people, posts, queue
from fairlead.serve.records.schema import metadata
from fairlead.serve.records.values import Anchor, Reason


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "db.sqlite")


def shape(engine: sqlalchemy.Engine) -> dict[str, object]:
    """Tables with columns, keys and indexes, as the database itself describes them."""
    found: dict[str, object] = {}
    seen = inspect(engine)
    for table in seen.get_table_names():
        found[table] = (
            [(c["name"], str(c["type"]), c["nullable"]) for c in seen.get_columns(table)],
            sorted(
                (tuple(k["constrained_columns"]), k["referred_table"]) for k in seen.get_foreign_keys(table)
            ),
            sorted(
                (str(i["name"]), tuple(str(n) for n in i["column_names"])) for i in seen.get_indexes(table)
            ),
            sorted(tuple(k["column_names"]) for k in seen.get_unique_constraints(table)),
        )
    return found


def test_migrations_make_the_schema(records: Records, tmp_path: Path) -> None:
    plain = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'plain.sqlite'}")
    metadata.create_all(plain)
    migrated = sqlalchemy.create_engine(f"sqlite:///{records.path}")
    assert shape(migrated) == shape(plain)
    assert len(shape(plain)) == len(metadata.tables)


def test_opening_again_changes_nothing_and_a_newer_database_is_refused(records: Records) -> None:
    with records.write() as c:
        people.add(c, "author", "x", True)
    records.close()
    again = Records(records.path)
    with again.write() as c:
        assert people.count(c) == 1
        c.exec_driver_sql("PRAGMA user_version = 99")
    again.close()
    with pytest.raises(MachineryError, match="a newer Fairlead made this data folder"):
        Records(records.path)


def test_durability_settings(records: Records) -> None:
    with records.read() as c:
        assert c.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert c.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2  # FULL
        assert c.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1


def test_a_failed_write_leaves_nothing(records: Records) -> None:
    woken: list[int] = []
    records.on_commit(lambda: woken.append(1))
    with pytest.raises(ZeroDivisionError), records.write() as c:
        people.add(c, "author", "x", True)
        events.append(c, "x", {})
        raise ZeroDivisionError
    with records.read() as c:
        assert people.count(c) == 0 and events.latest(c) == 0
    assert woken == []
    with records.write() as c:
        assert events.append(c, "x", {}) == 1
    assert woken == [1]


def test_events_of_many_writers_have_no_gap(records: Records) -> None:
    def write() -> None:
        for _ in range(20):
            with records.write() as c:
                events.append(c, "x", {})

    other = Records(records.path)  # another process, as far as the locks can tell

    def write_elsewhere() -> None:
        for _ in range(20):
            with other.write() as c:
                events.append(c, "y", {})

    threads = [threading.Thread(target=t) for t in (write, write, write_elsewhere)]
    seen = 0
    for thread in threads:
        thread.start()
    while any(t.is_alive() for t in threads):
        with records.read() as c:
            fresh = events.since(c, seen)
        if fresh:  # a reader that follows the log never sees one appear below what it has seen
            assert [e.seq for e in fresh] == list(range(seen + 1, seen + len(fresh) + 1))
            seen = fresh[-1].seq
    with records.read() as c:
        assert [e.seq for e in events.since(c, 0)] == list(range(1, 61))
    other.close()


def test_ids_of_posts_sort_as_they_were_made() -> None:
    made = [posts.new_id() for _ in range(1000)]
    assert made == sorted(set(made)) and {len(m) for m in made} == {26}


def a_diff(c: Connection, below: int | None = None) -> int:
    person = people.by_name(c, "author") or people.add(c, "author", "x", True)
    hosted = diffs.repo_named(c, "main") or diffs.add_repo(c, "main", "main")
    root = posts.new_id()
    number = diffs.add(
        c,
        diff_id=root,
        repo_id=hosted.id,
        root_post=root,
        author_id=person.id,
        title="title",
        state="needs_review",
        stack_parent=below,
    )
    posts.add(c, number=number, kind="diff", body="body", author_id=person.id, post_id=root)
    diffs.add_version(
        c, number=number, n=1, commit=root, parent="p", base="b", tree="t", change="x", message="m",
        pusher_id=person.id,
    )  # fmt: skip
    return number


def test_stacks_are_walked_both_ways(records: Records) -> None:
    with records.write() as c:
        one = a_diff(c)
        two, left = a_diff(c, one), a_diff(c, one)
        three = a_diff(c, two)
        lone = a_diff(c)
    with records.read() as c:
        assert [d.number for d in diffs.stack(c, one)] == [one, two, left, three]
        assert [d.number for d in diffs.stack(c, three)] == [one, two, three]
        assert [d.number for d in diffs.stack(c, lone)] == [lone]
    with records.write() as c:
        diffs.set_state(c, two, "abandoned")
        assert [d.number for d in diffs.stack(c, one)] == [one, left]
        diffs.set_stack_parent(c, one, three)  # a ring, which a reorder by two pushes can make for a moment
        assert {d.number for d in diffs.stack(c, one)} == {one, two, three, left}


def test_the_feed_is_by_latest_change(records: Records) -> None:
    with records.write() as c:
        numbers = [a_diff(c) for _ in range(5)]
        diffs.touch(c, numbers[1])
    with records.read() as c:
        order = [d.number for d in diffs.feed(c)]
        assert order == [numbers[1], numbers[4], numbers[3], numbers[2], numbers[0]]
        first = diffs.feed(c, limit=2)
        assert [d.number for d in diffs.feed(c, before=first[-1].updated)] == order[2:]
        assert diffs.feed(c, state="landed") == [] and diffs.feed(c, author="nobody") == []


def test_an_anchored_post_opens_a_thread(records: Records) -> None:
    with records.write() as c:
        number = a_diff(c)
        at = Anchor(1, "new", "a.py", 3, 4)
        made = posts.add(c, number=number, kind="inline", body="x", author_id=None, at=at, must_fix=True)
        assert posts.must_fix_open(c, number) == [made]
        assert posts.set_thread(c, made, "done") and not posts.set_thread(c, "unknown", "done")
        post = posts.get(c, made)
        assert post is not None and post.anchor == at and post.author is None
        assert post.thread is not None and post.thread.state == "done"
        assert posts.must_fix_open(c, number) == []
        assert posts.recent(c)[0].id == made


def test_a_lease_has_a_number(records: Records) -> None:
    with records.write() as c:
        number = a_diff(c)
        hosted, person = diffs.repos(c)[0], people.everyone(c)[0]
        entry = queue.enqueue(c, repo_id=hosted.id, number=number, version=1, person_id=person.id)
        job = jobs.add(c, entry=entry, kind="candidate", payload={"a": 1})
        worker = people.add_worker(c, "w", "key")
        jobs.lease(c, job, worker.id, until=10.0)
        assert jobs.waiting(c) is None and [j.id for j in jobs.expired(c, 10.0)] == [job]
        assert jobs.expired(c, 9.0) == []
        jobs.release(c, job)
        jobs.lease(c, job, worker.id, until=20.0)
        got = jobs.get(c, job)
        assert got is not None and (got.lease, got.worker, got.payload) == (2, "w", {"a": 1})
        queue.set_state(c, entry, "refused", [Reason("test", "it failed", "//:t")])
        assert queue.open_entries(c) == []
        assert queue.recent_entries(c)[0].reasons == (Reason("test", "it failed", "//:t"),)


def test_a_foreign_key_must_exist(records: Records) -> None:
    with pytest.raises(MachineryError, match="FOREIGN KEY"), records.write() as c:
        posts.add(c, number=99, kind="comment", body="x", author_id=None)
