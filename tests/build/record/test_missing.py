"""Undeclared inputs: where the project would have what a test asked for in vain, and what to declare."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from fairlead.build.record.asked import Asked
from fairlead.build.record.layout import Layout
from fairlead.build.record.missing import Missing, Owner, missing, remedy
from fairlead.build.record.runs import RecordedRun, Runs
from fairlead.build.tree import DiskTree
from fairlead.store import Store
from tests.build.project import write

LINK_TREE = "fairlead-out/gen/app/__test__/link-tree"
LAYOUT = Layout(
    {
        LINK_TREE: {
            "app/test_app.py": "app/test_app.py",
            "words/first.py": "lib/src/words/first.py",
            "top.py": "lib/top.py",
            "app/made.txt": "fairlead-out/gen/app/__made__/made.txt",
        }
    }
)


@pytest.fixture
def tree(tmp_path: Path) -> DiskTree:
    files = ["app/BUCK", "app/data/x.txt", "app/conftest.py", "lib/src/words/second.py", "lib/other.py"]
    files += ["lib/src/words/more/third.txt", "README.md", "app/__pycache__/test_app.pyc"]
    return DiskTree(write(tmp_path, dict.fromkeys(files, "")))


def found(
    tree: DiskTree,
    *,
    opened: Iterable[str] = (),
    probed: Iterable[str] = (),
    listed: Iterable[str] = (),
    log: str = "",
    there: Iterable[str] = (),
) -> list[Missing]:
    def inside(paths: Iterable[str]) -> frozenset[str]:
        return frozenset(f"{LINK_TREE}/{path}" for path in paths)

    asked = Asked("seccomp", opened=inside(opened), probed=inside(probed), listed=inside(listed))
    absent = asked.paths() - inside(there)
    return missing(RecordedRun("key", "fail", asked, absent), log, LAYOUT, tree)


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ("app/data/x.txt", "app/data/x.txt"),
        ("words/second.py", "lib/src/words/second.py"),  # beside its neighbour
        ("words/more/third.txt", "lib/src/words/more/third.txt"),  # below its neighbour's folder
        ("other.py", "lib/other.py"),
        ("README.md", "README.md"),
    ],
)
def test_a_path_of_the_link_tree_is_found_in_the_project(tree: DiskTree, asked: str, path: str) -> None:
    assert found(tree, opened=[asked]) == [Missing(path, "opened")]
    assert LAYOUT.shown(f"{LINK_TREE}/{asked}") == asked


def test_what_the_project_lacks_and_what_was_there_is_not_named(tree: DiskTree) -> None:
    assert found(tree, opened=["app/none.txt", "app/__pycache__/test_app.pyc"]) == []
    assert found(tree, opened=["app/data/x.txt"], there=["app/data/x.txt"]) == []


def test_the_likeliest_cause_comes_first(tree: DiskTree) -> None:
    items = found(
        tree,
        opened=["words/second.py"],
        probed=["app/conftest.py", "README.md", "words/second.py"],
        listed=["app/data"],
        log="E   ModuleNotFoundError: No module named 'other'\n",
    )
    assert items == [
        Missing("lib/other.py", "imported"),
        Missing("lib/src/words/second.py", "opened"),
        Missing("app/data", "listed"),
        Missing("README.md", "looked for"),
        Missing("app/conftest.py", "setting"),
    ]


@pytest.mark.parametrize(
    "log",
    [
        "ModuleNotFoundError: No module named 'words.second'",
        "ImportError: cannot import name 'second' from 'words' (unknown location)",
    ],
)
def test_failed_imports_are_read_from_the_log(tree: DiskTree, log: str) -> None:
    assert found(tree, log=log) == [Missing("lib/src/words/second.py", "imported")]


def test_a_folder_is_not_named_beside_its_file(tree: DiskTree) -> None:
    assert found(tree, probed=["app/data"], opened=["app/data/x.txt"]) == [
        Missing("app/data/x.txt", "opened")
    ]


LIBRARY, GROUP = ("//lib:lib", "python_library"), ("//lib:files", "filegroup")


@pytest.mark.parametrize(
    ("path", "owner", "rule", "text"),
    [
        ("lib/a.py", Owner("lib", (GROUP, LIBRARY)), "python_test", 'add "//lib:lib" to the deps of //app:t'),
        ("lib/a.txt", Owner("lib", (GROUP,)), "python_test", 'add "//lib:files" to the resources of //app:t'),
        ("lib/a.py", Owner("lib", (LIBRARY,)), "sh_test", 'add "//lib:lib" to the resources of //app:t'),
        (
            "lib",
            Owner("lib", (LIBRARY, ("//lib:more", "python_library"))),
            "python_test",
            'add what it needs of "//lib:lib", "//lib:more" to the deps of //app:t',
        ),
        ("app/d/a.txt", Owner("app"), "python_test", 'add "d/a.txt" to the resources of //app:t'),
        ("app/a.py", Owner("app"), "python_test", 'add "a.py" to the srcs of //app:t'),
        ("app/a.py", Owner("app", (("//app:t", "sh_test"),)), "sh_test", 'add "a.py" to the resources of'),
        (
            "b/a.py",
            Owner("b"),
            "python_test",
            "declare it in a python_library of //b, and add that to the deps",
        ),
        ("a.py", Owner(""), "sh_test", "declare it in a filegroup of the root package, and add that to the"),
        ("c/a.py", Owner(None), "sh_test", "it is in no package: make a BUCK file"),
    ],
)
def test_the_remedy_says_what_to_write_where(path: str, owner: Owner, rule: str, text: str) -> None:
    assert remedy(Missing(path, "opened"), owner, "//app:t", rule).startswith(text)


def test_the_last_run_is_kept_and_a_damaged_one_is_dropped(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    runs = Runs(store)
    assert runs.get("//a:b") is None
    run = RecordedRun("key", "fail", Asked("seccomp", frozenset({"a", "b"}), calls=3), frozenset({"b"}))
    runs.put("//a:b", run)
    assert runs.get("//a:b") == run
    store.results.put("asked", "//a:b", b"{}")
    assert runs.get("//a:b") is None
