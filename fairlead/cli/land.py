"""Land reviewed diffs, or verify what has landed.

`fairlead land D12` puts D12 in the queue; `--stack` everything below it too. The server makes the
candidate commit, a worker runs the tests it can affect, and the trunk moves only if the land rule
holds. `--wait` follows that to its end and fails if the diff is refused. `--cancel` takes a diff that you
wrote or queued out of the queue again; it stays accepted.

`fairlead land verify A..B` checks the evidence of landed commits with git and the public keys alone.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from fairlead.cli import client, credentials, verify_landing
from fairlead.cli.terminal import note, say
from fairlead.errors import FairleadError, MachineryError, UsageError, WorkFailed
from fairlead.git import Repo

POLL = 20  # seconds that one question for new events may wait at the server
LAST_LINES = 20  # of the log of a refused landing


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="DIFF|verify", help="the diff, such as D12; or the word verify")
    parser.add_argument("range", nargs="?", metavar="A..B", help="with verify: the commits to check")
    parser.add_argument("--stack", action="store_true", help="land the diffs it stands on too, lowest first")
    parser.add_argument(
        "--wait", action="store_true", help="follow the queue until it has landed or was refused"
    )
    parser.add_argument("--cancel", action="store_true", help="take the diff out of the queue")
    parser.add_argument(
        "--timeout", type=int, default=3600, metavar="SECONDS", help="how long --wait follows; default: 3600"
    )
    parser.add_argument("--keys", type=Path, metavar="FILE", help="with verify: the public keys to believe")
    verify_landing.configure(parser)
    client.add_server_option(parser)


def run(args: argparse.Namespace) -> int:
    if args.what == "verify":
        return _verify(args)
    if args.range is not None or args.keys is not None:
        raise UsageError(
            "a range and --keys belong to verify", where="fairlead land", remedy="fairlead land verify A..B"
        )
    number = client.diff_number(args.what)
    server = client.connect(args.server, client.here())
    if args.cancel:
        return _cancel(args, server, number)
    after = client.number_of(client.mapping(server.get("/healthz"), "/healthz"), "events", "/healthz")
    answer = server.post(f"/api/diffs/{number}/land", {"stack": args.stack})
    numbers = answer.get("queued")
    if not isinstance(numbers, list) or not all(isinstance(n, int) for n in numbers):
        raise MachineryError("the server did not say what it queued", where=server.url)
    names = ", ".join(f"D{n}" for n in numbers)
    if not args.wait:
        if args.json:
            say(json.dumps({"schema": "fairlead.land/1", "queued": numbers, "url": f"{server.url}/queue"}))
        else:
            say(f"queued {names}  {server.url}/queue")
        return 0
    if not args.json:
        note(f"queued {names}  {server.url}/queue")
    commits = _follow(server, numbers, after, time.monotonic() + args.timeout, quiet=args.json)
    if args.json:
        landed = [
            {"diff": n, "commit": commits[n], "url": f"{server.url}/commits/{commits[n]}"} for n in numbers
        ]
        say(json.dumps({"schema": "fairlead.land/1", "queued": numbers, "landed": landed}))
    return 0


def _cancel(args: argparse.Namespace, server: client.Client, number: int) -> int:
    """Take a diff out of the queue."""
    if args.stack or args.wait:
        raise UsageError(
            "--cancel takes one diff out of the queue, and neither --stack nor --wait goes with it",
            where="fairlead land",
            remedy="fairlead land --cancel D12",
        )
    answer = server.post(f"/api/diffs/{number}/dequeue", {})
    state = client.text_of(answer, "state", "the answer")
    document = {"schema": "fairlead.land/1", "cancelled": [number], "state": state}
    say(
        json.dumps(document)
        if args.json
        else f"D{number} is out of the queue; it is {state.replace('_', ' ')}"
    )
    return 0


def _follow(
    server: client.Client, numbers: list[int], after: int, until: float, *, quiet: bool
) -> dict[int, str]:
    """Wait until every diff has landed: diff -> commit.

    The first that leaves the queue otherwise is a WorkFailed. Events only say when to look again; the
    state of a diff is asked for, so a missed event costs nothing but time.
    """
    commits: dict[int, str] = {}
    told: dict[int, str] = {}
    while True:
        for number in numbers:
            if number in commits:
                continue
            diff = client.mapping(server.get(f"/api/diffs/{number}"), f"/api/diffs/{number}")
            state = client.text_of(diff, "state", f"/api/diffs/{number}")
            if told.get(number) != state and not quiet:
                note(f"D{number} {state}")
            told[number] = state
            if state == "landed":
                commits[number] = client.text_of(diff, "landed", f"/api/diffs/{number}")
                if not quiet:
                    say(f"landed D{number}  {server.url}/commits/{commits[number]}")
            elif state not in ("queued", "landing"):
                raise _refused(server, number, diff, state)
        if len(commits) == len(numbers):
            return commits
        left = until - time.monotonic()
        if left <= 0:
            waiting = ", ".join(f"D{n} ({told[n]})" for n in numbers if n not in commits)
            raise WorkFailed(
                f"still waiting for {waiting}",
                where=f"{server.url}/queue",
                remedy="they stay in the queue; look there, or wait longer with --timeout SECONDS",
            )
        after = _wait_for_event(server, after, max(1, min(POLL, int(left))))


def _wait_for_event(server: client.Client, after: int, seconds: int) -> int:
    """Wait until something happened after event `after`, or that many seconds; the newest event's number."""
    rows = client.listing(server.get("/api/events", after=after, wait=seconds), "/api/events")
    return max((client.number_of(row, "seq", "/api/events") for row in rows), default=after)


