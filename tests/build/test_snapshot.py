"""What a test in a view is given: all of a project but what is left out, large files without reading them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.build.leftout import LeftOut
from fairlead.build.record.dependencyset import Answers, DependencySet, evaluate
from fairlead.build.snapshot import LARGE, Snapshot
from fairlead.build.tree import DiskTree, GitTree
from fairlead.build.view import View
from fairlead.errors import UsageError
from fairlead.git import Repo
from fairlead.store import Store
from tests.build.project import commit, git, write


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def take(root: Path, store: Store) -> Snapshot:
    return Snapshot.take(DiskTree(root, store.results), store.blobs)


def raw(root: Path, name: bytes, data: bytes) -> str:
    path = os.path.join(os.fsencode(root), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    return os.fsdecode(name)


def test_a_large_file_is_shared_and_read_by_whoever_asks_for_it(tmp_path: Path, store: Store) -> None:
    root = write(tmp_path / "p", {"data/big": b"x" * LARGE, "data/small": "s", "big.py": b"#" * LARGE})
    found = take(root, store)
    assert found.is_large("data/big") and not found.is_large("data/small") and not found.is_large("big.py")
    view = View(tmp_path / "view", store.blobs)
    view.show(found)
    shown = view.files / "data/big"
    assert os.path.samefile(shown, root / "data/big")
    assert not os.path.samefile(view.files / "data/small", root / "data/small")
    sizes = [path.stat().st_size for path in store.blobs.root.rglob("*") if path.is_file()]
    assert sizes == [LARGE]  # the source alone
    assert found.digest("data/big") == DiskTree(root).digest("data/big")
    assert found.size("data/big") == LARGE and found.read("data/big") == b"x" * LARGE
    found.place("data/big", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"x" * LARGE
    assert not os.path.samefile(tmp_path / "copy", root / "data/big")


def test_a_large_file_that_changes_meanwhile_has_no_digest_that_comes_back(
    tmp_path: Path, store: Store
) -> None:
    root = write(tmp_path / "p", {"big": b"x" * LARGE})
    before, asked = take(root, store), DependencySet(files=frozenset({"big"}))
    other = take(root, store)
    assert before.name() == other.name()
    (root / "big").write_bytes(b"y" * LARGE)
    torn = evaluate(asked, before).key
    after = take(root, store)
    assert after.name() != other.name()
    (root / "big").write_bytes(b"x" * LARGE)
    again = take(root, store)
    assert torn not in (evaluate(asked, after).key, evaluate(asked, again).key)
    assert evaluate(asked, again).key == evaluate(asked, DiskTree(root)).key
    view = View(tmp_path / "view", store.blobs)
    for found in (other, again):  # the first is late: what it shows is not what it knows
        view.show(found)
        assert (view.files / "big").read_bytes() == b"x" * LARGE
        stale = found is other
        assert (evaluate(asked, found).key == evaluate(asked, DiskTree(root)).key) is not stale
    (root / "big").unlink()
    view.show(take(root, store))
    assert not (view.files / "big").exists()


def test_a_large_file_of_another_disk_is_copied_with_its_holes(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write(tmp_path / "p", {"a": "a"})
    with (root / "big").open("wb") as file:
        file.write(b"begin")
        file.seek(1 << 30)
        file.write(b"end")
    with (root / "nothing").open("wb") as file:
        file.truncate(1 << 30)

    def refused(*_: object, **__: object) -> None:
        raise OSError(18, "another disk")

    monkeypatch.setattr(os, "link", refused)
    found = take(root, store)
    view = View(tmp_path / "view", store.blobs)
    view.show(found)
    for name in ("big", "nothing"):
        seen = (view.files / name).stat()
        assert seen.st_size == (root / name).stat().st_size and seen.st_blocks * 512 < 1 << 20
    with (view.files / "big").open("rb") as shown:
        assert shown.read(5) == b"begin"
        shown.seek(1 << 30)
        assert shown.read() == b"end"
    stale = take(root, store)
    (root / "nothing").write_bytes(b"more" * LARGE)
    stale.place("nothing", tmp_path / "copy")
    assert stale.digest("nothing").startswith("changed")


def test_names_that_are_no_text_are_shown_and_are_never_one(tmp_path: Path, store: Store) -> None:
    root = write(tmp_path / "p", {"data/ÿ.txt": "text", "data/\\udcff.txt": "escaped"})
    byte = raw(root, b"data/\xff.txt", b"byte")
    inner = raw(root, b"d\xe9j\xe0/x", b"inner")
    tree = DiskTree(root, store.results)
    found = Snapshot.take(tree, store.blobs)
    assert {byte, inner, "data/ÿ.txt", "data/\\udcff.txt"} == set(found.files)
    assert tree.list("data") == ("\\udcff.txt", "ÿ.txt") and len(tree.names("data")) == 3
    assert tree.list("") == ("data",)
    view = View(tmp_path / "view", store.blobs)
    view.show(found)
    assert (view.files / byte).read_bytes() == b"byte" and (view.files / inner).read_bytes() == b"inner"
    view.show(take(root, store))
    keys = {evaluate(DependencySet(files=frozenset({path})), found).key for path in found.files}
    assert len(keys) == 4
    listed = Answers(found).listing("data")
    (root / byte).unlink()
    assert Answers(take(root, store)).listing("data") != listed
    view.show(take(root, store))
    assert not (view.files / byte).exists()


@given(names=st.sets(st.binary(min_size=1, max_size=3), min_size=2, max_size=6))
def test_no_two_names_share_a_key(names: set[bytes]) -> None:
    from fairlead.store import Record

    texts = {os.fsdecode(name) for name in names}
    assert len({Record("x", 1, {"files": [text]}).key for text in texts}) == len(names)
    for text in texts:
        assert Record.decode(Record("x", 1, {"files": [text]}).encode()).parts == {"files": [text]}


def test_disk_and_commit_agree_on_names_that_are_no_text(tmp_path: Path, store: Store) -> None:
    root = write(tmp_path / "p", {"data/a": "a"})
    byte = raw(root, b"data/\xff.txt", b"byte")
    oid = commit(root)
    asked = DependencySet(files=frozenset({byte}), listed=frozenset({"data"}), links=frozenset({byte}))
    disk, of_git = take(root, store), GitTree(Repo.discover(root), oid, store.results)
    assert evaluate(asked, disk).key == evaluate(asked, of_git).key
    assert of_git.list("data") == ("a",)


def test_nested_repositories_and_submodules_are_shown(tmp_path: Path, store: Store) -> None:
    inner = write(tmp_path / "inner", {"lib/x.txt": "x"})
    commit(inner)
    root = write(tmp_path / "p", {"a": "a"})
    commit(root)
    for name in ("full", "deep/none"):
        git(root, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), name)
    git(root, "submodule", "deinit", "-q", "-f", "deep/none")
    write(root, {"empty/.gitkeep": ""})
    (root / "empty/.gitkeep").unlink()
    git(root, "init", "-q", "cloned")
    raw(root, b"cloned/\xff", b"byte")
    found = take(root, store)
    assert found.files.keys() == {".gitmodules", "a", "full/lib/x.txt", "cloned/\udcff"}
    assert {"deep/none", "full", "cloned"} < found.folders and "empty" not in found.folders
    assert found.read("full/lib/x.txt") == b"x" and found.kind("deep/none") == "folder"
    assert found.list("deep/none") == () and found.list("full") == ("lib",)
    view = View(tmp_path / "view", store.blobs)
    view.show(found)
    assert (view.files / "full/lib/x.txt").read_text() == "x" and (view.files / "deep/none").is_dir()
    assert not (view.files / "full/.git").exists()
    assert DiskTree(root).kind("full/lib/x.txt") is None  # no source of this project
    name = found.name()
    write(root, {"full/lib/x.txt": "y"})
    assert take(root, store).name() != name


IGNORED = [
    ("models", "models", True),
    ("models", "a/models", True),
    ("models/", "a/models", True),
    ("/models", "a/models", False),
    ("/models", "models", True),
    ("data/raw", "data/raw", True),
    ("data/raw", "x/data/raw", False),
    ("*.parquet", "a/b.parquet", True),
    ("*.parquet", ".parquet", True),
    ("a/*.bin", "a/x.bin", True),
    ("a/*.bin", "a/b/x.bin", False),
    ("a/**/x", "a/x", True),
    ("a/**/x", "a/b/c/x", True),
    ("a/**", "a/b/c", True),
    ("a/**", "a", False),
    ("[ab].txt", "c/a.txt", True),
    ("[!ab].txt", "a.txt", False),
    ("x?", "xy", True),
    ("x.y", "xzy", False),
]


@pytest.mark.parametrize(("pattern", "path", "left"), IGNORED)
def test_patterns_of_what_is_left_out(tmp_path: Path, pattern: str, path: str, left: bool) -> None:
    root = write(tmp_path, {"fairlead.toml": f'[build]\nignore = ["{pattern}"]\n'})
    found = LeftOut.of(DiskTree(root))
    assert found.ignores(path) is left
    if left:
        assert found.why(f"{path}/below") == (
            f'"{pattern}" in build.ignore leaves it out: change that in fairlead.toml'
        )


@pytest.mark.parametrize("pattern", ["", "/", "../x", "a/./b", "!keep", "a//b"])
def test_what_is_no_pattern_is_refused(tmp_path: Path, pattern: str) -> None:
    root = write(tmp_path, {"fairlead.toml": f'[build]\nignore = ["{pattern}"]\n'})
    with pytest.raises(UsageError, match=r"build\.ignore has"):
        LeftOut.of(DiskTree(root))


def test_what_is_left_out_is_not_shown(tmp_path: Path, store: Store) -> None:
    files = {"data/raw/x": "x", "data/y": "y", "z.parquet": "z", "src/z.parquet": "z", "node_modules/m": "m"}
    settings = '[build]\nignore = ["data/raw", "*.parquet"]\n'
    root = write(
        tmp_path / "p", {**files, "fairlead.toml": settings, ".venv/pyvenv.cfg": "", "v/pyvenv.cfg": ""}
    )
    assert take(root, store).files.keys() == {"data/y", "fairlead.toml"}
    found = LeftOut.of(DiskTree(root))
    assert found.why("node_modules/m") == "tests are not shown what tools make, such as node_modules"
    assert found.why("data/y") == ""
