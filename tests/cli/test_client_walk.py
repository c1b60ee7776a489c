"""login, submit, review and land against a real server (no worker: nothing is tested or lands here)."""

from __future__ import annotations

import itertools
import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real_server import Person, RealServer, running

NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    with running(tmp_path_factory.mktemp("server")) as made:
        admin = made.person("admin")
        admin.commit({"numbers.txt": "".join(f"{n}\n" for n in range(1, 21))}, "Base")
        admin.git("push", "--quiet", f"{made.url}/git/main", "HEAD:refs/heads/main")
        yield made


@pytest.fixture
def author(server: RealServer) -> Person:
    return newcomer(server, "author")


@pytest.fixture
def reviewer(server: RealServer) -> Person:
    return newcomer(server, "reviewer")


def newcomer(server: RealServer, role: str) -> Person:
    """A person in a fresh clone, on a branch of their own."""
    person = server.person(f"{role}-{next(NUMBERS)}")
    person.git("fetch", "--quiet", f"{server.url}/git/main", "refs/heads/main")
    person.git("switch", "--quiet", "-c", "work", "FETCH_HEAD")
    return person


def rows(answer: dict[str, object]) -> list[tuple[object, object]]:
    diffs = answer["diffs"]
    assert isinstance(diffs, list)
    return [(row["number"], row["version"]) for row in diffs]


def test_a_stack_its_second_version_and_a_comment(
    server: RealServer, author: Person, reviewer: Person
) -> None:
    author.commit({"one.txt": "one\n"}, "One")
    author.commit({"numbers.txt": "".join(f"{n}\n" for n in [*range(1, 7), "seven", *range(8, 21)])}, "Two")
    before = author.git("rev-parse", "HEAD")
    sent = author.json("submit")
    (one, _), (two, _) = rows(sent)
    assert rows(sent) == [(one, 1), (two, 1)] and sent["before"] == before
    assert author.git("rev-parse", "HEAD") == sent["after"] != before
    assert author.git("rev-parse", "HEAD@{1}") == before
    assert author.git("status", "--porcelain") == ""
    assert server.diff(author, int(str(two)))["stack"] == [one, two]

    assert author.json("submit") == {**sent, "before": sent["after"]}, "a second run changes nothing"

    said = reviewer.json(
        "review", f"D{two}", "comment", "--path", "numbers.txt", "--line", "7", "-m", "why?", "--must-fix"
    )
    assert str(said["url"]).startswith(f"{server.url}/D{two}#p-")
    posts = server.diff(author, int(str(two)))["posts"]
    assert isinstance(posts, list)
    inline = next(p for p in posts if p["kind"] == "inline")
    assert (inline["anchor"]["path"], inline["anchor"]["start"], inline["anchor"]["side"]) == (
        "numbers.txt",
        7,
        "new",
    )
    assert inline["thread"]["must_fix"] is True
    thread = str(said["id"])
    unnamed = author.run("review", f"D{two}", "done", code=2)
    assert "--reply POST" in unnamed.stderr
    settled = author.json("review", f"D{two}", "done", "--reply", thread, "-m", "Explained now.")
    assert settled["state"] == "done" and settled["thread"] == thread
    assert author.json("review", f"D{two}", "reopen", "--reply", f"p-{thread}")["state"] == "open"

    author.commit({"two.txt": "two\n"}, "", amend=True)
    assert rows(author.json("submit", "-m", "explained\nin two.txt")) == [(one, 1), (two, 2)]
    again = author.json("submit", "--dry-run")
    planned, known = again["commits"], sent["diffs"]
    assert isinstance(planned, list) and isinstance(known, list)
    assert again["dry_run"] and [c["diff_id"] for c in planned] == [d["diff_id"] for d in known]

    refused = author.run("land", f"D{two}", "--stack", code=1)
    assert f"D{one} may not land yet" in refused.stderr and "what to do" in refused.stderr
    reviewer.run("review", f"D{one}", "accept")
    assert server.diff(author, int(str(one)))["state"] == "accepted"
    stale = reviewer.json("review", f"D{two}", "accept", "--version", "1", "-m", "-")
    assert stale["version"] == 1 and server.diff(author, int(str(two)))["state"] != "accepted"
    asked = reviewer.run("review", f"D{two}", "request", "-m", "please explain")
    assert asked.stdout.startswith(f"asked for changes to D{two} v2  {server.url}/D{two}#p-")
    assert server.diff(author, int(str(two)))["state"] == "changes_requested"

    waited = author.run("land", f"D{one}", "--wait", "--timeout", "1", code=1)
    assert f"still waiting for D{one}" in waited.stderr and f"D{one} queued" in waited.stderr


