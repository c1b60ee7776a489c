"""What it costs a program that its file calls are noted, beside the same program without, and under strace.

    python benchmarks/recorder.py [--rounds N] [--strace] [--entered] COMMAND...

With --entered it is also noted which functions are entered, with and without the file calls. Then COMMAND is
fairlead/build/prelude/run_pytest.py by a Python 3.12 or later, with what that takes. The runs take turns. CPU
counts the program, all that it starts, and the recorder itself.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from fairlead.build.record import entered, supervisor

NO_NEW_PRIVILEGES = 38


def plain(argv: list[str], more: Mapping[str, str] = {}) -> tuple[float, float, int]:
    """Wall and CPU seconds of one run, and file calls heard. `more` comes into its environment."""
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]

    def run() -> tuple[int, int]:
        return os.waitpid(os.posix_spawnp(argv[0], argv, {**os.environ, **more}, file_actions=quiet), 0)[1], 0

    return _timed(run)


def traced(argv: list[str]) -> tuple[float, float, int]:
    """The same under strace, which asks the kernel for file calls alone."""
    strace = ["strace", "-f", "--seccomp-bpf", "-e", "trace=%file,getdents64", "-o", os.devnull]
    return plain([*strace, *argv])


def recorded(argv: list[str], more: Mapping[str, str] = {}) -> tuple[float, float, int]:
    """The same with the recorder."""

    def run() -> tuple[int, int]:
        ours, theirs = socket.socketpair()
        done, held = os.pipe()
        pid = os.fork()
        if pid == 0:
            ours.close()
            os.set_inheritable(held, True)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            supervisor.libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
            supervisor.offer(theirs)
            os.execvpe(argv[0], argv, {**os.environ, **more})
        theirs.close()
        os.close(held)
        recorder = supervisor.Recorder(ours)
        assert not recorder.refused, recorder.refused
        recorder.run(done)
        os.close(done)
        recorder.document()
        return os.waitpid(pid, 0)[1], recorder.calls

    return _timed(run)


def noted(
    run: Callable[[list[str], Mapping[str, str]], tuple[float, float, int]],
) -> Callable[[list[str]], tuple[float, float, int]]:
    """`run` with the functions noted that are entered."""

    def timed(argv: list[str]) -> tuple[float, float, int]:
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "entered"
            entered.place(log)
            found = run(argv, {entered.VARIABLE: str(log)})
            account = entered.Log.read(entered.noted(log))
            assert not account.lack, account.lack
            return found

    return timed


def _timed(run: Callable[[], tuple[int, int]]) -> tuple[float, float, int]:
    before, start = os.times(), time.perf_counter()
    status, calls = run()
    seconds, after = time.perf_counter() - start, os.times()
    assert status == 0, "the command fails: measure one that does not"
    return seconds, sum(after[:4]) - sum(before[:4]), calls


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--strace", action="store_true")
    parser.add_argument("--entered", action="store_true")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    kinds: dict[str, Callable[[list[str]], tuple[float, float, int]]]
    kinds = {"plain": plain, "recorded": recorded, **({"strace": traced} if args.strace else {})}
    kinds |= {"entered": noted(plain), "both": noted(recorded)} if args.entered else {}
    rows: dict[str, list[tuple[float, float, int]]] = {name: [] for name in kinds}
    subprocess.run(args.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    for _ in range(args.rounds):
        for name, kind in kinds.items():
            rows[name].append(kind(args.command))
    for name, runs in rows.items():
        wall = statistics.median(a[0] / b[0] for a, b in zip(runs, rows["plain"], strict=True))
        cpu = sum(a[1] for a in runs) / sum(b[1] for b in rows["plain"])
        seconds = statistics.median(a[0] for a in runs)
        mean = statistics.mean(run[1] for run in runs)
        ratios = f"ratio {wall:.2f}, CPU ratio {cpu:.2f}"
        print(f"{name:9} {seconds:7.2f} s, CPU {mean:.2f} s  {ratios}, {runs[-1][2]} calls")
    print(f"{args.rounds} rounds, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
