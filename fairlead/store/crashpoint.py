"""Named points in the code where a test may end the process as a power cut would.

A module declares its points beside the promise they test, and passes `here(name)` on the way.
With FAIRLEAD_CRASH_AT=name the process kills itself there with SIGKILL; with `name:3` at the
third pass. Without the variable a point costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal

NAMES: dict[str, str] = {}
_passes: dict[str, int] = {}


def declare(name: str, state: str) -> str:
    """Register a point; `state` says what is true when the process dies there. Returns `name`."""
    NAMES[name] = state
    return name


def here(name: str) -> None:
    """Die here if the environment asks for it."""
    wanted = os.environ.get("FAIRLEAD_CRASH_AT")
    if not wanted:
        return
    point, _, count = wanted.partition(":")
    if point == name:
        _passes[name] = _passes.get(name, 0) + 1
        if _passes[name] == int(count or 1):
            os.kill(os.getpid(), signal.SIGKILL)
