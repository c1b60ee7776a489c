"""Submitted code that attacks: through the real worker and the real server, each attack refused and seen.

The attacks run as BUCK files, .bzl files, rules and tests of a diff that a reviewer accepted by mistake.
An attack script reports on its own log, one line an attack: `WON name` or `lost name`. The log is what the
diff's page shows, so these tests read it from the server, as a person would.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real_server import Person, RealServer, running

BUCK = 'sh_test(name = "ok", test = "ok.sh")\n'
FILES = {".buckconfig": "", "BUCK": BUCK, "ok.sh": "#!/bin/sh\nexit 0\n"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    with running(tmp_path_factory.mktemp("server"), lease_seconds=10) as made:
        made.worker()
        yield made


@pytest.fixture(scope="module")
def people(server: RealServer) -> tuple[Person, Person]:
    return server.begun(FILES)


def refused(
    server: RealServer, people: tuple[Person, Person], files: dict[str, str | None], message: str
) -> tuple[str, str]:
    """Submit, accept and try to land a hostile diff: what the person is told, and the whole log."""
    author = people[0]
    author.git("switch", "--quiet", "-C", "work", "main")
    author.commit(files, message)
    return land(server, people)


def land(server: RealServer, people: tuple[Person, Person]) -> tuple[str, str]:
    author, reviewer = people
    tip = trunk(server)
    diffs = author.json("submit")["diffs"]
    assert isinstance(diffs, list)
    number = int(diffs[-1]["number"])
    reviewer.run("review", f"D{number}", "accept")
    told = author.run("land", f"D{number}", "--wait", "--timeout", "85", code=1)
    assert f"D{number} was not landed" in told.stderr
    assert trunk(server) == tip, "main has not moved"
    found = re.search(r"/logs/([0-9a-f]{64})", told.stderr)
    return told.stderr, text_of(server, author, found[1]) if found else ""


def trunk(server: RealServer) -> str:
    return (server.data / "git/main.git/refs/heads/main").read_text().strip()


def text_of(server: RealServer, person: Person, digest: str) -> str:
    logins = json.loads((person.home / ".local/state/fairlead/logins.json").read_text())
    request = urllib.request.Request(f"{server.url}/api/logs/{digest}")
    request.add_header("Authorization", f"Bearer {logins['logins'][server.url]['token']}")
    with urllib.request.urlopen(request) as answer:
        return str(answer.read().decode())


def secrets_of(server: RealServer) -> list[str]:
    """What no log may hold: the worker's token and its key."""
    state = server.folder / "worker-local"
    key = "".join((state / "key").read_text().split("\n")[1:-2])
    return [json.loads((state / "worker.json").read_text())["token"], key[:40], "SQLite format 3"]


def test_reading_moving_forging_and_poisoning_by_a_test(
    server: RealServer, people: tuple[Person, Person]
) -> None:
    """One test, many attacks: files of server and worker, refs, the API, the store, other processes."""
    state, data = server.folder / "worker-local", server.data
    before = trunk(server)
    host, port = server.url.removeprefix("http://").split(":")
    attacks = {
        "read-database": f"cat {data}/fairlead.sqlite",
        "list-data": f"ls {data}/..",
        "read-server-key": f"cat {data}/keys/server",
        "read-worker-key": f"cat {state}/key",
        "read-worker-token": f"cat {state}/worker.json",
        "find-anything": "find / -name worker.json -o -name fairlead.sqlite -o -name logins.json | grep .",
        "read-passwords": "cat /etc/passwd /etc/shadow",
        "see-processes": "grep -al '[w]orker_job' /proc/[0-9]*/cmdline /proc/[0-9]*/environ | grep .",
        "enter-process": "cd /proc/1 && ls root/home cwd/fairlead",
        "move-main-by-file": f"echo {before} > {data}/git/main.git/refs/heads/main",
        "move-main-by-git": f"git --git-dir {data}/git/main.git update-ref refs/heads/main {'1' * 40}",
        "move-main-by-push": f"git ls-remote {server.url}/git/main",
        "call-server": f"exec 3<>/dev/tcp/{host}/{port}",
        "call-outside": "exec 3<>/dev/tcp/1.1.1.1/80",
        "forge-answer": f'echo \'{{"outcome": "done"}}\' > {state}/jobs/answer',
        "forge-verdict": f"cp ok {state}/store/results.sqlite",
        "write-project": "echo evil > evil",
        "write-input": "chmod u+w attack.sh; echo evil >> attack.sh",
        "replace-input": "rm -f attack.sh",
        "write-system": "echo evil > /usr/bin/evil",
        "become-root": "mkdir /tmp/m && mount -t tmpfs none /tmp/m",
        "new-namespace": "unshare -r mount -t tmpfs none /tmp",
        "kernel-setting": "echo 0 > /proc/sys/kernel/randomize_va_space",
        "devices": "dd if=/dev/sda of=/dev/null count=1 || dd if=/dev/vda of=/dev/null count=1",
    }
    lines = [
        f"if ( {command} ) >/dev/null 2>&1; then echo WON {name}; else echo lost {name}; fi"
        for name, command in attacks.items()
    ]
    script = (
        "#!/bin/bash\n"
        + "\n".join(lines)
        + "\nenv\nsetsid sleep 7654321 &\nprintf '\\033]0;owned\\007\\n'\nexit 1\n"
    )
    buck = BUCK + 'sh_test(name = "attack", test = "attack.sh")\n'
    told, log = refused(server, people, {"BUCK": buck, "attack.sh": script}, "Attack")
    assert "//:attack" in told
    assert re.findall(r"^WON (\S+)", log, re.MULTILINE) == [], log
    assert re.findall(r"^lost (\S+)", log, re.MULTILINE) == list(attacks)
    for secret in secrets_of(server):
        assert secret not in log
    assert "\x1b" in log and "\x1b" not in told and "owned" in told, "a log commands no terminal"
    assert b"7654321" not in b"".join(cmdlines()), "what a test starts ends with it"
    whole(server)


