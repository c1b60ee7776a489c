"""Files from the web, by their digest.

Fairlead itself fetches them: no action has a network. What comes is kept only if it has the digest that the
BUCK file names, so it does not matter who sent it, nor by which way; a file of that digest that is in the
store already, from wherever, is not asked for again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection
from pathlib import Path
from urllib.parse import urlsplit

from fairlead import net
from fairlead.build.manifest import File
from fairlead.build.plan import Action
from fairlead.errors import FairleadError, MachineryError, UsageError, WorkFailed
from fairlead.store import Blobs, atomic, digest

_KEEP_FREE = 256 << 20  # bytes of the disk that a download leaves alone


def fetch(
    action: Action,
    blobs: Blobs,
    temp: Path,
    cancel: threading.Event,
    hosts: Collection[str] | None = None,
) -> File:
    """The file of a "download" action. The addresses are tried in turn; `temp` is a new file meanwhile.

    `hosts` are the only ones that are asked, None any: where a stranger's change names the address, asking
    is itself an act, with this machine's place in the network. UsageError if the action names another one;
    WorkFailed if what an address sent is another file; else the error of the last address.
    """
    known = blobs.path(action.sha256)
    if blobs.has(action.sha256):
        if digest.of_file(known) == action.sha256:
            return File(action.sha256, known.stat().st_size, action.executable)
        known.unlink()  # a power cut may leave a file without its bytes
    if hosts is not None:
        _refuse_strangers(action, hosts)
    errors: list[FairleadError] = []
    for url in action.urls:
        try:
            _download(url, temp, cancel)
            found, size = digest.of_file(temp), temp.stat().st_size
            if found != action.sha256:
                raise WorkFailed(
                    f"{net.redact(url)} is not the file that is meant\n"
                    f"  | expected sha256 {action.sha256}\n  | received sha256 {found}, {size} bytes",
                    remedy="if the file was replaced on purpose, write the new digest into sha256",
                )
            blobs.put_file(temp)
            return File(action.sha256, size, action.executable)
        except WorkFailed:
            raise
        except FairleadError as error:
            errors.append(error)
        finally:
            atomic.remove(temp)
    last = errors[-1]
    said = [f"{net.redact(url)}: {error.what}" for url, error in zip(action.urls, errors, strict=True)]
    last.what = "\n  | ".join(["cannot download a file", *said])
    last.remedy = last.remedy or "look whether this machine has a network, or name another address in urls"
    raise last


def _refuse_strangers(action: Action, hosts: Collection[str]) -> None:
    for url in action.urls:
        host = urlsplit(url).hostname or ""
        if host not in hosts:
            raise UsageError(
                f"nothing is downloaded from {host} here",
                remedy=f"whoever runs this worker can allow it: add {host} to worker.download_hosts",
            )


def _download(url: str, temp: Path, cancel: threading.Event) -> None:
    def heed(_held: int) -> None:
        if cancel.is_set():
            raise WorkFailed("the download was stopped", remedy="build again")

    disk = os.statvfs(temp.parent)
    room = disk.f_bavail * disk.f_frsize - _KEEP_FREE
    try:
        with temp.open("xb") as out:
            net.download(url, out, limit=max(room, 0), on_bytes=heed)
    except net.TooLarge as error:
        raise MachineryError(
            f"there is no room for it on the disk: {error.what}",
            remedy="free some space on that disk, or set FAIRLEAD_STORE_DIR",
        ) from None
    except OSError as error:
        raise atomic.failed(error, "write", temp) from error
