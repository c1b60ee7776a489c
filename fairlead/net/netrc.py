"""Logins for hosts from the user's netrc file, used by downloads that carry no login of their own.

Only entries that name the host count: a `default` entry would hand a password to every host on the web.
A file that cannot be read is no error by itself (a download that needs no login must not fail for it); the
problem is returned, so that a refusal by the server can mention it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Found:
    """A login for a host, if the file has one, and what was wrong with the file, if anything."""

    user: str | None = None
    password: str = ""
    problem: str = ""


def find(host: str, env: Mapping[str, str] = os.environ) -> Found:
    """Look up `host` in the file `$NETRC`, else in `~/.netrc`."""
    import netrc

    if env.get("NETRC"):
        path = Path(env["NETRC"])
    elif env.get("HOME"):
        path = Path(env["HOME"], ".netrc")
    else:
        return Found()
    try:
        entry = netrc.netrc(str(path)).hosts.get(host)
    except FileNotFoundError:
        return Found()
    except netrc.NetrcParseError as error:
        return Found(problem=f"{path} cannot be read: line {error.lineno or '?'} is not understood")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        return Found(problem=f"{path} cannot be read: {reason}")
    if entry is None:
        return Found()
    login, _account, password = entry
    return Found(user=login or "", password=password or "")
