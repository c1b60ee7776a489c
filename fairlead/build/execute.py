"""One action: its key, what the cache knows, and running it.

The key names everything that an action can see: its command, its environment, the bytes and modes of its
sources, the content of its inputs, its toolchains and the platform. Because an action sees nothing else
(stage.py), equal keys have equal outputs, and a result may be kept for as long as its blobs are there. A
result whose blob has gone is no result: the action runs again.

Only a run that ended with exit code 0, made every declared output and left its inputs alone is recorded,
and the record comes last: whatever kills us before it costs a rerun, not a wrong answer.
"""

from __future__ import annotations

import json
import platform
import posixpath
import shlex
import signal
import sys
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from fairlead.build import machine, manifest, sandbox
from fairlead.build.manifest import File, Folder, Link, Manifest
from fairlead.build.plan import Action
from fairlead.build.sources import Sources
from fairlead.build.stage import ENVIRONMENT, Environment, Stage, keep_log
from fairlead.build.workplace import MemoryFull, PlacedStage, Workplaces, is_light
from fairlead.errors import FairleadError, MachineryError, WorkFailed
from fairlead.store import Record, Store, crashpoint
from fairlead.store.record import Part

BEFORE_RECORD = crashpoint.declare(
    "build.action.before-record", "an action's outputs are in the store, its result is not"
)
AFTER_RECORD = crashpoint.declare(
    "build.action.after-record", "an action's result is recorded, its outputs are not in fairlead-out"
)
LAST_LINES = 20
SECONDS = 1800.0  # an action that takes longer is taken for stuck


@dataclass(frozen=True)
class Result:
    """What an action made: output path -> content. `seconds` is how long the run took when it ran."""

    outputs: Mapping[str, Manifest]
    enforced: sandbox.Enforced
    seconds: float
    log: str


class ActionFailed(WorkFailed):
    """An action's program failed; `log` is the digest of its output."""

    log: str = ""


def record(
    action: Action,
    sources: Sources,
    inputs: Mapping[str, Manifest],
    environments: Mapping[str, Environment],
) -> Record:
    """The record whose key is the action's key. `inputs` maps each of `action.inputs` to its content."""
    parts: dict[str, Part] = {
        "kind": action.kind,
        "outputs": list(action.outputs),
        "directories": sorted(action.directories),
        "sources": [[path, *sources.identity(path)] for path in sorted(action.sources)],
        "inputs": [[path, manifest.digest(inputs[path])] for path in sorted(action.inputs)],
    }
    if action.kind == "run":
        parts |= {
            "argv": list(action.argv),
            "env": {**ENVIRONMENT, **action.env},
            "toolchains": [[label, environments[label].key] for label in sorted(action.toolchains)],
            "platform": [sys.platform, platform.machine()],
        }
        if programs := machine.programs((action,)):
            parts["programs"] = programs
    elif action.kind == "write":
        parts |= {"content": action.content, "executable": action.executable}
    elif action.kind == "download":  # wherever it comes from, it is this file
        parts |= {"sha256": action.sha256, "executable": action.executable}
    else:
        parts["entries"] = dict(action.entries)
    return Record("action", 1, parts)


_INLINE = 4096
"""Bytes of a manifest that is kept in the row of its result; a longer one is a blob."""
_ROWS, _SECONDS = 256, 0.1
"""So many results, or all of so long a time, are written to the disk at once."""


