"""The HTTP API: JSON in, JSON out, for the command line, workers and other programs.

One table says for each address who may call it; the handlers below it are plain functions that run in a
thread with everything they need in a `Call`.  Errors are `{"what", "where", "remedy", "exit"}` (see `reply`).
Long waits, streams and files have modules of their own: `stream`, `artifacts`, `gitserver`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from fairlead.errors import UsageError
from fairlead.keys.sshsig import PublicKey
from fairlead.serve import auth, cleaning, evidence, landing, leases, lifecycle, placing, review
from fairlead.serve.records import diffs, events, people, posts, queue
from fairlead.serve.records.values import Diff, Person, Post, QueueEntry, Reviewer, Version, Worker
from fairlead.serve.reply import Forbidden, NotFound, NotSignedIn, TooLarge, refusal
from fairlead.serve.state import State
from fairlead.ship.values import Signed

Who = Literal["anyone", "person", "worker"]
Answer = Response | Mapping[str, object] | list[Any]
_LEASE_WAIT = 30.0  # seconds a worker's question may be held open


@dataclass(frozen=True)
class Call:
    """One request, authenticated and read."""

    state: State
    request: Request
    caller: auth.Caller | None
    body: bytes

    @property
    def person(self) -> Person:
        assert self.caller is not None and self.caller.person is not None
        return self.caller.person

    @property
    def worker(self) -> Worker:
        assert self.caller is not None and self.caller.worker is not None
        return self.caller.worker

    def path(self, name: str) -> str:
        return str(self.request.path_params[name])

    def number(self) -> int:
        return min(int(self.request.path_params["number"]), 2**31)  # more than the records can ask for

    def json(self) -> Mapping[str, Any]:
        """The body as an object; only application/json, which other sites' forms cannot send."""
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise UsageError(
                f"the body is {kind or 'of no type'}", remedy="send Content-Type: application/json"
            )
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            raise UsageError("the body is not JSON") from None
        if not isinstance(value, dict):
            raise UsageError("the body is not a JSON object")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """A string of the body; without `default` it must be there."""
        value = self.json().get(name, default)
        if not isinstance(value, str):
            raise UsageError(f"the field {name} must be a string", where=self.request.url.path)
        if any("\ud800" <= character <= "\udfff" for character in value):  # half of a pair: no text has that
            raise UsageError(f"the field {name} is not Unicode text", where=self.request.url.path)
        return value

    def maybe_text(self, name: str) -> str | None:
        return None if self.json().get(name) is None else self.text(name)

    def maybe_whole(self, name: str) -> int | None:
        value = self.json().get(name)
        if value is not None and (
            not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31
        ):
            raise UsageError(f"the field {name} must be a whole number", where=self.request.url.path)
        return value

    def flag(self, name: str) -> bool:
        value = self.json().get(name, False)
        if not isinstance(value, bool):
            raise UsageError(f"the field {name} must be true or false", where=self.request.url.path)
        return value


_FROM_STRANGERS = 64 << 10  # bytes of a request that is read before it is known who sends it

Handler = Callable[[Call], Answer]


def routes(state: State) -> list[Route]:
    """The API's routes."""
    table: list[tuple[str, str, Who, Handler]] = [
        ("POST", "/api/invitations/{code}", "anyone", _accept),
        ("POST", "/api/tokens", "anyone", _make_token),
        ("GET", "/api/tokens", "person", _list_tokens),
        ("POST", "/api/tokens/{number:int}/revoke", "person", _revoke_token),
        ("GET", "/api/keys", "anyone", _keys),
        ("GET", "/api/me", "person", _me),
        ("GET", "/api/repos", "person", _repos),
        ("GET", "/api/diffs", "person", _list_diffs),
        ("GET", "/api/diffs/{number:int}", "person", _show_diff),
        ("POST", "/api/diffs/{number:int}/posts", "person", _post),
        ("POST", "/api/diffs/{number:int}/land", "person", _land),
        ("POST", "/api/diffs/{number:int}/dequeue", "person", _dequeue),
        ("POST", "/api/diffs/{number:int}/abandon", "person", _abandon),
        ("POST", "/api/diffs/{number:int}/reclaim", "person", _reclaim),
        ("POST", "/api/diffs/{number:int}/publish", "person", _publish),
        ("POST", "/api/posts/{post}/thread", "person", _thread),
        ("GET", "/api/queue", "person", _queue),
        ("GET", "/api/commits/{oid}/evidence", "person", _evidence),
        ("GET", "/api/logs/{digest}", "person", _log),
        ("POST", "/api/worker/register", "anyone", _register),
        ("POST", "/api/worker/jobs/{job}/heartbeat", "worker", _heartbeat),
        ("POST", "/api/worker/jobs/{job}/keys", "worker", _job_keys),
        ("POST", "/api/worker/jobs/{job}/verdicts", "worker", _verdicts),
        ("POST", "/api/worker/jobs/{job}/finish", "worker", _finish),
        ("POST", "/api/worker/jobs/{job}/release", "worker", _release),
        ("PUT", "/api/worker/logs", "worker", _put_log),
    ]
    made = [
        Route(path, _endpoint(state, who, handler), methods=[method]) for method, path, who, handler in table
    ]
    made.append(Route("/api/worker/lease", _lease(state), methods=["POST"]))
    made.append(Route("/healthz", _endpoint(state, "anyone", _health), methods=["GET"]))
    return made


