"""The process that does one job for `fairlead worker`; not a verb, and of no use by hand.

    python -m fairlead.cli.worker_job STATE SANDBOX

Reads the job as one line, writes the answer as one line, and ends when standard input ends: that is
its supervisor's death, and nobody would read the answer.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
from pathlib import Path
from typing import cast

from fairlead import config
from fairlead.build.sandbox import MIB, Requested, native
from fairlead.cli.terminal import note
from fairlead.keys.signer import Signer
from fairlead.worker.candidate import Candidate, Limits
from fairlead.worker.job import Job
from fairlead.worker.server import Server
from fairlead.worker.state import State


def main(argv: list[str]) -> int:
    """Do the job on standard input for the worker whose folder and sandbox level `argv` names."""
    folder, level = argv
    state = State(Path(folder))
    settings = config.load(state.root)
    registration = state.registration()
    assert registration is not None, "only `fairlead worker` starts this"
    _bound_memory(settings.number("worker.memory_mib") * MIB)
    job = Job.from_line(sys.stdin.buffer.readline().decode())
    threading.Thread(target=_watch_supervisor, name="supervisor", daemon=True).start()
    native.choose(settings.text("build.native_launcher"))
    signer = Signer.load(state.key)
    candidate = Candidate(
        job=job,
        server=Server(registration.server, registration.token),
        state=state,
        name=registration.name,
        sign=signer.sign,
        limits=Limits(
            test_seconds=settings.number("worker.test_seconds"),
            jobs=settings.number("build.jobs"),
            download_hosts=tuple(settings.words("worker.download_hosts")),
            sandbox=cast(Requested, level),
        ),
        note=note,
    )
    print(candidate.check().to_line(), flush=True)
    return 0


def _bound_memory(limit: int) -> None:
    """Bound this process; what runs in the sandbox has a bound of its own, which may be larger."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))


def _watch_supervisor() -> None:
    """Wait for the end of standard input. A bare read: the buffered one holds a lock that exit wants."""
    while os.read(0, 4096):
        pass
    os._exit(3)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
