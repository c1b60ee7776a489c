"""Who may do what: forged verdicts, wrong tokens, sessions and requests that other sites make."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from fairlead import net
from fairlead.errors import FairleadError, UsageError, WorkFailed
from fairlead.keys.signer import Signer
from fairlead.serve import auth
from fairlead.serve.records import people
from fairlead.serve.reply import Forbidden
from fairlead.ship.values import KeyStatement, Signed, Verdict
from tests.serve.harness import PASSWORD, Clone, Person, Site, Worker, seeded, site, wait_for

T = "//:t"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("trust") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def team(here: Site, tmp_path_factory: pytest.TempPathFactory) -> tuple[Person, Person, Clone]:
    return seeded(here, tmp_path_factory.mktemp("team"))


@pytest.fixture(scope="module")
def worker(here: Site) -> Worker:
    return here.worker()


@pytest.fixture
def job(here: Site, team: tuple[Person, Person, Clone], worker: Worker) -> Iterator[Any]:
    """A leased job whose keys are handed in; ended afterwards, so that the next test's diff is next."""
    author, reviewer, clone = team
    clone.repo.run("checkout", "-q", "-f", "-B", "work", here.trunk() or "")
    commit = clone.commit({"a.txt": f"{time.time_ns()}\n"}, "to be judged")
    clone.submit()
    number = author.call("GET", f"/api/diffs?commit={commit}")[0]["number"]
    reviewer.accept(number)
    author.land(number)
    leased = worker.lease()
    assert leased["diff"] == number
    assert worker.hand_in_keys(leased, here.repo, {}, {T: commit}) == [T]
    before = here.trunk()
    yield {**leased, "key": commit}
    worker.finish(leased)
    wait_for(lambda: author.diff(number)["queue"][-1]["state"] == "refused")
    assert here.trunk() == before, "the trunk moved without a pass"


def hand_in(who: Person | Worker, job: Any, *verdicts: Signed) -> Any:
    payload = {"verdicts": [v.to_json() for v in verdicts]}
    return who.call("POST", f"/api/worker/jobs/{job['id']}/verdicts", payload)


def test_a_verdict_by_an_unregistered_key_is_refused(worker: Worker, job: Any) -> None:
    stranger = Signer.generate()
    forged = Verdict(T, job["key"], "pass", worker.name, "namespace", "", 0.1).signed(stranger.sign)
    with pytest.raises(FairleadError, match="the verdict is not believed"):
        hand_in(worker, job, forged)


def test_a_changed_verdict_is_refused(worker: Worker, job: Any) -> None:
    honest = worker.verdict(T, job["key"], "fail")
    changed = Signed(honest.payload.replace(b'"fail"', b'"pass"'), honest.signature, honest.signer)
    with pytest.raises(FairleadError, match="the verdict is not believed"):
        hand_in(worker, job, changed)


def test_a_key_statement_signature_is_no_verdict_signature(worker: Worker, job: Any) -> None:
    verdict = Verdict(T, job["key"], "pass", worker.name, "namespace", "", 0.1)
    payload = verdict.payload()
    forged = Signed(payload, worker.signer.sign(KeyStatement.NAMESPACE, payload), f"worker:{worker.name}")
    with pytest.raises(FairleadError, match="the verdict is not believed"):
        hand_in(worker, job, forged)


def test_a_verdict_of_another_worker_is_refused(here: Site, worker: Worker, job: Any) -> None:
    other = here.worker(f"other{time.time_ns()}")
    with pytest.raises(FairleadError, match="this token belongs to worker tester"):
        hand_in(worker, job, other.verdict(T, job["key"]))
    posing = Verdict(T, job["key"], "pass", other.name, "namespace", "", 0.1).payload()
    with pytest.raises(FairleadError, match="names worker other"):
        hand_in(
            worker,
            job,
            Signed(posing, worker.signer.sign(Verdict.NAMESPACE, posing), f"worker:{worker.name}"),
        )


