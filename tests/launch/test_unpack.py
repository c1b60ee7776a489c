"""What comes out of an artifact: the same tree as with the real dotslash, and never a file outside of it.

`judge` runs the real program on the same bytes; where we differ, the test says that it is declared.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fairlead.launch import cache, decompress, manifest, unpack
from fairlead.launch.decompress import Damaged
from fairlead.launch.manifest import Entry
from fairlead.store import atomic
from tests.launch.tools import HELLO, Run, entry, finished, tar, text_of, tree, zipped

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor().compress,
}
DIR: dict[str, Any] = {"type": tarfile.DIRTYPE}
LINK: dict[str, Any] = {"type": tarfile.SYMTYPE}
HARD: dict[str, Any] = {"type": tarfile.LNKTYPE}
TOOL: tuple[str, bytes, dict[str, Any]] = ("bin/tool", HELLO, {})


def unpacked(data: bytes, into: Path, **more: Any) -> dict[str, tuple[str, str]]:
    """Our tree for an artifact of these bytes."""
    made = entry(data, "http://unused", **more)
    parsed = manifest.parse(text_of(made).encode()).platforms[manifest.host()]
    into.mkdir()
    unpack.unpack(io.BytesIO(data), parsed, into)
    return tree(into, times=parsed.format.startswith("tar"))


class Judge:
    """The real dotslash, fed from disk."""

    def __init__(self, dotslash: Run, tmp_path: Path) -> None:
        self.dotslash, self.tmp_path = dotslash, tmp_path

    def __call__(self, data: bytes, **more: Any) -> tuple[finished, dict[str, tuple[str, str]]]:
        (self.tmp_path / "artifact").write_bytes(data)
        made = entry(data, f"file://{self.tmp_path}/artifact", readonly=False, **more)
        (self.tmp_path / "m").write_text(text_of(made))
        done = self.dotslash(self.tmp_path / "m")
        parsed = manifest.parse(text_of(made).encode()).platforms[manifest.host()]
        folder = cache.locate(parsed, Path(os.environ["DOTSLASH_CACHE"])).folder
        return done, tree(folder, times=parsed.format.startswith("tar"))


@pytest.fixture
def judge(dotslash: Run, tmp_path: Path) -> Judge:
    return Judge(dotslash, tmp_path)


@pytest.mark.parametrize("format_name", manifest.FORMATS)
def test_every_format_as_dotslash(format_name: str, judge: Judge, tmp_path: Path) -> None:
    if format_name == "zip":
        data = zipped(("bin/tool", HELLO, 0o100755), ("doc/", b"", 0o40700), ("doc/x", b"x" * 9000, 0o100640))
    elif format_name.startswith("tar"):
        data = tar(TOOL, ("doc", b"", DIR), ("doc/x", b"x" * 9000, {"mode": 0o640}))
        data = COMPRESS.get(format_name.partition(".")[2], bytes)(data)
    else:
        data = COMPRESS[format_name](HELLO)
    done, theirs = judge(data, format=format_name)
    assert (done.code, done.out) == (0, "hello\n")
    ours = unpacked(data, tmp_path / "ours", format=format_name)
    if format_name in manifest.SINGLE_FILES:  # 0500 in that version, 0555 in the ones after it
        assert theirs["bin/tool"][0] == "-r-x------"
        theirs["bin/tool"] = ("-r-xr-xr-x", theirs["bin/tool"][1])
    assert ours == without_run(theirs, ours)


def without_run(
    theirs: dict[str, tuple[str, str]], ours: dict[str, tuple[str, str]]
) -> dict[str, tuple[str, str]]:
    """The time of the executable is that of its run: take ours for it."""
    mode = theirs["bin/tool"][0].split(" ")[0]
    if ours["bin/tool"][0].split(" ")[0] == mode:
        return {**theirs, "bin/tool": (ours["bin/tool"][0], theirs["bin/tool"][1])}
    return theirs


SAME: dict[str, bytes] = {
    "modes exact, umask ignored": tar(TOOL, ("a", b"1", {"mode": 0o666}), ("b", b"2", {"mode": 0o604})),
    "folders that forbid writing": tar(("d", b"", {**DIR, "mode": 0o555}), ("d/x", b"x", {}), TOOL),
    "folders not named": tar(TOOL, ("deep/er/x", b"x", {})),
    "absolute name loses its slash": tar(TOOL, ("/abs/x", b"x", {})),
    "dots in names": tar(("./", b"", DIR), ("./bin/./tool", HELLO, {})),
    "last of two wins": tar(("bin/tool", b"first", {"mode": 0o600}), TOOL),
    "file in place of a link": tar(("x", "bin/tool", LINK), ("x", b"file", {}), TOOL),
    "link in place of a file": tar(("x", b"file", {}), ("x", "bin/tool", LINK), TOOL),
    "link to the outside": tar(TOOL, ("out", "/etc/passwd", LINK), ("up", "../../x", LINK)),
    "through a link inside": tar(("d/y", b"", {}), ("l", "d", LINK), ("l/x", b"x", {}), TOOL),
    "hard link": tar(TOOL, ("x", b"x", {}), ("same", "x", HARD), ("/other", "./x", HARD)),
    "hard link, then another file": tar(TOOL, ("x", "bin/tool", HARD), ("x", b"new", {})),
    "bytes after the end": tar(TOOL) + b"junk",
    "no end": tar(TOOL)[: 512 * 2],
    "long names, pax": tar(TOOL, ("a/" * 60 + "b" * 150, b"x", {})),
    "long names, gnu": tar(TOOL, ("a/" * 60 + "b" * 150, b"x", {}), format=tarfile.GNU_FORMAT),
    "names not ASCII": tar(TOOL, ("ä/ö", b"x", {})),
    "owners": tar(TOOL, ("x", b"x", {"uid": 1234, "gid": 1234, "uname": "mail"})),
    "unknown type": tar(TOOL, ("x", b"x", {"type": b"Q"})),
}


@pytest.mark.parametrize("name", SAME)
def test_same_tar_as_dotslash(name: str, judge: Judge, tmp_path: Path) -> None:
    done, theirs = judge(SAME[name], format="tar")
    assert (done.code, done.out) == (0, "hello\n"), done.err
    ours = unpacked(SAME[name], tmp_path / "ours", format="tar")
    assert ours == without_run(theirs, ours)


SAME_ZIP: dict[str, bytes] = {
    "modes": zipped(("bin/tool", HELLO, 0o100755), ("a", b"1", 0o100666), ("b", b"2", 0o644)),
    "link inside": zipped(("bin/tool", HELLO, 0o100755), ("l", b"bin/tool", 0o120777)),
    "link to what comes later": zipped(("l", b"bin/tool", 0o120777), ("bin/tool", HELLO, 0o100755)),
    "link to the outside": zipped(
        ("bin/tool", HELLO, 0o100755), ("l", b"/etc/passwd", 0o120777), ("d/m", b"../../x", 0o120777)
    ),
    "stored": zipped(("bin/tool", HELLO, 0o100755), method=zipfile.ZIP_STORED),
    "bytes before": b"#!/bin/sh\n" + zipped(("bin/tool", HELLO, 0o100755)),
}


@pytest.mark.parametrize("name", SAME_ZIP)
def test_same_zip_as_dotslash(name: str, judge: Judge, tmp_path: Path) -> None:
    done, theirs = judge(SAME_ZIP[name], format="zip")
    assert (done.code, done.out) == (0, "hello\n"), done.err
    assert unpacked(SAME_ZIP[name], tmp_path / "ours", format="zip") == theirs


BOTH_REFUSE: dict[str, tuple[str, bytes, str]] = {
    "tar through a link to the outside": (
        "tar",
        tar(TOOL, ("out", "OUTSIDE", LINK), ("out/x", b"x", {})),
        "through a link that leads outside",
    ),
    "tar hard link to the outside": ("tar", tar(TOOL, ("x", "/etc/hostname", HARD)), "absolute name"),
    "tar hard link to nothing": ("tar", tar(TOOL, ("x", "bin/toll", HARD)), "hard link to no member"),
    "tar hard link by dots": ("tar", tar(TOOL, ("x", "../../x", HARD)), "leads outside"),
    "tar of a file inside a file": ("tar", tar(TOOL, ("bin/tool/x", b"x", {})), "no folder"),
    "tar damaged in the middle": ("tar", tar(TOOL)[:1024] + b"\x01" * 512, "not a valid tar"),
    "tar cut short": ("tar", tar(TOOL, ("x", b"x" * 4000, {}))[:4000], "not a valid tar"),
    "no tar": ("tar", b"this is no tar at all" * 100, "not a valid tar"),
    "zip member above": ("zip", zipped(("bin/tool", HELLO, 0o100755), ("../x", b"x", 0o644)), "outside"),
    "zip absolute member": ("zip", zipped(("bin/tool", HELLO, 0o100755), ("/x", b"x", 0o644)), "absolute"),
    "zip through a link to the outside": (
        "zip",
        zipped(("bin/tool", HELLO, 0o100755), ("l", b"../..", 0o120777), ("l/x", b"x", 0o644)),
        "through a link that leads outside",
    ),
    "no zip": ("zip", b"PK but no zip", "not a zip"),
    "gz cut short": ("gz", gzip.compress(HELLO)[:-4], "ends in the middle"),
    "bz2 cut short": ("bz2", bz2.compress(HELLO)[:-4], "ends in the middle"),
    "xz cut short": ("xz", lzma.compress(HELLO)[:-4], "ends in the middle"),
    "zst cut short": ("zst", COMPRESS["zst"](HELLO)[:-4], "ends in the middle"),
    "gz damaged": ("gz", gzip.compress(HELLO)[:-8] + b"\0" * 8, "not valid gz"),
    "bz2 damaged": ("bz2", b"BZh9" + b"x" * 60, "not valid bz2"),
    "xz damaged": ("xz", lzma.compress(HELLO)[:20] + b"\xff" * 60, "not valid xz"),
    "zst damaged": ("zst", b"not zst", "not valid zst"),
    "xz twice": ("xz", lzma.compress(HELLO) * 2, "more bytes after the end"),
    "xz junk": ("xz", lzma.compress(HELLO) + b"junk", "more bytes after the end"),
    "zst junk": ("zst", COMPRESS["zst"](HELLO) + b"junk", "not valid zst"),
    "empty gz": ("gz", b"", "ends in the middle"),
    "tar.gz that is none": ("tar.gz", b"x" * 100, "not valid gz"),
}


@pytest.mark.parametrize("name", BOTH_REFUSE)
def test_both_refuse(name: str, judge: Judge, tmp_path: Path) -> None:
    format_name, data, said = BOTH_REFUSE[name]
    (tmp_path / "outside").mkdir()
    if b"OUTSIDE" in data:
        data = tar(TOOL, ("out", str(tmp_path / "outside"), LINK), ("out/x", b"x", {}))
    assert judge(data, format=format_name)[0].code == 1
    with pytest.raises(Damaged) as caught:
        unpacked(data, tmp_path / "ours", format=format_name)
    assert said in caught.value.what
    assert caught.value.remedy
    assert not list((tmp_path / "outside").iterdir())
    assert not (tmp_path / "x").exists()


DECLARED: dict[str, tuple[str, bytes, str]] = {
    "a member above is an error, not skipped": ("tar", tar(TOOL, ("../../x", b"x", {})), "leads outside"),
    "a FIFO is an error": ("tar", tar(TOOL, ("x", b"", {"type": tarfile.FIFOTYPE})), "a device or a FIFO"),
    "a device is an error": ("tar", tar(TOOL, ("x", b"", {"type": tarfile.CHRTYPE})), "a device or a FIFO"),
    "two gz members": ("gz", gzip.compress(HELLO) + gzip.compress(b"echo more\n"), "more than one member"),
    "two bz2 members": ("bz2", bz2.compress(HELLO) + bz2.compress(b"echo more\n"), "more than one member"),
}


@pytest.mark.parametrize("name", DECLARED)
def test_declared_deviations(name: str, judge: Judge, tmp_path: Path) -> None:
    format_name, data, said = DECLARED[name]
    assert judge(data, format=format_name)[0].out == "hello\n"
    with pytest.raises(Damaged, match=said):
        unpacked(data, tmp_path / "ours", format=format_name)


def test_declared_deviation_no_set_id_bits(judge: Judge, tmp_path: Path) -> None:
    data = tar(("bin/tool", HELLO, {"mode": 0o7755}))
    assert judge(data, format="tar")[1]["bin/tool"][0].startswith("-rwsr-sr-t")
    assert unpacked(data, tmp_path / "t", format="tar")["bin/tool"][0].startswith("-rwxr-xr-x")
    data = zipped(("bin/tool", HELLO, 0o104755))
    assert judge(data, format="zip")[1]["bin/tool"][0] == "-rwsr-xr-x"
    assert unpacked(data, tmp_path / "z", format="zip")["bin/tool"][0] == "-rwxr-xr-x"


def test_several_frames_and_junk_as_dotslash(judge: Judge, tmp_path: Path) -> None:
    frames = COMPRESS["zst"](HELLO[:10]) + COMPRESS["zst"](HELLO[10:])
    junk = gzip.compress(HELLO) + b"\0\0junk"
    for name, data in (("zst", frames), ("gz", junk), ("bz2", bz2.compress(HELLO) + b"junk")):
        assert judge(data, format=name)[0].out == "hello\n"
        assert unpacked(data, tmp_path / name, format=name)["bin/tool"][1] == HELLO.decode()


def bomb(compression: str) -> bytes:
    return COMPRESS[compression](b"\0" * 30_000_000)


@pytest.mark.parametrize("compression", COMPRESS)
def test_too_much_is_refused(compression: str, tmp_path: Path) -> None:
    own = {"unpacked_limit": 20_000_000}
    with pytest.raises(Damaged, match="more than 20000000 bytes") as caught:
        unpacked(bomb(compression), tmp_path / "ours", format=compression, fairlead=own)
    assert "unpacked_limit" in caught.value.remedy
    assert (tmp_path / "ours/bin/tool").stat().st_size <= 20_000_000
    more = {"unpacked_limit": 30_000_000}
    unpacked(bomb(compression), tmp_path / "again", format=compression, fairlead=more)


def test_too_much_in_archives_is_refused(tmp_path: Path) -> None:
    big, own = b"\0" * 30_000_000, {"unpacked_limit": 20_000_000}
    sparse = tar(("x", b"", {"type": tarfile.GNUTYPE_SPARSE}), format=tarfile.GNU_FORMAT)
    for name, data in (("tar.gz", gzip.compress(tar(("x", big, {})))), ("zip", zipped(("x", big, 0o644)))):
        with pytest.raises(Damaged, match="more than"):
            unpacked(data, tmp_path / name, format=name, fairlead=own)
    assert sparse


def test_a_bomb_of_headers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "_GIB", 1_000_000)
    data = gzip.compress(tar(*((f"{n}", b"", {}) for n in range(5000))))
    with pytest.raises(Damaged, match="more than"):
        unpacked(data, tmp_path / "ours", format="tar.gz", fairlead={"unpacked_limit": 10_000})
    monkeypatch.setattr(unpack, "MOST_MEMBERS", 100)
    with pytest.raises(Damaged, match="more than 100 members"):
        unpacked(data, tmp_path / "again", format="tar.gz")


def test_default_limit_grows_with_the_artifact() -> None:
    assert unpack.default_limit(0) == 1024**3
    assert unpack.default_limit(10**9) == 20 * 10**9 + 1024**3


@settings(deadline=None, max_examples=40)
@given(
    data=st.binary(max_size=5000),
    repeat=st.sampled_from([1, 700]),
    compression=st.sampled_from(sorted(COMPRESS)),
    size=st.integers(1, 70_000),
)
def test_stream_gives_back_what_went_in(data: bytes, repeat: int, compression: str, size: int) -> None:
    data *= repeat
    source = decompress.pieces(io.BytesIO(COMPRESS[compression](data)), compression)
    stream = decompress.Stream(source, decompress.Budget(len(data), 0))
    assert b"".join(iter(lambda: stream.read(size), b"")) == data


SEEDS = {
    "tar": tar(
        TOOL, ("d", b"", DIR), ("l", "d", LINK), ("h", "bin/tool", HARD), ("a/" * 60 + "b" * 150, b"x", {})
    ),
    "zip": zipped(("bin/tool", HELLO, 0o100755), ("l", b"bin/tool", 0o120777), ("d/", b"", 0o40755)),
    **{name: make(HELLO) for name, make in COMPRESS.items()},
}


@settings(
    deadline=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(format_name=st.sampled_from(sorted(SEEDS)), seed=st.integers(0, 2**32), flips=st.integers(1, 6))
@example(format_name="tar", seed=0, flips=0)
def test_damage_never_escapes(format_name: str, seed: int, flips: int, tmp_path_factory: Any) -> None:
    """Whatever bytes are changed: a Damaged error or a tree, nothing else raised, nothing outside."""
    tmp_path = tmp_path_factory.mktemp("damage")
    chance = random.Random(seed)
    data = bytearray(SEEDS[format_name])
    for _ in range(flips):
        at = chance.randrange(len(data))
        data[at : at + chance.choice((1, 1, 4))] = chance.choice(
            (bytes([chance.randrange(256)]), b"\0", b"\xff\xff\xff\xff", b"../.", b"", b"7777")
        )
    into = tmp_path / "a" / "b"
    into.mkdir(parents=True)
    parsed = Entry(len(data), "blake3", "0" * 64, format_name, "bin/tool", [], unpacked_limit=10**6)
    try:
        unpack.unpack(io.BytesIO(bytes(data)), parsed, into)
    except Damaged:
        pass
    except OSError as error:
        assert error.errno is not None, "only names that the disk refuses"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_write_bits_go_and_links_are_left(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("mine")
    inside = tmp_path / "inside"
    (inside / "d").mkdir(parents=True)
    (inside / "d/x").write_text("x")
    (inside / "out").symlink_to(tmp_path / "outside")
    unpack.drop_write_bits(inside)
    assert (tmp_path / "outside").stat().st_mode & 0o200
    assert not (inside / "d/x").stat().st_mode & 0o222
    assert not (inside / "d").stat().st_mode & 0o222
    assert inside.stat().st_mode & 0o200
    atomic.remove(inside)
