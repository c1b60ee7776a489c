"""Sign in to a server from this machine.

With an invitation link (made by `fairlead people invite`): makes your account and logs in.
With an address: `--token-stdin` reads a token, or `--name NAME` makes a new token with your password.
The token is kept in your state folder (mode 0600), the server's public keys beside it. Inside a clone
this also makes the server the clone's, and lets plain git commands log in to it.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead.cli import client, credentials
from fairlead.cli.terminal import note, say
from fairlead.errors import UsageError
from fairlead.git import Repo
from fairlead.store import atomic

if TYPE_CHECKING:
    from fairlead.keys.allowed import AllowedSigners

SCOPES = ("git", "api", "publish")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", nargs="?", help="the server's address, such as https://review.example.org")
    parser.add_argument("--invite", metavar="LINK", help="the invitation link you were given")
    parser.add_argument("--name", help="your name on the server")
    parser.add_argument("--token-stdin", action="store_true", help="read a token from standard input")
    parser.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    parser.add_argument(
        "--label", default="fairlead login", help="what the new token is called in your list of tokens"
    )
    parser.add_argument(
        "--accept-new-keys",
        action="store_true",
        help="accept that the server signs with another key than before",
    )
    parser.add_argument("--logout", action="store_true", help="forget the token for the server instead")


def run(args: argparse.Namespace) -> int:
    if args.logout:
        return _logout(args)
    if args.invite:
        if args.url or args.token_stdin:
            raise UsageError("an invitation link is all it takes", remedy="fairlead login --invite LINK")
        login = _accept(args)
    elif not args.url:
        raise UsageError(
            "which server?", remedy="fairlead login --invite LINK, or fairlead login URL --token-stdin"
        )
    elif args.token_stdin:
        login = _with_token(args)
    elif args.name:
        login = _with_password(args)
    else:
        raise UsageError(
            "a token or a name?", remedy=f"fairlead login {args.url} --token-stdin, or --name NAME"
        )
    keys = _public_keys(login.url, accept=args.accept_new_keys)
    credentials.save(login)
    repo = client.here()
    if repo is not None:
        client.remember(repo, login.url)
        let_git_log_in(repo, login.url)
    if login.url.startswith("http://") and not _loopback(login.url):
        note(f"warning: {login.url} is not encrypted; others on the network can read your token")
    if args.json:
        say(
            json.dumps(
                {
                    "schema": "fairlead.login/1",
                    "server": login.url,
                    "person": login.person,
                    "keys": str(keys),
                    "clone": None if repo is None else str(repo.path),
                }
            )
        )
    else:
        say(f"logged in to {login.url} as {login.person}")
    return 0


def let_git_log_in(repo: Repo, url: str) -> None:
    """Make `fairlead git-credential` the one credential helper that this clone asks for `url`."""
    helper = (
        "!fairlead git-credential"
        if shutil.which("fairlead")
        else f"!{shlex.quote(sys.executable)} -m fairlead git-credential"
    )
    key = f"credential.{url}.helper"
    if repo.run("config", "--local", "--get-all", key, check=False).text.split("\n") == ["", helper]:
        return
    repo.run("config", "--local", "--replace-all", key, "")
    repo.run("config", "--local", "--add", key, helper)


def _accept(args: argparse.Namespace) -> credentials.Login:
    base, mark, code = args.invite.partition("/invite/")
    code = code.strip("/")
    if not mark or not code or "/" in code or "?" in code:
        raise UsageError("that is not an invitation link", remedy="it looks like https://HOST/invite/CODE")
    url = credentials.address(base)
    payload: dict[str, object] = {"password": _password(args, confirm=True)}
    if args.name:
        payload["name"] = args.name
    path = f"/api/invitations/{code}"
    answer = client.Client(url).post(path, payload)
    person, token = (client.text_of(answer, field, "/api/invitations") for field in ("person", "token"))
    return credentials.Login(url, person, token)


def _with_token(args: argparse.Namespace) -> credentials.Login:
    url = credentials.address(args.url)
    token = sys.stdin.readline().strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            "standard input holds no token",
            remedy=f"fairlead login {url} --token-stdin < FILE, with the token on its first line",
        )
    me = client.mapping(client.Client(url, credentials.Login(url, "", token)).get("/api/me"), "/api/me")
    return credentials.Login(url, client.text_of(me, "name", "/api/me"), token)


def _with_password(args: argparse.Namespace) -> credentials.Login:
    url = credentials.address(args.url)
    answer = client.Client(url).post(
        "/api/tokens",
        {"name": args.name, "password": _password(args), "scopes": list(SCOPES), "label": args.label},
    )
    return credentials.Login(url, args.name, client.text_of(answer, "token", "/api/tokens"))


def _logout(args: argparse.Namespace) -> int:
    if not args.url:
        raise UsageError("which server?", remedy="fairlead login URL --logout")
    url = credentials.address(args.url)
    known = credentials.forget(url)
    if args.json:
        say(json.dumps({"schema": "fairlead.login/1", "server": url, "forgotten": known}))
    else:
        say(f"forgot the token for {url}" if known else f"there was no token for {url}")
    return 0


def _password(args: argparse.Namespace, *, confirm: bool = False) -> str:
    """From standard input or, on a terminal, typed unseen; twice for a new account."""
    if args.password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise UsageError("standard input holds no password", remedy="write it on the first line")
        return password
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask for a password", remedy="add --password-stdin")
    import getpass

    password = getpass.getpass("Password: ")
    if confirm and getpass.getpass("Once more: ") != password:
        raise UsageError("the two passwords differ", remedy="run it again")
    return password


def _public_keys(url: str, *, accept: bool) -> Path:
    """Fetch and keep the server's public keys; a changed *server* key is refused unless accepted.

    Workers come and go, so their lines may change; the server's own key is what landings are checked
    with, and it changes only when its operator changes it.
    """
    from fairlead.keys.allowed import AllowedSigners

    path = credentials.keys_file(url)
    text = client.Client(url).text("/api/keys").decode("utf-8", "replace")
    now = _server_keys(AllowedSigners.parse(text, f"{url}/api/keys"))
    if path.exists() and not accept:
        before = _server_keys(AllowedSigners.parse(path.read_text(), str(path)))
        if before - now:
            raise UsageError(
                f"{url} signs with another key than when you first logged in",
                where=str(path),
                remedy="ask its operator; if the change is known, add --accept-new-keys",
            )
    atomic.write(path, text.encode(), mode=0o644, durable=True)
    return path


def _server_keys(signers: AllowedSigners) -> set[str]:
    return {entry.key.text() for entry in signers.entries if "server" in entry.principals}


def _loopback(url: str) -> bool:
    host = url.partition("://")[2].partition("/")[0]
    name = host if host.startswith("[") else host.partition(":")[0]
    return name == "localhost" or name.startswith(("127.", "[::1]"))
