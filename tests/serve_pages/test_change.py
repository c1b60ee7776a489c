"""A real change of a real repository as rows, and comments carried from version to version."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from fairlead.git import Repo
from fairlead.serve import placing, views
from fairlead.serve.highlight import Highlighter
from fairlead.serve.pages import change
from fairlead.serve.records.values import Anchor, Version

LINES = [f"line {n}" for n in range(1, 31)]


class Tree:
    """A repository in which a version is one commit on another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._git("init", "-q", "-b", "main")
        self.repo = Repo(folder)

    def _git(self, *args: str) -> str:
        env = {
            **os.environ,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            **{
                f"GIT_{role}_{what}": "author"
                for role in ("AUTHOR", "COMMITTER")
                for what in ("NAME", "EMAIL")
            },
        }
        return subprocess.run(
            ["git", *args], cwd=self.folder, env=env, check=True, capture_output=True, text=True
        ).stdout.strip()

    def commit(
        self, files: Mapping[str, str | bytes | None], on: str = "", modes: Mapping[str, int] | None = None
    ) -> str:
        if on:
            self._git("checkout", "-q", "-f", on)
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        for name, mode in (modes or {}).items():
            (self.folder / name).chmod(mode)
        self._git("add", "-A")
        self._git("commit", "-q", "--allow-empty", "-m", "change")
        return self._git("rev-parse", "HEAD")

    def version(self, n: int, parent: str, commit: str) -> Version:
        return Version(1, n, commit, parent, parent, "", "", "subject\n", "author", 0.0)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


def show(
    tree: Tree, version: Version, asked: change.Asked | None = None, **threads: object
) -> list[views.FileDiff]:
    files = change.files_of(tree.repo, version)
    words = change.Text(tree.repo, Highlighter(patience=30), files)
    return change.show(files, words, threads.get("threads", {}), asked or change.Asked(), "/D1/v1", {})  # type: ignore[arg-type]


def flat(file: views.FileDiff) -> list[views.Row]:
    return [row for chunk in file.chunks for row in chunk]


def test_rows_have_their_numbers_words_and_colours(tree: Tree) -> None:
    base = tree.commit({"a.py": "import os\n\n\ndef f(x):\n    return x\n"})
    top = tree.commit({"a.py": "import os\n\n\ndef f(x):\n    return x + 1"})
    [file] = show(tree, tree.version(1, base, top))
    rows = flat(file)
    assert (file.path, file.status, file.added, file.removed) == ("a.py", "changed", 1, 1)
    assert [(row.kind, row.old, row.new) for row in rows] == [
        ("hunk", None, None),
        ("context", 2, 2), ("context", 3, 3), ("context", 4, 4),
        ("del", 5, None), ("add", None, 5),
    ]  # fmt: skip
    assert '<span class="k">def</span>' in rows[3].code
    assert "<mark> + </mark>" in rows[5].code or "<mark> + " in rows[5].code
    assert rows[5].no_newline and not rows[4].no_newline


def test_every_kind_of_change_says_what_it_is(tree: Tree) -> None:
    base = tree.commit(
        {"gone": "x\n", "old name": text(LINES), "run": "x\n", "bin": b"\0\1", "keep/é": "x\n"}
    )
    top = tree.commit(
        {
            "gone": None,
            "old name": None,
            "new name": text(LINES),
            "bin": b"\0\2",
            "keep/é": "y\n",
            "empty": "",
        },
        modes={"run": 0o755},
    )
    found = {file.path: file for file in show(tree, tree.version(1, base, top))}
    assert {path: file.status for path, file in found.items()} == {
        "gone": "removed", "new name": "renamed", "run": "mode", "bin": "changed", "keep/é": "changed",
        "empty": "added",
    }  # fmt: skip
    assert found["new name"].notes == ("moved without a change of its lines",)
    assert found["run"].notes == ("mode 100644 to 100755",)
    assert found["bin"].notes == ("a binary file, or too large to show: its lines are not on this page",)
    assert found["empty"].notes == ("an empty file",)


def test_a_large_file_waits_until_it_is_asked_for(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change, "MOST_LINES", 40)
    base = tree.commit({})
    top = tree.commit({"a": text(LINES), "b": text(LINES)})
    version = tree.version(1, base, top)
    first, second = show(tree, version)
    assert not first.deferred and first.chunks
    assert not second.chunks and second.deferred == f"/D1/v1?show={second.key}#{second.key}"
    assert show(tree, version, change.Asked(show=second.key))[1].chunks


def test_rows_come_in_chunks(tree: Tree) -> None:
    base = tree.commit({})
    top = tree.commit({"a": text(LINES * 20)})
    [file] = show(tree, tree.version(1, base, top))
    assert [len(chunk) for chunk in file.chunks] == [200, 200, 200, 1]