def test_a_verdict_at_another_key_or_label_is_refused(worker: Worker, job: Any) -> None:
    for verdict in (worker.verdict(T, "another"), worker.verdict("//:unknown", job["key"])):
        with pytest.raises(FairleadError, match="at a key that this job's candidate does not have"):
            hand_in(worker, job, verdict)


def test_a_verdict_with_an_unknown_log_is_refused(worker: Worker, job: Any) -> None:
    for log in ("0" * 64, "../../keys/server"):
        with pytest.raises(UsageError, match="was not handed in"):
            hand_in(worker, job, worker.verdict(T, job["key"], log=log))


def test_one_bad_verdict_keeps_all_out(here: Site, worker: Worker, job: Any) -> None:
    with pytest.raises(FairleadError):
        hand_in(worker, job, worker.verdict(T, job["key"]), worker.verdict(T, "another"))
    again = worker.hand_in_keys(job, here.repo, {}, {T: job["key"]})
    assert again == [T]


def test_a_lease_of_another_is_refused(here: Site, worker: Worker, job: Any) -> None:
    other = here.worker(f"thief{time.time_ns()}")
    stolen = other.verdict(T, job["key"])
    with pytest.raises(WorkFailed, match="is not leased to thief"):
        hand_in(other, job, stolen)
    number, _, lease = job["id"].partition("-")
    for name in (f"{number}-{int(lease) + 1}", f"{number}-0", f"{int(number) - 1}-1", "999-1", "x", "-1"):
        with pytest.raises(FairleadError, match=r"is not leased to|there is no job"):
            hand_in(worker, {"id": name}, worker.verdict(T, job["key"]))


def test_keys_of_other_commits_or_trees_are_refused(here: Site, worker: Worker, job: Any) -> None:
    tree = here.repo.commit(job["commit"]).tree
    base = worker.statement(job["base"], here.repo.commit(job["base"]).tree, {})
    for bad in (worker.statement(job["base"], tree, {}), worker.statement(job["commit"], "0" * 40, {})):
        with pytest.raises(FairleadError, match="is not about this job"):
            worker.call(
                "POST",
                f"/api/worker/jobs/{job['id']}/keys",
                {"base": base.to_json(), "candidate": bad.to_json()},
            )


def test_keys_cannot_be_changed_later(here: Site, worker: Worker, job: Any) -> None:
    """Else a worker could make a target look unaffected after the fact."""
    with pytest.raises(WorkFailed, match="other keys of the base were handed in before"):
        worker.hand_in_keys(job, here.repo, {T: job["key"]}, {T: job["key"]})
    assert worker.hand_in_keys(job, here.repo, {}, {T: job["key"]}) == [T]  # a repeated call is harmless


def test_people_may_not_call_worker_endpoints(
    team: tuple[Person, Person, Clone], worker: Worker, job: Any
) -> None:
    author = team[0]
    calls = [
        ("POST", "/api/worker/lease", {"wait": 0}),
        ("POST", f"/api/worker/jobs/{job['id']}/heartbeat", {}),
        ("POST", f"/api/worker/jobs/{job['id']}/keys", {}),
        (
            "POST",
            f"/api/worker/jobs/{job['id']}/verdicts",
            {"verdicts": [worker.verdict(T, job["key"]).to_json()]},
        ),
        ("POST", f"/api/worker/jobs/{job['id']}/finish", {"outcome": "done"}),
        ("PUT", "/api/worker/logs", {}),
    ]
    for method, path, payload in calls:
        with pytest.raises(FairleadError, match="may not do what needs the scope worker"):
            author.call(method, path, payload)


