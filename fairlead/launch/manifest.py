"""DotSlash files: a header line and one JSON value that says, for each platform, which bytes to run.

The grammar is DotSlash's to the letter, every entry checked and not only the host's, with two declared
deviations, both refusals of what its deserializer lets through by accident: objects written as arrays
(`["name", {...}]`), and names of choices written as objects (`{"blake3": null}`).

One key is ours, inside an entry: `"fairlead": {"unpacked_limit": BYTES}` raises the limit on what an archive
may unpack to. DotSlash ignores keys that it does not know.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fairlead.errors import UsageError, did_you_mean
from fairlead.launch import jsonc
from fairlead.launch.jsonc import Json

HEADER = "#!/usr/bin/env dotslash"
HASHES = ("blake3", "sha256")
FORMATS = ("bz2", "gz", "xz", "zst", "tar", "tar.bz2", "tar.gz", "tar.xz", "tar.zst", "zip")
SINGLE_FILES = ("bz2", "gz", "xz", "zst")
ARG0 = ("dotslash-file", "underlying-executable")
ORDERS = ("sequential", "weighted-random")
PLATFORMS = (
    "linux-aarch64",
    "linux-riscv64",
    "linux-x86_64",
    "macos-aarch64",
    "macos-x86_64",
    "windows-aarch64",
    "windows-x86_64",
)

Kind = Literal["none", "single", "archive"]
_LARGEST = 2**64 - 1
_HEX = re.compile(r"[0-9a-f]*")


@dataclass(frozen=True)
class Entry:
    """What one platform runs: an artifact of `size` bytes with `digest`, and the executable's path in it.

    `format` is "" for a file that is the executable itself. `providers` is kept as written: it is looked at
    only when something must be fetched. `unpacked_limit` is in bytes; None means the default.
    """

    size: int
    hash: str
    digest: str
    format: str
    path: str
    providers: Sequence[Json]
    arg0: str = "dotslash-file"
    readonly: bool = True
    providers_order: str = "sequential"
    unpacked_limit: int | None = None

    @property
    def kind(self) -> Kind:
        """Whether the artifact is the executable, is it compressed, or is an archive that holds it."""
        if not self.format:
            return "none"
        return "single" if self.format in SINGLE_FILES else "archive"


@dataclass(frozen=True)
class Manifest:
    """A whole file; `document` is the JSON object as written, unknown keys included."""

    name: str
    platforms: Mapping[str, Entry]
    document: Mapping[str, Json] = field(repr=False)

    def entry(self, platform: str, *, where: str = "") -> Entry:
        """The entry for `platform`, or an error that lists the platforms there are."""
        found = self.platforms.get(platform)
        if found is None:
            listed = ", ".join(f"`{name}`" for name in sorted(self.platforms)) or "nothing"
            raise UsageError(
                f"expected platform `{platform}`, but found {listed}",
                where=where,
                remedy="ask the publisher for an entry for this platform",
            )
        return found


def host() -> str:
    """The platform of this process (not of the machine: under Rosetta they differ)."""
    system = {"linux": "linux", "darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)
    machine = os.uname().machine.lower()
    machine = {"arm64": "aarch64", "amd64": "x86_64"}.get(machine, machine)
    if sys.maxsize < 2**32:
        machine += "-32bit"
    return f"{system}-{machine}"


def parse(data: bytes, *, where: str = "") -> Manifest:
    """Read a DotSlash file; every error is a UsageError naming `where` and the place inside it."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            "the file is not UTF-8", where=f"{where}: byte {error.start}", remedy="name a DotSlash file"
        ) from None
    for end in ("\n", "\r\n"):
        if text.startswith(HEADER + end):
            body = text[len(HEADER + end) :]
            break
    else:
        raise UsageError(
            f"the file does not begin with the line `{HEADER}`",
            where=where,
            remedy="name a DotSlash file; a build target is written //package:name",
        )
    top = _Object(jsonc.parse(body, where=where, first_line=2), where, "")
    name = top.text("name")
    platforms = top.object("platforms")
    entries = {key: _entry(platforms.object(key)) for key in platforms.members}
    return Manifest(name, entries, top.members)


