"""The store: blobs by digest, results by key, and the records that explain them.

blobs     bytes under their SHA-256
results   (namespace, key) -> small value, disposable
record    keyed records and the comparison behind `why`
atomic, lock, crashpoint   whole files, locks between processes, places to die in tests
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fairlead.store.blobs import Blobs
from fairlead.store.record import Record, explain
from fairlead.store.results import Results

__all__ = ["Blobs", "Record", "Results", "Store", "explain"]


class Store:
    """One folder with blobs and results. Used by build, lint and worker; never by the server."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = Blobs(root / "blobs")
        self.results = Results(root / "results.sqlite")

    @classmethod
    def open(cls, root: Path) -> Store:
        """The store in `root`, made if absent; `MachineryError` if it cannot be used."""
        return cls(root)

    def put_record(self, record: Record) -> str:
        """Keep a record under its key, so that `why` can compare it later; its key."""
        if self.results.get("record", record.key) is None:
            self.results.put("record", record.key, record.encode())
        return record.key

    def put_records(self, records: Iterable[Record]) -> None:
        """Keep many records at once."""
        found = {record.key: record for record in records}
        known = self.results.get_many("record", found)
        rows = {key: record.encode() for key, record in found.items() if key not in known}
        self.results.put_many("record", rows)

    def get_record(self, key: str) -> Record | None:
        """The record with that key, or None."""
        data = self.results.get("record", key)
        return None if data is None else Record.decode(data)
