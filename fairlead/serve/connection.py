"""One connection of a client: uvicorn's, with a bound on the time that the head of a request may take.

uvicorn waits for ever for the first bytes of a connection and for the end of a request's head. It also goes
on reading a body that was answered early (refused, say) for as long as its sender likes. Here both get 20
seconds. `pace` bounds bodies and answers, and ends a connection through `abort` in the request's state.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

HEAD = 20.0  # seconds for the head of a request, from its first byte or the beginning of the connection


class Connection(H11Protocol):
    """A connection that is cut if no request comes of it in time."""

    head = HEAD

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, "abort": self._abort}, _loop)
        self._expecting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        if self._idle():
            self._expect()
        super().data_received(data)
        if not self._idle():
            self._came()

    def connection_lost(self, exc: Exception | None) -> None:
        self._came()
        super().connection_lost(exc)

    def _idle(self) -> bool:
        """No request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _expect(self) -> None:
        if self._expecting is None:
            self._expecting = self.loop.call_later(self.head, self._abort)

    def _came(self) -> None:
        if self._expecting is not None:
            self._expecting.cancel()
            self._expecting = None

    def _abort(self) -> None:
        self.transport.abort()
