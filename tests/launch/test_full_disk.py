"""A full disk in the middle of a fetch or a publish: a clear error, nothing half written, and then it works.

The disk is a tmpfs of one MiB. Root mounts it; anybody else does so inside a user namespace of the command's.
"""

from __future__ import annotations

import gzip
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.launch.tools import HELLO, finished, log_in, take_artifacts, tar, write, zipped
from tests.net.web import Answer, Web

NOISE = random.Random(5).randbytes(3_000_000)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder where commands of `on_small` find the small disk."""
    (tmp_path / "small").mkdir()
    return tmp_path / "small"


@pytest.fixture
def on_small(small: Path) -> Callable[[str], finished]:
    """Run shell lines on a fresh small disk, in a mount namespace that ends with them."""
    unshare = (
        ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    )

    def run(lines: str) -> finished:
        script = f'set -u\nmount -t tmpfs -o size=1m,mode=700 tmpfs "{small}"\ncd "{small}"\n{lines}'
        return finished.of([*unshare, "sh", "-c", script], env={"PYTHON": sys.executable})

    return run


FAIRLEAD = '"$PYTHON" -m fairlead'


@pytest.mark.parametrize("kind", ["plain", "tar", "zip bomb"])
def test_fetch(kind: str, on_small: Callable[[str], finished], small: Path, web: Web, tmp_path: Path) -> None:
    data: bytes = NOISE
    more: dict[str, object] = {}
    if kind == "tar":  # the download fits, what it holds does not
        data = gzip.compress(tar(("bin/tool", HELLO, {}), ("big", b"\0" * 3_000_000, {})))
        more = {"format": "tar.gz"}
    elif kind == "zip bomb":
        data = zipped(("big", b"\0" * 3_000_000, 0o644), ("bin/tool", HELLO, 0o100755))
        more = {"format": "zip"}
    web.answers["/tool"] = Answer(body=data)
    path = write(tmp_path, data, web.url + "/tool", **more)
    done = on_small(
        f"""export DOTSLASH_CACHE={small}/cache
        {FAIRLEAD} run {path}; echo "code $?"
        find cache -name '.tmp*'
        find cache -type f -size +0
        find cache -mindepth 2 -maxdepth 2 -type d -not -path '*/locks/*'"""
    )
    assert done.out == "code 3\n"
    assert "No space left on device" in done.err
    assert f"{small}/cache" in done.err
    assert "free some space" in done.err
    assert "Traceback" not in done.err


def test_publish(on_small: Callable[[str], finished], small: Path, web: Web, tmp_path: Path) -> None:
    """The manifest that stood there stays as it was; with room again, publishing works."""
    built = tmp_path / "built"
    built.write_bytes(HELLO)
    take_artifacts(web, HELLO, "tool")
    log_in(web.url)
    publish = f"{FAIRLEAD} publish --file {built} --name tool --server {web.url} --out {small}/tool"
    done = on_small(
        f"""echo before > tool
        head -c 2000000 /dev/zero > filler 2>/dev/null
        {publish}; echo "code $?"
        cat tool; ls -A
        rm filler
        {publish} > /dev/null; echo "code $?"
        ls -A
        DOTSLASH_CACHE={small}/cache {FAIRLEAD} run ./tool again"""
    )
    assert done.out.splitlines() == [
        "code 3", "before", "filler", "tool", "code 0", "tool", "hello again",
    ]  # fmt: skip
    assert "No space left on device" in done.err
    assert f"{small}/tool" in done.err
    assert "Traceback" not in done.err


def test_the_check_of_a_publish(
    on_small: Callable[[str], finished], small: Path, web: Web, tmp_path: Path
) -> None:
    """The bytes are downloaded once to be compared; when there is no room for that, it says so."""
    built = tmp_path / "built"
    built.write_bytes(NOISE)
    web.answers["/x"] = Answer(body=NOISE)
    done = on_small(
        f"""export TMPDIR={small}
        {FAIRLEAD} publish --file {built} --url {web.url}/x --out {tmp_path}/tool; echo $?; ls -A"""
    )
    assert done.out == "3\n"
    assert "TMPDIR" in done.err
    assert not (tmp_path / "tool").exists()


def test_the_small_disk_is_small(on_small: Callable[[str], finished]) -> None:
    """Without this, a machine where the mount does not work would pass the tests above for nothing."""
    assert on_small("head -c 2000000 /dev/zero > filler; echo $?").out.strip() == "1"
