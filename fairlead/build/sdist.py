"""Wheels of releases that are published as source archives alone.

A build is the package's own code. It runs in the sandbox, without a network, in a scratch folder, and sees
the archive and an environment with what the build declares, which is resolved to wheels. The wheel is kept in
the store under all that it was made from, apart from the environments that hold it.

Which versions build is not in a lock: two machines may build with others. Tests on disk count a package by
what is in it, so they notice; the keys of commits hold the lock alone.
"""

from __future__ import annotations

import json
import pkgutil
import platform
import re
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairlead.build import index, sandbox
from fairlead.build.lockfile import normal
from fairlead.build.sandbox import MIB, Bind, Command
from fairlead.build.stage import ENVIRONMENT, Environment
from fairlead.errors import FairleadError, MachineryError, UsageError
from fairlead.store import Record, Store, digest

_KEPT = "built-wheel"
_SECONDS = 1200.0
_PLACE = "/fairlead-build"
_LEGACY = ("setuptools.build_meta:__legacy__", ("setuptools>=40.8.0",))
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[A-Za-z0-9._, -]*\])?\s*([(<>=!~;][^@\r\n]*)?")

Environments = Callable[[Sequence[str]], Environment]
"""Gives the environment with some requirements, resolved to wheels."""


@dataclass(frozen=True)
class Release:
    """A pinned release: as a lock's line has it, `hashes` such as "sha256:..."."""

    name: str
    version: str
    hashes: frozenset[str]

    @classmethod
    def of(cls, line: str) -> Release:
        """The release that a line of a lock pins (`toolchain.check_lock`)."""
        pin, _, rest = line.partition(" --hash=")
        name, _, version = pin.partition(";")[0].partition("==")
        return cls(
            name.partition("[")[0].strip(), version.strip(), frozenset(rest.replace("--hash=", " ").split())
        )


@dataclass(frozen=True)
class _Backend:
    """What a source archive says of its build."""

    name: str
    path: tuple[str, ...]
    requires: tuple[str, ...]


def wheel(
    release: Release, version: str, store: Store, uv: str, environments: Environments, folder: Path
) -> Path:
    """The wheel of a release, put into `folder`, for a Python of full version `version`; built now if the
    store has none. UsageError if it cannot be built, MachineryError if it cannot be had."""
    key = Record(
        _KEPT,
        1,
        {
            "release": [normal(release.name), release.version, *sorted(release.hashes)],
            "python": version,
            "platform": sys.platform,
            "machine": platform.machine(),
            "program": digest.of_bytes(_program()),
        },
    ).key
    known = store.results.get(_KEPT, key)
    if known is not None:
        try:
            file, blob = json.loads(known)
            path = folder / Path(file).name
            path.write_bytes(store.blobs.get(blob))
            return path
        except (MachineryError, ValueError, TypeError):  # lost or damaged
            store.results.delete(_KEPT, key)
    (store.root / "scratch").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="wheel-", dir=store.root / "scratch") as scratch:
        try:
            path = _built(release, uv, environments, Path(scratch))
        except FairleadError as error:
            error.where = error.where or f"{release.name}=={release.version}"
            raise
        _check(path, release)
        data = path.read_bytes()
        store.results.put(_KEPT, key, json.dumps([path.name, store.blobs.put(data)]).encode())
        (folder / path.name).write_bytes(data)
    return folder / path.name


def _program() -> bytes:
    source = pkgutil.get_data("fairlead.build", "build_wheel.py")
    assert source is not None
    return source


def _built(release: Release, uv: str, environments: Environments, scratch: Path) -> Path:
    fetched = scratch / "fetched"
    fetched.mkdir()
    archive = index.archive(uv, release.name, release.version, release.hashes, fetched)
    source = unpack(archive, scratch / "source")
    (scratch / "build_wheel.py").write_bytes(_program())
    backend = _backend(source)
    environment = environments(backend.requires)
    more = _run(scratch, source, backend, environment, "requires")["requires"]
    if isinstance(more, list) and more:
        environment = environments([*backend.requires, *_plain(more)])
    made = _run(scratch, source, backend, environment, "wheel")["wheel"]
    path = scratch / "wheel" / Path(str(made)).name
    if not path.is_file() or path.is_symlink():
        raise UsageError("the build said that it made a wheel, and there is none")
    return path


