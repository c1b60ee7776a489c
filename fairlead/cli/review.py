"""Comment on a diff, accept it, ask for changes, or settle a thread.

`done --reply POST` marks the thread that begins with that post as settled, `reopen` takes that back; with
`-m` the words are added to the thread first.

The newest version is meant, unless `--version` names the one you read: if a newer one was submitted
meanwhile, your accept is for what you saw and the server says whether it carries over.
"""

from __future__ import annotations

import argparse
import json
import sys

from fairlead.cli import client
from fairlead.cli.terminal import say
from fairlead.errors import UsageError

THREAD_STATES = {"done": "done", "reopen": "open"}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("diff", help="the diff, such as D12")
    parser.add_argument(
        "action",
        choices=("comment", "accept", "request", "done", "reopen"),
        help="request asks for changes; done and reopen are about the thread of --reply",
    )
    parser.add_argument(
        "-m", "--message", metavar="TEXT", help="what you say; - reads it from standard input"
    )
    parser.add_argument(
        "--path", metavar="FILE", help="comment on a line of this file, relative to the repository"
    )
    parser.add_argument("--line", type=int, metavar="N", help="the line, from 1")
    parser.add_argument("--end", type=int, metavar="N", help="the last line, if you mean several")
    parser.add_argument(
        "--side", choices=("new", "old"), default="new", help="which side's line numbers; default: new"
    )
    parser.add_argument(
        "--must-fix", action="store_true", help="the diff may not land until this thread is settled"
    )
    parser.add_argument("--reply", metavar="POST", help="answer this post")
    parser.add_argument("--version", type=int, metavar="N", help="the version you read; default: the newest")
    client.add_server_option(parser)


def run(args: argparse.Namespace) -> int:
    number = client.diff_number(args.diff)
    body = sys.stdin.read() if args.message == "-" else (args.message or "")
    if args.action in THREAD_STATES:
        return _settle(args, number, body.strip())
    payload = post(args, body.strip())
    server = client.connect(args.server, client.here())
    return _send(args, server, number, payload)


def _settle(args: argparse.Namespace, number: int, body: str) -> int:
    """Mark a thread done or open, after saying something in it if asked."""
    if not args.reply or args.path or args.line or args.end or args.must_fix:
        raise UsageError(
            f"{args.action} is about one thread",
            where=f"fairlead review {args.diff} {args.action}",
            remedy="name the post it begins with: --reply POST; its address on the page ends in #p-POST",
        )
    server = client.connect(args.server, client.here())
    thread = args.reply.removeprefix("p-")
    if body:
        server.post(f"/api/diffs/{number}/posts", {"kind": "comment", "body": body, "parent": thread})
    state = THREAD_STATES[args.action]
    server.post(f"/api/posts/{thread}/thread", {"state": state})
    url = f"{server.url}/D{number}#p-{thread}"
    if args.json:
        fields = {"diff": number, "thread": thread, "state": state, "url": url}
        say(json.dumps({"schema": "fairlead.review/1", **fields}))
    else:
        say(f"{'settled' if state == 'done' else 'opened again'}: a thread of D{number}  {url}")
    return 0


def _send(args: argparse.Namespace, server: client.Client, number: int, payload: dict[str, object]) -> int:
    """Send a post to the version that was read, and say what was done."""
    if args.version is None:
        diff = client.mapping(server.get(f"/api/diffs/{number}"), f"/api/diffs/{number}")
        versions = client.listing(diff.get("versions"), f"/api/diffs/{number}")
        payload["version"] = max((client.number_of(v, "n", "versions") for v in versions), default=1)
    else:
        payload["version"] = args.version
    answer = server.post(f"/api/diffs/{number}/posts", payload)
    url = client.text_of(answer, "url", "posts")
    full = url if "://" in url else f"{server.url}{url}"
    if args.json:
        fields = {"diff": number, "version": payload["version"], "id": answer.get("id"), "url": full}
        say(json.dumps({"schema": "fairlead.review/1", **fields}))
    else:
        words = {"comment": "commented on", "accept": "accepted", "request": "asked for changes to"}
        say(f"{words[args.action]} D{number} v{payload['version']}  {full}")
    return 0


def post(args: argparse.Namespace, body: str) -> dict[str, object]:
    """The post that the words of the command ask for, without its version; UsageError if they do not fit."""
    if args.action != "accept" and not body:
        raise UsageError(
            "say something", where=f"fairlead review {args.diff} {args.action}", remedy="add -m TEXT"
        )
    placed = args.path is not None or args.line is not None or args.end is not None or args.must_fix
    if args.action != "comment":
        if placed or args.reply:
            raise UsageError(
                f"{args.action} is about the whole diff",
                where=f"fairlead review {args.diff} {args.action}",
                remedy="comment on lines first: fairlead review DIFF comment --path FILE --line N -m TEXT",
            )
        return {"kind": "review", "verdict": args.action, "body": body}
    payload: dict[str, object] = {"kind": "comment", "body": body}
    if args.reply:
        payload["parent"] = args.reply
    if not placed:
        return payload
    if args.path is None or args.line is None:
        raise UsageError(
            "a line needs its file, and a file its line", remedy="give both --path FILE and --line N"
        )
    end = args.line if args.end is None else args.end
    if args.line < 1 or end < args.line:
        raise UsageError(
            f"there is no span of lines {args.line} to {end}", remedy="lines count from 1, first to last"
        )
    payload |= {"kind": "inline", "path": args.path, "side": args.side, "line": args.line, "end": end}
    if args.must_fix:
        payload["must_fix"] = True
    return payload
