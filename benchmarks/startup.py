"""How long `fairlead --version` takes beside an empty console script of the same interpreter.

    python benchmarks/startup.py [ROUNDS]

Both are console scripts as pip writes them; they run in turn, and the figures are whole processes.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

EMPTY = """#!{python}
import sys
from fairlead_empty import console
if __name__ == '__main__':
    sys.argv[0] = sys.argv[0].removesuffix('.exe')
    sys.exit(console())
"""


def once(argv: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds of one run."""
    start = time.perf_counter()
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    pid = os.posix_spawn(argv[0], argv, env, file_actions=quiet)
    _, status, usage = os.wait4(pid, 0)
    assert status == 0, argv
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime


def main(rounds: int) -> None:
    ours = Path(sys.executable).parent / "fairlead"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "fairlead_empty.py").write_text("def console():\n    print('empty')\n")
        peer = Path(folder) / "empty"
        peer.write_text(EMPTY.format(python=sys.executable))
        peer.chmod(0o755)
        env = {**os.environ, "PYTHONPATH": folder}
        rows = []
        for _ in range(rounds + 2):
            rows.append((once([str(ours), "--version"], env), once([str(peer)], env)))
        rows = rows[2:]
    wall = statistics.median(a[0] / b[0] for a, b in rows)
    cpu = sum(a[1] for a, _ in rows) / sum(b[1] for _, b in rows)
    print(f"fairlead --version  {statistics.median(a[0] for a, _ in rows) * 1e3:6.1f} ms")
    print(f"empty script        {statistics.median(b[0] for _, b in rows) * 1e3:6.1f} ms")
    print(f"ratio {wall:.2f} (median of {rounds} pairs), CPU ratio {cpu:.2f}, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
