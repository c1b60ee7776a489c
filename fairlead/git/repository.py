"""A git repository on disk: read commits and trees, merge in the object store, move refs.

Used on work trees by the command line and on bare repositories by server and worker. Every
method is one git command or one batch of `git cat-file`; nothing here touches a work tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from fairlead.errors import MachineryError, UsageError
from fairlead.git import command
from fairlead.git.command import Completed
from fairlead.git.objects import (
    GITLINK,
    NO_MODE,
    NO_OBJECT,
    Change,
    Commit,
    Entry,
    Merge,
    Person,
    parse_commit,
)

_OID = re.compile(r"^[0-9a-f]{40}([0-9a-f]{24})?$")
_NOBODY = Person("fairlead", "fairlead@localhost", 0, "+0000")

# A merge must give one tree on the server, on a worker and in a verifier's clone, so the settings and
# attributes that could change it are pinned: a person's merge drivers and rename limits do not count.
_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
_PURE_MERGE = tuple(
    word
    for setting in (
        "merge.renames=true",
        "merge.directoryRenames=conflict",
        "merge.renameLimit=7000",
        "merge.renormalize=false",
        "diff.algorithm=histogram",
        "core.attributesFile=/dev/null",
        f"attr.tree={_EMPTY_TREE}",
    )
    for word in ("-c", setting)
)

_NO_ATTRIBUTES = {"GIT_ATTR_NOSYSTEM": "1"}

_LARGEST_FILE = 4 << 20  # bytes; a patch has no lines of larger ones
_LONGEST_PATCH = 32 << 20  # bytes
_MOST_LINES = 500_000


def _pure_patch(largest: int) -> tuple[str, ...]:
    """Settings of a patch: no attribute of the tree hides a file in it, and large files have no lines."""
    settings = (
        f"core.bigFileThreshold={largest}",
        "core.attributesFile=/dev/null",
        f"attr.tree={_EMPTY_TREE}",
    )
    return tuple(word for setting in settings for word in ("-c", setting))


class Repo:
    """One repository, bare or with a work tree, named by its folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def discover(cls, start: Path) -> Repo:
        """The repository around `start`, by its top folder; `UsageError` outside of one."""
        done = command.run(["rev-parse", "--show-toplevel"], cwd=start, check=False)
        if done.code != 0:
            raise UsageError(
                f"{start} is not inside a git work tree", where=str(start), remedy="run it in a clone"
            )
        return cls(Path(done.text))

    @classmethod
    def init_bare(cls, path: Path, trunk: str = "main") -> Repo:
        """Make (or keep) a bare repository whose HEAD names `trunk`."""
        path.mkdir(parents=True, exist_ok=True)
        command.run(["init", "--quiet", "--bare", f"--initial-branch={trunk}", "."], cwd=path)
        return cls(path)

    @classmethod
    def clone(cls, url: str, path: Path, *, env: Mapping[str, str] | None = None, bare: bool = False) -> Repo:
        """Clone `url` into `path`; credentials come through `env`, never through the URL."""
        command.run(["clone", "--quiet", *(["--bare"] if bare else []), "--", url, str(path)], env=env)
        return cls(path)

    def run(
        self,
        *args: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> Completed:
        """Run a git command in this repository."""
        return command.run(args, cwd=self.path, stdin=stdin, env=env, check=check)

    def git_dir(self) -> Path:
        """The absolute path of the repository's own folder (.git, or the bare one)."""
        return Path(self.run("rev-parse", "--absolute-git-dir").text)

    # --- reading -----------------------------------------------------------------------------

    def rev(self, name: str) -> str:
        """The object id of a commit by any of its names; `UsageError` if there is none."""
        done = self.run(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", check=False
        )
        if done.code != 0:
            raise UsageError(
                f"there is no commit {name!r} here", where=str(self.path), remedy="git log lists them"
            )
        return done.text

    def has(self, oid: str) -> bool:
        """Whether the object is in this repository."""
        return self.run("cat-file", "-e", oid, check=False).code == 0

    def commit(self, name: str) -> Commit:
        """One commit by name or id."""
        oid = name if _OID.match(name) else self.rev(name)
        done = self.run("cat-file", "commit", oid, check=False)
        if done.code != 0:
            raise UsageError(f"there is no commit {name!r} here", where=str(self.path))
        return parse_commit(oid, done.out)

    def commits(self, span: str | Sequence[str], *, first_parent: bool = False) -> list[Commit]:
        """The commits of a range such as `A..B`, oldest first."""
        spans = [span] if isinstance(span, str) else list(span)
        way = ["--first-parent"] if first_parent else []
        done = self.run("rev-list", "--reverse", "--topo-order", *way, *spans, "--", check=False)
        if done.code != 0:
            raise UsageError(
                f"there is no range {' '.join(spans)} here: {done.err.strip()}",
                where=str(self.path),
                remedy="name two commits that this clone has, as A..B",
            )
        oids = done.text.split()
        return [parse_commit(oid, data) for oid, data in self.blobs(oids)]

    def entries(self, treeish: str, path: str = "", *, recursive: bool = False) -> list[Entry]:
        """The entries of a tree, of the folder `path` in it, or of everything below it.

        Paths are relative to the tree's root. An absent folder has no entries.
        """
        where = f"{treeish}:{path}" if path else treeish
        flags = ["-r"] if recursive else []
        done = self.run("ls-tree", "-z", "--full-tree", *flags, where, check=False)
        if done.code != 0:
            if (
                path
                and self.run("rev-parse", "--verify", "--quiet", f"{treeish}^{{tree}}", check=False).code == 0
            ):
                return []
            raise UsageError(f"there is no tree {treeish!r} here", where=str(self.path))
        prefix = f"{path.rstrip('/')}/" if path else ""
        found = []
        for row in done.out.decode("utf-8", "surrogateescape").split("\0"):
            if row:
                head, _, name = row.partition("\t")
                mode, kind, oid = head.split(" ")
                found.append(Entry(mode, kind, oid, prefix + name))
        return found

    def blob(self, oid: str) -> bytes:
        """A blob's bytes."""
        return self.run("cat-file", "blob", oid).out

    def blobs(self, oids: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Objects of any kind by id, in one process: (id, bytes) in the order asked."""
        wanted = list(oids)
        if not wanted:
            return
        out = self.run("cat-file", "--batch", stdin=("\n".join(wanted) + "\n").encode()).out
        at = 0
        for oid in wanted:
            end = out.index(b"\n", at)
            head = out[at:end].split(b" ")
            if head[-1] == b"missing":
                raise MachineryError(
                    f"object {oid} is missing", where=str(self.path), remedy="run git fsck there"
                )
            size = int(head[2])
            yield oid, out[end + 1 : end + 1 + size]
            at = end + 1 + size + 1

    def sizes(self, oids: Iterable[str]) -> dict[str, int]:
        """How many bytes each of these objects has."""
        wanted = list(dict.fromkeys(oids))
        if not wanted:
            return {}
        out = self.run(
            "cat-file", "--batch-check=%(objectname) %(objectsize)", stdin=("\n".join(wanted) + "\n").encode()
        ).text
        return {oid: int(size) for oid, _, size in (row.partition(" ") for row in out.splitlines())}

    def changes(self, old: str, new: str, *, renames: bool = False) -> list[Change]:
        """The paths that differ between two commits or trees, in order of path."""
        flag = "--find-renames" if renames else "--no-renames"
        out = self.run("diff-tree", "-r", "-z", "--raw", "--full-index", flag, old, new).out
        fields = out.decode("utf-8", "surrogateescape").split("\0")
        found, at = [], 0
        while at < len(fields) and fields[at].startswith(":"):
            old_mode, new_mode, old_blob, new_blob, status = fields[at][1:].split(" ")
            moved = status[0] in "RC"
            old_path, path = (fields[at + 1], fields[at + 2]) if moved else (fields[at + 1], fields[at + 1])
            found.append(Change(status[0], path, old_path, old_mode, new_mode, old_blob, new_blob))
            at += 3 if moved else 2
        return found

    def patch(self, old: str, new: str, *, context: int = 3, paths: Sequence[str] = ()) -> bytes:
        """The unified diff between two commits or trees, renames found, no settings or attributes applied.

        A file of 4 MB or more has no lines in it, as if it were binary; in a patch that would be longer than
        any reader bears, no file has.
        """
        words = (
            "diff-tree", "-r", "-p", "--full-index", "--find-renames", f"--unified={context}", "--no-color",
            "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/", old, new, "--", *paths,
        )  # fmt: skip
        shown = command.read_at_most(
            _LONGEST_PATCH, [*_pure_patch(_LARGEST_FILE), *words], cwd=self.path, env=_NO_ATTRIBUTES
        )
        if shown is None or shown.count(b"\n") > _MOST_LINES:
            return self.run(*_pure_patch(1), *words, env=_NO_ATTRIBUTES).out
        return shown

    def counts(self, old: str, new: str) -> tuple[int, int, int]:
        """Files touched, lines added and lines removed between two commits or trees, for lists.

        Lines are counted where `patch` would show them: comparing two files of 100 MB takes git ten seconds,
        and a list waits for all of its rows.
        """
        found = self.changes(old, new)
        blobs = {blob for c in found for blob, mode in ((c.old_blob, c.old_mode), (c.new_blob, c.new_mode))
                 if mode not in (NO_MODE, GITLINK)}  # fmt: skip
        sizes = [size for size in self.sizes(blobs).values() if size < _LARGEST_FILE]
        largest = _LARGEST_FILE if sum(sizes) <= 2 * _LONGEST_PATCH else 1
        words = ("diff-tree", "-r", "--numstat", "--no-renames", "--no-ext-diff", "--no-textconv", old, new)
        added = removed = 0
        for row in self.run(*_pure_patch(largest), *words, env=_NO_ATTRIBUTES).out.splitlines():
            plus, minus = row.split(b"\t", 2)[:2]
            added += int(plus) if plus.isdigit() else 0
            removed += int(minus) if minus.isdigit() else 0
        return len(found), added, removed

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `new` has `old` in its history (or is it)."""
        return self.run("merge-base", "--is-ancestor", old, new, check=False).code == 0

    def merge_base(self, one: str, other: str) -> str | None:
        """The best common ancestor, or None."""
        done = self.run("merge-base", one, other, check=False)
        return done.text if done.code == 0 else None

    def refs(self, prefix: str) -> dict[str, str]:
        """The refs below a prefix such as `refs/heads/`, with their object ids."""
        found = {}
        for row in self.run("for-each-ref", "--format=%(objectname) %(refname)", prefix).text.splitlines():
            oid, _, name = row.partition(" ")
            found[name] = oid
        return found

    def ref(self, name: str) -> str | None:
        """The object id that a full ref name points at, or None."""
        done = self.run("rev-parse", "--verify", "--quiet", "--end-of-options", name, check=False)
        return done.text if done.code == 0 else None

    # --- writing -----------------------------------------------------------------------------

    def merge_tree(self, ours: str, theirs: str, base: str) -> Merge:
        """Merge two trees over a base tree in the object store, as `git rebase` would (ort).

        All three are commits or trees. `--merge-base` came with git 2.40, so the base is forced
        by two synthetic commits with one synthetic parent, which works from 2.38 on.
        """
        command.require((2, 38), "merging in the object store")
        root = self.commit_tree(self._tree(base), (), "base")
        left = self.commit_tree(self._tree(ours), (root,), "ours")
        right = self.commit_tree(self._tree(theirs), (root,), "theirs")
        # In the git folder no work tree's .gitattributes is seen: see _PURE_MERGE.
        done = command.run(
            [*_PURE_MERGE, "merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", left, right],
            cwd=self.git_dir(),
            env=_NO_ATTRIBUTES,
            check=False,
        )
        if done.code not in (0, 1):
            raise command.failure(["merge-tree"], done, self.path)
        fields = [f for f in done.out.decode("utf-8", "surrogateescape").split("\0") if f]
        if done.code == 1:
            return Merge(None, tuple(sorted(set(fields[1:]))))
        return Merge(fields[0].strip(), ())

    def _tree(self, name: str) -> str:
        return self.run("rev-parse", "--verify", "--end-of-options", f"{name}^{{tree}}").text

    def commit_tree(
        self,
        tree: str,
        parents: Sequence[str],
        message: str,
        *,
        author: Person | None = None,
        committer: Person | None = None,
    ) -> str:
        """Write a commit object with exactly these parts; its id. Missing people are "fairlead" at time 0."""
        who, by = author or _NOBODY, committer or author or _NOBODY
        lines = [f"tree {tree}", *(f"parent {p}" for p in parents)]
        lines += [
            f"{role} {p.name} <{p.email}> {p.time} {p.zone}"
            for role, p in (("author", who), ("committer", by))
        ]
        data = ("\n".join(lines) + "\n\n" + message).encode("utf-8", "surrogateescape")
        return self.run("hash-object", "-t", "commit", "-w", "--stdin", stdin=data).text

    def update_ref(self, ref: str, new: str, old: str | None, *, reason: str = "fairlead") -> bool:
        """Move a ref by compare-and-swap; `old` None means it must not exist. False if another was first."""
        done = self.run("update-ref", "-m", reason, ref, new, old or NO_OBJECT, check=False)
        if done.code == 0:
            return True
        if self.ref(ref) != old:
            return False
        raise command.failure(["update-ref", ref], done, self.path)

    def delete_ref(self, ref: str, old: str) -> bool:
        """Delete a ref if it still points at `old`."""
        return self.run("update-ref", "-d", ref, old, check=False).code == 0
