"""Small projects for tests of `build`: files on disk, and the same files in a real git repository."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from fairlead.build.evaluate import evaluate
from fairlead.build.key import Platform, target_records
from fairlead.build.plan import Plan
from fairlead.build.tree import DiskTree

LINUX = Platform("linux", "x86_64", "cpython-311")

_GIT_ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "author",
    "GIT_AUTHOR_EMAIL": "author@example.com",
    "GIT_COMMITTER_NAME": "author",
    "GIT_COMMITTER_EMAIL": "author@example.com",
}


def write(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files below `root`; names that end with `*` are executable, "-> x" as content is a link to x."""
    for name, content in files.items():
        path = root / name.removesuffix("*")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str) and content.startswith("-> "):
            path.symlink_to(content[3:])
            continue
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(0o755 if name.endswith("*") else 0o644)
    return root


def git(root: Path, *args: str) -> str:
    done = subprocess.run(["git", *args], cwd=root, env=_GIT_ENV, capture_output=True, check=True)
    return done.stdout.decode().strip()


def commit(root: Path) -> str:
    """Commit all files of `root`; the id of the commit."""
    if not (root / ".git").exists():
        git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A", "-f")
    git(root, "commit", "-q", "--allow-empty", "-m", "all")
    return git(root, "rev-parse", "HEAD")


def plan(root: Path, *patterns: str) -> Plan:
    return evaluate(DiskTree(root), patterns or ["//..."])


def keys(root: Path, *patterns: str) -> dict[str, str]:
    """Label -> target key of a project on disk."""
    tree = DiskTree(root)
    records = target_records(evaluate(tree, patterns or ["//..."]), tree, LINUX)
    return {label: record.key for label, record in records.items()}
