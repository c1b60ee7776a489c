"""Clients that are slow on purpose hold nothing for long, and those that are slow by nature come through."""

from __future__ import annotations

import base64
import os
import socket
import time
from collections.abc import Iterator

import blake3
import pytest

from fairlead import net
from fairlead.serve.connection import Connection
from fairlead.serve.records import events
from fairlead.serve.state import Limits
from tests.serve.harness import Clone, Person, Site, seeded, site, wait_for
from tests.serve.test_transport import children

PATIENCE = 1.0  # seconds
SLOWEST = 4 << 10

Team = tuple[Person, Person, Clone]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    limits = Limits(patience=PATIENCE, slowest=SLOWEST)
    with site(tmp_path_factory.mktemp("pace") / "data", queue=False, limits=limits, pages=True) as running:
        yield running


@pytest.fixture(scope="module")
def team(here: Site, tmp_path_factory: pytest.TempPathFactory) -> Team:
    return seeded(here, tmp_path_factory.mktemp("team"))


def dial(here: Site, *, window: int = 0) -> socket.socket:
    """A connection; with `window` one that takes in no more than about so many bytes unread."""
    host, _, port = here.url.removeprefix("http://").partition(":")
    made = socket.socket()
    if window:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    made.settimeout(20)
    made.connect((host, int(port)))
    return made


def rest(link: socket.socket) -> bytes:
    """What still comes until the other side ends the connection."""
    data = b""
    try:
        while chunk := link.recv(1 << 16):
            data += chunk
    except ConnectionError:
        pass
    return data


def post(path: str, size: int, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: here", f"Content-Length: {size}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def trickle(link: socket.socket, seconds: float) -> bytes:
    """Send a byte each tenth of a second; the answer, which has to come long before the body is whole."""
    end = time.monotonic() + seconds
    link.settimeout(0.1)
    try:
        while time.monotonic() < end:
            link.send(b" ")
            try:
                first = link.recv(1 << 16)
            except TimeoutError:
                continue
            link.settimeout(20)
            return first + rest(link)
    except ConnectionError:
        return b""
    raise AssertionError("the server waited on")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/api/tokens", "application/json"),
        ("/api/invitations/code", "application/json"),
        ("/sign-in", "application/x-www-form-urlencoded"),
    ],
)
def test_a_body_that_trickles_in_is_given_up(here: Site, path: str, kind: str) -> None:
    with dial(here) as link:
        link.sendall(post(path, 60_000, f"Content-Type: {kind}"))
        answer = trickle(link, 10)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"came too slowly" in answer
    assert b"\r\nconnection: close\r\n" in answer.lower()


def test_a_slow_line_comes_through(here: Site) -> None:
    """Three times the patience, at twice the least speed."""
    body = b'{"name": "author", "password": "' + b"x" * 16_000 + b'"}'
    with dial(here) as link:
        link.sendall(post("/api/tokens", len(body), "Content-Type: application/json", "Connection: close"))
        for start in range(0, len(body), 1000):
            link.sendall(body[start : start + 1000])
            time.sleep(1000 / (2 * SLOWEST))
        assert rest(link).startswith(b"HTTP/1.1 401 ")


def test_an_upload_that_stops_leaves_nothing(here: Site, team: Team) -> None:
    digest = blake3.blake3(b"x" * 5000).hexdigest()
    head = f"PUT /a/{digest}/tool HTTP/1.1\r\nHost: here\r\nContent-Length: 5000\r\n"
    with dial(here) as link:
        link.sendall(f"{head}Authorization: Bearer {team[0].token}\r\n\r\n".encode() + b"x" * 100)
        assert rest(link).startswith(b"HTTP/1.1 408 ")
    assert list((here.data / "artifacts").glob(".tmp-*")) == []


def test_a_push_that_stops_gives_its_slot_back(here: Site, team: Team) -> None:
    basic = base64.b64encode(f"x:{team[0].token}".encode()).decode()
    kind = "Content-Type: application/x-git-receive-pack-request"
    with dial(here) as link:
        link.sendall(post("/git/main/git-receive-pack", 9000, kind, f"Authorization: Basic {basic}") + b"00")
        wait_for(lambda: children(here))
        wait_for(lambda: not children(here), 10)


def test_an_answer_that_nobody_takes_is_cut_off(here: Site, team: Team) -> None:
    data = os.urandom(12 << 20)
    digest = blake3.blake3(data).hexdigest()
    headers = {"Authorization": f"Bearer {team[0].token}"}
    assert net.request("PUT", f"{here.url}/a/{digest}/big", headers=headers, body=data).status == 201
    with dial(here, window=4096) as link:
        link.sendall(f"GET /a/{digest}/big HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        time.sleep(4 * PATIENCE)
        assert len(rest(link)) < len(data)
    assert net.request("GET", f"{here.url}/a/{digest}/big").body == data


def test_a_clone_that_nobody_takes_ends_git(here: Site, team: Team) -> None:
    author, _, clone = team
    (clone.path / "big.bin").write_bytes(os.urandom(12 << 20))
    commit = clone.commit({}, "twelve megabytes")
    clone.submit()
    basic = base64.b64encode(f"x:{author.token}".encode()).decode()
    want = f"want {commit}\n"
    body = f"{len(want) + 4:04x}{want}00000009done\n".encode()
    kind = "Content-Type: application/x-git-upload-pack-request"
    with dial(here, window=4096) as link:
        link.sendall(
            post("/git/main/git-upload-pack", len(body), kind, f"Authorization: Basic {basic}") + body
        )
        wait_for(lambda: children(here))
        wait_for(lambda: not children(here), 10)
        assert len(rest(link)) < 12 << 20


def test_the_head_of_a_request_has_to_come_too(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "head", PATIENCE)
    with dial(here) as silent, dial(here) as half:
        half.sendall(b"GET /healthz HT")
        assert rest(silent) == rest(half) == b""
    with dial(here) as second:
        second.sendall(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
        assert second.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        second.sendall(b"GET /healthz HT")
        assert rest(second).count(b"HTTP/1.1 ") == 0


def test_a_body_that_was_answered_early_is_not_read_for_ever(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "head", PATIENCE)
    with dial(here) as link:
        link.sendall(post("/api/me", 60_000, "Content-Type: application/json"))
        assert link.recv(1 << 16).startswith(b"HTTP/1.1 405 ")
        assert trickle(link, 10) in (b"", b"Method Not Allowed")  # what was not yet read of the answer


def test_waiting_for_news_is_not_slowness(here: Site, team: Team) -> None:
    """Live pages and workers wait for us, not we for them."""
    worker = here.worker("patient")
    began = time.monotonic()
    assert worker.lease(3 * PATIENCE) is None and time.monotonic() - began >= 2.5 * PATIENCE
    with dial(here) as link:
        link.sendall(
            f"GET /events HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {team[0].token}\r\n\r\n".encode()
        )
        time.sleep(3 * PATIENCE)
        with here.records.write() as c:
            events.append(c, "late.news", {})
        seen = b""
        while b"late.news" not in seen:
            chunk = link.recv(1 << 16)
            assert chunk, seen
            seen += chunk
