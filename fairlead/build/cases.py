"""The cases of a test as they end: what beside.py writes inside, read from outside while the program runs.

The stream is written by the code under test: what is no line of ours is passed over, and what is too much is
not read.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from fairlead.build.manifest import unplaced
from fairlead.build.plan import TestSpec

if TYPE_CHECKING:
    from fairlead.build.stage import Stage

FOLDER = "fairlead-out/test"
"""Where a test may write, besides what belongs to it."""

COLLECTED = f"{FOLDER}/collected"
"""Where a part of a test says what it found before it left out what is not its own."""

Ended: TypeAlias = Literal["passed", "failed", "error", "skipped", "xfailed", "xpassed"]
BAD = frozenset({"failed", "error"})

_MOST = 64 * 1024 * 1024
_PIECE = 1024 * 1024
_LONGEST = 2000


@dataclass(frozen=True)
class Case:
    """One test function or parameter set: its node id, how it ended, and the time it took in seconds."""

    id: str
    outcome: Ended
    seconds: float


def watch(
    stage: Stage,
    on_case: Callable[[Case], None],
    coverage: Mapping[str, str] | None = None,
    shard: Mapping[str, object] | None = None,
) -> tuple[dict[str, str], Stream]:
    """Have pytest in the stage tell of its cases, and measure or leave out as beside.py says it. What to add
    to its environment, and the stream to look at."""
    names = {
        "cases": stage.seen(f"{FOLDER}/cases"),
        "coverage": coverage,
        "shard": shard,
        "collected": stage.seen(COLLECTED),
    }
    try:
        code = resources.files("fairlead.build").joinpath("beside.py").read_bytes()
        (stage.project / FOLDER / "beside.py").write_bytes(code)
        (stage.project / FOLDER / "beside.json").write_text(json.dumps(names), "utf-8")
    except OSError as error:
        raise unplaced(error, "write in the folder", stage.project / FOLDER) from error
    return {"FAIRLEAD_BESIDE": stage.seen(FOLDER)}, Stream(stage.project / FOLDER / "cases", on_case)


def collected(stage: Stage) -> str:
    """After the run of a part: the digest of all that it collected; "" if it has not come so far."""
    return _read(stage.project / COLLECTED, 0, 64).decode("ascii", "replace")


def runs_pytest(spec: TestSpec) -> bool:
    """Whether the test is one that run_pytest.py starts, which can tell of its cases."""
    return any(word.endswith("/run_pytest.py") for word in spec.argv)


def searched(spec: TestSpec) -> tuple[str, ...]:
    """The folders of the project in which a recorded test and all that it starts look for modules: those that
    run_pytest.py is told to search."""
    if not (spec.recorded and runs_pytest(spec)):
        return ()
    words = iter(spec.argv)
    while not next(words).endswith("/run_pytest.py"):
        pass
    found = []
    while (option := next(words)).startswith("--"):
        value = "" if option == "--allow-empty" else next(words)
        if option == "--search":
            found.append(value)
    return tuple(found) or (option,)


class Stream:
    """Tells `on_case` of each case in a file that grows."""

    def __init__(self, path: Path, on_case: Callable[[Case], None]) -> None:
        self._path = path
        self._on_case = on_case
        self._at = 0
        self._rest = b""

    def look(self) -> None:
        """Read what has come since the last look."""
        while (piece := self._read()) and self._at < _MOST:
            *lines, self._rest = (self._rest + piece).split(b"\n")
            if len(self._rest) > 16 * _LONGEST:
                self._rest = b""
            for line in lines:
                found = _case(line)
                if found is not None:
                    self._on_case(found)

    def _read(self) -> bytes:
        piece = _read(self._path, self._at, _PIECE)
        self._at += len(piece)
        return piece


def _read(path: Path, at: int, size: int) -> bytes:
    """A piece of a file that a program may have put anything in the place of."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.pread(opened, size, at) if stat.S_ISREG(os.fstat(opened).st_mode) else b""
    finally:
        os.close(opened)


def _case(line: bytes) -> Case | None:
    try:
        found = json.loads(line)
        name, outcome, seconds = found["id"], found["outcome"], float(found["seconds"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(name, str) or outcome not in get_args(Ended) or not 0 <= seconds < 1e9:
        return None
    clean = "".join(c if c.isprintable() else "\ufffd" for c in name[:_LONGEST])
    return Case(clean, outcome, seconds)
