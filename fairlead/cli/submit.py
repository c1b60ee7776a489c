"""Send the commits of your branch for review, one diff each, in one push.

Every commit between the trunk and HEAD becomes a diff, or a new version of the diff whose `Diff-Id`
trailer it carries. Missing trailers are added first: the commits are written again with the same
trees, authors and dates, and the branch moves to them; your files and index stay as they are.
Running it again is harmless: what did not change makes no new version.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass

from fairlead import git
from fairlead.cli import client, stack
from fairlead.cli.terminal import note, say, style
from fairlead.errors import FairleadError, MachineryError, UsageError, WorkFailed
from fairlead.git import Commit, Repo
from fairlead.store import crashpoint

AFTER_BRANCH = crashpoint.declare(
    "submit.after-branch", "the branch is at the commits with trailers; the server has heard nothing"
)
AFTER_PUSH = crashpoint.declare("submit.after-push", "the server has the diffs; nothing was printed")


@dataclass(frozen=True)
class Sent:
    """What became of one commit of the stack."""

    number: int
    version: int
    named: stack.Named
    state: str
    url: str


def configure(parser: argparse.ArgumentParser) -> None:
    client.add_server_option(parser)
    parser.add_argument(
        "--repo", help="the repository on the server; default: its only one, or what the clone remembers"
    )
    parser.add_argument(
        "--to", metavar="TRUNK", help="the branch to land on; default: the repository's trunk"
    )
    parser.add_argument("--draft", action="store_true", help="send as drafts: nobody is asked to review yet")
    parser.add_argument(
        "-m", "--note", metavar="TEXT", help="a sentence about this version, shown in the conversation"
    )
    parser.add_argument(
        "--dirty", action="store_true", help="submit although tracked files have changes not committed"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be sent, and send nothing")


def run(args: argparse.Namespace) -> int:
    git.require(stack.OLDEST_GIT, "fairlead submit")
    repo = _clone()
    server = client.connect(args.server, repo)
    where = stack.place(repo)
    if not args.dirty:
        stack.refuse_uncommitted(repo)
    name, trunk = _target(server, repo, args.repo, args.to)
    commits = stack.read(repo, _fetch_trunk(server, repo, name, trunk), where.tip)
    if args.dry_run:
        return _preview(server, trunk, stack.ids(commits), as_json=args.json)
    named = stack.give_ids(repo, commits)
    lost = stack.signed(repo, commits, named)
    moved = stack.move(repo, where, named[-1].commit)
    crashpoint.here(AFTER_BRANCH)
    if moved and not args.json:
        before = where.tip[:12]
        note(f"added Diff-Id trailers; {where.short} was at {before} (undo: git reset --soft {before})")
        for oid in lost:
            note(f"warning: {oid[:12]} was signed; its signature covered the old message and is gone")
    _push(server, repo, name, trunk, named[-1].commit, draft=args.draft, text=args.note)
    crashpoint.here(AFTER_PUSH)
    client.remember(repo, server.url)
    sent = [_sent(server, entry) for entry in named]
    if args.json:
        document = {
            "schema": "fairlead.submit/1",
            "server": server.url,
            "repo": name,
            "trunk": trunk,
            "branch": where.short,
            "before": where.tip,
            "after": named[-1].commit,
            "signatures_lost": lost,
            "diffs": [
                {
                    "diff": f"D{entry.number}",
                    "number": entry.number,
                    "version": entry.version,
                    "state": entry.state,
                    "diff_id": entry.named.diff_id,
                    "commit": entry.named.commit,
                    "subject": entry.named.subject,
                    "url": entry.url,
                }
                for entry in sent
            ],
        }
        say(json.dumps(document))
    else:
        for entry in sent:
            name_of = style(f"D{entry.number}", "bold")
            say(f"{name_of} v{entry.version}  {entry.named.subject}  {entry.url}")
    return 0


def _clone() -> Repo:
    repo = client.here()
    if repo is None:
        raise UsageError(
            "this folder is not inside a git work tree", remedy="run it in a clone of the repository"
        )
    return repo


def _target(server: client.Client, repo: Repo, wanted: str | None, trunk: str | None) -> tuple[str, str]:
    """The repository on the server and the branch to land on."""
    name, lands_on = client.repository(server, repo, wanted)
    if trunk is not None and trunk != lands_on:
        raise UsageError(
            f"changes to {name} land on {lands_on}, not on {trunk}",
            where=server.url,
            remedy=f"leave --to out, or write --to {lands_on}",
        )
    return name, lands_on


def _fetch_trunk(server: client.Client, repo: Repo, name: str, trunk: str) -> str:
    """The trunk's commit on the server, fetched into refs/remotes/fairlead/<trunk>.

    Asked anew each time: a stale copy would take landed commits for part of the stack.
    """
    here = f"refs/remotes/fairlead/{trunk}"
    url = server.git_url(name)
    quiet = (
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-recurse-submodules",
        "--no-auto-maintenance",
    )
    refs = f"+refs/heads/{trunk}:{here}"
    done = repo.run("fetch", *quiet, url, refs, env=server.git_environment(), check=False)
    if done.code == 0:
        return repo.rev(here)
    if "couldn't find remote ref" in done.err:
        raise UsageError(
            f"the trunk {trunk} of {name} is empty: there is nothing to review against",
            where=url,
            remedy=f"an administrator pushes its first commit: git push {url} COMMIT:refs/heads/{trunk}",
        )
    raise git_failure(done.err, url, "the trunk cannot be fetched")


def _push(
    server: client.Client, repo: Repo, name: str, trunk: str, tip: str, *, draft: bool, text: str | None
) -> None:
    """One push of the whole stack; what the server says against it becomes the error."""
    options = ["--push-option=draft"] if draft else []
    if text:
        options.append(f"--push-option=note={' '.join(text.split())}")
    url = server.git_url(name)
    plain = ("--porcelain", "--no-signed", "--no-follow-tags", "--recurse-submodules=no")
    refs = f"{tip}:refs/for/{trunk}"
    done = repo.run("push", *plain, *options, url, refs, env=server.git_environment(), check=False)
    if done.code != 0:
        raise git_failure(f"{done.err}\n{done.text}", url, "the push was refused")


def git_failure(said: str, url: str, what: str) -> FairleadError:
    """A failed fetch or push as an error: the server's words first, then git's, never the address's secrets.

    A server that refuses writes `error: ...`, `where: ...` and `what to do: ...` as `remote:` lines.
    """
    remote = [
        line.removeprefix("remote:").strip() for line in said.splitlines() if line.startswith("remote:")
    ]
    parts = {"error": "", "where": "", "what to do": ""}
    for line in remote:
        for name in parts:
            if line.startswith(f"{name}:") and not parts[name]:
                parts[name] = line.removeprefix(f"{name}:").strip()
    if parts["error"]:
        return WorkFailed(parts["error"], where=parts["where"] or url, remedy=parts["what to do"])
    if "Authentication failed" in said or "could not read Username" in said or "error: 401" in said:
        return UsageError(
            "the server does not accept your token", where=url, remedy="log in again: fairlead login"
        )
    refused = [line for line in said.splitlines() if line.startswith("!")]
    if refused:
        reason = refused[0].rpartition("(")[2].rstrip(")")
        return WorkFailed(f"{what}: {reason}", where=url, remedy="; ".join(line for line in remote if line))
    text = "; ".join(remote) or " ".join(line.strip() for line in said.splitlines() if line.strip())
    return MachineryError(
        f"{what}: {text}", where=url, remedy="check that the server runs, then submit again"
    )


def _sent(server: client.Client, named: stack.Named) -> Sent:
    """Ask the server what became of a commit, by its Diff-Id."""
    path = "/api/diffs"
    found = client.listing(server.get(path, diff_id=named.diff_id), path)
    if not found:
        raise MachineryError(
            f"the push was accepted, but the server knows no diff {named.diff_id}",
            where=server.url,
            remedy="run fairlead submit again; nothing is lost",
        )
    number, version = (client.number_of(found[0], field, path) for field in ("number", "latest"))
    return Sent(number, version, named, client.text_of(found[0], "state", path), f"{server.url}/D{number}")


def _preview(
    server: client.Client, trunk: str, commits: list[tuple[Commit, str | None]], *, as_json: bool
) -> int:
    if as_json:
        rows = [{"commit": c.oid, "diff_id": diff_id, "subject": c.subject} for c, diff_id in commits]
        document = {"schema": "fairlead.submit/1", "dry_run": True, "server": server.url, "trunk": trunk}
        say(json.dumps({**document, "commits": rows}))
    else:
        for commit, diff_id in commits:
            say(f"{commit.oid[:12]}  {commit.subject}  {diff_id or '(gets a Diff-Id)'}")
    return 0
