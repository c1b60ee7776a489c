"""The envelope of evidence: DSSE's own vector, exact reading, one spelling."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fairlead.errors import UsageError
from fairlead.ship import evidence
from fairlead.ship.evidence import Envelope, Evidence, pae, path_of, read, seal
from fairlead.ship.values import Approval, Reason, Settings, Signed, canonical

TOLD = Evidence(
    base="1" * 40,
    commit="2" * 40,
    tree="3" * 40,
    diff=12,
    diff_id="a" * 26,
    version=2,
    submitted="4" * 40,
    change="5" * 64,
    authors=("author",),
    base_keys=Signed(b"{}", "sig", "worker:one"),
    candidate_keys=Signed(b"{}", "sig", "worker:one"),
    verdicts=(Signed(b"{}", "sig", "worker:one"),),
    approvals=(
        Approval(12, 1, "reviewer", "6" * 40, "5" * 64),
        Approval(12, 2, "second", "4" * 40, "5" * 64),
    ),
    settings=Settings(),
    removed=("//:gone",),
    reasons=(Reason("parent", "its only parent is the trunk tip", "2" * 40),),
    decided=1_700_000_000,
)


def test_the_encoding_is_dsses() -> None:
    """The vector of the DSSE protocol document."""
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_evidence_is_read_back() -> None:
    assert Evidence.from_statement(TOLD.statement()) == TOLD
    assert read(seal(TOLD, lambda namespace, message: "sig")) == TOLD


def test_it_is_an_in_toto_statement_about_the_commit() -> None:
    statement = json.loads(TOLD.statement())
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [{"name": "commit", "digest": {"gitCommit": TOLD.commit}}]
    assert statement["predicateType"] == "urn:fairlead:evidence:1"


def test_the_server_signs_the_encoded_payload_in_its_namespace() -> None:
    asked: list[tuple[str, bytes]] = []

    def sign(namespace: str, message: bytes) -> str:
        asked.append((namespace, message))
        return "sig"

    envelope = Envelope.from_bytes(seal(TOLD, sign))
    assert asked == [("fairlead-evidence", pae("application/vnd.in-toto+json", TOLD.statement()))]
    assert envelope.signed_bytes() == asked[0][1]
    assert envelope.signatures == (("server", "sig"),)
    assert Envelope.from_bytes(envelope.to_bytes()) == envelope


def test_what_travels_with_it() -> None:
    assert TOLD.reviewed() == ("4" * 40, "6" * 40)
    assert path_of("abcd" + "e" * 36) == "ab/cd" + "e" * 36 + ".json"


BROKEN: dict[str, bytes] = {
    "no JSON": b"{",
    "a list": b"[]",
    "nested too deep": b"[" * 100_000,
    "no payload": b'{"payloadType":"x","signatures":[]}',
    "payload no base64": b'{"payload":"%","payloadType":"x","signatures":[]}',
    "signatures no list": b'{"payload":"","payloadType":"x","signatures":{}}',
    "a signature without its key": b'{"payload":"","payloadType":"x","signatures":[{"sig":""}]}',
    "another type": Envelope(TOLD.statement(), "text/plain", ()).to_bytes(),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_envelope_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        read(BROKEN[name])


def altered(**changed: object) -> bytes:
    statement = json.loads(TOLD.statement())
    statement["predicate"].update(changed)
    return canonical(statement)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        json.dumps(json.loads(TOLD.statement())).encode(),
        altered(commit="7" * 40),  # no longer the subject
        altered(base="main"),
        altered(tree="3" * 39),
        altered(submitted="--upload-pack=x"),
        altered(approvals=[{**TOLD.approvals[0].to_json(), "commit": "HEAD"}]),
        altered(diff="12"),
        altered(decided=1.5),
        altered(authors="author"),
        altered(more=1),
        altered(keys={"base": TOLD.base_keys.to_json()}),
        altered(settings={}),
        TOLD.statement().replace(b"urn:fairlead:evidence:1", b"urn:fairlead:evidence:2"),
        TOLD.statement().replace(b"Statement/v1", b"Statement/v0"),
        TOLD.statement().replace(b'"name":"commit"', b'"name":"other"'),
    ],
)
def test_a_statement_in_any_other_shape_is_refused(payload: bytes) -> None:
    with pytest.raises(UsageError):
        Evidence.from_statement(payload)


def test_names_in_git_are_checked_before_git_sees_them() -> None:
    """Evidence comes from outside, and its object ids become arguments of git."""
    for name in ("base", "commit", "tree", "submitted"):
        with pytest.raises(UsageError, match="object id"):
            Evidence.from_statement(replace(TOLD, **{name: "--output=x"}).statement())  # type: ignore[arg-type]


def test_the_ref_is_outside_branches_and_tags() -> None:
    assert not evidence.REF.startswith(("refs/heads/", "refs/tags/"))
    assert Path(evidence.REF).parts[:2] == ("refs", "fairlead")
