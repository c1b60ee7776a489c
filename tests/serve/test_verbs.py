"""`fairlead serve` and `fairlead people` as a person types them, and the worker process beside the server."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import stat
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fairlead import cli, net
from fairlead.errors import FairleadError
from fairlead.serve.local_worker import LocalWorker
from fairlead.serve.records import people
from fairlead.ship.values import Settings
from tests.serve.harness import PASSWORD, process, site, wait_for


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def fairlead(*arguments: str) -> Done:
    """Run a command in this process, which saves starting Python anew for each."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(list(arguments))
    return Done(code, out.getvalue(), err.getvalue())


def test_people_are_invited_while_the_server_runs(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    with process(tmp_path / "data") as here:
        assert "nobody has an account yet: fairlead people invite NAME" in (tmp_path / "data.log").read_text()
        done = fairlead("people", "invite", "author", "--data", data)
        assert done.returncode == 0 and done.stdout.startswith(f"{here.url}/invite/"), done.stderr
        code = done.stdout.strip().rpartition("/")[2]
        answer: Any = net.fetch_json(
            "POST", f"{here.url}/api/invitations/{code}", payload={"password": PASSWORD}
        )
        assert answer["person"] == "author"
        second = json.loads(fairlead("people", "invite", "reviewer", "--data", data, "--json").stdout)
        assert second["schema"] == "fairlead.people/1" and second["name"] == "reviewer"
        again = fairlead("people", "invite", "author", "--data", data)
        assert again.returncode == 2 and "has an account already" in again.stderr
        bad = fairlead("people", "invite", "../x", "--data", data)
        assert bad.returncode == 2 and "cannot be a person's name" in bad.stderr
        code = fairlead("people", "enrol-worker", "--data", data).stdout.strip()
        from fairlead.keys.signer import Signer

        payload = {"name": "w", "public_key": Signer.generate().public.text()}
        net.fetch_json("POST", f"{here.url}/api/worker/register", token=code, payload=payload)
        listed = fairlead("people", "list", "--data", data).stdout
        assert listed == "person  author  administrator\nworker  w\n"
        assert fairlead("people", "revoke-worker", "w", "--data", data).returncode == 0
        assert fairlead("people", "revoke-worker", "w", "--data", data).returncode == 2
        shown = json.loads(fairlead("people", "list", "--data", data, "--json").stdout)
        assert (
            shown["people"] == [{"name": "author", "admin": True}] and shown["workers"][0]["revoked"] is True
        )


def test_a_lost_password_is_set_anew_by_a_link_that_works_once(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    with process(tmp_path / "data") as here:
        author = here.join("author", admin=True)
        done = fairlead("people", "reset", "author", "--data", data)
        assert done.returncode == 0 and done.stdout.startswith(f"{here.url}/invite/"), done.stderr
        link = done.stdout.strip()
        page = net.request("GET", link)
        assert page.status == 200 and b"Choose a new password" in page.body
        assert author.call("GET", "/api/me")["name"] == "author", "until the link is used all goes on"
        path = f"{here.url}/api/invitations/{link.rpartition('/')[2]}"
        answer: Any = net.fetch_json("POST", path, payload={"password": "another password"})
        assert answer["person"] == "author"
        with pytest.raises(FairleadError, match="unknown, expired or revoked"):
            author.call("GET", "/api/me")
        author.token = answer["token"]
        assert author.call("GET", "/api/me") == {
            "name": "author",
            "admin": True,
            "scopes": ["api", "git", "publish"],
        }
        sign_in = f"{here.url}/api/tokens"
        with pytest.raises(FairleadError, match="do not fit"):
            net.fetch_json("POST", sign_in, payload={"name": "author", "password": PASSWORD})
        net.fetch_json("POST", sign_in, payload={"name": "author", "password": "another password"})
        with pytest.raises(FairleadError, match="was used already"):
            net.fetch_json("POST", path, payload={"password": "a third password"})
        nobody = fairlead("people", "reset", "nobody", "--data", data)
        assert nobody.returncode == 2 and "nobody is called nobody here" in nobody.stderr


def test_wrong_usage_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = fairlead("people", "list", "--data", str(tmp_path))
    assert nothing.returncode == 2 and "start the server once: fairlead serve" in nothing.stderr
    for arguments in (["people", "invite"], ["people", "list", "x"]):
        with process_data(tmp_path) as data:
            done = fairlead(*arguments, "--data", data)
            assert done.returncode == 2 and "name" in done.stderr
    assert fairlead("serve", "--port", "70000").returncode == 2
    monkeypatch.setenv("FAIRLEAD_SERVE_ENFORCEMENT", "some")
    done = fairlead("serve", "--data", str(tmp_path / "x"), "--port", "0")
    assert done.returncode == 2 and "use one of none, landlock, namespace" in done.stderr
    monkeypatch.delenv("FAIRLEAD_SERVE_ENFORCEMENT")
    done = fairlead("serve", "--data", str(tmp_path / "x"), "--port", "0", "--repo", "../up", "--no-worker")
    assert done.returncode == 2 and "cannot be the name of a repository" in done.stderr
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = fairlead("serve", "--data", str(blocked / "data"), "--port", "0", "--no-worker")
    assert done.returncode == 3 and "Traceback" not in done.stderr, done.stderr


class process_data:
    """A data folder that only has a database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "some"

    def __enter__(self) -> str:
        from fairlead.serve.records import Records

        self.folder.mkdir(exist_ok=True)
        Records(self.folder / "fairlead.sqlite").close()
        return str(self.folder)

    def __exit__(self, *_: object) -> None:
        pass


def test_a_taken_port_is_said_plainly(tmp_path: Path) -> None:
    with process(tmp_path / "data") as here:
        port = here.url.rpartition(":")[2]
        done = fairlead("serve", "--data", str(tmp_path / "other"), "--port", port, "--no-worker")
        assert done.returncode == 3 and f"cannot listen on 127.0.0.1 port {port}" in done.stderr


def test_a_host_that_is_not_here_is_not_blamed_on_the_port(tmp_path: Path) -> None:
    for host in ("no-such-host.invalid", "192.0.2.1"):
        done = fairlead("serve", "--data", str(tmp_path / "x"), "--port", "0", "--host", host, "--no-worker")
        assert done.returncode == 3 and "give --host an address of this machine" in done.stderr


def test_a_folder_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / ".git").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    done = fairlead("serve", "--data", str(tmp_path), "--port", "0", "--no-worker")
    assert done.returncode == 2 and "holds something else: .git, notes.txt" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [".git", "notes.txt"]
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_the_data_folder_is_private(tmp_path: Path) -> None:
    with process(tmp_path / "data") as here:
        assert stat.S_IMODE(here.data.stat().st_mode) == 0o700
        assert stat.S_IMODE((here.data / "keys" / "server").stat().st_mode) == 0o600


FAKE = """\
#!{python}
import json, os, sys, time
code = sys.stdin.readline().strip()
with open({out!r}, "a") as out:
    told = [sys.argv[1:], dict(os.environ), os.getcwd(), code, os.getsid(0) == os.getpid()]
    out.write(json.dumps(told) + "\\n")
time.sleep(60 if os.path.exists({stay!r}) else 0)
"""


def test_the_local_worker_is_apart_and_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, stay = tmp_path / "out", tmp_path / "stay"
    fake = tmp_path / "python"
    fake.write_text(textwrap.dedent(FAKE.format(python=sys.executable, out=str(out), stay=str(stay))))
    fake.chmod(0o755)
    monkeypatch.setenv("FAIRLEAD_SECRET_OF_A_TEST", "secret")
    with site(tmp_path / "data", queue=False, settings=Settings(enforcement="none")) as here:
        assert here.state is not None
        local = LocalWorker(here.state, tmp_path / "data-worker", here.url, python=str(fake))
        local.start()
        wait_for(lambda: out.exists() and len(out.read_text().splitlines()) == 1)
        stay.touch()
        wait_for(lambda: len(out.read_text().splitlines()) == 2)
        local.stop()
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert len(rows) == 2 and rows[0][3] != rows[1][3]  # a fresh code each time
        arguments, env, folder, _, own_session = rows[0]
        assert arguments[:5] == ["-m", "fairlead", "worker", "--server", here.url]
        assert arguments[arguments.index("--state") + 1] == str(tmp_path / "data-worker")
        assert arguments[arguments.index("--sandbox") + 1] == "none"
        assert folder == "/" and own_session
        assert "secret" not in str(env)
        told = [*arguments, *env.values()]
        assert not [word for word in told if str(here.data) in word.replace("data-worker", "")]
        with here.records.read() as c:
            assert people.workers(c) == []


def test_a_worker_keeps_its_name_by_its_key_and_a_new_key_gets_another(tmp_path: Path) -> None:
    with site(tmp_path / "data", queue=False) as here:
        assert here.state is not None
        folder = tmp_path / "data-worker"
        folder.mkdir()
        local = LocalWorker(here.state, folder, here.url)
        assert local._name() == "local"
        known = here.worker("local")
        (folder / "key.pub").write_text(known.signer.public.text() + "\n")
        assert local._name() == "local"
        assert here.worker("local-2")
        (folder / "key.pub").unlink()
        assert local._name() == "local-3"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_once_ends_server_and_worker_in_good_order(
    tmp_path: Path, number: signal.Signals
) -> None:
    with process(tmp_path / "data", arguments=()) as here:
        assert here.process is not None
        here.process.send_signal(number)
        assert here.process.wait(30) == 0
    log = (tmp_path / "data.log").read_text()
    assert "Traceback" not in log, log
    left = [p for p in Path("/proc").glob("[0-9]*") if str(tmp_path) in command_of(p)]
    assert left == []


def command_of(process: Path) -> str:
    with contextlib.suppress(OSError):
        return (process / "cmdline").read_bytes().decode("utf-8", "replace")
    return ""
