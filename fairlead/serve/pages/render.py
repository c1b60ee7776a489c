"""Templates and static files: one Jinja environment, its few filters, and addresses that never go stale.

Autoescape is on for every template and undefined names are errors, so a typo cannot become an empty page.
A static file's address carries a digest of its bytes; browsers may keep such an answer for a year.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import jinja2
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from fairlead.serve.highlight import plain, shown
from fairlead.serve.views import Shell

_HERE = Path(__file__).resolve().parent.parent
_STATIC = _HERE / "static"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

# Everything comes from here: no inline script or style, no frame, no form that posts elsewhere.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


@cache
def _files() -> Mapping[str, tuple[bytes, str]]:
    """name -> (bytes, short digest) of every static file."""
    found = {}
    for path in sorted(_STATIC.iterdir()):
        if path.suffix in _TYPES:
            data = path.read_bytes()
            found[path.name] = (data, hashlib.sha256(data).hexdigest()[:10])
    return found


@cache
def _address(name: str) -> str:
    return f"/static/{name}?{_files()[name][1]}"


async def static(request: Request) -> Response:
    """One static file.  Only names that exist in the folder are known, so no path can lead out of it."""
    name = str(request.path_params["name"])
    if name not in _files():
        raise HTTPException(404)
    data, digest = _files()[name]
    fresh = request.url.query == digest
    return Response(
        data,
        media_type=_TYPES[Path(name).suffix],
        headers={
            "cache-control": "public, max-age=31536000, immutable" if fresh else "no-cache",
            "x-content-type-options": "nosniff",
            "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        },
    )


def ago(at: float) -> str:
    """How long ago, as people say it; the exact moment is in the element's title."""
    seconds = max(0, int(time.time() - at))
    if seconds < 45:
        return "just now"
    if seconds < 3570:
        return f"{max(1, round(seconds / 60))} min ago"
    if seconds < 22 * 3600:
        return f"{max(1, round(seconds / 3600))} h ago"
    if seconds < 6.5 * 86400:
        days = max(1, round(seconds / 86400))
        return "yesterday" if days == 1 else f"{days} days ago"
    return time.strftime("%-d %b %Y", time.gmtime(at))


def iso(at: float) -> str:
    """A moment for machines."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def moment(at: float) -> str:
    """A moment for people, to the minute."""
    return time.strftime("%-d %b %Y, %H:%M UTC", time.gmtime(at))


def size(count: int) -> str:
    """Bytes for people."""
    amount = float(count)
    for unit in ("bytes", "KB", "MB"):
        if amount < 1000:
            return f"{int(amount)} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


@cache
def environment() -> jinja2.Environment:
    """The one environment; templates are compiled at first use and kept."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(ago=ago, iso=iso, moment=moment, size=size, shown=shown, plain=plain)
    made.globals["static"] = _address
    return made


def html(template: str, shell: Shell, page: object = None) -> str:
    """A whole page as text."""
    return environment().get_template(template).render(shell=shell, page=page)


def page(template: str, shell: Shell, view: object = None, *, status: int = 200) -> HTMLResponse:
    """A whole page as an answer, never kept by a cache because it is one viewer's."""
    body = html(template, shell, view).encode("utf-8", "replace")
    return HTMLResponse(body, status, headers={**HEADERS, "cache-control": "no-store"})
