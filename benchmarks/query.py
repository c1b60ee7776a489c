"""Questions about a large graph: Fairlead beside Bazel, and what Fairlead takes by itself.

    python benchmarks/query.py [--targets 10000] [--rounds 5] [--tools fairlead,bazel] [--evaluation]

The graph: packages of 20 genrules; 19 each copy one source, the last joins those copies with what the last of
another package made, so that one source of the first package is below a twentieth of all targets.

Each round asks the tools in turn, the next round in the opposite order: `rdeps` (what depends on one target,
of all), `somepath` and `file` (what depends on one source: `affected --files`, with Bazel a query). All are
whole processes, each tool with the server that it starts by itself. `own` is what the same takes of CPU in a
process that knows the project, and `anew` in a process that has just started, without a server; `first` is
the very first question, when nothing is kept, with the most memory that it took.

With --evaluation instead: what a new process takes to come to the plan of all targets, without a store, with
an empty one, with one that knows all, and after an edit of one build file: the last package's, the first's.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WIDTH = 20
"""Targets in a package."""

os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
ROOT, SOURCE = "//p0:c0", "p0/s0.txt"

OWN = """
import sys, time, resource
from pathlib import Path
from fairlead.build.query import whole
from fairlead.build.query.functions import ask
from fairlead.build.query.graph import DeclaredGraph
from fairlead.build.query.reached import reached
from fairlead.build.tree import DiskTree
from fairlead.store import Store
root = Path.cwd()
store = Store.open(root / "fairlead-out/store")
tree = DiskTree(root, store.results)
begun = time.process_time()
graph = DeclaredGraph(tree, store=store)
graph.targets("//...")
took = [time.process_time() - begun]
for question in (lambda: ask(graph, "rdeps(//..., //p0:c0)"), lambda: reached(graph, ["p0/s0.txt"])):
    question()
    begun = time.process_time()
    for _ in range(5):
        question()
    took.append((time.process_time() - begun) / 5)
