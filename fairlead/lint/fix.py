"""Fixing: what rules offer to replace, replaced again and again until nothing more is offered.

In one pass the fixes that do not overlap are put into the tree together; of overlapping ones the
outermost, then the first in order, goes in and the rest wait for the next pass, where the rules see
the new code. A single pass, as Fixit makes, leaves such findings behind.

Fixes may conflict for good: two rules undo each other, a fix changes nothing, a fix does not
apply, or what it yields is not Python. The rules to blame are then withheld for the whole file, and
it is begun anew without them; the caller is told. Rejected: to stop after N passes wherever the file
then is, which leaves the last rule of a quarrel the winner by chance.
"""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import libcst

from fairlead.errors import FairleadError, MachineryError, WorkFailed
from fairlead.lint.badsource import BadSource
from fairlead.lint.check import Checked, RuleFailed, check
from fairlead.lint.engine import SourceFile, read
from fairlead.lint.finding import Finding
from fairlead.lint.rule import LintRule, LintViolation, Replacement
from fairlead.lint.source import deep, parse
from fairlead.store import atomic, digest

MOST_PASSES = 100


@dataclass(frozen=True)
class Conflict:
    """Rules whose fixes were withheld from a file, and why."""

    path: str
    rules: tuple[str, ...]
    reason: str

    def error(self) -> FairleadError:
        """The conflict for a person."""
        names = " and ".join(self.rules)
        return WorkFailed(
            f"the fixes of {names} were left out: {self.reason}",
            where=self.path,
            remedy="mend these findings by hand, or silence one of the rules there",
        )


@dataclass(frozen=True)
class Mended:
    """One file after fixing: `after` equals `before` if nothing could be mended.

    `fixes` counts those applied, `passes` the rounds they took. `left` is what lint finds in
    `after`. `problems` are rules that failed and so were not asked.
    """

    path: str
    before: bytes
    after: bytes
    fixes: int
    passes: int
    left: tuple[Finding, ...]
    conflicts: tuple[Conflict, ...]
    problems: tuple[FairleadError, ...]


def fix_bytes(path: str, data: bytes, rules: Sequence[type[LintRule]]) -> Mended:
    """Mend `data` with `rules`, touching nothing else; `BadSource` if it is not Python."""
    asked = list(rules)
    conflicts: list[Conflict] = []
    problems: list[FairleadError] = []
    while True:
        withheld = {name for conflict in conflicts for name in conflict.rules}
        try:
            outcome = _settle(path, data, asked, withheld)
        except RuleFailed as error:
            problems.append(error)
            asked.remove(error.rule)
            continue
        if isinstance(outcome, Conflict):
            conflicts.append(outcome)
            continue
        return Mended(
            path=path,
            before=data,
            after=outcome.data,
            fixes=outcome.fixes,
            passes=outcome.passes,
            left=outcome.left,
            conflicts=tuple(conflicts),
            problems=tuple(problems),
        )


def apply_once(
    module: libcst.Module, violations: Iterable[LintViolation]
) -> tuple[libcst.Module, list[LintViolation]]:
    """The module with the given fixes in place, all at once, and which of them went in.

    Of several fixes of one node the first goes in, of nested ones the outermost.
    """
    offered: dict[libcst.CSTNode, LintViolation] = {}
    for violation in violations:
        if violation.replacement:
            offered.setdefault(violation.node, violation)
    replace = _Replace(offered)
    return module.visit(replace), replace.applied


def mend_file(file: SourceFile, rules: Sequence[type[LintRule]], *, write: bool) -> Mended:
    """`fix_bytes` on a file, and with `write` its new bytes in its place, mode kept."""
    path = Path(os.path.realpath(file.path))  # a rename onto a link would replace the link
    mended = fix_bytes(file.name, read(file), rules)
    if write and mended.after != mended.before:
        mode = stat.S_IMODE(path.stat().st_mode)
        if not os.access(path, os.W_OK):
            raise MachineryError(
                f"{file.name} is read-only", where=file.name, remedy=f"chmod u+w {file.name}"
            )
        if read(file) != mended.before:
            raise WorkFailed(
                f"{file.name} changed while it was being mended",
                where=file.name,
                remedy="run `fairlead fix` again",
            )
        atomic.write(path, mended.after, mode=mode)
    return mended


