"""Large files: retried, resumed only when safe, stopped at the limit."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest

from fairlead.errors import FairleadError, MachineryError, UsageError
from fairlead.net import TooLarge, download, retry
from tests.net.web import Answer, Asked, Web

DATA = random.Random(2).randbytes(300_000)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST", 0.01)


def fetched(url: str, limit: int | None = None, attempts: int = 4) -> bytes:
    out = io.BytesIO()
    download(url, out, limit=limit, attempts=attempts)
    return out.getvalue()


def test_whole_file_and_progress(web: Web) -> None:
    web.answers["/f"] = Answer(body=DATA)
    heard: list[int] = []
    out = io.BytesIO()
    download(web.url + "/f", out, limit=len(DATA), on_bytes=heard.append)
    assert out.getvalue() == DATA
    assert heard == sorted(heard)
    assert heard[-1] == len(DATA)


@pytest.mark.parametrize("status", sorted(retry.STATUSES))
def test_passing_trouble_is_tried_again(web: Web, status: int) -> None:
    web.answers["/f"] = [Answer(status), Answer(status, headers={"Retry-After": "0"}), Answer(body=DATA)]
    assert fetched(web.url + "/f") == DATA
    assert len(web.asked) == 3


def test_lasting_trouble_is_told_after_four_tries(web: Web) -> None:
    web.answers["/f"] = Answer(500)
    with pytest.raises(MachineryError, match="500 Internal Server Error"):
        fetched(web.url + "/f")
    assert len(web.asked) == 4


@pytest.mark.parametrize(("status", "remedy"), [(404, "still published"), (403, "netrc"), (401, "netrc")])
def test_refusals_are_final(web: Web, status: int, remedy: str) -> None:
    web.answers["/f?sig=hidden"] = Answer(status)
    with pytest.raises(UsageError, match=str(status)) as caught:
        fetched(web.url + "/f?sig=hidden")
    assert len(web.asked) == 1
    assert remedy in caught.value.remedy
    assert "hidden" not in str(caught.value)


def test_a_server_that_asks_for_too_much_patience(web: Web) -> None:
    web.answers["/f"] = Answer(429, headers={"Retry-After": "3600"})
    with pytest.raises(FairleadError, match="429"):
        fetched(web.url + "/f")
    assert len(web.asked) == 1


def test_waiting_is_announced(web: Web) -> None:
    web.answers["/f"] = [Answer(503), Answer(body=b"x")]
    heard: list[str] = []
    download(web.url + "/f", io.BytesIO(), limit=None, on_wait=lambda _, why: heard.append(why))
    assert heard == ["the server answered 503 Service Unavailable"]


def ranged(asked: Asked, tag: str) -> Answer:
    start = int(asked.headers["range"].removeprefix("bytes=").removesuffix("-"))
    span = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
    return Answer(206, DATA[start:], {"Content-Range": span, "ETag": tag})


def test_a_broken_transfer_is_resumed(web: Web) -> None:
    web.answers["/f"] = [
        Answer(body=DATA, headers={"ETag": '"one"'}, cut=100_000),
        lambda asked: ranged(asked, '"one"'),
    ]
    assert fetched(web.url + "/f") == DATA
    assert web.asked[1].headers["range"] == "bytes=100000-"
    assert web.asked[1].headers["if-range"] == '"one"'


@pytest.mark.parametrize("tag", ["", 'W/"weak"'])
def test_without_a_strong_validator_it_starts_afresh(web: Web, tag: str) -> None:
    first = Answer(body=b"an older version" + DATA, headers={"ETag": tag}, cut=1000)
    web.answers["/f"] = [first, Answer(body=DATA)]
    assert fetched(web.url + "/f") == DATA
    assert "range" not in web.asked[1].headers


def test_a_changed_file_starts_afresh(web: Web) -> None:
    web.answers["/f"] = [
        Answer(body=b"old" * 500, headers={"ETag": '"old"'}, cut=900),
        Answer(body=DATA, headers={"ETag": '"new"'}),
    ]
    assert fetched(web.url + "/f") == DATA


def test_a_wrong_part_is_not_glued_on(web: Web) -> None:
    web.answers["/f"] = [
        Answer(body=DATA, headers={"ETag": '"one"'}, cut=1000),
        Answer(206, DATA[5:], {"Content-Range": f"bytes 5-{len(DATA) - 1}/{len(DATA)}"}),
        Answer(body=DATA),
    ]
    assert fetched(web.url + "/f") == DATA


def test_a_range_beyond_the_end_starts_afresh(web: Web) -> None:
    web.answers["/f"] = [Answer(body=DATA, headers={"ETag": '"a"'}, cut=1000), Answer(416), Answer(body=DATA)]
    assert fetched(web.url + "/f") == DATA


def test_position_of_the_file_is_kept(web: Web) -> None:
    web.answers["/f"] = [Answer(body=DATA, cut=10), Answer(body=DATA)]
    out = io.BytesIO(b"head")
    out.seek(4)
    download(web.url + "/f", out, limit=None)
    assert out.getvalue() == b"head" + DATA


def test_declared_size_over_the_limit_is_refused_unread(web: Web) -> None:
    web.answers["/f"] = Answer(body=DATA)
    with pytest.raises(TooLarge, match="larger than the 1000 bytes"):
        fetched(web.url + "/f", limit=1000)
    assert len(web.asked) == 1


def test_undeclared_size_over_the_limit_stops_the_transfer(web: Web) -> None:
    web.answers["/f"] = Answer(raw=b"HTTP/1.0 200 OK\r\n\r\n" + DATA)
    with pytest.raises(TooLarge):
        fetched(web.url + "/f", limit=1000)


def test_login_from_netrc(web: Web, other: Web, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password pw\n")
    (tmp_path / ".netrc").chmod(0o600)
    web.answers["/f"] = Answer(302, headers={"Location": other.url + "/g"})
    other.answers["/g"] = Answer(body=b"x")
    assert fetched(web.url + "/f") == b"x"
    assert web.asked[0].headers["authorization"] == "Basic bWU6cHc="
    assert "authorization" not in other.asked[0].headers


def test_broken_netrc_is_mentioned_when_refused(web: Web, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me passwort pw\n")
    web.answers["/ok"] = Answer(body=b"x")
    web.answers["/no"] = Answer(401)
    assert fetched(web.url + "/ok") == b"x"
    with pytest.raises(UsageError) as caught:
        fetched(web.url + "/no")
    assert "netrc" in caught.value.remedy
    assert "line 1" in caught.value.remedy


def test_files_on_disk(tmp_path: Path) -> None:
    (tmp_path / "a b").write_bytes(DATA)
    address = (tmp_path / "a b").as_uri()
    assert fetched(address) == DATA
    with pytest.raises(TooLarge):
        fetched(address, limit=5)
    with pytest.raises(MachineryError, match="No such file"):
        fetched(address + ".gone")
    with pytest.raises(UsageError, match="another host"):
        fetched("file://elsewhere/a")


def test_the_same_answers_as_curl(web: Web, tmp_path: Path) -> None:
    """curl is the oracle of decisions.md for redirects and for what counts as a failure."""
    import subprocess

    web.answers["/ok"] = Answer(body=DATA)
    web.answers["/hop"] = Answer(307, headers={"Location": "/ok"})
    web.answers["/cut"] = Answer(body=DATA, cut=10)
    web.answers["/gone"] = Answer(410)
    for path in ("/ok", "/hop", "/cut", "/gone", "/never"):
        curl = subprocess.run(
            [
                "curl",
                "-q",
                "--fail",
                "--silent",
                "--location",
                "--output",
                tmp_path / "c",
                "--",
                web.url + path,
            ]
        )
        try:
            ours: bytes | None = fetched(web.url + path, attempts=1)
        except FairleadError:
            ours = None
        assert (curl.returncode == 0) == (ours is not None), path
        if ours is not None:
            assert (tmp_path / "c").read_bytes() == ours
