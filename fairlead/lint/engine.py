"""The engine: many files and the selected rules to one report, asking only what is not known yet.

A file that cannot be read, or that a rule fails on, becomes a problem in the report and the others
are still checked. When every answer is kept already, neither LibCST nor a rule is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairlead.errors import FairleadError, UsageError
from fairlead.lint.badsource import BadSource
from fairlead.lint.cache import FindingsCache
from fairlead.lint.extra import libcst_version
from fairlead.lint.finding import Finding
from fairlead.lint.selection import RuleRef
from fairlead.store import Record


@dataclass(frozen=True, order=True)
class SourceFile:
    """A file to lint: the `name` that findings show, and where it is."""

    name: str
    path: Path


@dataclass(frozen=True)
class Report:
    """What lint says about a set of files.

    `findings` are in order of path, line, column; `problems` in order of path. `known` counts the
    files for which every answer was kept from an earlier run.
    """

    files: int
    known: int
    findings: tuple[Finding, ...]
    problems: tuple[FairleadError, ...]


def lint_files(files: Iterable[SourceFile], rules: Sequence[RuleRef], cache: FindingsCache | None) -> Report:
    """Lint every file with every rule; `MachineryError` if LibCST is missing."""
    libcst_version()
    count = known = 0
    findings: list[Finding] = []
    problems: list[FairleadError] = []
    for file in sorted(files):
        count += 1
        try:
            data = read(file)
        except UsageError as error:
            problems.append(error)
            continue
        one = _File(file.name, data, cache)
        one.lint(rules)
        known += one.known
        findings += one.findings
        problems += one.problems
    return Report(count, known, tuple(sorted(findings)), tuple(problems))


def read(file: SourceFile) -> bytes:
    """A file's bytes; `UsageError` if it cannot be read."""
    try:
        return file.path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {file.name}: {error.strerror}", where=file.name) from None


class _File:
    """The state of linting one file: which answers are known, and what they say."""

    def __init__(self, name: str, data: bytes, cache: FindingsCache | None) -> None:
        self.name = name
        self.data = data
        self.cache = cache
        self.known = True
        self.findings: list[Finding] = []
        self.problems: list[FairleadError] = []

    def lint(self, rules: Sequence[RuleRef]) -> None:
        asked: list[tuple[RuleRef, Record | None]] = []
        for rule in rules:
            record = self.cache.record(self.data, rule) if self.cache else None
            answer = self.cache.get(record, self.name) if self.cache and record else None
            if isinstance(answer, BadSource):
                self.problems = [answer]
                return
            if answer is None:
                asked.append((rule, record))
            else:
                self.findings += answer
        if asked:
            self.known = False
            self._ask(asked)

    def _ask(self, asked: list[tuple[RuleRef, Record | None]]) -> None:
        from fairlead.lint.check import RuleFailed, lint_bytes

        while asked:
            try:
                found = lint_bytes(self.name, self.data, [rule.load() for rule, _ in asked])
            except BadSource as error:
                self.problems.append(error)
                self._keep([(record, error) for _, record in asked])
                return
            except RuleFailed as error:
                self.problems.append(error)
                asked = [(rule, record) for rule, record in asked if rule.load() is not error.rule]
                continue
            self.findings += found
            self._keep([(record, [f for f in found if f.rule == rule.name]) for rule, record in asked])
            return

    def _keep(self, answers: Iterable[tuple[Record | None, list[Finding] | BadSource]]) -> None:
        for record, answer in answers:
            if self.cache is not None and record is not None:
                self.cache.put(record, answer)
