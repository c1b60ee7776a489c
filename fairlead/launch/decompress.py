"""Compressed bytes to plain bytes, in pieces, with a limit, and with the end looked at.

DotSlash decodes only the first member of a gz or bz2 file that has several and says nothing: the tool it
starts is truncated. That is an error here (a declared deviation). As with DotSlash, other bytes after the end
are passed over in gz and bz2 and refused in xz and zst, all frames of zst are decoded, and a file that ends
early is refused in all four.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from fairlead.errors import UsageError

CHUNK = 1024 * 1024
_ZSTD_CHUNK = 4096  # its decoder has no limit on output, so that the input must be small: at most 128 MiB out
_XZ_MEMORY = 1024 * 1024 * 1024  # bytes: the largest dictionary that `xz` itself would need, with room
_MAGIC = {"gz": b"\x1f\x8b", "bz2": b"BZh"}


class Damaged(UsageError):
    """The bytes are those that the manifest promises, but they are not what its `format` says."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what, remedy=remedy or "ask the publisher for a manifest that fits its artifact")


class Budget:
    """How many bytes and members may still be unpacked; spending more is a Damaged error."""

    def __init__(self, limit: int, members: int) -> None:
        self.limit, self.left = limit, limit
        self.most_members, self.members_left = members, members

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise Damaged(
                f"the artifact unpacks to more than {self.limit} bytes",
                'if that is right, add "fairlead": {"unpacked_limit": BYTES} to the entry of the manifest',
            )

    def member(self) -> None:
        self.members_left -= 1
        if self.members_left < 0:
            raise Damaged(f"the archive has more than {self.most_members} members")


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


def pieces(source: BinaryIO, compression: str) -> Iterator[bytes]:
    """The decompressed bytes of `source`, which is read to its end; `compression` is gz, bz2, xz or zst.

    A damaged or truncated stream raises Damaged.
    """
    try:
        if compression == "gz":
            yield from _gz(source)
        elif compression == "zst":
            yield from _zst(source)
        else:
            yield from _one(source, compression)
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
        # bz2 reports bad data as an OSError without a number; a real one of reading goes on as it is.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise Damaged(f"the artifact is not valid {compression}: {error}") from None


def _gz(source: BinaryIO) -> Iterator[bytes]:
    decoder = zlib.decompressobj(wbits=31)
    while not decoder.eof:
        data = decoder.unconsumed_tail or source.read(CHUNK)
        if not data:
            raise _truncated("gz")
        if made := decoder.decompress(data, CHUNK):
            yield made
    _check_rest("gz", decoder.unused_data, source)


def _one(source: BinaryIO, compression: str) -> Iterator[bytes]:
    decoder: _Decoder
    if compression == "bz2":
        decoder = bz2.BZ2Decompressor()
    else:
        decoder = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    while not decoder.eof:
        data = source.read(CHUNK) if decoder.needs_input else b""
        if not data and decoder.needs_input:
            raise _truncated(compression)
        if made := decoder.decompress(data, CHUNK):
            yield made
    _check_rest(compression, decoder.unused_data, source)


def _zst(source: BinaryIO) -> Iterator[bytes]:
    import zstandard

    decompressor = zstandard.ZstdDecompressor()
    data = source.read(_ZSTD_CHUNK)
    if not data:
        raise _truncated("zst")
    try:
        while data:
            decoder = decompressor.decompressobj()
            while not decoder.eof:
                if not data:
                    raise _truncated("zst")
                if made := decoder.decompress(data):
                    yield made
                data = decoder.unused_data if decoder.eof else source.read(_ZSTD_CHUNK)
            data = data or source.read(_ZSTD_CHUNK)
    except zstandard.ZstdError as error:
        raise Damaged(f"the artifact is not valid zst: {error}") from None


def _check_rest(compression: str, rest: bytes, source: BinaryIO) -> None:
    rest = rest[:3] or source.read(3)
    magic = _MAGIC.get(compression)
    if magic is None and rest:
        raise Damaged(f"the artifact has more bytes after the end of its {compression} stream")
    if magic is not None and rest.startswith(magic):
        raise Damaged(
            "the artifact has more than one member",
            f"ask the publisher to compress it as one {compression} member (DotSlash runs only the first)",
        )


def _truncated(compression: str) -> Damaged:
    return Damaged(f"the artifact ends in the middle of its {compression} stream")


class Stream:
    """The pieces as a readable stream, for tarfile; what is read is spent from `budget`."""

    def __init__(self, source: Iterator[bytes], budget: Budget) -> None:
        self._source, self._budget = source, budget
        self._held, self._at = b"", 0

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, fewer only at the end."""
        parts: list[bytes] = []
        while size:
            if self._at == len(self._held):
                self._held, self._at = next(self._source, b""), 0
                if not self._held:
                    break
                self._budget.spend(len(self._held))
            part = self._held[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            parts.append(part)
        return b"".join(parts)
