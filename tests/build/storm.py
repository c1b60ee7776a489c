"""A storm: commands are killed at random moments, and what is said afterwards is compared with what is true.

The project has genrules, declared and recorded tests, and enough files that the tests' copy of it takes a
while to write. Its edits are drawn by a seed, and a small model knows what every output must hold and which
tests must pass. A command is begun after each edit; at a random moment SIGKILL ends one process: the client,
the daemon, a launcher, a sandbox, a program in it. Then the same must come out as if nothing had been. At the
end a copy of the project with an empty store is built and tested: the clean run.

Processes are those that were started here, and their children as /proc has them.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.build.daemons import Desk, alive, wait_for
from tests.build.project import write
from tests.build.wheels import Wheelhouse, real_pytest

MODULES, SCRIPTS, FILLING = 4, 4, 150

PYPROJECT = """
[project]
name = "thing"
version = "1"
[tool.fairlead.build]
infer = true
"""
TEST = """
import pathlib
from thing import {first}, {second}

def test_reads():
    filling = sum(int(path.read_text()) for path in sorted(pathlib.Path("filling").iterdir()))
    value = {first}.value() + {second}.value() + int(pathlib.Path("data/{number}.txt").read_text()) + filling
    assert value % 3, value

def test_writes(tmp_path):
    pathlib.Path("data/{number}.txt").write_text("9")
    (tmp_path / "x").mkdir()
