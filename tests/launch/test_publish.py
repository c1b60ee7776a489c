"""Publishing: what is written runs at once, with us and with the real dotslash; else nothing is written."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import blake3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import FairleadError, MachineryError, UsageError
from fairlead.launch import manifest, publish
from fairlead.launch.manifest import Entry
from fairlead.store import atomic
from tests.launch.tools import HELLO, Run, finished, log_in, take_artifacts
from tests.net.web import Answer, Web
from tests.real_server import running


@pytest.fixture
def command(tmp_path: Path) -> Run:
    """`fairlead publish` in another process, in a folder of its own."""
    import sys

    (tmp_path / "here").mkdir()

    def run(*args: str | Path, **kwargs: Any) -> finished:
        argv = [sys.executable, "-m", "fairlead", "publish", *map(str, args)]
        return finished.of(argv, cwd=tmp_path / "here", **kwargs)

    return run


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "built-tool").write_bytes(HELLO)
    return tmp_path / "built-tool"


def zipapp() -> bytes:
    out = io.BytesIO(b"#!/usr/bin/env python3\n")
    out.seek(0, io.SEEK_END)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("__main__.py", "import sys; print('zipped', *sys.argv[1:])")
    return out.getvalue()


def test_what_is_published_runs(
    web: Web, tmp_path: Path, built: Path, command: Run, fairlead: Run, dotslash: Run
) -> None:
    address = take_artifacts(web, HELLO, "tool")
    log_in(web.url)
    done = command("--file", built, "--name", "tool", "--server", web.url)
    assert done.code == 0, done.err
    path = tmp_path / "here/tool"
    assert str(len(HELLO)) in done.out
    assert address in done.out
    assert path.stat().st_mode & 0o777 == 0o755
    assert path.read_text() == (
        "#!/usr/bin/env dotslash\n\n"
        + json.dumps(
            {
                "name": "tool",
                "platforms": {
                    manifest.host(): {
                        "size": len(HELLO),
                        "hash": "blake3",
                        "digest": blake3.blake3(HELLO).hexdigest(),
                        "path": "tool",
                        "providers": [{"url": address}],
                    }
                },
            },
            indent=2,
        )
        + "\n"
    )
    assert fairlead(path, "a").out == "hello a\n"
    assert dotslash(path, "b").out == "hello b\n"


def test_through_a_real_server(tmp_path: Path, fairlead: Run, dotslash: Run) -> None:
    """Its own address rules, tokens and answers; and a second publish of the same bytes sends nothing."""
    (tmp_path / "server").mkdir()
    with running(tmp_path / "server") as server:
        author = server.person("author")
        (author.clone / "built").write_bytes(zipapp())
        first = author.json("publish", "--file", "built", "--name", "tool", "--out", "bin/tool")
        again = author.json("publish", "--file", "built", "--name", "tool", "--out", "bin/tool")
        assert (first["uploaded"], again["uploaded"]) == (True, False)
        assert first["url"] == f"{server.url}/a/{first['blake3']}/tool"
        assert fairlead(author.clone / "bin/tool", "x").out == "zipped x\n"
        atomic.remove(tmp_path / "cache")
        assert dotslash(author.clone / "bin/tool", "y").out == "zipped y\n"
        refused = author.run("publish", "--file", "built", "--name", "a b", code=2)
        assert "cannot be the name of an artifact" in refused.stderr
        (author.home / ".local/state/fairlead/logins.json").unlink()
        assert "fairlead login" in author.run("publish", "--file", "built", code=2).stderr


def test_the_server_known_here_is_used_and_nothing_is_sent_twice(web: Web, built: Path, command: Run) -> None:
    take_artifacts(web, HELLO, "built-tool")
    log_in(web.url)
    first = json.loads(command("--json", "--file", built).out)
    second = json.loads(command("--json", "--file", built).out)
    assert (first["schema"], first["uploaded"], second["uploaded"]) == ("fairlead.publish/1", True, False)
    assert [asked.method for asked in web.asked].count("PUT") == 1
    assert first["manifest"] == "built-tool"


def test_a_zip_with_an_interpreter_line_runs_everywhere_but_on_windows(
    web: Web, tmp_path: Path, command: Run, fairlead: Run, dotslash: Run
) -> None:
    (tmp_path / "app").write_bytes(zipapp())
    take_artifacts(web, zipapp(), "app")
    log_in(web.url)
    done = command("--json", "--file", tmp_path / "app")
    assert json.loads(done.out)["platforms"] == list(publish.PORTABLE)
    parsed = manifest.parse((tmp_path / "here/app").read_bytes())
    assert len({repr(entry) for entry in parsed.platforms.values()}) == 1
    assert fairlead(tmp_path / "here/app", "x").out == "zipped x\n"
    assert dotslash(tmp_path / "here/app", "y").out == "zipped y\n"


def test_other_places_and_platforms(
    web: Web, tmp_path: Path, built: Path, command: Run, dotslash: Run
) -> None:
    web.answers["/files/tool-1.0"] = Answer(body=HELLO)
    where = ("--url", web.url + "/files/tool-1.0", "--out", tmp_path / "bin/tool")
    platforms = ("--platform", "linux-x86_64", "--platform", "linux-aarch64")
    done = command("--file", built, "--name", "tool", *where, *platforms)
    assert done.code == 0, done.err
    parsed = manifest.parse((tmp_path / "bin/tool").read_bytes())
    assert list(parsed.platforms) == ["linux-aarch64", "linux-x86_64"]
    assert [asked.method for asked in web.asked] == ["GET"]


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (Answer(body=HELLO.replace(b"hello", b"hallo")), 2, "the blake3 of the file is"),
        (Answer(body=HELLO + b"more"), 2, "larger than"),
        (Answer(body=HELLO[:-1]), 2, f"has {len(HELLO) - 1} bytes"),
        (Answer(404), 2, "404 Not Found"),
    ],
)
def test_an_address_that_serves_something_else(
    web: Web, tmp_path: Path, built: Path, command: Run, answer: Answer, code: int, said: str
) -> None:
    web.answers["/tool"] = answer
    (tmp_path / "here/tool").write_text("before")
    done = command("--file", built, "--name", "tool", "--url", web.url + "/tool")
    assert (done.code, done.out) == (code, "")
    assert "the address does not serve what is to be published" in done.err
    assert said in done.err
    assert f"where: {web.url}/tool" in done.err
    assert "what to do:" in done.err
    assert (tmp_path / "here/tool").read_text() == "before"
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["tool"]


def test_the_servers_refusal_is_told_in_its_words(
    web: Web, tmp_path: Path, built: Path, command: Run
) -> None:
    take_artifacts(web, HELLO, "tool")
    log_in(web.url, "another-token")
    done = command("--file", built, "--name", "tool")
    assert (done.code, done.out) == (2, "")
    assert "publishing needs a token" in done.err
    assert "token" not in done.err.replace("publishing needs a token", "")
    assert list((tmp_path / "here").iterdir()) == []


def test_wrong_usage(web: Web, tmp_path: Path, built: Path, command: Run) -> None:
    (tmp_path / "empty").write_bytes(b"")
    url = ("--url", web.url + "/x")
    web.answers["/x"] = Answer(body=HELLO)
    for args, said in (
        ((), "name what to publish"),
        (("//:a", "--file", built), "name what to publish"),
        (("--file", tmp_path / "none", *url), "No such file"),
        (("--file", tmp_path, *url), "Is a directory"),
        (("--file", tmp_path / "empty", *url), "is empty"),
        (("--file", built, "--name", "a/b", *url), "has a slash"),
        (("--file", built, "--name", "", "--name", "..", *url), "leads to a parent"),
        (("--file", built, *url, "--platform", "linux-x86-64"), "did you mean linux-x86_64"),
        (("--file", built, *url, "--out", tmp_path), "a folder has that name"),
        (("--file", built, "--url", "example.com/x"), "no scheme"),
        (("--file", built), "no server is known"),
        (("--file", built, "--server", web.url), "not logged in"),
    ):
        done = command(*args)
        assert (done.code, done.out) == (2, ""), done.err
        assert said in done.err
        assert "what to do:" in done.err
    assert list((tmp_path / "here").iterdir()) == []


def test_nobody_listens(built: Path, command: Run) -> None:
    log_in("http://127.0.0.1:9")
    done = command("--file", built, "--server", "http://127.0.0.1:9")
    assert done.code == 3
    assert "no connection" in done.err


def test_the_room_alone(web: Web, tmp_path: Path, built: Path) -> None:
    """The function under the verb, with errors as values."""
    web.answers["/x"] = [Answer(503, headers={"Retry-After": "999"}), Answer(body=HELLO)]
    with pytest.raises(MachineryError, match="503"):
        publish.publish(built, name="x", out=tmp_path / "x", url=web.url + "/x")
    made = publish.publish(built, name="x", out=tmp_path / "x", url=web.url + "/x")
    assert (made.size, made.uploaded, made.platforms) == (len(HELLO), False, (manifest.host(),))
    with pytest.raises(UsageError, match="no platform"):
        publish.publish(built, name="x", out=tmp_path / "y", url=web.url + "/x", platforms=["amiga"])
    with pytest.raises(FairleadError, match="cannot write"):
        publish.publish(built, name="x", out=built / "x", url=web.url + "/x")


paths = st.lists(
    st.text(st.characters(categories=["L", "N"], include_characters="-_. "), min_size=1), min_size=1
)
entries = st.builds(
    Entry,
    size=st.integers(0, 2**64 - 1),
    hash=st.sampled_from(manifest.HASHES),
    digest=st.text("0123456789abcdef", min_size=64, max_size=64),
    format=st.sampled_from(["", *manifest.FORMATS]),
    path=paths.map("/".join).filter(lambda path: not manifest.path_problem(path)),
    providers=st.lists(st.fixed_dictionaries({"url": st.text()}), max_size=3),
    arg0=st.sampled_from(manifest.ARG0),
    readonly=st.booleans(),
    providers_order=st.sampled_from(manifest.ORDERS),
)


@given(name=st.text(), made=st.dictionaries(st.sampled_from(manifest.PLATFORMS), entries))
def test_what_is_rendered_is_read_back(name: str, made: dict[str, Entry]) -> None:
    parsed = manifest.parse(publish.render(name, made))
    assert (parsed.name, parsed.platforms) == (name, made)
