"""The error for a file that is not Python. Apart from `source`, so that a kept answer needs no LibCST."""

from __future__ import annotations

from fairlead.errors import UsageError


class BadSource(UsageError):
    """A file that cannot be read as Python. `line` and `column` count from 1."""

    def __init__(self, path: str, line: int, column: int, reason: str) -> None:
        super().__init__(
            f"not valid Python: {reason}",
            where=f"{path}:{line}:{column}",
            remedy="mend that place; no rule has looked at this file",
        )
        self.line = line
        self.column = column
        self.reason = reason
