"""Workflows in threads, a pool, and under another source's run and a user's own span."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from flytekit import task, workflow
from opentelemetry import trace

import otel_events


@task
def plus(a: int) -> int:
    with trace.get_tracer("user").start_as_current_span(f"within {a}"):
        return a + 1


@workflow
def twice(a: int) -> int:
    return plus(a=plus(a=a))


@otel_events.task(name="outer")
def outer() -> int:
    return int(twice(a=100))


if __name__ == "__main__":
    with ThreadPoolExecutor(4) as pool:
        print(sum(pool.map(lambda number: twice(a=number * 10), range(8))))
    print(outer())
    with trace.get_tracer("user").start_as_current_span("mine"):
        print(twice(a=200))
