"""How slow a client may be: each request is bounded in time as well as in size.

A client that sends a byte a minute, or reads none of its answer, would otherwise hold a slot of git's, a
thread or a file for as long as it likes. What counts is the time that we wait for it, never our own: it has
60 seconds, gets a second back for every 4 KB that it sends or takes, and never has more than 60. So a pack
of a gigabyte over a slow line comes through, and neither a trickle nor a long silence does. `connection`
bounds the head of a request.

Rejected: a bound on the whole request (large pushes are slow for good reasons), a bound on each silence
alone (a byte a minute passes it), and leaving it to a proxy (most servers of small teams have none).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio

from fairlead.serve.reply import TooSlow, log, refusal
from fairlead.serve.state import Limits

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class _Allowance:
    """The time that one direction of one request has left."""

    def __init__(self, limits: Limits) -> None:
        self._most = self._left = limits.patience
        self._rate = limits.slowest

    async def wait(self, one: Awaitable[Any]) -> Any:
        """What `one` gives, if that comes in time; TimeoutError otherwise."""
        began = time.monotonic()
        try:
            with anyio.fail_after(max(0.0, self._left)):
                return await one
        finally:
            self._left -= time.monotonic() - began

    def earn(self, size: int) -> None:
        """The client sent or took so many bytes."""
        self._left = min(self._most, self._left + size / self._rate)


class Paced:
    """The application `app` for clients of a bearable speed."""

    def __init__(self, app: App, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(scope, receive, send, self._limits)
        try:
            await self._app(scope, request.receive, request.send)
        except Exception:
            if not request.late:
                raise
            if not request.started:
                await refusal(TooSlow(_SAID, remedy=_REMEDY))(scope, receive, request.send)
            else:
                await request.cut()


_SAID = "the request came too slowly and was given up"
_REMEDY = "try again over a better line"


class _Request:
    """One request with its allowances: one for its body, one for the answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: Limits) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._body, self._answer = _Allowance(limits), _Allowance(limits)
        self._whole = False  # the body has come
        self.late = False
        self.started = False  # the answer has begun

    async def receive(self) -> Message:
        """The next part of the body; TooSlow if it does not come in time."""
        if self._whole:
            return await self._receive()  # only the end of the connection can come, whenever it likes
        try:
            message: Message = await self._body.wait(self._receive())
        except TimeoutError:
            self.late = True
            raise TooSlow(_SAID, where=self._scope["path"], remedy=_REMEDY) from None
        self._body.earn(len(message.get("body", b"")))
        self._whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer; TooSlow if the client does not take it in time."""
        if message["type"] == "http.response.start":
            self.started = True
            if self.late:  # the rest of its body is not waited for
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        try:
            await self._answer.wait(self._send(message))
        except TimeoutError:
            self.late = True
            log.info("the answer to %s was taken too slowly and is cut off", self._scope["path"])
            await self.cut()
            raise TooSlow("the answer is taken too slowly", where=self._scope["path"]) from None
        self._answer.earn(len(message.get("body", b"")))

    async def cut(self) -> None:
        """End the connection at once: what is in its buffers would never be taken."""
        abort = self._scope.get("state", {}).get("abort")
        if abort is not None:
            abort()
        await anyio.sleep(0)  # the connection hears of it
