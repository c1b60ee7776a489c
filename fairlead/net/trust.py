"""Which certificates are believed: those the system believes, as with curl and git.

OpenSSL reads `SSL_CERT_FILE` and `SSL_CERT_DIR` by itself; `CURL_CA_BUNDLE` is honoured too, so that a
machine set up for curl works unchanged. Some Python builds carry an OpenSSL that looks where no system
keeps its certificates; then the well-known places are tried. A bundle of our own (certifi) was rejected:
it goes stale, and it does not know a company's own authority.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from fairlead.errors import UsageError

BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)


def context(env: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """A client context that verifies host names and chains against the system's store."""
    return _context(env.get("CURL_CA_BUNDLE", ""), env.get("SSL_CERT_FILE", ""), env.get("SSL_CERT_DIR", ""))


@lru_cache(maxsize=8)
def _context(curl_bundle: str, cert_file: str, cert_dir: str) -> ssl.SSLContext:
    # Reading a bundle takes ~30 ms; the three settings are all that the result depends on.
    for name, value in (("CURL_CA_BUNDLE", curl_bundle), ("SSL_CERT_FILE", cert_file)):
        if value and not Path(value).is_file():
            raise UsageError(
                "the file of trusted certificates does not exist",
                where=f"{name}={value}",
                remedy=f"correct or unset {name}",
            )
    bundle = ""
    made = ssl.create_default_context()
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if curl_bundle or cert_file:
            made.load_verify_locations(cafile=curl_bundle or cert_file)
        elif not cert_dir and not _finds_any(made):
            for bundle in BUNDLES:
                if Path(bundle).is_file():
                    made.load_verify_locations(cafile=bundle)
                    break
    except (ssl.SSLError, OSError) as error:
        raise UsageError(
            f"the trusted certificates cannot be read: {error}", where=curl_bundle or cert_file or bundle
        ) from None
    return made


def _finds_any(made: ssl.SSLContext) -> bool:
    # A folder of hashed certificates is read on demand and never counted, so look for it by hand.
    if made.cert_store_stats()["x509_ca"]:
        return True
    places = ssl.get_default_verify_paths()
    return bool(places.cafile) or bool(places.capath and any(Path(places.capath).iterdir()))
