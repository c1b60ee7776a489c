"""A Python environment made from a hash-locked requirements file, kept in the store under its key.

The key is a digest of the lock's bytes, the interpreter asked for and the interpreter found, so an
environment is made once for each and never changed. Wheels only, each with its hash, no dependencies beyond
the lock: nothing of a package runs while it is installed. What has no wheel for this machine is built from
its source archive first, in the sandbox (fairlead/build/sdist.py). What the interpreter itself has in
site-packages is not part of it.

The lock may hold pinned names with hashes and nothing else. An option or an address in it would let a
submitted change choose where this machine fetches from, and installers put this process's variables in place
of `${NAME}`, which an error message would then tell; indexes and proxies belong in the user's own pip or
uv settings.

Rejected: `venv` (Debian ships it apart, and its scripts name the folder they were made in) and pip's
`--target` (no console scripts, no environment that `python` recognises).
"""

from __future__ import annotations

import functools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairlead.build import lockfile, roots
from fairlead.build.plan import Toolchain
from fairlead.build.sandbox import system
from fairlead.build.stage import Environment
from fairlead.errors import FairleadError, MachineryError, UsageError
from fairlead.store import Record, Store, atomic, crashpoint, digest, lock

BEFORE_COMPLETE = crashpoint.declare(
    "build.toolchain.before-complete", "an environment is installed but not marked complete"
)
_MARK = ".complete"
_WHEELS = "built-wheels"
_INTERPRETER = re.compile(r"python3(?:\.\d+)?")
_PINNED = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?:\[[A-Za-z0-9._, -]*\])?\s*==\s*[A-Za-z0-9._!+-]+"
    r"\s*(?:;(?:(?!\s-)[^@$])*?)?(?:\s+--hash=sha(?:256|384|512):[0-9a-f]+)+"
)
_NETWORK = ("connect", "timed out", "timeout", "name resolution", "dns error", "retrying", "sending request")
_LOCK = ("hash", "no matching distribution", "no solution found", "no wheel", "not found in the")
_SCRIPT = (
    "#!/bin/sh\n"
    '\'\'\'exec\' "$(dirname -- "$0")/python" "$0" "$@"\n'
    "' '''\n"
)  # sh sees two empty strings and exec, Python one text: the script finds the python beside it


@dataclass(frozen=True)
class Interpreter:
    """A CPython on this machine: its own path, full version ("3.11.7") and the prefix it is installed in."""

    path: str
    version: str
    prefix: str

    @property
    def minor(self) -> str:
        """ "3.11" """
        return ".".join(self.version.split(".")[:2])


@functools.cache
def interpreter(request: str) -> Interpreter:
    """The interpreter that a toolchain asks for: "" is ours, else a command; UsageError if there is none."""
    if not request:
        return Interpreter(system.interpreter(), platform.python_version(), sys.base_prefix)
    remedy = "install it, or leave `interpreter` empty to use the one that runs fairlead"
    # It is asked for its version outside of the sandbox: a path could name a program of a submitted change.
    if _INTERPRETER.fullmatch(request) is None:
        raise UsageError(
            f"{request!r} is not the name of an interpreter",
            where="python_toolchain",
            remedy="write python3 or python3.N, found on the PATH, or leave it empty",
        )
    path = shutil.which(request)
    if path is None:
        raise UsageError(f"there is no interpreter {request}", where="python_toolchain", remedy=remedy)
    ask = (
        "import json, os, platform, sys; print(json.dumps([os.path.realpath(sys._base_executable),"
        " platform.python_version(), sys.base_prefix, sys.implementation.name]))"
    )
    try:
        done = subprocess.run([path, "-I", "-S", "-c", ask], capture_output=True, timeout=60, check=True)
        real, version, prefix, kind = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise UsageError(
            f"the interpreter {request} does not answer: {error}", where=path, remedy=remedy
        ) from None
    if kind != "cpython":
        raise UsageError(f"the interpreter {request} is {kind}", where=path, remedy="name a CPython")
    return Interpreter(real, version, prefix)


def versions(toolchains: Mapping[str, Toolchain], labels: Iterable[str]) -> dict[str, str]:
    """The version of each toolchain's interpreter here, "" if there is none. A target's key has what was
    asked for, so that machines share it whose Pythons differ in the last digit; what was kept on this machine
    heeds them."""

    def version(label: str) -> str:
        try:
            return interpreter(toolchains[label].interpreter).version
        except UsageError:  # if anything needs it, the run says so
            return ""

    return {label: version(label) for label in labels}


def record(toolchain: Toolchain, lock_digest: str) -> Record:
    """The record of an environment: what was asked for, what that is here, and the lock's SHA-256."""
    found = interpreter(toolchain.interpreter)
    return Record(
        "toolchain",
        2,
        {
            "interpreter": toolchain.interpreter,
            "version": found.version,
            "lock": lock_digest,
            "platform": [sys.platform, platform.machine()],
        },
    )


