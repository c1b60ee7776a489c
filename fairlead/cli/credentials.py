"""A person's tokens: one file in the user's state folder, mode 0600, keyed by server address.

A keyring was considered and turned down: containers and CI have none, and this file would be
needed there anyway. What protects it is what protects an SSH key: nobody else may read it. With
looser permissions it is refused, as ssh does, since by then others may know the token.

The server's public keys are kept beside it, one `allowed_signers` file a server, so that
`fairlead land verify` need not ask the server whom to believe.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from fairlead import config
from fairlead.errors import MachineryError, UsageError
from fairlead.net import redact
from fairlead.store import atomic, digest, lock

FORMAT = 1
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Login:
    """One person's access to one server: the address, the name the server knows them by, the token."""

    url: str
    person: str
    token: str

    def __repr__(self) -> str:
        """Without the token: a login may end up in a log or a failed assertion."""
        return f"Login(url={self.url!r}, person={self.person!r})"


def address(url: str) -> str:
    """The canonical address of a server, which is the key of everything stored about it.

    Scheme and host in lower case, no default port, no trailing slash. A name or password in the address is
    refused: such addresses end up in shell histories and in `ps`.
    """
    parts = urlsplit(url.strip())
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise UsageError(
            f"{redact(url)!r} is not the address of a server",
            remedy="write it as http://HOST:PORT or https://HOST",
        )
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            "an address may not carry a name or a password",
            where=redact(url),
            remedy="give the token on standard input: fairlead login URL --token-stdin",
        )
    if parts.query or parts.fragment:
        raise UsageError(
            "an address of a server ends with its path", where=url, remedy="leave out what follows ? or #"
        )
    try:
        port = parts.port
    except ValueError:
        raise UsageError(
            "the port of the address is not a number up to 65535",
            where=url,
            remedy="write it as http://HOST:PORT",
        ) from None
    host = parts.hostname.lower()
    if ":" in host:
        host = f"[{host}]"
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        host = f"{host}:{port}"
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


def file() -> Path:
    """Where the tokens are kept."""
    return config.user_state_dir() / "logins.json"


def keys_file(url: str) -> Path:
    """Where the public keys of the server at canonical address `url` are kept, in allowed_signers format."""
    return config.user_state_dir() / "servers" / f"{digest.of_bytes(url.encode())[:20]}.allowed_signers"


def load() -> dict[str, Login]:
    """All logins by address. A damaged file, or one that others may read, is a UsageError."""
    path = file()
    try:
        with open(path, "rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            data = opened.read()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise MachineryError(
            f"the file of logins cannot be read: {error.strerror}", where=str(path), remedy="check its owner"
        ) from None
    if mode & 0o077:
        raise UsageError(
            f"the file of logins may be read by others (mode {mode:o})",
            where=str(path),
            remedy=f"chmod 600 {path}, and make new tokens if others use this machine",
        )
    try:
        document = json.loads(data)
        if document["format"] != FORMAT:
            raise ValueError
        return {
            str(url): Login(str(url), str(entry["person"]), str(entry["token"]))
            for url, entry in document["logins"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(
            "the file of logins is damaged or of another version",
            where=str(path),
            remedy="move it away and log in again",
        ) from None


def find(url: str) -> Login | None:
    """The login stored for canonical address `url`."""
    return load().get(url)


def save(login: Login) -> None:
    """Remember `login`, replacing an earlier one of the same server; durable when this returns."""
    with _exclusive():
        _write({**load(), login.url: login})


def forget(url: str) -> bool:
    """Drop the login of `url`; whether there was one."""
    with _exclusive():
        known = load()
        if url not in known:
            return False
        del known[url]
        _write(known)
        return True


def _exclusive() -> AbstractContextManager[None]:
    folder = file().parent
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return lock.hold(folder / "logins.lock")


def _write(logins: dict[str, Login]) -> None:
    document = {
        "format": FORMAT,
        "logins": {
            url: {"person": entry.person, "token": entry.token} for url, entry in sorted(logins.items())
        },
    }
    atomic.write(file(), json.dumps(document, indent=1).encode() + b"\n", mode=0o600, durable=True)
