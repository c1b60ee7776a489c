"""A project read from disk and from git: the same plan, the same keys, whatever files it has."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.build.buckconfig import BuckConfig
from fairlead.build.evaluate import evaluate
from fairlead.build.key import target_records
from fairlead.build.tree import DiskTree, GitTree, Tree
from fairlead.errors import UsageError
from fairlead.git import Repo
from fairlead.store.filedigests import FileDigests
from fairlead.store.results import Results
from tests.build.project import LINUX, commit, git, write

BUILD_FILES = {
    "all": "filegroup(name = 'all', srcs = glob(['**']), visibility = ['PUBLIC'])",
    "python": "python_library(name = 'lib', srcs = glob(['**/*.py']), resources = glob(['**/*.txt', '.*']))",
}
NAMES = ["a.py", "b.py", "c.txt", ".hidden", "with space.txt", "é.py"]
FOLDERS = ["", "d/", "d/e/", "p/", "p/q/"]

paths = st.tuples(st.sampled_from(FOLDERS), st.sampled_from(NAMES)).map("".join)
contents = st.one_of(
    st.binary(max_size=8).map(lambda data: data.replace(b"\r", b"")),
    st.sampled_from([*FOLDERS[1:], *NAMES, "../a.py", "../../outside", "/etc/passwd"]).map("-> {}".format),
)
files_of_projects = st.dictionaries(paths, st.tuples(contents, st.booleans()), max_size=8)
packages_of_projects = st.dictionaries(
    st.sampled_from(FOLDERS), st.sampled_from(sorted(BUILD_FILES)), max_size=3
)


def snapshot(tree: Tree) -> tuple[bytes, dict[str, str]]:
    plan = evaluate(tree, ["//..."])
    return plan.encode(), {label: record.key for label, record in target_records(plan, tree, LINUX).items()}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files_of_projects, packages_of_projects)
def test_disk_and_git_agree(entries: dict[str, tuple[str | bytes, bool]], packages: dict[str, str]) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        files: dict[str, str | bytes] = {"BUCK": BUILD_FILES["all"]}
        for path, (content, executable) in entries.items():
            files[path + ("*" if executable and isinstance(content, bytes) else "")] = content
        files |= {f"{folder}BUCK": BUILD_FILES[kind] for folder, kind in packages.items()}
        write(root, files)
        oid = commit(root)
        assert snapshot(DiskTree(root)) == snapshot(GitTree(Repo(root), oid))
    finally:
        shutil.rmtree(root)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "project"


def both(root: Path) -> list[Tree]:
    oid = commit(root)
    return [DiskTree(root), GitTree(Repo(root), oid)]


def test_what_links_lead_to(root: Path) -> None:
    write(
        root,
        {
            "real.txt": "text",
            "bin/run*": "#!/bin/sh",
            "link": "-> real.txt",
            "d/up": "-> ../link",
            "d/run": "-> ../bin/run",
            "folder": "-> bin",
            "circle": "-> circle",
            "absent": "-> nothing",
            "outside": "-> ../secret",
            "absolute": "-> /etc/passwd",
        },
    )
    (root.parent / "secret").write_text("secret")
    for tree in both(root):
        assert tree.kind("link") == tree.kind("d/up") == "file"
        assert tree.read("d/up") == b"text"
        assert tree.digest("d/up") == tree.digest("real.txt")
        assert (tree.mode("d/up"), tree.mode("d/run")) == ("100644", "100755")
        assert tree.kind("folder") == "folder"
        assert tree.read("folder/run") == b"#!/bin/sh"
        assert tree.list("folder") == ()
        for path in (
            "circle",
            "absent",
            "outside",
            "absolute",
            "real.txt/x",
            "nope",
            "../secret",
            "d/../../secret",
        ):
            assert tree.kind(path) is None
            with pytest.raises(UsageError, match="there is no file"):
                tree.read(path)
        assert tree.digests(["d/up", "link"]) == dict.fromkeys(["d/up", "link"], tree.digest("real.txt"))


def test_no_link_and_no_include_leads_to_what_is_never_part_of_a_project(root: Path) -> None:
    write(
        root,
        {
            "BUCK": "filegroup(name = 'x', srcs = glob(['**']))",
            ".buckconfig": "[a]\n<?file:.git/config>\n",
            "c": "-> .git/config",
            "d/g": "-> ../.git",
            "o": "-> fairlead-out/made",
        },
    )
    trees = both(root)
    write(root, {"fairlead-out/made": "made"})
    for tree in trees:
        for path in ("c", "d/g", "d/g/config", "o", ".git", ".git/config", "fairlead-out/made"):
            assert tree.kind(path) is None
        assert evaluate(tree, ["//..."]).targets["//:x"].sources == ("BUCK",)
        assert BuckConfig.load(tree).get("core", "bare") is None
    with pytest.raises(UsageError, match="does not exist"):
        BuckConfig.load(DiskTree(write(root, {".buckconfig": "<file:.git/config>\n"})))


def test_a_folder_with_a_leftover_of_a_submodule_is_no_repository(root: Path) -> None:
    """An archive may hold a submodule's files with a file `.git` that leads nowhere: git adds such files."""
    write(root, {"sub/.git": "gitdir: ../.git/modules/sub\n", "sub/a.txt": "a"})
    for tree in both(root):
        assert tree.kind("sub/a.txt") == "file" and tree.kind("sub/.git") is None
    (root / ".git/modules/sub").mkdir(parents=True)
    assert DiskTree(root).kind("sub/a.txt") is None