class Cache:
    """Results of actions by key, in a store. A result is given back only if all its blobs are there.

    A result that is put is known at once and on disk with the next `flush`: a transaction for each would take
    longer than all else that is recorded. Whoever is killed between the two loses what he ran meanwhile.
    Used by several threads.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._rows: dict[tuple[str, str], bytes] = {}
        self._since = 0.0

    def get(self, key: str, *, enforced: sandbox.Enforced) -> Result | None:
        """The result of an earlier run, at least as closely confined as `enforced`; None if there is none."""
        data = self._rows.get(("action", key)) or self.store.results.get("action", key)
        if data is None:
            return None
        try:
            found = json.loads(data)
            outputs = {path: self._content(row) for path, row in found["outputs"].items()}
            whole = all(
                self.store.blobs.whole(file.digest, file.size)
                for content in outputs.values()
                for file in manifest.files(content)
            )
        except (MachineryError, ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            with self._lock:
                self._rows.pop(("action", key), None)
            self.store.results.delete("action", key)
            return None
        if not sandbox.at_least(found["enforced"], enforced):
            return None
        return Result(outputs, found["enforced"], found["seconds"], found["log"])

    def put(self, key: str, result: Result, record: Record | None = None) -> None:
        """Record a result, with the record that has this key; its blobs must be in the store already."""
        value = {
            "outputs": {path: self._row(content) for path, content in result.outputs.items()},
            "enforced": result.enforced,
            "seconds": result.seconds,
            "log": result.log,
        }
        crashpoint.here(BEFORE_RECORD)
        with self._lock:
            self._since = self._since or time.monotonic()
            if record is not None:
                self._rows["record", key] = record.encode()
            self._rows["action", key] = json.dumps(value).encode()

    def flush(self, *, due: bool = False) -> None:
        """Write what was put; with `due` only if that is much, or some time ago."""
        with self._lock:
            rows = dict(self._rows)
            since = self._since
        if not rows or (due and len(rows) < _ROWS and time.monotonic() - since < _SECONDS):
            return
        self.store.results.put_rows([(*name, value) for name, value in rows.items()])
        with self._lock:
            for name, value in rows.items():
                if self._rows.get(name) is value:
                    del self._rows[name]
            self._since = time.monotonic() if self._rows else 0.0
        crashpoint.here(AFTER_RECORD)

    def _row(self, content: Manifest) -> object:
        """A manifest as it stands in a result's row: itself, or the name of its blob."""
        if isinstance(content, File) or len(content.entries) <= _INLINE // 100:
            return manifest.to_json(content)
        data = manifest.encode(content)
        return manifest.to_json(content) if len(data) <= _INLINE else self.store.blobs.put(data)

    def _content(self, row: object) -> Manifest:
        if isinstance(row, str):
            return manifest.decode(self.store.blobs.get(row))
        return manifest.from_json(row)


@dataclass(frozen=True)
class Executor:
    """Runs actions in stages below `scratch`. Used by several threads at once."""

    store: Store
    sources: Sources
    enforced: sandbox.Enforced
    scratch: Path
    places: Workplaces
    cancel: threading.Event
    hosts: Collection[str] | None = None

    def run(
        self,
        action: Action,
        key: str,
        inputs: Mapping[str, Manifest],
        environments: Mapping[str, Environment],
    ) -> Result:
        """Run the action now; ActionFailed if its program fails, WorkFailed if it breaks its declaration."""
        started = time.monotonic()
        if action.kind == "run":
            return self._run_program(action, key, inputs, environments)
        if action.kind == "download":
            from fairlead.build import fetch  # and with it HTTP, which most builds do without

            made: Manifest = fetch.fetch(
                action, self.store.blobs, self.scratch / key, self.cancel, self.hosts
            )
        else:
            made = self._make(action, inputs)
        outputs = {action.outputs[0]: made}
        return Result(outputs, "namespace", time.monotonic() - started, "")

    def _make(self, action: Action, inputs: Mapping[str, Manifest]) -> Manifest:
        """write, copy and link_tree run no program: their output is put together from manifests."""
        if action.kind == "write":
            data = (action.content or "").encode()
            return File(self.store.blobs.put(data), len(data), action.executable)
        if action.kind == "copy":
            return self._content(action, action.entries[""], inputs)
        entries: dict[str, File | Link | None] = {}
        for place, source in action.entries.items():
            content = self._content(action, source, inputs)
            if isinstance(content, File):
                entries[place] = content
            else:
                for path, entry in content.entries.items():
                    entries[f"{place}/{path}"] = entry
                if not content.entries:
                    entries[place] = None
        return Folder(dict(sorted(entries.items())))

    def _content(self, action: Action, path: str, inputs: Mapping[str, Manifest]) -> Manifest:
        if path in action.sources:
            return self.sources.file(path)
        made = path
        while made:
            if made in inputs:
                found = manifest.below(inputs[made], path[len(made) + 1 :])
                if found is not None:
                    return found
            made = made.rpartition("/")[0]
        raise WorkFailed(
            f"{path} is not there", where=action.owner, remedy="the action that makes it did not"
        )

    def _run_program(
        self,
        action: Action,
        key: str,
        inputs: Mapping[str, Manifest],
        environments: Mapping[str, Environment],
    ) -> Result:
        given = {path: self.sources.file(path) for path in action.sources} | dict(inputs)
        stage = self._stage(action, key, given, environments)
        reuse = False
        try:
            done = stage.run(action.argv, action.env, seconds=SECONDS, cancel=self.cancel)
            log = keep_log(self.store.blobs, stage.log)
            if done.code != 0 or done.timed_out:
                stage.check_disk(done)
                error = ActionFailed(
                    f"{describe(action)} {ended(done)}{last_lines(self.store, log)}", where=action.owner
                )
                error.log = log
                raise error
            stage.check_inputs()
            outputs = {
                path: stage.collect(path, folder=path in action.directories) for path in action.outputs
            }
            reuse = isinstance(stage, PlacedStage) and stage.place.end()
        except FairleadError as error:
            if not error.where:
                error.where = f"{action.owner} ({describe(action)})"
            raise
        finally:
            if reuse and isinstance(stage, PlacedStage):
                self.places.give(stage.place)
            else:
                stage.remove()
        return Result(outputs, done.enforced, done.seconds, log)

    def _stage(
        self,
        action: Action,
        key: str,
        given: Mapping[str, Manifest],
        environments: Mapping[str, Environment],
    ) -> Stage:
        """A stage with what the action is given: in a workplace if there may be one, else in a folder of its
        own."""
        blobs, outputs = self.store.blobs, action.outputs
        stage: Stage
        if self.enforced == "namespace" and is_light(given.values()):
            place = self.places.take()
            if place is not None:
                try:
                    stage = PlacedStage(place.root, blobs, self.enforced, outputs, environments, place=place)
                    return _filled(stage, given, action)
                except MemoryFull:
                    place.remove()
        stage = Stage(self.scratch / key, blobs, self.enforced, outputs, environments)
        return _filled(stage, given, action)


