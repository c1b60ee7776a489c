"""The worker's own folder: who it is, and what it keeps between jobs.

    worker.json     name, server, token; mode 0600
    key             its Ed25519 key, made and read by `cli/worker.py`
    lock            one worker a folder
    repo.git        commits fetched from the server
    store           build results; written by this worker alone
    jobs            work trees of the job at hand; emptied before and after each
    attempts.json   how often a candidate ended its process without a word

Everything but worker.json and key may be deleted while no worker runs.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from fairlead.errors import MachineryError, UsageError
from fairlead.store import atomic

FORMAT = 1
_KEPT_ATTEMPTS = 50


@dataclass(frozen=True)
class Registration:
    """A worker's place at a server."""

    name: str
    server: str
    token: str

    def __repr__(self) -> str:
        """Without the token."""
        return f"Registration(name={self.name!r}, server={self.server!r})"


@dataclass(frozen=True)
class State:
    """The folder at `root`."""

    root: Path

    @property
    def key(self) -> Path:
        """The private key's file."""
        return self.root / "key"

    @property
    def lock(self) -> Path:
        """Held while a worker runs on this folder."""
        return self.root / "lock"

    @property
    def repository(self) -> Path:
        """The bare repository."""
        return self.root / "repo.git"

    @property
    def store(self) -> Path:
        """The store of build results."""
        return self.root / "store"

    @property
    def jobs(self) -> Path:
        """The folder of work trees."""
        return self.root / "jobs"

    def prepare(self) -> None:
        """Make the folder, readable by its owner alone, with nothing left of an earlier job."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.root.chmod(0o700)
            atomic.remove(self.jobs)
            self.jobs.mkdir()
        except OSError as error:
            raise atomic.failed(error, "prepare", self.root) from None

    def registration(self) -> Registration | None:
        """Who this worker is, or None before it was enrolled."""
        path = self.root / "worker.json"
        try:
            with open(path, "rb") as opened:
                mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
                data = opened.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise atomic.failed(error, "read", path) from None
        if mode & 0o077:
            raise UsageError(
                f"the worker's token may be read by others (mode {mode:o})",
                where=str(path),
                remedy=f"chmod 600 {path}; if others had access, enrol the worker anew",
            )
        try:
            document = json.loads(data)
            if document["format"] != FORMAT:
                raise ValueError
            return Registration(str(document["name"]), str(document["server"]), str(document["token"]))
        except (ValueError, KeyError, TypeError):
            raise UsageError(
                "the worker's registration is damaged or of another version",
                where=str(path),
                remedy="remove the file and enrol the worker anew",
            ) from None

    def register(self, registration: Registration) -> None:
        """Keep who this worker is; durable when this returns."""
        document = {
            "format": FORMAT,
            "name": registration.name,
            "server": registration.server,
            "token": registration.token,
        }
        data = json.dumps(document, indent=1).encode() + b"\n"
        atomic.write(self.root / "worker.json", data, mode=0o600, durable=True)

    def lost(self, commit: str) -> int:
        """Note that the process working on `commit` ended without a word; how often that has happened."""
        path = self.root / "attempts.json"
        try:
            known = json.loads(path.read_bytes())
            counts = {str(oid): int(count) for oid, count in known.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            counts = {}  # absent or damaged: only the patience with a bad commit is lost
        count = counts.pop(commit, 0) + 1
        counts[commit] = count
        kept = dict(list(counts.items())[-_KEPT_ATTEMPTS:])
        atomic.write(path, json.dumps(kept).encode())
        return count


def free_bytes(path: Path) -> int:
    """How much the disk of `path` still takes, in bytes."""
    try:
        disk = os.statvfs(path)
    except OSError as error:
        raise MachineryError(f"cannot look at the disk: {error.strerror}", where=str(path)) from None
    return disk.f_bavail * disk.f_frsize
