"""What an engine tells while it works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fairlead.build.cases import Case
from fairlead.build.plan import Action
from fairlead.build.testing import TestResult


@dataclass(frozen=True)
class Event:
    """Something that a person may want to see while it happens; also sent from the engine's threads.

    "expect": `count` actions or tests (`text`) are to be looked up or run. "begin": an action, or a test if
    `action` is None, starts to run. "action" and "failed": it has run. "known": it need not. "case": one of
    a running test has ended; if the test is repeated, so are its cases. "test": a verdict, reused or new.
    """

    kind: Literal["note", "expect", "begin", "action", "failed", "known", "case", "test"]
    text: str
    label: str = ""
    seconds: float = 0.0
    result: TestResult | None = None
    action: Action | None = None
    count: int = 0
    case: Case | None = None