print(*took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


EVALUATE = """
import sys, time, resource
from pathlib import Path
from fairlead.build.evaluate import evaluate
from fairlead.build.tree import DiskTree
from fairlead.store import Store
store = Store.open(Path("fairlead-out/store")) if sys.argv[1] == "store" else None
begun, wall = time.process_time(), time.perf_counter()
tree = DiskTree(Path.cwd(), None if store is None else store.results)
plan = evaluate(tree, ["//..."], store=store)
print(time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def write(root: Path, targets: int, build_file: str, attributes: str, command: str) -> None:
    """The tree in the language of a tool with genrules."""
    for number in range(max(targets // WIDTH, 1)):
        folder = root / f"p{number}"
        folder.mkdir(parents=True)
        for i in range(WIDTH - 1):
            (folder / f"s{i}.txt").write_text(f"source {number} {i}\n")
        rows = [(f"c{i}", [f"s{i}.txt"]) for i in range(WIDTH - 1)]
        below = [f"//p{number // 10}:all"] if number else []
        rows.append(("all", [*(f":c{i}" for i in range(WIDTH - 1)), *below]))
        seen_by = "PUBLIC" if build_file == "BUCK" else "//visibility:public"
        lines = [
            f'genrule(name = "{name}", {attributes.format(srcs=srcs, out=name)}, cmd = "{command}", '
            f'visibility = ["{seen_by}"])\n'
            for name, srcs in rows
        ]
        (folder / build_file).write_text("".join(lines))


class Fairlead:
    name = "fairlead"

    def __init__(self, root: Path, targets: int) -> None:
        self.root = root
        write(root, targets, "BUCK", 'srcs = {srcs}, out = "{out}.txt"', "cat $SRCS > $OUT")
        (root / ".buckconfig").write_text("")
        self.questions = {
            "rdeps": ("fairlead", "query", f"rdeps(//..., {ROOT})"),
            "somepath": ("fairlead", "query", f"somepath(//p{targets // WIDTH - 1}:all, {ROOT})"),
            "file": ("fairlead", "affected", "--all", "--files", SOURCE),
        }

    def stop(self) -> None:
        subprocess.run(["fairlead", "daemon", "stop"], cwd=self.root, capture_output=True)


class Bazel:
    name = "bazel"

    def __init__(self, root: Path, targets: int) -> None:
        self.root = root
        write(root, targets, "BUILD", 'srcs = {srcs}, outs = ["{out}.txt"]', "cat $(SRCS) > $@")
        (root / "WORKSPACE").write_text("")
        self.base = root.with_name("bazel-output-base")
        call = ("bazel", "--batch_cpu_scheduling", f"--output_base={self.base}")
        self.call = call
        self.questions = {
            "rdeps": (*call, "query", f"rdeps(//..., {ROOT})"),
            "somepath": (*call, "query", f"somepath(//p{targets // WIDTH - 1}:all, {ROOT})"),
            "file": (*call, "query", f"rdeps(//..., //{SOURCE.replace('/', ':')})"),
        }

    def stop(self) -> None:
        subprocess.run([*self.call, "shutdown"], cwd=self.root, capture_output=True)


def ask(tool: Fairlead | Bazel, case: str) -> tuple[float, int]:
    """Wall seconds, and how many targets the answer has."""
    start = time.perf_counter()
    done = subprocess.run(tool.questions[case], cwd=tool.root, capture_output=True, text=True)
    wall = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{tool.name} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return wall, sum(line.startswith("//") for line in done.stdout.splitlines())


def alone(root: Path) -> tuple[list[float], int]:
    """CPU seconds of a new process: to know the graph, to answer rdeps, to answer for a file; peak KiB."""
    done = subprocess.run([sys.executable, "-c", OWN], cwd=root, capture_output=True, text=True, check=True)
    *took, memory = done.stdout.split()
    return [float(one) for one in took], int(memory)


def evaluation(root: Path, targets: int, rounds: int) -> None:
    """Measure evaluations and print them."""

    def once(store: str) -> tuple[float, int]:
        argv = [sys.executable, "-c", EVALUATE, store]
        done = subprocess.run(argv, cwd=root, capture_output=True, text=True, check=True)
        cpu, memory = done.stdout.split()
        return float(cpu), int(memory)

    def edit(package: int) -> None:
        path = root / f"p{package}/BUCK"
        path.write_text(path.read_text().replace("> $OUT", ">  $OUT"))

    seen: dict[str, list[tuple[float, int]]] = {}
    for _ in range(rounds):
        shutil.rmtree(root / "fairlead-out", ignore_errors=True)
        cases: list[tuple[str, str, int | None]] = [
            ("without a store", "", None),
            ("empty store", "store", None),
            ("all is known", "store", None),
            ("last package", "store", targets // WIDTH - 1),
            ("first package", "store", 0),
        ]
        for case, store, package in cases:
            if package is not None:
                edit(package)
            seen.setdefault(case, []).append(once(store))
    print(f"{targets} targets, {rounds} rounds, load {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    for case, runs in seen.items():
        cpu, memory = (statistics.median(run[k] for run in runs) for k in (0, 1))
        print(f"{case:16} {cpu:8.2f} s of CPU {memory // 1024:6.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--targets", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tools", default="fairlead,bazel", help="the first is compared with the other")
    parser.add_argument("--evaluation", action="store_true", help="measure evaluations instead")
    args = parser.parse_args()
    if args.evaluation:
        with tempfile.TemporaryDirectory(prefix="fairlead-bench-") as folder:
            evaluation(Fairlead(Path(folder), args.targets).root, args.targets, args.rounds)
        return
    kinds = {kind.name: kind for kind in (Fairlead, Bazel)}
    with tempfile.TemporaryDirectory(prefix="fairlead-bench-") as folder, contextlib.ExitStack() as stack:
        tools = [kinds[n](Path(folder) / n, args.targets) for n in args.tools.split(",") if shutil.which(n)]
        for tool in tools:
            stack.callback(tool.stop)
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        firsts = [alone(tool.root) for tool in tools if isinstance(tool, Fairlead)]
        load = f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors"
        print(f"{args.targets} targets, {args.rounds} rounds, {load}")
        for took, memory in firsts:
            spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
            print(f"first     {took[0]:.3f} s of CPU ({spent:.1f} s the process), {memory // 1024} MiB")
        for tool in tools:
            for case in tool.questions:
                ask(tool, case)  # its server starts, and knows the graph
        seen: dict[tuple[str, str], list[tuple[float, int]]] = {}
        for turn in range(args.rounds):
            for case in ("rdeps", "somepath", "file"):
                for tool in tools if turn % 2 == 0 else tools[::-1]:
                    seen.setdefault((case, tool.name), []).append(ask(tool, case))
        print("case      tool          wall s   targets   Fairlead's wall is")
        for case in ("rdeps", "somepath", "file"):
            for tool in tools:
                runs = seen[case, tool.name]
                pairs = zip(seen[case, tools[0].name], runs, strict=True)
                ratio = statistics.median(ours[0] / theirs[0] for ours, theirs in pairs)
                beside = "" if tool is tools[0] else f"   {ratio:14.3f} x"
                wall = statistics.median(run[0] for run in runs)
                print(f"{case:9} {tool.name:10} {wall:9.3f} {runs[0][1]:9}{beside}")
        for tool in tools:
            if isinstance(tool, Fairlead):
                rows = [alone(tool.root) for _ in range(args.rounds)]
                anew, rdeps, file = (statistics.median(row[0][k] for row in rows) for k in range(3))
                print(f"anew      {anew * 1000:.0f} ms of CPU to know the graph, {rows[0][1] // 1024} MiB")
                print(f"own       rdeps {rdeps * 1000:.1f} ms, file {file * 1000:.1f} ms of CPU")


if __name__ == "__main__":
    main()
