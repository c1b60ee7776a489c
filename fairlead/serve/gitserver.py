"""git over HTTP: ASGI in front of git's own `http-backend`.

Ours are who may speak, which environment git sees, and streaming in both directions without holding a pack
in memory; the protocol stays git's.  People with the scope `git` may fetch and push, workers may only
fetch.  The child starts from an empty environment: no token, no setting of the server's reaches a hook but
the number of this push and the address of the socket.

Refs of versions and candidates (`refs/diffs/`, `refs/queue/`) are not advertised, or a clone would list
thousands; a client that asks for one by name is shown it (protocol 2 says what it looks for).

Rejected: dulwich (a second git with its own bugs), a library for CGI (none streams both ways on ASGI).
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import IO, Any

import anyio
import anyio.to_thread
from starlette.requests import HTTPConnection

from fairlead.errors import UsageError
from fairlead.serve import auth
from fairlead.serve.pushes import Push, Pushes
from fairlead.serve.records import diffs
from fairlead.serve.records.values import Hosted, Person
from fairlead.serve.reply import Forbidden, NotFound, NotSignedIn, TooSlow, log, refusal
from fairlead.serve.state import State
from fairlead.store import atomic

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_CHUNK = 64 << 10
_AT_ONCE = 24  # git processes; each takes up to two threads
_ROUTE = re.compile(r"/([A-Za-z0-9][A-Za-z0-9._-]*?)(?:\.git)?/(info/refs|git-upload-pack|git-receive-pack)")
_HIDDEN = ("refs/diffs/", "refs/queue/")


def configure(state: State, python: str) -> None:
    """Write the hooks and git's settings for hosted repositories, and make each repository read them."""
    hooks = state.data / "hooks"
    source = Path(__file__).with_name("hook.py").read_bytes()
    atomic.write(hooks / "hook.py", source, durable=True)
    for name in ("pre-receive", "proc-receive"):
        script = f"#!/bin/sh\nexec {_quoted(python)} -I -S -B {_quoted(str(hooks / 'hook.py'))} {name}\n"
        atomic.write(hooks / name, script.encode(), mode=0o755, durable=True)
    atomic.write(hooks / "git.config", _settings(state, hooks).encode(), durable=True)
    with state.records.read() as c:
        hosted = diffs.repos(c)
    for one in hosted:
        state.repo(one.name).run("config", "--replace-all", "include.path", str(hooks / "git.config"))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _settings(state: State, hooks: Path) -> str:
    path = str(hooks).replace("\\", "\\\\").replace('"', '\\"')
    return f"""[core]
\thooksPath = "{path}"
\tfsync = all
\tfsyncMethod = fsync
\tlogAllRefUpdates = true
[receive]
\tprocReceiveRefs = refs/for
\tprocReceiveRefs = refs/heads
\tadvertisePushOptions = true
\tfsckObjects = true
\tunpackLimit = 1
\tmaxInputSize = {state.limits.push}
[receive "fsck"]
\tzeroPaddedFilemode = ignore
\tbadTimezone = ignore
\tmissingSpaceBeforeDate = ignore
[transfer]
\thideRefs = refs/diffs
\thideRefs = refs/queue
[uploadpack]
\tallowAnySHA1InWant = true
[http]
\treceivepack = true
"""


