"""SHA-256, the name of every blob and the body of every key (as in Remote Execution servers)."""

from __future__ import annotations

import hashlib
import re
from io import RawIOBase
from pathlib import Path

EMPTY = hashlib.sha256(b"").hexdigest()
_CHUNK = 1 << 20
_DIGEST = re.compile("[0-9a-f]{64}")


def of_bytes(data: bytes) -> str:
    """SHA-256 of `data`, 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in one pass; OSError as the system gives it."""
    with path.open("rb", buffering=0) as file:
        return of_stream(file)


def of_stream(file: RawIOBase) -> str:
    """SHA-256 of what an open file holds from here on."""
    state = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        state.update(chunk)
    return state.hexdigest()


def is_digest(text: str) -> bool:
    """Whether `text` is written like a digest: 64 lower-case hex digits, so it is safe in a path."""
    return _DIGEST.fullmatch(text) is not None
