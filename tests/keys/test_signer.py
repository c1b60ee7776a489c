"""Key files: private to their owner, whole, never replaced, and OpenSSH's."""

from __future__ import annotations

import stat
import subprocess
import threading
from pathlib import Path

import pytest

from fairlead.errors import FairleadError, UsageError
from fairlead.keys import sshsig
from fairlead.keys.signer import Signer


def test_a_new_key_is_private_and_ssh_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "key"
    signer = Signer.open(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(p.name for p in path.parent.iterdir()) == ["key", "key.pub"]
    done = subprocess.run(["ssh-keygen", "-y", "-f", str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.split()[:2] == signer.public.text().split()
    assert path.with_name("key.pub").read_text() == signer.public.text() + "\n"
    assert Signer.open(path).public == signer.public


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    first = Signer.open(tmp_path / "key")
    assert Signer.generate().save(tmp_path / "key") is False
    assert Signer.load(tmp_path / "key").public == first.public
    assert (tmp_path / "key.pub").read_text() == first.public.text() + "\n"


def test_two_processes_at_once_get_one_key(tmp_path: Path) -> None:
    found: list[bytes] = []
    start = threading.Barrier(8)

    def open_one() -> None:
        start.wait()
        found.append(Signer.open(tmp_path / "key").public.raw)

    threads = [threading.Thread(target=open_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1
    assert (tmp_path / "key.pub").read_text().split() == Signer.load(tmp_path / "key").public.text().split()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    Signer.open(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(UsageError, match="read by others") as caught:
        Signer.load(tmp_path / "key")
    assert "chmod 600" in caught.value.remedy


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("not a key\n")
    path.chmod(0o600)
    with pytest.raises(UsageError) as caught:
        Signer.load(path)
    assert str(path) in caught.value.where
    with pytest.raises(UsageError, match="no key file"):
        Signer.load(tmp_path / "absent")


def test_a_key_with_a_passphrase_is_refused_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(path)], check=True)
    with pytest.raises(UsageError, match="unencrypted") as caught:
        Signer.load(path)
    assert "ssh-keygen" in caught.value.remedy


def test_the_secret_is_in_no_representation(tmp_path: Path) -> None:
    signer = Signer.open(tmp_path / "key")
    assert repr(signer) == f"Signer({signer.public.fingerprint()})"


def test_a_key_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FairleadError):
        Signer.open(tmp_path / "file" / "key")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_sign_gives_what_verify_reads() -> None:
    signer = Signer.generate()
    assert sshsig.verify(sshsig.decode(signer.sign("n", b"m")), "n", b"m") == signer.public
