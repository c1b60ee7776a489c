"""The native launcher: whether there is one here, where its program comes from, and how it is asked.

It does what init.py does, in C (native/sandbox), for an eighth of the time. A wheel may carry the program;
else it is made once for each person, with the system's `cc`, in a folder of their own: no compiler is needed,
for where the program cannot be had or does not work, init.py does everything. The same walls stand either
way, and a level is the same level.

Recorded commands and private copies of folders (overlays) stay with init.py: what they wait for is the
program's own thousands of questions, not its start. So do those with hundreds of binds.

Rejected: the program in the store (a new store, as a worker or a clean build has it, would compile again),
and an extension module (an import, and so a compiler or a wheel, would be needed; and for good reasons the
launcher is a process of its own).
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import stat
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from fairlead import config
from fairlead.build.sandbox import filter, landlock, system
from fairlead.build.sandbox.command import LEVELS, Command, Enforced
from fairlead.build.sandbox.process import Process

NAME = "fairlead-sandbox"
_FLAGS = (
    *("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-fstack-protector-strong", "-fPIE", "-pie"),
    *("-Wall", "-Wextra", "-Wl,-z,relro,-z,now"),
)
_SECONDS = 60.0  # for the compiler
_BINDS = 200  # each takes a descriptor, of which there may be few
_NO_LIMIT = (1 << 64) - 1

_off: list[str] = []
"""Why the native launcher is not used by this process: the first reason counts."""


def choose(wanted: str) -> None:
    """Follow the setting `build.native_launcher`, "auto" or "off"."""
    _off[:] = [why for why in _off if why != _SWITCHED]
    if wanted == "off":
        give_up(_SWITCHED)


_SWITCHED = "the setting build.native_launcher is off"


def give_up(why: str) -> None:
    """Use it no more in this process."""
    _off.append(why)


def refusal() -> str:
    """Why commands are not started by the native launcher, or "" if they are."""
    if _off:
        return _off[0]
    try:
        _program()
    except NoneError as none:
        return str(none)
    return ""


def state() -> str:
    """For people: which launcher starts programs, and why if it is not the native one. Makes none."""
    if not _off and not _found.cache_info().currsize:
        return "none was needed yet"
    why = refusal()
    return f"in Python ({why})" if why else "native"


def can_run(command: Command) -> bool:
    """Whether this command is one for the native launcher."""
    return not (
        command.record
        or len(command.root_binds) > _BINDS
        or any(bind.overlay for bind in command.root_binds)
        or refusal()
    )


class Native(Process):
    """The native launcher while it runs. Its base is a document as init.py's, or says the level if there are
    no namespaces: the filter of a level is what its commands have in common."""

    def program(self) -> list[str]:
        if not os.path.exists(_program()):  # somebody has cleared the folder: it is made again
            _found.cache_clear()
        return [_program()]

    def message(self, own: Mapping[str, Any], *, first: bool) -> bytes:
        return encode(own, _base(self.base) if first else None)


# ---------------------------------------------------------------- requests


def encode(own: Mapping[str, Any], base: bytes | None) -> bytes:
    """A request as native/sandbox/request.c reads it: whole numbers of 4 or 8 bytes, and texts with their
    length before and a zero after them."""
    limits = [_NO_LIMIT if limit is None else limit for limit in own["limits"].values()]
    handled, rules = own["landlock"] or (b"", [])
    parts = [
        struct.pack("=I", LEVELS.index(own["level"])),
        _texts(own["argv"]),
        _texts(f"{name}={value}" for name, value in own["env"].items()),
        _text(own["cwd"]),
        _binds(own["binds"] if own["level"] == "namespace" else ()),
        _texts(own["masks"] if own["level"] == "namespace" else ()),
        struct.pack("=4QI", *limits, own["logs"]),
        _blob(handled),
        struct.pack("=QI", landlock.ON_FILES, len(rules)),
        *(_text(path) + struct.pack("=Q", rights) for path, rights in rules),
        struct.pack("=I", base is not None),
    ]
    return b"".join(parts if base is None else [*parts, base])


def _base(document: str) -> bytes:
    """What a launcher's commands have in common."""
    import json

    base = json.loads(document)
    machine = os.uname().machine
    level, network = base.get("level", "launcher"), base["network"]
    return b"".join(
        [
            _blob(filter.instructions("launcher", machine)),
            _blob(filter.instructions(level, machine, network=network)),
            _binds(base.get("binds", ())),
            _texts(base.get("masks", ())),
            struct.pack("=I", network),
            _text(base.get("hostname", "")),
            struct.pack("=QI", base.get("tmp", 0), base.get("outside", 0)),
        ]
    )


def _text(text: str) -> bytes:
    data = os.fsencode(text)
    return b"%b%b\0" % (struct.pack("=I", len(data)), data)


def _blob(data: bytes) -> bytes:
    return struct.pack("=I", len(data)) + data


def _texts(texts: Iterable[str]) -> bytes:
    parts = [_text(text) for text in texts]
    return struct.pack("=I", len(parts)) + b"".join(parts)


