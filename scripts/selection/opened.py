"""What keys of whole files would run again: the paths that each test file asks for, by strace.

Not Fairlead's record but strace's over plain pytest, one file a process, so that the figure stands apart
from what is measured. A test file runs again if the edit touches a path that it opened, looked at or asked
for in vain, or a folder that it listed and in which the edit adds or removes a name.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from selection import process
from selection.edit import Edit
from selection.oracle import Oracle
from selection.workplace import Workplace

_CALL = re.compile(
    r"(?:\d+\s+)?(?:open|openat|stat|lstat|newfstatat|statx|access|faccessat2?|readlink|readlinkat|execve)"
    r'\((?:(?:AT_FDCWD|\d+)(?:<(?P<dir>[^>]*)>)?, )?"(?P<path>(?:[^"\\]|\\.)*)"'
)
_LISTED = re.compile(r"getdents64?\(\d+<(?P<path>[^>]*)>")


class Opened:
    """For each test file the paths of the tree that it asked for, and the folders that it listed."""

    def __init__(self, place: Workplace, oracle: Oracle) -> None:
        self.place = place
        self.oracle = oracle
        self.kept = place.folder / "opened.json"

    def by_file(self) -> dict[str, dict[str, list[str]]]:
        """{file: {"asked": paths, "listed": folders}}, paths from the top of the tree."""
        if not self.kept.exists():
            found = {path: self._trace(path) for path in self.oracle.files()}
            self.kept.write_text(json.dumps(found))
        made: dict[str, dict[str, list[str]]] = json.loads(self.kept.read_text())
        return made

    def _trace(self, path: str) -> dict[str, list[str]]:
        root = str(self.place.for_oracle())
        with tempfile.TemporaryDirectory(prefix="strace-", dir=self.place.folder) as scratch:
            log = Path(scratch) / "log"
            calls = "open,openat,stat,lstat,newfstatat,statx,access,faccessat,faccessat2,readlink,readlinkat"
            words = ["strace", "-f", "-qq", "-y", "--seccomp-bpf", "-s", "4096", "-o", str(log)]
            words += ["-e", f"trace={calls},execve,getdents64", "-e", "signal=none"]
            words += [*self.place.pytest(), "-q", "-p", "no:cacheprovider", path]
            process.call(words, self.place.plain, self.place.variables(Path(scratch)), 900)
            asked: set[str] = set()
            listed: set[str] = set()
            with log.open(errors="replace") as lines:
                for line in lines:
                    if (found := _CALL.search(line)) is not None:
                        asked.add(_inside(root, os.path.join(root, found["dir"] or "", found["path"])))
                    elif (found := _LISTED.search(line)) is not None:
                        listed.add(_inside(root, found["path"]))
        return {"asked": sorted(asked - {""}), "listed": sorted(listed)}

    def again(self, edit: Edit) -> set[str]:
        """The test files that whole-file keys would run again. Another lock runs all of them."""
        by_file = self.by_file()
        if any(path.endswith(".lock") for path in edit.content):
            return set(by_file)
        touched = set(edit.content)
        moved = {
            path.rpartition("/")[0]
            for path, content in edit.content.items()
            if (content is None) == (self.place.as_it_is() / path).exists()
        }
        new = {
            path for path in touched if path.endswith(".py") and path.rpartition("/")[2].startswith("test_")
        }
        return {
            path
            for path, asked in by_file.items()
            if touched & set(asked["asked"]) or moved & set(asked["listed"])
        } | (new - set(by_file))


def _inside(root: str, path: str) -> str:
    """A path of the tree from its top, "" for one outside."""
    whole = os.path.normpath(path)
    return os.path.relpath(whole, root) if whole.startswith(root + "/") else ""


def weight(files: Iterable[str], clean: dict[str, str]) -> int:
    """How many tests of the clean run are in these files."""
    dotted = tuple(path.removesuffix(".py").replace("/", ".") for path in files)
    starts = tuple(f"{name}." for name in dotted)
    return sum(f"{node.partition('::')[0]}.".startswith(starts) for node in clean) if dotted else 0
