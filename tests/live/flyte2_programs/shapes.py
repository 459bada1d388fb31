"""Every shape of local run of the Flyte 2 SDK; with ``plugin`` its own OpenTelemetry plug-in makes spans, too."""

from __future__ import annotations

import asyncio
import sys

import flyte
from opentelemetry import trace

from otel_events import current_context

env = flyte.TaskEnvironment(name="shapes")
TRIES: list[int] = []


def seen(what: str) -> None:
    where = trace.get_current_span().get_span_context()
    run = current_context().run
    print("seen", what, f"{where.trace_id:032x}", f"{where.span_id:016x}", run.id if run else "", flush=True)


@env.task
async def plus(one: int, other: int = 1) -> int:
    current_context().stats.incr("added")
    return one + other


@env.task(retries=2)
async def at_third() -> int:
    TRIES.append(1)
    if len(TRIES) < 3:
        raise ValueError(f"try {len(TRIES)}")
    return len(TRIES)


@env.task(cache="auto")
async def kept(number: int) -> int:
    return number


@env.task
async def outer(number: int) -> int:
    seen("outer")
    return await plus(number)


@env.task
async def shapes() -> int:
    mapped = await asyncio.gather(*(plus(number) for number in (1, 2, 3)))
    return sum(mapped) + await at_third() + await kept(7) + await kept(7) + await outer(1)


@env.task
async def breaks() -> int:
    raise KeyError("nothing there")


if __name__ == "__main__":
    if "plugin" in sys.argv:
        from flyteplugins import otel

        otel.init(tracer_provider=trace.get_tracer_provider())
    flyte.init()
    run = flyte.with_runcontext(mode="local").run(shapes)
    print("shapes", run.outputs())
    try:
        flyte.with_runcontext(mode="local").run(breaks)
    except flyte.errors.RuntimeUserError as error:
        print("broken", type(error).__name__, error)
