"""A Prefect flow whose runs are traced, counted and logged, each attempt with its error.

    pip install otel-events prefect
    export OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317 PREFECT_PLUGINS_ENABLED=true
    python prefect_flow.py

Nothing here names OpenTelemetry: Prefect loads the instrumentation as a plug-in.
"""

from __future__ import annotations

from prefect import flow, task

from otel_events import current_context


@task
def extract(day: int) -> list[int]:
    rows = list(range(day * 10))
    current_context().stats.incr("rows", len(rows))
    return rows


@task(retries=2)
def load(rows: list[int], tries: list[str]) -> int:
    tries.append("once more")
    if len(tries) < 2:
        raise ConnectionError("the warehouse is asleep")
    current_context().logging.info("loaded %d rows", len(rows))
    return len(rows)


@flow
def nightly(days: int) -> int:
    extracted = extract.map(range(1, days + 1)).result()
    return sum(load(rows, []) for rows in extracted)


if __name__ == "__main__":
    print("loaded", nightly(2))
