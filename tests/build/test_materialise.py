"""What stands in fairlead-out: what was asked for, whole, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fairlead.build.builder import BuildReport
from fairlead.build.engine import Engine
from fairlead.build.manifest import File, Folder, Manifest
from fairlead.build.materialise import Placer
from fairlead.build.plan import Action, Plan
from fairlead.build.tree import DiskTree
from fairlead.errors import UsageError, WorkFailed
from fairlead.store import Store
from tests.build.test_engine import action, out, plan

GEN = "fairlead-out/gen"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def chain() -> tuple[Action, ...]:
    """low -> mid -> top."""
    low, mid, top = out("low", "l"), out("mid", "m"), out("top", "t")
    return (
        action("low", "l", f"echo low > {low}"),
        action("mid", "m", f"cat {low} > {mid}; echo mid >> {mid}", inputs=(low,)),
        action("top", "t", f"cat {mid} > {top}; echo top >> {top}", inputs=(mid,)),
    )


def build(root: Path, store: Store, made: Plan, *labels: str) -> BuildReport:
    return Engine(store, root, DiskTree(root), made, sandbox="none").build(labels)


def standing(root: Path) -> set[str]:
    return {str(path.relative_to(root / GEN)) for path in (root / GEN).rglob("*") if path.is_file()}


def test_only_what_is_asked_for_is_written(root: Path, store: Store) -> None:
    made = plan(*chain(), deps={"mid": ("//p:low",), "top": ("//p:mid",)})
    assert build(root, store, made, "//p:top").ran == 3
    assert standing(root) == {"p/__top__/t"}
    assert (root / out("top", "t")).read_text() == "low\nmid\ntop\n"
    asked = build(root, store, made, "//p:mid")
    assert (asked.ran, standing(root)) == (0, {"p/__top__/t", "p/__mid__/m"})


def test_what_stands_there_is_no_input_of_anything(root: Path, store: Store) -> None:
    made = plan(*chain(), deps={"mid": ("//p:low",), "top": ("//p:mid",)})
    build(root, store, made, "//p:mid")
    (root / out("mid", "m")).write_text("edited by hand\n")
    assert build(root, store, made, "//p:top").ran == 1
    assert (root / out("top", "t")).read_text() == "low\nmid\ntop\n"
    assert (root / out("mid", "m")).read_text() == "edited by hand\n"
    assert build(root, store, made, "//p:mid").ran == 0
    assert (root / out("mid", "m")).read_text() == "low\nmid\n"


def test_what_a_failed_action_was_given_is_written_for_its_repetition(root: Path, store: Store) -> None:
    low, mid, _ = chain()
    bad = action("top", "t", "exit 7", inputs=(out("mid", "m"),))
    made = plan(low, mid, bad, deps={"mid": ("//p:low",), "top": ("//p:mid",)})
    with pytest.raises(WorkFailed, match="exit code 7"):
        build(root, store, made, "//p:top")
    assert standing(root) == {"p/__mid__/m"}


def file(store: Store, text: str) -> File:
    return File(store.blobs.put(text.encode()), len(text), False)


def test_a_file_takes_the_place_of_a_folder_and_a_folder_that_of_a_file(root: Path, store: Store) -> None:
    path, at = out("x", "o"), root / out("x", "o")
    contents: list[Manifest] = [file(store, "one"), Folder({"a/b": file(store, "two")}), file(store, "3")]
    for content in contents * 2:
        Placer(root, store).put({path: content})
        found = at.read_text() if at.is_file() else {str(p.relative_to(at)) for p in at.rglob("*")}
        assert found == {"one": "one", "3": "3"}.get(str(found), {"a", "a/b"})
    at.unlink()
    (at / "by/hand").mkdir(parents=True)
    Placer(root, store).put({path: contents[2]})
    assert at.read_text() == "3"


def test_what_stands_there_is_not_written_again(root: Path, store: Store) -> None:
    path = out("x", "o")
    contents: dict[str, Manifest] = {
        path: file(store, "one"),
        out("y", "f"): Folder({"a": file(store, "two")}),
    }
    first = Placer(root, store)
    first.put(contents)
    before = (root / path).stat()
    again = Placer(root, store)
    again.put(contents)
    assert (root / path).stat() == before
    assert again.placed == first.placed and first.placed[out("y", "f")][0] == ["a"]
    os.utime(root / path, (before.st_atime, before.st_mtime))  # the time of change shows it
    Placer(root, store).put(contents)
    assert (root / path).stat().st_ino != before.st_ino


def test_leftovers_of_a_killed_run_go_and_links_are_refused(root: Path, store: Store) -> None:
    left = root / GEN / ".fairlead-tmp-0123"
    left.mkdir(parents=True)
    (left / "part").write_text("half")
    Placer(root, store).put({out("x", "o"): file(store, "one")})
    assert not left.exists() and standing(root) == {"p/__x__/o"}
    (root / "elsewhere").mkdir()
    (root / GEN / "q").symlink_to(root / "elsewhere")
    with pytest.raises(UsageError, match=r"gen/q is a symbolic link"):
        Placer(root, store).put({out("x", "o", "q"): file(store, "one")})
    assert not list((root / "elsewhere").iterdir())
