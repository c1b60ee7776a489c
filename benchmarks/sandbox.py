"""What starting one program apart costs, by level and by launcher, beside posix_spawn alone.

    python benchmarks/sandbox.py [--count 200] [--rounds 2]

The program is `sh -c 'cat src > out/o'`. CPU is that of this process, of the launcher and of the program; the
launcher's is read from /proc once it has no work, so it is exact to a hundredth of a second over all runs.
Each round takes all kinds in turn.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fairlead.build import sandbox
from fairlead.build.sandbox import Bind, Command, Enforced, native, process
from fairlead.build.sandbox.command import LEVELS

LINE = "cat src > out/o"
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp"}


def bare(folder: Path) -> None:
    """The program by itself."""
    os.chdir(folder)
    pid = os.posix_spawn("/bin/sh", ["/bin/sh", "-c", LINE], ENVIRONMENT)
    os.waitpid(pid, 0)


def apart(folder: Path, level: Enforced) -> None:
    """The program in a sandbox."""
    inside = "/project" if level == "namespace" else str(folder)
    done = sandbox.run(
        Command(
            ["/bin/sh", "-c", LINE],
            ENVIRONMENT,
            inside,
            folder.with_name("log"),
            root_binds=[Bind(folder, inside), Bind(folder / "out", f"{inside}/out", writable=True)],
            wall_seconds=600,
            level=level,
        )
    )
    if done.code != 0:
        raise SystemExit(folder.with_name("log").read_text())


def cpu() -> float:
    """Seconds of this process, of its ended children, and of launchers that wait for work."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    for launcher in process.idle:
        fields = Path(f"/proc/{launcher._pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return total


def measure(name: str, run: Callable[[], None], folder: Path, count: int) -> None:
    """Print what one run costs, after a few that do not count."""
    (folder / "out/o").unlink(missing_ok=True)  # they may be another user's, by the level before
    os.chown(folder / "out", os.getuid(), os.getgid())
    for _ in range(5):
        run()
    used, start = cpu(), time.perf_counter()
    for _ in range(count):
        run()
    wall, used = time.perf_counter() - start, cpu() - used
    load = os.getloadavg()[0]
    print(f"{name:18} {wall / count * 1e3:8.2f} ms {used / count * 1e3:6.2f} ms CPU   load {load:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="runs of each kind")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made).resolve() / "project"
        (folder / "out").mkdir(parents=True)
        (folder / "src").write_text("source\n")
        folder.parent.chmod(0o755)
        for _ in range(args.rounds):
            measure("posix_spawn", lambda: bare(folder), folder, args.count)
            for level in LEVELS:
                for setting, name in (("off", "Python"), ("auto", "native")):
                    native.choose(setting)
                    measure(f"{level}, {name}", partial(apart, folder, level), folder, args.count)
        os.chdir("/")


if __name__ == "__main__":
    main()
