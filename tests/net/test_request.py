"""Single exchanges against a real server: redirects, logins, and every way to fail, explained."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fairlead.errors import FairleadError, MachineryError, UsageError, WorkFailed
from fairlead.net import Broken, fetch_json, request
from tests.net.web import Answer, Web


def test_body_status_headers(web: Web) -> None:
    web.answers["/x?a=b"] = Answer(418, b"short and stout", {"X-Kind": "pot"})
    answer = request("PUT", web.url + "/x?a=b", body=b"leaves", headers={"X-From": "shelf"})
    assert (answer.status, answer.body, answer.headers["x-KIND"]) == (418, b"short and stout", "pot")
    asked = web.asked[0]
    assert (asked.method, asked.body, asked.headers["x-from"]) == ("PUT", b"leaves", "shelf")
    assert "Fairlead/" in asked.headers["user-agent"]


def test_a_file_is_sent_from_its_position(web: Web) -> None:
    web.answers["/up"] = Answer(201)
    file = io.BytesIO(b"skip this, send that")
    file.seek(11)
    assert request("PUT", web.url + "/up", body=file).status == 201
    assert web.asked[0].body == b"send that"


def test_login_in_the_address(web: Web) -> None:
    web.answers["/p"] = Answer()
    request("GET", f"http://me:p%40ss@127.0.0.1:{web.port}/p")
    assert web.asked[0].headers["authorization"] == "Basic bWU6cEBzcw=="


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_for_get(web: Web, status: int) -> None:
    web.answers["/from"] = Answer(status, headers={"Location": "to?x=1"})
    web.answers["/to?x=1"] = Answer(body=b"there")
    assert request("GET", web.url + "/from").body == b"there"
    assert request("POST", web.url + "/from", body=b"").status == status


def test_credentials_stay_with_their_origin(web: Web, other: Web) -> None:
    web.answers["/from"] = Answer(302, headers={"Location": other.url + "/to"})
    web.answers["/same"] = Answer(302, headers={"Location": "/end"})
    web.answers["/end"] = other.answers["/to"] = Answer()
    request("GET", web.url + "/from", headers={"Authorization": "Bearer t", "Cookie": "c=1", "X-Keep": "k"})
    assert "authorization" not in other.asked[0].headers
    assert "cookie" not in other.asked[0].headers
    assert other.asked[0].headers["x-keep"] == "k"
    request("GET", f"http://me:pw@127.0.0.1:{web.port}/same")
    assert web.asked[-1].path == "/end"
    assert "authorization" in web.asked[-1].headers
    request("GET", f"http://me:pw@127.0.0.1:{web.port}/from")
    assert "authorization" not in other.asked[-1].headers


def test_a_circle_of_redirects_ends(web: Web) -> None:
    web.answers["/a"] = Answer(302, headers={"Location": "/a"})
    with pytest.raises(MachineryError, match="redirects in a row"):
        request("GET", web.url + "/a")


def test_redirect_to_a_file_is_refused(web: Web) -> None:
    web.answers["/a"] = Answer(302, headers={"Location": "file:///etc/passwd"})
    with pytest.raises(UsageError, match="scheme `file`"):
        request("GET", web.url + "/a")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_nobody_there() -> None:
    with pytest.raises(Broken, match="Connection refused") as caught:
        request("GET", f"http://me:secret@127.0.0.1:{free_port()}/x?token=secret")
    assert "secret" not in str(caught.value)
    assert caught.value.where.startswith("http://127.0.0.1:")
    assert "whether the server is running" in caught.value.remedy


def test_unknown_host_is_not_worth_another_try() -> None:
    with pytest.raises(MachineryError, match="cannot be found") as caught:
        request("GET", "http://no-such-host.invalid/")
    assert not isinstance(caught.value, Broken)


def test_body_cut_short(web: Web) -> None:
    web.answers["/x"] = Answer(body=b"x" * 100, cut=60)
    with pytest.raises(Broken, match="40 bytes early"):
        request("GET", web.url + "/x")


@pytest.mark.parametrize("raw", [b"SSH-2.0-hello\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Le"])
def test_not_http(web: Web, raw: bytes) -> None:
    web.answers["/x"] = Answer(raw=raw)
    if raw.startswith(b"HTTP"):
        assert request("GET", web.url + "/x").body == b""
    else:
        with pytest.raises(Broken):
            request("GET", web.url + "/x")


def test_silence_is_timed_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(Broken, match="did not answer in time"):
            request("GET", f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout=0.2)


def test_answer_too_large(web: Web) -> None:
    web.answers["/x"] = Answer(body=b"x" * 2000)
    with pytest.raises(MachineryError, match="larger than 1000 bytes"):
        request("GET", web.url + "/x", limit=1000)


def test_early_refusal_of_an_upload_is_heard() -> None:
    """A server may refuse by the headers alone and hang up; the client must report the refusal."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            conversation, _ = listening.accept()
            with conversation:
                conversation.recv(1000)
                conversation.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno\n")
                conversation.shutdown(socket.SHUT_WR)
                while conversation.recv(65536):
                    pass

        thread = threading.Thread(target=refuse)
        thread.start()
        answer = request("PUT", f"http://127.0.0.1:{listening.getsockname()[1]}/", body=b"x" * 5_000_000)
        thread.join()
    assert (answer.status, answer.body) == (413, b"no\n")


