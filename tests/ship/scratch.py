"""A real repository to write versions of diffs into, without a work tree."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

from fairlead.git import GITLINK, Person, Repo, add_trailer
from fairlead.ship import change
from fairlead.ship.values import Approval

AUTHOR = Person("author", "author@example.org", 1_700_000_000, "+0000")


class Scratch:
    """Commits made from dictionaries: path -> content, (content, mode) or a submodule's commit id."""

    def __init__(self, path: Path) -> None:
        self.repo = Repo.init_bare(path)

    def tree(self, files: Mapping[str, str | bytes | tuple[str, str]]) -> str:
        rows: list[str] = []
        for path, content in files.items():
            mode = "100644"
            if isinstance(content, tuple):
                content, mode = content
            if mode == GITLINK:
                oid = str(content)
            else:
                data = content if isinstance(content, bytes) else content.encode()
                oid = self.repo.run("hash-object", "-w", "--stdin", stdin=data).text
            rows.append(f"{mode} {oid}\t{path}\0")
        index = {"GIT_INDEX_FILE": str(self.repo.path / "scratch-index")}
        (self.repo.path / "scratch-index").unlink(missing_ok=True)
        rows_in = "".join(rows).encode("utf-8", "surrogateescape")
        self.repo.run("update-index", "-z", "--add", "--index-info", stdin=rows_in, env=index)
        return self.repo.run("write-tree", "--missing-ok", env=index).text

    def commit(
        self,
        files: Mapping[str, str | bytes | tuple[str, str]],
        *parents: str,
        message: str = "A change",
        diff_id: str | None = None,
    ) -> str:
        text = add_trailer(message, "Diff-Id", diff_id) if diff_id else message + "\n"
        return self.repo.commit_tree(self.tree(files), parents, text, author=AUTHOR)

    def change(self, commit: str) -> str:
        """The change key of a commit against its parent."""
        return change.key(self.repo.changes(self.repo.commit(commit).parents[0], commit))

    def remerged(self, commit: str, base: str) -> str | None:
        """The tree of a commit merged onto another base."""
        return self.repo.merge_tree(base, commit, self.repo.commit(commit).parents[0]).tree

    def carries(self, approved: str, later: str) -> bool:
        """Does an approval of one version carry to a later one?"""
        commit = self.repo.commit(later)
        return change.carries(self.remerged(approved, commit.parents[0]), commit.tree)

    def approval(self, commit: str, *, diff: int, version: int, person: str = "reviewer") -> Approval:
        return Approval(diff, version, person, commit, self.change(commit))


def executable(content: str) -> tuple[str, str]:
    """A file that may be run."""
    return content, f"{stat.S_IFREG | 0o755:o}"


def submodule(oid: str) -> tuple[str, str]:
    """A submodule pinned at a commit."""
    return oid, GITLINK