def cmdlines() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except OSError:
            continue


def whole(server: RealServer) -> None:
    """The worker lives, its identity is its own, and every blob of its store is what its name says."""
    state = server.folder / "worker-local"
    assert json.loads((state / "worker.json").read_text())["name"] == "local"
    checked = 0
    for path in (state / "store/blobs").rglob("*"):
        name = path.parent.name + path.name
        if re.fullmatch("[0-9a-f]{64}", name):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == name, f"{path} is poisoned"
            checked += 1
    assert checked
    assert not (state / "jobs/candidate").exists(), "the work tree is gone"


def test_attacks_by_a_rule_while_it_builds(server: RealServer, people: tuple[Person, Person]) -> None:
    """An action sees no more than a test; and an output that is a link is not followed out of the sandbox."""
    database = server.data / "fairlead.sqlite"
    buck = f"""
genrule(name = "steal", out = "stolen", cmd = "ln -s {database} $OUT")
genrule(name = "copy", out = "copy", cmd = "cat {database} > $OUT || echo lost > $OUT")
sh_test(
    name = "show", test = "show.sh", deps = [":steal", ":copy"],
    args = ["$(location :steal)", "$(location :copy)"],
)
"""
    show = "#!/bin/sh\nfor f in $*; do echo $f; cat $f; done\nexit 1\n"
    told, log = refused(server, people, {"BUCK": buck, "show.sh": show}, "Steal")
    assert "//:show" in told and "SQLite" not in log
    assert log, "the person sees why"
    whole(server)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("dunder", {"BUCK": "x = ().__class__.__base__.__subclasses__()\n"}),
        ("getattr", {"x.bzl": 'y = getattr((), "__class__")\n', "BUCK": 'load(":x.bzl", "y")\n'}),
        ("memory", {"x.bzl": 'y = len("x" * 100000000000)\n', "BUCK": 'load(":x.bzl", "y")\n'}),
        ("recursion", {"x.bzl": "def f():\n    return f()\ny = f()\n", "BUCK": 'load(":x.bzl", "y")\n'}),
        ("absolute-source", {"BUCK": 'sh_test(name = "t", test = "/etc/passwd")\n'}),
        ("load-outside", {"BUCK": 'load("//../../x.bzl", "y")\n'}),
    ],
)
def test_attacks_by_a_build_file(
    server: RealServer, people: tuple[Person, Person], name: str, files: dict[str, str]
) -> None:
    told, log = refused(server, people, dict(files), f"Build file: {name}")
    assert "Traceback" not in told + log and str(server.folder) not in told + log
    assert told.count("\n") > 3 and "BUCK" in told + log, "what and where"


