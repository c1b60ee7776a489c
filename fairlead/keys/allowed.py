"""allowed_signers: which principal may sign with which key, for which namespaces, and when.

The format is that of ssh-keygen(1), section ALLOWED SIGNERS, so one file serves `fairlead land verify`,
`git log --show-signature` and `ssh-keygen -Y verify`. Lines with keys of other types, and lines for
certificate authorities, are read past: they can belong to the same file but never sign anything here.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.errors import UsageError
from fairlead.keys import sshsig
from fairlead.keys.sshsig import KEY_TYPE, BadSignature, PublicKey

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s"]+)')
_OPTION = re.compile(r'([A-Za-z-]+)(?:="((?:[^"\\]|\\.)*)")?')
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?(Z?)$", re.ASCII)
_ANY_KEY_TYPE = re.compile(r"(ssh|ecdsa|sk-ssh|sk-ecdsa|webauthn-sk)-[\w@.-]+$")
_OPTIONS = ("cert-authority", "namespaces", "valid-after", "valid-before")


@dataclass(frozen=True)
class Entry:
    """One line: these principals sign with this key, in these namespaces (None: any), in this span.

    Principals and namespaces are patterns of ssh (`*`, `?`, a leading `!` refuses). The span is in
    seconds since 1970; None is open. Its ends belong to it, as in ssh-keygen.
    """

    principals: tuple[str, ...]
    key: PublicKey
    namespaces: tuple[str, ...] | None = None
    valid_after: int | None = None
    valid_before: int | None = None

    def line(self) -> str:
        """The entry as a line of the file, without its end."""
        options = []
        if self.namespaces is not None:
            options.append(f'namespaces="{",".join(self.namespaces)}"')
        for name, moment in (("valid-after", self.valid_after), ("valid-before", self.valid_before)):
            if moment is not None:
                stamp = datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y%m%d%H%M%SZ")
                options.append(f'{name}="{stamp}"')
        for word in (*self.principals, *(self.namespaces or ())):
            if not word or re.search(r'[\s",#]', word):
                raise UsageError(f"{word!r} cannot stand in an allowed_signers file")
        parts = [",".join(self.principals), ",".join(options), self.key.text()]
        return " ".join(part for part in parts if part)

    def allows(self, principal: str, namespace: str, at: int | None) -> bool:
        """May `principal` sign for `namespace` at the time `at`? None asks without regard to time."""
        if not matches(principal, self.principals):
            return False
        if self.namespaces is not None and not matches(namespace, self.namespaces):
            return False
        if at is None:
            return True
        return (self.valid_after is None or at >= self.valid_after) and (
            self.valid_before is None or at <= self.valid_before
        )


@dataclass(frozen=True)
class AllowedSigners:
    """A whole allowed_signers file."""

    entries: tuple[Entry, ...]

    @classmethod
    def parse(cls, text: str, where: str = "allowed_signers") -> AllowedSigners:
        """Read a file's text; a line that cannot be understood is a UsageError naming it."""
        entries = []
        for number, line in enumerate(text.splitlines(), 1):
            try:
                entry = _entry(line)
            except UsageError as error:
                raise UsageError(error.what, where=f"{where}:{number}", remedy=error.remedy) from None
            if entry is not None:
                entries.append(entry)
        return cls(tuple(entries))

    def text(self) -> str:
        """The file's text, one line an entry."""
        return "".join(entry.line() + "\n" for entry in self.entries)

    def check(
        self, principal: str, namespace: str, message: bytes, signature: str, *, at: int | None = None
    ) -> None:
        """Pass only if `signature` (base64) is `principal`'s over `message`; else raise BadSignature.

        `at`: seconds since 1970 when it was made, for keys with a limited span.
        """
        key = sshsig.verify(sshsig.decode(signature), namespace, message)
        if not any(entry.key == key and entry.allows(principal, namespace, at) for entry in self.entries):
            raise BadSignature(
                f"signed by {key.fingerprint()}, which is not a key of {principal} for {namespace}",
                where=principal,
                remedy="fetch the server's present list of keys, or find out whose key this is",
            )


def matches(word: str, patterns: Sequence[str]) -> bool:
    """ssh's pattern lists: any pattern may fit, none with a leading `!` may."""
    found = False
    for pattern in patterns:
        refused = pattern.startswith("!")
        parts = re.split(r"([*?])", pattern[1:] if refused else pattern)
        expression = "".join({"*": ".*", "?": "."}.get(part, re.escape(part)) for part in parts)
        if re.fullmatch(expression, word, re.DOTALL):
            if refused:
                return False
            found = True
    return found


def _entry(line: str) -> Entry | None:
    line = line.strip()
    if not line or line.startswith("#"):
        return None
    first = _WORD.match(line)
    if first is None or not line[first.end() : first.end() + 1].isspace():
        raise UsageError("a line begins with its principals, then a space", remedy=_SHAPE)
    principals = tuple(filter(None, (first[1] if first[1] is not None else first[2]).split(",")))
    if not principals:
        raise UsageError("a line names at least one principal", remedy=_SHAPE)
    rest = line[first.end() :].lstrip()
    options: dict[str, str | None] = {}
    if not _ANY_KEY_TYPE.match(rest.split()[0] if rest else ""):
        options, rest = _options(rest)
    kind = rest.split()[0] if rest else ""
    if not _ANY_KEY_TYPE.match(kind):
        raise UsageError("a line ends with a key type and a key", remedy=_SHAPE)
    if kind != KEY_TYPE or "cert-authority" in options:
        return None
    namespaces = options.get("namespaces")
    return Entry(
        principals,
        PublicKey.parse(rest),
        None if namespaces is None else tuple(namespaces.split(",")),
        _moment(options.get("valid-after")),
        _moment(options.get("valid-before")),
    )


_SHAPE = 'a line looks like: worker:one namespaces="fairlead-keys,fairlead-verdict" ssh-ed25519 AAAA...'


def _options(text: str) -> tuple[dict[str, str | None], str]:
    """The options at the start of `text`, by lower-case name, and what follows them."""
    options: dict[str, str | None] = {}
    at = 0
    while True:
        found = _OPTION.match(text, at)
        if found is None:
            raise UsageError("an option is malformed", remedy=_SHAPE)
        name, value = found[1].lower(), found[2]
        if name not in _OPTIONS or name in options or (value is None) != (name == "cert-authority"):
            raise UsageError(f"the option {name} is unknown, repeated or without its value", remedy=_SHAPE)
        options[name] = None if value is None else value.replace('\\"', '"')
        at = found.end()
        if text[at : at + 1] == ",":
            at += 1
        elif text[at : at + 1].isspace():
            return options, text[at:].lstrip()
        else:
            raise UsageError("options end with a space before the key", remedy=_SHAPE)


def _moment(text: str | None) -> int | None:
    """YYYYMMDD[HHMM[SS]][Z] in seconds since 1970; without Z it is local time, as in ssh-keygen."""
    if text is None:
        return None
    found = _TIME.match(text)
    if found is None:
        raise UsageError(
            f"{text!r} is not a time", remedy="write YYYYMMDD or YYYYMMDDHHMM[SS]; add Z for UTC"
        )
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    try:
        moment = datetime.datetime(year, month, day, hour, minute, second)
        if found[7]:
            moment = moment.replace(tzinfo=datetime.UTC)
        return int(moment.timestamp())
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"{text!r} is not a time", remedy="check its month, day and hour") from None