def _entry(given: _Object) -> Entry:
    size = given.number("size", _LARGEST)
    hash_name = given.choice("hash", HASHES)
    digest = given.text("digest")
    if not _HEX.fullmatch(digest):
        raise given.error("digest", "has characters other than 0-9 and a-f")
    if len(digest) != 64:
        raise given.error("digest", f"has {len(digest)} characters, not 64")
    format_name = given.choice("format", FORMATS, "")
    path = given.text("path")
    problem = path_problem(path)
    if problem:
        raise given.error("path", f"{problem}: `{_shown(path)}`")
    limit = None
    if isinstance(given.members.get("fairlead"), dict):
        own = given.object("fairlead")
        if "unpacked_limit" in own.members:
            limit = own.number("unpacked_limit", _LARGEST)
    return Entry(
        size=size,
        hash=hash_name,
        digest=digest,
        format=format_name,
        path=path,
        providers=given.array("providers"),
        arg0=given.choice("arg0", ARG0, ARG0[0]),
        readonly=given.flag("readonly", True),
        providers_order=given.choice("providers_order", ORDERS, ORDERS[0]),
        unpacked_limit=limit,
    )


def path_problem(path: str) -> str:
    """Why `path` is not a normalised relative UNIX path, or "" if it is one."""
    if not path:
        return "is empty"
    if "\\" in path:
        return "has a backslash"
    if "\0" in path:
        return "has a NUL character"
    if path.startswith("/"):
        return "begins at the root"
    parts = path.split("/")
    if parts[0] == ".":
        return "begins with the current folder"
    if ".." in parts:
        return "leads to a parent folder"
    if "" in parts or "." in parts:
        return "is not normalised"
    return ""


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


class _Object:
    """A JSON object with its place in the file, so that a wrong member can be named exactly."""

    def __init__(self, value: Json, where: str, place: str) -> None:
        self.where, self.place = where, place
        if not isinstance(value, dict):
            raise UsageError(f"{place or 'the JSON value'} is {_kind(value)}, not an object", where=where)
        self.members = value

    def error(self, name: str, problem: str) -> UsageError:
        return UsageError(f"{self._place(name)} {problem}", where=self.where)

    def _place(self, name: str) -> str:
        name = _shown(name)
        return f"{self.place}.{name}" if self.place else name

    def _get(self, name: str) -> Json:
        if name not in self.members:
            near = did_you_mean(name, self.members) if name not in ("path", "name") else ""
            raise UsageError(f"{self._place(name)} is missing", where=self.where, remedy=near)
        return self.members[name]

    def _wrong(self, name: str, wanted: str) -> UsageError:
        return self.error(name, f"is {_kind(self.members[name])}, not {wanted}")

    def text(self, name: str) -> str:
        value = self._get(name)
        if not isinstance(value, str):
            raise self._wrong(name, "a string")
        return value

    def number(self, name: str, largest: int) -> int:
        value = self._get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(name, "a whole number")
        if not 0 <= value <= largest:
            raise self.error(name, f"is {value}, not a number from 0 to {largest}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self.members.get(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def choice(self, name: str, known: Sequence[str], default: str | None = None) -> str:
        if default is not None and name not in self.members:
            return default
        value = self._get(name)
        listed = ", ".join(known)
        if not isinstance(value, str):
            raise self._wrong(name, f"one of {listed}")
        if value not in known:
            raise self.error(name, f"is `{_shown(value)}`, not one of {listed}")
        return value

    def array(self, name: str) -> Sequence[Json]:
        value = self._get(name)
        if not isinstance(value, list):
            raise self._wrong(name, "an array")
        return value

    def object(self, name: str) -> _Object:
        return _Object(self._get(name), self.where, self._place(name))


def _kind(value: Json) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    for kind, text in ((str, "a string"), (list, "an array"), (dict, "an object")):
        if isinstance(value, kind):
            return text
    return f"the number {value}"
