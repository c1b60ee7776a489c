"""Where pinned executables live: DotSlash's own cache, folder for folder and lock for lock.

A machine that is warm for DotSlash is warm for Fairlead, and the other way round; both take the same flock
before they fetch. Nothing of ours is put inside an artifact's folder. Where DotSlash falls back to a folder
in the shared temp directory, it runs whatever it finds there; we refuse one that another user could have
filled.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fairlead.errors import MachineryError
from fairlead.launch.manifest import Entry

_PREFIXES = {"": "file:", "bz2": "file.bz:", "gz": "file.gz:", "xz": "file.xz:", "zst": "file.zst:"}


@dataclass(frozen=True)
class Location:
    """The places of one artifact. `listing` is ours: the names in an archive that lacks a path."""

    folder: Path
    executable: Path
    lock: Path
    listing: Path


def key(entry: Entry) -> str:
    """The 40 hexadecimal digits that name the artifact's folder."""
    import blake3

    what = entry.format if entry.kind == "archive" else _PREFIXES[entry.format] + entry.path
    parts = (str(entry.size), entry.hash, entry.digest, what, "1" if entry.readonly else "0")
    return blake3.blake3("\0".join(parts).encode()).hexdigest()[:40]


def locate(entry: Entry, root: Path) -> Location:
    """The places of `entry` below the cache folder `root`."""
    name = key(entry)
    shard, rest = name[:2], name[2:]
    folder = root / shard / rest
    return Location(
        folder=folder,
        executable=folder / entry.path,
        lock=root / "locks" / shard / rest,
        listing=root / "fl" / "listing" / shard / rest,
    )


def root(env: Mapping[str, str] = os.environ, *, uid: int | None = None, platform: str = "") -> Path:
    """The cache folder: `$DOTSLASH_CACHE` as it is, else the person's, else one in the temp directory.

    The person's folder is used only if the first ancestor that exists is theirs, so that a `sudo` that keeps
    HOME does not leave root's files in it.
    """
    import sys

    if "DOTSLASH_CACHE" in env:
        return Path(env["DOTSLASH_CACHE"])
    me = os.getuid() if uid is None else uid
    base = _user_cache(env, me, platform or sys.platform)
    if base is not None and _first_owner(base / "dotslash") == me:
        return base / "dotslash"
    fallback = Path(env.get("TMPDIR") or "/tmp", f"dotslash-{me}")
    _check_private(fallback, me)
    return fallback


def _user_cache(env: Mapping[str, str], uid: int, platform: str) -> Path | None:
    home = env.get("HOME", "")
    if not home:
        import pwd

        try:
            home = pwd.getpwuid(uid).pw_dir
        except KeyError:
            return None
    if platform == "darwin":
        return Path(home, "Library/Caches")
    xdg = env.get("XDG_CACHE_HOME", "")
    return Path(xdg) if xdg.startswith("/") else Path(home, ".cache")


def _first_owner(path: Path) -> int | None:
    """Owner of the nearest ancestor of `path`, itself included, that exists; None if that cannot be seen."""
    for place in (path, *path.parents):
        try:
            return place.lstat().st_uid
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return None
    return None


def _check_private(path: Path, uid: int) -> None:
    """Make sure that nobody else could have put executables into a folder of the shared temp directory."""
    try:
        path.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        pass
    except OSError as error:
        raise MachineryError(
            f"the cache folder cannot be made: {error.strerror}",
            where=str(path),
            remedy="set DOTSLASH_CACHE to a folder of yours",
        ) from None
    found = path.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == uid and not found.st_mode & 0o022:
        return
    raise MachineryError(
        "another user could have put files into the cache folder, so nothing in it is run",
        where=f"{path}: owner {found.st_uid}, mode {stat.filemode(found.st_mode)}",
        remedy="remove that folder, or set DOTSLASH_CACHE to a folder of yours",
    )
