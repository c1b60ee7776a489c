"""Workplaces: an action that comes after others in one folder sees what it would see in a new one."""

from __future__ import annotations

import fcntl
import os
import posixpath
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.build import sandbox, workplace
from fairlead.build.builder import Builder
from fairlead.build.manifest import File, Folder, Link, Manifest
from fairlead.build.plan import Plan
from fairlead.build.stage import discard
from fairlead.build.tree import DiskTree
from fairlead.build.workplace import PlacedStage, Workplace, Workplaces, is_light
from fairlead.errors import WorkFailed
from fairlead.store import Blobs, Store
from tests.build.test_engine import action, out, plan
from tests.disk import small_disk

GEN = "fairlead-out/gen"


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[tuple[Path, Store]]:
    """A project and its store, where actions run in namespaces, one after another."""
    if sandbox.enforcement("auto") != "namespace":
        pytest.fail("workplaces are for namespaces, and this machine refuses those")
    (tmp_path / "project").mkdir()
    yield tmp_path / "project", Store.open(tmp_path / "store")


def build(yard: tuple[Path, Store], made: Plan) -> Builder:
    builder = Builder(yard[1], yard[0], DiskTree(yard[0]), made, sandbox="namespace", jobs=1)
    builder.build(list(made.requested))
    return builder


def read(yard: tuple[Path, Store], path: str) -> str:
    return (yard[0] / path).read_text()


LOOK = f"""seen=$(find . -printf '%p %y %m %U %l\\n' | sort) && echo "$seen" > {out("z", "seen")}"""


@pytest.mark.parametrize(
    "rubbish",
    [
        "mkdir -p D/more/deep && echo x > D/more/deep/file",
        "mkdir D/srcs; ln -s / D/link",
        "mkdir D/shut && echo x > D/shut/file && chmod 0 D/shut",
        "chmod 700 D",
        "chmod 777 D/. ; mkfifo D/pipe",
        "ln D/file D/other",
        "mkdir D/seen D/sub",
    ],
)
def test_what_one_leaves_the_next_does_not_see(yard: tuple[Path, Store], rubbish: str) -> None:
    (yard[0] / "p").mkdir()
    (yard[0] / "p/in.txt").write_text("in\n")
    folder = posixpath.dirname(out("a", "file"))
    first = action(
        "a", "file", f"echo x > {folder}/file; " + rubbish.replace("D", folder), sources=("p/in.txt",)
    )
    last = action("z", "seen", LOOK)
    alone = build(yard, plan(last)).plan
    expected = read(yard, out("z", "seen"))
    assert "in.txt" not in expected and alone.actions == (last,)

    again = action("z", "seen", f"true; {LOOK}")
    after = action("z", "seen", f"{LOOK}; true", inputs=(out("a", "file"),))
    build(yard, plan(first, again))
    assert read(yard, out("z", "seen")) == expected
    build(yard, plan(first, after))
    seen = read(yard, out("z", "seen")).splitlines()
    assert set(expected.splitlines()) <= set(seen)
    more = {line.split()[0] for line in seen} - {line.split()[0] for line in expected.splitlines()}
    assert more == {f"./{folder}", f"./{folder}/file"}


def test_outputs_that_are_one_file_are_stored_as_two(yard: tuple[Path, Store]) -> None:
    one, two = out("a", "one"), out("a", "two")
    both = action("a", "one", f"echo x > {one}; ln {one} {two}", outputs=(one, two))
    build(yard, plan(both))
    assert read(yard, one) == read(yard, two) == "x\n"
    assert not os.path.samefile(yard[0] / one, yard[0] / two)


def test_a_blob_that_was_moved_here_is_like_any_other(yard: tuple[Path, Store]) -> None:
    odd = action("a", "file", f"echo x > {out('a', 'file')}; chmod 4757 {out('a', 'file')}")
    builder = build(yard, plan(odd))
    (blob,) = [path for path in yard[1].blobs.root.glob("*/*") if path.read_bytes() == b"x\n"]
    found = blob.stat()
    assert (found.st_mode & 0o7777, found.st_uid, found.st_nlink) == (0o444, os.geteuid(), 1)
    assert yard[1].blobs.whole(blob.parent.name + blob.name, 2)
    assert (yard[0] / out("a", "file")).stat().st_mode & 0o777 == 0o755
    assert not builder._scratch.exists() and not builder._places.light.exists()


