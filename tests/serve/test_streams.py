"""Live events, published files, and git's pkt-line as the hook speaks it."""

from __future__ import annotations

import http.client
import io
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import blake3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead import net
from fairlead.errors import FairleadError
from fairlead.serve import hook
from fairlead.serve.bus import Bus
from fairlead.serve.records import events
from fairlead.serve.state import Limits
from tests.serve.harness import Person, Site, site


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("streams")
    with site(folder / "data", queue=False, limits=Limits(artifact=2 << 20)) as running:
        yield running


@pytest.fixture(scope="module")
def author(here: Site) -> Person:
    return here.join("author")


def add(here: Site, kind: str) -> int:
    with here.records.write() as c:
        return events.append(c, kind, {"n": kind})


class Stream:
    """A browser's EventSource, as far as the wire goes."""

    def __init__(self, person: Person, **headers: str) -> None:
        self.link = http.client.HTTPConnection(person.url.removeprefix("http://"), timeout=20)
        head = {
            "Authorization": f"Bearer {person.token}",
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }
        self.link.request("GET", "/events", headers=head)
        self.answer = self.link.getresponse()
        assert self.answer.status == 200
        assert self.answer.headers["content-type"].startswith("text/event-stream")

    def next(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        while True:
            line = self.answer.readline().decode().rstrip("\n")
            if not line and "data" in fields:
                return fields
            name, _, value = line.partition(": ")
            fields[name] = value


def test_a_stream_says_what_happens_and_goes_on_where_it_was_cut_off(here: Site, author: Person) -> None:
    stream = Stream(author)
    time.sleep(0.2)
    one = add(here, "one")
    began = time.monotonic()
    got = stream.next()
    assert time.monotonic() - began < 2
    assert (got["id"], got["event"]) == (str(one), "one")
    assert json.loads(got["data"])["payload"] == {"n": "one"}
    stream.link.close()
    two, three = add(here, "two"), add(here, "three")
    again = Stream(author, Last_Event_ID=str(one))
    assert [again.next()["id"] for _ in range(2)] == [str(two), str(three)]
    again.link.close()


def test_polling_waits_for_news(here: Site, author: Person) -> None:
    last = add(here, "before")
    assert author.call("GET", f"/api/events?after={last}") == []
    threading.Timer(0.3, add, (here, "late")).start()
    began = time.monotonic()
    got: Any = author.call("GET", f"/api/events?after={last}&wait=10")
    assert [e["kind"] for e in got] == ["late"] and 0.2 < time.monotonic() - began < 5
    for bad in ("after=x", "after=-1", "wait=x", "after=99999999999999999999"):
        with pytest.raises(FairleadError, match=r"is not the number of an event|wait is a number"):
            author.call("GET", f"/api/events?{bad}")


def test_a_wake_up_is_not_lost_between_asking_and_waiting() -> None:
    bus = Bus()
    seen = bus.count
    bus.wake()
    began = time.monotonic()
    bus.wait(seen, 10)  # it came before the wait
    bus.close()
    bus.wait(bus.count, 10)  # closed: nobody waits any more
    assert time.monotonic() - began < 1


# --- artifacts -------------------------------------------------------------------------------------


def put(person: Person, data: bytes, digest: str | None = None, name: str = "tool") -> net.Response:
    path = f"/a/{digest or blake3.blake3(data).hexdigest()}/{name}"
    return net.request(
        "PUT", person.url + path, headers={"Authorization": f"Bearer {person.token}"}, body=data
    )


def test_a_published_file_is_served_to_anyone_by_its_digest(here: Site, author: Person) -> None:
    data = os.urandom(1_500_000)
    first = put(author, data)
    document = json.loads(first.body)
    assert first.status == 201 and document["size"] == len(data)
    assert put(author, data).status == 200
    whole = net.request("GET", document["url"])
    assert whole.body == data
    assert "immutable" in whole.headers["cache-control"]
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in whole.headers["content-security-policy"]
    part = net.request("GET", document["url"], headers={"Range": "bytes=10-19"})
    assert part.status == 206 and part.body == data[10:20]
    tail = net.request("GET", document["url"], headers={"Range": "bytes=-5"})
    assert tail.body == data[-5:]
    head = net.request("HEAD", document["url"])
    assert head.status == 200 and head.headers["content-length"] == str(len(data)) and head.body == b""
    assert put(author, data, name="other").status == 201
    assert net.request("GET", f"{here.url}/a/{document['digest']}/third").status == 404


def test_what_does_not_fit_is_refused_and_leaves_nothing(here: Site, author: Person) -> None:
    def count() -> int:
        return len([p for p in (here.data / "artifacts").rglob("*") if p.is_file()])

    before = count()
    wrong = put(author, b"bytes", digest="0" * 64)
    assert wrong.status == 400 and blake3.blake3(b"bytes").hexdigest().encode() in wrong.body
    assert put(author, b"bytes", digest="0" * 63).status == 400
    assert put(author, b"bytes", digest="Z" * 64).status == 400
    assert put(author, b"bytes", name=".hidden").status == 400
    assert put(author, b"bytes", name="a%2f..%2fb").status in (400, 404)
    assert put(author, b"\0" * ((2 << 20) + 1)).status == 413
    nobody = Person(here.url, "nobody", "wrong")
    assert put(nobody, b"bytes").status == 401
    assert count() == before


def test_an_upload_longer_than_it_said_or_cut_off_leaves_nothing(here: Site, author: Person) -> None:
    data = os.urandom(3 << 20)

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(data), 65536):
            yield data[start : start + 65536]

    digest = blake3.blake3(data).hexdigest()
    link = http.client.HTTPConnection(here.url.removeprefix("http://"), timeout=20)
    head = {"Authorization": f"Bearer {author.token}", "Transfer-Encoding": "chunked"}
    try:
        link.request("PUT", f"/a/{digest}/tool", body=chunks(), headers=head, encode_chunked=True)
        assert link.getresponse().status == 413
    except (ConnectionError, http.client.HTTPException):
        pass  # it closed the connection while we still sent
    link.close()
    cut = http.client.HTTPConnection(here.url.removeprefix("http://"), timeout=20)
    cut.putrequest("PUT", f"/a/{digest}/tool")
    cut.putheader("Authorization", f"Bearer {author.token}")
    cut.putheader("Content-Length", "2000000")
    cut.endheaders(data[:1_200_000])
    time.sleep(0.3)
    cut.close()
    end = time.monotonic() + 10
    while list((here.data / "artifacts").glob(".tmp-*")):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert net.request("GET", f"{here.url}/a/{digest}/tool").status == 404


