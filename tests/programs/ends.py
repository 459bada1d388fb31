"""Programs that end, each in a way of its own: ``python ends.py WAY``. All that they ran is to arrive.

$ENDS_PATIENCE is how long its end waits for the other side, in place of EXIT_SECONDS: a slow machine then loses none.
``EXPECTED`` names the spans of each way and the code with which it ends; tests/inprocess/test_exit.py compares.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import otel_events

EXPECTED: dict[str, tuple[list[str], int]] = {
    "returns": (["step"], 0),
    "exits": (["step"], 3),
    "raises": (["step"], 1),
    "handler_before": (["in handler", "step"], 0),
    "handler_after": (["in handler", "step"], 0),
    "handler_with_timeout": (["bounded", "step"], 0),
    "thread": (["after main", "step"], 0),
    "daemon_thread": (["in daemon", "step"], 0),
    "thread_pool": (["in pool"] * 3 + ["step"], 0),
    "asyncio_run": (["step"] + ["step async"] * 3, 0),
    "asyncio_pending": (["abandoned", "step", "step async"], 0),
    "fork": (["in child", "step"], 0),
    "fork_process": (["in child", "step"], 0),
    "spawn_process": (["in child", "step"], 0),
    "forkserver_process": (["in child", "step"], 0),
    "process_pool": (["in child"] * 3 + ["step"], 0),
    "process_pool_left_open": (["in child"] * 3 + ["step"], 0),
    "cached": (["kept"] * 4 + ["step"], 0),
    "many": (["step"] * 1500, 0),
}


@otel_events.task(name="step")
def step(number: int = 0) -> int:
    return number


def named(name: str) -> Callable[[], None]:
    @otel_events.task(name=name)
    def run() -> None: ...

    return run


@otel_events.task(name="step async")
async def step_async() -> None:
    import asyncio

    await asyncio.sleep(0)


def in_child(number: int = 0) -> int:
    named("in child")()
    return number


def returns() -> None:
    step()


def exits() -> None:
    step()
    sys.exit(3)


def raises() -> None:
    step()
    raise RuntimeError("on purpose")


def handler_before() -> None:
    step()


def handler_after() -> None:
    atexit.register(named("in handler"))
    step()


def handler_with_timeout() -> None:
    """Since Python 3.12 no thread can be had for it at that time."""
    atexit.register(otel_events.task(name="bounded", timeout=3600)(lambda: None))
    step()


def thread() -> None:
    """It goes on when main has ended."""
    main = threading.current_thread()

    def work() -> None:
        main.join()
        named("after main")()

    threading.Thread(target=work).start()
    step()


def daemon_thread() -> None:
    done = threading.Event()

    def work() -> None:
        named("in daemon")()
        done.set()
        threading.Event().wait()

    threading.Thread(target=work, daemon=True).start()
    done.wait()
    step()


def thread_pool() -> None:
    from concurrent.futures import ThreadPoolExecutor

    step()
    pool = ThreadPoolExecutor(2)
    for _ in range(3):
        pool.submit(named("in pool"))


def asyncio_run() -> None:
    import asyncio

    async def main() -> None:
        step()
        await asyncio.gather(*(step_async() for _ in range(3)))

    asyncio.run(main())


def asyncio_pending() -> None:
    """A coroutine that is cancelled because its loop ends."""
    import asyncio

    @otel_events.task(name="abandoned")
    async def abandoned() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        step()
        left = asyncio.create_task(abandoned())
        await step_async()
        assert not left.done()  # nobody sets the event

    asyncio.run(main())


def fork() -> None:
    step()
    if os.fork() == 0:
        in_child()
        sys.exit(0)
    os.wait()


def _process(method: str) -> None:
    import multiprocessing

    step()
    context: Any = multiprocessing.get_context(method)
    child = context.Process(target=in_child)
    child.start()
    child.join()


def fork_process() -> None:
    _process("fork")


def spawn_process() -> None:
    _process("spawn")


def forkserver_process() -> None:
    _process("forkserver")


def process_pool() -> None:
    from concurrent.futures import ProcessPoolExecutor

    step()
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(in_child, range(3)))


def process_pool_left_open() -> None:
    from concurrent.futures import ProcessPoolExecutor

    step()
    pool: Any = ProcessPoolExecutor(2)
    for number in range(3):
        pool.submit(in_child, number)


def cached() -> None:
    """Each thread has a connection of its own to the cache."""
    kept = otel_events.task(name="kept", cache=True, cache_version="1")(lambda: 1)
    step()
    for _ in range(3):
        thread = threading.Thread(target=kept)
        thread.start()
        thread.join()
    kept()


def many() -> None:
    for number in range(1500):
        step(number)


if __name__ == "__main__":
    from otel_events.inprocess import process

    way = sys.argv[1]
    process.EXIT_SECONDS = float(os.environ.get("ENDS_PATIENCE", process.EXIT_SECONDS))
    if way == "handler_before":
        atexit.register(named("in handler"))
    otel_events.configure(sys.argv[2] if len(sys.argv) > 2 else None)
    globals()[way]()
