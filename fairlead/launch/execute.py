"""Start a pinned executable in place of this process, as `dotslash FILE ARGS` does.

The tool must not notice that Python was here: argv, environment, working folder and open files are passed on
untouched, and the signals that CPython ignores at its start are set back (DotSlash sets SIGPIPE back too,
even when its own parent ignored it).
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from fairlead.errors import MachineryError, UsageError
from fairlead.launch import cache, manifest

_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")  # what CPython may set LC_CTYPE to when the locale is C


def run(path: str, args: Sequence[str], *, say: Callable[[str], None] = lambda _: None) -> NoReturn:
    """Become the executable that the manifest at `path` names, with `args`, fetching it first if need be.

    `say` hears of waits. Returns only by raising: UsageError for the manifest or the artifact,
    MachineryError for the rest.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UsageError(
            f"the DotSlash file cannot be read: {error.strerror}",
            where=_shown(path),
            remedy="name a DotSlash file; a build target is written //package:name",
        ) from None
    entry = manifest.parse(data, where=_shown(path)).entry(manifest.host(), where=_shown(path))
    location = cache.locate(entry, cache.root())
    executable = str(location.executable)
    argv = [executable if entry.arg0 == "underlying-executable" else path, *args]
    restore_environment()
    _touch(executable)
    _exec(executable, argv)
    from fairlead.launch import fetch  # a warm run needs none of what fetching loads

    fetch.ensure(entry, location, where=_shown(path), say=say)
    _touch(executable)
    _exec(executable, argv)
    raise _not_found(executable, path)


def replace(argv: Sequence[str], *, executable: str | None = None) -> NoReturn:
    """Become another program: `argv` as given, the file of `executable` or of argv[0], no search of PATH."""
    restore_environment()
    _exec(executable or argv[0], list(argv))
    raise _not_found(executable or argv[0], executable or argv[0])


def _exec(executable: str, argv: list[str]) -> None:
    """Return only if there is no such file (or something that it needs to start is missing)."""
    sys.stdout.flush()
    sys.stderr.flush()
    before = {number: signal.getsignal(number) for number in (signal.SIGPIPE, signal.SIGXFSZ)}
    for number in before:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execv(executable, argv)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except ValueError as error:  # a NUL cannot be in an argument vector, but a caller may hand one in
        raise UsageError(f"the program cannot be started: {error}", where=_shown(executable)) from None
    except OSError as error:
        raise MachineryError(
            f"the program cannot be started: {error.strerror}",
            where=_shown(executable),
            remedy=_remedy(error.errno),
        ) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _remedy(number: int | None) -> str:
    if number == errno.EACCES:
        return "ask the publisher to store the file with its execute permission (mode 0755) in the archive"
    if number == errno.ENOEXEC:
        return "it is no program for this platform, or a script without a #! line: tell the publisher"
    if number == errno.E2BIG:
        return "give it fewer or shorter arguments"
    return ""


def _not_found(executable: str, path: str) -> MachineryError:
    if not os.path.exists(executable):
        return MachineryError("the program was not found", where=_shown(executable))
    needed = "the interpreter or loader that it names"
    try:
        with open(executable, "rb") as file:
            line = file.readline(256)
        if line.startswith(b"#!"):
            needed = f"its interpreter `{_shown(os.fsdecode(line[2:].strip()))}`"
    except OSError:
        pass
    return MachineryError(
        f"the program is there, but {needed} is not",
        where=_shown(path),
        remedy="install what it needs, or ask the publisher for a build that needs less",
    )


def _touch(executable: str) -> None:
    """Set the time of modification to now, so that reapers of old files pass it by."""
    try:
        accessed = os.stat(executable).st_atime_ns
        os.utime(executable, ns=(accessed, time.time_ns()))
    except OSError:
        pass


def restore_environment() -> None:
    """Undo what CPython does to its own environment at its start.

    Under the C locale it sets LC_CTYPE for its children. What the process was given is still to be read in
    /proc; where there is none (macOS), the coercion stays.
    """
    if os.environ.get("LC_CTYPE") not in _COERCED or os.environ.get("LC_ALL"):
        return
    try:
        with open("/proc/self/environ", "rb") as file:
            given = file.read().split(b"\0")
    except OSError:
        return
    for pair in given:
        if pair.startswith(b"LC_CTYPE="):
            os.environb[b"LC_CTYPE"] = pair[len(b"LC_CTYPE=") :]
            return
    del os.environ["LC_CTYPE"]


def _shown(path: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in path)
