"""The client's side of the HTTP API: which server, as whom, and calls that answer in known shapes.

Which server a verb talks to, first match wins: `--server`; the clone's `fairlead.url` (written by
the first `login` or `submit` inside it); the only server this person is logged in to.

Tokens go into HTTP headers. For git they go into an `http.<url>.extraHeader` set through
GIT_CONFIG_* variables of that one child process: never into an argument, an address, or a file of
the clone. A credential helper was the alternative; it costs a second process and a refused first
request on every push. It exists too (`fairlead git-credential`), for the git commands people type.
"""

from __future__ import annotations

import argparse
import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from fairlead import net
from fairlead.cli import credentials
from fairlead.errors import MachineryError, UsageError
from fairlead.git import Repo
from fairlead.net.request import refusal

Json = dict[str, object]


@dataclass(frozen=True)
class Client:
    """One server, called as one person (`login`), or as nobody where the API needs no one."""

    url: str
    login: credentials.Login | None = None

    def get(self, path: str, **query: str | int) -> object:
        """The JSON answer of GET `path` (which begins with /), with `query` appended."""
        suffix = f"?{urlencode(query)}" if query else ""
        return net.fetch_json("GET", f"{self.url}{path}{suffix}", token=self._token())

    def post(self, path: str, payload: Mapping[str, object]) -> Json:
        """The JSON object that answers POST `path`."""
        return mapping(
            net.fetch_json("POST", f"{self.url}{path}", token=self._token(), payload=payload), path
        )

    def text(self, path: str) -> bytes:
        """The plain body of GET `path`."""
        headers = {"Accept": "text/plain"}
        if self.login is not None:
            headers["Authorization"] = f"Bearer {self.login.token}"
        url = f"{self.url}{path}"
        answer = net.request("GET", url, headers=headers)
        if answer.status != 200:
            raise refusal(answer.status, answer.body, url, answer.headers)
        return answer.body

    def git_url(self, repo: str) -> str:
        """The address of the git repository `repo` on this server."""
        return f"{self.url}/git/{repo}"

    def git_environment(self) -> dict[str, str]:
        """Environment for a git child that talks to this server: the token, and no prompts."""
        if self.login is None:
            return {"GIT_TERMINAL_PROMPT": "0"}
        return git_environment(self.url, self.login.person, self.login.token)

    def _token(self) -> str | None:
        return None if self.login is None else self.login.token


