"""Tasks of plain Python: retries, a cache, threads, numbers, logs, and what is said of results.

pip install otel-events
export OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317
python examples/plain_python.py
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import otel_events
from otel_events import OutputMetadata, RecoverableError, current_context, task, workflow

REGIONS = ("eu", "us", "asia")


@task(retries=2, retry_on=RecoverableError, timeout=30)
def load(region: str) -> list[int]:
    context = current_context()
    if region == "us" and context.attempt == 1:
        raise RecoverableError("the store is busy")
    rows = list(range(len(region) * 10))
    context.stats.incr("rows_loaded", len(rows))
    context.logger.info("loaded", region=region, rows=len(rows))
    context.output_metadata_tracker.add(rows, OutputMetadata(dynamic_partitions={"region": region}))
    return rows


@task(cache=True, cache_version="1")
def total(rows: list[int]) -> int:
    with current_context().stats.timer("adding"):
        return sum(rows)


@workflow(attributes={"team": "data"})
def report() -> int:
    with ThreadPoolExecutor() as pool:
        return sum(total(rows) for rows in pool.map(load, REGIONS))


if __name__ == "__main__":
    otel_events.configure()
    print(report())
