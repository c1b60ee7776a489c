"""Dependency sets against trees made by chance: what was asked decides, what was not cannot matter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fairlead.build.record.asked import Asked
from fairlead.build.record.dependencyset import Answers, DependencySet, differences, evaluate
from fairlead.build.tree import EXECUTABLE, FILE, FOLDER, LINK, DiskTree, GitTree, LinkedTree, Tree
from fairlead.errors import UsageError
from fairlead.git import Repo
from fairlead.store import Record
from tests.build.project import commit, write

Files = Mapping[str, bytes]


class MemoryTree(LinkedTree):
    """Files in a dict; a name with `*` is executable, with `@` a link."""

    def __init__(self, files: Files) -> None:
        super().__init__()
        self.folders: dict[str, dict[str, str]] = {"": {}}
        self.bytes: dict[str, bytes] = {}
        for name, data in files.items():
            mode = EXECUTABLE if name.endswith("*") else LINK if name.endswith("@") else FILE
            path = name.rstrip("*@")
            self.bytes[path] = data
            while path:
                folder, _, last = path.rpartition("/")
                self.folders.setdefault(folder, {})[last] = mode
                path, mode = folder, FOLDER

    def _entries(self, folder: str) -> Mapping[str, str]:
        return self.folders.get(folder, {})

    def _target(self, path: str) -> str:
        return self.bytes[path].decode()

    def _read(self, path: str) -> bytes:
        return self.bytes[path]


names = st.sampled_from(["a", "b", "c", "d"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
contents = st.sampled_from([b"", b"one", b"two", b"def f():\n    return 1\n"])


@st.composite
def trees(draw: st.DrawFn) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path, data in draw(st.dictionaries(paths, contents, max_size=8)).items():
        if not any(path.startswith(f"{other}/") or other.startswith(f"{path}/") for other in found):
            found[path] = data
    return found


questions = st.builds(
    Asked,
    st.just("seccomp"),
    *(st.frozensets(paths, max_size=4) for _ in range(4)),
)


def key(asked: Asked, files: Files, today: Files) -> tuple[str, str]:
    """The keys of one set of questions on the tree that it was made on, and on another."""
    found = DependencySet.of(asked, MemoryTree(files))
    return evaluate(found, MemoryTree(files)).key, evaluate(found, MemoryTree(today)).key


@given(trees(), questions, paths, contents)
def test_an_edit_counts_if_and_only_if_somebody_asked(
    files: dict[str, bytes], asked: Asked, path: str, data: bytes
) -> None:
    """Each question is answered on both trees directly: the keys are equal if and only if all answers are."""
    assume(not any(path.startswith(f"{o}/") or o.startswith(f"{path}/") for o in files if o != path))
    edited = {**files, path: data}
    old, new = MemoryTree(files), MemoryTree(edited)

    def answers(tree: Tree) -> list[object]:
        def seen(asked_path: str) -> object:
            kind = tree.kind(asked_path)
            return (kind, len(tree.read(asked_path)) if kind == "file" else 0)

        def read(asked_path: str) -> object:
            return tree.read(asked_path) if tree.kind(asked_path) == "file" else tree.kind(asked_path)

        def names_of(folder: str) -> object:
            inside = [(name, tree.kind(f"{folder}/{name}")) for name in tree.list(folder)]
            return (tree.kind(folder), inside)

        return [
            [seen(p) for p in sorted(asked.probed)],
            [read(p) for p in sorted(asked.opened)],
            [names_of(p) for p in sorted(asked.listed)],
            [(tree.link(p), tree.kind(p)) for p in sorted(asked.links)],
        ]

    before, after = key(asked, files, edited)
    if answers(old) != answers(new):
        # a set made on a tree where something was absent has no more than that to ask of it
        assert before != after
    elif path not in asked.paths():
        assert before == after


@given(trees(), questions)
def test_the_record_of_the_questions_can_be_read_back(files: dict[str, bytes], asked: Asked) -> None:
    found = DependencySet.of(asked, MemoryTree(files))
    assert DependencySet.from_record(Record.decode(found.record().encode())) == found


@given(trees(), questions)
def test_order_does_not_matter(files: dict[str, bytes], asked: Asked) -> None:
    backwards = dict(reversed(list(files.items())))
    before, after = key(asked, files, backwards)
    assert before == after


BASE: Files = {
    "lib/words.py": b"X = 1\n\ndef used():\n    return 1\n\ndef unused():\n    return 2\n",
    "lib/run*": b"#!/bin/sh\n",
    "data/a.txt": b"a",
    "data/b.txt": b"bb",
    "here@": b"data/a.txt",
}
ASKED = Asked(
    "seccomp",
    opened=frozenset({"data/a.txt", "lib/words.py", "lib/run"}),
    probed=frozenset({"lib/words.py", "data/b.txt", "conftest.py", "lib/words"}),
    listed=frozenset({"data"}),
    links=frozenset({"here"}),
)
EDITS: dict[str, tuple[Files, bool]] = {
    "nothing": ({}, False),
    "bytes of a file that was read": ({"data/a.txt": b"b"}, True),
    "bytes of a file of which only the size was asked": ({"data/b.txt": b"cc"}, False),
    "its size": ({"data/b.txt": b"ccc"}, True),
    "a file that was looked for in vain": ({"conftest.py": b""}, True),
    "a folder where a module was looked for": ({"lib/words/__init__.py": b""}, True),
    "a file in a listed folder": ({"data/c.txt": b""}, True),
    "a file in another folder": ({"lib/c.txt": b""}, False),
    "Python's own cache in a listed folder": ({"data/__pycache__/a.pyc": b""}, False),
    "a file below a listed folder's folder": ({"other/c.txt": b""}, False),
    "where a link leads": ({"here@": b"data/b.txt"}, True),
    "a link where there was a file": ({"data/a.txt@": b"b.txt"}, True),
    "the body that was entered": ({"lib/words.py": BASE["lib/words.py"].replace(b"n 1", b"n 3")}, True),
    "the body that was not": ({"lib/words.py": BASE["lib/words.py"].replace(b"n 2", b"n 3")}, False),
    "a constant of the module": ({"lib/words.py": BASE["lib/words.py"].replace(b"= 1", b"= 2")}, True),
    "a line above": ({"lib/words.py": b"#\n" + BASE["lib/words.py"]}, True),
    "source that does not compile": ({"lib/words.py": b"def"}, True),
}


def python_set(*, positions: bool = True) -> DependencySet:
    return DependencySet.of(ASKED, MemoryTree(BASE), {"lib/words.py": ["used#0"]}, positions=positions)


@pytest.mark.parametrize("name", EDITS)
def test_each_kind_of_edit(name: str) -> None:
    edit, counts = EDITS[name]
    replaced = {path.rstrip("*@") for path in edit}
    today = {path: data for path, data in BASE.items() if path.rstrip("*@") not in replaced} | dict(edit)
    before, after = evaluate(python_set(), MemoryTree(BASE)), evaluate(python_set(), MemoryTree(today))
    assert (before.key != after.key) == counts
    assert bool(differences(before, after)) == counts


def test_what_goes_and_modes_count() -> None:
    before = evaluate(python_set(), MemoryTree(BASE))
    for path in BASE:
        today = {name: data for name, data in BASE.items() if name != path}
        assert evaluate(python_set(), MemoryTree(today)).key != before.key
    today = {path.rstrip("*"): data for path, data in BASE.items()}
    assert evaluate(python_set(), MemoryTree(today)).key != before.key


def test_lines_count_unless_they_are_ignored() -> None:
    moved = {**BASE, "lib/words.py": b"\n" + BASE["lib/words.py"]}
    for positions in (True, False):
        found = python_set(positions=positions)
        same = evaluate(found, MemoryTree(BASE)).key == evaluate(found, MemoryTree(moved)).key
        assert same == (not positions)


def test_what_no_tree_says_counts_too() -> None:
    tree = MemoryTree(BASE)
    given_values = [{}, {"environment": {"A": "1"}}, {"environment": {"A": "2"}}]
    assert len({evaluate(python_set(), tree, values).key for values in given_values}) == 3


def test_differences_name_what_a_person_can_look_at() -> None:
    today = {
        **BASE,
        "conftest.py": b"",
        "data/c.txt": b"",
        "lib/words.py": BASE["lib/words.py"].replace(b"n 1", b"n 3").replace(b"= 1", b"= 2"),
    }
    old, new = Answers(MemoryTree(BASE)), Answers(MemoryTree(today))
    before, now = evaluate(python_set(), old), evaluate(python_set(), new)
    known = {**old.listings, **new.listings}
    assert differences(before, now, known.get) == [
        "conftest.py was not there, now it is a file",
        "c.txt came in data, which was listed",
        "used in lib/words.py changed, which was entered",
        "lib/words.py changed outside of the bodies of functions",
    ]
    assert "what is in data changed, which was listed" in differences(before, now)


def test_answers_are_the_same_on_disk_and_in_git(tmp_path: Path) -> None:
    write(
        tmp_path,
        {name.rstrip("@"): f"-> {data.decode()}" if "@" in name else data for name, data in BASE.items()},
    )
    oid = commit(tmp_path)
    disk, git = DiskTree(tmp_path), GitTree(Repo(tmp_path), oid)
    asked = DependencySet.of(ASKED, disk, {"lib/words.py": ["used#0"]})
    assert asked == DependencySet.of(ASKED, git, {"lib/words.py": ["used#0"]}) == python_set()
    keys = {evaluate(asked, tree).key for tree in (disk, git, MemoryTree(BASE))}
    assert len(keys) == 1


def test_another_record_is_no_dependency_set() -> None:
    with pytest.raises(UsageError, match="no dependency set"):
        DependencySet.from_record(Record("target", 1, {}))
