"""Invite people and workers to a server, and see who is there. Run it where the data folder is.

    fairlead people invite NAME       prints a link that makes the account, once, within 7 days
    fairlead people reset NAME        prints a link that sets another password, once, within a day
    fairlead people list              people and workers
    fairlead people enrol-worker      prints a code with which one worker may register, within 10 minutes
    fairlead people revoke-worker W   its verdicts count no more; what has landed stays verifiable

The first person who is invited becomes an administrator, who may push the first commits of the trunk.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead.cli import extra
from fairlead.cli.serve import default_data
from fairlead.cli.terminal import say
from fairlead.errors import UsageError

if TYPE_CHECKING:
    from fairlead.serve.records import Records

ACTIONS = ("invite", "reset", "list", "enrol-worker", "revoke-worker")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=ACTIONS, help="what to do")
    parser.add_argument("name", nargs="?", help="the person or the worker")
    parser.add_argument(
        "--admin", action="store_true", help="with invite: make the account an administrator's"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the data folder; default: server/ in your state folder"
    )


def run(args: argparse.Namespace) -> int:
    with extra.needed("serve", "the server"):
        from fairlead.serve import auth
        from fairlead.serve.records import Records, people
    data = (args.data or default_data()).resolve()
    path = data / "fairlead.sqlite"
    if not path.is_file():
        raise UsageError(
            "this is not a server's data folder",
            where=str(data),
            remedy="start the server once: fairlead serve",
        )
    needs_name = args.action in ("invite", "reset", "revoke-worker")
    if needs_name != (args.name is not None):
        raise UsageError(
            f"{args.action} takes {'a' if needs_name else 'no'} name", remedy="fairlead people --help"
        )
    records = Records(path)
    try:
        if args.action in ("invite", "reset"):
            return _invite(args, data, records)
        if args.action == "list":
            return _list(args, records)
        if args.action == "enrol-worker":
            code = auth.enrolment(records)
            say(json.dumps({"schema": "fairlead.people/1", "code": code}) if args.json else code)
            return 0
        with records.write() as c:
            known = people.revoke_worker(c, args.name)
        if not known:
            raise UsageError(f"no worker {args.name} is registered", remedy="fairlead people list")
        document = {"schema": "fairlead.people/1", "revoked": args.name}
        say(json.dumps(document) if args.json else f"the verdicts of worker {args.name} count no more")
        return 0
    finally:
        records.close()


def _invite(args: argparse.Namespace, data: Path, records: Records) -> int:
    from fairlead.serve import auth

    try:
        url = (data / "url").read_text().strip()
    except OSError:
        raise UsageError(
            "this server has never run, so its address is unknown",
            where=str(data),
            remedy="start it: fairlead serve",
        ) from None
    if args.action == "reset":
        code = auth.reset(records, args.name)
    else:
        code = auth.invite(records, args.name, admin=args.admin)
    link = f"{url}/invite/{code}"
    document = {"schema": "fairlead.people/1", "name": args.name, "link": link}
    say(json.dumps(document) if args.json else link)
    return 0


def _list(args: argparse.Namespace, records: Records) -> int:
    from fairlead.serve.records import people

    with records.read() as c:
        persons, workers = people.everyone(c), people.workers(c)
    if args.json:
        document = {
            "schema": "fairlead.people/1",
            "people": [{"name": p.name, "admin": p.admin} for p in persons],
            "workers": [
                {"name": w.name, "key": w.public_key, "revoked": w.revoked is not None} for w in workers
            ],
        }
        say(json.dumps(document))
        return 0
    for person in persons:
        say(f"person  {person.name}{'  administrator' if person.admin else ''}")
    for worker in workers:
        say(f"worker  {worker.name}{'  revoked' if worker.revoked is not None else ''}")
    return 0
