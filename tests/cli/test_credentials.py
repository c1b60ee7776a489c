"""Where tokens are kept, which server they go to, and that they show up nowhere else."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fairlead.cli import client, credentials, git_credential
from fairlead.cli.credentials import Login
from fairlead.errors import FairleadError, UsageError
from fairlead.git import Repo

SECRET = "s3cret-token"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAIRLEAD_STATE_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "home"


@pytest.fixture
def clone(tmp_path: Path) -> Repo:
    folder = tmp_path / "clone"
    folder.mkdir()
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return Repo(folder)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("HTTPS://Review.Example.org/", "https://review.example.org"),
        ("https://review.example.org:443", "https://review.example.org"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://[::1]:80/sub/", "http://[::1]/sub"),
        (" https://h/a/b/ ", "https://h/a/b"),
    ],
)
def test_one_spelling_of_an_address(typed: str, kept: str) -> None:
    assert credentials.address(typed) == kept
    assert credentials.address(kept) == kept


@pytest.mark.parametrize(
    "typed", ["review.example.org", "ftp://h", "http://", "", "http://h:99999", "http://h?x=1"]
)
def test_what_is_no_address(typed: str) -> None:
    with pytest.raises(UsageError) as told:
        credentials.address(typed)
    assert told.value.remedy


def test_an_address_with_a_password_is_refused_and_not_repeated() -> None:
    for url in (f"https://name:{SECRET}@h/", f"ftp://name:{SECRET}@h/"):
        with pytest.raises(UsageError) as told:
            credentials.address(url)
        assert SECRET not in str(told.value)


def test_tokens_are_kept_for_the_owner_alone(home: Path) -> None:
    credentials.save(Login("http://a", "author", SECRET))
    credentials.save(Login("http://b", "author", "other"))
    assert stat.S_IMODE(credentials.file().stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert credentials.find("http://a") == Login("http://a", "author", SECRET)
    assert SECRET not in repr(credentials.load())
    assert credentials.forget("http://a") and not credentials.forget("http://a")
    assert list(credentials.load()) == ["http://b"]


def test_a_file_that_others_may_read_is_refused() -> None:
    credentials.save(Login("http://a", "author", SECRET))
    credentials.file().chmod(0o640)
    with pytest.raises(UsageError, match="read by others") as told:
        credentials.load()
    assert "chmod 600" in told.value.remedy and SECRET not in str(told.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 2, "logins": {}}', '{"format": 1, "logins": [1]}']
)
def test_a_damaged_file(text: str) -> None:
    credentials.save(Login("http://a", "author", SECRET))
    credentials.file().write_text(text)
    with pytest.raises(UsageError, match="damaged"):
        credentials.load()


def test_which_server(clone: Repo) -> None:
    with pytest.raises(UsageError, match="no server is known") as told:
        client.connect(None, clone)
    assert "fairlead login" in told.value.remedy
    credentials.save(Login("http://a", "author", SECRET))
    assert client.connect(None, clone).url == "http://a", "the only one"
    credentials.save(Login("http://b", "author", SECRET))
    with pytest.raises(UsageError, match="which server") as told:
        client.connect(None, clone)
    assert "http://a, http://b" in told.value.where
    client.remember(clone, "http://b")
    assert client.connect(None, clone).url == "http://b", "the clone's"
    assert client.connect("http://A/", clone).url == "http://a", "the one that was named"
    with pytest.raises(UsageError, match="not logged in to http://c"):
        client.connect("http://c", clone)
    known = client.known("http://c", clone)
    assert known is not None and known.login is None


def ask(clone: Path, action: str, question: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "fairlead", "git-credential", action],
        cwd=clone, input=question, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent.parent)},
    )  # fmt: skip
    return done.stdout


def test_the_credential_helper(clone: Repo) -> None:
    credentials.save(Login("http://127.0.0.1:8080", "author", SECRET))
    question = "protocol=http\nhost=127.0.0.1:8080\n\n"
    assert ask(clone.path, "get", question) == f"username=author\npassword={SECRET}\n"
    assert ask(clone.path, "store", question + f"password={SECRET}\n") == ""
    assert ask(clone.path, "erase", question) == ""
    assert credentials.find("http://127.0.0.1:8080"), "git may not erase a login"
    for other in ("http\nhost=127.0.0.1:8081", "https\nhost=127.0.0.1:8080", "http\nhost=evil"):
        assert ask(clone.path, "get", f"protocol={other}\n\n") == ""
    assert ask(clone.path, "get", question.rstrip() + "\nusername=other\n\n") == ""
    assert ask(clone.path, "get", "") == ask(clone.path, "get", "host=x\n\n") == ""


def test_the_helper_prefers_the_closest_address() -> None:
    credentials.save(Login("http://h", "author", "outer"))
    credentials.save(Login("http://h/team", "author", "inner"))
    found = git_credential.find({"protocol": "http", "host": "h", "path": "team/git/main"})
    assert found is not None and found.token == "inner"
    found = git_credential.find({"protocol": "http", "host": "h", "path": "teams/git/main"})
    assert found is not None and found.token == "outer"


def test_gits_child_gets_the_token_for_one_address_and_in_no_argument(clone: Repo) -> None:
    environment = client.git_environment("http://127.0.0.1:1", "author", SECRET)
    settings = clone.run(
        "config", "--get-urlmatch", "http.extraHeader", "http://127.0.0.1:1/git/main", env=environment
    )
    assert settings.text.startswith("Authorization: Basic ")
    elsewhere = clone.run(
        "config",
        "--get-urlmatch",
        "http.extraHeader",
        "http://127.0.0.2:1/git/main",
        env=environment,
        check=False,
    )
    assert elsewhere.code != 0
    with pytest.raises(FairleadError) as told:
        clone.run("fetch", "http://127.0.0.1:1/git/main", env=environment)
    assert SECRET not in str(told.value) and settings.text.split()[-1] not in str(told.value)


@pytest.mark.parametrize(("text", "number"), [("D12", 12), ("d1", 1), ("7", 7)])
def test_names_of_diffs(text: str, number: int) -> None:
    assert client.diff_number(text) == number


@pytest.mark.parametrize("text", ["", "D", "D0", "X1", "D1x", "-1", "D²", "D" + "9" * 13])
def test_what_is_no_name_of_a_diff(text: str) -> None:
    with pytest.raises(UsageError, match="not a diff"):
        client.diff_number(text)


@pytest.mark.parametrize("answer", [None, [], "x", 3])
def test_an_answer_of_another_shape_is_an_error_not_a_traceback(answer: object) -> None:
    with pytest.raises(FairleadError, match="understands"):
        client.mapping(answer, "/api/x")
    with pytest.raises(FairleadError, match="understands"):
        client.listing({"rows": answer}, "/api/x")
    for read in (client.text_of, client.number_of):
        with pytest.raises(FairleadError, match="understands"):
            read({"n": True}, "n", "/api/x")
