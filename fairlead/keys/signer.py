"""A private key in a file, and signing with it.

The file is an unencrypted OpenSSH private key of mode 0600, as a host key is: the server and a worker
start unattended, so a passphrase would only move the secret into another file. Its public half lies
beside it as `<name>.pub`, for people. `ssh-keygen` reads both.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)

from fairlead.errors import MachineryError, UsageError
from fairlead.keys import sshsig
from fairlead.keys.sshsig import PublicKey
from fairlead.store import atomic


@dataclass(frozen=True)
class Signer:
    """One private key. Its `sign` is what `ship.values.Sign` asks for."""

    _key: Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"Signer({self.public.fingerprint()})"

    @property
    def public(self) -> PublicKey:
        return PublicKey(self._key.public_key().public_bytes_raw())

    def sign(self, namespace: str, message: bytes) -> str:
        """The SSHSIG of `message` under `namespace`, in base64 without armour."""
        return sshsig.encode(sshsig.sign(self._key, namespace, message))

    @classmethod
    def generate(cls) -> Signer:
        """A new key that is in no file yet."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> Signer:
        """The key in the file `path`; refuses a file that others may read, as ssh does."""
        try:
            with path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                data = file.read(1 << 16)
        except FileNotFoundError:
            raise UsageError("there is no key file", where=str(path)) from None
        except OSError as error:
            raise MachineryError(f"cannot read the key file: {error.strerror}", where=str(path)) from None
        if mode & 0o077:
            raise UsageError(
                f"the key file may be read by others (mode {mode:04o})",
                where=str(path),
                remedy=f"chmod 600 {path}; if others had access, make a new key",
            )
        try:
            key = load_ssh_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise UsageError(
                "not an unencrypted Ed25519 key in OpenSSH's format",
                where=str(path),
                remedy="make one with: ssh-keygen -t ed25519 -N '' -f FILE",
            )
        return cls(key)

    @classmethod
    def open(cls, path: Path) -> Signer:
        """The key in `path`, made now if there is none. Two processes at once get the same key."""
        if not path.exists():
            cls.generate().save(path)
        return cls.load(path)

    def save(self, path: Path) -> bool:
        """Write the key to `path` (0600) and its public half to `path`.pub, durably.

        Never replaces a key: False if one was already there. The file appears whole, by a hard link from
        a finished temp file, because a rename would silently replace the key of a faster process.
        """
        private = self._key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        temp = path.with_name(f".tmp-{secrets.token_hex(8)}")
        try:
            atomic.write(temp, private, mode=0o600, durable=True)
            try:
                os.link(temp, path)
            except FileExistsError:
                return False
            except OSError as error:
                raise MachineryError(f"cannot make the key file: {error.strerror}", where=str(path)) from None
        finally:
            with contextlib.suppress(OSError):
                temp.unlink()
        atomic.write(path.with_name(path.name + ".pub"), f"{self.public.text()}\n".encode(), durable=True)
        return True
