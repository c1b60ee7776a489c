"""Which proxy, if any, stands between us and a host: the variables curl reads, with curl's meaning.

`http_proxy` is read in lower case only (an upper-case `HTTP_PROXY` can be set by a stranger through a CGI
header); the others in either case. One thing differs from curl, as in Go: loopback addresses never go
through a proxy, for a server on one's own machine is what `fairlead serve` starts with.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping

from fairlead.errors import UsageError
from fairlead.net import url as urls


def choose(target: urls.Url, env: Mapping[str, str] = os.environ) -> urls.Url | None:
    """The proxy to use for `target`, or None to connect directly."""
    if is_loopback(target.host) or _exempt(target, env.get("no_proxy") or env.get("NO_PROXY") or ""):
        return None
    names = ["http_proxy"] if target.scheme == "http" else ["https_proxy", "HTTPS_PROXY"]
    for name in [*names, "all_proxy", "ALL_PROXY"]:
        value = env.get(name, "")
        if not value:
            continue
        if "://" not in value:
            value = "http://" + value
        if not value.startswith("http://"):
            raise UsageError(
                f"a proxy of the kind `{value.partition(':')[0]}` is not supported",
                where=f"{name}={urls.redact(value)}",
                remedy=f"name an http:// proxy in {name}, or exempt {target.host} in no_proxy",
            )
        return urls.parse(value)
    return None


def is_loopback(host: str) -> bool:
    """Whether the name or number of a host means this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _exempt(target: urls.Url, listed: str) -> bool:
    try:
        number = ipaddress.ip_address(target.host)
    except ValueError:
        number = None
    for entry in listed.replace(",", " ").split():
        if entry == "*":
            return True
        if number is not None:
            try:
                if number in ipaddress.ip_network(entry.strip("[]"), strict=False):
                    return True
            except ValueError:
                pass
            if entry.endswith(f":{target.port}") and entry.rpartition(":")[0].strip("[]") == target.host:
                return True
            continue
        name, colon, port = entry.lower().partition(":")
        if colon and port != str(target.port):
            continue
        name = name.lstrip(".")
        if name and (target.host == name or target.host.endswith("." + name)):
            return True
    return False
