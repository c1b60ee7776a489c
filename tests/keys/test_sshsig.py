"""SSHSIG against the real ssh-keygen, both ways, and against every kind of damage."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import UsageError
from fairlead.keys import sshsig
from fairlead.keys.allowed import AllowedSigners, Entry
from fairlead.keys.signer import Signer
from fairlead.keys.sshsig import BadSignature, PublicKey

SIGNER = Signer.generate()
MESSAGE = b"never land what was not tested\n\x00\xff"


def keygen(*args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ssh-keygen", *args], input=stdin, capture_output=True, check=False)


def verified_by_ssh(folder: Path, signature: str, namespace: str, message: bytes, allowed: str) -> bool:
    (folder / "m.sig").write_text(sshsig.armor(sshsig.decode(signature)))
    (folder / "allowed").write_text(allowed)
    done = keygen(
        *("-Y", "verify", "-f", str(folder / "allowed"), "-I", "worker:one"),
        *("-n", namespace, "-s", str(folder / "m.sig")),
        stdin=message,
    )
    return done.returncode == 0


@pytest.mark.parametrize("message", [b"", MESSAGE, b"x" * 100_000])
def test_ssh_keygen_accepts_what_we_sign(tmp_path: Path, message: bytes) -> None:
    allowed = AllowedSigners((Entry(("worker:one",), SIGNER.public, ("fairlead-verdict",)),)).text()
    signature = SIGNER.sign("fairlead-verdict", message)
    assert verified_by_ssh(tmp_path, signature, "fairlead-verdict", message, allowed)
    assert not verified_by_ssh(tmp_path, signature, "fairlead-verdict", message + b"!", allowed)
    other = SIGNER.sign("fairlead-evidence", message)
    assert not verified_by_ssh(tmp_path, other, "fairlead-evidence", message, allowed)


@pytest.mark.parametrize("hash_name", ["sha512", "sha256"])
def test_we_accept_what_ssh_keygen_signs(tmp_path: Path, hash_name: str) -> None:
    key = tmp_path / "key"
    assert keygen("-q", "-t", "ed25519", "-N", "", "-C", "a comment", "-f", str(key)).returncode == 0
    done = keygen("-Y", "sign", "-f", str(key), "-n", "file", "-O", f"hashalg={hash_name}", stdin=MESSAGE)
    assert done.returncode == 0, done.stderr
    blob = sshsig.dearmor(done.stdout.decode())
    public = PublicKey.parse((tmp_path / "key.pub").read_text())
    assert sshsig.verify(blob, "file", MESSAGE) == public
    assert Signer.load(key).public == public
    with pytest.raises(BadSignature):
        sshsig.verify(blob, "file", MESSAGE + b"!")
    with pytest.raises(BadSignature, match="signed for 'file', not for 'email'"):
        sshsig.verify(blob, "email", MESSAGE)


def test_our_bytes_are_exactly_those_of_ssh_keygen(tmp_path: Path) -> None:
    """Ed25519 is deterministic, so the two programs must agree on every byte."""
    SIGNER.save(tmp_path / "key")
    done = keygen("-Y", "sign", "-f", str(tmp_path / "key"), "-n", "fairlead-keys", stdin=MESSAGE)
    assert sshsig.armor(sshsig.decode(SIGNER.sign("fairlead-keys", MESSAGE))) == done.stdout.decode()


def test_fingerprint_is_the_one_ssh_prints(tmp_path: Path) -> None:
    SIGNER.save(tmp_path / "key")
    assert SIGNER.public.fingerprint() in keygen("-l", "-f", str(tmp_path / "key.pub")).stdout.decode()


@pytest.mark.parametrize("kind", [("rsa", "2048"), ("ecdsa", "256")])
def test_keys_of_other_types_are_refused(tmp_path: Path, kind: tuple[str, str]) -> None:
    key = tmp_path / "key"
    keygen("-q", "-t", kind[0], "-b", kind[1], "-N", "", "-f", str(key))
    done = keygen("-Y", "sign", "-f", str(key), "-n", "file", stdin=MESSAGE)
    with pytest.raises(BadSignature, match="only ssh-ed25519"):
        sshsig.verify(sshsig.dearmor(done.stdout.decode()), "file", MESSAGE)
    with pytest.raises(UsageError, match="Ed25519"):
        Signer.load(key)
    with pytest.raises(UsageError, match="Ed25519"):
        PublicKey.parse((tmp_path / "key.pub").read_text())


@given(st.binary(max_size=200), st.text(min_size=1, max_size=20).filter(lambda s: "\ud800" not in s))
def test_a_signature_stands_for_its_message_and_namespace(message: bytes, namespace: str) -> None:
    blob = sshsig.decode(SIGNER.sign(namespace, message))
    assert sshsig.verify(blob, namespace, message) == SIGNER.public
    assert sshsig.dearmor(sshsig.armor(blob)) == blob


def test_no_single_bit_of_a_signature_can_be_flipped() -> None:
    blob = sshsig.decode(SIGNER.sign("n", MESSAGE))
    for at in range(len(blob)):
        for bit in range(8):
            broken = blob[:at] + bytes([blob[at] ^ 1 << bit]) + blob[at + 1 :]
            with pytest.raises(BadSignature):
                sshsig.verify(broken, "n", MESSAGE)


def test_no_part_of_a_signature_can_be_cut_off_or_added() -> None:
    blob = sshsig.decode(SIGNER.sign("n", MESSAGE))
    for end in range(len(blob)):
        with pytest.raises(BadSignature):
            sshsig.verify(blob[:end], "n", MESSAGE)
    with pytest.raises(BadSignature):
        sshsig.verify(blob + b"\0", "n", MESSAGE)


@given(st.binary(max_size=300))
def test_noise_is_never_a_signature_and_never_a_crash(noise: bytes) -> None:
    for blob in (noise, b"SSHSIG" + noise, b"SSHSIG\0\0\0\x01" + noise):
        with pytest.raises(BadSignature):
            sshsig.verify(blob, "n", b"")


@pytest.mark.parametrize("text", ["", "-----BEGIN SSH SIGNATURE-----", "a\nb\nc", "%%%"])
def test_broken_text_is_refused(text: str) -> None:
    with pytest.raises(BadSignature):
        sshsig.dearmor(text)
    if text:
        with pytest.raises(BadSignature):
            sshsig.verify(sshsig.decode(text), "n", b"")


def test_an_empty_namespace_is_refused() -> None:
    with pytest.raises(UsageError, match="namespace"):
        SIGNER.sign("", b"")


@pytest.mark.parametrize(
    "text", ["", "ssh-ed25519", "ssh-ed25519 %%%", "ssh-ed25519 AAAA", "ssh-rsa AAAAB3NzaC1yc2E="]
)
def test_broken_public_keys_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        PublicKey.parse(text)
