"""Large files from the web into an open file: tried again, resumed, limited in size.

A transfer that breaks off is resumed with a Range request, but only under `If-Range` with the validator the
first answer carried: without one, two versions of a file could be glued together. `file:` addresses are
read from the disk, as curl does.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from fairlead.errors import FairleadError, MachineryError, UsageError
from fairlead.net import netrc, retry
from fairlead.net import url as urls
from fairlead.net.request import Broken, Incoming, basic, exchange, refusal

CHUNK = 1024 * 1024


class TooLarge(UsageError):
    """The file is longer than the caller allowed; nothing is gained by trying again."""


def download(
    url: str,
    out: BinaryIO,
    *,
    limit: int | None,
    headers: Mapping[str, str] | None = None,
    on_bytes: Callable[[int], None] | None = None,
    on_wait: Callable[[float, str], None] | None = None,
    attempts: int = 4,
    timeout: float = 30.0,
) -> None:
    """Write the bytes at `url` to `out`, a seekable file, from its present position on.

    `limit` is the most bytes accepted: the transfer stops as soon as it is exceeded. `on_bytes` hears the
    count of bytes held so far (it falls when a transfer starts afresh); `on_wait` hears the seconds and the
    reason before a pause. Redirects may lead from https to http, because callers check a digest.
    """
    if urlsplit(url).scheme.lower() == "file":
        _copy_file(url, out, limit, on_bytes)
        return
    fields = dict(headers or {})
    problem = ""
    target = urls.parse(url)
    if target.user is None and not any(name.lower() == "authorization" for name in fields):
        found = netrc.find(target.host)
        problem = found.problem
        if found.user is not None:
            fields["Authorization"] = basic(found.user, found.password)
    transfer = _Transfer(out, limit, on_bytes)
    waited = 0.0
    for attempt in range(1, attempts + 1):
        asked: float | None = None
        try:
            asking = {**fields, **transfer.range()}
            with exchange("GET", url, headers=asking, timeout=timeout, downgrade=True) as got:
                if got.status in (200, 206):
                    transfer.take(got)
                    return
                if got.status == 416:
                    transfer.restart()
                error: FairleadError = _refused(got, url, problem)
                if got.status not in retry.STATUSES and got.status != 416:
                    raise error
                asked = retry.parse_retry_after(got.headers.get("Retry-After"), time.time())
        except Broken as broken:
            error = broken
        pause = retry.delay(attempt, random.random(), asked)
        if attempt == attempts or waited + pause > retry.PATIENCE:
            raise error
        if on_wait is not None:
            on_wait(pause, error.what)
        time.sleep(pause)
        waited += pause


class _Transfer:
    """What is held of a file so far, and what a further answer may add to it."""

    def __init__(self, out: BinaryIO, limit: int | None, on_bytes: Callable[[int], None] | None) -> None:
        self.out, self.limit, self.on_bytes = out, limit, on_bytes
        self.start = out.tell()
        self.held = 0
        self.validator = ""

    def range(self) -> dict[str, str]:
        """The headers that ask for the rest, when something is held and can be continued safely."""
        if not self.held or not self.validator:
            return {}
        return {"Range": f"bytes={self.held}-", "If-Range": self.validator}

    def restart(self) -> None:
        self.out.seek(self.start)
        self.out.truncate()
        self.held, self.validator = 0, ""

    def take(self, got: Incoming) -> None:
        """Append the body of an answer, first checking that it continues what is held."""
        if got.status == 206:
            if not self.held or not got.headers.get("Content-Range", "").startswith(f"bytes {self.held}-"):
                self.restart()
                raise Broken("the server sent another part than the one asked for", where=str(got.url))
        else:
            self.restart()
            tag = got.headers.get("ETag", "")
            self.validator = tag if tag.startswith('"') else got.headers.get("Last-Modified", "")
        if got.length is not None:
            self._check(self.held + got.length, got)
        buffer = memoryview(bytearray(CHUNK))
        while count := got.readinto(buffer):
            self._check(self.held + count, got)
            self.out.write(buffer[:count])
            self.held += count
            if self.on_bytes is not None:
                self.on_bytes(self.held)

    def _check(self, size: int, got: Incoming) -> None:
        if self.limit is not None and size > self.limit:
            raise TooLarge(f"the file is larger than the {self.limit} bytes expected", where=str(got.url))


def _refused(got: Incoming, url: str, problem: str) -> FairleadError:
    error = refusal(got.status, b"", url, got.headers)
    if got.status in (401, 403, 404) and problem:
        error.remedy = f"mend the login file: {problem}"
    elif got.status in (401, 403):
        error.remedy = f"give a login for {got.url.host} in ~/.netrc, or check the one that is there"
    elif got.status in (404, 410):
        error.remedy = "check that the address is right and the file is still published"
    return error


def _copy_file(url: str, out: BinaryIO, limit: int | None, on_bytes: Callable[[int], None] | None) -> None:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise UsageError("a file: address names another host", where=url, remedy="write file:///path")
    held = 0
    try:
        with open(unquote(parts.path), "rb") as source:
            while chunk := source.read(CHUNK):
                held += len(chunk)
                if limit is not None and held > limit:
                    raise TooLarge(f"the file is larger than the {limit} bytes expected", where=url)
                out.write(chunk)
                if on_bytes is not None:
                    on_bytes(held)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise MachineryError(f"the file cannot be copied: {reason}", where=url) from None