def git_environment(url: str, name: str, token: str) -> dict[str, str]:
    """GIT_* variables that let one git process use `token` at `url` and nowhere else.

    Other helpers are switched off for that address, so that git stores and asks nothing; redirects
    are not followed, since the header would follow them.
    """
    basic = base64.b64encode(f"{name}:{token}".encode()).decode()
    settings = {
        f"http.{url}/.extraHeader": f"Authorization: Basic {basic}",
        f"http.{url}/.followRedirects": "false",
        f"credential.{url}.helper": "",
    }
    environment = {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_COUNT": str(len(settings))}
    for place, (key, value) in enumerate(settings.items()):
        environment[f"GIT_CONFIG_KEY_{place}"] = key
        environment[f"GIT_CONFIG_VALUE_{place}"] = value
    return environment


def add_server_option(parser: argparse.ArgumentParser) -> None:
    """The option by which every client verb names its server."""
    parser.add_argument("--server", metavar="URL", help="the server; default: the one this clone remembers")


def connect(server: str | None, repo: Repo | None) -> Client:
    """The client for `server`, or for the one that `repo` remembers, or for the only one known.

    A server that nobody on this machine is logged in to is an error that names the command.
    """
    found = known(server, repo)
    if found is None:
        logins = ", ".join(sorted(credentials.load()))
        if not logins:
            raise UsageError(
                "no server is known", remedy="fairlead login --invite LINK, or fairlead login URL --name NAME"
            )
        raise UsageError(
            "this clone does not say which server it uses",
            where=f"logged in to {logins}",
            remedy="add --server URL; fairlead submit remembers it",
        )
    if found.login is None:
        raise UsageError(
            f"you are not logged in to {found.url}",
            remedy=f"fairlead login {found.url} --name NAME, or fairlead login --invite LINK",
        )
    return found


def known(server: str | None, repo: Repo | None) -> Client | None:
    """The same without errors: None if no server is meant, no login if there is none."""
    logins = credentials.load()
    url = credentials.address(server) if server else _remembered(repo)
    if url is None and len(logins) == 1:
        url = next(iter(logins))
    return None if url is None else Client(url, logins.get(url))


def remember(repo: Repo, url: str) -> None:
    """Make `url` the server of this clone."""
    if _remembered(repo) != url:
        repo.run("config", "--local", "fairlead.url", url)


def repository(server: Client, repo: Repo, wanted: str | None = None) -> tuple[str, str]:
    """The repository that this clone is of, by its name on the server, and its trunk.

    It is the one that was named, or that the clone remembers, or the server's only one.
    """
    trunks = {
        text_of(row, "name", "/api/repos"): text_of(row, "trunk", "/api/repos")
        for row in listing(server.get("/api/repos"), "/api/repos")
    }
    remembered = repo.run("config", "--get", "fairlead.repo", check=False).text
    name = wanted or remembered or (next(iter(trunks)) if len(trunks) == 1 else "main")
    if name not in trunks:
        raise UsageError(
            f"the server has no repository {name!r}",
            where=server.url,
            remedy=f"choose one with --repo: {', '.join(sorted(trunks)) or 'there is none yet'}",
        )
    if name != remembered:
        repo.run("config", "--local", "fairlead.repo", name)
    return name, trunks[name]


def here() -> Repo | None:
    """The repository around the current folder, or None outside of one."""
    from pathlib import Path

    try:
        return Repo.discover(Path.cwd())
    except UsageError:
        return None


def _remembered(repo: Repo | None) -> str | None:
    if repo is None:
        return None
    found = repo.run("config", "--get", "fairlead.url", check=False)
    text = found.out.decode(errors="replace").strip()
    return credentials.address(text) if found.code == 0 and text else None


def mapping(value: object, where: str) -> Json:
    """`value` as a JSON object; MachineryError naming `where` if the server answered something else."""
    if not isinstance(value, dict):
        raise _unexpected(where)
    return value


def listing(value: object, where: str) -> list[Json]:
    """`value` as a list of JSON objects."""
    if not isinstance(value, list):
        raise _unexpected(where)
    return [mapping(entry, where) for entry in value]


def text_of(answer: Json, name: str, where: str) -> str:
    """The string called `name` in `answer`."""
    value = answer.get(name)
    if not isinstance(value, str):
        raise _unexpected(f"{where}: {name}")
    return value


def number_of(answer: Json, name: str, where: str) -> int:
    """The whole number called `name` in `answer`."""
    value = answer.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _unexpected(f"{where}: {name}")
    return value


def diff_number(text: str) -> int:
    """The number of a diff written as D12, d12 or 12."""
    digits = text[1:] if text[:1] in ("D", "d") else text
    if not digits.isascii() or not digits.isdecimal() or int(digits) == 0 or len(digits) > 12:
        raise UsageError(
            f"{text!r} is not a diff", remedy="write it as D12; fairlead submit prints the names"
        )
    return int(digits)


def missing_lines(reasons: object) -> Iterator[str]:
    """What a diff still lacks, one line a reason, from the `missing` list of the API."""
    for reason in reasons if isinstance(reasons, list) else []:
        if isinstance(reason, dict):
            subject, text = reason.get("subject"), reason.get("text")
            yield f"{text} ({subject})" if subject and str(subject) not in str(text) else str(text)


def _unexpected(where: str) -> MachineryError:
    return MachineryError(
        "the server's answer is not one this client understands",
        where=where,
        remedy="check that the address is a Fairlead server, and that both sides have the same version",
    )
