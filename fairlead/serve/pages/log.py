"""The page of a log: what a test wrote, with numbered lines that can be linked."""

from __future__ import annotations

import re

from starlette.responses import Response

from fairlead.serve import cleaning, views
from fairlead.serve.highlight import LONGEST_LINE, shown
from fairlead.serve.pages import render
from fairlead.serve.pages.change import CHUNK
from fairlead.serve.pages.site import Ask
from fairlead.serve.reply import NotFound

MOST = 5000  # lines shown, the last ones, because that is where a failure is told
_DIGEST = re.compile(r"[0-9a-f]{64}")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def show(ask: Ask) -> Response:
    """The end of a log as a page, or with `?raw=1` all of it as plain text."""
    digest = ask.path["digest"]
    if not _DIGEST.fullmatch(digest) or not ask.state.logs.has(digest):
        raise NotFound(
            "there is no such log",
            where=digest[:64],
            remedy=cleaning.remedy(ask.state),
        )
    data = ask.state.logs.get(digest)
    if ask.query.get("raw"):
        return Response(
            data,
            media_type="text/plain; charset=utf-8",
            headers={**render.HEADERS, "content-security-policy": "default-src 'none'; sandbox"},
        )
    return render.page("log.html", ask.shell(f"Log {digest[:12]}"), page(digest, data))


def page(digest: str, data: bytes) -> views.LogPage:
    """A log as a view.  Colours of terminals are dropped; every other hidden character is shown."""
    text = data.decode("utf-8", "surrogateescape")
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    cut = max(0, len(lines) - MOST)
    rows = [
        (number, shown(_short(_COLOUR.sub("", line.rstrip("\r")))))
        for number, line in enumerate(lines[cut:], cut + 1)
    ]
    chunks = tuple(tuple(rows[i : i + CHUNK]) for i in range(0, len(rows), CHUNK))
    return views.LogPage(digest, chunks, len(data), len(lines), cut)


def _short(line: str) -> str:
    more = len(line) - LONGEST_LINE
    return line if more <= 0 else f"{line[:LONGEST_LINE]} ({more} more characters)"
