"""git's transport under strain: large packs, many pushers, old protocols, clients that go away."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.git import Repo
from fairlead.serve import gitserver
from fairlead.serve.records import jobs
from tests.serve.harness import Clone, Person, Site, seeded, site, wait_for

Team = tuple[Person, Person, Clone]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("transport") / "data", queue=False) as running:
        yield running


@pytest.fixture(scope="module")
def team(here: Site, tmp_path_factory: pytest.TempPathFactory) -> Team:
    return seeded(here, tmp_path_factory.mktemp("team"))


def children(here: Site) -> list[str]:
    """The processes that work in this site's data folder now: git's, as the server works elsewhere."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(process / "cwd").startswith(str(here.data)):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def test_a_large_pack_streams_through(here: Site, team: Team, tmp_path: Path) -> None:
    author, _, clone = team
    clone.repo.run("checkout", "-q", "-f", "-B", "big", here.trunk() or "")
    data = os.urandom(12 << 20)
    (clone.path / "big.bin").write_bytes(data)
    commit = clone.commit({}, "twelve megabytes")
    clone.submit()
    number = author.call("GET", f"/api/diffs?commit={commit}")[0]["number"]
    fetched = Clone.make(author, tmp_path / "other")
    assert fetched.fetch(f"refs/diffs/{number:02}/{number}/v1") == commit
    assert fetched.repo.run("show", f"{commit}:big.bin").out == data


def test_many_people_push_at_once(here: Site, team: Team, tmp_path: Path) -> None:
    clones = []
    for number in range(6):
        person = here.join(f"pusher{number}")
        clone = Clone.make(person, tmp_path / f"clone{number}")
        clone.repo.run("fetch", "-q", f"{here.url}/git/main", "main", env=person.environment())
        clone.repo.run("checkout", "-q", "FETCH_HEAD")
        for part in range(3):
            clone.commit({f"{number}-{part}.txt": "x\n"}, f"change {number}-{part}")
        clones.append(clone)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        said = list(pool.map(lambda clone: clone.push(), clones))
    assert [code for code, _ in said] == [0] * 6, said
    for clone in clones:
        mine = [d for d in clone.person.call("GET", "/api/diffs") if d["author"] == clone.person.name]
        assert len(mine) == 3
        assert clone.person.diff(mine[0]["number"])["stack"] == sorted(d["number"] for d in mine)
    numbers = [d["number"] for d in team[0].call("GET", "/api/diffs")]
    assert len(set(numbers)) == len(numbers)


def test_one_stack_pushed_twice_at_once_makes_one(here: Site, team: Team) -> None:
    author, _, clone = team
    clone.repo.run("checkout", "-q", "-f", "-B", "twice", here.trunk() or "")
    commit = clone.commit({"twice.txt": "x\n"}, "twice")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda _: clone.push(), range(2)))
    assert [code for code, _ in said] == [0, 0], said
    found = author.call("GET", f"/api/diffs?commit={commit}")
    assert len(found) == 1 and found[0]["latest"] == 1


@pytest.mark.parametrize("protocol", ["0", "1", "2"])
def test_every_protocol_clones_and_pushes(here: Site, team: Team, tmp_path: Path, protocol: str) -> None:
    person = here.join(f"old{protocol}")
    url, env = f"{here.url}/git/main.git", person.environment()
    path = tmp_path / "clone"
    setting = {"GIT_CONFIG_PARAMETERS": f"'protocol.version={protocol}'"}
    Repo.clone(url, path, env={**env, **setting})
    clone = Clone(person, path, Repo(path))
    for name in ("user.name", "user.email"):
        clone.repo.run("config", name, "old@localhost")
    clone.repo.run("config", "protocol.version", protocol)
    assert "refs/diffs" not in clone.repo.run("for-each-ref").text
    clone.commit({f"old{protocol}.txt": "x\n"}, "from an old client")
    clone.submit()


def test_a_shallow_clone_can_submit(here: Site, team: Team, tmp_path: Path) -> None:
    person = here.join("shallow")
    path = tmp_path / "clone"
    url = f"{here.url}/git/main"
    Repo.init_bare(tmp_path / "unused")
    subprocess.run(
        ["git", "clone", "-q", "--depth=1", url, str(path)],
        env={**os.environ, **person.environment()},
        check=True,
    )
    clone = Clone(person, path, Repo(path))
    for name in ("user.name", "user.email"):
        clone.repo.run("config", name, "shallow@localhost")
    clone.commit({"shallow.txt": "x\n"}, "from a shallow clone")
    clone.submit()


def test_a_client_that_goes_away_leaves_no_process_and_no_diff(here: Site, team: Team) -> None:
    author = team[0]
    basic = base64.b64encode(f"x:{author.token}".encode()).decode()
    before = here.repo.refs("refs/")
    link = http.client.HTTPConnection(here.url.removeprefix("http://"), timeout=20)
    link.putrequest("POST", "/git/main/git-receive-pack")
    link.putheader("Authorization", f"Basic {basic}")
    link.putheader("Content-Type", "application/x-git-receive-pack-request")
    link.putheader("Content-Length", "1000000")
    command = f"{'0' * 40} {'1' * 40} refs/for/main\0report-status\n".encode()
    pack = b"PACK\0\0\0\2\0\0\0\1"  # one object follows, or would
    link.endheaders(b"%04x" % (len(command) + 4) + command + b"0000" + pack)
    wait_for(lambda: children(here))
    link.close()
    wait_for(lambda: not children(here))
    assert here.repo.refs("refs/") == before
    assert list((here.data / "git" / "main.git" / "objects").glob("*incoming*")) == []
    with here.records.read() as c:
        assert jobs.push_intents(c) == []


