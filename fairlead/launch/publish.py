"""From a built file to a DotSlash file that pins it: describe, upload, check, write.

The DotSlash file is written last and whole, and only when its address has been seen to serve exactly the
bytes it pins: a manifest that is committed works at once, for everybody who can reach the address.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from fairlead.errors import FairleadError, MachineryError, UsageError, did_you_mean
from fairlead.launch import fetch, manifest
from fairlead.launch.manifest import Entry
from fairlead.store import atomic

# A zip with a #! line runs wherever its interpreter does; Windows does not know #! lines.
PORTABLE = ("linux-aarch64", "linux-x86_64", "macos-aarch64", "macos-x86_64")


@dataclass(frozen=True)
class Published:
    """What was published: the manifest's path, the address of the bytes, their size and digest (blake3)."""

    manifest: Path
    url: str
    size: int
    digest: str
    platforms: tuple[str, ...]
    uploaded: bool


def publish(
    file: Path,
    *,
    name: str,
    out: Path,
    url: str = "",
    server: str = "",
    token: str | None = None,
    platforms: Sequence[str] = (),
) -> Published:
    """Publish `file` under `name` and write the DotSlash file `out` (mode 0755).

    Either `url` is where the bytes are already served, or `server` is a Fairlead server (with a `token` that
    may publish) that is sent the bytes, unless it serves them already. `platforms` defaults to what the file
    can run on: see `runs_on`. Nothing is written unless the address serves the digest.
    """
    name_problem = manifest.path_problem(name) or ("has a slash" if "/" in name else "")
    if name_problem:
        raise UsageError(f"the program's name {name_problem}", where=name, remedy="give a plain file name")
    if out.is_dir():
        raise UsageError(
            "the DotSlash file cannot be written: a folder has that name",
            where=str(out),
            remedy=f"name another place, such as --out {out.parent / 'bin' / name}",
        )
    for platform in platforms:
        if platform not in manifest.PLATFORMS:
            raise UsageError(
                f"there is no platform {platform}",
                remedy=did_you_mean(platform, manifest.PLATFORMS) or f"use {', '.join(manifest.PLATFORMS)}",
            )
    entry = describe(file, name)
    uploaded = False
    if not url:
        url = f"{server.rstrip('/')}/a/{entry.digest}/{quote(name, safe='')}"
        uploaded = upload(file, url, token)
    entry = replace(entry, providers=[{"url": url}])
    check(url, entry)
    chosen = tuple(sorted(set(platforms))) or runs_on(file)
    atomic.write(out, render(name, dict.fromkeys(chosen, entry)), mode=0o755, durable=True)
    return Published(out, url, entry.size, entry.digest, chosen, uploaded)


def describe(file: Path, name: str) -> Entry:
    """The entry (without providers) of a local file that is to be run as it is."""
    try:
        with file.open("rb") as opened:
            digest = fetch.digest(opened, "blake3")
            size = os.fstat(opened.fileno()).st_size
    except OSError as error:
        raise UsageError(
            f"the file to publish cannot be read: {error.strerror}", where=str(file), remedy="build it first"
        ) from None
    if not size:
        raise UsageError("the file to publish is empty", where=str(file), remedy="build it again")
    return Entry(size=size, hash="blake3", digest=digest, format="", path=name, providers=[])


def runs_on(file: Path) -> tuple[str, ...]:
    """Every platform of `PORTABLE` for a zip that begins with a `#!` line, else this one alone."""
    with file.open("rb") as opened:
        script = opened.read(2) == b"#!"
    return PORTABLE if script and zipfile.is_zipfile(file) else (manifest.host(),)


def render(name: str, entries: Mapping[str, Entry]) -> bytes:
    """The bytes of a DotSlash file: the header, a blank line, and JSON as DotSlash's own tools indent it."""
    document = {
        "name": name,
        "platforms": {platform: _members(entry) for platform, entry in sorted(entries.items())},
    }
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return f"{manifest.HEADER}\n\n{text}\n".encode()


def _members(entry: Entry) -> dict[str, object]:
    made: dict[str, object] = {"size": entry.size, "hash": entry.hash, "digest": entry.digest}
    if entry.format:
        made["format"] = entry.format
    made["path"] = entry.path
    if entry.arg0 != "dotslash-file":
        made["arg0"] = entry.arg0
    if not entry.readonly:
        made["readonly"] = False
    made["providers"] = list(entry.providers)
    if entry.providers_order != "sequential":
        made["providers_order"] = entry.providers_order
    return made


def upload(file: Path, url: str, token: str | None) -> bool:
    """PUT the bytes at `url`, unless it serves an artifact already (the address holds the digest)."""
    from fairlead import net
    from fairlead.net.request import refusal

    if net.request("HEAD", url).status == 200:
        return False
    headers = {"Content-Type": "application/octet-stream"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    with file.open("rb") as body:
        answer = net.request("PUT", url, headers=headers, body=body, timeout=120.0)
    if not 200 <= answer.status < 300:
        raise refusal(answer.status, answer.body, url, answer.headers)
    return True


def check(url: str, entry: Entry) -> None:
    """Download `url` as a stranger would and compare it with `entry`; an error if it serves anything else."""
    from fairlead import net

    with tempfile.TemporaryFile() as file:
        try:
            net.download(url, file, limit=entry.size)
            file.flush()
            fetch.verify(file, entry)
        except OSError as error:
            raise MachineryError(
                f"the check of the address needs {entry.size} bytes of temporary disk: {error.strerror}",
                where=tempfile.gettempdir(),
                remedy="free some space there, or name another folder in TMPDIR",
            ) from None
        except FairleadError as error:
            error.what = f"the address does not serve what is to be published: {error.what}"
            error.where = error.where or net.redact(url)
            error.remedy = error.remedy or "put the file to publish there, and publish again"
            raise