def test_workers_may_not_call_peoples_endpoints(worker: Worker, job: Any) -> None:
    number = job["diff"]
    calls: list[tuple[str, str, object]] = [
        ("GET", "/api/me", None),
        ("GET", f"/api/diffs/{number}", None),
        ("POST", f"/api/diffs/{number}/posts", {"kind": "review", "verdict": "accept"}),
        ("POST", f"/api/diffs/{number}/land", {}),
        ("POST", f"/api/diffs/{number}/abandon", {}),
        ("GET", "/api/events?after=0", None),
    ]
    for method, path, payload in calls:
        with pytest.raises(FairleadError, match="may not do what needs the scope api"):
            worker.call(method, path, payload)
    headers = {"Authorization": f"Bearer {worker.token}"}
    assert net.request("PUT", f"{worker.url}/a/{'0' * 64}/x", headers=headers, body=b"").status == 403


def test_every_endpoint_but_the_open_ones_needs_a_credential(here: Site) -> None:
    from fairlead.serve import api

    assert here.state is not None
    open_ones = {
        "/api/invitations/{code}", "/api/tokens", "/api/keys", "/api/worker/register", "/healthz",
    }  # fmt: skip
    for route in api.routes(here.state):
        if route.path in open_ones:
            continue
        path = route.path.replace("{number:int}", "1")
        for method in (route.methods or set()) - {"HEAD"}:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic %%%"}):
                status = net.request(method, here.url + path, headers=headers, body=None).status
                assert status == 401, (method, path, headers)
    assert net.request("GET", f"{here.url}/events").status == 401
    assert net.request("GET", f"{here.url}/api/events").status == 401


def test_an_enrolment_code_works_once_and_not_for_ever(here: Site) -> None:
    def register(code: str, name: str, key: str) -> Any:
        payload = {"name": name, "public_key": key}
        return net.fetch_json("POST", f"{here.url}/api/worker/register", token=code, payload=payload)

    key, other = Signer.generate().public.text(), Signer.generate().public.text()
    code = auth.enrolment(here.records)
    first = register(code, "once", key)["token"]
    with pytest.raises(FairleadError, match="unknown, used or older"):
        register(code, "twice", key)
    with pytest.raises(FairleadError, match="unknown, used or older"):
        register("made up", "twice", key)
    with pytest.raises(FairleadError, match="registered with another key"):
        register(auth.enrolment(here.records), "once", other)
    second = register(auth.enrolment(here.records), "once", key)["token"]
    again = Worker(here.url, "once", second, Signer.generate())
    assert again.lease(wait=0) is None
    with pytest.raises(FairleadError, match="unknown, expired or revoked"):
        Worker(here.url, "once", first, Signer.generate()).lease(wait=0)
    late = auth.enrolment(here.records)
    with here.records.write() as c:
        c.exec_driver_sql("UPDATE enrolment SET expires = 1 WHERE code_hash = ?", (auth.hash_secret(late),))
    with pytest.raises(FairleadError, match="unknown, used or older"):
        register(late, "late", key)
    with pytest.raises(FairleadError):
        register(auth.enrolment(here.records), "nokey", "ssh-rsa AAAA")


def test_a_revoked_worker_is_out_at_once_and_its_line_has_an_end(here: Site) -> None:
    gone = here.worker("gone")
    with here.records.write() as c:
        people.revoke_worker(c, "gone")
    with pytest.raises(FairleadError, match="unknown, expired or revoked"):
        gone.lease(wait=0)
    lines = net.request("GET", f"{here.url}/api/keys").body.decode().splitlines()
    assert lines[0].startswith('server namespaces="fairlead-evidence" ssh-ed25519 ')
    mine = next(line for line in lines if line.startswith("worker:gone "))
    assert "valid-before=" in mine and 'namespaces="fairlead-verdict,fairlead-keys"' in mine


def test_a_revoked_key_does_not_come_back_under_another_name(here: Site) -> None:
    gone = here.worker("departed")
    with here.records.write() as c:
        people.revoke_worker(c, "departed")
    key = gone.signer.public.text()
    with pytest.raises(WorkFailed, match="that of the worker departed, which was revoked"):
        auth.register(here.records, auth.enrolment(here.records), "again", key)


