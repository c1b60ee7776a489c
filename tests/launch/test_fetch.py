"""Fetching: verified, published whole, once for all who ask, and nothing left behind."""

from __future__ import annotations

import fcntl
import gzip
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import FairleadError, MachineryError, UsageError
from fairlead.launch import cache, fetch, manifest
from fairlead.launch.cache import Location
from fairlead.launch.manifest import Entry
from fairlead.store import atomic
from tests.launch.tools import HELLO, ROOT, Run, downloads, entry, tar, temporary, text_of, write, zipped
from tests.net.web import Answer, Asked, Web


def located(path: Path) -> tuple[Entry, Location]:
    parsed = manifest.parse(path.read_bytes()).platforms[manifest.host()]
    return parsed, cache.locate(parsed, cache.root())


def ensure(path: Path) -> Location:
    parsed, location = located(path)
    fetch.ensure(parsed, location, where=str(path))
    return location


def serve(web: Web, folder: Path, data: bytes, **more: object) -> Path:
    """A manifest for bytes that the server serves."""
    web.answers["/tool"] = Answer(body=data)
    return write(folder, data, web.url + "/tool", **more)


@pytest.mark.parametrize("readonly", [True, False])
@pytest.mark.parametrize("hash_name", manifest.HASHES)
def test_a_plain_file(web: Web, tmp_path: Path, cache: Path, readonly: bool, hash_name: str) -> None:
    location = ensure(serve(web, tmp_path, HELLO, readonly=readonly, hash=hash_name))
    assert location.executable.read_bytes() == HELLO
    assert location.executable.stat().st_mode & 0o777 == 0o555
    assert bool(location.folder.stat().st_mode & 0o222) is not readonly
    assert bool(location.executable.parent.stat().st_mode & 0o222) is not readonly
    assert temporary(cache) == []


@pytest.mark.parametrize("format_name", ["gz", "tar", "zip"])
def test_no_temporary_file_is_left(
    web: Web, tmp_path: Path, cache: Path, dotslash: Run, format_name: str
) -> None:
    data = {
        "gz": gzip.compress(HELLO),
        "tar": tar(("bin/tool", HELLO, {})),
        "zip": zipped(("bin/tool", HELLO, 0o100755)),
    }[format_name]
    path = serve(web, tmp_path, data, format=format_name)
    assert dotslash(path).out == "hello\n"
    assert len(temporary(cache)) == 1, "the real one leaves its download"
    atomic.remove(cache)
    ensure(path)
    assert temporary(cache) == []


WRONG: list[tuple[dict[str, object], str]] = [
    ({"digest": "0" * 64}, "the blake3 of the file is"),
    ({"hash": "sha256", "digest": "0" * 64}, "the sha256 of the file is"),
    ({"size": len(HELLO) + 1}, f"has {len(HELLO)} bytes, but the manifest says {len(HELLO) + 1}"),
    ({"size": len(HELLO) - 1}, f"more than the {len(HELLO) - 1} bytes that the manifest says"),
]


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_wrong_bytes_name_place_and_remedy(
    web: Web, tmp_path: Path, cache: Path, fairlead: Run, change: dict[str, object], said: str
) -> None:
    path = serve(web, tmp_path, HELLO, **change)
    with pytest.raises(UsageError, match=said) as caught:
        ensure(path)
    assert str(path) in caught.value.where
    assert f"{web.url}/tool" in caught.value.where
    assert "publisher" in caught.value.remedy
    assert temporary(cache) == []
    assert not located(path)[1].folder.exists()
    done = fairlead(path)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "Traceback" not in done.err


def test_the_next_provider_is_tried(web: Web, tmp_path: Path, dotslash: Run) -> None:
    web.answers["/gone"] = Answer(404)
    web.answers["/other"] = Answer(body=b"other bytes")
    web.answers["/hop"] = Answer(302, headers={"Location": "/tool"})
    urls = [{"url": f"{web.url}/{name}"} for name in ("gone", "other", "hop")]
    path = serve(web, tmp_path, HELLO, providers=urls)
    assert ensure(path).executable.read_bytes() == HELLO
    assert dotslash(path).out == "hello\n"


