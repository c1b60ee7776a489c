"""Wakes whoever waits for news: live streams, long polls, the queue's thread.

It carries no news itself.  A waiter remembers the last event it saw, waits, and asks the records again; a
wake-up that comes twice or for nothing is harmless, and none is lost, because each waiter reads a counter
before it asks and waits for the counter to move.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading


class Bus:
    """A counter that threads and coroutines can wait on."""

    def __init__(self) -> None:
        self._moved = threading.Condition()
        self._count = 0
        self._closed = False
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    @property
    def count(self) -> int:
        return self._count

    @property
    def closed(self) -> bool:
        """The server is stopping: waiters should end."""
        return self._closed

    def wake(self) -> None:
        """Something was committed."""
        with self._moved:
            self._count += 1
            self._moved.notify_all()
            waiting, self._waiting = self._waiting, set()
        for loop, event in waiting:
            with contextlib.suppress(RuntimeError):  # that loop has ended, and its waiter with it
                loop.call_soon_threadsafe(event.set)

    def close(self) -> None:
        self._closed = True
        self.wake()

    def wait(self, seen: int, timeout: float) -> None:
        """Block until the counter differs from `seen`, the bus closes, or `timeout` seconds pass."""
        with self._moved:
            self._moved.wait_for(lambda: self._count != seen or self._closed, timeout)

    def wait_closed(self, timeout: float) -> None:
        """Block until the bus closes or `timeout` seconds pass."""
        with self._moved:
            self._moved.wait_for(lambda: self._closed, timeout)

    async def wait_async(self, seen: int, timeout: float) -> None:
        """The same for a coroutine."""
        mine = (asyncio.get_running_loop(), asyncio.Event())
        with self._moved:
            if self._count != seen or self._closed:
                return
            self._waiting.add(mine)
        try:
            await asyncio.wait_for(mine[1].wait(), timeout)
        except TimeoutError:
            pass
        finally:
            with self._moved:
                self._waiting.discard(mine)
