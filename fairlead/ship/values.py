"""The values that cross walls: what a worker signs, what a reviewer said, what is asked to land.

This is the only module of the room that `worker` may import, so it holds no decisions, only shapes.
A value that is signed has `payload()`, its canonical JSON bytes: ASCII, sorted names, no spaces, one
spelling for each value. `from_payload` refuses every other spelling, so two programs cannot read one
signature as two things. (Rejected: signing a record's key alone. The signature would be shorter, but a
person reading the evidence could not see what was signed without a second lookup.)

Names: a worker is known by its *name* ("local"); who signs is a *principal* ("worker:local", "server"),
as in an allowed_signers file. All object ids are full lower-case hexadecimal git ids.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar, cast

from fairlead.errors import UsageError

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
Outcome = Literal["pass", "fail", "timeout", "error"]
Enforcement = Literal["namespace", "landlock", "none"]

#: Signs bytes under a namespace; returns the SSHSIG blob in base64, without armour. `keys.signer` makes one.
Sign = Callable[[str, bytes], str]

OUTCOMES: tuple[Outcome, ...] = ("pass", "fail", "timeout", "error")
#: Weakest first: how much of "a test sees only its declared inputs" was enforced while it ran.
ENFORCEMENTS: tuple[Enforcement, ...] = ("none", "landlock", "namespace")

SERVER = "server"


def worker_principal(name: str) -> str:
    """The principal under which the worker called `name` signs."""
    return f"worker:{name}"


def enough(enforced: str, wanted: str) -> bool:
    """Is the enforcement level `enforced` at least `wanted`? An unknown level is never enough."""
    if enforced not in ENFORCEMENTS or wanted not in ENFORCEMENTS:
        return False
    return ENFORCEMENTS.index(enforced) >= ENFORCEMENTS.index(wanted)


def canonical(value: Json) -> bytes:
    """The one JSON spelling of a value: ASCII, sorted names, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def parse_canonical(data: bytes, what: str) -> Mapping[str, object]:
    """Read an object back from `canonical` bytes; any other spelling of it is a UsageError naming `what`."""
    try:
        value = json.loads(data.decode("ascii"))
        same = isinstance(value, dict) and canonical(value) == data
        if b"\\ud" in data:  # half of a surrogate pair is ASCII here, but no text that could be kept or shown
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        same = False
    if not same:
        raise UsageError(
            f"the {what} is not canonical JSON", remedy="write ASCII, names sorted, no spaces, each name once"
        )
    return cast(Mapping[str, object], value)


_T = TypeVar("_T")


class Fields:
    """Reads the named fields of a JSON object strictly: none missing, none extra, each of its type."""

    def __init__(self, data: object, what: str, names: Sequence[str]) -> None:
        if not isinstance(data, Mapping) or set(data) != set(names):
            found = sorted(map(str, data)) if isinstance(data, Mapping) else type(data).__name__
            raise UsageError(
                f"a {what} has exactly the fields {', '.join(sorted(names))}", where=f"found {found}"
            )
        self._data: Mapping[str, object] = data
        self._what = what

    def _bad(self, name: str, wanted: str) -> UsageError:
        return UsageError(f"the field {name} of a {self._what} must be {wanted}")

    def text(self, name: str, among: Sequence[str] = ()) -> str:
        value = self._data[name]
        if not isinstance(value, str) or (among and value not in among):
            raise self._bad(name, f"one of {', '.join(among)}" if among else "a string")
        return value

    def whole(self, name: str) -> int:
        value = self._data[name]
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._bad(name, "a whole number, 0 or more")
        return value

    def number(self, name: str) -> float:
        value = self._data[name]
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
            raise self._bad(name, "a number, 0 or more")
        return float(value)

    def flag(self, name: str) -> bool:
        value = self._data[name]
        if not isinstance(value, bool):
            raise self._bad(name, "true or false")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._data[name]
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise self._bad(name, "a list of strings")
        return tuple(value)

    def text_map(self, name: str) -> dict[str, str]:
        value = self._data[name]
        if not isinstance(value, Mapping) or not all(
            isinstance(k, str) and isinstance(v, str) for k, v in value.items()
        ):
            raise self._bad(name, "an object of strings")
        return dict(value)

    def each(self, name: str, read: Callable[[object], _T]) -> tuple[_T, ...]:
        value = self._data[name]
        if not isinstance(value, list | tuple):
            raise self._bad(name, "a list")
        return tuple(read(item) for item in value)

    def raw(self, name: str) -> object:
        return self._data[name]


