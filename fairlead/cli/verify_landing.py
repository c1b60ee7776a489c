"""`fairlead land verify A..B`: check the evidence of landed commits with git and public keys alone.

Joins three rooms for a person: facts from git, who may sign from a file in allowed_signers format, the
questions from `ship.verify`. No server is asked what to believe. Evidence that this clone lacks is fetched
as a git ref from the remote that holds the trunk; it is worth no more for coming from there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead import config
from fairlead.cli.terminal import note, say, style
from fairlead.errors import FairleadError, MachineryError, UsageError
from fairlead.git import Commit, Repo

if TYPE_CHECKING:
    from fairlead.ship.values import Settings
    from fairlead.ship.verify import Facts, Report


def configure(parser: argparse.ArgumentParser) -> None:
    """The options that only `land verify` has, besides its range and --keys."""
    parser.add_argument(
        "--approvals", type=int, metavar="N", help="with verify: demand that N approvals were asked for"
    )
    parser.add_argument(
        "--enforcement",
        choices=("none", "landlock", "namespace"),
        help="with verify: demand that tests were kept to their declared inputs this well",
    )


def demanded(args: argparse.Namespace) -> Settings | None:
    """What the options of `configure` demand; None if they are not given."""
    from fairlead.ship.values import Settings

    if args.approvals is None and args.enforcement is None:
        return None
    if args.approvals is not None and args.approvals < 0:
        raise UsageError("--approvals is a number of people", remedy="give 0 or more")
    return Settings(
        approvals=args.approvals or 0, author_may_approve=True, enforcement=args.enforcement or "none"
    )


def run(repo: Repo, span: str, keys: Path, *, as_json: bool = False, demand: Settings | None = None) -> int:
    """Check each commit that the trunk gained in `span` (A..B); 0 if all have evidence that holds, else 1."""
    from fairlead.keys.allowed import AllowedSigners
    from fairlead.ship.verify import verify

    if ".." not in span or "..." in span or span.startswith("-"):
        raise UsageError(f"{span} is not a range of commits", remedy="write it as A..B, such as HEAD~3..HEAD")
    try:
        keyring = AllowedSigners.parse(keys.read_text("utf-8", "replace"), str(keys))
    except OSError as error:
        raise UsageError(
            f"the file of public keys cannot be read: {error.strerror}",
            where=str(keys),
            remedy="fetch it once from the server you trust: curl SERVER/api/keys > FILE",
        ) from None
    commits = repo.commits(span, first_parent=True)
    old, _, new = (end or "HEAD" for end in span.partition(".."))
    if not repo.is_ancestor(old, new):
        # git would list what `new` has beside `old`, often nothing at all, and nothing is not a good answer.
        swapped = (
            f"swap them: {new}..{old}" if repo.is_ancestor(new, old) else "name two commits of one trunk"
        )
        raise UsageError(f"{old} is not in the history of {new}", where=str(repo.path), remedy=swapped)
    envelopes = stored(repo, [commit.oid for commit in commits])
    reports = [
        verify(facts(repo, commit, envelopes.get(commit.oid)), envelopes.get(commit.oid), keyring, demand)
        for commit in commits
    ]
    if as_json:
        say(json.dumps(document(span, reports)))
    else:
        show(commits, reports)
    return 0 if all(report.good for report in reports) else 1


def stored(repo: Repo, commits: Iterable[str]) -> dict[str, bytes]:
    """The stored envelopes of these commits; the evidence ref is fetched if some are not here."""
    from fairlead.ship.evidence import REF

    wanted = list(commits)
    found = _read(repo, wanted)
    if len(found) < len(wanted):
        remote = config.load(repo.path).text("ship.remote")
        # Not forced: the chain only ever grows, so one that does not continue ours is not to be taken.
        done = repo.run("fetch", "--quiet", "--no-tags", remote, f"{REF}:{REF}", check=False)
        if done.code == 0:
            found = _read(repo, wanted)
        else:
            note(f"the newest evidence could not be fetched from {remote}: {_last_line(done.err)}")
    return found


def facts(repo: Repo, commit: Commit, envelope: bytes | None) -> Facts:
    """What git says of `commit`, and of the commits its evidence names."""
    from fairlead.ship import change, evidence
    from fairlead.ship.verify import Facts, Reviewed

    base = commit.parents[0] if commit.parents else None
    reviewed = {}
    if base is not None and envelope is not None:
        try:
            named = evidence.read(envelope).reviewed()
        except FairleadError:
            named = ()  # ship.verify says what is wrong with it
        for oid in named:
            parents = _parents(repo, oid)
            if parents is not None and len(parents) == 1:
                reviewed[oid] = Reviewed(
                    change=change.key(repo.changes(parents[0], oid)),
                    remerged=repo.merge_tree(base, oid, parents[0]).tree,
                )
    return Facts(
        commit=commit.oid,
        tree=commit.tree,
        parents=commit.parents,
        base_tree=repo.commit(base).tree if base else "",
        message=commit.message,
        change=change.key(repo.changes(base, commit.oid)) if base else "",
        reviewed=reviewed,
    )


def document(span: str, reports: Iterable[Report]) -> dict[str, object]:
    """The answer as JSON."""
    commits = []
    for report in reports:
        known = report.evidence
        commits.append(
            {
                "commit": report.commit,
                "good": report.good,
                "diff": known.diff if known else None,
                "version": known.version if known else None,
                "checks": [{"name": c.name, "good": c.good, "text": c.text} for c in report.checks],
            }
        )
    return {
        "schema": "fairlead.land/1",
        "range": span,
        "good": all(commit["good"] for commit in commits),
        "commits": commits,
    }


def show(commits: Iterable[Commit], reports: Iterable[Report]) -> None:
    """The answer for a person: per commit what was checked, faults marked."""
    bad = total = 0
    for commit, report in zip(commits, reports, strict=True):
        total, bad = total + 1, bad + (not report.good)
        mark = style("good", "green") if report.good else style("BAD ", "bold", "red")
        name = f"D{report.evidence.diff} v{report.evidence.version}" if report.evidence else "no diff"
        say(f"{mark} {report.commit[:12]} {name}: {commit.subject}")
        for check in report.checks:
            fault = "" if check.good else style("fault: ", "red")
            say(f"       {check.name:<10} {fault}{check.text}")
    if not total:
        say("no commits in that range")
    elif bad:
        say(f"{bad} of {total} landed commits lack evidence that holds")
    else:
        say(f"{total} of {total} landed commits have evidence that holds")


def _read(repo: Repo, commits: list[str]) -> dict[str, bytes]:
    from fairlead.ship.evidence import REF, path_of

    if repo.ref(REF) is None:
        return {}
    blobs = {entry.path: entry.oid for entry in repo.entries(REF, recursive=True) if entry.kind == "blob"}
    held = {commit: blobs[path_of(commit)] for commit in commits if path_of(commit) in blobs}
    contents = dict(repo.blobs(sorted(set(held.values()))))
    return {commit: contents[oid] for commit, oid in held.items()}


def _parents(repo: Repo, oid: str) -> tuple[str, ...] | None:
    """The parents of a commit, None if it or one of them is not in this repository."""
    try:
        parents = repo.commit(oid).parents
    except (UsageError, MachineryError):
        return None
    return parents if all(repo.has(parent) for parent in parents) else None


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason given"
