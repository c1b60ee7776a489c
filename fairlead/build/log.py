"""The event log: what one invocation of build or test did, as JSON lines.

Each call writes a file below fairlead-out/log; the newest `KEEP` stay. A line is an object with `event`, and
`at`, the seconds since the start: "start" comes first, "end" last (a call that was killed has none), between
them "begin", "action", "failed", "known", "case", "test" and "note". A line is written when the thing
happens, so a log can be read while its call runs.

The log serves people and must not cost them a build: if it cannot be written, it ends there and the build
goes on.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from fairlead.build.event import Event
from fairlead.build.plan import Plan
from fairlead.errors import FairleadError, UsageError
from fairlead.store import atomic

KEEP = 20
FOLDER = "fairlead-out/log"
SCHEMA = "fairlead.log/1"

Row: TypeAlias = dict[str, Any]
"""A line of a log."""


class Journal:
    """Writes what it hears of an engine to a few streams, from any thread."""

    def __init__(self, plan: Plan, streams: Sequence[TextIO]) -> None:
        self._plan = plan
        self._streams = list(streams)
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._ended = False

    def heard(self, event: Event) -> None:
        """Write a line for an event of the engine."""
        row: Row = {"event": event.kind}
        if event.label:
            row["label"] = event.label
        if event.text:
            row["text"] = event.text
        if event.kind == "expect":
            row["count"] = event.count
        if event.kind in ("action", "test"):
            row["seconds"] = round(event.seconds, 4)
        if event.action is not None:
            action = event.action
            row |= {"category": action.category, "identifier": action.identifier}
            row |= {"outputs": list(action.outputs), "inputs": list(action.inputs)}
            if event.kind in ("action", "failed"):
                row["argv"] = list(action.argv)
        if event.case is not None:
            row |= {"case": event.case.id, "outcome": event.case.outcome, "seconds": event.case.seconds}
        if event.result is not None:
            row |= {name: value for name, value in event.result.to_json().items() if name != "label"}
            target = self._plan.targets.get(event.label)  # none where nothing had to be planned
            spec = None if target is None else target.test
            row["inputs"] = [] if spec is None else list(spec.inputs)
            row["argv"] = [] if spec is None else list(spec.argv)
        self.write(row)

    def end(self, code: int, **more: object) -> None:
        """Write the last line: the exit code, and what the report counted."""
        self._ended = True
        self.write({"event": "end", "exit": code, **more})

    @property
    def ended(self) -> bool:
        """Whether the last line is written."""
        return self._ended

    def write(self, row: Row) -> None:
        """Write one line to each stream; a stream that fails gets no more."""
        with self._lock:
            at = round(time.monotonic() - self._started, 4)
            line = json.dumps({"event": row["event"], "at": at, **row}, ensure_ascii=True) + "\n"
            for stream in list(self._streams):
                try:
                    stream.write(line)
                    stream.flush()
                except OSError:
                    self._streams.remove(stream)


@contextlib.contextmanager
def keep(root: Path, verb: str, plan: Plan, *, also: TextIO | None = None) -> Iterator[Journal]:
    """A journal for one call in the project at `root`, written to a new log and to the stream `also`."""
    with contextlib.ExitStack() as stack:
        log = _begin(root, verb)
        if log is not None:
            stack.callback(close, log)
        journal = Journal(plan, [stream for stream in (log, also) if stream is not None])
        now = datetime.datetime.now(datetime.UTC)
        words = sys.argv[1:]
        journal.write(
            {"event": "start", "schema": SCHEMA, "verb": verb, "words": words, "time": now.isoformat()}
        )
        try:
            yield journal
        except BaseException as error:
            if not journal.ended:
                code = error.exit if isinstance(error, FairleadError) else 130
                what = error.what if isinstance(error, FairleadError) else type(error).__name__
                journal.end(code, error=what)
            raise


def _begin(root: Path, verb: str) -> TextIO | None:
    """A new log file, the oldest dropped; None if there can be none."""
    folder = root / FOLDER
    try:
        if folder.is_symlink() or folder.parent.is_symlink():
            return None
        if not folder.parent.exists():
            atomic.write(folder.parent / ".gitignore", b"*\n")
        folder.mkdir(parents=True, exist_ok=True)
        for old in logs(root)[KEEP - 1 :]:
            old.unlink(missing_ok=True)
        now = datetime.datetime.now(datetime.UTC)
        name = f"{now:%Y%m%dT%H%M%S.%f}-{os.getpid()}-{verb}.jsonl"
        return (folder / name).open("x", encoding="utf-8")
    except (OSError, FairleadError):
        return None


def close(stream: TextIO) -> None:
    """Close a stream that a full disk may have ended before: what is left of a line is lost."""
    with contextlib.suppress(OSError):
        stream.close()


def logs(root: Path) -> list[Path]:
    """The logs of a project, newest first."""
    return sorted((root / FOLDER).glob("*.jsonl"), reverse=True)


def read(path: Path) -> list[Row]:
    """The lines of a log; a last line that was cut off is left out."""
    rows: list[Row] = []
    try:
        text = path.read_text("utf-8", "replace")
    except OSError as error:
        raise UsageError(f"the log cannot be read: {error.strerror}", where=str(path)) from None
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("event"), str):
            rows.append(row)
    return rows


@dataclass(frozen=True)
class Step:
    """Something that ran: `name` is its first output, or its label if it is a test."""

    name: str
    label: str
    text: str
    seconds: float
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    argv: tuple[str, ...]


def ran(rows: Sequence[Mapping[str, Any]]) -> list[Step]:
    """What a log says was run, in the order in which it ended; what was known before is left out."""
    found: list[Step] = []
    for row in rows:
        kind, label = row["event"], str(row.get("label", ""))
        if kind not in ("action", "failed") and (kind != "test" or row.get("reused")):
            continue
        outputs = tuple(map(str, row.get("outputs", ())))
        text = f"test {row.get('outcome', '')}" if kind == "test" else str(row.get("text", ""))
        found.append(
            Step(
                name=outputs[0] if outputs else label,
                label=label,
                text=f"failed: {text}" if kind == "failed" else text,
                seconds=float(row.get("seconds", 0.0)),
                inputs=tuple(map(str, row.get("inputs", ()))),
                outputs=outputs,
                argv=tuple(map(str, row.get("argv", ()))),
            )
        )
    return found


def critical_path(steps: Sequence[Step]) -> list[Step]:
    """The chain of steps, each needing the one before, that took longest together: no number of processors
    makes the call shorter. Steps end after what they need, so one pass in their order is enough."""
    maker: dict[str, int] = {}
    total: list[float] = []
    before: list[int | None] = []
    for number, step in enumerate(steps):
        needed = [maker[path] for path in step.inputs if path in maker]
        last = max(needed, key=lambda n: total[n], default=None)
        total.append(step.seconds + (0.0 if last is None else total[last]))
        before.append(last)
        maker.update(dict.fromkeys(step.outputs, number))
    at: int | None = max(range(len(steps)), key=lambda n: total[n], default=None)
    found: list[Step] = []
    while at is not None:
        found.append(steps[at])
        at = before[at]
    return found[::-1]