def _endpoint(state: State, who: Who, handler: Handler) -> Callable[[Request], Any]:
    limit = state.limits.log if handler is _put_log else state.limits.json
    if who == "anyone":
        limit = min(limit, _FROM_STRANGERS)

    async def endpoint(request: Request) -> Response:
        try:
            caller = None if who == "anyone" else await state.work(_caller, state, request, who)
            body = await _read(request, limit)
            answer = await state.work(handler, Call(state, request, caller, body))
        except Exception as error:
            return refusal(error)
        return answer if isinstance(answer, Response) else JSONResponse(answer)

    return endpoint


def _caller(state: State, request: Request, who: Who) -> auth.Caller:
    caller = auth.identify(state, request)
    if caller is None:
        raise NotSignedIn(
            "this needs a token", where=request.url.path, remedy="run: fairlead login URL --name NAME"
        )
    if who == "worker":
        caller.require("worker")
        if caller.worker is None:
            raise Forbidden("only workers may do this")
    else:
        caller.require("api")
        if caller.person is None:
            raise Forbidden("only people may do this")
    return caller


async def _read(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            size = f"{limit >> 20} MB" if limit >> 20 else f"{limit >> 10} KB"
            raise TooLarge(f"the request is larger than {size}", where=request.url.path)
    return bytes(body)


# --- people ----------------------------------------------------------------------------------------


def _accept(call: Call) -> Answer:
    person, token = auth.accept(
        call.state.records, call.path("code"), call.text("password"), call.maybe_text("name")
    )
    return {"person": person.name, "token": token}


def _make_token(call: Call) -> Answer:
    person = auth.check_password(call.state.records, call.text("name"), call.text("password"))
    scopes = call.json().get("scopes", sorted(auth.PERSON_SCOPES))
    if not isinstance(scopes, list) or not all(isinstance(s, str) for s in scopes):
        raise UsageError("the field scopes must be a list of strings")
    label = call.text("label", "made with a password")
    return {"token": auth.make_token(call.state.records, person, scopes, label), "person": person.name}


def _list_tokens(call: Call) -> Answer:
    with call.state.records.read() as c:
        found = people.tokens_for(c, call.person.id)
    return [
        {"id": t.id, "label": t.label, "scopes": sorted(t.scopes), "created": t.created, "expires": t.expires}
        for t in found
    ]


def _revoke_token(call: Call) -> Answer:
    with call.state.records.write() as c:
        known = people.revoke_token(c, call.number(), call.person.id)
    if not known:
        raise NotFound(f"you have no token {call.number()}", remedy="GET /api/tokens lists yours")
    return {"revoked": call.number()}


def _keys(call: Call) -> Answer:
    return PlainTextResponse(call.state.signers().text())


def _me(call: Call) -> Answer:
    assert call.caller is not None
    return {"name": call.person.name, "admin": call.person.admin, "scopes": sorted(call.caller.scopes)}


def _repos(call: Call) -> Answer:
    with call.state.records.read() as c:
        return [{"name": r.name, "trunk": r.trunk} for r in diffs.repos(c)]


# --- diffs -----------------------------------------------------------------------------------------


def _list_diffs(call: Call) -> Answer:
    query = call.request.query_params
    with call.state.records.read() as c:
        if "diff_id" in query:
            found = diffs.by_id(c, query["diff_id"], query.get("repo"))
        elif "commit" in query:
            found = diffs.by_commit(c, query["commit"])
        else:
            found = diffs.feed(c, state=query.get("state"), author=query.get("author"))
    return [_diff_json(call.state, d) for d in found]


def _show_diff(call: Call) -> Answer:
    with call.state.records.read() as c:
        diff = review.find(c, call.number())
        land = queue.land_of(c, diff.number)
        versions = diffs.versions(c, diff.number)
        written = posts.of_diff(c, diff.number)
        answer: dict[str, object] = {
            **_diff_json(call.state, diff),
            "versions": [_version_json(v) for v in versions],
            "stack": [d.number for d in diffs.stack(c, diff.number)],
            "reviewers": [_reviewer_json(r) for r in diffs.reviewers(c, diff.number)],
            "missing": [asdict(r) for r in lifecycle.lacking(c, diff, call.state.settings)],
            "queue": [_entry_json(e) for e in queue.entries_of(c, diff.number)],
            "landed": land.commit if land else None,
        }
    # Outside of the transaction: placing comments on the latest version asks git.
    answer["posts"] = [
        _post_json(call.state, post) | _placed(call.state, diff, versions, post) for post in written
    ]
    return answer


def _placed(state: State, diff: Diff, versions: Sequence[Version], post: Post) -> dict[str, object]:
    """Where an inline comment stands on the latest version, as {"placed": {fate, path, start, end}}."""
    if post.anchor is None:
        return {}
    by_number = {version.n: version for version in versions}
    made_on, shown = by_number[post.anchor.version], by_number[diff.latest]
    return {"placed": asdict(placing.place(state.repo(diff.repo), post.anchor, made_on, shown))}


def _diff_json(state: State, diff: Diff) -> dict[str, object]:
    return {
        "number": diff.number,
        "diff_id": diff.diff_id,
        "repo": diff.repo,
        "title": diff.title,
        "state": diff.state,
        "author": diff.author,
        "latest": diff.latest,
        "below": diff.stack_parent,
        "created": diff.created,
        "updated": diff.updated,
        "url": f"{state.url}/D{diff.number}",
    }


def _version_json(version: Version) -> dict[str, object]:
    names = ("n", "commit", "parent", "base", "tree", "change", "message", "pusher", "created")
    return {name: getattr(version, name) for name in names}


def _reviewer_json(reviewer: Reviewer) -> dict[str, object]:
    return {
        "person": reviewer.person,
        "verdict": reviewer.verdict,
        "version": reviewer.version,
        "given_on": reviewer.given_on,
    }


def _post_json(state: State, post: Post) -> dict[str, object]:
    return {
        "id": post.id,
        "parent": post.parent,
        "author": post.author,
        "kind": post.kind,
        "body": post.body,
        "version": post.version,
        "verdict": post.verdict,
        "data": dict(post.data),
        "created": post.created,
        "anchor": asdict(post.anchor) if post.anchor else None,
        "thread": asdict(post.thread) if post.thread else None,
        "url": f"{state.url}/D{post.diff}#p-{post.id}",
    }


def _post(call: Call) -> Answer:
    draft = review.Draft(
        kind=call.text("kind"),
        body=call.text("body", ""),
        version=call.maybe_whole("version"),
        path=call.maybe_text("path"),
        side=call.text("side", "new"),
        line=call.maybe_whole("line"),
        end=call.maybe_whole("end"),
        parent=call.maybe_text("parent"),
        verdict=call.maybe_text("verdict"),
        must_fix=call.flag("must_fix"),
    )
    made = review.say(call.state, call.person, call.number(), draft)
    return {"id": made, "url": f"{call.state.url}/D{call.number()}#p-{made}"}


def _thread(call: Call) -> Answer:
    review.set_thread(call.state, call.person, call.path("post"), call.text("state"))
    return {"post": call.path("post"), "state": call.text("state")}


def _land(call: Call) -> Answer:
    stack = call.flag("stack")
    return {"queued": landing.enqueue(call.state, call.person, call.number(), stack=stack)}


def _dequeue(call: Call) -> Answer:
    review.dequeue(call.state, call.person, call.number())
    return _state_of(call)


def _abandon(call: Call) -> Answer:
    review.abandon(call.state, call.person, call.number())
    return {"number": call.number(), "state": "abandoned"}


def _reclaim(call: Call) -> Answer:
    review.reclaim(call.state, call.person, call.number())
    return _state_of(call)


def _publish(call: Call) -> Answer:
    review.publish(call.state, call.person, call.number())
    return _state_of(call)


def _state_of(call: Call) -> Answer:
    with call.state.records.read() as c:
        return {"number": call.number(), "state": review.find(c, call.number()).state}


def _queue(call: Call) -> Answer:
    with call.state.records.read() as c:
        return {
            "open": [_entry_json(e) for e in queue.open_entries(c)],
            "recent": [_entry_json(e) for e in queue.recent_entries(c)],
        }


def _entry_json(entry: QueueEntry) -> dict[str, object]:
    return {**asdict(entry), "reasons": [asdict(r) for r in entry.reasons]}


def _evidence(call: Call) -> Answer:
    oid = call.path("oid")
    with call.state.records.read() as c:
        land = queue.landed(c, oid)
        hosted = diffs.repos(c)
    envelope: bytes | None = None
    if land is not None:
        envelope = land.envelope.encode("ascii")
    elif len(oid) >= 40 and oid.isalnum():
        # A data folder restored from git alone still has the evidence in its ref.
        envelope = next((e for one in hosted if (e := evidence.read(call.state.repo(one.name), oid))), None)
    if envelope is None:
        raise NotFound(
            f"no evidence of {oid[:12]}: it did not land here", remedy="name a full commit id of the trunk"
        )
    return Response(envelope, media_type="application/json")


def _log(call: Call) -> Answer:
    digest = call.path("digest")
    try:
        data = call.state.logs.get(digest) if call.state.logs.has(digest) else None
    except ValueError:
        data = None
    if data is None:
        raise NotFound("there is no such log", where=digest[:80], remedy=cleaning.remedy(call.state))
    return PlainTextResponse(data.decode("utf-8", "replace"))


def _health(call: Call) -> Answer:
    with call.state.records.read() as c:
        return {"ok": True, "events": events.latest(c)}


# --- workers ---------------------------------------------------------------------------------------


def _register(call: Call) -> Answer:
    code = auth.bearer(call.request.headers)
    if code is None:
        raise NotSignedIn(
            "registering needs an enrolment code", remedy="send it as: Authorization: Bearer CODE"
        )
    key = PublicKey.parse(call.text("public_key")).text()
    return {"token": auth.register(call.state.records, code, call.text("name"), key)}


def _lease(state: State) -> Callable[[Request], Any]:
    async def lease(request: Request) -> Response:
        try:
            caller = await state.work(_caller, state, request, "worker")
            call = Call(state, request, caller, await _read(request, state.limits.json))
            wait = call.json().get("wait", 0)
            if not isinstance(wait, int | float) or isinstance(wait, bool):
                raise UsageError("wait is a number of seconds")
            end = time.monotonic() + min(_LEASE_WAIT, wait)
            while True:
                seen = state.bus.count
                job = await state.work(leases.offer, state, call.worker)
                left = end - time.monotonic()
                if job is not None or left <= 0 or state.bus.closed:
                    return JSONResponse({"job": job})
                if await request.is_disconnected():
                    return JSONResponse({"job": None})
                await state.bus.wait_async(seen, left)
        except Exception as error:
            return refusal(error)

    return lease


def _heartbeat(call: Call) -> Answer:
    return leases.keep(call.state, call.worker, call.path("job"))


def _job_keys(call: Call) -> Answer:
    body = call.json()
    base, candidate = Signed.from_json(body.get("base")), Signed.from_json(body.get("candidate"))
    return {"run": leases.keys(call.state, call.worker, call.path("job"), base, candidate)}


def _verdicts(call: Call) -> Answer:
    rows = call.json().get("verdicts")
    if not isinstance(rows, list):
        raise UsageError("the field verdicts must be a list")
    signed = [Signed.from_json(row) for row in rows]
    return {"recorded": leases.verdicts(call.state, call.worker, call.path("job"), signed)}


def _finish(call: Call) -> Answer:
    said = {name: call.text(name, "")[:8000] for name in ("what", "where", "remedy", "log")}
    leases.finish(call.state, call.worker, call.path("job"), call.text("outcome"), said)
    return {"finished": call.path("job")}


def _release(call: Call) -> Answer:
    said = {name: call.text(name, "")[:8000] for name in ("what", "where", "remedy")}
    landing.release(call.state, leases.held(call.state, call.worker, call.path("job")), said)
    return {"released": call.path("job")}


def _put_log(call: Call) -> Answer:
    return {"digest": cleaning.hand_in(call.state, call.body)}
