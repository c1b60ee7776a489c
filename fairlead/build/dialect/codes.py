"""Compiled files, kept: what a file of the language becomes is found by what it says, not made again.

Compiling is nine tenths of loading a .bzl file and half of evaluating a BUCK file. The key is the file's path
and bytes, this compiler (the bytes of its own files) and the interpreter's form of code.

Code that is read back runs, so it is kept apart from all else in a store: in a folder of its own that belongs
to us and that nobody else may enter, and each value under its SHA-256. A folder that is not so is left alone,
and everything is compiled. It is never sent, and an evaluation that is kept apart (`evaluator.py`) has none.

Rejected: files beside the sources, as CPython has them (others may write there), and pickle (no safer, and
larger).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import marshal
import os
import pkgutil
import stat
import sys
from pathlib import Path
from types import CodeType

from fairlead.build.dialect.syntax import Code, Load, compile_source
from fairlead.errors import MachineryError
from fairlead.store.results import Results

FOLDER = "private"
NAMESPACE = "code"
_DIGEST = 32  # bytes of a SHA-256
_FILES = ("syntax.py", "functions.py", "fault.py", "values.py")


class Codes:
    """The compiled files of a store. Writing is put off until `flush`: a thousand commits take a second."""

    def __init__(self, store: Path) -> None:
        self._results = _private(store / FOLDER)
        self._known: dict[str, Code] = {}
        self._fresh: dict[str, bytes] = {}

    def compile(self, source: bytes, path: str, *, is_bzl: bool) -> Code:
        """As `compile_source`, which is asked if nothing is known."""
        if self._results is None:
            return compile_source(source, path, is_bzl=is_bzl)
        name = _key(source, path, is_bzl)
        found = self._known.get(name) or self._read(name, path, is_bzl)
        if found is None:
            found = compile_source(source, path, is_bzl=is_bzl)
            loads = tuple((load.path, load.names, load.where) for load in found.loads)
            data = marshal.dumps((loads, found.code))
            self._fresh[name] = hashlib.sha256(data).digest() + data
        if is_bzl:
            self._known[name] = found
        return found

    def _read(self, name: str, path: str, is_bzl: bool) -> Code | None:
        assert self._results is not None
        try:
            row = self._results.get(NAMESPACE, name)
        except MachineryError:
            return None
        if row is None or hashlib.sha256(row[_DIGEST:]).digest() != row[:_DIGEST]:
            return None
        try:
            loads, code = marshal.loads(row[_DIGEST:])
            assert type(code) is CodeType
            return Code(path, is_bzl, tuple(Load(*load) for load in loads), code)
        except (ValueError, EOFError, TypeError, AssertionError):
            return None

    def flush(self) -> None:
        """Keep what was compiled."""
        if self._results is not None and self._fresh:
            fresh, self._fresh = self._fresh, {}
            self._results.put_many(NAMESPACE, fresh)


def _private(folder: Path) -> Results | None:
    """The table in a folder that is ours alone, made if absent; None if it is not."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        seen = folder.lstat()
        ours = stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid() and not seen.st_mode & 0o077
        _compiler()  # OSError if its files cannot be read: then nothing is kept
        return Results(folder / "code.sqlite") if ours else None
    except (OSError, MachineryError):
        return None


def _key(source: bytes, path: str, is_bzl: bool) -> str:
    state = hashlib.sha256(_compiler())
    state.update(f"{is_bzl} {len(path.encode())} {path}".encode())
    state.update(source)
    return state.hexdigest()


@functools.cache
def _compiler() -> bytes:
    """What compiles: the files of this package, and the interpreter with its form of code."""
    state = hashlib.sha256(importlib.util.MAGIC_NUMBER)
    state.update(f"{sys.implementation.cache_tag} {sys.hexversion}".encode())
    for name in _FILES:
        data = pkgutil.get_data(__package__, name)
        if data is None:
            raise FileNotFoundError(name)
        state.update(hashlib.sha256(data).digest())
    return state.digest()
