"""SSHSIG: signatures over messages with SSH keys, Ed25519 only.

The format is OpenSSH's PROTOCOL.sshsig, version 1. What is signed is not the message but a preamble, a
namespace and the SHA-512 of the message: the namespace keeps a verdict from ever passing for evidence.
Chosen over a bare Ed25519 signature because a stock `ssh-keygen` verifies it, and over minisign or a JWT
because git and every forge already know these keys. RSA, ECDSA and hardware (`sk-`) keys are refused:
one algorithm, so nothing to negotiate.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fairlead.errors import UsageError, WorkFailed

MAGIC = b"SSHSIG"
VERSION = 1
KEY_TYPE = "ssh-ed25519"
_HASHES = {"sha512": hashlib.sha512, "sha256": hashlib.sha256}  # PROTOCOL.sshsig allows these two
_BEGIN = "-----BEGIN SSH SIGNATURE-----"
_END = "-----END SSH SIGNATURE-----"


class BadSignature(WorkFailed):
    """A signature that does not stand: wrong key, wrong message, wrong namespace, or not a signature."""


@dataclass(frozen=True)
class PublicKey:
    """An Ed25519 public key: its 32 bytes."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != 32:
            raise UsageError("an Ed25519 public key has 32 bytes")

    def blob(self) -> bytes:
        """The key in SSH wire form, which is also what base64 in a `.pub` line holds."""
        return _string(KEY_TYPE.encode()) + _string(self.raw)

    def text(self) -> str:
        """The key as in a `.pub` or allowed_signers line: type and base64, no comment."""
        return f"{KEY_TYPE} {base64.b64encode(self.blob()).decode('ascii')}"

    def fingerprint(self) -> str:
        """The key's short name, as `ssh-keygen -l` prints it."""
        digest = base64.b64encode(hashlib.sha256(self.blob()).digest()).decode("ascii")
        return "SHA256:" + digest.rstrip("=")

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """Read `ssh-ed25519 BASE64 [comment]`."""
        parts = text.split()
        if len(parts) < 2 or parts[0] != KEY_TYPE:
            raise UsageError(
                "not an Ed25519 public key",
                where=text[:40],
                remedy='it looks like "ssh-ed25519 AAAA..."; make one with ssh-keygen -t ed25519',
            )
        try:
            blob = base64.b64decode(parts[1], validate=True)
        except (binascii.Error, ValueError):
            raise UsageError("the base64 of a public key is broken", where=text[:40]) from None
        return cls.from_blob(blob)

    @classmethod
    def from_blob(cls, blob: bytes) -> PublicKey:
        """Read the SSH wire form."""
        try:
            reader = _Reader(blob)
            kind = reader.string()
            if kind != KEY_TYPE.encode():
                raise UsageError(f"a public key of type {kind[:40]!r}: only {KEY_TYPE} keys sign here")
            raw = reader.string()
            reader.end()
        except ValueError as error:
            raise UsageError(f"a public key is broken: {error}") from None
        return cls(raw)


@dataclass(frozen=True)
class Signature:
    """A parsed SSHSIG: who claims to have signed, for what purpose, how the message was hashed."""

    key: PublicKey
    namespace: str
    hash_name: str
    raw: bytes

    @classmethod
    def parse(cls, blob: bytes) -> Signature:
        """Read the binary form; anything unknown or left over is a BadSignature."""
        try:
            if blob[:6] != MAGIC:
                raise ValueError("it does not begin with SSHSIG")
            reader = _Reader(blob[6:])
            version = reader.uint32()
            if version != VERSION:
                raise ValueError(f"version {version} is unknown")
            key = PublicKey.from_blob(reader.string())
            namespace = reader.string().decode("utf-8")
            reader.string()  # reserved: ignored, but covered by the signature as the empty string
            hash_name = reader.string().decode("ascii")
            inner = _Reader(reader.string())
            reader.end()
            kind, raw = inner.string(), inner.string()
            inner.end()
            if kind != KEY_TYPE.encode() or len(raw) != 64:
                raise ValueError("the inner signature is not Ed25519")
            if hash_name not in _HASHES:
                raise ValueError(f"the hash {hash_name!r} is unknown")
            if not namespace:
                raise ValueError("it has no namespace")
        except ValueError as error:
            raise BadSignature(f"not a usable SSH signature: {error}") from None
        except UsageError as error:
            raise BadSignature(f"not a usable SSH signature: {error.what}") from None
        return cls(key, namespace, hash_name, raw)


def sign(key: Ed25519PrivateKey, namespace: str, message: bytes) -> bytes:
    """The binary SSHSIG of `message` under `namespace`."""
    if not namespace:
        raise UsageError("a signature needs a namespace, so that it cannot pass for another kind")
    public = PublicKey(key.public_key().public_bytes_raw())
    raw = key.sign(_preimage(namespace, "sha512", message))
    return (
        MAGIC
        + struct.pack(">I", VERSION)
        + _string(public.blob())
        + _string(namespace.encode("utf-8"))
        + _string(b"")
        + _string(b"sha512")
        + _string(_string(KEY_TYPE.encode()) + _string(raw))
    )


def verify(blob: bytes, namespace: str, message: bytes) -> PublicKey:
    """The key that signed `message` under `namespace`, or BadSignature.

    Says nothing about whether that key is to be believed: see `keys.allowed`.
    """
    signature = Signature.parse(blob)
    if signature.namespace != namespace:
        raise BadSignature(f"signed for {signature.namespace!r}, not for {namespace!r}")
    try:
        Ed25519PublicKey.from_public_bytes(signature.key.raw).verify(
            signature.raw, _preimage(namespace, signature.hash_name, message)
        )
    except InvalidSignature:
        raise BadSignature(
            "the signature does not fit: the message or the signature was changed",
            where=signature.key.fingerprint(),
        ) from None
    return signature.key


def armor(blob: bytes) -> str:
    """The text form that `ssh-keygen -Y` reads and writes."""
    text = base64.b64encode(blob).decode("ascii")
    lines = [text[i : i + 70] for i in range(0, len(text), 70)]
    return "\n".join([_BEGIN, *lines, _END]) + "\n"


def dearmor(text: str) -> bytes:
    """The binary form of an armoured signature."""
    lines = [line.strip() for line in text.strip().splitlines()]
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        raise BadSignature("not an armoured SSH signature", remedy=f'it begins with "{_BEGIN}"')
    return decode("".join(lines[1:-1]))


def encode(blob: bytes) -> str:
    """The binary form in base64 on one line: how signatures stand in JSON."""
    return base64.b64encode(blob).decode("ascii")


def decode(text: str) -> bytes:
    """The inverse of `encode`."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadSignature("the base64 of a signature is broken") from None


def _preimage(namespace: str, hash_name: str, message: bytes) -> bytes:
    digest = _HASHES[hash_name](message).digest()
    parts = (namespace.encode("utf-8"), b"", hash_name.encode("ascii"), digest)
    return MAGIC + b"".join(map(_string, parts))


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


class _Reader:
    """Takes SSH wire values off the front of some bytes; a short read is a ValueError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise ValueError("it is cut short")
        part = self._data[self._at : self._at + count]
        self._at += count
        return part

    def uint32(self) -> int:
        return int.from_bytes(self._take(4), "big")

    def string(self) -> bytes:
        return self._take(self.uint32())

    def end(self) -> None:
        if self._at != len(self._data):
            raise ValueError("bytes are left over")
