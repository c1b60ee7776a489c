"""Parsing: a file's bytes to LibCST's module, or the place where it is not Python.

CPython's parser looks first. It says what is wrong and where far better than LibCST's does, whose
place is often off by a line. And it bounds the depth of nesting: 200 brackets, and the levels of
its tree can be counted. LibCST has no bound, and a few kilobytes of "((((" would end the whole
process with a segmentation fault. CPython's verdict is not the last word, since LibCST also reads
syntax that is newer than the running Python; only what is too deep is refused at once. The price is
about a tenth of LibCST's own parse and visit.
"""

from __future__ import annotations

import ast
import contextlib
import re
import sys
import warnings
from collections.abc import Iterator

import libcst

from fairlead.lint.badsource import BadSource

_TOO_DEEP = "it is nested too deeply"
_PLACE = re.compile(r"error at (\d+):(\d+): ")
_LEVELS = 3000  # of CPython's tree; LibCST takes twice that on a stack of 8 MB
_FRAMES = 10 * _LEVELS  # Python frames that LibCST's visitors need for it


def parse(path: str, data: bytes) -> libcst.Module:
    """The module in `data`; `BadSource` naming `path` and the place. Use inside `deep()`."""
    refusal = _refusal(data)
    if refusal is not None and _TOO_DEEP in refusal[2]:
        raise BadSource(path, *refusal)
    try:
        return libcst.parse_module(data)
    except RecursionError:
        raise BadSource(path, 1, 1, _TOO_DEEP) from None
    except Exception as error:  # ParserSyntaxError, UnicodeError, LookupError, SyntaxError, TypeError
        raise BadSource(path, *(refusal or _libcst_place(error, data))) from None


@contextlib.contextmanager
def deep() -> Iterator[None]:
    """Allow as many Python frames as the deepest tree needs that `parse` lets through."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, _FRAMES))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _refusal(data: bytes) -> tuple[int, int, str] | None:
    """Why CPython will not parse this: line, column, reason; None if it will."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)  # the bound on nesting that CPython derives from it
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" in a string is not our business here
            tree = compile(data, "<source>", "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
    except (RecursionError, MemoryError):
        return 1, 1, _TOO_DEEP
    except SyntaxError as error:
        reason = error.msg.partition(" (<source>")[0]
        if "too many nested" in reason:
            reason = _TOO_DEEP
        if not error.lineno:  # null bytes have no place, nor has an unknown encoding
            return *_place(data, max(data.find(b"\0"), 0)), reason
        return error.lineno, max(error.offset or 1, 1), reason
    except ValueError as error:  # null bytes, in some versions
        return *_place(data, max(data.find(b"\0"), 0)), str(error)
    finally:
        sys.setrecursionlimit(limit)
    return (1, 1, _TOO_DEEP) if too_deep(tree) else None


def too_deep(tree: ast.AST) -> bool:
    """Whether a tree has more levels than LibCST can be trusted with.

    CPython 3.11 makes no such tree; later versions let chains of operators grow as long as their own
    stack allows.
    """
    level = [tree]
    for _ in range(_LEVELS):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return False
    return True


def _libcst_place(error: Exception, data: bytes) -> tuple[int, int, str]:
    """Line, column and reason of a file that CPython reads and LibCST does not."""
    if isinstance(error, libcst.ParserSyntaxError):
        inner = _PLACE.search(error.message)
        if inner is not None:
            return int(inner[1]), int(inner[2]) + 1, "LibCST: " + error.message[inner.end() :]
        return error.raw_line, error.raw_column + 1, f"LibCST: {error.message}"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as undecodable:  # CPython lets these pass in comments
        return *_place(data, undecodable.start), f"{undecodable.reason} in UTF-8, and no encoding is declared"
    return 1, 1, f"LibCST: {type(error).__name__}: {error}"


def _place(data: bytes, offset: int) -> tuple[int, int]:
    """Line and column of a byte."""
    before = data[:offset]
    column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace"))
    return before.count(b"\n") + 1, column + 1
