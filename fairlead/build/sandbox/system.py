"""The part of the host that every sandboxed program may read: its programs and libraries, nothing of its
owner's.

The interpreter's prefix is narrowed to `bin` and `lib*`, so that an interpreter installed in somebody's
home folder does not show the home folder; its own site-packages are covered, so that only a declared
environment is visible.
"""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
from pathlib import Path

from fairlead.build.sandbox.command import Bind

_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ssl/certs", "ca-certificates.conf")


def interpreter() -> str:
    """The path of the interpreter itself, not of the virtual environment it may have been started from."""
    return os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)


@functools.cache
def binds() -> list[Bind]:
    """The read-only binds of every sandbox: system folders, a little of /etc, the interpreter's prefix. As
    they are when it is first asked: a program that runs on sees no folder that the system got since."""
    return system_folders() + prefix_binds(sys.base_prefix) + prefix_binds(sys.base_exec_prefix)


def system_folders() -> list[Bind]:
    """/usr, /bin, /lib* and the few files of /etc that the dynamic linker and command alternatives need."""
    found = [Bind(Path(name), name) for name in _FOLDERS if os.path.lexists(name)]
    found += [Bind(Path("/etc") / name, f"/etc/{name}") for name in _ETC if os.path.exists(f"/etc/{name}")]
    return found


def prefix_binds(prefix: str) -> list[Bind]:
    """The parts of an interpreter's installation that it needs to start; empty if /usr already covers it."""
    if prefix == "/usr" or prefix.startswith("/usr/"):
        return []
    parts = [Path(prefix) / name for name in ("bin", "lib", "lib64", "include")]
    return [Bind(part, str(part)) for part in parts if part.is_dir() and not part.is_symlink()]


@functools.cache
def masks(prefix: str = sys.base_prefix) -> list[str]:
    """Folders to cover with nothing: the interpreter's own site-packages (outside /usr, which tools of the
    host use)."""
    if prefix == "/usr" or prefix.startswith("/usr/"):
        return []
    if prefix == sys.base_prefix:
        found = {
            sysconfig.get_path(name, vars={"base": prefix, "platbase": prefix})
            for name in ("purelib", "platlib")
        }
    else:
        found = {str(path) for path in Path(prefix).glob("lib*/python*/site-packages")}
    return sorted(path for path in found if path.startswith(prefix + "/") and os.path.isdir(path))
