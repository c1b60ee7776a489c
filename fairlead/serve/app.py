"""The ASGI application: every route of the server in one place.

`start` brings a data folder into order (hooks, interrupted pushes and landings) and `create` makes the
application; `server` runs it.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from fairlead.serve import api, artifacts, cleaning, gitserver, landing, receive, trunk
from fairlead.serve.pace import Paced
from fairlead.serve.pushes import Pushes
from fairlead.serve.records import diffs
from fairlead.serve.reply import NotFound, refusal
from fairlead.serve.state import State
from fairlead.serve.stream import Streams

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def start(state: State, *, python: str = sys.executable) -> None:
    """Bring the data folder into order: what a crash cut off is finished or dropped."""
    gitserver.configure(state, python)
    artifacts.sweep(state)
    with state.changing:
        receive.replay(state)
        with state.records.read() as c:
            hosted = diffs.repos(c)
        for one in hosted:
            trunk.recover(state, one)


def create(state: State, *, pages: Sequence[BaseRoute] = (), queue: bool = True) -> Starlette:
    """The application.  `pages` are the HTML routes; without `queue` nothing lands (for tests)."""
    pushes = Pushes(state)
    streams = Streams(state)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        tending = threading.Thread(target=landing.tend, args=(state,), name="queue", daemon=True)
        cleaning_up = threading.Thread(target=cleaning.tend, args=(state,), name="clean", daemon=True)
        if queue:
            tending.start()
            cleaning_up.start()
        try:
            yield
        finally:
            state.bus.close()
            if queue:
                await state.work(tending.join, 30.0)
                await state.work(cleaning_up.join, 30.0)
            await state.work(pushes.close)

    async def put_artifact(request: Request) -> Response:
        return await artifacts.put(state, request)

    async def get_artifact(request: Request) -> Response:
        return await artifacts.get(state, request)

    async def nothing(request: Request) -> Response:
        return refusal(NotFound("the API has no such address", where=request.url.path))

    async def missing(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            return refusal(NotFound("there is nothing at this address", where=request.url.path))
        return Response(error.detail, error.status_code, error.headers and dict(error.headers))

    routes: list[BaseRoute] = [
        *api.routes(state),
        Route("/events", streams.sse, methods=["GET"]),
        Route("/api/events", streams.poll, methods=["GET"]),
        Route("/a/{digest}/{name}", put_artifact, methods=["PUT"]),
        Route("/a/{digest}/{name}", get_artifact, methods=["GET"]),
        Mount("/git", app=gitserver.GitServer(state, pushes)),
        Route("/api/{path:path}", nothing),
        *pages,
    ]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: missing})
    app.add_middleware(_Headers)
    app.add_middleware(Paced, state.limits)
    return app


class _Headers:
    """Headers that every answer carries unless its own say otherwise."""

    ALWAYS = (
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"same-origin"),
        (b"x-frame-options", b"DENY"),
        (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    )

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", []))
                known = {name.lower() for name, _ in headers}
                headers += [row for row in self.ALWAYS if row[0] not in known]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, sending)
