"""What git stores, as values: people, commits, tree entries, changes between trees."""

from __future__ import annotations

import re
from dataclasses import dataclass

GITLINK = "160000"
SYMLINK = "120000"
NO_MODE = "000000"
NO_OBJECT = "0" * 40


@dataclass(frozen=True)
class Person:
    """An author or committer: name, e-mail, seconds since 1970 and zone such as +0200."""

    name: str
    email: str
    time: int
    zone: str


@dataclass(frozen=True)
class Commit:
    """One commit. `message` is the whole message, `subject` its first line."""

    oid: str
    tree: str
    parents: tuple[str, ...]
    author: Person
    committer: Person
    message: str

    @property
    def subject(self) -> str:
        return self.message.strip("\n").partition("\n")[0]


@dataclass(frozen=True)
class Entry:
    """One entry of a tree: mode as six digits, kind (blob, tree, commit), object id, path."""

    mode: str
    kind: str
    oid: str
    path: str


@dataclass(frozen=True)
class Change:
    """One path that differs between two trees, as `git diff-tree --raw` says it.

    `status` is A, D, M, T, or R and C with `old_path` when renames were asked for. A side that
    is absent has mode 000000 and an object id of zeros.
    """

    status: str
    path: str
    old_path: str
    old_mode: str
    new_mode: str
    old_blob: str
    new_blob: str


@dataclass(frozen=True)
class Merge:
    """A merge in the object store: the tree, or None and the paths in conflict."""

    tree: str | None
    conflicts: tuple[str, ...]


_PERSON = re.compile(
    r"(?P<name>[^<>]*?) ?<(?P<email>[^<>]*)> ?(?P<time>-?[0-9]+)?(?: (?P<zone>[+-][0-9]{4}))?"
)


def parse_person(line: str) -> Person:
    """`Name <email> 1700000000 +0200` as a `Person`; of odd lines what can be written again is kept."""
    found = _PERSON.match(line)
    if found is None:
        return Person("", "", 0, "+0000")
    zone = found["zone"] if found.end() == len(line) else None
    return Person(found["name"], found["email"], int(found["time"] or 0), zone or "+0000")


def parse_commit(oid: str, data: bytes) -> Commit:
    """A commit object's bytes as a value, read as git reads them: each line at its one place.

    After the committer come extra headers, which git passes over whatever they are called.  One that says
    `parent` there makes no parent: believing it let a root commit pass for a step from the trunk's tip.
    """
    head, _, body = data.partition(b"\n\n")
    lines = head.decode("utf-8", "surrogateescape").split("\n")[::-1]

    def take(key: str) -> str | None:
        return lines.pop().removeprefix(key) if lines and lines[-1].startswith(key) else None

    tree, parents = take("tree ") or "", []
    while (parent := take("parent ")) is not None:
        parents.append(parent)
    author, committer = take("author ") or "", take("committer ") or ""
    message = body.decode("utf-8", "surrogateescape")
    return Commit(oid, tree, tuple(parents), parse_person(author), parse_person(committer), message)
