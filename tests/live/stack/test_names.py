"""One name for one number, whichever way it goes: scraped from the gateway, pushed by OTLP to the collector and scraped
from its exporter, pushed by OTLP into Prometheus itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import get_args

import pytest

from otel_events.core.metrics import COMMON, all_families
from otel_events.model.declared import all_traits
from otel_events.model.event import AnyEvent, PhaseChange, Run, Stat, StatType
from scripts.stack import Stack, free_ports
from scripts.stack_binaries import ROOT
from scripts.stack_feed import captured, mark, moved, post
from tests.live.stack.kit import Prometheus, get, wait_for

FAMILIES = all_families(all_traits())

pytestmark = pytest.mark.timeout(2400)  # the first to ask builds the binaries, where no cache has them

SOURCES = ("flyte", "prefect", "ray", "clearml")
SCRAPED, COLLECTED, RECEIVED = "otel-events", "by-collector", "by-receiver"
"""Values of ``job``: that of the scrape, and the names of services that push."""
ADDED = {
    COLLECTED: {"otel_scope_name", "otel_scope_version", "otel_scope_schema_url"},
    RECEIVED: {"service_name", "service_instance_id"},
}
"""Labels that are not ours: of the scope, and what prometheus.yaml promotes."""

GRACE = "4"
"""Seconds: all batches are there before the first run is settled, so that each gateway tells the same."""
LAST = "last"
COUNTED = ("otel_events_records_received_total", "otel_events_attempts_total")
OF_THE_MOMENT = ("otel_events_runs_active", "otel_events_oldest_run_start_time_seconds")
"""Gauges whose series depend on when one looked."""

Series = tuple[str, frozenset[tuple[str, str]]]


def events() -> list[AnyEvent]:
    """Captured runs of every source as of now, and a task that reports a stat of each type, with and without unit."""
    now = time.time_ns()
    cases = enumerate(captured(ROOT / "tests" / "golden", SOURCES, without=("again_and_done",)))
    told = [event for number, (_, case) in cases if case for event in moved(case, mark(0, number), now)]
    run = Run("events", "task", "all types", "report", "all types", workflow="names", attempt=1)
    stats: list[AnyEvent] = [
        Stat(id=f"{kind} {unit}", time=now, run=run, name=f"of_{kind}_{unit}", value=2.0, type=kind, unit=unit)
        for kind in get_args(StatType)
        for unit in ("", "s", "By", "1", "%", "{row}")
    ]
    last = Run("events", "task", LAST, LAST, LAST, workflow="names", attempt=1)
    changes = [
        PhaseChange(id="begun", time=now, run=run, phase="running", native="RUNNING"),
        PhaseChange(id="done", time=now, run=last, phase="succeeded", native="DONE"),
    ]
    return [*told, *stats, *changes]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    stack = Stack(tmp_path_factory.mktemp("names"), free_ports(), seconds=1, gateway=("--grace", GRACE))
    told = events()
    try:
        stack.start("collector", "agent", "prometheus", "gateway")
        post_all(stack.url("gateway"), told)
        wait_for("the runs are over", lambda: over(stack.url("gateway")))
        push(stack, COLLECTED, stack.url("agent_http", "/v1/metrics"), told)
        push(stack, RECEIVED, stack.url("prometheus", "/api/v1/otlp/v1/metrics"), told)
        yield Prometheus(stack.url("prometheus"))
    finally:
        stack.stop()


def post_all(url: str, told: list[AnyEvent]) -> None:
    for at in range(0, len(told), 1_000):
        post(url, told[at : at + 1_000])


def push(stack: Stack, service: str, metrics: str, told: list[AnyEvent]) -> None:
    """A gateway of that name takes the events, and pushes its metrics to ``metrics`` when it ends."""
    port = free_ports()["gateway"]
    environ = os.environ | {
        "OTEL_SERVICE_NAME": service,
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": metrics,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": stack.url("agent_http"),
    }
    journal = str(stack.folder / f"{service}.db")
    command = [
        sys.executable,
        "-m",
        "otel_events",
        "serve",
        "--port",
        str(port),
        "--journal",
        journal,
        "--grace",
        GRACE,
    ]
    log = stack.folder / f"{service}.log"
    with log.open("wb") as said, subprocess.Popen(command, env=environ, stdout=said, stderr=said) as gateway:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{service} is ready", lambda: get(f"{url}/readyz")[0] == 200)
        post_all(url, told)
        wait_for(f"the runs of {service} are over", lambda: over(url))
        gateway.terminate()
    assert gateway.returncode == 0, log.read_text()


def over(url: str) -> bool:
    """Whether a gateway has counted the run that it was told of last."""
    lines = get(f"{url}/metrics")[1].splitlines()
    return any(f'name="{LAST}"' in line and line.endswith(" 1.0") for line in lines if "_attempts_total{" in line)


def series(prometheus: Prometheus, job: str) -> dict[Series, float]:
    """(name, our labels) -> value, of what came under that job.

    Prometheus writes a bound as 10.0 where it scrapes and as 10 where it receives (histogram_quantile takes them for
    one): they are told as numbers here.
    """
    found: dict[Series, float] = {}
    ours = r"otel_events_.+"
    for labels, value in prometheus.query(f'{{__name__=~"{ours}", job="{job}"}}'):
        name = labels.pop("__name__")
        labels |= {"le": str(float(labels["le"]))} if "le" in labels else {}
        kept = {key: text for key, text in labels.items() if key not in ADDED.get(job, set()) | {"job", "instance"}}
        found[name, frozenset(kept.items())] = value
    return found


@pytest.mark.parametrize("job", [COLLECTED, RECEIVED])
def test_names_and_labels_are_the_same(prometheus: Prometheus, job: str) -> None:
    scraped, pushed = settled(prometheus, SCRAPED), settled(prometheus, job)
    assert shape(pushed) - shape(scraped) == set()
    assert shape(scraped) - shape(pushed) == set()
    assert len({name for name, _ in scraped}) > len(FAMILIES)


def shape(found: dict[Series, float]) -> set[tuple[str, frozenset[object]]]:
    """Names with labels; of what changes by the moment, with the names of labels alone."""
    moment = {
        (name, frozenset[object](key for key, _ in labels) - {"namespace", "workflow", "name"})
        for name, labels in found
        if name in OF_THE_MOMENT
    }
    return moment | {(name, frozenset[object](labels)) for name, labels in found if name not in OF_THE_MOMENT}


@pytest.mark.parametrize("job", [COLLECTED, RECEIVED])
def test_what_is_told_of_runs_has_the_same_value(prometheus: Prometheus, job: str) -> None:
    scraped, pushed = settled(prometheus, SCRAPED), settled(prometheus, job)
    families = [one.name for one in FAMILIES if one.labels[: len(COMMON)] == COMMON and one.name not in OF_THE_MOMENT]
    names = [key for key in scraped if key[0].startswith((*families, "otel_events_stat_"))]
    assert len(names) > 500
    assert {key: pushed[key] for key in names} == pytest.approx({key: scraped[key] for key in names})


def settled(prometheus: Prometheus, job: str) -> dict[Series, float]:
    """What came of a job, once all runs of it are in."""
    counted = [f'sum({name}{{job="{one}"}})' for name in COUNTED for one in (SCRAPED, job)]

    def same() -> bool:
        found = [prometheus.total(expr) for expr in counted]
        return all(found) and found[::2] == found[1::2]

    wait_for(f"the metrics of {job}", same)
    return series(prometheus, job)
