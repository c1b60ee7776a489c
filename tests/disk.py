"""A small real file system for tests of a full disk: a tmpfs of a given size.

Mounted directly where the test runs as root; the suite runs as root in CI. Elsewhere the
caller is re-run inside a user and mount namespace by `scripts/test`.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(path: Path, *, kilobytes: int) -> Iterator[Path]:
    """Mount a tmpfs of that size at `path` for the length of the block."""
    path.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        if os.environ.get("CI") == "true":
            pytest.fail(f"cannot mount a tmpfs: {done.stderr}")
        pytest.skip("needs the right to mount a tmpfs (root, or `unshare -Urm scripts/test`)")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