def _last_notice(diff: client.Json) -> client.Json:
    """What the server last said on the diff by itself, as data; {} if it said nothing."""
    posts = client.listing(diff.get("posts"), "posts")
    told = [post.get("data") for post in posts if post.get("kind") == "notice"]
    return client.mapping(told[-1], "posts") if told else {}


def _refused(server: client.Client, number: int, diff: client.Json, state: str) -> WorkFailed:
    """Why the diff left the queue without landing: the reasons, then the end of the failing test's log."""
    notice = _last_notice(diff)
    lines = list(client.missing_lines(notice.get("reasons")))
    log = notice.get("log")
    if isinstance(log, str) and log:
        text = server.text(f"/api/logs/{log}").decode("utf-8", "replace")
        label = notice.get("label")
        lines += [f"the end of the log{f' of {label}' if label else ''}:"]
        lines += [f"  {_plain(line)}" for line in text.rstrip().split("\n")[-LAST_LINES:]]
    where = f"{server.url}/logs/{log}" if log else f"{server.url}/D{number}"
    return WorkFailed(
        "\n".join([f"D{number} was not landed; as a diff it is {state.replace('_', ' ')}", *lines]),
        where=where,
        remedy=f"mend it, fairlead submit, and land it again; {server.url}/D{number} has the whole story",
    )


def _plain(line: str) -> str:
    """A line of somebody else's program without what a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in line)


def _verify(args: argparse.Namespace) -> int:
    """Hand over to the verifier, with the keys kept at login unless others are named."""
    if args.range is None or args.stack or args.wait or args.cancel:
        raise UsageError(
            "verify takes a range and no option of landing", remedy="fairlead land verify A..B [--keys FILE]"
        )
    repo = client.here()
    if repo is None:
        raise UsageError(
            "this folder is not inside a git work tree", remedy="run it in a clone of the repository"
        )
    server = client.known(args.server, repo)
    keys = args.keys
    if keys is None:
        keys = credentials.keys_file(server.url) if server is not None else None
        if keys is None or not keys.exists():
            raise UsageError(
                "the public keys to believe are not known on this machine",
                where=str(keys or ""),
                remedy="log in to the server once, or name a file you trust with --keys FILE",
            )
    if server is not None and server.login is not None:
        _fetch_evidence(server, repo)
    demand = verify_landing.demanded(args)
    return verify_landing.run(repo, args.range, keys, as_json=args.json, demand=demand)


def _fetch_evidence(server: client.Client, repo: Repo) -> None:
    """Bring the server's evidence ref into the clone. It only ever grows, so it is not forced.

    A failure is a note: what the clone has already may be enough, and the verifier says so if not.
    """
    from fairlead.ship.evidence import REF

    try:
        url = server.git_url(client.repository(server, repo)[0])
    except FairleadError as error:
        note(f"no evidence was fetched from {server.url}: {error.what}")
        return
    options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
    done = repo.run("fetch", *options, url, f"{REF}:{REF}", env=server.git_environment(), check=False)
    if done.code != 0:
        said = [line for line in done.err.splitlines() if line.strip()]
        note(f"no evidence was fetched from {url}: {said[-1].strip() if said else 'no reason given'}")