def patch(mended: Mended) -> bytes:
    """The change as a unified diff that `git apply` takes, in the file's own bytes; b"" if none."""
    name = os.fsencode(mended.path)
    lines = difflib.diff_bytes(
        difflib.unified_diff, _lines(mended.before), _lines(mended.after), b"a/" + name, b"b/" + name
    )
    return b"".join(
        line if line.endswith(b"\n") else line + b"\n\\ No newline at end of file\n" for line in lines
    )


def _lines(data: bytes) -> list[bytes]:
    """Lines as git has them: only \\n ends one."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


class _Replace(libcst.CSTTransformer):
    """Puts replacements in the place of nodes; what is inside a replaced node is left alone."""

    def __init__(self, offered: dict[libcst.CSTNode, LintViolation]) -> None:
        super().__init__()
        self._offered = offered
        self.applied: list[LintViolation] = []

    def on_visit(self, node: libcst.CSTNode) -> bool:
        return node not in self._offered

    def on_leave(self, original_node: libcst.CSTNode, updated_node: libcst.CSTNode) -> Replacement:  # type: ignore[override]
        violation = self._offered.get(original_node)
        if violation is None or violation.replacement is None:
            return updated_node
        self.applied.append(violation)
        return violation.replacement


@dataclass(frozen=True)
class _Settled:
    """Where a file came to rest."""

    data: bytes
    fixes: int
    passes: int
    left: tuple[Finding, ...]


def _settle(
    path: str, data: bytes, rules: Sequence[type[LintRule]], withheld: Collection[str]
) -> _Settled | Conflict:
    """Pass after pass until no fix is offered, or until it is clear who keeps that from happening."""
    states = [digest.of_bytes(data)]
    authors: list[set[str]] = []  # the rules whose fixes led from each state to the next
    fixes = 0
    while True:
        checked = check(path, data, rules)
        offered = [v for v in checked.violations if v.replacement and v.rule_name not in withheld]
        if not offered:
            return _Settled(data, fixes, len(authors), tuple(checked.findings()))
        if checked.module.bytes != data:
            return _conflict(path, offered, "LibCST would change other parts of this file too")
        try:
            data, applied = _step(checked, offered)
        except Exception as error:  # whatever a replacement makes LibCST raise
            return _blame(checked, offered, error)
        fixes += len(applied)
        authors.append({v.rule_name for v in applied})
        state = digest.of_bytes(data)
        if state in states:
            quarrel = set[str]().union(*authors[states.index(state) :])
            reason = "they undo each other" if len(quarrel) > 1 else "they lead back to where they began"
            return Conflict(path, tuple(sorted(quarrel)), reason)
        if len(authors) >= MOST_PASSES:
            return _conflict(path, applied, f"there is no end to them after {MOST_PASSES} passes")
        states.append(state)


def _step(checked: Checked, offered: Sequence[LintViolation]) -> tuple[bytes, list[LintViolation]]:
    """One pass: the new bytes and the fixes in them; raises if they do not apply or yield no Python."""
    with deep():
        module, applied = apply_once(checked.module, offered)
        data = module.bytes
        parse(checked.path, data)
    return data, applied


def _blame(checked: Checked, offered: Sequence[LintViolation], error: Exception) -> Conflict:
    """Whose fixes cannot be used: each rule's are tried alone."""
    for name in sorted({v.rule_name for v in offered}):
        own = [v for v in offered if v.rule_name == name]
        try:
            _step(checked, own)
        except Exception as cause:
            return _conflict(checked.path, own, _why(cause))
    return _conflict(checked.path, offered, _why(error))


def _conflict(path: str, violations: Sequence[LintViolation], reason: str) -> Conflict:
    return Conflict(path, tuple(sorted({v.rule_name for v in violations})), reason)


def _why(error: Exception) -> str:
    if isinstance(error, BadSource):
        return f"they yield what is not Python: {error.reason}"
    return f"they do not apply: {type(error).__name__}: {error}"