class GitServer:
    """The ASGI application under /git."""

    def __init__(self, state: State, pushes: Pushes) -> None:
        self._state = state
        self._pushes = pushes
        self._slots = anyio.Semaphore(_AT_ONCE)
        self._threads = anyio.CapacityLimiter(2 * _AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = HTTPConnection(scope)
        try:
            service, hosted, person = await self._state.work(self._admit, request)
        except Exception as error:
            await refusal(error)(scope, receive, send)
            return
        async with self._slots:
            with contextlib.ExitStack() as stack:
                push = ""
                if person is not None and service == "git-receive-pack" and scope["method"] == "POST":
                    push = stack.enter_context(self._pushes.begin(Push(person, hosted)))
                await self._serve(request, hosted, person, push, receive, send)

    def _admit(self, request: HTTPConnection) -> tuple[str, Hosted, Person | None]:
        """Which service of which repository is asked for, and by whom; raises if that may not be."""
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        found = _ROUTE.fullmatch(path)
        if found is None:
            raise NotFound("git does not ask for such an address", where=path)
        method = request.scope["method"]
        action = found[2]
        service = request.query_params.get("service", "") if action == "info/refs" else action
        if method != ("GET" if action == "info/refs" else "POST") or service not in (
            "git-upload-pack",
            "git-receive-pack",
        ):
            raise UsageError("only git's smart HTTP protocol is served here", remedy="use git 2.0 or newer")
        secret = auth.bearer(request.headers)
        if secret is None:
            raise NotSignedIn("git needs a token here", remedy="run: fairlead login URL --name NAME")
        with self._state.records.read() as c:
            caller = auth.token_caller(c, secret)
            hosted = diffs.repo_named(c, found[1])
        if caller.worker is None:
            caller.require("git")
        elif service != "git-upload-pack":
            raise Forbidden("a worker may fetch but not push", remedy="push as a person")
        if hosted is None:
            raise NotFound(f"there is no repository {found[1]} here", remedy="GET /api/repos lists them")
        return service, hosted, caller.person

    def _environment(
        self, request: HTTPConnection, hosted: Hosted, person: Person | None, push: str, *, shown: bool
    ) -> dict[str, str]:
        scope = request.scope
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        found = _ROUTE.fullmatch(path)
        assert found is not None
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C.UTF-8",
            "HOME": str(self._state.data / "hooks"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_PROJECT_ROOT": str(self._state.data / "git"),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": f"/{hosted.name}.git/{found[2]}",
            "REQUEST_METHOD": scope["method"],
            "QUERY_STRING": scope["query_string"].decode("latin-1"),
            "REMOTE_USER": person.name if person else "worker",
            "REMOTE_ADDR": (scope.get("client") or ("",))[0],
        }
        # No CONTENT_LENGTH, as for a chunked request: git then reads to the end of its input.  With one,
        # http-backend of git 2.39 turns in circles for ever if the client goes away before the end.
        for header, name in (
            ("content-type", "CONTENT_TYPE"),
            ("content-encoding", "HTTP_CONTENT_ENCODING"),
            ("git-protocol", "GIT_PROTOCOL"),
        ):
            if header in request.headers:
                env[name] = request.headers[header]
        if push:
            env["FAIRLEAD_PUSH"] = push
            env["FAIRLEAD_SOCKET"] = str(self._pushes.socket)
        if shown:
            env["GIT_CONFIG_COUNT"] = str(len(_HIDDEN))
            for place, prefix in enumerate(_HIDDEN):
                env[f"GIT_CONFIG_KEY_{place}"] = "transfer.hideRefs"
                env[f"GIT_CONFIG_VALUE_{place}"] = f"!{prefix.rstrip('/')}"
        return env

    async def _serve(
        self,
        request: HTTPConnection,
        hosted: Hosted,
        person: Person | None,
        push: str,
        receive: Receive,
        send: Send,
    ) -> None:
        body = _Body(receive)
        first = b"" if request.scope["method"] == "GET" else await body.next()
        shown = _asks_for_hidden(first, request.headers.get("content-encoding", ""))
        env = self._environment(request, hosted, person, push, shown=shown)
        process = subprocess.Popen(
            ["git", "http-backend"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            cwd=self._state.data,
            start_new_session=True,
        )
        assert process.stdin and process.stdout and process.stderr
        complaints: list[bytes] = []
        reader = threading.Thread(target=_drain, args=(process.stderr, complaints), daemon=True)
        reader.start()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._feed, process.stdin, first, body)
                await self._answer(process, body, send, reads=not push)
        finally:
            with anyio.CancelScope(shield=True):
                code = await anyio.to_thread.run_sync(_end, process, limiter=self._threads)
                reader.join(timeout=5)
                if code != 0 and complaints:
                    log.warning(
                        "git http-backend: %s", b"".join(complaints)[-2000:].decode("utf-8", "replace")
                    )

    async def _feed(self, pipe: IO[bytes], first: bytes, body: _Body) -> None:
        """Pass the request's body to git; if git has stopped reading, read the rest and drop it."""
        chunk, open_ = first, True
        while True:
            if chunk and open_:
                try:
                    await anyio.to_thread.run_sync(_write, pipe, chunk, limiter=self._threads)
                except (BrokenPipeError, ValueError):
                    open_ = False
            if body.ended:
                break
            chunk = await body.next()
        with contextlib.suppress(OSError):
            pipe.close()

    async def _answer(
        self, process: subprocess.Popen[bytes], body: _Body, send: Send, *, reads: bool
    ) -> None:
        """Pass git's answer to the client; if the client has gone, read the rest so that git can finish.

        A client that takes its answer too slowly has gone too. What only `reads` is ended then.
        """
        pipe = process.stdout
        assert pipe is not None
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _CHUNK:
            chunk = await self._read(pipe)
            if not chunk:
                break
            head += chunk
        fields, mark, rest = head.partition(b"\r\n\r\n")
        if not mark:
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": b"git http-backend gave no answer"})
            return
        status, headers = _cgi(fields)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        chunk = rest
        while True:
            if chunk and not body.gone:
                try:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                except TooSlow:
                    body.gone = True
                    if reads:
                        os.killpg(process.pid, signal.SIGKILL)
            chunk = await self._read(pipe)
            if not chunk:
                break
        await send({"type": "http.response.body", "body": b""})

    async def _read(self, pipe: IO[bytes]) -> bytes:
        return await anyio.to_thread.run_sync(os.read, pipe.fileno(), _CHUNK, limiter=self._threads)


class _Body:
    """A request's body, chunk by chunk."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False
        self.gone = False  # the client closed the connection before the end

    async def next(self) -> bytes:
        if self.ended:
            return b""
        try:
            message = await self._receive()
        except TooSlow:
            message = {"type": "http.disconnect"}
        if message["type"] != "http.request":
            self.ended = self.gone = True
            return b""
        self.ended = not message.get("more_body", False)
        return bytes(message.get("body", b""))


def _asks_for_hidden(first: bytes, encoding: str) -> bool:
    """Whether this is protocol 2's ls-refs with a prefix inside the refs that are not advertised."""
    if encoding == "gzip" and first:
        with contextlib.suppress(zlib.error):
            first = zlib.decompressobj(wbits=31).decompress(first, _CHUNK)
    if b"command=ls-refs" not in first[:200]:
        return False
    return any(b"ref-prefix " + prefix.encode() in first for prefix in _HIDDEN)


def _cgi(fields: bytes) -> tuple[int, list[tuple[bytes, bytes]]]:
    """Status and headers of a CGI answer."""
    status, headers = 200, []
    for line in fields.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"status":
            status = int(value.split()[0])
        elif name:
            headers.append((name.lower(), value.strip()))
    return status, headers


def _write(pipe: IO[bytes], chunk: bytes) -> None:
    pipe.write(chunk)
    pipe.flush()


def _drain(pipe: IO[bytes], into: list[bytes]) -> None:
    with pipe:
        while chunk := os.read(pipe.fileno(), _CHUNK):
            into.append(chunk)
            del into[:-16]


def _end(process: subprocess.Popen[bytes]) -> int:
    """Wait for git; by now its input is closed, so it ends unless it hangs."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    try:
        return process.wait(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
