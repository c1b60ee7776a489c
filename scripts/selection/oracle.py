"""The oracle: plain pytest over the whole project, in an environment with the same distributions. What it
says is kept on disk by what stood in the tree, so two edits that lead to one tree are asked once, and no
answer of another tree is taken. Before each run the tree is compared with what it should be.

Where a whole run says nothing of a file (the session broke, or a file could not be collected beside others),
or says otherwise than Fairlead, pytest runs that file alone: a difference that goes away then is one between
a whole run and a run by file, which the figures count apart.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from selection import outcomes, process
from selection.edit import Edit, applied
from selection.workplace import Workplace

CLEAN = Edit("clean", "nothing")
_SESSION_BROKEN = (1, 2, 3, 4)


@dataclass(frozen=True)
class Truth:
    """What pytest said: outcomes by node, None if it did not end in time; `apart` if each file ran alone
    because the whole session broke."""

    outcomes: dict[str, str] | None
    seconds: float
    apart: bool = False


class Oracle:
    """The truth about one project."""

    def __init__(self, place: Workplace) -> None:
        self.place = place
        self.kept = place.folder / "oracle"
        self.kept.mkdir(parents=True, exist_ok=True)
        self.digests = {path: _digest(content) for path, content in place.content().items()}

    def key(self, edit: Edit) -> str:
        """What the answer depends on: all of the tree with the edit in it, variables and distributions."""
        tree = self.digests | {path: _digest(content) for path, content in edit.content.items()}
        there = sorted((path, found) for path, found in tree.items() if found)
        return _digest((there, sorted(edit.variables.items()), sorted(edit.pins.items())))[:24]

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A folder for one run; one run at a time for each project, over all processes."""
        with (self.place.folder / "oracle.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.place.restore()
            with tempfile.TemporaryDirectory(prefix="oracle-", dir=self.place.folder) as scratch:
                yield Path(scratch)

    def _pytest(
        self, edit: Edit, scratch: Path, paths: Sequence[str], seconds: float
    ) -> tuple[dict[str, str] | None, int | None]:
        """One run in the tree as it is: outcomes (None without a report) and exit code."""
        report = scratch / "report.xml"
        report.unlink(missing_ok=True)
        words = [*self.place.pytest(edit.pins), "-q", "-p", "no:cacheprovider"]
        words += ["--continue-on-collection-errors", f"--junit-xml={report}"]
        done = process.call([*words, *paths], self.place.plain, self.place.variables(scratch), seconds)
        if done.code is None:
            return None, None
        return outcomes.of_report(report), done.code

    def files(self) -> list[str]:
        """The test files of the clean tree, in pytest's order."""
        kept = self.kept / "files.json"
        if not kept.exists():
            with self._scratch() as scratch:
                words = [*self.place.pytest(), "-p", "no:cacheprovider"]
                words += ["--collect-only", "-qq", "--continue-on-collection-errors"]
                done = process.call(words, self.place.plain, self.place.variables(scratch))
            found = [line.partition("::")[0].rpartition(": ")[0] or line.partition("::")[0]
                     for line in done.out.splitlines() if ".py" in line]  # fmt: skip
            names = dict.fromkeys(n for n in found if (self.place.plain / n).is_file())
            kept.write_text(json.dumps(list(names)))
        files: list[str] = json.loads(kept.read_text())
        return files

    def truth(self, edit: Edit, seconds: float = 0) -> Truth:
        """What pytest says of the edit; it may take `seconds`, by default three times what the clean run took
        and 20 s. That it takes longer is an answer too: many a mutated loop has no end."""
        kept = self.kept / f"{self.key(edit)}.json"
        if kept.exists():
            return _read(kept)
        limit = seconds or 3 * self.clean().seconds + 20
        with self._scratch() as scratch:
            if kept.exists():  # another asked it meanwhile
                return _read(kept)
            with applied(edit, self.place.for_oracle()):
                began = time.monotonic()
                found, code = self._pytest(edit, scratch, (), limit)
                made = Truth(found, time.monotonic() - began)
                if code in _SESSION_BROKEN and not found:  # 1: before pytest itself had begun
                    made = self._apart(edit, scratch, limit)
            _keep(kept, made)
        return made

    def _apart(self, edit: Edit, scratch: Path, limit: float) -> Truth:
        """Each file alone, since together they give no answer."""
        began = time.monotonic()
        together: dict[str, str] = {}
        there = [path for path in self.files() if (self.place.plain / path).exists()]
        there += [p for p in edit.content if p.rpartition("/")[2].startswith("test_") and p not in there]
        for path in there:
            if not (self.place.plain / path).exists():
                continue
            found, _ = self._pytest(edit, scratch, [path], limit)
            dotted = path.removesuffix(".py").replace("/", ".")
            together.update(found or {f"::{dotted}": "error"})
            if time.monotonic() - began > 4 * limit:
                return Truth(None, time.monotonic() - began, True)
        return Truth(together, time.monotonic() - began, True)

    def alone(self, edit: Edit, path: str) -> dict[str, str]:
        """What pytest says of one file alone; {} if it says nothing."""
        kept = self.kept / f"{self.key(edit)}-{path.replace('/', '.')}.json"
        if not kept.exists():
            with self._scratch() as scratch, applied(edit, self.place.for_oracle()):
                there = (self.place.plain / path).exists()
                found, _ = self._pytest(edit, scratch, [path], 300) if there else (None, None)
            _keep(kept, Truth(found or {}, 0))
        return _read(kept).outcomes or {}

    def clean(self) -> Truth:
        """What pytest says of the tree as it is."""
        return self.truth(CLEAN, 1800)

    def flaky(self) -> list[str]:
        """The nodes whose outcomes differ between three clean runs: in pytest's order of the files, in the
        reverse, and in a shuffled one."""
        kept = self.kept / "flaky.json"
        if not kept.exists():
            first = self.clean().outcomes or {}
            backwards = self.files()[::-1]
            shuffled = random.Random(3).sample(backwards, len(backwards))
            found: set[str] = set()
            for paths in (backwards, shuffled):
                with self._scratch() as scratch:
                    other = self._pytest(CLEAN, scratch, paths, 1800)[0] or {}
                found |= {node for node in first.keys() | other.keys() if first.get(node) != other.get(node)}
            kept.write_text(json.dumps(sorted(found)))
        nodes: list[str] = json.loads(kept.read_text())
        return nodes


def _digest(content: object) -> str:
    """A digest of what stands at a path, "" for nothing."""
    return "" if content is None else hashlib.sha256(repr(content).encode()).hexdigest()


def _read(path: Path) -> Truth:
    return Truth(**json.loads(path.read_text()))


def _keep(path: Path, truth: Truth) -> None:
    made = path.with_suffix(".making")
    made.write_text(json.dumps(asdict(truth)))
    shutil.move(made, path)