def test_an_action_that_changes_what_lies_among_its_outputs_fails(yard: tuple[Path, Store]) -> None:
    given_file = out("a", "given")
    first = action("a", "given", f"echo x > {given_file}")
    second = action(
        "a",
        "file",
        f"rm {given_file}; echo y > {given_file}; echo > {out('a', 'file')}",
        inputs=(given_file,),
    )
    with pytest.raises(WorkFailed, match=r"changed its own input .*__a__/given"):
        build(yard, plan(first, second))


def test_what_a_killed_run_left_in_memory_is_removed(tmp_path: Path) -> None:
    """Of any store, and of nobody who still builds: even of one at the same path, as in another container."""
    (tmp_path / "scratch").mkdir()
    killed, living = Workplaces(tmp_path / "scratch"), Workplaces(tmp_path / "scratch")
    place = killed.take()
    assert place is not None and killed.light.stat().st_mode & 0o777 == 0o700
    (place.light / "file").write_text("left")
    discard(tmp_path / "scratch/place-1")
    assert living.take() is not None
    after = Workplaces(tmp_path / "scratch")
    after.clear()
    assert killed.light.exists() and living.light.exists()
    assert killed._held is not None
    os.close(killed._held)  # as its end does
    killed._held = None
    after.clear()
    assert not killed.light.exists() and living.light.exists()
    living.clear()
    assert not living.light.exists()


def test_what_is_not_ours_in_memory_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    monkeypatch.setattr(workplace, "_MEMORY", memory)
    (tmp_path / "far").mkdir()
    (tmp_path / "far/file").write_text("x")
    (memory / f"{workplace._prefix()}link").symlink_to(tmp_path / "far")
    (memory / f"{workplace._prefix()}file").write_text("x")
    (memory / "else").mkdir()
    os.mkfifo(memory / f"{workplace._prefix()}pipe")
    Workplaces(tmp_path).clear()
    assert len(list(memory.iterdir())) == 4 and (tmp_path / "far/file").exists()


def test_a_second_build_has_places_in_memory_too(yard: tuple[Path, Store]) -> None:
    where = "grep ' /project ' /proc/self/mountinfo | sed 's/.* - //; s/ .*//' >"
    steps = [action(name, "file", f"{where} {out(name, 'file')}") for name in ("a", "b")]
    builder = Builder(yard[1], yard[0], DiskTree(yard[0]), plan(*steps), sandbox="namespace", jobs=1)
    for step in steps:
        builder.build([step.owner])
    assert read(yard, out("a", "file")) == read(yard, out("b", "file")) == "tmpfs\n"


def test_folders_are_listed_as_if_nobody_had_been_there(yard: tuple[Path, Store]) -> None:
    """A tmpfs lists what it holds in order of its making."""
    paths = tuple(f"p/{name}/in.txt" for name in ("b", "a", "c"))
    for path in paths:
        (yard[0] / path).parent.mkdir(parents=True)
        (yard[0] / path).write_text("in\n")
    look = f"ls -U p > {out('z', 'seen')}"
    build(yard, plan(action("z", "seen", look, sources=paths)))
    expected = read(yard, out("z", "seen"))
    first = action("a", "file", f"echo x > {out('a', 'file')}", sources=paths[1:])
    build(yard, plan(first, action("z", "seen", f"{look}; true", sources=paths)))
    assert read(yard, out("z", "seen")) == expected


@pytest.mark.parametrize("depth", [500, 1500])
def test_folders_without_end_beside_an_output_are_removed(yard: tuple[Path, Store], depth: int) -> None:
    file = out("a", "file")
    deep = f"echo x > {file}; mkdir -p {posixpath.dirname(file)}/$(printf 'd/%.0s' $(seq {depth}))"
    builder = build(yard, plan(action("a", "file", deep)))
    assert read(yard, file) == "x\n" and not builder._scratch.exists()


def test_a_place_whose_folder_has_other_attributes_is_not_used_again(tmp_path: Path) -> None:
    place = Workplace(tmp_path / "place", tmp_path / "light")
    place.begin([f"{GEN}/p"])
    nodump = 0x40
    fd = os.open(place.at(f"{GEN}/p"), os.O_RDONLY)
    flags = bytearray(8)
    try:
        fcntl.ioctl(fd, workplace._GET_FLAGS, flags)
        fcntl.ioctl(fd, 0x40086602, bytes([flags[0] | nodump]) + flags[1:])
        changed = True
    except OSError:  # this file system has none
        changed = False
    finally:
        os.close(fd)
    assert place.end() is not changed