def check_lock(text: str, where: str) -> list[str]:
    """The requirements of a lock, one a line; UsageError at the first line that is not name==version with
    hashes."""
    found = []
    lines = text.replace("\\\r\n", "\\\n").split("\n")
    number = 0
    while number < len(lines):
        first, line = number + 1, lines[number]
        while line.endswith("\\") and number + 1 < len(lines):
            number += 1
            line = line[:-1] + " " + lines[number]
        number += 1
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        if not line:
            continue
        if _PINNED.fullmatch(line) is None:
            raise UsageError(
                f"a lock holds name==version with --hash only, not: {line.split(' --hash')[0][:80]}",
                where=f"{where}:{first}",
                remedy="make it with `uv pip compile --generate-hashes`; an index belongs in uv's settings",
            )
        found.append(" ".join(line.split()))
    return found


def environment(
    toolchain: Toolchain,
    data: bytes,
    store: Store,
    *,
    on_install: Callable[[str], None] = lambda _: None,
) -> Environment:
    """The environment of `toolchain`, whose lock has the bytes `data`; installed now if it is not in the
    store.

    UsageError for a lock or interpreter that cannot be used, MachineryError if the installer or the disk
    fails.
    """
    key = store.put_record(record(toolchain, digest.of_bytes(data)))
    folder = store.root / "environments" / key
    found = interpreter(toolchain.interpreter)
    if not (folder / _MARK).is_file():
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise UsageError("the lock is not UTF-8 text", where=toolchain.lock) from None
        if lockfile.reads(toolchain.lock):
            text = lockfile.requirements(toolchain.lock, text)
        pinned = check_lock(text, toolchain.lock)
        with lock.hold(store.root / "environments" / f"{key}.lock"):
            if not (folder / _MARK).is_file():
                on_install(f"{toolchain.label}: installing {len(pinned)} packages")
                _install(folder, pinned, found, toolchain, store, on_install)
    same = os.path.realpath(found.prefix) == os.path.realpath(sys.base_prefix)
    binds = [] if same else system.prefix_binds(found.prefix)
    masks = [] if same else system.masks(found.prefix)
    return Environment(folder, key, tuple(binds), tuple(masks))


