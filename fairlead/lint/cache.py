"""The lint cache: what a rule found in a file, kept under a key of all that the answer depends on.

One entry for each file and rule, so that an edited rule is asked again alone. The key is a record:
the file's bytes, the rule, the sources of rule and checker with everything of ours that they
import, LibCST, Python, the rule's configuration. The path is no part of it: rules do not see the
path, so a moved file is not asked again. That a file is no Python is an answer too.

Nothing here imports LibCST or a rule.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import cache

from fairlead.errors import MachineryError
from fairlead.lint import closure
from fairlead.lint.badsource import BadSource
from fairlead.lint.extra import libcst_version
from fairlead.lint.finding import Finding
from fairlead.lint.selection import RuleRef
from fairlead.store import Record, Store, digest

VERSION = 1
_FINDINGS = "lint"
_IMPORTS = "lint.imports"
_CHECKER = "fairlead.lint.check"


class FindingsCache:
    """Findings by content key in a store. Once a write fails, no more are tried and `trouble` says why:
    what lint finds does not depend on its cache."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sources = cache(self._sources_of)
        self.trouble: MachineryError | None = None

    def record(self, data: bytes, rule: RuleRef) -> Record:
        """The record whose key names the answer of `rule` on `data`."""
        return Record(
            "lint",
            VERSION,
            {
                "file": digest.of_bytes(data),
                "rule": f"{rule.module}:{rule.class_name}",
                "sources": self._sources(rule.module),
                "libcst": libcst_version(),
                "python": f"{sys.implementation.name}-{sys.version_info[0]}.{sys.version_info[1]}",
                "configuration": {},
            },
        )

    def get(self, record: Record, path: str) -> list[Finding] | BadSource | None:
        """The kept answer with `path` put in, or None. A damaged entry is as good as none."""
        value = self._store.results.get(_FINDINGS, record.key)
        if value is None:
            return None
        try:
            match json.loads(value):
                case {"unreadable": [int(line), int(column), str(reason)]}:
                    return BadSource(path, line, column, reason)
                case {"findings": [*rows]}:
                    return [Finding(path, *row) for row in rows]
        except (ValueError, TypeError):
            pass
        return None

    def put(self, record: Record, answer: Sequence[Finding] | BadSource) -> None:
        """Keep an answer, and the record that explains it."""
        if self.trouble is not None:
            return
        entry: dict[str, object]
        if isinstance(answer, Sequence):
            entry = {
                "findings": [
                    [f.line, f.column, f.end_line, f.end_column, f.rule, f.message, f.fixable] for f in answer
                ]
            }
        else:
            entry = {"unreadable": [answer.line, answer.column, answer.reason]}
        try:
            self._store.put_record(record)
            self._store.results.put(_FINDINGS, record.key, json.dumps(entry).encode())
        except MachineryError as error:
            self.trouble = error

    def _sources_of(self, module: str) -> dict[str, str]:
        return closure.closure((module, _CHECKER), closure.fairlead_source, self._imports)

    def _imports(self, name: str, source: closure.Source) -> list[str]:
        """`closure.imports`, remembered under the source's own digest."""
        key = Record(
            "imports",
            VERSION,
            {"module": name, "package": source.package, "source": digest.of_bytes(source.data)},
        ).key
        known = self._store.results.get(_IMPORTS, key)
        if known is not None:
            return known.decode().split()
        found = closure.imports(name, source)
        if self.trouble is None:
            try:
                self._store.results.put(_IMPORTS, key, " ".join(found).encode())
            except MachineryError as error:
                self.trouble = error
        return found
