"""What git stores, as values: people, commits, tree entries, changes between trees."""

from __future__ import annotations

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


def parse_person(line: str) -> Person:
    """`Name <email> 1700000000 +0200` as a `Person`; odd lines keep what can be read."""
    who, _, when = line.rpartition("> ")
    name, _, email = who.partition(" <") if " <" in who else ("", "", who.removeprefix("<"))
    seconds, _, zone = when.partition(" ")
    return Person(name, email, int(seconds) if seconds.lstrip("-").isdigit() else 0, zone or "+0000")


def parse_commit(oid: str, data: bytes) -> Commit:
    """A commit object's bytes as a value."""
    head, _, body = data.partition(b"\n\n")
    tree, parents = "", []
    author = committer = Person("", "", 0, "+0000")
    for line in head.decode("utf-8", "surrogateescape").split("\n"):
        key, _, value = line.partition(" ")
        if key == "tree":
            tree = value
        elif key == "parent":
            parents.append(value)
        elif key == "author":
            author = parse_person(value)
        elif key == "committer":
            committer = parse_person(value)
    return Commit(oid, tree, tuple(parents), author, committer, body.decode("utf-8", "surrogateescape"))
