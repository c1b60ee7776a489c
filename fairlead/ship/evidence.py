"""Evidence: why a commit was allowed to land, in a form that anyone can check later.

One in-toto Statement (v1) a commit, in a DSSE envelope, signed by the server. It holds the workers' own
signed statements, not the server's account of them, so a dishonest server can withhold but not invent a
pass. (Rejected: a git note, which is one ref a namespace and merges badly; a trailer in the commit, which
cannot name the commit it is in.)

Where it lies: the ref `refs/fairlead/evidence` is a chain of commits. The tree of its tip has one file a
landed commit, `ab/cdef...json` for commit `abcdef...`. Each link has, after its first parent (the link
before), the submitted and approved commits as further parents: one fetch of the ref brings everything
that verification needs, also after the diffs' own refs are out of reach.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass

from fairlead.errors import UsageError
from fairlead.ship.values import (
    SERVER,
    Approval,
    Fields,
    Reason,
    Settings,
    Sign,
    Signed,
    canonical,
    parse_canonical,
)

REF = "refs/fairlead/evidence"
NAMESPACE = "fairlead-evidence"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:fairlead:evidence:1"
_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def path_of(commit: str) -> str:
    """Where the envelope of `commit` lies in the tree of `REF`."""
    return f"{commit[:2]}/{commit[2:]}.json"


@dataclass(frozen=True)
class Evidence:
    """Everything the land rule was given, and what it answered.

    `submitted` is the landed version's commit as pushed, `change` the change key of `base`..`commit`,
    `authors` the diff's owner and whoever else pushed a version, `verdicts` one counted pass for each
    affected target, `removed` the test targets this commit removes, `reasons` the clauses that held.
    `decided` is when the rule was asked, in whole seconds since 1970: keys are judged as of then, and not
    as of the commit's own dates, which its author writes.
    """

    base: str
    commit: str
    tree: str
    diff: int
    diff_id: str
    version: int
    submitted: str
    change: str
    authors: tuple[str, ...]
    base_keys: Signed
    candidate_keys: Signed
    verdicts: tuple[Signed, ...]
    approvals: tuple[Approval, ...]
    settings: Settings
    removed: tuple[str, ...]
    reasons: tuple[Reason, ...]
    decided: int

    def reviewed(self) -> tuple[str, ...]:
        """The commits people submitted and approved, each once: the further parents of its link."""
        return tuple(dict.fromkeys([self.submitted, *(approval.commit for approval in self.approvals)]))

    def statement(self) -> bytes:
        """The in-toto statement as canonical JSON: the payload of the envelope."""
        return canonical(
            {
                "_type": STATEMENT_TYPE,
                "subject": [{"name": "commit", "digest": {"gitCommit": self.commit}}],
                "predicateType": PREDICATE_TYPE,
                "predicate": {
                    "base": self.base,
                    "commit": self.commit,
                    "tree": self.tree,
                    "diff": self.diff,
                    "diff_id": self.diff_id,
                    "version": self.version,
                    "submitted": self.submitted,
                    "change": self.change,
                    "authors": list(self.authors),
                    "keys": {"base": self.base_keys.to_json(), "candidate": self.candidate_keys.to_json()},
                    "verdicts": [verdict.to_json() for verdict in self.verdicts],
                    "approvals": [approval.to_json() for approval in self.approvals],
                    "settings": self.settings.to_json(),
                    "removed": list(self.removed),
                    "reasons": [reason.to_json() for reason in self.reasons],
                    "decided": self.decided,
                },
            }
        )

    @classmethod
    def from_statement(cls, payload: bytes) -> Evidence:
        """Read a statement strictly. It is to be believed only as far as its signatures reach."""
        statement = Fields(
            parse_canonical(payload, "statement"),
            "statement",
            ("_type", "subject", "predicateType", "predicate"),
        )
        statement.text("_type", (STATEMENT_TYPE,))
        statement.text("predicateType", (PREDICATE_TYPE,))
        fields = Fields(
            statement.raw("predicate"),
            "predicate",
            (
                *("base", "commit", "tree", "diff", "diff_id", "version", "submitted", "change", "authors"),
                *("keys", "verdicts", "approvals", "settings", "removed", "reasons", "decided"),
            ),
        )
        keys = Fields(fields.raw("keys"), "pair of key statements", ("base", "candidate"))
        evidence = cls(
            base=_oid(fields.text("base")),
            commit=_oid(fields.text("commit")),
            tree=_oid(fields.text("tree")),
            diff=fields.whole("diff"),
            diff_id=fields.text("diff_id"),
            version=fields.whole("version"),
            submitted=_oid(fields.text("submitted")),
            change=fields.text("change"),
            authors=fields.texts("authors"),
            base_keys=Signed.from_json(keys.raw("base")),
            candidate_keys=Signed.from_json(keys.raw("candidate")),
            verdicts=fields.each("verdicts", Signed.from_json),
            approvals=fields.each("approvals", Approval.from_json),
            settings=Settings.from_json(fields.raw("settings")),
            removed=fields.texts("removed"),
            reasons=fields.each("reasons", Reason.from_json),
            decided=fields.whole("decided"),
        )
        for approval in evidence.approvals:
            _oid(approval.commit)
        if evidence.statement() != payload:  # the subject names the commit, and nothing else
            raise UsageError("the subject of the statement is not its commit")
        return evidence


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True)
class Envelope:
    """A DSSE envelope: a payload, its type, and signatures as (key hint, SSHSIG in base64)."""

    payload: bytes
    payload_type: str
    signatures: tuple[tuple[str, str], ...]

    def signed_bytes(self) -> bytes:
        return pae(self.payload_type, self.payload)

    def to_bytes(self) -> bytes:
        return canonical(
            {
                "payload": base64.b64encode(self.payload).decode("ascii"),
                "payloadType": self.payload_type,
                "signatures": [{"keyid": keyid, "sig": sig} for keyid, sig in self.signatures],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Envelope:
        """Read an envelope; how its JSON is spaced does not matter, the payload is what is signed."""
        try:
            parsed: object = json.loads(data)
        except (ValueError, RecursionError):
            raise UsageError("the envelope is not JSON") from None
        fields = Fields(parsed, "envelope", ("payload", "payloadType", "signatures"))
        try:
            payload = base64.b64decode(fields.text("payload"), validate=True)
        except (binascii.Error, ValueError):
            raise UsageError("the payload of an envelope must be base64") from None
        return cls(payload, fields.text("payloadType"), fields.each("signatures", _signature))


def seal(evidence: Evidence, sign: Sign) -> bytes:
    """The evidence as envelope bytes, signed by the server: the file to store for its commit."""
    payload = evidence.statement()
    signature = sign(NAMESPACE, pae(PAYLOAD_TYPE, payload))
    return Envelope(payload, PAYLOAD_TYPE, ((SERVER, signature),)).to_bytes()


def read(envelope: bytes) -> Evidence:
    """What an envelope says, its signature *not* checked: for showing one's own, never for believing."""
    opened = Envelope.from_bytes(envelope)
    if opened.payload_type != PAYLOAD_TYPE:
        raise UsageError(f"an envelope of type {opened.payload_type!r} is not evidence")
    return Evidence.from_statement(opened.payload)


def _signature(data: object) -> tuple[str, str]:
    fields = Fields(data, "signature", ("keyid", "sig"))
    return fields.text("keyid"), fields.text("sig")


def _oid(text: str) -> str:
    if not _OID.fullmatch(text):
        raise UsageError(f"{text[:80]!r} is not a full git object id")
    return text