def test_jobs_of_no_such_name_are_not_there(worker: Worker, job: Any) -> None:
    for name in ("9" * 400 + "-1", "1-" + "9" * 30, "%D9%A1-1", "1", "-1-1"):
        with pytest.raises(FairleadError, match="there is no job"):
            hand_in(worker, {"id": name})


def test_invitations_work_once(here: Site) -> None:
    code = auth.invite(here.records, "guest")
    url = f"{here.url}/api/invitations/{code}"
    with pytest.raises(UsageError, match="8 to 1024 characters"):
        net.fetch_json("POST", url, payload={"password": "short"})
    with pytest.raises(UsageError, match="is for guest, not for other"):
        net.fetch_json("POST", url, payload={"password": PASSWORD, "name": "other"})
    answer: Any = net.fetch_json("POST", url, payload={"password": PASSWORD, "name": "guest"})
    assert answer["person"] == "guest"
    with pytest.raises(UsageError, match="was used already"):
        net.fetch_json("POST", url, payload={"password": PASSWORD})
    with pytest.raises(UsageError, match="has an account already"):
        auth.invite(here.records, "guest")
    with pytest.raises(UsageError, match="is unknown or has expired"):
        net.fetch_json("POST", f"{here.url}/api/invitations/made-up", payload={"password": PASSWORD})
    me = Person(here.url, "guest", answer["token"]).call("GET", "/api/me")
    assert me == {"name": "guest", "admin": False, "scopes": ["api", "git", "publish"]}


def test_tokens_by_password_have_the_scopes_that_were_asked_for(here: Site, team: object) -> None:
    def ask(password: str, scopes: list[str]) -> Any:
        payload = {"name": "reviewer", "password": password, "scopes": scopes, "label": "test"}
        return net.fetch_json("POST", f"{here.url}/api/tokens", payload=payload)

    only_git = Person(here.url, "reviewer", ask(PASSWORD, ["git"])["token"])
    with pytest.raises(FairleadError, match="needs the scope api"):
        only_git.call("GET", "/api/me")
    with pytest.raises(UsageError, match="asked for: worker"):
        ask(PASSWORD, ["worker"])
    with pytest.raises(UsageError, match="do not fit"):
        ask("wrong password", ["git"])
    with pytest.raises(UsageError, match="do not fit"):
        net.fetch_json("POST", f"{here.url}/api/tokens", payload={"name": "nobody", "password": PASSWORD})


def test_a_revoked_token_opens_nothing(here: Site, team: tuple[Person, Person, Clone]) -> None:
    payload = {"name": "reviewer", "password": PASSWORD, "label": "laptop"}
    answer: Any = net.fetch_json("POST", f"{here.url}/api/tokens", payload=payload)
    second = Person(here.url, "reviewer", answer["token"])
    mine = next(t for t in second.call("GET", "/api/tokens") if t["label"] == "laptop")
    assert answer["token"] not in str(second.call("GET", "/api/tokens"))
    with pytest.raises(FairleadError, match="you have no token"):
        team[0].call("POST", f"/api/tokens/{mine['id']}/revoke", {})
    second.call("POST", f"/api/tokens/{mine['id']}/revoke", {})
    with pytest.raises(FairleadError, match="unknown, expired or revoked"):
        second.call("GET", "/api/me")
    assert team[1].call("GET", "/api/me")["name"] == "reviewer"


def test_guessing_passwords_is_slowed_down() -> None:
    throttle = auth.Throttle()
    for _ in range(4):
        throttle.record("a", False)
        throttle.check("a")
    for _ in range(4):
        throttle.record("a", False)
    with pytest.raises(Forbidden, match="too many wrong passwords"):
        throttle.check("a")
    throttle.check("b")
    throttle.record("a", True)
    throttle.check("a")


