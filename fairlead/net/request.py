"""One HTTP exchange: by http.client, so that nothing but the standard library is loaded.

The price, agreed in the decisions, is that redirects, proxies and logins are ours: `exchange` does them for
`request` (small bodies, any status is an answer), `fetch_json` (our own servers' API: a refusal becomes the
error the server worded) and `download` (large bodies, retried). One connection an exchange: keeping them
open would buy little on top of long polls and large files, and cost a pool.

Credentials belong to one origin: a redirect to another drops them. A redirect from https to http is refused
unless the caller checks a digest.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

from fairlead import __version__
from fairlead.errors import FairleadError, MachineryError, UsageError, WorkFailed
from fairlead.net import proxy, trust
from fairlead.net import url as urls

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 20
LARGEST_BODY = 256 * 1024 * 1024  # bytes that `request` will hold in memory
AGENT = f"Mozilla/5.0 (compatible; Fairlead/{__version__})"


class Broken(MachineryError):
    """The connection could not be made or broke off; trying again may help."""


class Headers(Mapping[str, str]):
    """Header fields by name, upper and lower case alike; repeated fields are joined by a comma."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._fields: dict[str, str] = {}
        for name, value in pairs:
            known = self._fields.get(name.lower())
            self._fields[name.lower()] = value if known is None else f"{known}, {value}"

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


@dataclass(frozen=True)
class Response:
    """A whole answer. Any status counts as an answer; header names are matched in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Incoming:
    """An answer whose body is still on the wire. `length` is the declared size of the body, if any."""

    status: int
    headers: Headers
    url: urls.Url
    length: int | None
    readinto: Callable[[memoryview], int]


def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | BinaryIO | None = None,
    timeout: float = 30.0,
    limit: int = LARGEST_BODY,
) -> Response:
    """Send one request and read the whole answer, following redirects of GET and HEAD.

    `body` is bytes or a seekable binary file, sent from its position to its end. `timeout` is in seconds and
    counts each wait, not the sum. Raises MachineryError when there is no whole answer (`Broken` when trying
    again may help), UsageError for an address that cannot be used.
    """
    with exchange(method, url, headers=headers or {}, body=body, timeout=timeout) as incoming:
        if incoming.length is not None and incoming.length > limit:
            raise MachineryError(f"the answer is larger than {limit} bytes", where=str(incoming.url))
        data = bytearray()
        buffer = memoryview(bytearray(64 * 1024))
        while count := incoming.readinto(buffer):
            data += buffer[:count]
            if len(data) > limit:
                raise MachineryError(f"the answer is larger than {limit} bytes", where=str(incoming.url))
        return Response(incoming.status, incoming.headers, bytes(data))


def fetch_json(
    method: str, url: str, *, token: str | None = None, payload: object | None = None, timeout: float = 30.0
) -> object:
    """Call a JSON API and return the decoded answer (None for an empty one).

    `token` is sent as a bearer. An error answer becomes a FairleadError in the server's own words when its
    body is `{"what", "where", "remedy"}` (and optionally `exit`); otherwise a general one naming the status.
    """
    headers = {"Accept": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    body = None
    if payload is not None:
        # A path may have bytes that are no UTF-8; said in words it shows a mark there.
        body = json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace")
        headers["Content-Type"] = "application/json"
    answer = request(method, url, headers=headers, body=body, timeout=timeout)
    if not 200 <= answer.status < 300:
        raise refusal(answer.status, answer.body, url, answer.headers)
    if not answer.body:
        return None
    try:
        decoded: object = json.loads(answer.body)
    except ValueError:
        raise MachineryError(
            "the server's answer is not JSON",
            where=urls.redact(url),
            remedy="check that the address is that of a Fairlead server",
        ) from None
    return decoded


def refusal(status: int, body: bytes, url: str, headers: Mapping[str, str] | None = None) -> FairleadError:
    """The error that an answer with an error status stands for, in the server's words if it has any."""
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    wanted = told.get("exit") if isinstance(told, dict) else None
    kinds: dict[int, type[FairleadError]] = {1: WorkFailed, 2: UsageError, 3: MachineryError}
    kind = kinds.get(wanted) if isinstance(wanted, int) else None
    if kind is None:
        kind = MachineryError if status >= 500 else WorkFailed if status == 409 else UsageError
    if isinstance(told, dict) and isinstance(told.get("what"), str):
        where, remedy = told.get("where"), told.get("remedy")
        return kind(
            told["what"],
            where=where if isinstance(where, str) and where else urls.redact(url),
            remedy=remedy if isinstance(remedy, str) else "",
        )
    what = f"the server answered {status} {http.client.responses.get(status, '')}".rstrip()
    remedy = ""
    if 300 <= status < 400:
        what += f", pointing to {urls.redact((headers or {}).get('Location', 'nowhere'))}"
        remedy = "use the address it points to"
    elif status == 401:
        remedy = "log in with `fairlead login`"
    return kind(what, where=urls.redact(url), remedy=remedy)


