"""What the parts of a running server share: data folder, settings, records, repositories, keys, threads.

Layout of the data folder, the only precious one:

    fairlead.sqlite       records
    git/<repo>.git        hosted repositories, with evidence in refs/fairlead/evidence
    logs/                 logs of test runs, by SHA-256
    artifacts/            published files, by BLAKE3
    keys/server           the key that signs evidence (0600)
    hooks/                git's hooks, written anew at each start
    lock                  held while a server runs on the folder
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import anyio
import anyio.to_thread

from fairlead import git
from fairlead.errors import UsageError
from fairlead.git import Repo
from fairlead.keys.allowed import AllowedSigners, Entry
from fairlead.keys.signer import Signer
from fairlead.keys.sshsig import PublicKey
from fairlead.serve.bus import Bus
from fairlead.serve.records import Records, diffs, people
from fairlead.serve.records.values import Hosted
from fairlead.ship.values import KeyStatement, Settings, Verdict
from fairlead.store import Blobs

P = ParamSpec("P")
T = TypeVar("T")

EVIDENCE_NAMESPACE = "fairlead-evidence"
_THREADS = 8  # for database and git work; git transport has its own


@dataclass(frozen=True)
class Limits:
    """What a person or a worker may send, and how slowly.  Bytes, unless said otherwise."""

    push: int = 1 << 30  # one pack
    stack: int = 100  # commits in one push
    paths: int = 100_000  # files that one commit changes
    message: int = 64 << 10  # one commit message
    post: int = 64 << 10  # one post
    log: int = 64 << 20  # one log
    artifact: int = 4 << 30  # one published file
    json: int = 16 << 20  # one API request
    patience: float = 60.0  # seconds that one request may keep the server waiting, and
    slowest: int = 4 << 10  # bytes that give it back a second of these


@dataclass(frozen=True)
class Keep:
    """For how many days what is not precious is kept; 0 is for ever."""

    candidates: int = 30
    logs: int = 180
    events: int = 90


@dataclass
class State:
    """One running server.  Everything in it may be used from any thread."""

    data: Path
    url: str  # as people reach it, without a last slash
    records: Records
    signer: Signer
    settings: Settings
    limits: Limits
    logs: Blobs
    bus: Bus
    lease_seconds: float = 60.0
    keep: Keep = Keep()
    # Held while a log is handed in or removed.
    shelf: threading.Lock = field(default_factory=threading.Lock)
    # Held while refs and records are changed together, so that a push and a landing never interleave.
    changing: threading.RLock = field(default_factory=threading.RLock)
    _git: dict[str, Repo] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _limiter: anyio.CapacityLimiter | None = None

    @property
    def secure(self) -> bool:
        """Whether people reach it by https."""
        return self.url.startswith("https://")

    def repo(self, name: str) -> Repo:
        """The bare repository called `name`, which the caller has looked up in the records."""
        with self._guard:
            if name not in self._git:
                self._git[name] = Repo(self.data / "git" / f"{name}.git")
            return self._git[name]

    async def work(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run blocking work (database, git) in one of the server's few threads."""
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(_THREADS)
        return await anyio.to_thread.run_sync(partial(call, *args, **kwargs), limiter=self._limiter)

    def signers(self) -> AllowedSigners:
        """Whose signatures count, for what and since when: the server and all workers ever registered."""
        entries = [Entry(("server",), self.signer.public, (EVIDENCE_NAMESPACE,))]
        with self.records.read() as c:
            workers = people.workers(c)
        for worker in workers:
            entries.append(
                Entry(
                    (f"worker:{worker.name}",),
                    PublicKey.parse(worker.public_key),
                    (Verdict.NAMESPACE, KeyStatement.NAMESPACE),
                    valid_before=None if worker.revoked is None else int(worker.revoked),
                )
            )
        return AllowedSigners(tuple(entries))

    def registered(self) -> frozenset[str]:
        """Names of the workers whose verdicts count now."""
        with self.records.read() as c:
            return people.registered_workers(c)

    def close(self) -> None:
        self.bus.close()
        self.records.close()


def open_state(
    data: Path,
    *,
    url: str,
    repo: str = "main",
    settings: Settings | None = None,
    limits: Limits | None = None,
    lease_seconds: float = 60.0,
    keep: Keep | None = None,
) -> State:
    """Open (or make) a data folder and host `repo` in it.  The caller holds the folder's lock."""
    git.require((2, 38), "the server")
    rules = settings or Settings()
    data = data.resolve()
    data.mkdir(parents=True, exist_ok=True)
    os.chmod(data, 0o700)
    records = Records(data / "fairlead.sqlite")
    bus = Bus()
    records.on_commit(bus.wake)
    state = State(
        data=data,
        url=url.rstrip("/"),
        records=records,
        signer=Signer.open(data / "keys" / "server"),
        settings=rules,
        limits=limits or Limits(),
        logs=Blobs(data / "logs", durable=True),
        bus=bus,
        lease_seconds=lease_seconds,
        keep=keep or Keep(),
    )
    host(state, repo, rules.trunk)
    return state


def host(state: State, name: str, trunk: str) -> Hosted:
    """Make the bare repository `name` if there is none; a trunk of another name is refused."""
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name[0] in ".-":
        raise UsageError(
            f"{name!r} cannot be the name of a repository",
            remedy="use letters, digits, '-', '_' and '.', beginning with a letter or digit",
        )
    with state.records.read() as c:
        known = diffs.repo_named(c, name)
    if known is not None and known.trunk != trunk:
        raise UsageError(
            f"the trunk of {name} is {known.trunk}, not {trunk}",
            where=str(state.data),
            remedy=f"set serve.trunk to {known.trunk}",
        )
    Repo.init_bare(state.data / "git" / f"{name}.git", trunk)
    if known is not None:
        return known
    with state.records.write() as c:
        return diffs.add_repo(c, name, trunk)
