"""Answer git's questions for a name and password: `git help credentials`, the helper's side.

`fairlead login` inside a clone sets it as the credential helper for that one server, so that plain
`git fetch` and `git clone` work. It knows only servers this person logged in to, matches them by
scheme, host, port and path, and stores nothing: tokens come from `fairlead login` alone.
"""

from __future__ import annotations

import argparse
import sys

from fairlead.cli import credentials
from fairlead.cli.terminal import say
from fairlead.errors import FairleadError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", help="get, store or erase, as git says it")


def run(args: argparse.Namespace) -> int:
    asked = question(sys.stdin.read())
    login = find(asked) if args.action == "get" else None
    if login is not None:
        say(f"username={login.person}\npassword={login.token}")
    return 0


def question(text: str) -> dict[str, str]:
    """git's `key=value` lines up to the first empty one."""
    asked = {}
    for line in text.split("\n"):
        if not line:
            break
        key, _, value = line.partition("=")
        asked[key] = value
    return asked


def find(asked: dict[str, str]) -> credentials.Login | None:
    """The login whose server covers what git asks for; the one with the longest address wins.

    git sends a path only with `credential.useHttpPath`; without one, host and port decide.
    """
    if not asked.get("protocol") or not asked.get("host"):
        return None
    origin = f"{asked['protocol']}://{asked['host']}"
    try:
        wanted = credentials.address(f"{origin}/{asked['path']}" if asked.get("path") else origin)
    except FairleadError:
        return None
    wanted_path = bool(asked.get("path"))
    fitting = [
        login
        for url, login in credentials.load().items()
        if (wanted == url or wanted.startswith(f"{url}/"))
        or (not wanted_path and url.startswith(f"{wanted}/"))
    ]
    user = asked.get("username")
    fitting = [login for login in fitting if user in (None, "", login.person)]
    return max(fitting, key=lambda login: len(login.url), default=None)