def test_what_the_server_refuses_reads_as_if_it_happened_here(author: Person, reviewer: Person) -> None:
    author.commit({"a.txt": "a\n"}, "Mine")
    author.run("submit")
    author.git("push", "--quiet", str(reviewer.clone), "HEAD:refs/heads/theirs")
    reviewer.git("switch", "--quiet", "theirs")
    reviewer.commit({"b.txt": "b\n"}, "", amend=True)
    told = reviewer.run("submit", code=1)
    lines = told.stderr.splitlines()
    assert [line.split(":")[0].strip() for line in lines] == ["error", "where", "what to do"]
    assert f"belongs to {author.name}" in lines[0] and "Diff-Id" in lines[2]
    error = json.loads(reviewer.run("submit", "--json", code=1).stderr)
    assert error["exit"] == 1 and error["remedy"] and author.name in error["what"]


def test_a_push_straight_to_the_trunk_is_refused_with_the_remedy(server: RealServer, author: Person) -> None:
    author.commit({"a.txt": "a\n"}, "Straight")
    done = subprocess.run(
        ["git", "push", f"{server.url}/git/main", "HEAD:refs/heads/main"],
        cwd=author.clone, env=author.environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode != 0 and "fairlead submit" in done.stderr


@pytest.mark.parametrize("point", ["submit.after-rewrite", "submit.after-branch", "submit.after-push"])
def test_a_kill_loses_nothing_and_doubles_nothing(server: RealServer, author: Person, point: str) -> None:
    tip = author.commit({"a.txt": point}, f"Killed at {point}")
    author.run("submit", code=-9, FAIRLEAD_CRASH_AT=point)
    moved = author.git("rev-parse", "HEAD") != tip
    assert moved == (point != "submit.after-rewrite")
    assert author.git("status", "--porcelain") == "" and author.git("fsck", "--strict", "--no-dangling") == ""
    assert (len(mine(server, author)) == 1) == (point == "submit.after-push")
    [(number, version)] = rows(author.json("submit"))
    assert version == 1 and [row["number"] for row in mine(server, author)] == [number]


def mine(server: RealServer, author: Person) -> list[dict[str, object]]:
    found = server.api(author, f"/api/diffs?author={author.name}")
    assert isinstance(found, list)
    return found


def test_bad_places_to_submit_from(author: Person, tmp_path: Path) -> None:
    def told(*words: str) -> str:
        return author.run("submit", *words, code=2).stderr

    assert "nothing to submit" in told()
    author.commit({"a.txt": "a\n"}, "One")
    (author.clone / "a.txt").write_text("changed\n")
    assert "not committed: a.txt" in told() and "--dirty" in told()
    author.run("submit", "--dirty")
    assert (author.clone / "a.txt").read_text() == "changed\n"
    author.git("checkout", "--quiet", "a.txt")
    assert "no repository 'other'" in told("--repo", "other")
    assert "land on main, not on release" in told("--to", "release")
    author.git("switch", "--quiet", "--detach")
    assert "not on a branch" in told() and "git switch -c" in told()
    author.clone = tmp_path
    assert "not inside a git work tree" in told()


def test_tokens_that_do_not_work(server: RealServer, author: Person) -> None:
    author.commit({"a.txt": "a\n"}, "One")
    author.run("login", server.url, "--token-stdin", stdin="no-such-token\n", code=2)
    assert author.json("submit")["diffs"], "a failed login changes nothing"
    logins = author.home / ".local/state/fairlead/logins.json"
    text = logins.read_text()
    secret = json.loads(text)["logins"][server.url]["token"]
    logins.write_text(text.replace(secret, "revoked-token"))
    told = author.run("submit", code=2)
    assert "revoked-token" not in told.stdout + told.stderr and "fairlead login" in told.stderr
    author.run("login", server.url, "--token-stdin", stdin=f"{secret}\n")
    assert author.json("submit")["diffs"]
    author.run(
        "login", server.url, "--name", author.name, "--password-stdin", stdin=f"{author.name}-password\n"
    )
    assert json.loads(logins.read_text())["logins"][server.url]["token"] not in (secret, "revoked-token")
    wrong = author.run(
        "login", server.url, "--name", author.name, "--password-stdin", stdin="wrong-password\n", code=2
    )
    assert "wrong-password" not in wrong.stderr
    author.run("login", server.url, "--logout")
    assert f"not logged in to {server.url}" in author.run("submit", code=2).stderr


def test_the_token_is_in_no_argument_and_no_file_of_the_clone(server: RealServer, author: Person) -> None:
    author.commit({"a.txt": "a\n"}, "One")
    trace = author.home / "trace"
    author.run("submit", GIT_TRACE=str(trace), GIT_TRACE2_EVENT="")
    logins = json.loads((author.home / ".local/state/fairlead/logins.json").read_text())
    secret = logins["logins"][server.url]["token"]
    seen = trace.read_text()
    assert "refs/for/main" in seen and secret not in seen and "Authorization" not in seen
    for path in (author.clone / ".git").rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes()


def test_plain_git_logs_in_by_the_helper(server: RealServer, author: Person) -> None:
    author.git("remote", "add", "fairlead", f"{server.url}/git/main")
    author.git("fetch", "--quiet", "fairlead")
    assert author.git("rev-parse", "fairlead/main")
    assert author.git("config", "fairlead.url") == server.url


def test_an_invitation_works_once_and_a_short_password_does_not(server: RealServer, author: Person) -> None:
    link = server.people("invite", "somebody")
    told = author.run("login", "--invite", link, "--password-stdin", stdin="short\n", code=2)
    assert "password" in told.stderr and "what to do" in told.stderr
    stranger = Person("somebody", author.home.parent / "somebody", author.clone)
    stranger.home.mkdir()
    made = stranger.run("login", "--invite", link, "--password-stdin", "--json", stdin="long-enough-1\n")
    assert json.loads(made.stdout)["person"] == "somebody"
    again = author.run("login", "--invite", link, "--password-stdin", stdin="long-enough-1\n", code=None)
    assert again.returncode in (1, 2) and "what to do" in again.stderr


def test_a_changed_server_key_stops_the_login(server: RealServer, author: Person) -> None:
    [known] = (author.home / ".local/state/fairlead/servers").iterdir()
    with urllib.request.urlopen(f"{server.url}/api/keys") as answer:
        assert known.read_bytes() == answer.read()
    other = "ssh-ed25519 " + "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
    known.write_text(f'server namespaces="fairlead-evidence" {other}\n')
    words = ("login", server.url, "--name", author.name, "--password-stdin")
    told = author.run(*words, stdin=f"{author.name}-password\n", code=2)
    assert "signs with another key" in told.stderr
    author.run(*words, "--accept-new-keys", stdin=f"{author.name}-password\n")
    assert other not in known.read_text()


def test_a_server_that_is_down(author: Person) -> None:
    author.commit({"a.txt": "a\n"}, "One")
    told = author.run("submit", "--server", "http://127.0.0.1:1", code=2)
    assert "not logged in" in told.stderr
    logins = author.home / ".local/state/fairlead/logins.json"
    known = json.loads(logins.read_text())
    known["logins"]["http://127.0.0.1:1"] = {"person": "x", "token": "t"}
    logins.write_text(json.dumps(known))
    told = author.run("submit", "--server", "http://127.0.0.1:1", code=3)
    assert "no connection to 127.0.0.1" in told.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["review", "D1", "comment"], "say something"),
        (["review", "D1", "request"], "say something"),
        (["review", "D1", "comment", "--path", "x", "-m", "y"], "a line needs its file"),
        (["review", "D1", "comment", "--line", "3", "-m", "y"], "a line needs its file"),
        (["review", "D1", "comment", "--path", "x", "--line", "0", "-m", "y"], "no span of lines"),
        (
            ["review", "D1", "comment", "--path", "x", "--line", "9", "--end", "3", "-m", "y"],
            "no span of lines",
        ),
        (["review", "D1", "accept", "--path", "x", "--line", "3"], "about the whole diff"),
        (["review", "1x", "accept"], "not a diff"),
        (["review", "D99999", "accept"], "no diff D99999"),
        (["review", "D1", "reject"], "knows no reject"),
        (["land", "D99999"], "no diff D99999"),
        (["land", "verify"], "takes a range"),
        (["land", "D1", "A..B"], "belong to verify"),
        (["login"], "which server?"),
        (["login", "http://h"], "a token or a name?"),
        (["login", "--invite", "http://h/join/x"], "not an invitation link"),
        (["login", "http://h", "--invite", "http://h/invite/x"], "is all it takes"),
        (["login", "http://h", "--token-stdin"], "no token"),
        (["login", "--logout"], "which server?"),
    ],
)
def test_wrong_words(server: RealServer, words: list[str], said: str, wordy: Person) -> None:
    told = wordy.run(*words, code=2)
    assert said in told.stderr and "what to do" in told.stderr


@pytest.fixture(scope="module")
def wordy(server: RealServer) -> Person:
    return newcomer(server, "wordy")