def test_when_all_fail_all_are_told(web: Web, tmp_path: Path, cache: Path) -> None:
    web.answers["/other"] = Answer(body=b"other bytes")
    secret = f"http://me:secret@127.0.0.1:{web.port}/gone?sig=secret"
    path = write(tmp_path, HELLO, "", providers=[{"url": secret}, {"url": f"{web.url}/other"}])
    with pytest.raises(MachineryError, match="no provider gave the artifact") as caught:
        ensure(path)
    assert "404 Not Found" in caught.value.what
    assert f"{web.url}/gone" in caught.value.what
    assert f"{web.url}/other" in caught.value.what
    assert "secret" not in str(caught.value)
    assert temporary(cache) == []


@pytest.mark.parametrize(
    ("providers", "said"),
    [
        ([], "no provider gave the artifact, for none is listed"),
        ([{"type": "carrier-pigeon"}], "unknown type `carrier-pigeon`"),
        ([{"type": 7}], "a type that is not a string"),
        (["x"], "not an object"),
        ([{}], "no url"),
        (
            [{"type": "github-release", "repo": "a/b", "tag": "1", "name": "x"}],
            "github-release are not supported",
        ),
        ([{"url": "ftp://127.0.0.1/x"}], "scheme `ftp`"),
        ([{"url": "--version"}], "no scheme"),
        ([{"url": "file:///no/such/file"}], "No such file"),
    ],
)
def test_providers_that_cannot_be_asked(tmp_path: Path, providers: list[object], said: str) -> None:
    with pytest.raises(FairleadError, match=said) as caught:
        ensure(write(tmp_path, HELLO, "", providers=providers))
    assert "tool" in caught.value.where


def test_an_unknown_type_ends_it_at_once_and_a_known_one_is_passed_over(
    web: Web, tmp_path: Path, dotslash: Run
) -> None:
    good = {"url": f"{web.url}/tool"}
    path = serve(web, tmp_path, HELLO, providers=[{"type": "carrier-pigeon"}, good])
    assert dotslash(path).code == 1
    with pytest.raises(UsageError, match="unknown type"):
        ensure(path)
    ensure(serve(web, tmp_path, HELLO, providers=[{"type": "s3", "bucket": "b", "key": "k"}, good]))


@pytest.mark.parametrize("weight", [0, -1, 1.5, "1", True])
def test_senseless_weights(web: Web, tmp_path: Path, dotslash: Run, weight: object) -> None:
    providers = [{"url": f"{web.url}/tool", "weight": weight}]
    order = {"providers_order": "weighted-random"}
    path = serve(web, tmp_path, HELLO, providers=providers, **order)
    with pytest.raises(UsageError, match="weight"):
        ensure(path)
    assert dotslash(path).code == 1
    ensure(serve(web, tmp_path, HELLO, providers=providers))


def drawn(weights: list[int], chance: random.Random) -> list[int]:
    made = entry(HELLO, "", providers=[{"weight": w, "n": n} for n, w in enumerate(weights)])
    made["providers_order"] = "weighted-random"
    parsed = manifest.parse(text_of(made).encode()).platforms[manifest.host()]
    order: Any = fetch._ordered(parsed, "", chance.random)
    return [provider["n"] for provider in order]


@given(st.lists(st.integers(1, 1000), max_size=6), st.randoms(use_true_random=False))
def test_weighted_order_leaves_nobody_out(weights: list[int], chance: random.Random) -> None:
    assert sorted(drawn(weights, chance)) == list(range(len(weights)))


def test_weights_are_chances() -> None:
    chance = random.Random(7)
    first = Counter(drawn([1, 3, 6], chance)[0] for _ in range(3000))
    for place, share in enumerate((0.1, 0.3, 0.6)):
        assert abs(first[place] / 3000 - share) < 0.04


def slow(data: bytes) -> Any:
    def answer(_: Asked) -> Answer:
        time.sleep(0.5)
        return Answer(body=data)

    return answer


