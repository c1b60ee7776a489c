"""Live events: server-sent events at /events, and the same as JSON at /api/events for programs.

A client that was cut off names the last sequence number it saw (`Last-Event-ID`, or `after`) and misses
nothing, because the stream is read from the event log and not from memory.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from fairlead.errors import MachineryError, UsageError
from fairlead.serve import auth
from fairlead.serve.records import events
from fairlead.serve.records.values import Event
from fairlead.serve.reply import Gone, NotSignedIn, refusal
from fairlead.serve.state import State

_KEEP_ALIVE = 15.0  # seconds; proxies drop silent connections after 30 to 60
_LONGEST_WAIT = 55.0
_MOST_STREAMS = 1000
_BATCH = 200


class Streams:
    """Counts the open streams, so that they cannot eat up the server's connections."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._open = 0

    async def sse(self, request: Request) -> Response:
        """GET /events."""
        try:
            await self._state.work(_reader, self._state, request)
            after = await self._start(request)
            if self._open >= _MOST_STREAMS:
                raise MachineryError(
                    "too many live streams are open", remedy="close some pages, or poll /api/events"
                )
        except Exception as error:
            return refusal(error)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._lines(after), media_type="text/event-stream", headers=headers)

    async def _start(self, request: Request) -> int:
        asked = request.headers.get("last-event-id") or request.query_params.get("after")
        if asked is not None:
            return _number(asked)
        return await self._state.work(self._latest)

    def _latest(self) -> int:
        with self._state.records.read() as c:
            return events.latest(c)

    async def _lines(self, after: int) -> AsyncIterator[str]:
        state = self._state
        self._open += 1
        try:
            yield "retry: 1000\n\n"
            while not state.bus.closed:
                seen = state.bus.count
                fresh = await state.work(_since, state, after)
                for event in fresh:
                    after = event.seq
                    yield f"id: {event.seq}\nevent: {event.kind}\ndata: {json.dumps(to_json(event))}\n\n"
                if not fresh:
                    await state.bus.wait_async(seen, _KEEP_ALIVE)
                    if state.bus.count == seen:
                        yield ": still here\n\n"
        finally:
            self._open -= 1

    async def poll(self, request: Request) -> Response:
        """GET /api/events?after=N&wait=SECONDS: answers when there is news or the wait ends."""
        state = self._state
        try:
            await state.work(_reader, state, request)
            after = await self._start(request)
            wait = min(_LONGEST_WAIT, float(request.query_params.get("wait", "0")))
            await state.work(_all_there, state, after)
            end = time.monotonic() + wait
            while True:
                seen = state.bus.count
                fresh = await state.work(_since, state, after)
                left = end - time.monotonic()
                if fresh or left <= 0 or state.bus.closed:
                    return JSONResponse([to_json(e) for e in fresh])
                await state.bus.wait_async(seen, left)
        except ValueError:
            return refusal(UsageError("wait is a number of seconds"))
        except Exception as error:
            return refusal(error)


def _since(state: State, after: int) -> list[Event]:
    with state.records.read() as c:
        return events.since(c, after, _BATCH)


def _all_there(state: State, after: int) -> None:
    """Refuse to go on after an event whose followers are partly gone: a program would miss them unawares.
    From 0 means from the oldest that is here.

    Live pages are not told: whatever the next event is, they load themselves anew.
    """
    with state.records.read() as c:
        oldest = events.first(c)
    if 0 < after < oldest - 1:
        raise Gone(
            f"the events up to {oldest - 1} are removed: they were older than {state.keep.events} days",
            remedy=f"read anew what you follow, then go on after {oldest - 1}",
        )


def _reader(state: State, request: Request) -> None:
    caller = auth.identify(state, request)
    if caller is None:
        raise NotSignedIn("live events are for people who are signed in", remedy="sign in, or send a token")
    caller.require("api")


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise UsageError(f"{text[:40]!r} is not the number of an event")
    return int(text)


def to_json(event: Event) -> dict[str, object]:
    """An event as clients see it."""
    return {
        "seq": event.seq,
        "kind": event.kind,
        "diff": event.diff,
        "payload": dict(event.payload),
        "created": event.created,
    }
