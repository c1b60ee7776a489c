"""Keyed records: the one idea of the suite.

A record names everything that an answer depends on. Its key is the SHA-256 of a canonical
encoding, so equal records have equal keys on every machine, and since the record itself is
kept, `explain` can compare two of them: that comparison is the answer to every "why".

The encoding is ours and versioned by its first line. Each value is a type byte, a length in
decimal, a colon, and its bytes, nested (as netstrings do, D. J. Bernstein 1997), so no two
values share an encoding and nothing needs escaping. JSON was the alternative: it has no one
canonical form, no bytes, and 1 and 1.0 and true differ by reader. Floats are refused for the
same reason: no key may depend on how a number is printed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from fairlead.errors import UsageError

Part: TypeAlias = bool | int | str | bytes | Sequence["Part"] | Mapping[str, "Part"] | None

_MAGIC = b"fairlead-record 1\n"


class Absent:
    """The side of a difference that has no such part."""

    _only: Absent | None = None

    def __new__(cls) -> Absent:
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __repr__(self) -> str:
        return "absent"


ABSENT = Absent()


@dataclass(frozen=True)
class Record:
    """Named parts of one `kind` at one `version` of that kind's meaning.

    Used for target keys, action keys, lint keys and whatever else is looked up by content.
    Parts are None, bool, int, str, bytes, sequences of parts and mappings from str to part;
    order in mappings does not matter, order in sequences does.
    """

    kind: str
    version: int
    parts: Mapping[str, Part]

    def encode(self) -> bytes:
        """The canonical bytes; `Record.decode` reads them back."""
        return self._encoded

    @cached_property
    def _encoded(self) -> bytes:
        return _MAGIC + _encode([self.kind, self.version, self.parts])

    @cached_property
    def key(self) -> str:
        """SHA-256 of the encoding, 64 hex digits."""
        return hashlib.sha256(self._encoded).hexdigest()

    @classmethod
    def decode(cls, data: bytes) -> Record:
        """Read `encode`'s bytes; `UsageError` if they are not one whole record."""
        if not data.startswith(_MAGIC):
            raise UsageError(
                "these bytes are not a record of this version", remedy="remove the store; it is rebuilt"
            )
        try:
            value, end = _decode(data, len(_MAGIC))
            if end != len(data):
                raise ValueError("bytes after the record")
        except (ValueError, IndexError) as error:
            raise UsageError(
                f"a record is damaged: {error}", remedy="remove the store; it is rebuilt"
            ) from None
        match value:
            case [str(kind), int(version), dict(parts)]:
                return cls(kind, version, parts)
        raise UsageError("a record has another shape than kind, version, parts", remedy="remove the store")


@dataclass(frozen=True)
class Difference:
    """One part that differs: its path inside the record, and its value on both sides."""

    path: tuple[str, ...]
    old: Part | Absent
    new: Part | Absent

    def text(self) -> str:
        """One line for a person, digests shortened."""
        name = " ".join(self.path)
        if self.old is ABSENT:
            return f"{name}: added, {_show(self.new)}"
        if self.new is ABSENT:
            return f"{name}: removed, was {_show(self.old)}"
        return f"{name}: {_show(self.old)} -> {_show(self.new)}"


def explain(old: Record, new: Record) -> list[Difference]:
    """The parts that differ between two records, in order of their names; empty if the keys are equal.

    Sequences whose items are sequences beginning with a str (such as path, mode, digest) are
    compared by that name, so one added file is one difference.
    """
    found: list[Difference] = []
    if (old.kind, old.version) != (new.kind, new.version):
        found.append(Difference(("kind",), f"{old.kind} {old.version}", f"{new.kind} {new.version}"))
    _compare((), old.parts, new.parts, found)
    return found


def _compare(path: tuple[str, ...], old: Part | Absent, new: Part | Absent, found: list[Difference]) -> None:
    old_table, new_table = _named(old), _named(new)
    if old_table is not None and new_table is not None:
        for name in sorted(old_table.keys() | new_table.keys()):
            _compare((*path, name), old_table.get(name, ABSENT), new_table.get(name, ABSENT), found)
        return
    if isinstance(old, Absent) or isinstance(new, Absent) or _encode(old) != _encode(new):
        found.append(Difference(path, old, new))


