"""Every shape of run of Prefect's, with its ephemeral server; prints what it returns."""

from __future__ import annotations

import asyncio
from typing import Any

from prefect import flow, task
from prefect.cache_policies import INPUTS
from prefect.events import emit_event

from otel_events import current_context

SEEN: dict[str, Any] = {}


@task
def plus(one: int, other: int = 1) -> int:
    return one + other


@task(retries=2, retry_delay_seconds=0)
def at_third(tries: list[int]) -> int:
    tries.append(1)
    if len(tries) < 3:
        raise ValueError(f"try {len(tries)}")
    return len(tries)


@task(cache_policy=INPUTS, persist_result=True)
def kept(number: int) -> int:
    return number


@task
async def plus_async(one: int) -> int:
    await asyncio.sleep(0)
    return one + 1


@task
def breaks() -> None:
    raise KeyError("nothing there")


@task
def outer(number: int) -> int:
    return plus(number)


@task
def looks() -> None:
    context = current_context()
    run = context.run
    assert run is not None
    SEEN["looks"] = [run.id, run.name, run.root, context.span_id.hex()]
    context.stats.incr("looked")


@flow
def inner(number: int) -> int:
    return plus(number, 10)


@flow
def shapes() -> int:
    mapped = plus.map([1, 2, 3])
    total = sum(mapped.result()) + at_third([]) + kept(7) + kept(7) + outer(1) + inner(1)
    looks()
    emit_event("shapes.made", {"prefect.resource.id": "shapes.1"})
    return total


@flow(retries=1, retry_delay_seconds=0)
def fails_once() -> None:
    SEEN["flow tries"] = SEEN.get("flow tries", 0) + 1
    if SEEN["flow tries"] < 2:
        raise RuntimeError("once")


@flow
async def asynchronous() -> int:
    first, second = await asyncio.gather(plus_async(1), plus_async(2))
    return first + second


@flow
def broken() -> None:
    breaks()


if __name__ == "__main__":
    print("shapes", shapes())
    fails_once()
    print("async", asyncio.run(asynchronous()))
    try:
        broken()
    except KeyError as error:
        print("broken", error)
    print("seen", SEEN)
