"""Fairlead beside Ninja, Make and Bazel on one generated graph of shell commands.

    python benchmarks/build.py [--actions 1000] [--rounds 3] [--tools fairlead,alone,ninja,make,bazel]

The graph: packages of 20 commands; 19 each copy one source, the last joins those copies. Each tool gets the
same commands in its own language (BUCK, build.ninja, Makefile, BUILD) and makes everything. One command is
one Ninja edge; in Fairlead a genrule is two actions, its command and the folder of its sources.

Each round runs the tools in turn, the next round in the opposite order, in five situations: `cold` (no
output, no store, no server), `no-op`, `one edit` (of one source), `1 % edit` and `restart` (a no-op after
kill -9 of the server, for the tools that have one). The tools do unlike work: Fairlead and Bazel run each
command in a sandbox and go by content, Ninja and Make start it bare and go by times. `alone` is Fairlead
without its daemon.

Wall time is the caller's; CPU is that of the call, with a tool's server counted (/proc/PID/stat). Memory is
what the server holds at the end (VmRSS).
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
from collections.abc import Callable
from pathlib import Path

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
        """CPU seconds that a server of the tool has used so far, with those of its ended children."""
        try:
            fields = Path(f"/proc/{self.server()}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

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


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


TOOLS: tuple[type[Tool], ...] = (Fairlead, Alone, Ninja, Make, Bazel)


def graph(actions: int, rounds: int, chosen: list[type[Tool]], place: Path) -> None:
    """Measure the four situations and print them, each beside Fairlead's."""
    tools = [kind(place / kind.name, actions // WIDTH) for kind in chosen]
    seen: dict[tuple[str, str], list[tuple[float, float]]] = {}
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
        memory = {tool.name: tool.memory() for tool in tools}
    print(f"{actions} commands, {rounds} rounds, load {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    print("case      tool          wall s    CPU s   Fairlead's wall is   its CPU is")
    for case in CASES:
        for tool in tools:
            if not {(case, tool.name), (case, tools[0].name)} <= seen.keys():
                continue
            runs = seen[case, tool.name]
            wall, cpu = (statistics.median(run[k] for run in runs) for k in (0, 1))
            pairs = list(zip(seen[case, tools[0].name], runs, strict=True))
            ratio = statistics.median(ours[0] / theirs[0] for ours, theirs in pairs)
            used = sum(ours[1] for ours, _ in pairs) / max(sum(theirs[1] for _, theirs in pairs), 0.001)
            beside = "" if tool is tools[0] else f"   {ratio:14.2f} x   {used:8.2f} x"
            print(f"{case:9} {tool.name:10} {wall:9.3f} {cpu:8.3f}{beside}")
    for tool in tools:
        if memory[tool.name]:
            print(f"memory    {tool.name:10} {memory[tool.name]:7.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--actions", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--tools", default="fairlead,alone,ninja,make,bazel", help="the first is compared with all"
    )
    args = parser.parse_args()
    names = args.tools.split(",")
    chosen = [kind for name in names for kind in TOOLS if kind.name == name and shutil.which(kind.version[0])]
    for kind in chosen:
        said = subprocess.run(kind.version, capture_output=True, text=True).stdout.splitlines()
        print(f"{kind.name}: {said[0]}")
    with tempfile.TemporaryDirectory(prefix="fairlead-bench-") as folder:
        os.environ |= {"FAIRLEAD_STATE_DIR": f"{folder}/state", "FAIRLEAD_BUILD_DAEMON": "on"}
        graph(args.actions, args.rounds, chosen, Path(folder))


if __name__ == "__main__":
    main()