def _binds(rows: Sequence[Sequence[Any]]) -> bytes:
    parts = [struct.pack("=I", len(rows))]
    for source, dest, kind, seen in rows:
        device, inode = seen or (0, 0)
        parts += [_text(source), _text(dest)]
        parts.append(struct.pack("=IIQQ", kind == "write", seen is not None, device, inode))
    return b"".join(parts)


def rules(
    binds: Sequence[tuple[str, bool]], masks: Sequence[str], network: bool
) -> tuple[bytes, list[tuple[str, int]]]:
    """What holds a program by Landlock: the command's own `binds` and the system's."""
    handled, lasting = _lasting_rules(tuple(masks), network, int(time.monotonic()))
    _, own = landlock.rules(binds, masks, network=network)
    return handled, [*lasting, *own]


@functools.lru_cache(8)
def _lasting_rules(masks: tuple[str, ...], network: bool, second: int) -> tuple[bytes, list[tuple[str, int]]]:
    """Those that each command has. Kept for a second, for they take a look into many folders."""
    return landlock.rules([(str(bind.src), False) for bind in system.binds()], masks, network=network)


# ---------------------------------------------------------------- the program


class NoneError(Exception):
    """There is no native launcher on this machine; the text says why."""


@functools.cache
def _found() -> str | NoneError:
    try:
        return _find()
    except NoneError as none:
        return none


def _program() -> str:
    found = _found()
    if isinstance(found, NoneError):
        raise found
    return found


def _find() -> str:
    """Beside the package, or made by us."""
    if os.uname().sysname != "Linux" or os.uname().machine not in filter.SECCOMP:
        raise NoneError(f"there is none for {os.uname().sysname} on {os.uname().machine}")
    beside = Path(__file__).with_name(NAME)
    if os.access(beside, os.X_OK) and beside.is_file():
        return str(beside)
    compiler = shutil.which("cc")
    if compiler is None:
        raise NoneError("it is not part of this installation, and there is no cc to make it with")
    sources = _sources()
    if not sources:
        raise NoneError("its source is not part of this installation")
    try:
        return str(make(sources, compiler, _folder()))
    except OSError as error:
        raise NoneError(f"it cannot be made: {error}") from error


def _sources() -> dict[str, bytes]:
    """The C files by name: in a wheel below the package, in a clone beside it."""
    places = [resources.files("fairlead").joinpath("native"), Path(__file__).parents[3] / "native/sandbox"]
    for place in places:
        if place.is_dir():
            return {
                file.name: file.read_bytes() for file in place.iterdir() if file.name.endswith((".c", ".h"))
            }
    return {}


def _folder() -> Path:
    """The person's own folder for what a machine makes once. Their home is not made for it."""
    folder = config.user_cache_dir()
    if not any(outer.is_dir() for outer in (folder, folder.parent, folder.parent.parent)):
        raise NoneError(f"there is no folder to keep it in: {folder}")
    return folder / "native"


def make(sources: Mapping[str, bytes], compiler: str, folder: Path) -> Path:
    """The program of these sources in `folder`, compiled if it is not there; OSError or NoneError if it
    cannot be. What the compiler refuses is not tried again until it, or the sources, have changed."""
    where = folder / _digest(sources, compiler)
    where.mkdir(parents=True, mode=0o700, exist_ok=True)
    _check_ours(where, 0o077)
    program, failed = where / NAME, where / "failed"
    if program.exists():
        _check_ours(program, 0o022)
        return program
    if failed.exists():
        raise NoneError(f"the compiler refused it, see {failed}")
    with tempfile.TemporaryDirectory(prefix=".making-", dir=where) as temporary:
        making = Path(temporary)
        for name, data in sources.items():
            (making / name).write_bytes(data)
        files = sorted(name for name in sources if name.endswith(".c"))
        try:
            done = subprocess.run(
                [compiler, *_FLAGS, "-o", NAME, *files],
                cwd=making,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_SECONDS,
                check=False,
            )
            said, code = done.stdout, done.returncode
        except subprocess.TimeoutExpired as late:
            said, code = late.stdout or b"it took too long\n", 1
        if code != 0:
            (making / "failed").write_bytes(said)
            os.replace(making / "failed", failed)
            raise NoneError(f"the compiler refused it, see {failed}")
        os.chmod(making / NAME, 0o700)
        os.replace(making / NAME, program)
    return program


def _digest(sources: Mapping[str, bytes], compiler: str) -> str:
    """Of what the program depends on. A compiler counts by its file, not by its words: those would cost
    each call some milliseconds."""
    found = os.stat(compiler)
    digest = hashlib.sha256()
    parts = [os.path.realpath(compiler), str(found.st_size), str(found.st_mtime_ns), *_FLAGS]
    for part in [*map(os.fsencode, parts), *(data for _, data in sorted(sources.items()))]:
        digest.update(struct.pack("=Q", len(part)) + part)
    return digest.hexdigest()[:32]


def _check_ours(path: Path, others: int) -> None:
    """We start this program with our own rights: nobody else may have put it there."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & others:
        raise NoneError(f"{path} is not ours alone")


def level_of(document_level: Enforced, network: bool) -> str:
    """The base of a launcher where there are no namespaces."""
    return f'{{"level": "{document_level}", "network": {"true" if network else "false"}}}'
