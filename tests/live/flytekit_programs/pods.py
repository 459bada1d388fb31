"""Tasks as pods run them."""

from __future__ import annotations

from flytekit import current_context, map_task, task
from opentelemetry import trace


@task
def train(rows: int) -> int:
    context = current_context()
    context.stats.incr("rows", rows)
    context.logging.info("training on %d rows", rows)
    with trace.get_tracer("user").start_as_current_span("load"):
        if rows == 13:
            raise ValueError("thirteen")
    return rows + 1


each = map_task(train)