def _install(
    folder: Path,
    pinned: list[str],
    found: Interpreter,
    toolchain: Toolchain,
    store: Store,
    on_install: Callable[[str], None],
) -> None:
    try:
        atomic.remove(folder)  # what a killed run left
        site = _empty_environment(folder, found)
        if pinned:
            listing = folder / "requirements.txt"
            try:
                _run(_installer(folder, listing, pinned), toolchain)
            except UsageError:
                without = _without_wheel(pinned, folder, toolchain)
                uv = _uv()
                if not without or uv is None:
                    raise
                built = _built(without, found, toolchain, store, uv, folder, on_install)
                rest = [line for line in pinned if line not in without]
                _run(_installer(folder, listing, rest), toolchain)
                only = ["--no-index", "--find-links", str(folder / _WHEELS)]
                _run([*_installer(folder, listing, built), *only], toolchain)
                atomic.remove(folder / _WHEELS)
        for script in (folder / "bin").iterdir():
            _make_relocatable(script, folder)
        compiling = ["-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(site)]
        # A package may hold files for another Python: what does not compile is left as source.
        subprocess.run([found.path, "-I", "-S", *compiling], capture_output=True, check=False)
        _make_readable(folder)
        crashpoint.here(BEFORE_COMPLETE)
        atomic.write(folder / _MARK, b"")
    except OSError as error:
        atomic.remove(folder)
        raise atomic.failed(error, "install the environment", folder) from error
    except FairleadError:
        atomic.remove(folder)
        raise


def _without_wheel(lines: list[str], folder: Path, toolchain: Toolchain) -> list[str]:
    """The lines of a lock for which the installer finds no wheel. It is asked for all and then for halves:
    what it says in words differs from version to version."""
    try:
        _run([*_installer(folder, folder / "requirements.txt", lines), "--dry-run"], toolchain)
    except UsageError:
        if len(lines) == 1:
            return lines
        half = len(lines) // 2
        parts = (lines[:half], lines[half:])
        return [line for part in parts for line in _without_wheel(part, folder, toolchain)]
    return []


def _built(
    lines: list[str],
    found: Interpreter,
    toolchain: Toolchain,
    store: Store,
    uv: str,
    folder: Path,
    on_install: Callable[[str], None],
) -> list[str]:
    """Build wheels for lines of a lock; the lines that name these."""
    from fairlead.build import sdist
    from fairlead.build.resolve import pins

    def environments(requires: Sequence[str]) -> Environment:
        """What a build declares, of wheels alone."""
        text = pins(requires, toolchain.interpreter)
        lock = f"{toolchain.lock} (what its builds need)"
        own = Toolchain(toolchain.label, toolchain.interpreter, lock)
        return environment(own, text.encode(), store)

    wheels = folder / _WHEELS
    wheels.mkdir()
    made = []
    for line in lines:
        release = sdist.Release.of(line)
        on_install(f"{toolchain.label}: building {release.name}=={release.version}, which has no wheel")
        path = sdist.wheel(release, found.version, store, uv, environments, wheels)
        made.append(f"{line.partition(' --hash=')[0]} --hash=sha256:{digest.of_file(path)}")
    return made


def _empty_environment(folder: Path, found: Interpreter) -> Path:
    """The folders, links and pyvenv.cfg by which an interpreter knows an environment, and the place for the
    roots of a project; its site-packages."""
    site = folder / "lib" / f"python{found.minor}" / "site-packages"
    site.mkdir(parents=True)
    (site / roots.NAME).touch()
    (folder / "lib64").symlink_to("lib")
    (folder / "bin").mkdir()
    (folder / "bin/python").symlink_to(found.path)
    for name in ("python3", f"python{found.minor}"):
        (folder / "bin" / name).symlink_to("python")
    (folder / "pyvenv.cfg").write_text(
        f"home = {os.path.dirname(found.path)}\ninclude-system-site-packages = false\n"
        f"version = {found.version}\n",
        "utf-8",
    )
    return site


def _installer(folder: Path, listing: Path, lines: Sequence[str]) -> list[str]:
    """The command that installs `lines`, which are put into the file `listing`: uv if it is at hand, else
    pip."""
    listing.write_text("\n".join(lines) + "\n", "utf-8")
    python = str(folder / "bin/python")
    wanted = ["--require-hashes", "--only-binary", ":all:", "--no-deps", "-r", str(listing)]
    uv = _uv()
    if uv is not None:
        return [uv, "pip", "install", "--quiet", "--link-mode", "copy", "--python", python, *wanted]
    import importlib.util

    if importlib.util.find_spec("pip") is None:
        raise MachineryError(
            "neither uv nor pip is installed beside fairlead",
            where=sys.prefix,
            remedy="install one of them into the environment that fairlead runs in, such as `pip install uv`",
        )
    quiet = [
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--no-compile",
        "--no-warn-script-location",
    ]
    return [sys.executable, "-m", "pip", "--python", python, "install", *quiet, *wanted]


def _uv() -> str | None:
    beside = Path(sys.executable).parent / "uv"
    if beside.is_file():
        return str(beside)
    return shutil.which("uv")


def _run(command: list[str], toolchain: Toolchain) -> None:
    hidden = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "UV_PYTHON")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    # Not in the store, which may lie in a repository: the settings of uv that stand around it would count.
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", env=env, cwd=os.sep, check=False
    )
    if done.returncode:
        raise _install_failed((done.stderr or done.stdout).strip().splitlines(), toolchain)


def _install_failed(lines: list[str], toolchain: Toolchain) -> FairleadError:
    """The lock's fault or the machine's: a worker blames a change for the one, tries again for the other."""
    what = f"cannot install the environment of {toolchain.label}:"
    what += "".join(f"\n  | {line}" for line in lines[-12:])
    text = "\n".join(lines).lower()
    if "no space left on device" in text:
        return MachineryError(what, where=toolchain.lock, remedy="free some space on that disk, run it again")
    if any(word in text for word in _NETWORK) or not any(word in text for word in _LOCK):
        return MachineryError(what, where=toolchain.lock, remedy="check the network and run it again")
    return UsageError(
        what,
        where=toolchain.lock,
        remedy="check its versions and hashes, and that each package has a wheel for this machine",
    )


def _make_relocatable(script: Path, folder: Path) -> None:
    """Let a console script start the python beside it: inside a sandbox the folder has another name."""
    if script.is_symlink():
        return
    lines = script.read_bytes().split(b"\n")
    long = lines[0] == b"#!/bin/sh" and len(lines) > 3 and lines[1].startswith(b"'''exec'")
    head = lines[:3] if long else lines[:1]  # a long path makes installers write three lines
    if lines[0].startswith(b"#!") and os.fsencode(folder) in b"".join(head):
        script.write_bytes(_SCRIPT.encode() + b"\n".join(lines[len(head) :]))


def _make_readable(folder: Path) -> None:
    """For the program's own user inside a sandbox, whatever umask we run under."""
    for base, _, files in os.walk(folder):
        os.chmod(base, 0o755)
        for name in files:
            path = os.path.join(base, name)
            if not os.path.islink(path):
                os.chmod(path, 0o555 if os.stat(path).st_mode & 0o100 else 0o444)
