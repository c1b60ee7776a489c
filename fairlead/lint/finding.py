"""Findings: what lint says about one place in one file, as plain values.

No LibCST here: findings are what the cache keeps, the command line prints and a worker sends.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, order=True)
class Finding:
    """One rule's complaint. Ordered by path, line and column, then rule.

    Lines and columns count from 1, columns in characters; the end is exclusive. `fixable` says that
    the rule offered a replacement.
    """

    path: str
    line: int
    column: int
    end_line: int
    end_column: int
    rule: str
    message: str
    fixable: bool

    def text(self) -> str:
        """One line for a person: path:line:column, rule, message."""
        mark = " [can be fixed]" if self.fixable else ""
        return f"{self.path}:{self.line}:{self.column}: {self.rule}: {self.message}{mark}"

    def to_json(self) -> dict[str, object]:
        """The fields under their names."""
        return asdict(self)
