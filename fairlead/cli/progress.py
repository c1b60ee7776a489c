"""What runs at this moment, drawn below the lines that are printed; on a terminal only.

Nothing is drawn, and rich is not loaded, until something starts to run: a call that finds everything known
prints its lines and is done.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fairlead.cli import terminal

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

    from fairlead.build.event import Event
    from fairlead.build.log import Step

_SHOWN = 8
_NAMED = 4
LONG = 5.0
"""Seconds of a call after which it is told at the end what made it long."""


class Progress:
    """Counts what it hears of an engine, from any thread. A context: drawing ends with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._running: dict[str, tuple[float, str]] = {}
        self._cases: dict[str, Counter[str]] = {}
        self._live: Live | None = None
        self.expected = self.ran = self.known = self.bad = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def heard(self, event: Event) -> None:
        """Take note of one event."""
        name = event.action.outputs[0] if event.action is not None else event.label
        what = f"{event.label}  {event.text}"
        with self._lock:
            if event.kind == "expect":
                self.expected += event.count
            elif event.kind == "begin":
                self._running[name] = (time.monotonic(), what)
            elif event.case is not None:
                self._cases.setdefault(event.label, Counter())[event.case.outcome] += 1
            elif event.kind == "known" or (event.result is not None and event.result.reused):
                self.known += 1
            elif event.kind in ("action", "failed", "test"):
                self._running.pop(name, None)
                self._cases.pop(name, None)
                self.ran += 1
                self.bad += event.kind == "failed" or (
                    event.result is not None and event.result.outcome != "pass"
                )
            begin = event.kind == "begin" and self._live is None
        if begin:
            self._draw()

    @property
    def seconds(self) -> float:
        """How long it has taken until now."""
        return time.monotonic() - self._started

    def lines(self) -> list[str]:
        """What is drawn: the counts, then what runs, the longest first."""
        now = time.monotonic()
        with self._lock:
            running = sorted(
                (since, what + self._counted(name)) for name, (since, what) in self._running.items()
            )
            left = max(0, self.expected - self.ran - self.known)
            counts = [f"{self.ran} ran", f"{self.known} known", f"{left} left"]
            if self.bad:
                counts.append(f"{self.bad} failed")
        found = [f"{terminal.seconds(self.seconds)}  {', '.join(counts)}; {len(running)} running"]
        found += [f"  {terminal.seconds(now - since):>6}  {what}" for since, what in running[:_SHOWN]]
        if len(running) > _SHOWN:
            found.append(f"  and {len(running) - _SHOWN} more")
        return found

    def _counted(self, name: str) -> str:
        """How many cases of a running test have ended how."""
        return "".join(f"  {count} {outcome}" for outcome, count in self._cases.get(name, {}).items())

    def _draw(self) -> None:
        """Begin to draw, where rich is to be had and the terminal can move its cursor."""
        if os.environ.get("TERM") in ("dumb", None):
            return
        try:
            from rich.console import Console
            from rich.live import Live
            from rich.text import Text
        except ModuleNotFoundError:
            return

        def drawn() -> Text:
            return Text("\n".join(self.lines()), style="dim", overflow="ellipsis", no_wrap=True)

        live = Live(
            get_renderable=drawn, console=Console(file=sys.stderr), refresh_per_second=8, transient=True
        )
        with self._lock:
            if self._live is not None:
                return
            self._live = live
        live.start()


def critical(steps: Sequence[Step]) -> str:
    """The line that tells the chain of steps (`log.critical_path`) that a call could not be faster than."""
    longest = sorted(steps, key=lambda step: -step.seconds)[:_NAMED]
    told = [f"{step.label} {terminal.seconds(step.seconds)}" for step in steps if step in longest]
    more = f" and {len(steps) - len(longest)} shorter" if len(steps) > len(longest) else ""
    whole = terminal.seconds(sum(step.seconds for step in steps))
    return f"critical path {whole}: {' > '.join(told)}{more}  (`fairlead log critical-path`)"