def test_eight_callers_make_one_download(web: Web, tmp_path: Path, cache: Path) -> None:
    path = serve(web, tmp_path, HELLO)
    web.answers["/tool"] = slow(HELLO)
    argv = [sys.executable, "-m", "fairlead", "run", str(path), "x"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = [subprocess.Popen(argv, stdout=subprocess.PIPE, env=env) for _ in range(8)]
    said = [process.communicate(timeout=60)[0] for process in running]
    assert said == [b"hello x\n"] * 8
    assert [process.returncode for process in running] == [0] * 8
    assert downloads(web.asked) == ["/tool"]
    assert temporary(cache) == []


def test_we_wait_for_the_real_one_and_find_what_it_fetched(web: Web, tmp_path: Path, oracle: str) -> None:
    """Both take the same lock: ours starts while the real one downloads, and downloads nothing."""
    path = serve(web, tmp_path, HELLO)
    web.answers["/tool"] = slow(HELLO)
    real = subprocess.Popen([oracle, str(path)], stdout=subprocess.PIPE)
    while not web.asked:
        time.sleep(0.01)
    ensure(path)
    assert real.communicate(timeout=30)[0] == b"hello\n"
    assert downloads(web.asked) == ["/tool"]


def test_the_real_one_waits_for_us(web: Web, tmp_path: Path, oracle: str) -> None:
    path = serve(web, tmp_path, HELLO)
    location = located(path)[1]
    location.lock.parent.mkdir(parents=True)
    with location.lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        real = subprocess.Popen([oracle, str(path)], stdout=subprocess.PIPE)
        with pytest.raises(subprocess.TimeoutExpired):
            real.communicate(timeout=0.5)
        assert web.asked == []
    assert real.communicate(timeout=30)[0] == b"hello\n"


def test_a_long_wait_is_mentioned(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = serve(web, tmp_path, HELLO)
    parsed, location = located(path)
    location.lock.parent.mkdir(parents=True)
    monkeypatch.setattr(fetch, "_PATIENCE", 0.1)
    heard: list[str] = []
    with location.lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        release = threading.Timer(0.5, fcntl.flock, [held, fcntl.LOCK_UN])
        release.start()
        fetch.ensure(parsed, location, where="", say=heard.append)
        release.join()
    assert heard == ["waiting for another process that fetches the same artifact"]


def test_a_pause_before_another_try_is_mentioned(web: Web, tmp_path: Path) -> None:
    path = serve(web, tmp_path, HELLO)
    web.answers["/tool"] = [Answer(503, headers={"Retry-After": "0"}), Answer(body=HELLO)]
    parsed, location = located(path)
    heard: list[str] = []
    fetch.ensure(parsed, location, where="", say=heard.append)
    assert len(heard) == 1
    assert "503 Service Unavailable; trying again in" in heard[0]


@pytest.mark.parametrize("readonly", [True, False])
def test_a_deleted_executable_is_put_back(
    web: Web, tmp_path: Path, cache: Path, dotslash: Run, fairlead: Run, readonly: bool
) -> None:
    data = tar(("bin/tool", HELLO, {}), ("lib/x", b"x", {}))
    path = serve(web, tmp_path, data, format="tar", readonly=readonly)
    location = ensure(path)
    for folder in (location.folder, location.executable.parent, location.folder / "lib"):
        folder.chmod(0o755)
    location.executable.unlink()
    (location.folder / "lib/x").unlink()
    assert dotslash(path).code == 1, "the real one fetches, throws away, and fails"
    left = temporary(cache)  # by the real one
    done = fairlead(path)
    assert (done.code, done.out) == (0, "hello\n"), done.err
    assert (location.folder / "lib/x").read_bytes() == b"x"
    assert temporary(cache) == left
    assert dotslash(path).out == "hello\n"


def test_an_archive_without_the_path_is_fetched_once(
    web: Web, tmp_path: Path, dotslash: Run, fairlead: Run
) -> None:
    data = tar(("bin/tool", HELLO, {}), ("bin/other", HELLO, {}))
    path = serve(web, tmp_path, data, format="tar", path="tool")
    for _ in range(2):
        done = fairlead(path)
        assert (done.code, done.out) == (2, "")
        assert "the archive does not hold the file `tool`" in done.err
        assert "did you mean bin/tool?" in done.err
    assert len(downloads(web.asked)) == 1
    assert dotslash(path).code == 1
    assert len(downloads(web.asked)) == 2, "the real one fetches it every time"
    right = serve(web, tmp_path, data, format="tar")
    assert fairlead(right).out == "hello\n"
    assert len(downloads(web.asked)) == 2, "both manifests share one folder"


def test_near_names_are_suggested(web: Web, tmp_path: Path) -> None:
    path = serve(web, tmp_path, tar(("bin/toool", HELLO, {})), format="tar")
    with pytest.raises(UsageError) as caught:
        ensure(path)
    assert "bin/toool" in caught.value.remedy


def test_a_path_that_leads_outside_is_refused(web: Web, tmp_path: Path, cache: Path) -> None:
    import tarfile

    data = tar(("bin/tool", "/bin/echo", {"type": tarfile.SYMTYPE}))
    path = serve(web, tmp_path, data, format="tar")
    with pytest.raises(UsageError, match="leads outside"):
        ensure(path)
    assert not located(path)[1].folder.exists()
    assert temporary(cache) == []


def test_a_damaged_archive_ends_it_at_once(web: Web, tmp_path: Path, cache: Path) -> None:
    path = serve(web, tmp_path, b"no tar" * 200, format="tar.gz")
    twice = [{"url": f"{web.url}/tool"}] * 2
    path = serve(web, tmp_path, b"no tar" * 200, format="tar.gz", providers=twice)
    with pytest.raises(UsageError, match="not valid gz") as caught:
        ensure(path)
    assert caught.value.where == str(path)
    assert len(downloads(web.asked)) == 1
    assert temporary(cache) == []


def test_old_leftovers_are_swept_and_young_ones_left(web: Web, tmp_path: Path) -> None:
    path = serve(web, tmp_path, HELLO)
    shard = located(path)[1].folder.parent
    for name, age in ((".tmpOLDold", fetch.STALE + 60), (".tmpNEWnew", 60)):
        (shard / name).mkdir(parents=True)
        (shard / name / "file").write_text("x")
        os.utime(shard / name, (time.time() - age, time.time() - age))
    (shard / ".tmpOLDold").chmod(0o500)
    ensure(path)
    assert [found.name for found in shard.glob(".tmp*")] == [".tmpNEWnew"]


@pytest.mark.parametrize("signal_name", ["KILL", "INT"])
def test_killed_in_the_middle(web: Web, tmp_path: Path, cache: Path, fairlead: Run, signal_name: str) -> None:
    """After a kill the next run works; after Ctrl-C nothing is left either."""
    path = serve(web, tmp_path, HELLO)
    go_on = threading.Event()

    def hang(_: Asked) -> Answer:
        go_on.wait(20)
        return Answer(body=HELLO)

    web.answers["/tool"] = [hang, Answer(body=HELLO)]
    argv = [sys.executable, "-m", "fairlead", "run", str(path)]
    process = subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)
    while not web.asked:
        time.sleep(0.01)
    process.send_signal(getattr(__import__("signal"), f"SIG{signal_name}"))
    _, told = process.communicate(timeout=20)
    go_on.set()
    assert not located(path)[1].folder.exists()
    if signal_name == "INT":
        assert temporary(cache) == []
        assert b"Traceback" not in told
    assert fairlead(path).out == "hello\n"


def test_warm_in_both_directions(web: Web, tmp_path: Path, cache: Path, dotslash: Run, fairlead: Run) -> None:
    data = tar(("bin/tool", HELLO, {}))
    path = serve(web, tmp_path, data, format="tar")
    for first, second in ((fairlead, dotslash), (dotslash, fairlead)):
        atomic.remove(cache)
        web.asked.clear()
        assert first(path, "1").out == "hello 1\n"
        assert second(path, "2").out == "hello 2\n"
        assert downloads(web.asked) == ["/tool"]
    assert dotslash("--", "clean").code == 0
    assert not cache.exists()
