"""What these tests build manifests and artifacts with, and how they look at what came out."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import blake3

from fairlead.cli import credentials
from fairlead.launch import manifest
from tests.net.web import Answer, Asked, Web

ROOT = Path(__file__).parents[2]
HEADER = manifest.HEADER + "\n"
PROBE = b"""#!/bin/sh
printf 'exe:%s\\n' "$(readlink -f "$0")"
for word in "$@"; do printf 'arg:%s\\n' "$word"; done
"""
HELLO = b'#!/bin/sh\necho hello "$@"\n'


@dataclass(frozen=True)
class finished:
    """A process that has ended."""

    code: int
    out: str
    err: str

    @classmethod
    def of(cls, argv: list[str], **kwargs: Any) -> finished:
        env = {**os.environ, "PYTHONPATH": str(ROOT), **kwargs.pop("env", {})}
        done = subprocess.run(argv, capture_output=True, env=env, timeout=60, **kwargs)
        return cls(done.returncode, done.stdout.decode(), done.stderr.decode())


class Run(Protocol):
    def __call__(self, *args: str | Path, **kwargs: Any) -> finished: ...


def entry(data: bytes, url: str, **more: object) -> dict[str, Any]:
    """The entry of a manifest for an artifact of these bytes, served at `url`."""
    made: dict[str, Any] = {
        "size": len(data),
        "hash": "blake3",
        "digest": blake3.blake3(data).hexdigest(),
        "path": "bin/tool",
        "providers": [{"url": url}],
    }
    if more.get("hash") == "sha256":
        made["digest"] = hashlib.sha256(data).hexdigest()
    return {**made, **more}


def text_of(made: Mapping[str, object]) -> str:
    """A manifest with that entry for this machine."""
    return HEADER + json.dumps({"name": "tool", "platforms": {manifest.host(): made}})


def write(folder: Path, data: bytes, url: str, **more: object) -> Path:
    """Write such a manifest into `folder`; its path."""
    path = folder / "tool"
    path.write_text(text_of(entry(data, url, **more)))
    return path


def tar(*members: tuple[str, bytes | str, Mapping[str, Any]], format: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of (name, content or link target, attributes of TarInfo)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for name, content, attributes in members:
            info = tarfile.TarInfo(name)
            info.mode, info.mtime = 0o755, 1_000_000_000
            if isinstance(content, bytes):
                info.size = len(content)
            else:
                info.linkname = content
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def zipped(*members: tuple[str, bytes, int], method: int = zipfile.ZIP_DEFLATED, system: int = 3) -> bytes:
    """A zip of (name, content, UNIX mode with file type; 0 for none recorded)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name, (2001, 2, 3, 4, 5, 6))
            info.create_system, info.compress_type = system, method
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return out.getvalue()


def tree(folder: Path, *, times: bool = False) -> dict[str, tuple[str, str]]:
    """Every name below `folder`: its mode as `ls` writes it (and mtime), its content or link target."""
    found: dict[str, tuple[str, str]] = {}
    for base, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(base, name)
            about = path.lstat()
            if stat.S_ISLNK(about.st_mode):
                content = "-> " + os.readlink(path)
            else:
                content = path.read_bytes().decode("latin-1") if path.is_file() else ""
            when = f" {int(about.st_mtime)}" if times and not path.is_dir() else ""
            found[str(path.relative_to(folder))] = (stat.filemode(about.st_mode) + when, content)
    return found


def temporary(cache: Path) -> list[str]:
    """Names that a fetch may use while it runs and must not leave."""
    return sorted(str(path.relative_to(cache)) for path in cache.rglob(".tmp*"))


def take_artifacts(web: Web, data: bytes, name: str) -> str:
    """Let the server take and serve this file as a Fairlead server does; its address."""
    address = f"/a/{blake3.blake3(data).hexdigest()}/{name}"
    kept: list[bytes] = []

    def answer(asked: Asked) -> Answer:
        if asked.method == "PUT" and asked.headers.get("authorization") != "Bearer secret-token":
            return Answer(401, b'{"what": "publishing needs a token", "where": "", "remedy": "log in"}')
        if asked.method == "PUT":
            kept[:] = [asked.body]
            return Answer(201)
        return Answer(body=kept[0]) if kept else Answer(404)

    web.answers[address] = answer
    return web.url + address


def log_in(url: str, token: str = "secret-token") -> None:
    """What `fairlead login` leaves behind."""
    credentials.save(credentials.Login(url, "author", token))


def downloads(asked: list[Any]) -> list[str]:
    return [request.path for request in asked if request.method == "GET"]