def test_json_call(web: Web) -> None:
    web.answers["/api"] = lambda asked: Answer(body=json.dumps({"got": json.loads(asked.body)}).encode())
    assert fetch_json("POST", web.url + "/api", token="T", payload={"ü": 1}) == {"got": {"ü": 1}}
    assert web.asked[0].headers["authorization"] == "Bearer T"
    assert web.asked[0].headers["content-type"] == "application/json"
    web.answers["/none"] = Answer(204)
    assert fetch_json("POST", web.url + "/api", payload={"odd": "\udcff"}) == {"got": {"odd": "?"}}
    assert fetch_json("POST", web.url + "/none") is None
    assert web.asked[2].headers["content-length"] == "0"


@pytest.mark.parametrize(
    ("status", "extra", "kind"),
    [(400, {}, UsageError), (409, {}, WorkFailed), (503, {}, MachineryError), (400, {"exit": 1}, WorkFailed)],
)
def test_the_servers_own_words(
    web: Web, status: int, extra: dict[str, int], kind: type[FairleadError]
) -> None:
    told = {"what": "the diff is not accepted", "where": "D2", "remedy": "ask for a review", **extra}
    web.answers["/api"] = Answer(status, json.dumps(told).encode())
    with pytest.raises(kind) as caught:
        fetch_json("POST", web.url + "/api")
    error = caught.value
    assert (error.what, error.where, error.remedy) == ("the diff is not accepted", "D2", "ask for a review")


def test_refusals_without_words(web: Web) -> None:
    web.answers["/a?key=secret"] = Answer(401, b"<html>go away</html>")
    web.answers["/b"] = Answer(302, headers={"Location": "https://else.test/?k=secret"})
    web.answers["/c"] = Answer(200, b"<html>")
    with pytest.raises(UsageError, match="401 Unauthorized") as caught:
        fetch_json("GET", web.url + "/a?key=secret")
    assert "login" in caught.value.remedy
    assert "secret" not in str(caught.value)
    with pytest.raises(UsageError, match="302") as caught:
        fetch_json("POST", web.url + "/b")
    assert "https://else.test/" in caught.value.what
    assert "secret" not in str(caught.value)
    with pytest.raises(MachineryError, match="not JSON"):
        fetch_json("GET", web.url + "/c")


def test_needs_nothing_but_the_standard_library() -> None:
    """With -S there are no site packages to import from."""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-S", "-c", "import fairlead.net"], cwd=root, check=True)
