"""A version's change as rows to show: hunks of git, highlighted, with threads under their lines."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from markupsafe import Markup

from fairlead.git import Repo
from fairlead.serve import views
from fairlead.serve.highlight import Highlighter, Line, line_html, shown
from fairlead.serve.records.values import Version
from fairlead.ship import hunks, intraline

CHUNK = 200  # rows that a browser lays out at once
MOST_BYTES = 32 << 20  # of files read for one page
_FEW = 8  # files that are read without asking how large they are: at most 4 MB each
MOST_LINES = 4000  # changed lines of one page; files beyond are shown when asked for

Side = Literal["old", "new"]
Spot = tuple[str, Side, int]  # path, side, line
_AT = re.compile(r"(f[0-9a-f]{8})([on])([1-9][0-9]{0,8})")
_STATUS: dict[str, Literal["added", "removed", "changed", "renamed"]] = {
    "added": "added",
    "deleted": "removed",
    "modified": "changed",
    "renamed": "renamed",
    "copied": "renamed",
}


def key_of(path: str) -> str:
    """The name of a file in the page's anchors, the same on every version."""
    return "f" + hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def line_id(path: str, side: str, line: int) -> str:
    """The id of a line's row: the anchor that links to it."""
    return f"{key_of(path)}{'o' if side == 'old' else 'n'}{line}"


@lru_cache(maxsize=32)  # commits never change
def _files(where: Path, parent: str, commit: str) -> tuple[hunks.FileDiff, ...]:
    return hunks.parse(Repo(where).patch(parent, commit))


def files_of(repo: Repo, version: Version) -> tuple[hunks.FileDiff, ...]:
    """What a version changes, as git found it."""
    return _files(repo.path, version.parent, version.commit)


@lru_cache(maxsize=4096)
def _count(where: Path, parent: str, commit: str) -> views.Count:
    return views.Count(*Repo(where).counts(parent, commit))


def count_of(repo: Repo, version: Version) -> views.Count:
    """How much a version changes, for lists."""
    return _count(repo.path, version.parent, version.commit)


@dataclass(frozen=True)
class Asked:
    """What the address asks for beyond the page: a composer at a line, a file that was left out."""

    at: str = ""
    show: str = ""

    def composer(self, files: Sequence[hunks.FileDiff]) -> views.Composer | None:
        """The composer at the line that `at` names, if there is such a file."""
        found = _AT.fullmatch(self.at)
        if found is None:
            return None
        file = next((f for f in files if key_of(f.path) == found[1]), None)
        if file is None:
            return None
        if found[2] == "o":
            return views.Composer(file.old_path, "old", int(found[3]), self.at)
        return views.Composer(file.new_path, "new", int(found[3]), self.at)


class Text:
    """The highlighted lines of the blobs of one change, read in one go."""

    def __init__(self, repo: Repo, highlighter: Highlighter, files: Iterable[hunks.FileDiff]) -> None:
        wanted: list[tuple[str, str]] = []
        for file in files:
            if file.binary or file.submodule or not file.hunks:
                continue
            if file.removed:
                wanted.append((file.old_blob, file.old_path))
            if file.status != "deleted":
                wanted.append((file.new_blob, file.new_path))
        self._lines = highlighter.many(_within(repo, wanted), repo.blobs)

    def excerpt(self, blob: str, path: str, start: int, end: int) -> tuple[tuple[int, Markup], ...]:
        """At most four lines of a file of the change; () if it is not one whose lines are known."""
        lines = self._lines.get((blob, path), [])
        return tuple((n, line_html(lines[n - 1])) for n in range(start, min(end, start + 3, len(lines)) + 1))

    def line(self, blob: str, path: str, number: int, expected: str) -> Line:
        """One line with its roles; plain if the cache does not hold exactly the expected text."""
        lines = self._lines.get((blob, path), [])
        if 0 < number <= len(lines) and "".join(text for _, text in lines[number - 1]) == expected:
            return lines[number - 1]
        return (("", expected),) if expected else ()