def _filled(stage: Stage, given: Mapping[str, Manifest], action: Action) -> Stage:
    """The stage with content at the paths of the project; if that fails, it is removed."""
    try:
        for path, content in given.items():
            stage.add(path, content)
    except BaseException as error:
        stage.remove()
        if isinstance(error, FairleadError) and not error.where:
            error.where = f"{action.owner} ({describe(action)})"
        raise
    return stage


def describe(action: Action) -> str:
    """The action as messages name it: category and identifier."""
    return f"{action.category} {action.identifier}".strip()


def ended(done: sandbox.Completed) -> str:
    """How a program ended badly, in words."""
    if done.timed_out:
        return f"was ended after {done.seconds:.0f} seconds"
    if done.code < 0:
        try:
            return f"was killed by {signal.Signals(-done.code).name}"
        except ValueError:
            return f"was killed by signal {-done.code}"
    return f"failed with exit code {done.code}"


def last_lines(store: Store, log: str, count: int = LAST_LINES) -> str:
    """The end of a log, indented for an error's text; "" if it is empty."""
    lines = store.blobs.get(log).decode("utf-8", "replace").rstrip().splitlines()[-count:]
    clean = ["".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in line) for line in lines]
    return "".join(f"\n  | {line}" for line in clean)


def command_line(action: Action, root: Path, environments: Mapping[str, Environment]) -> str:
    """A line for a shell that repeats a "run" action in the project's folder, without the sandbox."""

    def resolved(text: str) -> str:
        for label, environment in environments.items():
            text = text.replace(f"{{toolchain:{label}}}", str(environment.folder))
        return text

    env = {**ENVIRONMENT, "HOME": "/tmp", "TMPDIR": "/tmp"}
    env |= {name: resolved(value) for name, value in action.env.items()}
    folders = sorted({posixpath.dirname(path) for path in action.outputs})
    words = ["env", "-i", *(f"{name}={value}" for name, value in sorted(env.items()))]
    words += [resolved(word) for word in action.argv]
    return f"cd {shlex.quote(str(root))} && mkdir -p {shlex.join(folders)} && {shlex.join(words)}"
