"""Results: (namespace, key) to bytes, in one SQLite file that may be thrown away.

Everything here can be computed again, so a file of another version or a damaged one is
dropped and rebuilt instead of migrated. WAL with synchronous=NORMAL: a power loss may forget
the last results, never mix them.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from fairlead.errors import MachineryError
from fairlead.store import lock

_VERSION = 1
_AT_ONCE = 500  # keys in one question: old SQLites take 999 values


class Results:
    """A table of small values by namespace and key; safe for several threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = self._open()
        except (OSError, sqlite3.Error) as error:
            raise _failed(error, path) from error

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            if _version(db) != _VERSION:
                # SQLite's own timeout does not cover the change to WAL: of two processes that make the file
                # at once, one would fail. So they take turns, and the second finds it made.
                with lock.hold(self.path.with_name(f"{self.path.name}.making")):
                    if _version(db) != _VERSION:
                        _make(db)
            db.execute("PRAGMA synchronous=NORMAL")
            return db
        except BaseException:
            db.close()
            raise

    def get(self, namespace: str, key: str) -> bytes | None:
        """The value, or None."""
        with self._guard():
            row = self._db.execute(
                "SELECT value FROM result WHERE namespace = ? AND key = ?", (namespace, key)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def put(self, namespace: str, key: str, value: bytes) -> None:
        """Set the value, replacing an old one."""
        with self._guard():
            self._db.execute("INSERT OR REPLACE INTO result VALUES (?, ?, ?)", (namespace, key, value))

    def get_many(self, namespace: str, keys: Iterable[str]) -> dict[str, bytes]:
        """The values of those keys that have one."""
        wanted = list(keys)
        found: dict[str, bytes] = {}
        with self._guard():
            for start in range(0, len(wanted), _AT_ONCE):
                some = wanted[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, value FROM result WHERE namespace = ? AND key IN ({marks})"
                found.update(self._db.execute(query, (namespace, *some)))
        return found

    def put_many(self, namespace: str, values: Mapping[str, bytes]) -> None:
        """Set many values, all or none of them."""
        self.put_rows([(namespace, key, value) for key, value in values.items()])

    def put_rows(self, rows: Sequence[tuple[str, str, bytes]]) -> None:
        """Set values (namespace, key, value), all or none of them."""
        if not rows:
            return
        with self._guard():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany("INSERT OR REPLACE INTO result VALUES (?, ?, ?)", rows)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def delete(self, namespace: str, key: str) -> None:
        """Forget one value; absent is fine."""
        with self._guard():
            self._db.execute("DELETE FROM result WHERE namespace = ? AND key = ?", (namespace, key))

    def items(self, namespace: str) -> Iterator[tuple[str, bytes]]:
        """All (key, value) of one namespace, in order of key."""
        with self._guard():
            rows = self._db.execute(
                "SELECT key, value FROM result WHERE namespace = ? ORDER BY key", (namespace,)
            ).fetchall()
        for key, value in rows:
            yield str(key), bytes(value)

    def close(self) -> None:
        """Close the file; the object is of no use afterwards."""
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise _failed(error, self.path) from error


def _version(db: sqlite3.Connection) -> int:
    with contextlib.closing(db.execute("PRAGMA user_version")) as found:
        return int(found.fetchone()[0])


def _make(db: sqlite3.Connection) -> None:
    """An empty table of our version; WAL is a property of the file and stays."""
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("BEGIN IMMEDIATE")
    db.execute("DROP TABLE IF EXISTS result")
    db.execute(
        "CREATE TABLE result (namespace TEXT, key TEXT, value BLOB NOT NULL,"
        " PRIMARY KEY (namespace, key)) WITHOUT ROWID"
    )
    db.execute(f"PRAGMA user_version={_VERSION}")
    db.execute("COMMIT")


def _disk_is_full(folder: Path) -> bool:
    """SQLite calls a full disk "disk I/O error" where it cannot lengthen its log."""
    try:
        seen = os.statvfs(folder)
    except OSError:
        return False
    return seen.f_bavail * seen.f_frsize < 1 << 17


def _failed(error: Exception, path: Path) -> MachineryError:
    full = "full" in str(error) or getattr(error, "errno", None) == 28 or _disk_is_full(path.parent)
    if full:
        remedy = "free some space on that disk and run it again"
    elif isinstance(error, OSError) or not os.access(path.parent, os.W_OK):
        remedy = "let the folder be made and written, or choose another with the setting store.dir"
    else:
        remedy = "remove the file; it is rebuilt"
    said = (isinstance(error, OSError) and error.strerror) or error
    return MachineryError(f"cannot use the store of results: {said}", where=str(path), remedy=remedy)
