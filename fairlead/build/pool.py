"""Jobs that need each other, run by a few threads.

Threads, not processes or tasks: a job spends its time waiting for a program that it spawned. Results are
handed to the calling thread, so what they are gathered in needs no lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")


def run_all(
    names: Iterable[str],
    job: Callable[[str], T],
    done: Callable[[str, T], None],
    *,
    needs: Mapping[str, set[str]] | None = None,
    threads: int,
    cancel: threading.Event,
    quick: Callable[[str], bool] = lambda _: False,
) -> None:
    """Call `job` for each name after those that it `needs`, and `done` with each result, in this thread. A
    job that is `quick`, as it waits for nothing, is called in this thread too: to hand it over takes longer.

    The first exception stops the start of further jobs and is raised when the running ones have ended. An
    exception of `done`, or an interrupt, also sets `cancel`, which jobs heed.
    """
    left = {name: set((needs or {}).get(name, ())) for name in names}
    dependents: dict[str, list[str]] = {name: [] for name in left}
    for name, wanted in left.items():
        for other in wanted:
            dependents[other].append(name)
    ready = deque(name for name, wanted in left.items() if not wanted)
    running: dict[Future[T], str] = {}
    failures: list[BaseException] = []

    def finish(name: str, result: T) -> None:
        done(name, result)
        for other in dependents[name]:
            left[other].discard(name)
            if not left[other]:
                ready.append(other)

    with ThreadPoolExecutor(threads, thread_name_prefix="build") as pool:
        try:
            while running or (ready and not failures):
                while ready and not failures and len(running) < threads:
                    name = ready.popleft()
                    if not quick(name):
                        running[pool.submit(job, name)] = name
                        continue
                    try:
                        result = job(name)
                    except Exception as error:
                        failures.append(error)
                    else:
                        finish(name, result)
                if not running:
                    continue
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    name = running.pop(future)
                    failed = future.exception()
                    if failed is None:
                        finish(name, future.result())
                    else:
                        failures.append(failed)
        except BaseException:
            cancel.set()
            raise
    if failures:
        raise failures[0]
