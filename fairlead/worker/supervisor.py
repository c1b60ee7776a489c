"""Leases jobs and has each done by a process of its own, which it may end at any time.

A process a job rather than a thread: the bound on time holds whatever the candidate makes us compute,
the bound on memory spares the worker, and what a bad candidate leaves in a process dies with it. The
job reaches the process as one line on its standard input, which stays open: its end is the
supervisor's death, and the process ends itself. Its answer is one line on standard output.

    the process ends with          the supervisor
    done                           finishes the job
    broken: what, where, remedy    finishes the job as broken
    retry: what                    gives the lease back: the server hands the job out again at once
    nothing (killed, a bug)        the same, but the third time the candidate is called broken
    nothing, past the time limit   finishes the job as broken

Who gave a job back waits a while before it asks for the next, so that one with a full disk does not use up
the tries of each candidate in a second, and another worker comes first.

A lease that cannot be kept (the server says so, or is silent for its whole length) ends the process:
another worker may have the job by now, and two answers to one question help nobody.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from fairlead.errors import FairleadError, MachineryError
from fairlead.store import crashpoint
from fairlead.worker.job import Job
from fairlead.worker.server import Refused, Server
from fairlead.worker.state import State

AFTER_LEASE = crashpoint.declare(
    "worker.after-lease", "the server counts on this worker; nothing was done yet"
)
BEFORE_FINISH = crashpoint.declare(
    "worker.before-finish", "every verdict is at the server; it does not know that there are no more"
)

PATIENCE = 3  # silent ends of one candidate before it is called broken
_TICK = 0.2  # seconds between looks at the process, the lease and the clock
_LONGEST_ANSWER = 1 << 20
_LONGEST_REST = 60.0  # seconds
_KEPT = frozenset(
    {"PATH", "LANG", "LC_ALL", "TZ", "HOME", "TMPDIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}
)
_KEPT_KINDS = (
    "SSL_CERT_", "PIP_", "UV_",  # how toolchains are fetched where the network is not plain
    "FAIRLEAD_WORKER_", "FAIRLEAD_BUILD_JOBS", "FAIRLEAD_CONFIG_DIR", "FAIRLEAD_CRASH_AT",
    "FAIRLEAD_BUILD_NATIVE_LAUNCHER", "FAIRLEAD_CACHE_DIR",
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """How a job ended; see the table above."""

    outcome: str
    what: str = ""
    where: str = ""
    remedy: str = ""
    log: str = ""

    def to_line(self) -> str:
        """One line of JSON."""
        return json.dumps(self.__dict__)

    @classmethod
    def from_bytes(cls, data: bytes) -> Answer | None:
        """The answer in what the process wrote, or None if it wrote none."""
        try:
            answer = cls(**json.loads(data))
        except (ValueError, TypeError):
            return None
        fields = (answer.what, answer.where, answer.remedy, answer.log)
        known = answer.outcome in ("done", "broken", "retry") and all(
            isinstance(text, str) for text in fields
        )
        return answer if known else None


@dataclass
class Supervisor:
    """One worker at work. `command` starts the process for one job; `seconds` bounds it."""

    server: Server
    state: State
    command: Sequence[str]
    seconds: float
    note: Callable[[str], None]
    stop: threading.Event = field(default_factory=threading.Event)
    rest: float = 10.0  # seconds before the next job when one was given back, doubled each time in a row

    def run(self, *, once: bool = False) -> None:
        """Lease and do jobs until `stop` is set; with `once`, return after the first job.

        A server that does not answer is asked again with growing pauses. A server that does not know this
        worker any more is an error.
        """
        pause = 0.5
        rest = self.rest
        while not self.stop.is_set():
            try:
                job = self.server.lease()
            except MachineryError as error:
                self.note(f"no job: {error.what}; asking again in {pause:g} s")
                self.stop.wait(pause)
                pause = min(pause * 2, 30.0)
                continue
            pause = 0.5
            if job is not None:
                crashpoint.here(AFTER_LEASE)
                done = self.do(job)
                if once:
                    return
                if not done:
                    self.stop.wait(rest)
                rest = self.rest if done else min(rest * 2, _LONGEST_REST)

    def do(self, job: Job) -> bool:
        """Do one job from lease to finish; False if it was given back."""
        self.note(f"D{job.diff}: candidate {job.commit[:12]} on {job.base[:12]}")
        started = time.monotonic()
        answer = self._process(job)
        if answer is None:
            self.note(f"D{job.diff}: left to whoever has it now")
            return True
        if answer.outcome == "retry":
            self.note(f"D{job.diff}: given back: {answer.what}")
            try:
                self.server.release(job, answer.what, answer.where, answer.remedy)
            except FairleadError as error:
                self.note(f"D{job.diff}: not given back, its lease will run out: {error.what}")
            return False
        crashpoint.here(BEFORE_FINISH)
        try:
            self.server.finish(
                job,
                answer.outcome,
                what=answer.what,
                where=answer.where,
                remedy=answer.remedy,
                log=answer.log,
            )
        except FairleadError as error:
            self.note(f"D{job.diff}: not finished: {error.what}")
            return True
        text = f": {answer.what}" if answer.what else ""
        self.note(f"D{job.diff}: {answer.outcome} in {time.monotonic() - started:.1f} s{text}")
        return True

    def _process(self, job: Job) -> Answer | None:
        """Run the process for `job`; None if its lease was lost."""
        self.state.prepare()
        lost = threading.Event()
        ended = threading.Event()
        out = self.state.jobs / "answer"
        with open(out, "w+b") as answers:
            child = subprocess.Popen(
                list(self.command),
                stdin=subprocess.PIPE,
                stdout=answers,
                cwd=self.state.root,
                env=scrubbed(os.environ, self.state.root),
                start_new_session=True,
            )
            beat = threading.Thread(
                target=self._heartbeat, args=(job, ended, lost), name="heartbeat", daemon=True
            )
            beat.start()
            try:
                late = self._wait(child, job, lost)
            finally:
                ended.set()
                _end(child)
                beat.join()
            answer = Answer.from_bytes(_read(answers))
        self.state.prepare()
        if lost.is_set():
            return None
        if self.stop.is_set():
            return Answer("retry", "the worker was told to stop")
        if late:
            return Answer(
                "broken",
                f"checking this candidate took longer than {self.seconds:.0f} seconds and was ended",
                remedy="make its build and tests faster, or raise worker.seconds where the worker runs",
            )
        if answer is not None and child.returncode == 0:
            return answer
        how = f"signal {-child.returncode}" if child.returncode < 0 else f"code {child.returncode}"
        self.note(f"D{job.diff}: the job's process ended with {how} and no answer")
        if self.state.lost(job.commit) < PATIENCE:
            return Answer("retry", f"the process that checked this candidate ended with {how} and no answer")
        killed = "it may have needed more memory than this machine has; the worker's own log says more"
        failed = "this is a fault of the worker, not of the change; the worker's own log says more"
        return Answer(
            "broken",
            f"the process that checked this candidate ended {PATIENCE} times with {how} and no answer",
            remedy=killed if child.returncode < 0 else failed,
        )

    def _wait(self, child: subprocess.Popen[bytes], job: Job, lost: threading.Event) -> bool:
        """Wait for the process to end; whether that took too long. Returns early if the job is not ours."""
        deadline = time.monotonic() + self.seconds
        assert child.stdin is not None
        try:
            child.stdin.write(job.to_line().encode() + b"\n")
            child.stdin.flush()
        except BrokenPipeError:
            pass  # it ended at once; the exit code says how
        while not lost.is_set() and not self.stop.is_set():
            left = deadline - time.monotonic()
            if left <= 0:
                return True
            try:
                child.wait(min(_TICK, left))
                return False
            except subprocess.TimeoutExpired:
                continue
        return False

    def _heartbeat(self, job: Job, ended: threading.Event, lost: threading.Event) -> None:
        """Keep the lease until `ended`; set `lost` when it cannot be kept."""
        kept = time.monotonic()
        while not ended.wait(job.lease_seconds / 3):
            try:
                self.server.heartbeat(job)
                kept = time.monotonic()
            except FairleadError as error:
                if isinstance(error, Refused) or time.monotonic() - kept > job.lease_seconds:
                    self.note(f"D{job.diff}: the lease is lost: {error.what}")
                    lost.set()
                    return


def scrubbed(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """The environment of a job's process: what finds programs and the network, and the worker's settings.

    The sandbox gives actions and tests an environment of their own; this is one wall more.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if name.upper() in _KEPT or name.startswith(_KEPT_KINDS)
    }
    package = str(Path(__file__).parent.parent.parent)
    return {"HOME": str(home), **kept, "PYTHONPATH": package, "PYTHONUNBUFFERED": "1"}


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the process and its group. Sandboxes end themselves when their launcher's parent is gone."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    if child.stdin is not None:
        try:
            child.stdin.close()
        except BrokenPipeError:
            pass


def _read(answers: IO[bytes]) -> bytes:
    answers.seek(0)
    return answers.read(_LONGEST_ANSWER)