def unpack(archive: Path, to: Path) -> Path:
    """The one folder that a source archive holds, below `to`, which is made."""
    to.mkdir()
    try:
        if archive.name.endswith(".zip"):
            with zipfile.ZipFile(archive) as members:
                members.extractall(to)  # leaves out what would lead out of the folder
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(to, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise UsageError(f"the source archive cannot be unpacked: {error}") from None
    folders = [path for path in to.iterdir() if path.is_dir() and not path.is_symlink()]
    if len(folders) != 1:
        raise UsageError("the source archive does not hold one folder")
    return folders[0]


def _backend(source: Path) -> _Backend:
    try:
        found: object = tomllib.loads((source / "pyproject.toml").read_text("utf-8"))
    except FileNotFoundError:
        found = {}
    except (ValueError, OSError) as error:
        raise UsageError(f"its pyproject.toml cannot be read: {error}") from None
    said = found.get("build-system") if isinstance(found, dict) else None
    if not isinstance(said, dict):
        return _Backend(_LEGACY[0], (), _LEGACY[1])
    name, path = said.get("build-backend", _LEGACY[0]), said.get("backend-path", [])
    inner = [text for text in path if isinstance(text, str)] if isinstance(path, list) else []
    return _Backend(str(name), tuple(inner), tuple(_plain(said.get("requires"))))


def _plain(lines: object) -> list[str]:
    """Requirements by name: an option or an address would say where this machine fetches from."""
    found = [str(line) for line in lines] if isinstance(lines, list) else []
    for line in found:
        if not _PLAIN.fullmatch(line.strip()):
            raise UsageError(f"its build needs {line!r}, which is no name with a version")
    return found


def _run(
    scratch: Path, source: Path, backend: _Backend, environment: Environment, ask: str
) -> dict[str, object]:
    """What build_wheel.py answers to "requires" or "wheel"; UsageError with the end of its log."""
    level = sandbox.enforcement("auto")
    if level == "none":
        raise UsageError(
            "it has no wheel, and its build does not run without a sandbox, which this machine does not give",
            remedy="take a release that has a wheel",
        )
    out, work, log = scratch / ask, scratch / f"work-{ask}", scratch / f"log-{ask}"
    out.mkdir()
    work.mkdir()
    inside = level == "namespace"
    place = {path: f"{_PLACE}/{path.name}" if inside else str(path) for path in (out, work, source)}
    program = f"{_PLACE}/build_wheel.py" if inside else str(scratch / "build_wheel.py")
    seen = environment.inside if inside else str(environment.folder)
    tmp = "/tmp" if inside else place[work]
    asked = {
        "source": place[source],
        "backend": backend.name,
        "path": list(backend.path),
        "out": place[out] if ask == "wheel" else "",
        "answer": f"{place[work]}/answer",
    }
    done = sandbox.run(
        Command(
            argv=[f"{seen}/bin/python", program, json.dumps(asked)],
            env={**ENVIRONMENT, "HOME": tmp, "TMPDIR": tmp, "PATH": f"{seen}/bin:{ENVIRONMENT['PATH']}"},
            cwd=place[source],
            stdout=log,
            root_binds=[
                *environment.binds,
                Bind(environment.folder, seen),
                Bind(scratch / "build_wheel.py", program),
                *(Bind(path, place[path], writable=True) for path in (out, work)),
                Bind(source, place[source], writable=not inside, overlay=inside),
            ],
            masks=environment.masks,
            memory_bytes=8192 * MIB,
            wall_seconds=_SECONDS,
            level=level,
        )
    )
    told = work / "answer"  # by a program that may have put a link there
    try:
        answer: object = json.loads(told.read_text("utf-8") if not told.is_symlink() else "")
    except (OSError, ValueError):
        answer = None
    if done.code or not isinstance(answer, dict):
        lines = log.read_text("utf-8", "replace").strip().splitlines()
        said = "".join(f"\n  | {line}" for line in lines[-12:])
        why = f"took more than {_SECONDS:.0f} s" if done.timed_out else f"ended with {done.code}"
        raise UsageError(f"it has no wheel, and its build {why}:{said}")
    return answer


def _check(path: Path, release: Release) -> None:
    """UsageError unless the file is a wheel of that release: the build may have made anything."""
    name, _, rest = path.name.partition("-")
    version = rest.partition("-")[0]
    if path.suffix != ".whl" or normal(name) != normal(release.name) or not _same(version, release.version):
        raise UsageError(
            f"its build made {path.name}, which is another release",
            where=f"{release.name}=={release.version}",
        )


def _same(one: str, other: str) -> bool:
    """Whether two versions are alike but for what a file's name cannot hold."""
    return re.sub(r"[-+_.]", ".", one.lower()) == re.sub(r"[-+_.]", ".", other.lower())
