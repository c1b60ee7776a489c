"""Earlier passes of a recorded test, found by asking today's files what the test asked.

Of each test the last few distinct sets of questions are kept, newest first: a test takes other ways through
the code from edit to edit, and going back to a branch should find what was known there. A set is asked of the
snapshot; if its answers are those of a pass, the test need not run. A set comes from a pass alone, since a
run that fails may end before it has asked everything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fairlead.build.record.asked import Asked
from fairlead.build.record.dependencyset import Answers, DependencySet, evaluate
from fairlead.build.record.source import Blocks, blocks
from fairlead.build.snapshot import Snapshot
from fairlead.build.tree import Tree
from fairlead.errors import UsageError
from fairlead.store import Store, digest
from fairlead.store.record import Part, Record

NAMESPACE = "questions"
MOST = 8
"""Sets kept of a test."""

_PACKAGES = ("/var/lib/dpkg/status", "/lib/apk/db/installed", "/var/lib/rpm/rpmdb.sqlite", "/etc/os-release")


@dataclass(frozen=True)
class Given:
    """What a test gets beside the project's files. `parts` concern it in any case; of the distributions
    `installed` (digest by the toolchain's label, a space and the name) only those that it uses."""

    parts: Mapping[str, Part]
    installed: Mapping[str, str]


class Passes:
    """The sets of questions by label, in a store's results. Used by one thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sets: dict[str, DependencySet | None] = {}
        self._answers: Answers | None = None
        self._blocks: dict[str, Blocks | None] = {}

    def answers(self, label: str, tree: Tree, given: Given) -> Iterator[Record]:
        """What `tree` and what is given answer to each set of the test, newest first. Each record's key may
        have a pass."""
        for key in self._keys(label):
            questions = self._set(key)
            if questions is not None:
                yield self._evaluated(questions, tree, given)

    def keep(
        self,
        label: str,
        asked: Asked,
        snapshot: Snapshot,
        given: Given,
        used: Iterable[str],
        python: Mapping[str, frozenset[str]] = {},
        *,
        positions: bool = True,
    ) -> Record:
        """Keep what a run on `snapshot` asked, and give the answers. `used` are the distributions that it
        asked for; `python` names the bodies that were entered, of sources that were only imported, and
        `positions` says whether their line numbers count. Where not all was heard, everything counts."""
        if asked.lack or asked.recorder == "none":
            questions = DependencySet(
                files=frozenset(snapshot.files),
                listed=frozenset(snapshot.folders),
                links=frozenset(snapshot.links),
                distributions=frozenset(given.installed),
            )
        else:
            questions = DependencySet.of(asked, snapshot, python, positions=positions, distributions=used)
        key = self._store.put_record(questions.record())
        self._sets[key] = questions
        keys = [key, *(other for other in self._keys(label) if other != key)][:MOST]
        self._store.results.put(NAMESPACE, label, json.dumps(keys).encode())
        record = self._evaluated(questions, snapshot, given)
        self._store.put_record(record)
        if self._answers is not None:
            for path in questions.listed:
                part = self._answers.listing(path)
                if isinstance(part, list):
                    self._store.blobs.put(self._answers.listings[str(part[1])])
        return record

    def listing(self, key: str) -> bytes | None:
        """A listing that some pass has seen, or that was made now."""
        if self._answers is not None and key in self._answers.listings:
            return self._answers.listings[key]
        return self._store.blobs.get(key) if self._store.blobs.has(key) else None

    def _evaluated(self, questions: DependencySet, tree: Tree, given: Given) -> Record:
        if self._answers is None or self._answers.tree is not tree:
            self._answers = Answers(tree, split=self.split)
        return evaluate(questions, self._answers, given.parts, installed=given.installed)

    def _keys(self, label: str) -> list[str]:
        data = self._store.results.get(NAMESPACE, label)
        try:
            return [] if data is None else [str(key) for key in json.loads(data)]
        except (ValueError, TypeError):
            self._store.results.delete(NAMESPACE, label)
            return []

    def _set(self, key: str) -> DependencySet | None:
        if key not in self._sets:
            record = self._store.get_record(key)
            try:
                self._sets[key] = None if record is None else DependencySet.from_record(record)
            except (UsageError, KeyError):  # of another version, or damaged: the test runs
                self._sets[key] = None
        return self._sets[key]

    def split(self, source: bytes) -> Blocks | None:
        """The blocks of a source, each source looked at once."""
        name = digest.of_bytes(source)
        if name not in self._blocks:
            self._blocks[name] = blocks(source)
        return self._blocks[name]


def system() -> str:
    """What stands for the programs and libraries of this machine, which are in no key by name: kernel and C
    library, and the state of what the system's packages are listed in. An upgrade changes it."""
    found = [*os.uname()[:1], os.uname().machine, os.confstr("CS_GNU_LIBC_VERSION") or ""]
    for path in _PACKAGES:
        try:
            seen = os.stat(path)
        except OSError:
            continue
        found.append(f"{path} {seen.st_size} {seen.st_mtime_ns}")
    return digest.of_bytes("\n".join(found).encode())