def test_threads_and_the_composer_stand_under_their_line(tree: Tree) -> None:
    base = tree.commit({"a": text(LINES)})
    top = tree.commit({"a": text([*LINES[:14], "changed", *LINES[15:]])})
    version = tree.version(1, base, top)
    said = views.Post("p1", views.Person("reviewer"), 0.0, "inline")
    far = views.Post("p2", views.Person("reviewer"), 0.0, "inline")
    asked = change.Asked(at=change.line_id("a", "old", 15))
    [file] = show(tree, version, asked, threads={("a", "new", 15): [said], ("a", "new", 29): [far]})
    rows = flat(file)
    kinds = [row.kind for row in rows]
    assert kinds[kinds.index("del") + 1] == "composer"
    assert kinds[kinds.index("add") + 1] == "thread"
    composer = rows[kinds.index("composer")].composer
    assert composer is not None and (composer.path, composer.side, composer.line) == ("a", "old", 15)
    assert file.threads == (far,)  # its line is in no hunk, and it is shown all the same


def test_bytes_that_are_no_text_are_shown_by_name(tree: Tree) -> None:
    base = tree.commit({})
    top = tree.commit({"a.py": b"x = '\xff\xe2\x80\xae'\n"})
    [file] = show(tree, tree.version(1, base, top))
    code = flat(file)[1].code
    assert "\\xFF" in code and "U+202E RLO" in code


def place(
    tree: Tree, first: str, second: str, base: str, line: int, path: str = "a", **more: str
) -> placing.Placed:
    anchor = Anchor(1, more.get("side", "new"), path, line, line)
    made_on, shown = tree.version(1, base, first), tree.version(2, more.get("onto", base), second)
    return placing.place(tree.repo, anchor, made_on, shown)


def test_a_comment_moves_with_its_line(tree: Tree) -> None:
    base = tree.commit({"a": text(LINES)})
    first = tree.commit({"a": text([*LINES[:9], "new", *LINES[10:]])})
    second = tree.commit({"a": text(["x", "y", *LINES[:9], "new", *LINES[10:]])}, on=base)
    assert place(tree, first, second, base, 10) == placing.Placed("placed", "a", 12, 12)


def test_a_comment_on_changed_lines_says_so(tree: Tree) -> None:
    base = tree.commit({"a": text(LINES)})
    first = tree.commit({"a": text([*LINES[:9], "new", *LINES[10:]])})
    second = tree.commit({"a": text([*LINES[:9], "newer", *LINES[10:]])}, on=base)
    found = place(tree, first, second, base, 10)
    assert found.fate == "changed" and abs(found.start - 10) <= 1


def test_a_comment_follows_a_rename_even_with_odd_names(tree: Tree) -> None:
    base = tree.commit({":(glob)*": text(LINES), "other": "x\n"})
    first = tree.commit({":(glob)*": text([*LINES[:9], "new", *LINES[10:]])})
    moved = text(["top", *LINES[:9], "new", *LINES[10:]])
    second = tree.commit({":(glob)*": None, "a b": moved}, on=base)
    assert place(tree, first, second, base, 10, ":(glob)*") == placing.Placed("placed", "a b", 11, 11)


def test_a_comment_on_a_file_that_is_gone(tree: Tree) -> None:
    base = tree.commit({"other": "x\n"})
    first = tree.commit({"a": text(LINES)})
    second = tree.commit({"other": "y\n"}, on=base)
    assert place(tree, first, second, base, 10).fate == "gone"


def test_a_comment_on_the_old_side_follows_the_base(tree: Tree) -> None:
    base = tree.commit({"a": text(LINES)})
    first = tree.commit({"a": text(LINES[:9] + LINES[10:])})
    moved_base = tree.commit({"a": text(["top", *LINES])}, on=base)
    own = [f"own {n}" for n in range(5)]  # the new side moves further than the old one
    second = tree.commit({"a": text([*own, "top", *LINES[:9], *LINES[10:]])}, on=moved_base)
    assert place(tree, first, second, base, 10, side="old", onto=moved_base) == placing.Placed(
        "placed", "a", 11, 11
    )


def test_a_file_that_did_not_change_keeps_its_comment(tree: Tree) -> None:
    base = tree.commit({"b": "x\n"})
    first = tree.commit({"a": text(LINES), "b": "y\n"})
    second = tree.commit({"a": text(LINES), "b": "z\n"}, on=base)
    assert place(tree, first, second, base, 10) == placing.Placed("placed", "a", 10, 10)


def test_counts_for_lists(tree: Tree) -> None:
    base = tree.commit({"a": text(LINES), "bin": b"\0"})
    top = tree.commit({"a": text(LINES[:5]), "bin": b"\1\0", "c": "x\n"})
    assert change.count_of(tree.repo, tree.version(1, base, top)) == views.Count(3, 1, 25)
