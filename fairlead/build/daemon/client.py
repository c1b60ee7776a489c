"""Hands a command to the daemon of the project that we stand in, and waits for its exit code.

The daemon gets our descriptors 0, 1 and 2 themselves, with the working folder, the environment and the
umask: it writes to the terminal or pipe as we would, so colours, width and order are the same.

Every call pays for what is imported here: nothing but what the interpreter has loaded anyway, and two
built-in modules. (Measured: a console script takes 8.5 ms, a bare `python -I -S -E` 6; a script that leads to
the latter would have to find its interpreter by a shell, and the gain would be gone.)
"""

from __future__ import annotations

import os
import sys

VERBS = frozenset({"build", "test", "targets", "affected", "query", "why"})
"""What a daemon does. The rest needs a terminal to itself, or knows no project."""

MAGIC = b"fairlead-daemon-1"
ALIVE = b"begun"
_OFF = ("off", "0", "false", "no")
_ON = ("on", "1", "true", "yes")
_LENGTH = 100  # a socket's address has 104 bytes at least; the name below the folder takes some


def wanted(argv: list[str], env: os._Environ[str]) -> bool:
    """Whether the command is one for a daemon, as far as the words and the environment say it."""
    if not argv or argv[0] not in VERBS or "--no-daemon" in argv or "--pdb" in argv or "--help" in argv:
        return False
    asked = env.get("FAIRLEAD_BUILD_DAEMON", "").lower()
    return asked not in _OFF and (env.get("CI") != "true" or asked in _ON)


def folder(env: os._Environ[str]) -> str:
    """Where sockets are: in the folder of FAIRLEAD_STATE_DIR, else in the session's runtime folder, else with
    the rest of the user's state. Its name may be relative or too long for a socket: see `connect`."""
    own, run, state = (env.get(n, "") for n in ("FAIRLEAD_STATE_DIR", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"))
    if own:
        return os.path.join(own, "daemon")
    if run.startswith("/"):
        return run + "/fairlead-daemon"
    if state.startswith("/"):
        return state + "/fairlead/daemon"
    home = env.get("HOME") or os.path.expanduser("~")
    tail = "Library/Application Support" if sys.platform == "darwin" else ".local/state"
    return f"{home}/{tail}/fairlead/daemon"


def name(root: str) -> str:
    """What the files of a project's daemon are called."""
    import _blake2

    return _blake2.blake2b(os.fsencode(root), digest_size=10).hexdigest()


def private(place: str) -> bool:
    """Whether the folder is there, ours, and nobody else's to enter."""
    try:
        seen = os.lstat(place)
    except OSError:
        return False
    return seen.st_mode & 0o170077 == 0o040000 and seen.st_uid == os.getuid()


def sockets(start: str, place: str) -> list[str]:
    """Sockets of the folders from `start` up, the nearest first."""
    found = []
    while True:
        path = f"{place}/{name(start)}.sock"
        if os.path.lexists(path):
            found.append(path)
        above = os.path.dirname(start)
        if above == start:
            return found
        start = above


def connect(path: str):  # type: ignore[no-untyped-def]
    """A connection to the socket at `path`, or None if nobody listens there.

    The kernel takes 107 bytes: a longer path is gone to, and back from. This is for programs with one thread.
    """
    import _socket

    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        if len(os.fsencode(path)) <= _LENGTH:
            sock.connect(path)
            return sock
        here = os.open(".", os.O_RDONLY)
        try:
            os.chdir(os.path.dirname(path))
            sock.connect(os.path.basename(path))
        finally:
            os.fchdir(here)
            os.close(here)
        return sock
    except OSError:
        sock.close()
        return None


def program() -> str:
    """What runs here, among which mounts, and how nice: a daemon of another program, or one in another
    container that shares our home, is of no use, and one of another niceness does not let others go first as
    we were told to."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    top = os.stat("/")
    try:
        mounts = os.readlink("/proc/self/ns/mnt")
    except OSError:
        mounts = ""
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    return f"{sys.version} {sys.prefix} {package} {mounts} {top.st_dev} {top.st_ino} {nice}"


def request(argv: list[str], env: os._Environ[str], cwd: str) -> bytes:
    """The message that asks for a command: its length, then fields that a NUL ends."""
    os.umask(umask := os.umask(0o077))
    # A descriptor that is closed gives no stream; the daemon is not called then.
    fields = [
        MAGIC,
        b"run",
        os.fsencode(program()),
        os.fsencode(cwd),
        b"%o" % umask,
        f"{sys.stdout.encoding} {sys.stdout.errors}".encode(),
        b"%d" % len(argv),
        *map(os.fsencode, argv),
        *(os.fsencode(f"{key}={value}") for key, value in env.items()),
    ]
    body = b"\0".join(fields)
    return len(body).to_bytes(8, "big") + body


def ask(sock, message: bytes, fds: bytes = b"") -> None:  # type: ignore[no-untyped-def]
    """Send a whole message; the descriptors, packed, go with its first byte."""
    import _socket

    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds)] if fds else []
    sent = sock.sendmsg([message], rights)
    if sent < len(message):
        sock.sendall(message[sent:])


def call(argv: list[str]) -> int | None:
    """Let the daemon run the command; its exit code. None if there is no daemon, or it is not the one: the
    command is then still to be run."""
    if sys.stdout is None or sys.stderr is None or sys.stdin is None:
        return None
    place = folder(os.environ)
    try:
        cwd = os.getcwd()
    except OSError:
        return None
    if not private(place):
        return None
    for path in sockets(cwd, place):
        sock = connect(path)
        if sock is None:
            continue
        try:
            fds = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
            ask(sock, request(argv, os.environ, cwd), fds)
        except (OSError, ValueError):  # it has gone, or a descriptor is closed, or a word cannot be sent
            sock.close()
            continue
        code = _answer(sock)
        sock.close()
        if code is not None:
            return code
    return None


def _answer(sock) -> int | None:  # type: ignore[no-untyped-def]
    """Follow a command until it ends. Ctrl-C is passed on; the third one leaves."""
    begun, wrote, interrupts, rest = False, False, 0, b""
    while True:
        try:
            data = sock.recv(4096)
        except KeyboardInterrupt:
            interrupts += 1
            if interrupts > 2:
                return 130
            try:
                sock.send(b"c")
            except OSError:
                pass
            continue
        except OSError:
            data = b""
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            word, _, text = line.partition(b" ")
            if word == b"code":
                return int(text)
            if word in (b"renew", b"refuse"):
                return None
            begun = begun or word == ALIVE
            wrote = wrote or word == b"wrote"
            if word == b"wait":
                print(text.decode("utf-8", "replace"), file=sys.stderr, flush=True)
    if interrupts:
        print("interrupted", file=sys.stderr)
        return 130
    if wrote:
        print(
            "error: the daemon ended while it answered\n"
            "  what to do: run the command again; what was done before is known",
            file=sys.stderr,
        )
        return 3
    if begun:
        print("the daemon ended; the command runs without it", file=sys.stderr, flush=True)
        os.environ["FAIRLEAD_BUILD_DAEMON"] = "off"  # and does not start another
    return None
