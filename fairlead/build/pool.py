"""Jobs that need each other, run by a few threads.

Threads, not processes or tasks: a job spends its time waiting for a program that it spawned. Results are
handed to the calling thread, so what they are gathered in needs no lock. Two queues join the threads, one for
jobs and one for results: an executor with futures takes four times as long to hand over a job.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")

_TICK = 0.05
"""Seconds of waiting for a result after which `idle` is called."""


class _Threads(Generic[T]):
    """Threads that call `job` with what they are given; `ended` has what came of each: a result or an error,
    neither for a job that was not begun any more."""

    def __init__(self, job: Callable[[str], T], number: int) -> None:
        self._job = job
        self._number = number
        self._given: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._started: list[threading.Thread] = []
        self.ended: queue.SimpleQueue[tuple[str, list[T], BaseException | None]] = queue.SimpleQueue()
        self.stopped = False

    def give(self, name: str) -> None:
        """Have a job run when a thread is free, after those that were given before."""
        if len(self._started) < self._number:
            thread = threading.Thread(target=self._work, name=f"build-{len(self._started)}", daemon=True)
            self._started.append(thread)
            thread.start()
        self._given.put(name)

    def close(self) -> None:
        """Wait for the jobs that run; others are not begun."""
        self.stopped = True
        for _ in self._started:
            self._given.put(None)
        for thread in self._started:
            thread.join()

    def _work(self) -> None:
        while (name := self._given.get()) is not None:
            if self.stopped:
                self.ended.put((name, [], None))
                continue
            try:
                result = self._job(name)
            except BaseException as error:
                self.stopped = True  # here, or this thread begins the next job before anybody hears of it
                self.ended.put((name, [], error))
            else:
                self.ended.put((name, [result], None))


def run_all(
    names: Iterable[str],
    job: Callable[[str], T],
    done: Callable[[str, T], None],
    *,
    needs: Mapping[str, set[str]] | None = None,
    threads: int,
    cancel: threading.Event,
    look: Callable[[str], T | None] = lambda _: None,
    idle: Callable[[], None] = lambda: None,
) -> None:
    """Call `job` for each name after those that it `needs`, and `done` with each result, in this thread.

    `look` is called before, in this thread too: if it has the result, the job is not handed over, which takes
    longer than a look. What a job makes ready comes before what was ready then, so that the first programs
    run while the last jobs are still looked at. `idle` is called while there is nothing to do but wait.

    The first exception stops the start of further jobs and is raised when the running ones have ended. An
    exception of `done`, or an interrupt, also sets `cancel`, which jobs heed.
    """
    left = {name: set((needs or {}).get(name, ())) for name in names}
    dependents: dict[str, list[str]] = {name: [] for name in left}
    for name, wanted in left.items():
        for other in wanted:
            dependents[other].append(name)
    ready = deque(name for name, wanted in left.items() if not wanted)
    failures: list[BaseException] = []
    running = 0
    crew = _Threads(job, threads)

    def finish(name: str, result: T) -> None:
        done(name, result)
        for other in dependents[name]:
            left[other].discard(name)
            if not left[other]:
                ready.appendleft(other)

    def end(name: str, results: list[T], error: BaseException | None) -> None:
        if error is not None:
            failures.append(error)
            crew.stopped = True
        for result in results:
            finish(name, result)

    try:
        while running or (ready and not failures):
            while running and not crew.ended.empty():
                running -= 1
                end(*crew.ended.get())
            if ready and not failures:
                name = ready.popleft()
                try:
                    found = look(name)
                except Exception as error:
                    end(name, [], error)
                else:
                    if found is not None:
                        finish(name, found)
                    else:
                        crew.give(name)
                        running += 1
            elif running:
                try:
                    ended = crew.ended.get(timeout=_TICK)
                except queue.Empty:
                    idle()
                else:
                    running -= 1
                    end(*ended)
    except BaseException:
        cancel.set()
        raise
    finally:
        crew.close()
    if failures:
        raise failures[0]