@contextmanager
def exchange(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes | BinaryIO | None = None,
    timeout: float = 30.0,
    downgrade: bool = False,
) -> Iterator[Incoming]:
    """Send a request, follow redirects (GET and HEAD), and yield the answer with its body unread.

    `downgrade` allows a redirect from https to http: only for callers that check a digest.
    """
    target = urls.parse(url)
    fields = dict(headers)
    for _ in range(MOST_REDIRECTS + 1):
        connection = _connect(target, timeout)
        try:
            incoming = _send(connection, method, target, fields, body)
            location = incoming.headers.get("Location")
            if incoming.status not in REDIRECTS or method not in ("GET", "HEAD") or location is None:
                yield incoming
                return
        finally:
            connection.close()
        following = target.join(location)
        if target.scheme == "https" and following.scheme == "http" and not downgrade:
            raise MachineryError(
                f"a redirect leads from https to http: {following}",
                where=str(target),
                remedy="use the https address",
            )
        if following.origin != target.origin:
            fields = {k: v for k, v in fields.items() if k.lower() not in ("authorization", "cookie")}
        elif following.user is None:
            following = urls.Url(*following.origin, following.target, target.user, target.password)
        target = following
    raise MachineryError(f"more than {MOST_REDIRECTS} redirects in a row", where=urls.redact(url))


def _connect(target: urls.Url, timeout: float) -> http.client.HTTPConnection:
    via = proxy.choose(target)
    first = target if via is None else via
    if target.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            first.host, first.port, timeout=timeout, context=trust.context()
        )
        if via is not None:
            connection.set_tunnel(target.host, target.port, headers=_login(via, "Proxy-Authorization"))
    else:
        connection = http.client.HTTPConnection(first.host, first.port, timeout=timeout)
    return connection


def _login(url: urls.Url, field: str) -> dict[str, str]:
    if url.user is None:
        return {}
    return {field: basic(url.user, url.password or "")}


def basic(user: str, password: str) -> str:
    """The value of an Authorization header for HTTP Basic."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def _send(
    connection: http.client.HTTPConnection,
    method: str,
    target: urls.Url,
    headers: Mapping[str, str],
    body: bytes | BinaryIO | None,
) -> Incoming:
    fields = {"User-Agent": AGENT, "Connection": "close", **_login(target, "Authorization"), **headers}
    line = target.target
    if target.scheme == "http":
        via = proxy.choose(target)
        if via is not None:
            line = target.sent
            fields.update(_login(via, "Proxy-Authorization"))
    fields["Host"] = target.authority
    if body is None and method in ("POST", "PUT", "PATCH"):
        body = b""
    if body is not None:
        fields["Content-Length"] = str(_size(body))
    with _explained(target):
        connection.connect()
        # A server that refuses an upload may answer and close before it has read it all: the answer, if
        # there is one, says why.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, line, body=body, headers=fields)
        answer = connection.getresponse()
    length = answer.length if method != "HEAD" else 0
    remaining = length

    def readinto(buffer: memoryview) -> int:
        nonlocal remaining
        with _explained(target):
            count = answer.readinto(buffer) if method != "HEAD" else 0
        if remaining is not None:
            remaining -= count
            # http.client takes an early end of the connection for the end of the body.
            if not count and remaining > 0 and len(buffer):
                raise Broken(f"the connection ended {remaining} bytes early", where=str(target))
        return count

    return Incoming(answer.status, Headers(answer.getheaders()), target, length, readinto)


def _size(body: bytes | BinaryIO) -> int:
    if isinstance(body, bytes):
        return len(body)
    here = body.tell()
    size = body.seek(0, os.SEEK_END) - here
    body.seek(here)
    return size


@contextmanager
def _explained(target: urls.Url) -> Iterator[None]:
    """Turn every way in which a connection can fail into an error that says which host and what to do."""
    import socket

    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise MachineryError(
            f"the certificate of {target.host} is not trusted: {error.verify_message}",
            where=str(target),
            remedy="add the authority to the system's trusted certificates, or name it in SSL_CERT_FILE",
        ) from None
    except ssl.SSLError as error:
        raise Broken(f"the encrypted connection failed: {error.reason or error}", where=str(target)) from None
    except TimeoutError:
        raise Broken(f"{target.host} did not answer in time", where=str(target)) from None
    except socket.gaierror as error:
        raise MachineryError(
            f"the host {target.host} cannot be found: {error.strerror}",
            where=str(target),
            remedy="check the address and the network",
        ) from None
    except (http.client.InvalidURL, UnicodeError) as error:
        raise UsageError(f"the address cannot be used: {error}", where=str(target)) from None
    except http.client.HTTPException as error:
        raise Broken(
            f"the answer of {target.host} is broken off or not HTTP ({type(error).__name__} {error})",
            where=str(target),
        ) from None
    except OSError as error:
        # A proxy's refusal of a tunnel comes as a plain OSError with a text of its own.
        reason = error.strerror or str(error)
        raise Broken(
            f"no connection to {target.host}: {reason}",
            where=str(target),
            remedy="check the address, and whether the server is running",
        ) from None
