"""From a manifest's entry to an executable in the cache: one download, verified, published whole.

The order of steps is DotSlash's, and the lock is the same file, so that the two tools wait for each other.
Better than there: after waiting for the lock the cache is looked at again (eight callers make one download);
no temporary file is left, whatever happens; an executable that was deleted is put back; an archive that lacks
the path is remembered and not fetched again.

What is verified is the open file that is then unpacked, so that nothing can be put in its place between.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from fairlead.errors import FairleadError, MachineryError, UsageError, nearest
from fairlead.launch import unpack
from fairlead.launch.cache import Location
from fairlead.launch.decompress import Damaged
from fairlead.launch.jsonc import Json
from fairlead.launch.manifest import Entry
from fairlead.store import atomic, lock

CHUNK = 1024 * 1024
STALE = 24 * 3600.0  # seconds after which a temporary name is taken for one that a crash left
_PATIENCE = 1.0  # seconds of waiting for another process before it is mentioned
_NOT_YET = ("github-release", "s3", "gcs")

Say = Callable[[str], None]


def silent(_text: str) -> None:
    """Say nothing."""


def ensure(entry: Entry, location: Location, *, where: str, say: Say = silent) -> None:
    """Make sure that the executable of `entry` is at `location`, fetching it if it is not.

    `where` names the manifest in errors; `say` hears of waits. Raises UsageError when the manifest, its
    addresses or the artifact are wrong, MachineryError for the network and the disk.
    """
    try:
        location.folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise atomic.failed(error, "make the folder", location.folder.parent) from error
    mention = threading.Timer(_PATIENCE, say, ["waiting for another process that fetches the same artifact"])
    mention.daemon = True
    with lock.hold(location.lock, on_wait=mention.start):
        mention.cancel()
        if os.path.exists(location.executable):
            return
        _refuse_if_known_to_lack(entry, location, where)
        with _workplace(location.folder.parent) as temp:
            try:
                _install(entry, location, temp, where, say)
            except OSError as error:
                raise atomic.failed(error, "fill the cache with", location.folder) from error
        _refuse_if_known_to_lack(entry, location, where)


def verify(file: BinaryIO, entry: Entry) -> None:
    """Check the size, then the digest, of a whole open file; UsageError says what was found."""
    size = file.seek(0, os.SEEK_END)
    if size != entry.size:
        raise UsageError(f"the file has {size} bytes, but the manifest says {entry.size}")
    found = digest(file, entry.hash)
    if found != entry.digest:
        raise UsageError(f"the {entry.hash} of the file is {found}, but the manifest says {entry.digest}")


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> object: ...
    def hexdigest(self) -> str: ...


def digest(file: BinaryIO, kind: str) -> str:
    """The `blake3` or `sha256` of a whole open file, in lower-case hexadecimal."""
    made: _Hash
    if kind == "blake3":
        import blake3

        made = blake3.blake3()
    else:
        import hashlib

        made = hashlib.sha256()
    file.seek(0)
    buffer = memoryview(bytearray(CHUNK))
    while count := file.readinto(buffer):  # type: ignore[attr-defined]
        made.update(buffer[:count])
    return made.hexdigest()


def _install(entry: Entry, location: Location, temp: Path, where: str, say: Say) -> None:
    tree = temp / "tree"
    tree.mkdir()
    with (temp / "download").open("x+b") as file:
        _fetch(entry, file, where, say)
        file.seek(0)
        try:
            unpack.unpack(file, entry, tree)
        except Damaged as error:
            raise UsageError(error.what, where=where, remedy=error.remedy) from None
    executable = tree / entry.path
    if os.path.lexists(executable) and not executable.resolve().is_relative_to(tree.resolve()):
        raise UsageError(
            f"`{entry.path}` in the archive is a link that leads outside of it",
            where=where,
            remedy="name the path of a file that the archive itself holds",
        )
    if not os.path.exists(executable):
        _remember_lack(tree, location)
    if entry.readonly:
        unpack.drop_write_bits(tree)
    _move_away(location.folder, temp / "broken")
    os.rename(tree, location.folder)
    if entry.readonly:
        os.chmod(location.folder, os.lstat(location.folder).st_mode & 0o555)


def _move_away(folder: Path, to: Path) -> None:
    """Clear the place of an artifact whose executable is gone: the rest of it may not be whole either."""
    try:
        mode = os.lstat(folder).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        os.chmod(folder, stat.S_IMODE(mode) | 0o700)  # a folder that cannot be written cannot be moved
    os.rename(folder, to)


def _fetch(entry: Entry, file: BinaryIO, where: str, say: Say) -> None:
    """Try the providers in their order until one gives the bytes that the entry names."""
    failures: list[FairleadError] = []
    for provider in _ordered(entry, where):
        url = _url(provider, where)
        if isinstance(url, FairleadError):
            failures.append(url)
            continue
        file.seek(0)
        file.truncate()
        try:
            _download(url, file, entry, say)
            return
        except FairleadError as error:
            failures.append(error)
    if len(failures) == 1:
        only = failures[0]
        only.where = f"{where} ({only.where})"
        raise only
    told = "".join(f"\n  {error.what} ({error.where})" for error in failures)
    remedies = [error.remedy for error in failures if error.remedy]
    raise MachineryError(
        f"no provider gave the artifact{':' if told else ', for none is listed'}{told}",
        where=where,
        remedy=remedies[0] if remedies else "list a provider that serves the artifact",
    )


def _download(url: str, file: BinaryIO, entry: Entry, say: Say) -> None:
    from fairlead import net

    def wait(seconds: float, why: str) -> None:
        say(f"{why}; trying again in {seconds:.1f} s")

    try:
        net.download(url, file, limit=entry.size, on_wait=wait)
        wrong = ""
    except net.TooLarge:
        wrong = f"the file has more than the {entry.size} bytes that the manifest says"
    if not wrong:
        file.flush()
        try:
            verify(file, entry)
            return
        except UsageError as error:
            wrong = error.what
    raise UsageError(
        wrong,
        where=net.redact(url),
        remedy="do not run it: ask the publisher which of file and manifest is right, and mend the other",
    )


def _url(provider: Json, where: str) -> str | FairleadError:
    """The address of an http provider; or why it is passed over; raises if the manifest is senseless."""
    if not isinstance(provider, dict):
        raise UsageError("a provider is not an object", where=where)
    kind = provider.get("type", "http")
    if kind in _NOT_YET:
        return UsageError(
            f"providers of the type {kind} are not supported yet",
            where=where,
            remedy="add a provider with a url to the manifest",
        )
    if kind != "http":
        shown = f"the unknown type `{kind}`" if isinstance(kind, str) else "a type that is not a string"
        raise UsageError(f"a provider has {shown}", where=where, remedy="use the type http, with a url")
    url = provider.get("url")
    if not isinstance(url, str):
        return UsageError("an http provider has no url", where=where, remedy="give it a url")
    return url


def _ordered(entry: Entry, where: str, draw: Callable[[], float] = random.random) -> Sequence[Json]:
    """The providers in the order to try them: as listed, or drawn at random by weight without replacement."""
    if entry.providers_order == "sequential":
        return entry.providers
    keyed: list[tuple[float, Json]] = []
    for provider in entry.providers:
        weight = provider.get("weight", 1) if isinstance(provider, dict) else 1
        if isinstance(weight, bool) or not isinstance(weight, int) or weight < 1:
            raise UsageError(
                "the weight of a provider is not a whole number from 1 on", where=where, remedy="mend it"
            )
        # Sorting by u^(1/w) draws each next one with a chance in proportion to its weight.
        keyed.append((draw() ** (1 / weight), provider))
    return [provider for _, provider in sorted(keyed, key=lambda pair: pair[0], reverse=True)]


def _remember_lack(tree: Path, location: Location) -> None:
    paths = [os.path.join(base, name) for base, _, files in os.walk(tree) for name in files]
    names = [os.path.relpath(path, tree) for path in paths if os.path.exists(path)]
    names = sorted(os.fsencode(name).decode(errors="replace") for name in names)
    atomic.write(location.listing, json.dumps(names).encode())


def _refuse_if_known_to_lack(entry: Entry, location: Location, where: str) -> None:
    """The content of an artifact never changes: if a listing of it lacks the path, fetching is in vain."""
    try:
        names = json.loads(location.listing.read_bytes())
    except (OSError, ValueError):
        return
    if not isinstance(names, list) or entry.path in names:
        return
    last = entry.path.rpartition("/")[2]
    near = [n for n in names if isinstance(n, str) and n.rpartition("/")[2] == last][:3]
    near = near or nearest(entry.path, [n for n in names[:20_000] if isinstance(n, str)])
    raise UsageError(
        f"the archive does not hold the file `{entry.path}`",
        where=where,
        remedy=f"correct `path`: did you mean {' or '.join(near)}?" if near else "correct `path`",
    )


@contextlib.contextmanager
def _workplace(shard: Path) -> Iterator[Path]:
    """A private folder beside the artifact, with a name as DotSlash gives, that is gone in the end."""
    temp = shard / f".tmp{secrets.token_hex(3)}"
    try:
        temp.mkdir(mode=0o700)
    except OSError as error:
        raise atomic.failed(error, "make the folder", temp) from error
    try:
        yield temp
    finally:
        atomic.remove(temp)
        _sweep(shard)


def _sweep(shard: Path) -> None:
    """Remove what crashed processes left here long ago."""
    before = time.time() - STALE
    with contextlib.suppress(OSError):
        for found in shard.glob(".tmp*"):
            if found.lstat().st_mtime < before:
                atomic.remove(found)
