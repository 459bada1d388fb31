"""Three tasks, started from a workflow in the way that is named."""

from __future__ import annotations

import asyncio
import multiprocessing
import multiprocessing.pool
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import otel_events
from otel_events import current_context, env_context, task, workflow
from otel_events.inprocess import process

NUMBERS = range(3)


def _leaf(number: int) -> int:
    current_context().logging.info("at work", extra={"number": number})
    return number


LEAVES = [task(name=f"leaf {number}")(_leaf) for number in NUMBERS]


def leaf(number: int) -> int:
    return LEAVES[number](number)


def pair(number: int, other: int) -> int:
    return leaf(number) + other


def _each(make: Callable[..., Any]) -> None:
    """A thread or process for each."""
    started = [make(target=leaf, args=(number,)) for number in NUMBERS]
    for one in started:
        one.start()
    for one in started:
        one.join()
    assert not any(getattr(one, "exitcode", 0) for one in started)


def _pool(pool: Any) -> None:
    with pool:
        assert sorted(one.result() for one in [pool.submit(leaf, number) for number in NUMBERS]) == [0, 1, 2]


def _map(pool: Any) -> None:
    with pool:
        assert list(pool.map(leaf, NUMBERS)) == [0, 1, 2]
        pool.close() if hasattr(pool, "close") else None


def _timers() -> None:
    timers = [threading.Timer(0, leaf, (number,)) for number in NUMBERS]
    for timer in timers:
        timer.start()
    for timer in timers:
        timer.join()


def _starmap() -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.starmap(pair, [(number, 0) for number in NUMBERS]) == [0, 1, 2]
        pool.close()
        pool.join()


async def _tasks() -> None:
    async def one(number: int) -> int:
        return leaf(number)

    assert await asyncio.gather(*(asyncio.create_task(one(number)) for number in NUMBERS)) == [0, 1, 2]


async def _to_thread() -> None:
    assert await asyncio.gather(*(asyncio.to_thread(leaf, number) for number in NUMBERS)) == [0, 1, 2]


async def _executor() -> None:
    loop = asyncio.get_running_loop()
    assert await asyncio.gather(*(loop.run_in_executor(None, leaf, number) for number in NUMBERS)) == [0, 1, 2]


def _os_fork() -> None:
    for number in NUMBERS:
        if not (child := os.fork()):
            leaf(number)
            os._exit(0)  # as servers end their children: no atexit
        os.waitpid(child, 0)


def _subprocess() -> None:
    for number in NUMBERS:
        subprocess.run([sys.executable, __file__, "leaf", str(number)], env=os.environ | env_context(), check=True)


WAYS: dict[str, Callable[[], object]] = {
    "thread": lambda: _each(threading.Thread),
    "thread-pool": lambda: _pool(ThreadPoolExecutor(2)),
    "thread-pool-map": lambda: _map(ThreadPoolExecutor(2)),
    "timer": _timers,
    "asyncio-task": lambda: asyncio.run(_tasks()),
    "asyncio-to-thread": lambda: asyncio.run(_to_thread()),
    "asyncio-executor": lambda: asyncio.run(_executor()),
    "process-pool-fork": lambda: _pool(ProcessPoolExecutor(2, multiprocessing.get_context("fork"))),
    "process-pool-spawn": lambda: _pool(ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))),
    "process-fork": lambda: _each(multiprocessing.get_context("fork").Process),
    "process-spawn": lambda: _each(multiprocessing.get_context("spawn").Process),
    "process-forkserver": lambda: _each(multiprocessing.get_context("forkserver").Process),
    "pool-map-fork": lambda: _map(multiprocessing.get_context("fork").Pool(2)),
    "pool-starmap-spawn": _starmap,
    "pool-of-threads": lambda: _map(multiprocessing.pool.ThreadPool(2)),
    "os-fork": _os_fork,
    "subprocess": _subprocess,
}


@workflow(name="outer")
def outer() -> None:
    WAYS[sys.argv[1]]()


if __name__ == "__main__":
    process.EXIT_SECONDS = 600.0  # on a slow machine too, what the tests look for arrives
    otel_events.configure()
    if sys.argv[1] == "leaf":
        leaf(int(sys.argv[2]))
    else:
        outer()
