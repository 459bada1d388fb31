"""A job of Ray 2.60 whose tasks have spans and log lines of their own; prints what each of them saw."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import ray

from otel_events.instrument.ray_context import attach_ray_task

SEEN = Path(sys.argv[1])


def look(what: str) -> dict[str, Any]:
    """What the code at hand is told: the run, a span of the user's, a log line, a call of ours."""
    import structlog
    from opentelemetry.sdk.trace import TracerProvider

    import otel_events
    from otel_events.inprocess.structured import add_otel_context

    context = ray.get_runtime_context()
    run = otel_events.current_run()
    with TracerProvider().get_tracer("user").start_as_current_span("mine") as span:
        where = span.get_span_context()
        line: dict[str, Any] = dict(add_otel_context(structlog.get_logger(), "info", {"event": "read"}))
    outside: dict[str, Any] = dict(add_otel_context(structlog.get_logger(), "info", {"event": "read"}))
    parent = span.parent  # type: ignore[attr-defined]  # the SDK's span has it
    return {
        "what": what,
        "task": context.get_task_id() if context.worker.mode == ray.WORKER_MODE else context.get_job_id(),
        "run": None if run is None else [run.source, run.namespace, run.id, run.attempt, run.root, run.kind],
        "trace": f"{where.trace_id:032x}",
        "span": f"{where.span_id:016x}",
        "parent": f"{parent.span_id:016x}" if parent else "",
        "line": [line["trace_id"], line["span_id"], line.get("otel_events.run.id"), line.get("otel_events.attempt")],
        "outside": [outside.get("trace_id"), outside.get("span_id")],
    }


def keep(found: dict[str, Any]) -> dict[str, Any]:
    with SEEN.open("a") as file:
        file.write(json.dumps(found) + "\n")
    return found


@ray.remote
def plain() -> None:
    keep(look("plain"))


@ray.remote
def called() -> None:
    """A call of ours inside the task."""
    import otel_events

    otel_events.configure(SEEN.with_suffix(".db"))
    otel_events.task(name="inner")(lambda: keep(look("inner")))()
    otel_events.configure("")


@ray.remote(max_retries=1, retry_exceptions=True)
def again() -> None:
    found = keep(look("again"))
    if found["run"][3] == 1:
        raise ValueError("the first time")


class Actor:
    def method(self) -> None:
        keep(look("method"))


class Waiter:
    async def method(self, name: str) -> None:
        attach_ray_task()  # each coroutine has a context of its own
        await asyncio.sleep(0.05)
        keep(look(name))
        await asyncio.sleep(0.05)


def main() -> None:
    hook = {"worker_process_setup_hook": "otel_events.instrument.ray_context.attach_ray_task"}
    ray.init(runtime_env=hook)
    attach_ray_task()
    keep(look("driver"))
    ray.get([plain.remote(), plain.remote(), again.remote(), called.remote()])
    actor, waiter = ray.remote(Actor).remote(), ray.remote(Waiter).remote()
    ray.get([actor.method.remote(), *(waiter.method.remote(f"async {n}") for n in range(3))])
    print(ray.get_runtime_context().get_session_name())


main()
