"""Cases: a rule's examples of good and bad code, which are its documentation and its tests.

The field names and their order are Fixit's, so that its rules' case lists load as they are. A case
may also be a bare string. `harness` runs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from libcst.metadata import CodeRange


@dataclass(frozen=True)
class Valid:
    """Code in which the rule must find nothing."""

    code: str


@dataclass(frozen=True)
class Invalid:
    """Code in which the rule must find something.

    Every report must have `range` and `expected_message` where they are given; all fixes of the
    rule applied together must turn `code` into `expected_replacement` where that is given.
    """

    code: str
    range: CodeRange | None = None
    expected_message: str | None = None
    expected_replacement: str | None = None