@dataclass(frozen=True)
class Signed:
    """Canonical bytes, a signature over them and the principal that claims to have made it.

    Holding one says nothing yet: check the signature against the registered keys before reading on.
    """

    payload: bytes
    signature: str
    signer: str

    def to_json(self) -> dict[str, Json]:
        """`payload` as base64, so that the bytes that were signed survive every JSON library."""
        return {
            "payload": base64.b64encode(self.payload).decode("ascii"),
            "signature": self.signature,
            "signer": self.signer,
        }

    @classmethod
    def from_json(cls, data: object) -> Signed:
        fields = Fields(data, "signed statement", ("payload", "signature", "signer"))
        try:
            payload = base64.b64decode(fields.text("payload"), validate=True)
        except (binascii.Error, ValueError):
            raise UsageError("the payload of a signed statement must be base64") from None
        return cls(payload, fields.text("signature"), fields.text("signer"))


@dataclass(frozen=True)
class Verdict:
    """What a worker saw when it ran one test target.

    `key` is the target key the test ran at, `log` the SHA-256 of the log blob, `seconds` wall time,
    `enforced` what kept the test to its declared inputs, `worker` the worker's name.
    """

    label: str
    key: str
    outcome: Outcome
    worker: str
    enforced: Enforcement
    log: str
    seconds: float

    NAMESPACE: ClassVar[str] = "fairlead-verdict"
    TYPE: ClassVar[str] = "fairlead.verdict/1"

    def payload(self) -> bytes:
        """The bytes the worker signs in namespace `fairlead-verdict`."""
        return canonical(
            {
                "type": self.TYPE,
                "label": self.label,
                "key": self.key,
                "outcome": self.outcome,
                "worker": self.worker,
                "enforced": self.enforced,
                "log": self.log,
                "seconds": float(self.seconds),
            }
        )

    @classmethod
    def from_payload(cls, payload: bytes) -> Verdict:
        fields = Fields(
            parse_canonical(payload, "verdict"),
            "verdict",
            ("type", "label", "key", "outcome", "worker", "enforced", "log", "seconds"),
        )
        fields.text("type", (cls.TYPE,))
        verdict = cls(
            label=fields.text("label"),
            key=fields.text("key"),
            outcome=cast(Outcome, fields.text("outcome", OUTCOMES)),
            worker=fields.text("worker"),
            enforced=cast(Enforcement, fields.text("enforced", ENFORCEMENTS)),
            log=fields.text("log"),
            seconds=fields.number("seconds"),
        )
        return _exact(verdict, payload)

    def signed(self, sign: Sign) -> Signed:
        """This verdict, signed as its worker."""
        payload = self.payload()
        return Signed(payload, sign(self.NAMESPACE, payload), worker_principal(self.worker))


@dataclass(frozen=True)
class KeyStatement:
    """The target key of every *test* target of one commit, as a worker computed them from its tree."""

    commit: str
    tree: str
    keys: Mapping[str, str]
    worker: str

    NAMESPACE: ClassVar[str] = "fairlead-keys"
    TYPE: ClassVar[str] = "fairlead.keys/1"

    def payload(self) -> bytes:
        """The bytes the worker signs in namespace `fairlead-keys`."""
        return canonical(
            {
                "type": self.TYPE,
                "commit": self.commit,
                "tree": self.tree,
                "keys": dict(self.keys),
                "worker": self.worker,
            }
        )

    @classmethod
    def from_payload(cls, payload: bytes) -> KeyStatement:
        fields = Fields(
            parse_canonical(payload, "key statement"),
            "key statement",
            ("type", "commit", "tree", "keys", "worker"),
        )
        fields.text("type", (cls.TYPE,))
        statement = cls(
            commit=fields.text("commit"),
            tree=fields.text("tree"),
            keys=fields.text_map("keys"),
            worker=fields.text("worker"),
        )
        return _exact(statement, payload)

    def signed(self, sign: Sign) -> Signed:
        """This statement, signed as its worker."""
        payload = self.payload()
        return Signed(payload, sign(self.NAMESPACE, payload), worker_principal(self.worker))


