"""``otel-events demo``: bundled records and a live run through a gateway of its own; no server, no network."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer
from prometheus_client.parser import text_string_to_metric_families

from otel_events.cli.common import say
from otel_events.cli.look import table
from otel_events.cli.serve import PORT
from otel_events.core.traces import close_all
from otel_events.gateway.gateway import Gateway, GatewayConfig
from otel_events.gateway.state import Timing
from otel_events.inprocess.queue import EventQueue, install
from otel_events.intake.records import Record, Refused, read
from otel_events.journal import Journal
from otel_events.server.auth import Access
from otel_events.server.run import bind, run
from otel_events.sources import source_names
from otel_events.tasks.decorator import task, workflow
from otel_events.views.explain import text, tree

AT_ONCE = Timing(grace=0, neighbours=0, orphans=0)
"""The records are all there: nothing to wait for."""

Serve = Annotated[bool, typer.Option("--serve", help="Keep the metrics page up until Ctrl-C.")]
Port = Annotated[
    int, typer.Option(metavar="PORT", min=0, max=65_535, help="Port of the metrics page; 0 takes a free one.")
]


def demo(serve: Serve = False, port: Port = PORT) -> None:
    """Show bundled records of every source, and a run in this process, as traces and metrics.

    Needs no server and no network, and leaves nothing behind.

    Examples:

        otel-events demo
        otel-events demo --serve
    """
    with tempfile.TemporaryDirectory(prefix="otel-events-demo-") as folder:
        path = Path(folder) / "journal.db"
        gateway = Gateway.open(GatewayConfig(journal=path, otlp=None, timing=AT_ONCE))
        try:
            for source, records in bundled():
                gateway.ingest(source, records)
            live(gateway)
            gateway.tick()
            show(gateway, path)
            if serve:
                with bind("127.0.0.1", port) as listener:
                    url = f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"
                    run(gateway, listener, Access(), 0.0, started=lambda: say(f"metrics at {url}; Ctrl-C ends it"))
        finally:
            gateway.drain_and_close(0.0)


def bundled() -> Iterator[tuple[str, list[Record | Refused]]]:
    """(source, its records) of what is shipped with the package."""
    with as_file(files("otel_events") / "demo_data") as folder:
        for source in source_names():
            yield source, list(read([str(folder / source)]))


@task(name="load")
def _load() -> list[int]:
    return list(range(1_000))


@task(name="total")
def _total(rows: list[int]) -> int:
    return sum(rows)


@workflow(name="demo")
def _workflow() -> int:
    return _total(_load())


def live(gateway: Gateway) -> None:
    """Run a decorated workflow whose events go to ``gateway``, as ``otel_events.configure()`` would have it."""
    taker = EventQueue(lambda events: gateway.offer("python", events), gateway.tick)
    install(taker)
    try:
        _workflow()
    finally:
        install(None)
        taker.stop()


def show(gateway: Gateway, path: Path) -> None:
    """The trees, the figures, and where to look next, on stdout."""
    with closing(Journal.reader(path)) as reader:
        for row in reader.roots(order="recent"):
            events = [event for chunk in reader.root_chunks(row.key, records=False) for event in chunk.events]
            steps = tree(close_all(events)[0])
            if steps:
                typer.echo(f"\n{row.source}: {row.root}\n\n{text(steps)}", nl=False)
    typer.echo(f"\nRuns, by outcome (* above: on the critical path)\n\n{figures(gateway)}\n\n{NEXT}")


NEXT = """Where to look next
  all metrics                   otel-events demo --serve, then http://127.0.0.1:4319/metrics
  your own records, to files    otel-events replay SOURCE PATH... --out out/
  your own records, to OTLP     OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317 otel-events replay SOURCE PATH...
  as they come                  otel-events serve
  what else there is            otel-events --help"""

SUMMED = {
    "otel_events_runs_total": "runs",
    "otel_events_attempts_total": "attempts",
    "otel_events_run_duration_seconds_sum": "seconds",
}
HEADS = ("source", "kind", "outcome", *SUMMED.values())


def figures(gateway: Gateway) -> str:
    """Runs, attempts and seconds run, summed over definitions: a part of what /metrics tells."""
    body, _ = gateway.exposition("text/plain")
    sums: dict[tuple[str, str, str], dict[str, float]] = defaultdict(lambda: dict.fromkeys(SUMMED.values(), 0.0))
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            if sample.name in SUMMED and sample.value:
                key = (sample.labels["source"], sample.labels["kind"], sample.labels["outcome"])
                sums[key][SUMMED[sample.name]] += sample.value
    return table([HEADS, *([*key, *(f"{value:,g}" for value in row.values())] for key, row in sorted(sums.items()))])
