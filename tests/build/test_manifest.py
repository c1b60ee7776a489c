"""Outputs as manifests: what is written comes back, and the digest stands for nothing but content."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.build import manifest
from fairlead.build.manifest import File, Folder, Link, Manifest
from fairlead.errors import MachineryError
from fairlead.store import Blobs

names = st.text("abcé .-", min_size=1, max_size=6).filter(lambda name: name.strip(".") != "")
contents = st.tuples(st.binary(max_size=20), st.booleans())
trees = st.recursive(contents, lambda inner: st.dictionaries(names, inner, max_size=4), max_leaves=8)
Tree = tuple[bytes, bool] | dict[str, "Tree"]


def write(at: Path, tree: Tree) -> None:
    if isinstance(tree, dict):
        at.mkdir()
        for name, inner in tree.items():
            write(at / name, inner)
    else:
        at.write_bytes(tree[0])
        at.chmod(0o755 if tree[1] else 0o644)


def seen(at: Path) -> object:
    if at.is_dir():
        return {path.name: seen(path) for path in at.iterdir()}
    return at.read_bytes(), os.access(at, os.X_OK)


@settings(deadline=None, max_examples=40)
@given(tree=trees, link=st.booleans())
def test_what_is_collected_is_what_is_placed(tree: Tree, link: bool) -> None:
    with tempfile.TemporaryDirectory() as temp:
        folder = Path(temp)
        blobs = Blobs(folder / "blobs")
        write(folder / "made", tree)
        found = manifest.collect(folder / "made", blobs, folder=isinstance(tree, dict), name="made")
        assert manifest.decode(manifest.encode(found)) == found
        manifest.place(found, folder / "again", blobs, link=link)
        assert seen(folder / "again") == seen(folder / "made")
        again = manifest.collect(folder / "again", blobs, folder=isinstance(tree, dict), name="again")
        assert manifest.digest(again) == manifest.digest(found)


@given(st.dictionaries(st.sampled_from(["a", "b/c", "d"]), st.sampled_from([
    File("0" * 64, 1, False), File("0" * 64, 1, True), File("1" * 64, 1, False), Link("a"), None,
])), st.data())  # fmt: skip
def test_different_content_has_a_different_digest(
    entries: dict[str, File | Link | None], data: st.DataObject
) -> None:
    other = dict(entries)
    name = data.draw(st.sampled_from(["a", "b/c", "d"]))
    fresh: list[File | Link] = [File("2" * 64, 1, False), Link("z")]
    other[name] = data.draw(st.sampled_from(fresh))
    assert manifest.digest(Folder(entries)) != manifest.digest(Folder(other))
    assert manifest.digest(Folder(entries)) == manifest.digest(Folder(dict(reversed(entries.items()))))


def test_below_finds_files_folders_and_nothing_else() -> None:
    one, two = File("1" * 64, 1, False), File("2" * 64, 2, True)
    content: Manifest = Folder({"a/b": one, "a/c/d": two, "void": None, "l": Link("a")})
    assert manifest.below(content, "") is content
    assert manifest.below(content, "a/b") == one
    assert manifest.below(content, "a") == Folder({"b": one, "c/d": two})
    assert manifest.below(content, "void") == Folder({})
    assert manifest.below(content, "l/b") is None and manifest.below(content, "x") is None
    assert manifest.below(one, "x") is None


def test_a_shared_file_has_one_time_and_a_missing_blob_is_named(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    content = Folder({"f": File(blobs.put(b"x"), 1, False), "gone": File("0" * 64, 1, False)})
    with pytest.raises(MachineryError, match="0" * 64):
        manifest.place(content, tmp_path / "out", blobs, link=False)
    assert (tmp_path / "out/f").stat().st_mtime == manifest.EPOCH