_S = TypeVar("_S", Verdict, KeyStatement)


def _exact(value: _S, payload: bytes) -> _S:
    if value.payload() != payload:  # for example a whole number of seconds written as 1 instead of 1.0
        raise UsageError("a signed statement was not written in its one canonical spelling")
    return value


@dataclass(frozen=True)
class Keys:
    """The two key statements a land decision compares: of the trunk tip and of the candidate."""

    base: KeyStatement
    candidate: KeyStatement


@dataclass(frozen=True)
class Approval:
    """One person accepted one version of a diff.

    `commit` is the commit of that version as submitted, `change` the change key (ship.change) of that
    commit against its parent: together they say exactly what was approved.
    """

    diff: int
    version: int
    person: str
    commit: str
    change: str

    def to_json(self) -> dict[str, Json]:
        return {
            "diff": self.diff,
            "version": self.version,
            "person": self.person,
            "commit": self.commit,
            "change": self.change,
        }

    @classmethod
    def from_json(cls, data: object) -> Approval:
        fields = Fields(data, "approval", ("diff", "version", "person", "commit", "change"))
        return cls(
            fields.whole("diff"),
            fields.whole("version"),
            fields.text("person"),
            fields.text("commit"),
            fields.text("change"),
        )


@dataclass(frozen=True)
class Objection:
    """Something a person said that stops a land until it is settled.

    `kind` is "changes_requested" (that person's latest review) or "must_fix" (an open thread so marked);
    `post` is the id of the post that says so.
    """

    person: str
    kind: Literal["changes_requested", "must_fix"]
    post: str


@dataclass(frozen=True)
class Candidate:
    """The commit that would become the trunk tip.

    `base` is the trunk tip it was made for: the trunk must be moved from `base` to `commit` by
    compare-and-swap, nothing else. `change` is the change key of `base`..`commit`; `submitted_commit` is
    the commit of the version being landed, as its author pushed it.
    """

    diff: int
    version: int
    base: str
    base_tree: str
    commit: str
    tree: str
    parents: tuple[str, ...]
    change: str
    submitted_commit: str


@dataclass(frozen=True)
class Settings:
    """What a repository demands before its trunk moves. Printed in the evidence of every land."""

    approvals: int = 1
    author_may_approve: bool = False
    enforcement: Enforcement = "namespace"
    trunk: str = "main"

    def to_json(self) -> dict[str, Json]:
        return {
            "approvals": self.approvals,
            "author_may_approve": self.author_may_approve,
            "enforcement": self.enforcement,
            "trunk": self.trunk,
        }

    @classmethod
    def from_json(cls, data: object) -> Settings:
        fields = Fields(data, "settings object", ("approvals", "author_may_approve", "enforcement", "trunk"))
        return cls(
            fields.whole("approvals"),
            fields.flag("author_may_approve"),
            cast(Enforcement, fields.text("enforcement", ENFORCEMENTS)),
            fields.text("trunk"),
        )


@dataclass(frozen=True)
class Reason:
    """One clause of the land rule, held or missing: a stable `code`, a sentence, and what it is about."""

    code: str
    text: str
    subject: str = ""

    def to_json(self) -> dict[str, Json]:
        return {"code": self.code, "text": self.text, "subject": self.subject}

    @classmethod
    def from_json(cls, data: object) -> Reason:
        fields = Fields(data, "reason", ("code", "text", "subject"))
        return cls(fields.text("code"), fields.text("text"), fields.text("subject"))


@dataclass(frozen=True)
class Decision:
    """May the candidate land? `missing` is empty exactly if it may; `held` lists the clauses that hold."""

    allowed: bool
    missing: tuple[Reason, ...]
    held: tuple[Reason, ...] = ()