def _named(part: Part | Absent) -> Mapping[str, Part] | None:
    """`part` as a table if it is one, or a list of rows with distinct names in front."""
    if isinstance(part, Mapping):
        return part
    if isinstance(part, Sequence) and not isinstance(part, (str, bytes)):
        table: dict[str, Part] = {}
        for row in part:
            if not (isinstance(row, Sequence) and not isinstance(row, (str, bytes)) and len(row) > 1):
                return None
            name = row[0]
            if not isinstance(name, str) or name in table:
                return None
            table[name] = row[1] if len(row) == 2 else list(row[1:])
        return table
    return None


def _show(part: Part | Absent) -> str:
    if isinstance(part, str) and len(part) == 64 and all(c in "0123456789abcdef" for c in part):
        return part[:12]
    if isinstance(part, Sequence) and not isinstance(part, (str, bytes)):
        return "[" + " ".join(_show(item) for item in part) + "]"
    if isinstance(part, Mapping):
        return "{" + ", ".join(f"{k}: {_show(v)}" for k, v in sorted(part.items())) + "}"
    return str(part)


class _Shared(dict[str, Part]):
    """A table that many records have, with its encoding; it must not change."""

    __slots__ = ("written",)
    written: str


def shared(part: Mapping[str, Part]) -> Mapping[str, Part]:
    """`part` for many records: it is encoded once."""
    made = _Shared(part)
    made.written = _write(dict(part))
    return made


def _encode(part: Part) -> bytes:
    return _write(part).encode("latin-1")


def _write(part: Part) -> str:
    """The encoding as text with a character for each byte: Python puts text together three times as fast as
    bytes."""
    found = _WRITERS.get(type(part))
    return found(part) if found is not None else _write_other(part)


def _write_str(part: Any) -> str:
    if not part.isascii():
        part = part.encode("utf-8", "surrogateescape").decode("latin-1")
    return f"s{len(part)}:{part}"


def _write_list(part: Any) -> str:
    # Most items are short str: those are written without a call.
    body = "".join(
        [f"s{len(item)}:{item}" if type(item) is str and item.isascii() else _write(item) for item in part]
    )
    return f"l{len(body)}:{body}"


def _write_table(part: Any) -> str:
    items: list[str] = []
    for name in sorted(part):
        if not isinstance(name, str):
            raise TypeError(f"a record's names are str, not {type(name).__name__}")
        value = part[name]
        if type(value) is str and value.isascii() and name.isascii():  # an environment
            items.append(f"s{len(name)}:{name}s{len(value)}:{value}")
        else:
            items += (_write_str(name), _write(value))
    body = "".join(items)
    return f"m{len(body)}:{body}"


def _write_bool(part: Any) -> str:
    return "t0:" if part else "f0:"


def _write_int(part: Any) -> str:
    text = str(int(part))
    return f"i{len(text)}:{text}"


_WRITERS: Mapping[type, Callable[[Any], str]] = {
    str: _write_str,
    list: _write_list,
    tuple: _write_list,
    dict: _write_table,
    bool: _write_bool,
    int: _write_int,
    type(None): lambda _: "n0:",
    _Shared: lambda part: str(part.written),
}
"""By the very type of a part; a type that is like one of these takes the longer way."""


def _write_other(part: Part) -> str:
    if isinstance(part, int):
        return _write_int(part)
    if isinstance(part, str):
        return _write_str("".join(part))
    if isinstance(part, bytes):
        return f"b{len(part)}:{part.decode('latin-1')}"
    if isinstance(part, Mapping):
        return _write_table(part)
    if isinstance(part, Sequence):
        return _write_list(part)
    raise TypeError(f"a record cannot hold {type(part).__name__}: {part!r}")


def _decode(data: bytes, at: int) -> tuple[Part, int]:
    kind = data[at : at + 1]
    colon = data.index(b":", at)
    start = colon + 1
    end = start + int(data[at + 1 : colon])
    body = data[start:end]
    if len(body) != end - start:
        raise ValueError("cut short")
    match kind:
        case b"n":
            return None, end
        case b"t":
            return True, end
        case b"f":
            return False, end
        case b"i":
            return int(body), end
        case b"s":
            return body.decode("utf-8", "surrogateescape"), end
        case b"b":
            return body, end
        case b"l" | b"m":
            items: list[Part] = []
            while start < end:
                item, start = _decode(data, start)
                items.append(item)
            if start != end:
                raise ValueError("an item runs past its list")
            if kind == b"l":
                return items, end
            names = items[0::2]
            if len(items) % 2 or not all(isinstance(n, str) for n in names):
                raise ValueError("a table without names")
            return {str(name): value for name, value in zip(names, items[1::2], strict=True)}, end
    raise ValueError(f"unknown type {kind!r}")
