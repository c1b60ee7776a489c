"""Connections to the one database, and the one writer lock.

SQLite in WAL mode: readers never wait.  `synchronous=FULL`: what a commit acknowledged survives a power
cut, at about 280 transactions a second, far more than a team writes.  Writers take a lock in this process,
then SQLite's own (`BEGIN IMMEDIATE`), which also keeps `fairlead people` in another process out.  So a
reader of the events never sees a gap filled later.

Rejected: the ORM (identity maps hide when a query runs), aiosqlite (one more thread hop than our own pool).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, CursorResult
from sqlalchemy.exc import DBAPIError

from fairlead.errors import FairleadError, MachineryError
from fairlead.serve.records import migrations

__all__ = ["Connection", "Records", "new_key"]

_BUSY_MS = 10_000


class Records:
    """The server's database.  Safe to share between threads; open it once a process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._engine = sqlalchemy.create_engine(
            f"sqlite:///{path}", connect_args={"check_same_thread": False}, max_overflow=-1
        )
        sqlalchemy.event.listen(self._engine, "connect", _prepare)
        sqlalchemy.event.listen(self._engine, "begin", _begin)
        try:
            with self.write() as c:
                migrations.apply(c)
        except BaseException:
            self._engine.dispose()
            raise

    def close(self) -> None:
        self._engine.dispose()

    def on_commit(self, listener: Callable[[], None]) -> None:
        """Call `listener` (from the writer's thread) after each committed write."""
        self._listeners.append(listener)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view; nothing written inside it is kept."""
        with self._trouble(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, durable when the block ends without an exception, undone otherwise."""
        with self._lock, self._trouble(), self._engine.connect() as plain:
            connection = plain.execution_options(fairlead_write=True)
            with connection.begin():
                yield connection
        for listener in self._listeners:
            listener()

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise _explained(error, self.path) from error


def _prepare(raw: Any, _record: object) -> None:
    raw.isolation_level = None  # we say BEGIN ourselves; sqlite3's own guesses break read snapshots
    cursor = raw.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("fairlead_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _explained(error: DBAPIError, path: Path) -> FairleadError:
    said = str(error.orig)
    if "disk is full" in said:
        remedy = (
            "free space on the disk of the data folder, then try again; nothing of this change was recorded"
        )
        return MachineryError("the server's disk is full", where=str(path), remedy=remedy)
    if "locked" in said:
        remedy = "another process holds the database; see if a backup or a second server runs on this folder"
        return MachineryError("the server's database is locked", where=str(path), remedy=remedy)
    return MachineryError(
        f"the server's database failed: {said}",
        where=str(path),
        remedy="this is a bug or a damaged disk; keep the data folder and report it",
    )


def new_key(done: CursorResult[Any]) -> int:
    """The integer key that the database gave to the one inserted row."""
    key = done.inserted_primary_key
    if key is None:
        raise AssertionError("an insert of one row always has a key")
    return int(key[0])
