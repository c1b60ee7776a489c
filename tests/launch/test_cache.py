"""The cache is DotSlash's: the same folder for the same environment, the same name for the same artifact."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fairlead.errors import MachineryError
from fairlead.launch import cache, manifest
from fairlead.launch.manifest import Entry
from tests.launch.tools import HELLO, Run, finished, write

D = "3e37a1b1dd4a4d8d4bb3a1b9a0a0c1a9f5f3f0c1d2e3f4a5b6c7d8e9f0a1b2c3"


def entry(**more: object) -> Entry:
    made = {"size": 8675309, "hash": "blake3", "digest": D, "format": "", "path": "p/q", "providers": []}
    return Entry(**{**made, **more})  # type: ignore[arg-type]


def test_the_path_counts_for_single_files_only() -> None:
    for name in ("", *manifest.SINGLE_FILES):
        assert cache.key(entry(format=name)) != cache.key(entry(format=name, path="other"))
    for name in set(manifest.FORMATS) - set(manifest.SINGLE_FILES):
        assert cache.key(entry(format=name)) == cache.key(entry(format=name, path="other"))


def test_every_other_part_counts() -> None:
    keys = {
        cache.key(entry(**change))
        for change in (
            {},
            {"size": 1},
            {"hash": "sha256"},
            {"digest": "0" * 64},
            {"readonly": False},
            {"format": "gz"},
            {"format": "tar.gz"},
        )
    }
    assert len(keys) == 7
    assert cache.key(entry(arg0="underlying-executable", providers=[1])) == cache.key(entry())


@pytest.mark.parametrize("format_name", ["", *manifest.FORMATS])
@pytest.mark.parametrize("more", [{}, {"readonly": False}, {"hash": "sha256"}])
def test_same_place_as_dotslash(
    format_name: str, more: dict[str, object], dotslash: Run, tmp_path: Path, cache_root: Path
) -> None:
    """A fetch that fails names the folder it wanted to fill."""
    if format_name:
        more = {**more, "format": format_name}
    path = write(tmp_path, HELLO, "file:///nowhere", **more)
    parsed = manifest.parse(path.read_bytes()).platforms[manifest.host()]
    where = cache.locate(parsed, cache_root)
    assert f"artifact location `{where.folder}`" in dotslash(path).err
    assert where.lock.exists()


@pytest.fixture
def cache_root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def environments(tmp_path: Path) -> dict[str, dict[str, str]]:
    home = str(tmp_path / "home")
    return {
        "named": {"DOTSLASH_CACHE": "/some/where", "HOME": home},
        "named relative": {"DOTSLASH_CACHE": "some/where", "HOME": home},
        "xdg": {"XDG_CACHE_HOME": str(tmp_path / "xdg"), "HOME": home},
        "xdg relative": {"XDG_CACHE_HOME": "xdg", "HOME": home},
        "xdg empty": {"XDG_CACHE_HOME": "", "HOME": home},
        "home": {"HOME": home},
        "home missing": {},
        "home empty": {"HOME": ""},
        "foreign": {"TMPDIR": str(tmp_path)},
    }


@pytest.mark.parametrize("name", environments(Path("/x")))
def test_same_folder_as_dotslash(name: str, oracle: str, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    env = environments(tmp_path)[name]
    if name == "foreign":
        env["HOME"] = str(foreign_home(tmp_path))
    judged = subprocess.run([oracle, "--", "cache-dir"], env=env, capture_output=True, text=True, check=True)
    assert str(cache.root(env)) == judged.stdout.rstrip("\n")


def test_macos_folder(tmp_path: Path) -> None:
    found = cache.root({"HOME": str(tmp_path), "XDG_CACHE_HOME": "/xdg"}, platform="darwin")
    assert found == tmp_path / "Library/Caches/dotslash"


def foreign_home(tmp_path: Path) -> Path:
    """A home that belongs to another user than the one who runs the tests."""
    if os.getuid() != 0:
        return Path("/")
    (tmp_path / "foreign").mkdir()
    os.chown(tmp_path / "foreign", 65534, 65534)
    return tmp_path / "foreign"


class TestFallback:
    """The folder in the shared temp directory is used only if nobody else can have filled it."""

    def test_it_is_made_private_and_used_again(self, tmp_path: Path) -> None:
        env = {"HOME": str(foreign_home(tmp_path)), "TMPDIR": str(tmp_path)}
        found = cache.root(env)
        assert found == tmp_path / f"dotslash-{os.getuid()}"
        assert found.stat().st_mode & 0o777 == 0o700
        assert cache.root(env) == found

    def test_of_another_owner_it_is_refused(self, tmp_path: Path) -> None:
        stranger = os.getuid() + 4242
        (tmp_path / f"dotslash-{stranger}").mkdir()
        with pytest.raises(MachineryError, match="another user") as caught:
            cache.root({"HOME": "/", "TMPDIR": str(tmp_path)}, uid=stranger)
        assert "DOTSLASH_CACHE" in caught.value.remedy

    @pytest.mark.parametrize("how", ["writable", "link", "file"])
    def test_open_to_others_it_is_refused(self, tmp_path: Path, how: str) -> None:
        mine = tmp_path / f"dotslash-{os.getuid()}"
        if how == "writable":
            mine.mkdir()
            mine.chmod(0o777)
        elif how == "link":
            (tmp_path / "other").mkdir()
            mine.symlink_to(tmp_path / "other")
        else:
            mine.write_text("")
        with pytest.raises(MachineryError, match="another user"):
            cache.root({"HOME": str(foreign_home(tmp_path)), "TMPDIR": str(tmp_path)})


def test_where_dotslash_runs_what_a_stranger_left_we_do_not(oracle: str, tmp_path: Path) -> None:
    """The difference in one picture: a folder open to all at the fallback's name, with a program inside."""
    path = write(tmp_path, HELLO, "file:///nowhere")
    parsed = manifest.parse(path.read_bytes()).platforms[manifest.host()]
    planted = tmp_path / f"dotslash-{os.getuid()}"
    executable = cache.locate(parsed, planted).executable
    executable.parent.mkdir(parents=True)
    executable.write_text("#!/bin/sh\necho planted\n")
    executable.chmod(0o755)
    planted.chmod(0o777)
    env = {"HOME": str(foreign_home(tmp_path)), "TMPDIR": str(tmp_path)}
    without = ["env", "-u", "DOTSLASH_CACHE"]
    assert finished.of([*without, oracle, str(path)], env=env).out == "planted\n"
    done = finished.of([*without, sys.executable, "-m", "fairlead", "run", str(path)], env=env)
    assert (done.code, done.out) == (3, "")
    assert "another user" in done.err