# --- pkt-line --------------------------------------------------------------------------------------


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\0"), min_size=1), max_size=5
    )
)
def test_sections_survive_the_wire(lines: list[str]) -> None:
    wire = io.BytesIO(b"".join(hook.packet(line) for line in lines) + b"0000rest")
    assert hook.read_section(wire) == lines
    assert wire.read() == b"rest"


def test_a_wire_that_ends_early_is_noticed() -> None:
    for bad in (b"", b"00", b"000aab", b"0008abc"):
        with pytest.raises(EOFError):
            hook.read_section(io.BytesIO(bad))
    with pytest.raises(ValueError):
        hook.read_packet(io.BytesIO(b"0003"))


def test_another_version_of_the_protocol_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    read, write = io.BytesIO(hook.packet("version=2\0push-options") + b"0000"), io.BytesIO()
    assert hook.proc_receive(read, write) == 1
    assert "knows version=1" in capsys.readouterr().err and write.getvalue() == b""


def test_without_a_server_the_hook_refuses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAIRLEAD_SOCKET", str(tmp_path / "none"))
    zero, one = "0" * 40, "1" * 40
    wire = hook.packet("version=1\0push-options atomic") + b"0000"
    wire += hook.packet(f"{zero} {one} refs/for/main") + b"0000" + hook.packet("note=x") + b"0000"
    write = io.BytesIO()
    assert hook.proc_receive(io.BytesIO(wire), write) == 0
    answer = io.BytesIO(write.getvalue())
    assert hook.read_section(answer) == ["version=1\0push-options"]
    assert hook.read_section(answer) == ["ng refs/for/main the server could not be asked"]
