"""Run the server: git repository, review pages, landing queue, published files.

One process, one data folder. A worker process is started beside it, which runs the tests of what is to
land; --no-worker leaves that to workers elsewhere. Stop it with Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead import config
from fairlead.cli import extra
from fairlead.cli.terminal import note, say
from fairlead.errors import UsageError
from fairlead.store import atomic

if TYPE_CHECKING:
    from fairlead.serve.state import Keep, State
    from fairlead.ship.values import Settings

PORT = 7420


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the data folder; default: server/ in your state folder"
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on; default: 127.0.0.1")
    parser.add_argument(
        "--port", type=int, default=PORT, metavar="N", help=f"the port; 0 takes a free one; default: {PORT}"
    )
    parser.add_argument(
        "--repo", default="main", metavar="NAME", help="the repository to host; default: main"
    )
    parser.add_argument(
        "--no-worker", action="store_true", help="do not start a worker process beside the server"
    )
    parser.add_argument(
        "--url-file", type=Path, metavar="PATH", help="write the server's address there when it is ready"
    )


def run(args: argparse.Namespace) -> int:
    with extra.needed("serve", "the server"):
        from fairlead.serve import local_worker, server
    if not 0 <= args.port <= 65535:
        raise UsageError(f"{args.port} is no port", remedy="use 0 to 65535")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    data = (args.data or default_data()).resolve()
    settings = config.load(data)

    def ready(state: State, listening: str) -> Callable[[], None]:
        worker = None
        if not args.no_worker:
            folder = data.parent / f"{data.name}-worker"
            worker = local_worker.LocalWorker(state, folder, listening)
            worker.start()
        atomic.write(data / "url", f"{state.url}\n".encode(), durable=True)
        if args.url_file:
            atomic.write(args.url_file, f"{state.url}\n".encode())
        _announce(args, state, data)

        def stop() -> None:
            if worker is not None:
                worker.stop()

        return stop

    server.run(
        data,
        host=args.host,
        port=args.port,
        url=settings.text("serve.url"),
        repo=args.repo,
        settings=land_settings(settings),
        keep=kept_days(settings),
        ready=ready,
    )
    return 0


def default_data() -> Path:
    """The data folder where none is named."""
    return config.user_state_dir() / "server"


def land_settings(settings: config.Config) -> Settings:
    """What has to hold before the trunk moves, from the settings."""
    from fairlead.ship.values import ENFORCEMENTS, Settings

    enforcement = settings.text("serve.enforcement")
    approvals = settings.number("serve.approvals")
    if enforcement not in ENFORCEMENTS:
        raise UsageError(
            f"serve.enforcement is {enforcement!r}",
            where=settings.source("serve.enforcement"),
            remedy=f"use one of {', '.join(ENFORCEMENTS)}",
        )
    if approvals < 0:
        raise UsageError(
            f"serve.approvals is {approvals}",
            where=settings.source("serve.approvals"),
            remedy="use 0 or more",
        )
    return Settings(
        approvals=approvals,
        author_may_approve=bool(settings.get("serve.author_may_approve")),
        enforcement=enforcement,
        trunk=settings.text("serve.trunk"),
    )


def kept_days(settings: config.Config) -> Keep:
    """For how long the server keeps what is not precious, from the settings."""
    from fairlead.serve.state import Keep

    def days(name: str) -> int:
        found = settings.number(name)
        if found < 0:
            raise UsageError(
                f"{name} is {found}",
                where=settings.source(name),
                remedy="use a number of days, or 0 for ever",
            )
        return found

    return Keep(days("serve.keep_candidates"), days("serve.keep_logs"), days("serve.keep_events"))


def _announce(args: argparse.Namespace, state: State, data: Path) -> None:
    from fairlead.serve.records import people

    with state.records.read() as c:
        nobody = people.count(c) == 0
    if args.json:
        say(
            json.dumps({"schema": "fairlead.serve/1", "url": state.url, "repo": args.repo, "data": str(data)})
        )
    else:
        say(f"Fairlead serves {args.repo} at {state.url}")
        if nobody:
            say(f"nobody has an account yet: fairlead people invite NAME --data {data}")
    if state.url.startswith("http://") and args.host not in ("127.0.0.1", "::1", "localhost"):
        note("warning: passwords and tokens travel unencrypted; put a TLS proxy before it and set serve.url")
