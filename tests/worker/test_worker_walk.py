"""A real worker at a real server: what lands, what is refused, and what survives a kill."""

from __future__ import annotations

import contextlib
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real_server import Person, RealServer, end, running

BUCK = """
sh_test(name = "one", test = "one.sh", resources = ["one.txt"])
sh_test(name = "two", test = "two.sh", resources = ["two.txt"])
"""
FILES = {
    ".buckconfig": "",
    "BUCK": BUCK,
    "one.sh": "#!/bin/sh\ngrep -q good one.txt || { cat one.txt; exit 1; }\n",
    "two.sh": "#!/bin/sh\ngrep -q good two.txt\n",
    "one.txt": "good\n",
    "two.txt": "good\n",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    with running(tmp_path_factory.mktemp("server")) as made:
        made.worker()
        yield made


@pytest.fixture(scope="module")
def people(server: RealServer) -> tuple[Person, Person]:
    return server.begun(FILES)


def submitted(people: tuple[Person, Person], files: dict[str, str | None], message: str) -> int:
    """One accepted diff on the trunk as it is; its number."""
    author, reviewer = people
    author.git("fetch", "--quiet", author.git("config", "fairlead.url") + "/git/main", "refs/heads/main")
    author.git("switch", "--quiet", "-C", "work", "FETCH_HEAD")
    author.commit(files, message)
    diffs = author.json("submit")["diffs"]
    assert isinstance(diffs, list)
    number = int(diffs[-1]["number"])
    reviewer.run("review", f"D{number}", "accept", "--server", author.git("config", "fairlead.url"))
    return number


def verdicts(server: RealServer, author: Person, number: int) -> list[str]:
    """The labels with a verdict in the evidence of a landed diff."""
    import base64
    import json

    from fairlead.ship.values import Signed, Verdict

    landed = server.diff(author, number)["landed"]
    envelope = server.api(author, f"/api/commits/{landed}/evidence")
    assert isinstance(envelope, dict)
    predicate = json.loads(base64.b64decode(envelope["payload"]))["predicate"]
    return sorted(Verdict.from_payload(Signed.from_json(row).payload).label for row in predicate["verdicts"])


def test_a_stack_lands_with_exactly_the_affected_tests(
    server: RealServer, people: tuple[Person, Person]
) -> None:
    author, reviewer = people
    author.git("switch", "--quiet", "-C", "work", "main")
    author.commit({"one.txt": "good one\n"}, "One")
    author.commit({"readme.md": "words\n"}, "Words")
    diffs = author.json("submit")["diffs"]
    assert isinstance(diffs, list)
    one, words = (int(row["number"]) for row in diffs)
    for number in (one, words):
        reviewer.run("review", f"D{number}", "accept")
    told = author.run("land", f"D{words}", "--stack", "--wait", "--timeout", "80")
    assert re.findall(r"^landed (D\d+)", told.stdout, re.MULTILINE) == [f"D{one}", f"D{words}"], told.stdout
    assert verdicts(server, author, one) == ["//:one"]
    assert verdicts(server, author, words) == [], "no key differs from the base's"
    author.git("fetch", "--quiet", f"{server.url}/git/main", "refs/heads/main")
    assert author.git("rev-parse", "FETCH_HEAD") == server.diff(author, words)["landed"]
    verified = author.json("land", "verify", "main..FETCH_HEAD")
    assert verified["good"] is True and len(verified["commits"]) == 2  # type: ignore[arg-type]


def test_a_failing_test_is_refused_with_the_end_of_its_log(
    server: RealServer, people: tuple[Person, Person]
) -> None:
    number = submitted(people, {"one.txt": "this is bad\n"}, "Bad")
    told = people[0].run("land", f"D{number}", "--wait", "--timeout", "80", code=1)
    assert f"D{number} was not landed" in told.stderr and "//:one" in told.stderr
    assert "this is bad" in told.stderr, "the log's last lines"
    [address] = re.findall(r"where: (\S+/logs/[0-9a-f]{64})", told.stderr)
    assert address.startswith(server.url)


def test_a_broken_buck_file_is_told_with_its_place(server: RealServer, people: tuple[Person, Person]) -> None:
    number = submitted(people, {"BUCK": BUCK + "no_such_rule(name = 'x')\n"}, "Broken")
    told = people[0].run("land", f"D{number}", "--wait", "--timeout", "80", code=1)
    assert "no_such_rule" in told.stderr and "BUCK:4" in told.stderr
    assert str(server.folder) not in told.stderr, "no path of the worker's machine"


def test_mending_a_base_that_does_not_evaluate(server: RealServer, people: tuple[Person, Person]) -> None:
    """Without BUCK files there are no tests; back again, all of them are affected, not only the edited."""
    without = submitted(people, {"BUCK": None, "one.txt": "gone\n"}, "No targets")
    people[0].run("land", f"D{without}", "--wait", "--timeout", "80")
    assert verdicts(server, people[0], without) == []
    again = submitted(people, {"BUCK": BUCK, "one.txt": "good again\n"}, "Targets again")
    people[0].run("land", f"D{again}", "--wait", "--timeout", "80")
    assert verdicts(server, people[0], again) == ["//:one", "//:two"]


@pytest.mark.parametrize(
    "point", ["worker.after-lease", "worker.after-keys", "worker.after-verdict", "worker.before-finish"]
)
def test_a_killed_worker_loses_nothing(server: RealServer, people: tuple[Person, Person], point: str) -> None:
    """The lease runs out, another worker gets the job, what was signed stays, and the diff lands."""
    end(server.processes[-1])
    author, _ = people
    files: dict[str, str | None] = {"one.txt": f"good {point}\n", "two.txt": f"good {point}\n"}
    number = submitted(people, files, f"Killed at {point}")
    victim = server.worker("local", enrol=False, FAIRLEAD_CRASH_AT=point)
    author.run("land", f"D{number}")
    inside = point in ("worker.after-keys", "worker.after-verdict")
    until = time.monotonic() + 60
    while (
        victim.poll() is None
        and "signal 9" not in server.log("worker-local.log").rpartition("worker local of")[2]
    ):
        assert time.monotonic() < until, server.log("worker-local.log")
        time.sleep(0.1)
    assert (victim.poll() is None) == inside, "only the job's process dies inside a job"
    end(victim, signal.SIGKILL)
    server.worker("local", enrol=False)
    assert server.wait_for(author, number, "landed", "accepted")["state"] == "landed", server.log(
        "worker-local.log"
    )
    assert verdicts(server, author, number) == ["//:one", "//:two"]


def test_a_killed_worker_leaves_nothing_running(server: RealServer, people: tuple[Person, Person]) -> None:
    """Not the job's process, and not the test in its sandbox, which was started in a session of its own."""
    author, _ = people
    files: dict[str, str | None] = {
        "BUCK": BUCK + 'sh_test(name = "slow", test = "slow.sh", timeout = 15)\n',
        "slow.sh": "#!/bin/sh\nsleep 98765\n",
    }
    number = submitted(people, files, "Slow")
    author.run("land", f"D{number}")
    assert seen(b"sleep\x0098765", within=60)
    job = b"fairlead.cli.worker_job\x00" + str(server.folder).encode()
    assert seen(job, within=0)
    worker = server.processes[-1]
    worker.kill()
    worker.wait()
    assert not seen(b"sleep\x0098765", gone=True, within=15)
    assert not seen(job, gone=True, within=5)


def processes() -> Iterator[bytes]:
    """The command lines of all that run."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes()


def seen(words: bytes, *, within: float, gone: bool = False) -> bool:
    """Whether a process with these words runs, once one does (`gone`: none does) or the time is up."""
    until = time.monotonic() + within
    while True:
        found = any(words in line for line in processes())
        if found != gone or time.monotonic() > until:
            return found
        time.sleep(0.1)
