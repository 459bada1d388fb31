"""A flytekit workflow, as it would be without otel-events: nothing here names it.

    pip install otel-events flytekit
    export OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317
    python examples/flytekit_workflow.py

flytekit loads the instrumentation itself, as it does in its pods.
"""

from __future__ import annotations

from flytekit import current_context, map_task, task, workflow


@task(cache=True, cache_version="1")
def numbers(count: int) -> list[int]:
    current_context().stats.incr("numbers_made", count)
    return list(range(count))


@task
def square(number: int) -> int:
    with current_context().stats.timer("squaring"):
        return number * number


@task
def total(squares: list[int]) -> int:
    current_context().logging.info("%d squares", len(squares))
    return sum(squares)


@workflow
def sum_of_squares(count: int) -> int:
    return total(squares=map_task(square)(number=numbers(count=count)))


if __name__ == "__main__":
    print(sum_of_squares(count=4))
