"""Files of packages, from where this person's installer takes them.

An installer runs a source archive's build as soon as it fetches it. What is built here is built in a sandbox,
so its archive is fetched as a mere file: found by name on the pages that indexes give (PyPA specifications,
"Simple repository API"), taken only with a hash that the lock names. Which indexes, uv is asked, for its
settings and variables are this person's; a repository's own do not count.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Collection, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from fairlead import net
from fairlead.build.lockfile import normal
from fairlead.errors import FairleadError, UsageError

_LARGEST = 512 * 1024 * 1024
"""Bytes of one file."""
_PAGE = {"Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.2"}
_KINDS = ("sha256", "sha384", "sha512")


def archive(uv: str, name: str, version: str, hashes: Collection[str], folder: Path) -> Path:
    """The source archive of a release, fetched into `folder`; `hashes` are those that it may have, such as
    "sha256:...". UsageError if no index has it, MachineryError if none can be asked."""
    for url in _addresses(uv, name):
        file = unquote(urlsplit(url).path.rpartition("/")[2])
        if not _is_of(file, name, version):
            continue
        at = folder / file
        with at.open("xb") as stream:
            net.download(url, stream, limit=_LARGEST)
        if any(f"{kind}:{_digest(at, kind)}" in hashes for kind in _KINDS):
            return at
        at.unlink()
    raise UsageError(
        f"{name} {version} has no wheel for this machine, and no source archive with a hash of the lock",
        remedy="take a release that has a wheel, or make the lock anew",
    )


def _is_of(file: str, name: str, version: str) -> bool:
    """Whether a file's name is that of a release's source archive."""
    for ending in (".tar.gz", ".zip"):
        stem = file.removesuffix(ending)
        if stem != file and stem.endswith(f"-{version}"):
            return normal(stem.removesuffix(f"-{version}")) == normal(name)
    return False


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, kind).hexdigest()


def _addresses(uv: str, name: str) -> Iterator[str]:
    """Where the files of a package are, place by place; an address may come twice. At the end the error of a
    place that could not be asked."""
    last: FairleadError | None = None
    for kind, place in places(uv):
        folder = Path(place.removeprefix("file://"))
        try:
            if kind == "--find-links" and folder.is_dir():
                yield from (path.absolute().as_uri() for path in sorted(folder.iterdir()))
            else:
                page = place if kind == "--find-links" else f"{place.rstrip('/')}/{normal(name)}/"
                yield from _links(page)
        except FairleadError as error:
            last = error
    if last is not None:
        raise last


def places(uv: str) -> list[tuple[str, str]]:
    """What uv takes packages from: its option and the address or folder of each place."""
    words = [uv, "pip", "compile", "--quiet", "--no-header", "--emit-index-url", "--emit-find-links", "-"]
    # Not in the repository, whose settings must not say where packages come from.
    done = subprocess.run(words, input="", capture_output=True, text=True, cwd=os.sep, check=False)
    pairs = (line.partition(" ") for line in done.stdout.splitlines() if line.startswith("--"))
    found = [(kind, place.strip()) for kind, _, place in pairs]
    found.sort(key=lambda pair: pair[0] != "--find-links")
    if os.environ.get("UV_NO_INDEX", "").lower() in ("1", "true", "yes", "on"):
        return [pair for pair in found if pair[0] == "--find-links"]
    return found


def _links(page: str) -> Iterator[str]:
    """The addresses on an index's page, none if the index does not know the package."""
    answer = net.request("GET", page, headers=_PAGE)
    if answer.status == 404:
        return
    if answer.status != 200:
        raise net.Broken(f"the index answers with status {answer.status}", where=net.redact(page))
    if answer.headers.get("Content-Type", "").partition(";")[0].strip().endswith("json"):
        try:
            found: object = json.loads(answer.body)
        except ValueError:
            raise net.Broken("the index's page is not JSON", where=net.redact(page)) from None
        files = found.get("files") if isinstance(found, dict) else None
        for file in files if isinstance(files, list) else ():
            if isinstance(file, dict) and isinstance(file.get("url"), str):
                yield urljoin(page, file["url"])
        return
    reader = _Anchors()
    reader.feed(answer.body.decode("utf-8", "replace"))
    yield from (urldefrag(urljoin(page, target)).url for target in reader.targets)


class _Anchors(HTMLParser):
    """Where the links of a page lead."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        wanted: Mapping[str, str | None] = dict(attrs)
        if tag == "a" and (target := wanted.get("href")):
            self.targets.append(target)