def test_nested_repositories_are_opaque(root: Path) -> None:
    write(
        root,
        {"BUCK": "filegroup(name = 'x', srcs = glob(['**']))", "a": "", "sub/BUCK": "nonsense", "sub/b": ""},
    )
    commit(root / "sub")
    for tree in both(root):
        assert tree.kind("sub") is None
        assert tree.kind("sub/b") is None
        assert evaluate(tree, ["//..."]).targets["//:x"].sources == ("BUCK", "a")


def test_a_folder_without_files_is_no_source_on_either_side(root: Path) -> None:
    """A submodule that nobody has fetched is an empty folder on disk, and not there in a commit."""
    write(root, {"BUCK": "filegroup(name = 'x', srcs = ['sub'])", "a": "", "sub/b": ""})
    commit(root / "sub")
    trees = both(root)
    shutil.rmtree(root / "sub")
    (root / "sub").mkdir()
    for tree in trees:
        with pytest.raises(UsageError, match=r"the source (file )?sub (does not exist|is a folder without)"):
            evaluate(tree, ["//..."])


def test_files_that_git_does_not_know_are_seen_on_disk_only(root: Path) -> None:
    write(root, {"BUCK": "filegroup(name = 'x', srcs = glob(['*.txt']))", "a.txt": ""})
    _, in_git = both(root)
    (root / "b.txt").touch()
    assert evaluate(DiskTree(root), ["//..."]).targets["//:x"].sources == ("a.txt", "b.txt")
    assert evaluate(in_git, ["//..."]).targets["//:x"].sources == ("a.txt",)


def test_digests_of_blobs_are_kept_by_their_ids(root: Path, tmp_path: Path) -> None:
    write(root, {"a": "one", "b": "two"})
    oid = commit(root)
    results = Results(tmp_path / "results")
    first = GitTree(Repo(root), oid, results).digests(["a", "b"])
    blob = git(root, "rev-parse", "HEAD:a")
    assert results.get(GitTree.NAMESPACE, blob) == first["a"].encode()
    results.put(GitTree.NAMESPACE, blob, b"0" * 64)  # what is kept is used
    assert GitTree(Repo(root), oid, results).digest("a") == "0" * 64


def test_digests_kept_from_an_earlier_look_are_those_of_the_files(tmp_path: Path) -> None:
    """Through links too: the link says which file, the file's own state what it holds."""
    root = write(tmp_path / "root", {"a": "one", "b": "two", "link": "-> a", "folder/c": "three"})
    results = Results(tmp_path / "results.sqlite")
    paths = ["a", "b", "link", "folder/c"]
    old = time.time() - 60
    for path in ("a", "b", "folder/c"):
        os.utime(root / path, (old, old))

    def look() -> dict[str, str]:
        tree = DiskTree(root, results)
        tree._began += 3_000_000_000  # the time of change cannot be set back: wait for it to be old
        return tree.digests(paths)

    plain = DiskTree(root).digests(paths)
    assert look() == plain
    assert set(FileDigests(results).find(_states(root, ["a", "b", "folder/c"]), time.time_ns() * 2)) == {
        str(root / name) for name in ("a", "b", "folder/c")
    }
    assert look() == plain
    (root / "link").unlink()
    (root / "link").symlink_to("b")
    (root / "folder/c").write_text("THREE")
    assert look() == DiskTree(root).digests(paths) != plain


def _states(root: Path, names: list[str]) -> dict[str, os.stat_result]:
    return {str(root / name): (root / name).lstat() for name in names}
