"""allowed_signers: ours and ssh-keygen's reading of one file agree."""

from __future__ import annotations

import datetime
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import UsageError
from fairlead.keys import sshsig
from fairlead.keys.allowed import AllowedSigners, Entry, matches
from fairlead.keys.signer import Signer
from fairlead.keys.sshsig import BadSignature

ONE, TWO = Signer.generate(), Signer.generate()
KEY = ONE.public.text()
NOON = int(datetime.datetime(2024, 6, 1, 12, tzinfo=datetime.UTC).timestamp())


def shown(value: str) -> str:
    """A parameter as part of a test's name: keys are made anew in each process, names must not be."""
    return value.replace(KEY, "KEY").replace(TWO.public.text(), "ANOTHER")


@pytest.mark.parametrize(
    ("line", "principal", "namespace"),
    [
        (f"worker:one {KEY}", "worker:one", "n"),
        (f"worker:one {KEY} a comment", "worker:one", "n"),
        (f"worker:one {KEY}", "worker:two", "n"),
        (f"server,worker:one {KEY}", "worker:one", "n"),
        (f"worker:* {KEY}", "worker:one", "n"),
        (f"worker:on? {KEY}", "worker:one", "n"),
        (f"worker:*,!worker:one {KEY}", "worker:one", "n"),
        (f'"worker:one" {KEY}', "worker:one", "n"),
        (f'worker:one namespaces="n" {KEY}', "worker:one", "n"),
        (f'worker:one namespaces="m,n" {KEY}', "worker:one", "n"),
        (f'worker:one namespaces="m" {KEY}', "worker:one", "n"),
        (f'worker:one NAMESPACES="n" {KEY}', "worker:one", "n"),
        (f"worker:one cert-authority {KEY}", "worker:one", "n"),
        (f"worker:one {TWO.public.text()}", "worker:one", "n"),
        (f'worker:one valid-after="20240601" {KEY}', "worker:one", "n"),
        (f'worker:one valid-after="20240601130000Z" {KEY}', "worker:one", "n"),
        (f'worker:one valid-after="20240601120000Z" {KEY}', "worker:one", "n"),
        (f'worker:one valid-before="20240601120000Z" {KEY}', "worker:one", "n"),
        (f'worker:one valid-before="202406011159Z" {KEY}', "worker:one", "n"),
        (
            f'worker:one namespaces="n",valid-after="20240601Z",valid-before="20240602Z" {KEY}',
            "worker:one",
            "n",
        ),
        (f"# a comment\n\n  \nother {KEY}\nworker:one {KEY}\n", "worker:one", "n"),
    ],
    ids=shown,
)
def test_we_allow_exactly_what_ssh_keygen_allows(
    tmp_path: Path, line: str, principal: str, namespace: str
) -> None:
    signature = ONE.sign(namespace, b"message")
    (tmp_path / "allowed").write_text(line + "\n")
    (tmp_path / "sig").write_text(sshsig.armor(sshsig.decode(signature)))
    stock = subprocess.run(
        [
            *("ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "allowed")),
            *("-I", principal, "-n", namespace, "-s", str(tmp_path / "sig"), "-Overify-time=20240601120000Z"),
        ],
        input=b"message",
        capture_output=True,
        check=False,
    )
    try:
        AllowedSigners.parse(line).check(principal, namespace, b"message", signature, at=NOON)
        ours = True
    except BadSignature:
        ours = False
    assert ours == (stock.returncode == 0), stock.stderr.decode()


def test_another_persons_signature_names_the_key() -> None:
    allowed = AllowedSigners((Entry(("server",), ONE.public),))
    with pytest.raises(BadSignature) as caught:
        allowed.check("server", "n", b"m", TWO.sign("n", b"m"))
    assert TWO.public.fingerprint() in caught.value.what and "server" in caught.value.what


_words = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789:-_@."), min_size=1, max_size=12)
_entries = st.builds(
    Entry,
    st.lists(_words, min_size=1, max_size=3).map(tuple),
    st.sampled_from([ONE.public, TWO.public]),
    st.none() | st.lists(_words, min_size=1, max_size=3).map(tuple),
    st.none() | st.integers(0, 4_000_000_000),
    st.none() | st.integers(0, 4_000_000_000),
)


@given(st.lists(_entries, max_size=5))
def test_what_is_written_is_read_back(entries: list[Entry]) -> None:
    allowed = AllowedSigners(tuple(entries))
    assert AllowedSigners.parse(allowed.text()) == allowed


@pytest.mark.parametrize("word", ["two words", "a,b", 'a"b', "", "a\nb"])
def test_a_principal_that_would_break_the_file_is_refused(word: str) -> None:
    with pytest.raises(UsageError):
        AllowedSigners((Entry((word,), ONE.public),)).text()


@pytest.mark.parametrize(
    "line",
    [
        "worker:one",
        f"{KEY}",
        "worker:one ssh-ed25519",
        "worker:one ssh-ed25519 AAAA",
        f'worker:one unknown="x" {KEY}',
        f"worker:one namespaces {KEY}",
        f'worker:one namespaces="n",namespaces="m" {KEY}',
        f'worker:one namespaces="n"{KEY}',
        f'worker:one valid-after="soon" {KEY}',
        f'worker:one valid-after="20241301" {KEY}',
        f'"worker:one {KEY}',
        f",, {KEY}",
    ],
    ids=shown,
)
def test_a_broken_line_is_named(line: str) -> None:
    with pytest.raises(UsageError) as caught:
        AllowedSigners.parse(f"server {KEY}\n{line}\n", where="keys.txt")
    assert caught.value.where == "keys.txt:2"


def test_lines_for_other_kinds_of_key_are_read_past() -> None:
    text = (
        f"server ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAB\nserver sk-ssh-ed25519@openssh.com AAAA\nserver {KEY}\n"
    )
    assert AllowedSigners.parse(text).entries == (Entry(("server",), ONE.public),)


@given(_words, st.lists(_words, max_size=3))
def test_plain_patterns_match_themselves_only(word: str, others: list[str]) -> None:
    assert matches(word, [word])
    assert matches(word, others) == (word in others)
    assert not matches(word, [word, "!" + word])
    assert matches(word, ["*"]) and matches(word, ["?" * len(word)])
