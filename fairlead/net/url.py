"""Addresses of the web: parsed once, and never printed with their secrets.

A URL may carry a password before the host, or a signature in its query. `str(Url)` and `redact` leave
both out, and every error text of this room is made with them. Query *names* stay, because they help to
tell two addresses apart; all values go, because nobody can list which names are secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urljoin, urlsplit

from fairlead.errors import UsageError

PORTS = {"http": 80, "https": 443}
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_USERINFO = re.compile(r"(?<=//)[^/?#]*@")


@dataclass(frozen=True)
class Url:
    """An `http` or `https` address. `target` is the path and query as sent on the request line."""

    scheme: str
    host: str
    port: int
    target: str
    user: str | None = None
    password: str | None = None

    @property
    def origin(self) -> tuple[str, str, int]:
        """What credentials are bound to: scheme, host and port together."""
        return (self.scheme, self.host, self.port)

    @property
    def authority(self) -> str:
        """Host and port as written in a Host header; IPv6 in brackets, a default port left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def sent(self) -> str:
        """The whole address without credentials and fragment, query values included: for the wire only."""
        return f"{self.scheme}://{self.authority}{self.target}"

    def join(self, location: str) -> Url:
        """The address a `Location` header points at, seen from this one."""
        return parse(urljoin(self.sent, location))

    def __str__(self) -> str:
        return redact(self.sent)

    def __repr__(self) -> str:
        return f"Url({str(self)!r})"


def parse(text: str) -> Url:
    """Parse an absolute `http(s)` address; anything else is a UsageError that names it without secrets."""
    if _FORBIDDEN.search(text):
        raise UsageError(
            "the address has a blank, a backslash or a control character in it",
            where=redact(text),
            remedy="write such characters percent-encoded, for example %20 for a blank",
        )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"the address cannot be read: {error}", where=redact(text)) from None
    scheme = parts.scheme.lower()
    if scheme not in PORTS:
        raise UsageError(
            f"the address has the scheme `{scheme}`, which is not supported here"
            if scheme
            else "the address has no scheme",
            where=redact(text),
            remedy="use an address that begins with https:// or http://",
        )
    if not parts.hostname:
        raise UsageError("the address names no host", where=redact(text))
    target = quote(parts.path or "/", safe="/:@!$&'()*+,;=-._~%")
    if parts.query:
        target += "?" + quote(parts.query, safe="/:@!$&'()*+,;=-._~%?[]{}|^`")
    return Url(
        scheme=scheme,
        host=parts.hostname,
        port=PORTS[scheme] if port is None else port,
        target=target,
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
    )


def redact(text: str) -> str:
    """The address as it may be printed: no user, no password, no query values, no fragment. Never fails."""
    text = _USERINFO.sub("", text.partition("#")[0])
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    path, mark, query = text.partition("?")
    if not mark:
        return path
    names = [part.partition("=")[0] + "=…" if "=" in part else "…" for part in query.split("&")]
    return f"{path}?{'&'.join(names)}"