def test_a_link_out_of_the_tree_is_no_source(server: RealServer, people: tuple[Person, Person]) -> None:
    author, _ = people
    author.git("switch", "--quiet", "-C", "work", "main")
    link = author.clone / "link"
    link.symlink_to(server.folder / "worker-local/worker.json")
    author.commit({"BUCK": 'sh_test(name = "t", test = "ok.sh", resources = ["link"])\n'}, "Link")
    told, log = land(server, people)
    assert "link" in told
    for secret in secrets_of(server):
        assert secret not in told + log


@pytest.mark.parametrize(
    ("name", "interpreter", "lock"),
    [
        ("own-interpreter", "./evil.sh", ""),
        ("nested-interpreter", "jobs/candidate/evil.sh", ""),
        ("index", "", "--index-url http://127.0.0.1:1/simple\n"),
        ("file", "", "-r /etc/passwd\n"),
    ],
)
def test_attacks_by_a_toolchain(
    server: RealServer, people: tuple[Person, Person], name: str, interpreter: str, lock: str, tmp_path: Path
) -> None:
    """Environments are made outside of the sandbox, so what a diff may say about them is narrow."""
    mark = tmp_path / "mark"
    buck = f"""
python_toolchain(name = "python", interpreter = {json.dumps(interpreter)}, lock = "lock.txt")
python_test(name = "t", srcs = ["test_t.py"], toolchain = ":python")
"""
    evil = f"#!/bin/sh\ntouch {mark}\n"
    files = {"BUCK": buck, "lock.txt": lock, "test_t.py": "def test(): pass\n", "evil.sh": evil}
    told, log = refused(server, people, dict(files), f"Toolchain: {name}")
    assert not mark.exists(), "a program of the diff ran outside of the sandbox"
    assert "root:" not in told + log, "no file of this machine is shown"


def test_a_test_that_eats_everything_ends(server: RealServer, people: tuple[Person, Person]) -> None:
    """Words without end, processes without end: the test ends in its time, and the worker goes on."""
    script = (
        "#!/bin/bash\n"
        "echo the beginning\n"
        "yes words | head -c 20000000\n"
        "for i in $(seq 2000); do sleep 300 & done 2>/dev/null\n"
        "echo never said\n"
    )
    buck = BUCK + 'sh_test(name = "eat", test = "eat.sh", timeout = 5)\n'
    told, log = refused(server, people, {"BUCK": buck, "eat.sh": script}, "Eat")
    assert "//:eat" in told
    assert log.startswith("the beginning\n") and len(log) < 5_000_000 and "left out" in log
    assert not any(b"sleep\x00300\x00" in line for line in cmdlines())
    whole(server)


def test_a_persons_token_gives_no_verdict(server: RealServer, people: tuple[Person, Person]) -> None:
    """Neither the author's token nor a worker's that was never enrolled can say that a test passed."""
    author, _ = people
    logins = json.loads((author.home / ".local/state/fairlead/logins.json").read_text())
    for token in (logins["logins"][server.url]["token"], "guess", ""):
        for path in ("lease", "jobs/1-1/keys", "jobs/1-1/verdicts", "jobs/1-1/finish", "register"):
            request = urllib.request.Request(
                f"{server.url}/api/worker/{path}",
                data=b'{"outcome": "done", "name": "x", "public_key": "ssh-ed25519 AAAA"}',
                headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            )
            with pytest.raises(urllib.error.HTTPError) as told:
                urllib.request.urlopen(request)
            assert told.value.code in (400, 401, 403), path
            assert json.loads(told.value.read())["what"]


def test_a_workers_token_moves_no_ref(server: RealServer, people: tuple[Person, Person]) -> None:
    """Were the worker's token stolen after all: it reads, and cannot push, comment, accept or land."""
    token = secrets_of(server)[0]
    author, _ = people
    remote = server.url.replace("http://", f"http://worker:{token}@")
    for ref in ("refs/heads/main", "refs/for/main", "refs/queue/1", "refs/fairlead/evidence"):
        done = subprocess.run(
            ["git", "-c", "credential.helper=", "push", "--force", f"{remote}/git/main", f"HEAD:{ref}"],
            cwd=author.clone, env=author.environment(GIT_TERMINAL_PROMPT="0"), capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode != 0, ref
    for path, payload in [
        ("diffs/1/land", {"stack": False}),
        ("diffs/1/posts", {"kind": "comment", "body": "x"}),
    ]:
        request = urllib.request.Request(
            f"{server.url}/api/{path}",
            data=json.dumps(payload).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with pytest.raises(urllib.error.HTTPError) as told:
            urllib.request.urlopen(request)
        assert told.value.code == 403
