"""Published files: PUT and GET /a/<blake3>/<name>.

The address says what the bytes must be.  They are digested while they stream to a temp file; only a file
that fits its address, synced to disk, gets its name, and only then the record that answers GET.  A file is
never replaced.  Reading needs no account, because launchers have none: whoever knows the digest was given
it by someone who may publish.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path
from typing import BinaryIO

import blake3
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from fairlead.errors import UsageError
from fairlead.serve import auth
from fairlead.serve.records import artifacts, events
from fairlead.serve.records.values import Person
from fairlead.serve.reply import Forbidden, NotFound, NotSignedIn, TooLarge, refusal
from fairlead.serve.state import State
from fairlead.store import atomic, crashpoint

BEFORE_RENAME = crashpoint.declare("serve.artifact.before-rename", "a whole temp file; no artifact")
BEFORE_RECORD = crashpoint.declare(
    "serve.artifact.before-record", "the file has its name; GET does not know it"
)
AFTER_RECORD = crashpoint.declare("serve.artifact.after-record", "published; the person was not told")

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
_GATHER = 1 << 20  # bytes handed to the disk thread at a time


def path_of(state: State, digest: str) -> Path:
    """Where the bytes lie."""
    return state.data / "artifacts" / digest[:2] / digest


def sweep(state: State) -> None:
    """Remove what uploads that were cut off have left.  Called at start, when nobody uploads."""
    folder = state.data / "artifacts"
    if folder.is_dir():
        for path in folder.glob(".tmp-*"):
            path.unlink(missing_ok=True)


async def put(state: State, request: Request) -> Response:
    """Take a file."""
    try:
        digest, name = _address(request)
        person = await state.work(_publisher, state, request)
        temp, made = await _receive(state, request, digest)
        try:
            new = await state.work(_keep, state, temp, digest, name, made, person)
        finally:
            with contextlib.suppress(FileNotFoundError):
                temp.unlink()
    except Exception as error:
        return refusal(error)
    document = {"digest": digest, "name": name, "size": made, "url": f"{state.url}/a/{digest}/{name}"}
    return JSONResponse(document, 201 if new else 200)


def _address(request: Request) -> tuple[str, str]:
    digest, name = request.path_params["digest"], request.path_params["name"]
    if not _DIGEST.fullmatch(digest):
        raise UsageError(
            f"{digest!r} is not a BLAKE3 digest", remedy="it is 64 hexadecimal digits, lower case"
        )
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of an artifact", remedy="use letters, digits and . _ + -"
        )
    return digest, name


def _publisher(state: State, request: Request) -> Person:
    caller = auth.identify(state, request)
    if caller is None:
        raise NotSignedIn("publishing needs a token", remedy="run: fairlead login URL --name NAME")
    caller.require("publish")
    if caller.person is None:
        raise Forbidden("only people publish")
    return caller.person


async def _receive(state: State, request: Request, digest: str) -> tuple[Path, int]:
    """Stream the body to a temp file; its path and size, if it has the digest."""
    limit = state.limits.artifact
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    temp = state.data / "artifacts" / f".tmp-{secrets.token_hex(8)}"
    hasher = blake3.blake3()
    size = 0
    file = await state.work(_create, temp)
    try:
        with file:
            gathered = bytearray()
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                gathered += chunk
                if len(gathered) >= _GATHER:
                    await state.work(_append, file, temp, hasher, bytes(gathered))
                    gathered.clear()
            await state.work(_append, file, temp, hasher, bytes(gathered))
            await state.work(_sync, file, temp)
        if hasher.hexdigest() != digest:
            raise UsageError(
                f"the bytes have the digest {hasher.hexdigest()}",
                where=f"/a/{digest}",
                remedy="put them under their own digest; if it was right, the upload was damaged: try again",
            )
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temp.unlink()
        raise
    return temp, size


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"an artifact has at most {limit >> 20} MB here", remedy="publish something smaller")


def _create(temp: Path) -> BinaryIO:
    try:
        temp.parent.mkdir(exist_ok=True)
        return temp.open("xb", buffering=0)
    except OSError as error:
        raise atomic.failed(error, "write", temp) from error


def _append(file: BinaryIO, temp: Path, hasher: blake3.blake3, data: bytes) -> None:
    hasher.update(data)
    view = memoryview(data)
    try:
        while view:
            view = view[file.write(view) :]
    except OSError as error:
        raise atomic.failed(error, "write", temp) from error


def _sync(file: BinaryIO, temp: Path) -> None:
    try:
        os.fsync(file.fileno())
    except OSError as error:
        raise atomic.failed(error, "write", temp) from error


def _keep(state: State, temp: Path, digest: str, name: str, size: int, person: Person) -> bool:
    """Give the file its name and record it; False if it was published before."""
    path = path_of(state, digest)
    crashpoint.here(BEFORE_RENAME)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temp.chmod(0o444)
        os.replace(temp, path)
        atomic.sync_folder(path.parent)
        atomic.sync_folder(path.parent.parent)
    except OSError as error:
        raise atomic.failed(error, "write", path) from error
    crashpoint.here(BEFORE_RECORD)
    with state.records.write() as c:
        new = artifacts.add(c, digest=digest, name=name, size=size, person_id=person.id)
        if new:
            events.append(c, "artifact.published", {"digest": digest, "name": name})
    crashpoint.here(AFTER_RECORD)
    return new


async def get(state: State, request: Request) -> Response:
    """Give a file; ranges and HEAD are Starlette's."""
    try:
        digest, name = _address(request)
        found = await state.work(_find, state, digest, name)
    except Exception as error:
        return refusal(error)
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable",
        "Content-Disposition": f'attachment; filename="{name}"',
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
        "ETag": f'"{digest}"',
    }
    return FileResponse(found, headers=headers, media_type="application/octet-stream")


def _find(state: State, digest: str, name: str) -> Path:
    with state.records.read() as c:
        known = artifacts.get(c, digest, name)
    path = path_of(state, digest)
    if known is None or not path.is_file():
        raise NotFound("nothing is published there", where=f"/a/{digest}/{name}")
    return path