def test_objects_that_git_calls_broken_are_refused(here: Site, team: Team) -> None:
    clone = team[2]
    clone.repo.run("checkout", "-q", "-f", "-B", "broken", here.trunk() or "")
    blob = clone.repo.run("hash-object", "-w", "--stdin", stdin=b"x").text
    tree = clone.repo.run("mktree", stdin=f"100644 blob {blob}\t.git\n".encode()).text
    commit = clone.repo.commit_tree(tree, [here.trunk() or ""], "evil\n\nDiff-Id: " + "a" * 26 + "\n")
    code, said = clone.push(f"{commit}:refs/for/main")
    assert code != 0 and "hasDotgit" in said


def test_the_hooks_see_nothing_of_the_server(here: Site) -> None:
    state = here.state
    assert state is not None
    os.environ["FAIRLEAD_SECRET_OF_A_TEST"] = "secret"
    try:
        from starlette.requests import HTTPConnection

        from fairlead.serve.pushes import Pushes
        from fairlead.serve.records import diffs

        pushes = Pushes(state)
        scope = {
            "type": "http", "method": "POST", "path": "/git/main/git-receive-pack", "root_path": "/git",
            "query_string": b"", "headers": [(b"authorization", b"Bearer x"), (b"cookie", b"y")],
        }  # fmt: skip
        with state.records.read() as c:
            hosted = diffs.repos(c)[0]
        server = gitserver.GitServer(state, pushes)
        env = server._environment(HTTPConnection(scope), hosted, None, "name", shown=False)
        pushes.close()
    finally:
        del os.environ["FAIRLEAD_SECRET_OF_A_TEST"]
    allowed = {
        "PATH", "LC_ALL", "HOME", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_GLOBAL", "GIT_PROJECT_ROOT",
        "GIT_HTTP_EXPORT_ALL", "PATH_INFO", "REQUEST_METHOD", "QUERY_STRING", "REMOTE_USER", "REMOTE_ADDR",
        "FAIRLEAD_PUSH", "FAIRLEAD_SOCKET",
    }  # fmt: skip
    assert set(env) == allowed
    assert not pushes.socket.parent.exists()


def test_a_hook_of_no_push_is_not_answered(here: Site, team: Team, tmp_path: Path) -> None:
    """Whoever reaches the socket still needs the name of a push that is running."""
    from fairlead.serve.pushes import Pushes

    assert here.state is not None
    pushes = Pushes(here.state)
    hook = here.data / "hooks" / "hook.py"
    zero, one = "0" * 40, here.trunk()
    env = {"FAIRLEAD_SOCKET": str(pushes.socket), "FAIRLEAD_PUSH": "guessed"}
    command = [sys.executable, "-I", "-S", str(hook), "pre-receive"]
    said = f"{zero} {one} refs/heads/main\n"
    done = subprocess.run(command, input=said, text=True, env=env, capture_output=True, check=False)
    pushes.close()
    assert done.returncode == 1 and "this push is not in progress here" in done.stderr


def test_what_ls_refs_asks_for() -> None:
    import gzip

    plain = b"0014command=ls-refs\n0001001dref-prefix refs/diffs/12/\n0000"
    assert gitserver._asks_for_hidden(plain, "")
    assert gitserver._asks_for_hidden(gzip.compress(plain), "gzip")
    assert not gitserver._asks_for_hidden(plain.replace(b"refs/diffs/12/", b"refs/heads/"), "")
    assert not gitserver._asks_for_hidden(b"0012command=fetch\nref-prefix refs/diffs/", "")
    assert not gitserver._asks_for_hidden(b"\x1f\x8bnot gzip", "gzip")


def test_git_requests_do_not_hold_up_others(here: Site, team: Team) -> None:
    """A slow push keeps a process busy, not the event loop."""
    author = team[0]
    basic = base64.b64encode(f"x:{author.token}".encode()).decode()
    links = []
    for _ in range(8):
        link = http.client.HTTPConnection(here.url.removeprefix("http://"), timeout=20)
        link.putrequest("POST", "/git/main/git-receive-pack")
        link.putheader("Authorization", f"Basic {basic}")
        link.putheader("Content-Type", "application/x-git-receive-pack-request")
        link.putheader("Content-Length", "1000000")
        link.endheaders(b"00")
        links.append(link)
    wait_for(lambda: len(children(here)) >= 8)
    began = time.monotonic()
    for _ in range(10):
        author.call("GET", "/api/me")
    assert time.monotonic() - began < 5
    for link in links:
        link.close()
    wait_for(lambda: not children(here))