def test_a_place_whose_folder_was_given_an_attribute_is_not_used_again(tmp_path: Path) -> None:
    place = Workplace(tmp_path / "place", tmp_path / "light")
    place.begin([f"{GEN}/p"])
    assert place.end()
    place.begin([f"{GEN}/p"])
    try:
        os.setxattr(place.at(f"{GEN}/p"), "user.mark", b"1")
        changed = True
    except OSError:  # this file system has none
        changed = False
    assert place.end() is not changed


def test_where_there_is_no_memory_left_actions_run_on_the_disk(
    yard: tuple[Path, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (yard[0] / "p").mkdir()
    (yard[0] / "p/in.txt").write_text("in\n" * 100_000)
    count = action("a", "n", f"wc -l < p/in.txt > {out('a', 'n')}", sources=("p/in.txt",))
    with small_disk(tmp_path / "memory", kilobytes=128) as memory:
        monkeypatch.setattr(workplace, "_MEMORY", memory)
        monkeypatch.setattr(workplace, "_FREE", 0)
        build(yard, plan(count))
        assert not list(memory.iterdir())
    assert read(yard, out("a", "n")) == "100000\n"


def test_where_there_is_no_room_for_a_folder_actions_run_on_the_disk(
    yard: tuple[Path, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "memory", kilobytes=128) as memory:
        subprocess.run(["mount", "-o", "remount,nr_inodes=5", str(memory)], check=True)
        monkeypatch.setattr(workplace, "_MEMORY", memory)
        monkeypatch.setattr(workplace, "_FREE", 0)
        build(yard, plan(action("a", "n", f"echo x > {out('a', 'n')}")))
        assert not list(memory.iterdir())
    assert read(yard, out("a", "n")) == "x\n"


def test_large_inputs_are_not_laid_out_in_memory() -> None:
    assert is_light([File("0" * 64, 1000, False), Folder({"a": Link("b"), "c": None})])
    assert not is_light([File("0" * 64, 1 << 19, False), Folder({"a": File("1" * 64, 1 << 20, False)})])
    assert not is_light([File("0" * 64, 1, False)] * 5000)


paths = st.sampled_from(["a", "b", "a/x", "a/y/z", "c/d", f"{GEN}/p/__t__/s", f"{GEN}/p/__u__/s/x"])
entries = st.sampled_from([File("", 1, False), File("", 1, True), Link("x"), None])
contents = st.one_of(
    st.sampled_from([File("", 1, False), File("", 1, True)]),
    st.dictionaries(st.sampled_from(["x", "y", "z/x"]), entries, max_size=3).map(Folder),
)
folders = st.sets(st.sampled_from([f"{GEN}/p/__t__", f"{GEN}/p/__t__/more", f"{GEN}/p/__u__"]), min_size=1)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.dictionaries(paths, contents, max_size=4), folders), min_size=2, max_size=4))
def test_a_used_place_is_laid_out_like_a_new_one(
    layouts: list[tuple[dict[str, Manifest], set[str]]],
) -> None:
    with tempfile.TemporaryDirectory() as temp:
        blobs = Blobs(Path(temp, "blobs"))
        name = blobs.put(b"x")
        used = Workplace(Path(temp, "used"), Path(temp, "used-light"))
        for number, (given_contents, writable) in enumerate(layouts):
            layout = {
                path: _filled(content, name)
                for path, content in given_contents.items()
                if not any(other != path and path.startswith(f"{other}/") for other in given_contents)
            }
            new = Workplace(Path(temp, f"new-{number}"), Path(temp, f"new-light-{number}"))
            shown = [_laid_out(place, layout, sorted(writable), blobs) for place in (used, new)]
            assert shown[0] == shown[1]
            for folder in writable:
                Path(used.at(folder), "left").mkdir()
            assert used.end()


def _filled(content: Manifest, name: str) -> Manifest:
    if isinstance(content, File):
        return File(name, 1, content.executable)
    return Folder(
        {
            path: File(name, 1, entry.executable) if isinstance(entry, File) else entry
            for path, entry in content.entries.items()
        }
    )


def _laid_out(place: Workplace, layout: dict[str, Manifest], writable: list[str], blobs: Blobs) -> object:
    """Lay out a project, and list what stands in it and in the folders that may be written to."""
    stage = PlacedStage(place.root, blobs, "namespace", [f"{path}/o" for path in writable], place=place)
    for path, content in layout.items():
        stage.add(path, content)
    roots = [place.light, *(Path(place.at(folder)) for folder in writable)]
    return [
        sorted(
            (str(path.relative_to(root)), path.lstat().st_mode, path.is_file() and path.read_bytes())
            for path in root.rglob("*")
        )
        for root in roots
    ]
