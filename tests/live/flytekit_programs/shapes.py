"""Every shape of run that flytekit has, run locally."""

from __future__ import annotations

import asyncio
import datetime
from functools import partial

from flytekit import LaunchPlan, Workflow, conditional, current_context, dynamic, eager, map_task, sleep, task, workflow


@task
def plus(a: int, b: int = 1) -> int:
    return a + b


@task
def fails(a: int) -> int:
    if a == 2:
        raise ValueError("not two")
    return a


@task(cache=True, cache_version="1")
def kept(a: int) -> int:
    return a * 2


@workflow
def inner(a: int) -> int:
    return plus(a=plus(a=a))


@workflow
def linear(a: int) -> int:
    return plus(a=inner(a=plus(a=a)), b=5)


@dynamic
def fans_out(n: int) -> int:
    total = 0
    for number in range(n):
        total = plus(a=number, b=total)
    return total


@workflow
def dynamically(n: int) -> int:
    return fans_out(n=n)


@workflow
def maps(numbers: list[int]) -> list[int]:
    return map_task(partial(plus, b=10))(a=numbers)


@workflow
def maps_with_failures(numbers: list[int]) -> list[int | None]:
    return map_task(fails, min_success_ratio=0.5)(a=numbers)


@workflow
def chooses(a: int) -> int:
    return conditional("size").if_(a > 3).then(plus(a=a, b=100)).else_().then(plus(a=a, b=200))


@workflow
def caches(a: int) -> int:
    return kept(a=a)


@workflow
def breaks(a: int) -> int:
    return fails(a=a)


@workflow
def waits(a: int) -> int:
    sleep(datetime.timedelta(seconds=1))
    return plus(a=a)


@task
async def slowly(a: int) -> int:
    await asyncio.sleep(0)
    return a + 1


@eager
async def eagerly(a: int) -> int:
    one, two = await asyncio.gather(slowly(a=a), slowly(a=a + 1))
    return one + two


@task
def reports(rows: int) -> int:
    context = current_context()
    context.stats.incr("rows_read", rows)
    context.stats.gauge("rows_now", rows, tags={"shard": "a"})
    context.stats.timing("waited", 250)
    with context.stats.timer("worked"):
        context.logging.info("read %d rows", rows)
    return rows


imperative = Workflow(name="imperative")
imperative.add_workflow_input("a", int)
_first = imperative.add_entity(plus, a=imperative.inputs["a"], b=1)
_second = imperative.add_entity(plus, a=_first.outputs["o0"], b=2)
imperative.add_workflow_output("out", _second.outputs["o0"])

plan = LaunchPlan.get_or_create(inner, name="nightly", default_inputs={"a": 7})


@workflow
def plans() -> int:
    return plan(a=8)


def run_all() -> dict[str, object]:
    found: dict[str, object] = {
        "plus": plus(a=1),
        "linear": linear(a=1),
        "dynamically": dynamically(n=2),
        "maps": maps(numbers=[1, 2, 3]),
        "maps_with_failures": maps_with_failures(numbers=[1, 2, 3]),
        "chooses": chooses(a=5),
        "caches": [caches(a=3), caches(a=3)],
        "waits": waits(a=1),
        "imperative": imperative(a=1),
        "plans": plans(),
        "plan": plan(),
        "reports": reports(rows=3),
        "eagerly": asyncio.run(eagerly(a=1)),
    }
    try:
        breaks(a=2)
    except ValueError as error:
        found["breaks"] = str(error)
    return found


if __name__ == "__main__":
    print(run_all())
