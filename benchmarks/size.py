"""What a daemon takes that knows a large project, and whether size shows in what a person waits for.

    python benchmarks/size.py [--sizes 10000,200000] [--rounds 7]

The tree: packages of 20 targets. Those of the first package are genrules, of all others file groups: 19 with
a source each, the last with these and with the last one of another package, so that one source of the second
package is below many. `fairlead build //...` so makes a plan of all targets, and runs 20 commands.

Printed for each size: `all` is that build, wall time of the call, with the daemon's memory after it (VmRSS)
and the most that it had (VmHWM); `no-op` a build of one target where nothing is to be done, `affected` the
question what one source reaches, both beside the daemon, the sizes in turn; `restart` that no-op after
`kill -9` of the daemon, with the memory of the new one; `reread` the no-op of all after that, which makes it
know all again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WIDTH = 20
"""Targets in a package."""

os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
ONE, ALL, FILE = (
    ("build", "//p0:all"),
    ("build", "--json", "//..."),
    ("affected", "--all", "--files", "p1/s0.txt"),
)


def write(root: Path, targets: int) -> None:
    """The tree."""
    root.mkdir()
    (root / ".buckconfig").write_text("")
    for number in range(max(targets // WIDTH, 2)):
        folder = root / f"p{number}"
        folder.mkdir()
        lines = []
        for i in range(WIDTH):
            (folder / f"s{i}.txt").write_text(f"source {number} {i}\n")
        for i in range(WIDTH - 1):
            lines.append(_target(number, f"c{i}", [f"s{i}.txt"]))
        above = [f"//p{max(number // 10, 1)}:all"] if number > 1 else []
        lines.append(_target(number, "all", [*(f":c{i}" for i in range(WIDTH - 1)), *above]))
        (folder / "BUCK").write_text("".join(lines))


def _target(package: int, name: str, srcs: list[str]) -> str:
    if package:
        return f'filegroup(name = "{name}", srcs = {srcs}, visibility = ["PUBLIC"])\n'
    return f'genrule(name = "{name}", srcs = {srcs}, out = "{name}", cmd = "cat $SRCS > $OUT")\n'


def call(root: Path, words: tuple[str, ...]) -> float:
    """Wall seconds of a command."""
    start = time.perf_counter()
    done = subprocess.run(("fairlead", *words), cwd=root, capture_output=True, text=True)
    wall = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"fairlead {' '.join(words)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return wall


def daemon(root: Path) -> int:
    """The process of the project's daemon."""
    said = subprocess.run(
        ("fairlead", "daemon", "status", "--json"), cwd=root, capture_output=True, text=True
    )
    return int(json.loads(said.stdout)["pid"])


def memory(root: Path) -> str:
    """What the daemon holds and the most that it held, in MiB, when it has nothing to do."""
    pid = daemon(root)
    before = -1
    while (used := _ticks(pid)) != before:  # it does in peace what can wait
        before = used
        time.sleep(1)
    rows = dict(row.split(":", 1) for row in Path(f"/proc/{pid}/status").read_text().splitlines())
    now, most = (int(rows[name].split()[0]) // 1024 for name in ("VmRSS", "VmHWM"))
    return f"{now} MiB, at most {most} MiB"


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def measure(roots: dict[int, Path], rounds: int) -> None:
    """Measure the sizes and print them."""
    for size, root in roots.items():
        print(f"{size:7} all       {call(root, ALL):8.2f} s   {memory(root)}", flush=True)
    seen: dict[tuple[int, str], list[float]] = {}
    for _ in range(rounds):
        for size, root in roots.items():
            for name, words in (("no-op", ONE), ("affected", FILE)):
                call(root, words) if (size, name) not in seen else None
                seen.setdefault((size, name), []).append(call(root, words))
    smallest = min(roots)
    for (size, name), walls in seen.items():
        pairs = zip(walls, seen[smallest, name], strict=True)
        ratio = statistics.median(ours / theirs for ours, theirs in pairs)
        print(f"{size:7} {name:9} {statistics.median(walls):8.3f} s   {ratio:.2f} x that of {smallest}")
    for size, root in roots.items():
        os.kill(daemon(root), signal.SIGKILL)
        time.sleep(0.5)
        print(f"{size:7} restart   {call(root, ONE):8.3f} s   {memory(root)}", flush=True)
        print(f"{size:7} reread    {call(root, ALL):8.2f} s   {memory(root)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--sizes", default="10000,200000", help="targets, the others are compared with the least"
    )
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory(prefix="fairlead-bench-") as folder, contextlib.ExitStack() as stack:
        os.environ |= {"FAIRLEAD_STATE_DIR": f"{folder}/state", "FAIRLEAD_BUILD_DAEMON": "on"}
        roots = {size: Path(folder) / str(size) for size in map(int, args.sizes.split(","))}
        for size, root in roots.items():
            write(root, size)
            stack.callback(subprocess.run, ("fairlead", "daemon", "stop"), cwd=root, capture_output=True)
        measure(roots, args.rounds)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
