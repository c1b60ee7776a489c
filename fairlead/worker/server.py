"""The worker's side of the HTTP API: register, lease, keys, logs, verdicts, finish.

Every call but `lease` says the same thing however often it is repeated, so a call that got no whole
answer is repeated with pauses. A refusal (`Refused`) is never repeated: the job is no longer this
worker's, or the server does not believe what it was told.
"""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from fairlead import net
from fairlead.errors import FairleadError, MachineryError
from fairlead.net.request import refusal
from fairlead.ship.values import Signed
from fairlead.store import digest
from fairlead.worker.job import Job

LEASE_WAIT = 20  # seconds that the server may hold the question for a job open
_ATTEMPTS = 6
_T = TypeVar("_T")


class Refused(FairleadError):
    """The server understood and said no: asking again is of no use."""


@dataclass(frozen=True)
class Server:
    """The server at `url`, spoken to as one worker; `token` never appears in an error."""

    url: str
    token: str = field(repr=False)

    def lease(self, wait: int = LEASE_WAIT) -> Job | None:
        """A job, or None if none came within `wait` seconds."""
        answer = self._call("/api/worker/lease", {"wait": wait}, timeout=wait + 30.0)
        job = _mapping(answer).get("job")
        return None if job is None else Job.from_json(job)

    def heartbeat(self, job: Job) -> None:
        """Keep the lease."""
        self._call(f"/api/worker/jobs/{job.id}/heartbeat", {}, timeout=10.0)

    def keys(self, job: Job, base: Signed, candidate: Signed) -> list[str]:
        """Hand in the signed target keys; the labels of the tests that are to run."""
        payload = {"base": base.to_json(), "candidate": candidate.to_json()}
        answer = _repeated(lambda: self._call(f"/api/worker/jobs/{job.id}/keys", payload, timeout=120.0))
        run = _mapping(answer).get("run")
        if not isinstance(run, list) or not all(isinstance(label, str) for label in run):
            raise MachineryError("the server did not say which tests to run", where=self.url)
        return run

    def log(self, data: bytes) -> str:
        """Hand in a log; its SHA-256, which the server must have computed alike."""
        own = digest.of_bytes(data)
        url = f"{self.url}/api/worker/logs"

        def put() -> object:
            headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/octet-stream"}
            answer = net.request("PUT", url, headers=headers, body=data, timeout=120.0)
            if not 200 <= answer.status < 300:
                raise _told(refusal(answer.status, answer.body, url, answer.headers))
            return json.loads(answer.body)

        if _mapping(_repeated(put)).get("digest") != own:
            raise MachineryError("the server stored other bytes than the log that was sent", where=url)
        return own

    def verdicts(self, job: Job, verdicts: Sequence[Signed]) -> None:
        """Hand in signed verdicts."""
        payload = {"verdicts": [verdict.to_json() for verdict in verdicts]}
        _repeated(lambda: self._call(f"/api/worker/jobs/{job.id}/verdicts", payload, timeout=60.0))

    def finish(
        self, job: Job, outcome: str, *, what: str = "", where: str = "", remedy: str = "", log: str = ""
    ) -> None:
        """End the job: "done", or "broken" with what a person needs to know and the digest of a log."""
        payload = {"outcome": outcome, "what": what, "where": where, "remedy": remedy, "log": log}
        _repeated(lambda: self._call(f"/api/worker/jobs/{job.id}/finish", payload, timeout=60.0))

    def release(self, job: Job, what: str, where: str = "", remedy: str = "") -> None:
        """Give the lease back: this worker cannot do the job now, and why."""
        payload = {"what": what, "where": where, "remedy": remedy}
        self._call(f"/api/worker/jobs/{job.id}/release", payload, timeout=10.0)

    def git_environment(self) -> dict[str, str]:
        """Environment for a git child that reads from this server; the token is in no argument or file."""
        basic = base64.b64encode(f"worker:{self.token}".encode()).decode()
        settings = {
            f"http.{self.url}/.extraHeader": f"Authorization: Basic {basic}",
            "http.followRedirects": "false",
            "credential.helper": "",
        }
        environment = {"GIT_CONFIG_COUNT": str(len(settings))}
        for place, (key, value) in enumerate(settings.items()):
            environment[f"GIT_CONFIG_KEY_{place}"] = key
            environment[f"GIT_CONFIG_VALUE_{place}"] = value
        return environment

    def _call(self, path: str, payload: Mapping[str, object], *, timeout: float) -> object:
        url = f"{self.url}{path}"
        try:
            return net.fetch_json("POST", url, token=self.token, payload=payload, timeout=timeout)
        except FairleadError as error:
            raise _told(error) from None


def register(url: str, enrolment: str, name: str, public_key: str) -> str:
    """Trade a one-time enrolment code for the token of the worker `name`.

    `public_key` is one line, as in an OpenSSH .pub file.
    """
    payload = {"name": name, "public_key": public_key}
    answer = net.fetch_json("POST", f"{url}/api/worker/register", token=enrolment, payload=payload)
    token = _mapping(answer).get("token")
    if not isinstance(token, str) or not token:
        raise MachineryError("the server gave no token", where=url)
    return token


def _told(error: FairleadError) -> FairleadError:
    """The error as it is if trying again may help, else `Refused` with the same words."""
    if isinstance(error, MachineryError):
        return error
    return Refused(error.what, where=error.where, remedy=error.remedy, exit=error.exit)


def _repeated(call: Callable[[], _T]) -> _T:
    """Call until it answers; the pauses double from half a second, each shortened at random."""
    for attempt in range(_ATTEMPTS - 1):
        try:
            return call()
        except MachineryError:
            time.sleep(0.5 * 2**attempt * random.uniform(0.5, 1.0))
    return call()


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise MachineryError("the server's answer is not one this worker understands")
    return value