def test_names_of_megabytes_are_not_remembered() -> None:
    throttle = auth.Throttle()
    for number in range(6):
        throttle.record("x" * 1_000_000 + str(number), False)
    assert [len(name) for name in throttle._wrong] == [40]
    with pytest.raises(Forbidden):
        throttle.check("x" * 1_000_000)


def test_secrets_are_not_in_the_database(
    here: Site, team: tuple[Person, Person, Clone], worker: Worker
) -> None:
    data = b"".join(p.read_bytes() for p in here.data.glob("fairlead.sqlite*"))
    for secret in (team[0].token, worker.token, PASSWORD):
        assert secret.encode() not in data
    assert auth.hash_secret(team[0].token).encode() in data


# --- sessions --------------------------------------------------------------------------------------


def asked(method: str, cookie: str, **headers: str) -> Request:
    raw = [(b"host", b"127.0.0.1:1")]
    raw += [(b"cookie", cookie.encode())] if cookie else []
    raw += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": method, "path": "/", "headers": raw, "query_string": b""})


def test_cookies_are_bound_and_changes_need_the_sessions_own_token(here: Site, team: object) -> None:
    state = here.state
    assert state is not None
    person = auth.check_password(here.records, "author", PASSWORD)
    response = Response()
    session = auth.open_session(state, person, response)
    cookie = response.headers["set-cookie"].partition(";")[0]
    flags = response.headers["set-cookie"].lower()
    assert (
        cookie.startswith("fairlead=")
        and "httponly" in flags
        and "samesite=lax" in flags
        and "path=/" in flags
    )
    known = auth.viewer(state, asked("GET", cookie))
    assert known is not None and known.person.name == "author"
    assert auth.viewer(state, asked("GET", "fairlead=made-up")) is None

    good = {"sec_fetch_site": "same-origin", "x_csrf_token": session.csrf}
    caller = auth.identify(state, asked("POST", cookie, **good))
    assert caller is not None and caller.scopes == {"api"}
    bad: list[dict[str, str]] = [
        {},
        {"x_csrf_token": session.csrf},
        {"sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "same-origin", "x_csrf_token": "other"},
        {"sec_fetch_site": "cross-site", "x_csrf_token": session.csrf},
        {"sec_fetch_site": "same-site", "x_csrf_token": session.csrf},
        {"origin": "https://elsewhere.example", "x_csrf_token": session.csrf},
        {"origin": "null", "x_csrf_token": session.csrf},
        {
            "sec_fetch_site": "same-origin",
            "origin": "https://elsewhere.example",
            "x_csrf_token": session.csrf,
        },
    ]
    for headers in bad:
        with pytest.raises(Forbidden):
            auth.identify(state, asked("POST", cookie, **headers))
    auth.identify(state, asked("POST", cookie, origin=here.url, x_csrf_token=session.csrf))

    auth.close_session(state, asked("POST", cookie), response)
    assert auth.viewer(state, asked("GET", cookie)) is None


def test_under_https_the_cookie_is_bound_to_the_host(here: Site, team: object) -> None:
    from dataclasses import replace

    assert here.state is not None
    state = replace(here.state, url="https://review.example")
    response = Response()
    auth.open_session(state, auth.check_password(here.records, "author", PASSWORD), response)
    flags = response.headers["set-cookie"]
    assert (
        flags.startswith("__Host-fairlead=")
        and "Secure" in flags
        and "Path=/" in flags
        and "Domain" not in flags
    )


def test_only_json_bodies_are_read(here: Site, team: tuple[Person, Person, Clone]) -> None:
    headers = {
        "Authorization": f"Bearer {team[0].token}",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    answer = net.request("POST", f"{here.url}/api/diffs/1/land", headers=headers, body=b"stack=1")
    assert answer.status == 400 and b"application/json" in answer.body


def test_strangers_cannot_fill_the_memory(here: Site) -> None:
    body = json.dumps({"name": "a" * 100_000, "password": "long enough"}).encode()
    for path in ("/api/tokens", "/api/invitations/x", "/api/worker/register"):
        answer = net.request("POST", here.url + path, headers={"Content-Type": "application/json"}, body=body)
        assert answer.status == 413 and b"larger than 64 KB" in answer.body


@pytest.mark.parametrize(
    ("path", "payload", "said"),
    [
        ("/api/diffs/1/posts", {"kind": "comment", "body": "\ud800"}, "body is not Unicode text"),
        ("/api/tokens", {"name": "a", "password": "\udcff-password"}, "password is not Unicode text"),
        (f"/api/diffs/{10**30}/abandon", {}, "there is no diff"),
    ],
)
def test_odd_values_are_refused_with_words(
    here: Site, team: tuple[Person, Person, Clone], path: str, payload: dict[str, str], said: str
) -> None:
    headers = {"Authorization": f"Bearer {team[0].token}", "Content-Type": "application/json"}
    body = json.dumps(payload).encode()
    answer = net.request("POST", here.url + path, headers=headers, body=body)
    assert answer.status in (400, 404) and said in json.loads(answer.body)["what"]


def test_bugs_and_unknown_addresses_answer_in_three_parts(here: Site) -> None:
    answer = net.request("GET", f"{here.url}/api/nothing/here")
    assert answer.status == 404 and b'"what"' in answer.body
    assert net.request("GET", f"{here.url}/git/main/HEAD").status == 404
    assert net.request("GET", f"{here.url}/git/../keys/server").status == 404
    assert net.request("GET", f"{here.url}/healthz").status == 200


def test_posts_name_place_and_remedy(here: Site, team: tuple[Person, Person, Clone], job: Any) -> None:
    reviewer, number = team[1], job["diff"]
    cases: list[tuple[dict[str, object], str]] = [
        ({"kind": "coment", "body": "x"}, "cannot be of kind"),
        ({"kind": "comment", "body": "  "}, "the post is empty"),
        ({"kind": "comment", "body": "x" * 70_000}, "at most 64 KB"),
        ({"kind": "comment", "body": "x", "path": "a.txt", "line": 1}, "has no place in a file"),
        ({"kind": "comment", "body": "x", "verdict": "accept"}, "has no verdict"),
        ({"kind": "review", "body": "x"}, "needs its verdict"),
        ({"kind": "inline", "body": "x"}, "needs path and line"),
        ({"kind": "inline", "body": "x", "path": "a.text", "line": 1}, "no such file"),
        ({"kind": "inline", "body": "x", "path": "a.txt", "line": 2}, "the file has 1"),
        ({"kind": "inline", "body": "x", "path": "a.txt", "line": 0}, "no lines 0"),
        ({"kind": "inline", "body": "x", "path": "a.txt", "line": 1, "side": "left"}, "no side"),
        ({"kind": "comment", "body": "x", "version": 9}, "has no version 9"),
        ({"kind": "review", "body": "", "verdict": "accept", "version": 0}, "has no version 0"),
        ({"kind": "comment", "body": "x", "parent": "nothing"}, "no post nothing"),
        ({"kind": "comment", "body": 5}, "must be a string"),
    ]
    for fields, said in cases:
        with pytest.raises(FairleadError, match=said):
            reviewer.say(number, **fields)
    made = reviewer.say(number, kind="inline", path="a.txt", line=20, side="old", body="the old last line")
    reply = team[0].say(number, kind="comment", parent=made["id"], body="yes")
    shown = {p["id"]: p for p in team[0].diff(number)["posts"]}
    assert shown[made["id"]]["anchor"] == {
        "version": 1,
        "side": "old",
        "path": "a.txt",
        "start": 20,
        "end": 20,
    }
    assert shown[reply["id"]]["parent"] == made["id"]
    assert reply["url"] == f"{here.url}/D{number}#p-{reply['id']}"
