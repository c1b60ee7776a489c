"""Fairlead beside Ninja, Make and Bazel on one generated graph of shell commands.

    python benchmarks/build.py [--actions 1000] [--rounds 3] [--json]
                               [--tools fairlead,alone,ninja,make,bazel]

The graph: packages of 20 commands; 19 each copy one source, the last joins those copies. Each tool gets the
same commands in its own language (BUCK, build.ninja, Makefile, BUILD) and makes everything. One command is
one Ninja edge; in Fairlead a genrule is two actions, its command and the folder of its sources.

Each round runs the tools in turn, the next round in the opposite order, in five situations: `cold` (no
output, no store, no server), `no-op`, `one edit` (of one source), `1 % edit` and `restart` (a no-op after
kill -9 of the server, for the tools that have one). The tools do unlike work: Fairlead and Bazel run each
command in a sandbox and go by content, Ninja and Make start it bare and go by times. `alone` is Fairlead
without its daemon.

Wall time is the caller's; CPU is that of the call, with a tool's server counted and all processes below it
(/proc/PID/stat), so that launchers which outlive the call are in it. Memory is what the server alone holds at
the end (VmRSS).

Figures are medians over the rounds; a ratio is the median over the rounds of the first tool's figure by the
other's in the same round. The load is that of the machine before the first round and after the last.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

WIDTH = 20
"""Commands in a package."""

CASES = ("cold", "no-op", "one edit", "1 % edit", "restart")
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
FAIRLEAD = "fairlead"


class Tool(ABC):
    """One build tool in its own copy of the tree. A subclass says how it is called and how it starts anew."""

    name = ""
    version: tuple[str, ...] = ()
    build: tuple[str, ...] = ()

    def __init__(self, root: Path, packages: int) -> None:
        self.root, self.packages = root, packages
        for number in range(packages):
            folder = root / f"p{number}"
            folder.mkdir(parents=True)
            for i in range(WIDTH - 1):
                (folder / f"s{i}.txt").write_text(f"source {number} {i}\n")
        self.describe()

    @abstractmethod
    def describe(self) -> None:
        """Write the graph in the tool's language."""

    def clean(self) -> None:
        """Forget all that was built, in memory and on disk."""
        shutil.rmtree(self.root / "out", ignore_errors=True)

    def server(self) -> int | None:
        """The process of the tool's server, if it has one and it runs."""
        return None

    def server_cpu(self) -> float:
        """CPU seconds that a server of the tool has used so far, with those of all processes below it."""
        pid = self.server()
        return 0.0 if pid is None else _cpu_of_tree(pid)

    def memory(self) -> float:
        """MiB that the server holds."""
        try:
            pages = int(Path(f"/proc/{self.server()}/statm").read_text().split()[1])
        except OSError:
            return 0.0
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def kill(self) -> None:
        """End the server as a power cut would."""
        pid = self.server()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            while Path(f"/proc/{pid}/exe").exists():
                time.sleep(0.01)

    def stop(self) -> None:  # noqa: B027  most tools have none
        """End a server, if the tool has one."""

    def run(self) -> tuple[float, float]:
        """Build all; wall and CPU seconds."""
        pid, server = self.server(), self.server_cpu()
        before, start = _children_cpu(), time.perf_counter()
        done = subprocess.run(self.build, cwd=self.root, capture_output=True, text=True)
        wall = time.perf_counter() - start
        if done.returncode:
            raise SystemExit(f"{self.name} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        used = _children_cpu() - before
        return wall, used + self.server_cpu() - (server if self.server() == pid else 0.0)

    def edit(self, count: int, mark: str) -> None:
        """Change `count` sources, spread evenly."""
        total = self.packages * (WIDTH - 1)
        for k in range(count):
            package, i = divmod(k * total // count, WIDTH - 1)
            (self.root / f"p{package}/s{i}.txt").write_text(f"edited {mark}\n")


class Fairlead(Tool):
    name = "fairlead"
    version = (FAIRLEAD, "--version")
    build: tuple[str, ...] = (FAIRLEAD, "build", "--json", "//...")

    def describe(self) -> None:
        (self.root / ".buckconfig").write_text("")
        for number in range(self.packages):
            (self.root / f"p{number}/BUCK").write_text(
                _genrules('srcs = [{srcs}], out = "{out}"', "cat $SRCS > $OUT")
            )

    def clean(self) -> None:
        self.stop()
        shutil.rmtree(self.root / "fairlead-out", ignore_errors=True)

    def server(self) -> int | None:
        status = subprocess.run(
            (FAIRLEAD, "daemon", "status", "--json"), cwd=self.root, capture_output=True, text=True
        )
        pid = json.loads(status.stdout).get("pid")
        return None if pid is None else int(pid)

    def stop(self) -> None:
        subprocess.run((FAIRLEAD, "daemon", "stop"), cwd=self.root, capture_output=True)


class Alone(Fairlead):
    name = "alone"
    build = (FAIRLEAD, "build", "--no-daemon", "--json", "//...")

    def server(self) -> int | None:
        return None


class Ninja(Tool):
    name = "ninja"
    version = ("ninja", "--version")
    build = ("ninja",)

    def describe(self) -> None:
        lines = ["rule cat", "  command = cat $in > $out"]
        for number in range(self.packages):
            outs = [f"out/p{number}/c{i}.txt" for i in range(WIDTH - 1)]
            lines += [f"build {out}: cat p{number}/s{i}.txt" for i, out in enumerate(outs)]
            lines += [f"build out/p{number}/all.txt: cat {' '.join(outs)}"]
        (self.root / "build.ninja").write_text("\n".join([*lines, ""]))

    def clean(self) -> None:
        super().clean()
        for log in (".ninja_log", ".ninja_deps"):
            (self.root / log).unlink(missing_ok=True)


class Make(Tool):
    name = "make"
    version = ("make", "--version")
    build = ("make", "-s", f"-j{os.cpu_count()}")

    def describe(self) -> None:
        lines = ["all:"]
        for number in range(self.packages):
            outs = [f"out/p{number}/c{i}.txt" for i in range(WIDTH - 1)]
            for i, out in enumerate(outs):
                lines += [f"{out}: p{number}/s{i}.txt | out/p{number}", "\tcat $^ > $@"]
            lines += [f"out/p{number}/all.txt: {' '.join(outs)}", "\tcat $^ > $@"]
            lines += [f"all: out/p{number}/all.txt", f"out/p{number}:", "\tmkdir -p $@"]
        (self.root / "Makefile").write_text("\n".join([*lines, ""]))


class Bazel(Tool):
    name = "bazel"
    build: tuple[str, ...] = ("bazel",)
    version = ("dpkg-query", "-W", "-f", "${Version}", "bazel-bootstrap")  # its --version says "no_version"

    def describe(self) -> None:
        self.base = self.root.with_name(f"{self.root.name}-output-base")
        self.call = ("bazel", "--batch_cpu_scheduling", f"--output_base={self.base}")
        self.build = (*self.call, "build", "//...")
        (self.root / "WORKSPACE").write_text("")
        for number in range(self.packages):
            text = _genrules('srcs = [{srcs}], outs = ["{out}"]', "cat $(SRCS) > $@")
            (self.root / f"p{number}/BUILD").write_text(text)

    def clean(self) -> None:
        self.stop()
        subprocess.run(["chmod", "-R", "u+w", str(self.base)], capture_output=True)
        shutil.rmtree(self.base, ignore_errors=True)

    def server(self) -> int | None:
        try:
            return int((self.base / "server/server.pid.txt").read_text())
        except (OSError, ValueError):
            return None

    def stop(self) -> None:
        if self.base.exists():
            subprocess.run([*self.call, "shutdown"], cwd=self.root, capture_output=True)


def _genrules(attributes: str, command: str) -> str:
    """The commands of a package for a tool with genrules."""
    copies = [f"c{i}" for i in range(WIDTH - 1)]
    rows = [(name, f'"s{i}.txt"', f"{name}.txt") for i, name in enumerate(copies)]
    rows.append(("all", ", ".join(f'":{name}"' for name in copies), "all.txt"))
    return "".join(
        f'genrule(name = "{name}", {attributes.format(srcs=srcs, out=out)}, cmd = "{command}")\n'
        for name, srcs, out in rows
    )


def _cpu_of_tree(root: int) -> float:
    """CPU seconds of a process and of all below it, the ended ones that somebody waited for among them."""
    used: dict[int, int] = {}
    below: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        pid = int(folder.name)
        used[pid] = sum(map(int, fields[11:15]))
        below.setdefault(int(fields[1]), []).append(pid)
    todo, total = [root], 0
    while todo:
        pid = todo.pop()
        total += used.get(pid, 0)
        todo += below.get(pid, ())
    return total / os.sysconf("SC_CLK_TCK")


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


TOOLS: tuple[type[Tool], ...] = (Fairlead, Alone, Ninja, Make, Bazel)


def graph(actions: int, rounds: int, chosen: list[type[Tool]], place: Path) -> dict[str, Any]:
    """Measure the situations with each tool: what `--json` prints, but for the versions."""
    tools = [kind(place / kind.name, actions // WIDTH) for kind in chosen]
    seen: dict[tuple[str, str], list[tuple[float, float]]] = {}
    before = os.getloadavg()[0]
    with contextlib.ExitStack() as stack:
        for tool in tools:
            stack.callback(tool.stop)
        for turn in range(rounds):
            order = tools if turn % 2 == 0 else tools[::-1]
            steps: dict[str, Callable[[Tool], None]] = {
                "cold": lambda tool: tool.clean(),
                "no-op": lambda tool: None,
                "one edit": lambda tool: tool.edit(1, f"one {turn}"),  # noqa: B023 - called in this turn
                "1 % edit": lambda tool: tool.edit(actions // 100, f"many {turn}"),  # noqa: B023
                "restart": lambda tool: tool.kill(),
            }
            for case, prepare in steps.items():
                for tool in order:
                    if case == "restart" and tool.server() is None:
                        continue
                    prepare(tool)
                    seen.setdefault((case, tool.name), []).append(tool.run())
        memory = {tool.name: round(tool.memory(), 1) for tool in tools}
    return {
        "schema": "fairlead.benchmark.build/1",
        "actions": actions,
        "rounds": rounds,
        "processors": os.cpu_count(),
        "load": [round(before, 1), round(os.getloadavg()[0], 1)],
        "rows": rows(seen, [tool.name for tool in tools]),
        "memory": {name: size for name, size in memory.items() if size},
    }


def rows(seen: Mapping[tuple[str, str], list[tuple[float, float]]], names: list[str]) -> list[dict[str, Any]]:
    """A row for each situation and tool: all figures, their medians, and how the first tool compares."""
    found = []
    for case in CASES:
        first = seen.get((case, names[0]), [])
        for name in names:
            runs = seen.get((case, name), [])
            if not runs:
                continue
            walls, cpus = ([round(run[kind], 4) for run in runs] for kind in (0, 1))
            row: dict[str, Any] = {"case": case, "tool": name, "walls": walls, "cpus": cpus}
            row |= {"wall": statistics.median(walls), "cpu": statistics.median(cpus)}
            if name != names[0] and len(first) == len(runs):
                for kind, what in enumerate(("wall", "cpu")):
                    pairs = [(ours[kind], theirs[kind]) for ours, theirs in zip(first, runs, strict=True)]
                    ratios = [ours / theirs for ours, theirs in pairs if theirs]  # ticks of CPU may be none
                    row[f"{what}_ratio"] = round(statistics.median(ratios), 3) if ratios else None
            found.append(row)
    return found


def show(said: Mapping[str, Any]) -> None:
    """Print the figures for a person."""
    for name, version in said["tools"].items():
        print(f"{name}: {version}")
    before, after = said["load"]
    print(
        f"{said['actions']} commands, {said['rounds']} rounds, load {before} to {after}, "
        f"{said['processors']} processors"
    )
    first = next(iter(said["tools"])).capitalize()
    print(f"case      tool          wall s    CPU s   {first}'s wall is   its CPU is")
    for row in said["rows"]:
        beside = ""
        if "wall_ratio" in row:
            ratios = (row["wall_ratio"], row["cpu_ratio"])
            texts = ["?" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
            beside = f"   {texts[0]:>14} x   {texts[1]:>8} x"
        print(f"{row['case']:9} {row['tool']:10} {row['wall']:9.3f} {row['cpu']:8.3f}{beside}")
    for name, size in said["memory"].items():
        print(f"memory    {name:10} {size:7.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--actions", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--tools", default="fairlead,alone,ninja,make,bazel", help="the first is compared with all"
    )
    parser.add_argument("--json", action="store_true", help="print one document with all figures")
    args = parser.parse_args()
    names = args.tools.split(",")
    if unknown := set(names) - {kind.name for kind in TOOLS}:
        parser.error(f"there is no tool {', '.join(sorted(unknown))}")
    if args.actions < 100 or args.rounds < 1:
        parser.error("it takes 100 actions and one round at least")
    chosen = [kind for name in names for kind in TOOLS if kind.name == name and shutil.which(kind.build[0])]
    versions = {}
    for kind in chosen:
        said = []
        with contextlib.suppress(OSError):  # such as a Bazel that is no package of Debian's
            said = subprocess.run(kind.version, capture_output=True, text=True).stdout.splitlines()
        versions[kind.name] = said[0] if said else "?"
    for name in names:
        if name not in versions:
            print(f"{name}: not here", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="fairlead-bench-") as folder:
        os.environ |= {"FAIRLEAD_STATE_DIR": f"{folder}/state", "FAIRLEAD_BUILD_DAEMON": "on"}
        document = {"tools": versions, **graph(args.actions, args.rounds, chosen, Path(folder))}
    if args.json:
        print(json.dumps(document, indent=2))
    else:
        show(document)


if __name__ == "__main__":
    main()