def _within(repo: Repo, wanted: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """As many of the blobs, in their order, as may be in memory together; lines of others stay plain."""
    if len(wanted) <= _FEW:
        return wanted
    sizes, left, found = repo.sizes(blob for blob, _ in wanted), MOST_BYTES, []
    for one in wanted:
        left -= sizes[one[0]]
        if left >= 0:
            found.append(one)
    return found


def show(
    files: Sequence[hunks.FileDiff],
    text: Text,
    threads: Mapping[Spot, Sequence[views.Post]],
    asked: Asked,
    link: str,
    sizes: Mapping[str, int],
) -> list[views.FileDiff]:
    """The files as views; `threads` stand at (path, side, line), and `link` is the page's own address.

    `sizes` are those of the blobs that `unshown` names.
    """
    composer = asked.composer(files)
    left = MOST_LINES
    out = []
    for file in files:
        size = file.added + file.removed
        key = key_of(file.path)
        own = {spot: posts for spot, posts in threads.items() if spot[0] == file.path}
        deferred = size > left and asked.show != key and not asked.at.startswith(key)
        rows, homeless = ([], own) if deferred else _rows(file, text, own, composer)
        if not deferred:
            left -= min(size, left)
        out.append(
            views.FileDiff(
                key=key,
                path=file.path,
                old_path=file.old_path,
                status=_status(file),
                added=file.added,
                removed=file.removed,
                chunks=tuple(tuple(rows[i : i + CHUNK]) for i in range(0, len(rows), CHUNK)),
                notes=tuple(_notes(file)),
                raw=tuple(_raw(file, f"{link}/raw/{key}", sizes)) if file.binary else (),
                threads=tuple(post for posts in homeless.values() for post in posts),
                deferred=f"{link}?show={key}#{key}" if deferred else "",
            )
        )
    return out


def _status(file: hunks.FileDiff) -> Literal["added", "removed", "changed", "renamed", "mode"]:
    if file.status == "modified" and file.mode_changed and not file.hunks and not file.binary:
        return "mode"
    return _STATUS[file.status]


def _notes(file: hunks.FileDiff) -> Iterable[str]:
    if file.mode_changed:
        yield f"mode {file.old_mode} to {file.new_mode}"
    if file.status == "renamed" and not file.hunks:
        yield "moved without a change of its lines"
    if file.status == "copied":
        yield f"copied from {file.old_path}"
    if file.submodule:
        yield "a submodule: what changes is the commit it pins"
    if file.binary:
        yield "a binary file, or too large to show: its lines are not on this page"
    if file.status in ("added", "deleted") and not file.hunks and not file.binary:
        yield "an empty file"


def unshown(files: Iterable[hunks.FileDiff]) -> list[str]:
    """The blobs of which a page has no lines."""
    blobs = (blob for file in files if file.binary for blob in (file.old_blob, file.new_blob))
    return [blob for blob in blobs if blob.strip("0")]


def _raw(file: hunks.FileDiff, link: str, sizes: Mapping[str, int]) -> Iterable[views.Raw]:
    if file.old_blob in sizes:
        yield views.Raw("as it was", f"{link}?side=old", sizes[file.old_blob])
    if file.new_blob in sizes:
        yield views.Raw("as it is now", link, sizes[file.new_blob])


def _rows(
    file: hunks.FileDiff,
    text: Text,
    threads: Mapping[Spot, Sequence[views.Post]],
    composer: views.Composer | None,
) -> tuple[list[views.Row], dict[Spot, Sequence[views.Post]]]:
    """The rows of a file, and the threads whose line is in none of its hunks."""
    rows: list[views.Row] = []
    waiting = dict(threads)
    for hunk in file.hunks:
        ranges = f"@@ -{hunk.old_start},{hunk.old_count} +{hunk.new_start},{hunk.new_count} @@"
        heading = f"{ranges} {hunk.heading}" if hunk.heading else ranges
        rows.append(views.Row("hunk", code=shown(heading)))
        changed = intraline.of_hunk(hunk)
        for index, line in enumerate(hunk.lines):
            rows.append(_row(file, text, line, changed.get(index, ())))
            for spot in _spots(file.path, line):
                posts = waiting.pop(spot, ())
                if posts:
                    rows.append(views.Row("thread", threads=tuple(posts)))
                if composer and composer.key == line_id(*spot):
                    rows.append(views.Row("composer", composer=composer))
    return rows, waiting


def _spots(path: str, line: hunks.Line) -> Iterable[Spot]:
    if line.old is not None:
        yield (path, "old", line.old)
    if line.new is not None:
        yield (path, "new", line.new)


def _row(file: hunks.FileDiff, text: Text, line: hunks.Line, changed: intraline.Spans) -> views.Row:
    expected = line.data.decode("utf-8", "surrogateescape")
    if line.kind == "-":
        code = text.line(file.old_blob, file.old_path, line.old or 0, expected)
        kind: Literal["del", "add", "context"] = "del"
    else:
        code = text.line(file.new_blob, file.new_path, line.new or 0, expected)
        kind = "add" if line.kind == "+" else "context"
    return views.Row(kind, line.old, line.new, line_html(code, changed), not line.newline)


def excerpt(
    repo: Repo, highlighter: Highlighter, commit: str, path: str, start: int, end: int
) -> tuple[tuple[int, Markup], ...]:
    """The same of any file of a commit; () if it is no file there."""
    blob = repo.ref(f"{commit}:{path}")
    if blob is None:
        return ()
    lines = highlighter.many([(blob, path)], repo.blobs).get((blob, path), [])
    return tuple((n, line_html(lines[n - 1])) for n in range(start, min(end, start + 3, len(lines)) + 1))
