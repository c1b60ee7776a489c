"""Starts the daemon of the project that we stand in.

The client that finds no daemon pays for this before its command begins, so next to nothing is imported here:
whether the project wants a daemon, and where its root and its store are, is found out by the new process,
which imports all that anyway. Only where a settings file has a word about daemons is it read here, lest each
command of a project that wants none start a process for nothing.

What the new process gets from its first caller is not to be seen by the next: it has a session, signals and a
locale of its own, no variables of Python's that change how it runs, and `life.serve` leaves it none of the
caller's others. Its niceness cannot be taken back, so that is part of what `client.program` compares.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from fairlead.build.daemon import client
from fairlead.errors import MachineryError

LISTENS, UNWANTED = b"1", b"0"
"""What a new process says of itself. If it says nothing, another has been quicker."""

SETTINGS = ("fairlead.toml", "pyproject.toml")
_MARKS = (".buckconfig", ".buckroot", *SETTINGS)
_START = 20.0  # seconds for a new daemon to listen
_SOON = 5.0  # seconds for one that another client has started
_CODE = "import sys; from fairlead.cli import main; sys.exit(main(sys.argv[1:]))"
_PYTHON = ("PATH", "HOME", "NOUSERSITE", "USERBASE", "DONTWRITEBYTECODE", "PYCACHEPREFIX", "PLATLIBDIR")
_KEPT = frozenset(f"PYTHON{name}" for name in _PYTHON)
"""Where modules are; all other variables of Python's say how it runs."""


def folder() -> str:
    """The private folder, made if absent; MachineryError if it cannot be had for us alone."""
    place = client.folder(os.environ)
    try:
        os.makedirs(os.path.dirname(place) or ".", exist_ok=True)
        try:
            os.mkdir(place, 0o700)
        except FileExistsError:
            seen = os.lstat(place)
            if seen.st_mode & 0o170000 == 0o040000 and seen.st_uid == os.getuid() and seen.st_mode & 0o077:
                os.chmod(place, 0o700)
    except OSError as error:
        raise MachineryError(
            f"cannot make the daemon's folder: {error.strerror}",
            where=place,
            remedy="choose another with FAIRLEAD_STATE_DIR, or set build.daemon to off",
        ) from None
    if not client.private(place):
        raise MachineryError(
            "the daemon's folder is not ours alone",
            where=place,
            remedy="remove it, or choose another with FAIRLEAD_STATE_DIR",
        )
    return place


def settled(start: str, env: os._Environ[str]) -> bool:
    """Whether nothing is said about daemons around the folder `start`, nor in the person's own settings, and
    there may be a project."""
    files, found = [personal(env)], False
    while True:
        files += [f"{start}/{name}" for name in SETTINGS]
        found = found or any(os.path.lexists(f"{start}/{name}") for name in _MARKS)
        above = os.path.dirname(start)
        if above == start:
            return found and not any(map(_speaks, files))
        start = above


def personal(env: os._Environ[str]) -> str:
    """The file of a person's settings: where `config.user_config_dir` has it, which would take longer to
    import than this takes to run."""
    own, shared = env.get("FAIRLEAD_CONFIG_DIR"), env.get("XDG_CONFIG_HOME", "")
    if not own and not shared.startswith("/"):
        home = env.get("HOME") or os.path.expanduser("~")
        shared = home + ("/Library/Application Support" if sys.platform == "darwin" else "/.config")
    return f"{own or f'{shared}/fairlead'}/config.toml"


def _speaks(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return b"daemon" in file.read()
    except OSError:
        return False


def start(cwd: str) -> bool:
    """Start a daemon for the project around `cwd`, or find one that starts at this moment; whether one
    listens."""
    place = folder()
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    # -P: the folder we stand in may hold something that is called like a module of ours.
    argv = [sys.executable, "-P", "-c", _CODE, "daemon-process", "--start", cwd, "--ready", str(writer)]
    nothing = [(os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_RDWR, 0) for n in (0, 1, 2)]
    try:
        pid = os.posix_spawn(
            sys.executable,
            argv,
            environment(os.environ),
            file_actions=nothing,
            setsid=True,
            setsigmask=[],
            setsigdef=[one for one in range(1, 32) if one not in (signal.SIGKILL, signal.SIGSTOP)],
        )
    except OSError:
        os.close(reader)
        return False
    finally:
        os.close(writer)
    with open(reader, "rb", buffering=0) as heard:
        said = heard.read(1) if select.select([heard], [], [], _START)[0] else b""
    if said:
        return said == LISTENS
    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
        os.waitpid(pid, 0)
    until = time.monotonic() + _SOON
    while time.monotonic() < until:  # another client has started one: it will listen soon
        for path in client.sockets(cwd, place):
            sock = client.connect(path)
            if sock is not None:
                sock.close()
                return True
        time.sleep(0.02)
    return False


def environment(env: os._Environ[str]) -> dict[str, str]:
    """What a new process is started with: texts are UTF-8 there, and Python runs as it does by default."""
    kept = {name: value for name, value in env.items() if not name.startswith("PYTHON") or name in _KEPT}
    return {**kept, "LC_ALL": "C.UTF-8"}


def own(env: os._Environ[str]) -> dict[bytes, bytes]:
    """What a daemon keeps of that: who we are, and where our state is. A command brings its own."""
    kept = {name: value for name, value in env.items() if name == "HOME" or name.startswith("XDG_")}
    kept |= {name: env[name] for name in ("FAIRLEAD_STATE_DIR", "FAIRLEAD_CACHE_DIR") if name in env}
    fixed = {**kept, "PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    return {os.fsencode(name): os.fsencode(value) for name, value in fixed.items()}
