"""How many paths a change touches, counted without listing them.

Ten trees of ten entries each, one within the other, are a kilobyte of pack and ten thousand million paths:
whoever asks git to list them runs out of memory. So each tree is read once, and counted as often as it
occurs; a count beyond the limit ends early.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from typing import IO

from fairlead.errors import MachineryError
from fairlead.git import command
from fairlead.git.repository import Repo

_Tree = dict[bytes, tuple[bytes, str]]  # name -> mode, object
_Pair = tuple[str, str]  # a tree before and after, "" for none
_DEEPEST = 1000  # folders within folders


class Measure:
    """Reads trees of one repository through one git process; a context manager."""

    def __init__(self, repo: Repo) -> None:
        self._process = subprocess.Popen(
            ["git", "cat-file", "--batch"], cwd=repo.path, env=command.environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._where = str(repo.path)

    def __enter__(self) -> Measure:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes():
            pipe.close()
        self._process.wait()

    def paths(self, old: str, new: str, limit: int) -> int:
        """The number of files that differ between two trees; a number over `limit` is at least that."""
        level: Counter[_Pair] = Counter({(old, new): 1})
        total = 0
        for _ in range(_DEEPEST):
            below: Counter[_Pair] = Counter()
            for pair, times in level.items():
                for inner in self._differing(pair):
                    if inner is None:
                        total += times
                    else:
                        below[inner] += times
                if total > limit or len(below) > limit:
                    return max(total, len(below))
            if not below:
                return total
            level = below
        return limit + 1

    def _differing(self, pair: _Pair) -> Iterator[_Pair | None]:
        """What differs in a pair of trees: None for each file, a pair for each folder."""
        if pair[0] == pair[1]:
            return
        before, after = self._tree(pair[0]), self._tree(pair[1])
        for name in before.keys() | after.keys():
            one, other = before.get(name), after.get(name)
            if one == other:
                continue
            folders = [entry[1] if entry and _is_folder(entry) else "" for entry in (one, other)]
            if any(folders):
                yield folders[0], folders[1]
            if any(entry and not _is_folder(entry) for entry in (one, other)):
                yield None

    def _tree(self, oid: str) -> _Tree:
        if not oid:
            return {}
        write, read = self._pipes()
        write.write(oid.encode() + b"\n")
        write.flush()
        head = read.readline().split()
        if len(head) != 3 or head[1] != b"tree":
            raise MachineryError(f"there is no tree {oid}", where=self._where, remedy="run git fsck there")
        data = read.read(int(head[2]) + 1)[:-1]
        found, at, width = {}, 0, len(oid) // 2
        while at < len(data):
            end = data.index(b"\0", at)
            mode, _, name = data[at:end].partition(b" ")
            found[name] = (mode, data[end + 1 : end + 1 + width].hex())
            at = end + 1 + width
        return found

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process.stdin is not None and self._process.stdout is not None
        return self._process.stdin, self._process.stdout


def _is_folder(entry: tuple[bytes, str]) -> bool:
    return entry[0].lstrip(b"0") == b"40000"
