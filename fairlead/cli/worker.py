"""Run builds and tests for a server.

The first time, enrol it with the one-time code that the server's operator was given: the worker makes
a signing key of its own in its `--state` folder and registers. From then on the folder is all it needs.
It asks the server for work, runs it in a sandbox, and signs what it saw. Stop it at any time: what it
was doing is handed out again.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
from pathlib import Path

from fairlead import config
from fairlead.cli import credentials
from fairlead.cli.terminal import note
from fairlead.errors import MachineryError, UsageError
from fairlead.store import lock
from fairlead.worker import server as api
from fairlead.worker.state import Registration, State

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,38}")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="the worker's own folder")
    parser.add_argument("--server", metavar="URL", help="the server to enrol at")
    parser.add_argument("--name", default="worker", help="the worker's name when it enrols; default: worker")
    parser.add_argument(
        "--enrol-stdin", action="store_true", help="enrol with the one-time code on standard input"
    )
    parser.add_argument(
        "--sandbox",
        choices=("namespace", "landlock", "none"),
        default="namespace",
        help="landlock takes weaker walls where namespaces are refused, none takes none; such verdicts "
        "count only where the server says so",
    )
    parser.add_argument("--once", action="store_true", help="do one job and end")


def run(args: argparse.Namespace) -> int:
    state = State(args.state.resolve())
    held = lock.try_hold(state.lock)
    if held is None:
        raise UsageError(
            "a worker is running on this folder",
            where=str(state.root),
            remedy="stop it, or give this one a folder of its own",
        )
    state.prepare()
    registration = _enrol(args, state) if args.enrol_stdin else state.registration()
    if registration is None:
        raise UsageError(
            "this worker is not enrolled",
            where=str(state.root),
            remedy="add --server URL --name NAME --enrol-stdin, and write the code on standard input",
        )
    level = _level(args.sandbox)
    settings = config.load(state.root)
    from fairlead.worker.supervisor import Supervisor

    supervisor = Supervisor(
        server=api.Server(registration.server, registration.token),
        state=state,
        command=[sys.executable, "-P", "-m", "fairlead.cli.worker_job", str(state.root), level],
        seconds=settings.number("worker.seconds"),
        note=note,
    )
    signal.signal(signal.SIGTERM, _stop)
    note(f"worker {registration.name} of {registration.server}")
    supervisor.run(once=args.once)
    return 0


def _stop(number: int, frame: object) -> None:
    """End from wherever we are; the job's process is ended on the way out."""
    sys.exit(0)


def _enrol(args: argparse.Namespace, state: State) -> Registration:
    """Register at the server, with a key that never leaves this folder."""
    from fairlead.keys.signer import Signer

    if not args.server:
        raise UsageError("which server?", remedy="add --server URL")
    if not _NAME.fullmatch(args.name):
        raise UsageError(
            f"{args.name!r} cannot be a worker's name",
            remedy="use up to 39 lower-case letters, digits and -, beginning with a letter or digit",
        )
    code = sys.stdin.readline().strip()
    if not code:
        raise UsageError("standard input holds no enrolment code", remedy="write it on the first line")
    signer = Signer.open(state.key)
    url = credentials.address(args.server)
    token = api.register(url, code, args.name, signer.public.text())
    registration = Registration(args.name, url, token)
    state.register(registration)
    return registration


def _level(asked: str) -> str:
    """The level that all jobs get. What cannot be had is said at the start, not at the first job."""
    from fairlead.build import sandbox

    if asked == "none":
        return asked
    why = sandbox.refusal()
    if not why:
        return "namespace"
    if asked == "landlock":
        return sandbox.enforcement("landlock")
    raise MachineryError(
        f"this machine refuses the namespaces that a sandbox is made of: {why}",
        remedy="allow unprivileged user namespaces, or choose --sandbox landlock, or none where nothing is "
        "to lose; the server counts such verdicts only if its serve.enforcement says so",
    )
