"""`fairlead` in a tree with files planted in it, as whoever and wherever a check wants."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selection import process
from selection.process import Failed


@dataclass(frozen=True)
class Told:
    """What `fairlead test` said of a target."""

    outcome: str
    reused: bool
    key: str


class Project:
    """A tree. `before` are words in front of each command, `variables` what the commands find in their
    environment beside this process's own."""

    def __init__(self, fairlead: list[str], root: Path) -> None:
        self.fairlead = fairlead
        self.root = root
        self.before: tuple[str, ...] = ()
        self.variables: dict[str, str] = {}

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def call(self, *words: str) -> process.Ended:
        env = {**os.environ, **self.variables}
        return process.call([*self.before, *self.fairlead, *words], self.root, env)

    def json(self, *words: str) -> Any:
        """What a command prints with --json; Failed if that is no answer."""
        done = self.call(*words, "--json")
        try:
            return json.loads(done.out)
        except ValueError:
            raise Failed(f"{' '.join(words)}: {(done.out + done.err)[-2000:]}") from None

    def test(self, *words: str) -> dict[str, Told]:
        """The targets by label."""
        said = self.json("test", *words)
        if "results" not in said:
            raise Failed(f"test: {said}")
        return {r["label"]: Told(r["outcome"], r["reused"], r["key"]) for r in said["results"]}

    def stop(self) -> None:
        """End the daemon."""
        self.call("daemon", "stop")
