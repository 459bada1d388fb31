"""A job of Ray 2.60 that knows nothing of spans of Ray, started with ``RayInstrumentor``: what each part of it sees."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import ray
import structlog
from opentelemetry import trace

import otel_events

SEEN = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("seen")


def look(what: str, seen: str) -> None:
    """A span, a record of a standard logger and a line of structlog, here; and what the code at hand is told."""
    from otel_events.inprocess.structured import add_otel_context

    context = ray.get_runtime_context()
    run = otel_events.current_run()
    with trace.get_tracer("user").start_as_current_span(f"mine: {what}") as span:
        where = span.get_span_context()
        logging.getLogger("job").warning("standard: %s", what, extra={"run_id": "the user's"})
        line: dict[str, Any] = dict(add_otel_context(structlog.get_logger(), "info", {"event": "read"}))
        otel_events.current_context().logger.info(f"structured: {what}")
    found = {
        "what": what,
        "task": context.get_task_id() if context.worker.mode == ray.WORKER_MODE else context.get_job_id(),
        "run": None if run is None else [run.id, run.attempt, run.kind],
        "trace": f"{where.trace_id:032x}",
        "span": f"{where.span_id:016x}",
        "parent": f"{parent.span_id:016x}" if (parent := getattr(span, "parent", None)) else "",
        "line": [line["trace_id"], line["span_id"], line.get("otel_events.run.id"), line.get("otel_events.attempt")],
    }
    with Path(seen).open("a") as file:
        file.write(json.dumps(found) + "\n")


@ray.remote
def plain(seen: str) -> None:
    look("plain", seen)
    thread = threading.Thread(target=look, args=("thread of a task", seen))
    thread.start()
    thread.join()


@ray.remote
def outer(seen: str) -> None:
    with trace.get_tracer("user").start_as_current_span("mine: around"):
        ray.get(plain.options(name="nested").remote(seen))


@ray.remote(max_retries=1, retry_exceptions=True)
def again(seen: str) -> None:
    look("again", seen)
    if otel_events.current_context().attempt == 1:
        raise ValueError("the first time")


@ray.remote
def streaming(seen: str) -> Iterator[int]:
    for number in range(3):
        look(f"streaming {number}", seen)
        yield number


@ray.remote(num_returns=2)
def static(seen: str) -> Iterator[int]:
    look("static generator", seen)
    yield from (1, 2)


@ray.remote
class Actor:
    def __init__(self, seen: str) -> None:
        look("creation", seen)

    def method(self, seen: str) -> None:
        look("method", seen)

    def streaming(self, seen: str, end: int) -> Iterator[int]:
        for number in range(end):
            look(f"method streaming {number}", seen)
            yield number


@ray.remote(max_concurrency=3)
class Threaded:
    def __init__(self) -> None:
        self._barrier = threading.Barrier(3)

    def method(self, number: int, seen: str) -> None:
        self._barrier.wait(60)  # all three are under way
        look(f"threaded {number}", seen)
        self._barrier.wait(60)


@ray.remote(max_task_retries=1)
class Waiter:
    def __init__(self) -> None:
        self._arrived, self._all = 0, asyncio.Event()
        self._tried = False

    async def method(self, number: int, seen: str) -> None:
        self._arrived += 1
        if self._arrived == 3:
            self._all.set()
        await self._all.wait()  # all three are under way
        look(f"async {number}", seen)
        await asyncio.create_task(self._part(number, seen))

    async def _part(self, number: int, seen: str) -> None:
        await asyncio.sleep(0)
        look(f"part of async {number}", seen)

    async def streaming(self, seen: str) -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0.01)
            look(f"async streaming {number}", seen)
            yield number

    @ray.method(retry_exceptions=True)
    async def again(self, seen: str) -> None:
        look("async again", seen)
        self._tried, tried = True, self._tried
        if not tried:
            raise ValueError("the first time")


def users_hook() -> None:
    """The user's own: runs in each worker, too."""
    import os

    os.environ["USERS_HOOK"] = "ran"


@ray.remote
def hooked() -> str | None:
    import os

    return os.environ.get("USERS_HOOK")


def main(seen: str) -> dict[str, Any]:
    classes: list[Any] = [Actor, Threaded, Waiter]  # Ray's, of whose type nothing tells
    look("driver", seen)
    found: dict[str, Any] = {"signature": "self" in inspect.signature(classes[0].__ray_actor_class__.method).parameters}
    ray.get([plain.remote(seen), outer.remote(seen), again.remote(seen)])
    found["streaming"] = [ray.get(one) for one in streaming.remote(seen)]
    found["static"] = ray.get(static.remote(seen))
    actor, threaded, waiter = classes[0].remote(seen), classes[1].remote(), classes[2].remote()
    ray.get(actor.method.remote(seen))
    found["method streaming"] = [ray.get(one) for one in actor.streaming.remote(seen, end=3)]
    ray.get([threaded.method.remote(number, seen) for number in range(3)])
    ray.get([waiter.method.remote(number, seen) for number in range(3)])
    found["async streaming"] = [ray.get(one) for one in waiter.streaming.options(num_returns="streaming").remote(seen)]
    ray.get(waiter.again.remote(seen))
    found["hooked"] = ray.get(hooked.remote())
    found["session"] = ray.get_runtime_context().get_session_name()
    found["job"] = ray.get_runtime_context().get_job_id()
    # Ray ends workers without notice, with what they told in the last moment: those of actors with the last handle.
    time.sleep(5)
    return found


if __name__ == "__main__":
    from otel_events.instrument.ray import RayInstrumentor

    original = ray.init
    otel_events.configure()
    RayInstrumentor().instrument()
    given = {"worker_process_setup_hook": users_hook, "env_vars": {"OF": "the user"}}
    before = dict(given)
    ray.init(runtime_env=given)
    told = main(str(SEEN))
    told["untouched"] = given == before
    ray.shutdown()
    RayInstrumentor().uninstrument()
    told["restored"] = ray.init is original and otel_events.current_run() is None
    SEEN.with_suffix(".told").write_text(json.dumps(told))