"""
BUCK = """
genrule(name = "g{n}", out = "o", srcs = ["s{n}"{needs}], cmd = "cat $SRCS | tr a-c A-C > $OUT")
sh_test(name = "t{n}", test = "check.sh", args = ["$(location :g{n})"], resources = ["s{n}"])
"""
CHECK = '#!/bin/sh\n! grep -q B "$1"\n'


@dataclass
class Content:
    """What the project says now: the number in each module, script and folder of data."""

    modules: list[int] = field(default_factory=lambda: [1] * MODULES)
    data: list[int] = field(default_factory=lambda: [1] * MODULES)
    filling: int = 0
    sources: list[str] = field(default_factory=lambda: ["a"] * SCRIPTS)

    def copy(self) -> Content:
        return Content([*self.modules], [*self.data], self.filling, [*self.sources])

    def files(self) -> dict[str, str]:
        """The files that hold it."""
        found = {f"src/thing/m{n}.py": f"def value():\n    return {v}\n" for n, v in enumerate(self.modules)}
        found |= {f"data/{n}.txt": f"{value}\n" for n, value in enumerate(self.data)}
        found |= {f"filling/{n}.txt": f"{3 * n + self.filling}\n" for n in range(FILLING)}
        return found | {f"gen/s{n}": f"{text}\n" for n, text in enumerate(self.sources)}

    def edit(self, chance: random.Random) -> None:
        """One edit of some files, or of all of the filling."""
        match chance.randrange(4):
            case 0:
                self.modules[chance.randrange(MODULES)] = chance.randrange(6)
            case 1:
                self.data[chance.randrange(MODULES)] = chance.randrange(6)
            case 2:
                self.filling = 3 * chance.randrange(4)
            case _:
                self.sources[chance.randrange(SCRIPTS)] = chance.choice("abcd")

    # -- what is true of it

    def outputs(self) -> dict[str, str]:
        """Output -> its text."""
        found: dict[str, str] = {}
        for n, text in enumerate(self.sources):
            before = found[f"__g{n - 1}__/o"] if n else ""
            found[f"__g{n}__/o"] = f"{text}\n{before}".translate(str.maketrans("abc", "ABC"))
        return found

    def verdicts(self) -> dict[str, str]:
        """Test -> how it must end."""
        found = {}
        filling = sum(3 * n + self.filling for n in range(FILLING))
        for n in range(MODULES):
            value = self.modules[n] + self.modules[(n + 1) % MODULES] + self.data[n] + filling
            found[f"//:tests/test_{n}"] = "pass" if value % 3 else "fail"
        for n, text in enumerate(self.outputs().values()):
            found[f"//gen:t{n}"] = "fail" if "B" in text else "pass"
        return found


class Storm:
    """A project, its commands, and what became of them. `daemon` says whether one takes part."""

    def __init__(self, place: Path, seed: int, *, daemon: bool) -> None:
        place.mkdir(parents=True)
        self.chance = random.Random(seed)
        self.content = Content()
        self.seen = [self.content.copy()]
        self.killed: dict[str, int] = {}
        self._desk = Desk(place)
        self._desk.env |= {
            "FAIRLEAD_BUILD_DAEMON": "on" if daemon else "off",
            "FAIRLEAD_BUILD_SANDBOX": "auto",
            "UV_OFFLINE": "1",
        }
        self._daemon = daemon
        self._seconds = 3.0
        self.root = self._desk.root
        write(self.root, self._fixed())
        self._put()
        self._desk.run("init", "--lock")

    def _fixed(self) -> dict[str, str]:
        found = {
            "requirements/tests.txt": "pytest\n",
            "pyproject.toml": PYPROJECT,
            "src/thing/__init__.py": "",
            "gen/check.sh*": CHECK,
            "gen/BUCK": "".join(
                BUCK.format(n=n, needs=f', ":g{n - 1}"' if n else "") for n in range(SCRIPTS)
            ),
        }
        (self.root / ".buckconfig").unlink(missing_ok=True)
        for n in range(MODULES):
            names = {"first": f"m{n}", "second": f"m{(n + 1) % MODULES}", "number": n}
            found[f"tests/test_{n}.py"] = TEST.format(**names)
        return found

    def _put(self) -> None:
        """Write what differs, as an editor or git would: by rename."""
        for name, text in self.content.files().items():
            path = self.root / name
            if not path.exists() or path.read_text() != text:
                write(self.root, {f"{name}~": text})
                os.replace(self.root / f"{name}~", path)

    # -- one gust

    def gust(self) -> None:
        """Edit, begin a command, kill something of it, and see that everything is right afterwards."""
        if self.chance.random() < 0.25:
            self.content = self.chance.choice(self.seen).copy()
        else:
            for _ in range(self.chance.choice([1, 1, 2, 4])):
                self.content.edit(self.chance)
        self._put()
        words = self.chance.choice([["build", "//gen/..."], ["test"], ["test"], ["test", "--no-test-cache"]])
        daemon = self._daemon_pid() if self._daemon else None
        with self._desk.start(*words, stdout=subprocess.DEVNULL) as process:
            time.sleep(self.chance.random() * self._seconds)
            self._kill(process.pid, daemon)
            _, err = process.communicate(timeout=300)
        assert "Traceback" not in err, err
        if self.chance.random() < 0.3:  # edited between the kill and the next command
            self.content.edit(self.chance)
            self._put()
        self.check()
        self.seen.append(self.content.copy())

    def check(self) -> None:
        """A build and a test of everything say what is true; once more, and nothing is done."""
        began = time.monotonic()
        assert self.tested(self._desk) == self.content.verdicts()
        self._seconds = 0.8 * self._seconds + 0.2 * min(6.0, time.monotonic() - began)
        self._desk.run("build", "//gen/...")
        assert outputs(self.root) == self.content.outputs()
        again = json.loads(self._desk.run("test", "--json", code=None).stdout)
        for row in again["results"]:
            assert row["reused"] == (row["outcome"] == "pass"), row

    def tested(self, desk: Desk) -> dict[str, str]:
        """The verdicts as a command gives them now."""
        done = desk.run("test", "--json", "--record", "none", code=None)
        assert done.returncode in (0, 1), done.stderr
        return {row["label"]: row["outcome"] for row in json.loads(done.stdout)["results"]}

    def _kill(self, client: int, daemon: int | None) -> None:
        """End one process of the command, whichever; of a client that only waits for the daemon seldom."""
        found = {"client": [client], "below the client": list(children(client))}
        if daemon is not None:
            found |= {"daemon": [daemon], "below the daemon": list(children(daemon))}
        names = [name for name, pids in found.items() if pids]
        often = [4 if "below" in name else 1 if name == "client" else 2 for name in names]
        [who] = self.chance.choices(names, often)
        pid = self.chance.choice(found[who])
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.killed[who] = self.killed.get(who, 0) + 1
            if who == "daemon":
                wait_for(lambda: not alive(pid))

    def _daemon_pid(self) -> int | None:
        """The daemon that an earlier command of ours has begun, if it lives."""
        status = self._desk.status()
        return None if status["running"] is False else int(status["pid"])

    # -- the end

    def clean_run(self) -> None:
        """A copy with an empty store says the same, and makes the same bytes."""
        with contextlib.ExitStack() as stack:
            place = self.root.parent / "clean"
            place.mkdir()
            desk = Desk(place)
            stack.callback(shutil.rmtree, place)
            desk.env = {**self._desk.env, "FAIRLEAD_BUILD_DAEMON": "off"}
            shutil.copytree(
                self.root, desk.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("fairlead-out")
            )
            (desk.root / ".buckconfig").unlink(missing_ok=True)
            assert self.tested(desk) == self.content.verdicts()
            desk.run("build", "//gen/...")
            assert outputs(desk.root) == outputs(self.root)

    def end(self) -> None:
        """Leave no daemon."""
        status = self._desk.status()
        if status["running"] is not False:
            os.kill(status["pid"], signal.SIGKILL)

    def remove(self) -> None:
        """Remove all that it left."""
        shutil.rmtree(self.root.parents[1])


@contextlib.contextmanager
def storm(place: Path, seed: int, *, daemon: bool) -> Iterator[Storm]:
    """A storm with wheels of its own, so that it needs no network."""
    with pytest.MonkeyPatch.context() as patch:
        place.mkdir(parents=True, exist_ok=True)
        house = Wheelhouse(place / "wheels", patch)
        real_pytest(house)
        found = Storm(place / "project", seed, daemon=daemon)
        try:
            yield found
        finally:
            found.end()


def children(pid: int) -> Iterator[int]:
    """All processes below one, as /proc has them now."""
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for word in (task / "children").read_text().split():
                yield int(word)
                yield from children(int(word))


def outputs(root: Path) -> Mapping[str, str]:
    """Every output of the genrules that stands in its place."""
    gen = root / "fairlead-out/gen/gen"
    return {str(p.relative_to(gen)): p.read_text() for p in sorted(gen.glob("__g*/*")) if p.is_file()}
