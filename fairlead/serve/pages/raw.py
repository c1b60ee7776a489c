"""A file of a change as it is, for what the page of the diff does not show: binary files and large ones.

The bytes stream out of git, so that a file of a gigabyte costs the server neither memory nor one of its
threads while a slow reader takes it. They are other people's bytes on our address: never run, never guessed
at (`nosniff`, an empty policy, a sandbox without rights), and only text is shown by the browser itself.
"""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from urllib.parse import quote

import anyio
import anyio.to_thread
from starlette.responses import Response, StreamingResponse

from fairlead.git import Repo, command
from fairlead.serve import review
from fairlead.serve.pages import change, render
from fairlead.serve.pages.site import Ask, whole
from fairlead.serve.records import diffs
from fairlead.serve.reply import NotFound

_CHUNK = 256 << 10
_LOOKED_AT = 8000  # bytes; git calls a file binary if there is a NUL in these


def show(ask: Ask) -> Response:
    """The file that `key` names in a version, or with `?side=old` what it was before."""
    number, n = whole(ask.path["number"], "diff D"), whole(ask.path["n"], "version v")
    with ask.state.records.read() as c:
        diff = review.find(c, number)
        version = diffs.version_of(c, number, n)
    if version is None:
        raise NotFound(f"D{number} has no version {n}", remedy=f"it has versions 1 to {diff.latest}")
    repo = ask.state.repo(diff.repo)
    old = ask.query.get("side") == "old"
    file = next((f for f in change.files_of(repo, version) if change.key_of(f.path) == ask.path["key"]), None)
    blob = "" if file is None or file.submodule else file.old_blob if old else file.new_blob
    if file is None or not blob.strip("0"):
        raise NotFound(f"D{number} v{n} has no such file", remedy="follow a link from the page of the diff")
    path = file.old_path if old else file.new_path
    name = quote(path.rpartition("/")[2].encode("utf-8", "surrogateescape"))
    text = b"\0" not in _head(repo, blob)
    headers = {
        **render.HEADERS,
        "content-security-policy": "default-src 'none'; sandbox",
        "content-length": str(repo.sizes([blob])[blob]),
        "content-disposition": f"{'inline' if text else 'attachment'}; filename*=utf-8''{name}",
        "cache-control": "private, max-age=86400, immutable",
    }
    kind = "text/plain; charset=utf-8" if text else "application/octet-stream"
    return StreamingResponse(_bytes(repo, blob), headers=headers, media_type=kind)


def _start(repo: Repo, blob: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["git", "cat-file", "blob", blob],
        cwd=repo.path,
        env=command.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def _head(repo: Repo, blob: str) -> bytes:
    """The beginning of a blob."""
    with _start(repo, blob) as process:
        assert process.stdout is not None
        data = process.stdout.read(_LOOKED_AT)
        process.kill()
    return data


async def _bytes(repo: Repo, blob: str) -> AsyncIterator[bytes]:
    process = _start(repo, blob)
    assert process.stdout is not None
    try:
        while chunk := await anyio.to_thread.run_sync(process.stdout.read, _CHUNK):
            yield chunk
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
