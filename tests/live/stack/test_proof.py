"""Every query of every panel, variable, rule and alert against the real Prometheus, on captured runs told as of now;
trace queries against the real Jaeger; while all is well. A bad day is in test_faults."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import cycle
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec
import pytest
import yaml

from grafana.generate import DASHBOARDS
from grafana.model import Panel
from otel_events.model.event import AnyEvent, PhaseChange, Run
from otel_events.model.identity import trace_id
from otel_events.testing import CaptureServer
from scripts.stack import Stack, free_ports, running
from scripts.stack_binaries import ROOT
from scripts.stack_feed import Case, captured, mark, wave
from tests.live.stack import backfill
from tests.live.stack.kit import Prometheus, Sample, substituted, wait_for
from tests.live.stack.logql import records, selected
from tests.test_dashboards import BOARDS, asked

pytestmark = pytest.mark.timeout(2400)  # the first to ask builds the binaries, where no cache has them

GOLDEN = ROOT / "tests" / "golden"
SOURCES = ("flyte", "prefect", "ray", "clearml")
WAVES = 4
PACE = 4
"""Seconds between scrapes, and between waves."""
RULES = ROOT / "collector" / "prometheus"
RECORDING: list[dict[str, str]] = [
    rule for group in yaml.safe_load((RULES / "rules.yaml").read_text())["groups"] for rule in group["rules"]
]
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((RULES / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]


def cases() -> list[Case]:
    big = "again_and_done"  # 12,201 tasks: for the benchmark
    found = [case for case in captured(GOLDEN, SOURCES, without=(big,)) if case[1]]
    waiting = Run("clearml", "task", "waiting", "waiting", "waiting")  # every task of ClearML that was captured ended
    begun: list[AnyEvent] = [PhaseChange(id="waiting", time=1, run=waiting, phase="running", native="in_progress")]
    added = {"flyte": named, "ray": with_outcomes}
    told = [(source, added.get(source, list)(events)) for source, events in found]
    return [*told, ("clearml", begun)]


def named(events: list[AnyEvent]) -> list[AnyEvent]:
    """With the name of the workflow, which raw events of executions do not tell: as Flyte's CloudEvents add it."""
    return [msgspec.structs.replace(event, run=_named(event.run)) for event in events]


def _named(run: Run) -> Run:
    name = "snacks.wf"
    return msgspec.structs.replace(run, name=name, workflow=name) if run.kind == "workflow" else run


def with_outcomes(events: list[AnyEvent]) -> list[AnyEvent]:
    """And how the jobs ended, which Ray's events do not say: as polling its dashboard adds it."""
    last = max(event.time for event in events)
    jobs = {event.run.id: event.run for event in events if event.run.kind == "workflow"}
    ends = zip(jobs.values(), cycle((("succeeded", "SUCCEEDED"), ("failed", "FAILED"))), strict=False)
    return events + [
        PhaseChange(id=f"jobs.{run.id}", time=last, run=run, phase=phase, native=native)
        for run, (phase, native) in ends
    ]


class World:
    """The stack, fed with runs all the while."""

    def __init__(self, stack: Stack, logs: CaptureServer) -> None:
        self.stack, self.logs = stack, logs
        self.prometheus = Prometheus(stack.url("prometheus"))
        self.cases = cases()
        self.waves = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._feed)

    def _feed(self) -> None:
        while not self._over.wait(PACE):
            wave(self.stack.url("gateway"), self.cases, self.waves)
            self.waves += 1

    def feed(self) -> None:
        """Until ``rest``, waves of runs; the first have been scraped when this returns."""
        self._thread.start()
        ended = 'count(count by (source) (otel_events_runs_total{source=~"flyte|prefect|ray|clearml|python"}))'
        wait_for("runs of every source", lambda: self.waves >= WAVES and self.prometheus.total(ended) == 5)

    def rest(self) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("stack")
    with CaptureServer() as logs:
        stack = Stack(folder, free_ports(), seconds=PACE, logs=logs.url, gateway=("--grace", "1"))
        backfill.history(folder)
        with running(stack):
            push(stack)
            made = World(stack, logs)
            made.feed()
            yield made
            made.rest()


def push(stack: Stack) -> None:
    """A short program sends its telemetry, metrics too, to the agent."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": stack.url("agent_http"), "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    command = [sys.executable, "-m", "tests.live.stack.program"]
    subprocess.run(command, cwd=ROOT, env=os.environ | environ, check=True, timeout=60)


PANELS = [(board.title, panel) for board in DASHBOARDS for row in board.rows for panel in row.panels]
LOGS, TRACES = (
    sorted({query.expr for _, panel in PANELS for query in panel.queries if query.backend == backend} - {"$trace_id"})
    for backend in ("loki", "tempo")
)
WELL = [(title, panel, query) for title, panel in PANELS for query in panel.queries if query.backend == "prometheus"]


def name_of(value: object) -> str:
    return value.title if isinstance(value, Panel) else value if isinstance(value, str) else ""


@pytest.mark.parametrize(("board", "panel", "query"), WELL, ids=lambda value: name_of(value))
def test_a_panel_s_query_has_an_answer(world: World, board: str, panel: Panel, query: Any) -> None:
    if panel.fault:
        world.prometheus.query(query.expr)  # no error
    else:
        assert any(not math.isnan(value) for _, value in answer(world, query.expr))


def answer(world: World, expr: str) -> list[Sample]:
    found: list[Sample] = wait_for(f"an answer to {expr}", lambda: world.prometheus.query(expr), 60)
    return found


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_a_variable_has_values(world: World, name: str) -> None:
    for variable in BOARDS[name]["templating"]["list"]:
        if variable["type"] == "query":
            selector, label = asked(variable)
            assert world.prometheus.label_values(selector, label), selector


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_an_annotation_marks_runs_that_failed(world: World, name: str) -> None:
    for annotation in BOARDS[name]["annotations"]["list"]:
        assert answer(world, annotation["expr"])


@pytest.mark.parametrize("rule", RECORDING, ids=lambda rule: rule["record"])
def test_a_recording_rule_records(world: World, rule: dict[str, str]) -> None:
    assert answer(world, rule["expr"])


def test_every_rule_is_evaluated_without_error(world: World) -> None:
    def evaluated() -> bool:
        return all(rule["health"] == "ok" for rule in world.prometheus.rules())

    assert len(world.prometheus.rules()) == len(RECORDING) + len(ALERTS)
    wait_for("all rules evaluated", evaluated)  # groups begin within their interval of two minutes


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_s_expression_is_no_error(world: World, alert: dict[str, Any]) -> None:
    world.prometheus.query(alert["expr"])


# --- traces and logs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES)
def test_runs_are_found_in_jaeger_by_their_trace_id(world: World, source: str) -> None:
    """Which follows from what names the run; a few are in a trace of somebody else's."""
    runs = {
        (event.run.namespace, event.run.root + mark(0, case))
        for case, (told, events) in enumerate(world.cases)
        if told == source
        for event in events
    }
    traces = [trace_id(source, namespace, root).hex() for namespace, root in runs]
    found = wait_for(source, lambda: [trace for trace in traces if jaeger(world, trace)])
    assert {span["traceID"] for span in jaeger(world, found[0])} == {found[0]}


def jaeger(world: World, trace: str) -> list[dict[str, Any]]:
    answer = httpx.get(world.stack.url("jaeger", f"/api/traces/{trace}"), timeout=30)
    found = answer.json()["data"] if answer.status_code == 200 else []
    return [span for one in found for span in one["spans"]]


def test_an_exemplar_leads_to_its_trace(world: World) -> None:
    query = "otel_events_run_duration_seconds_bucket"
    found = wait_for("exemplars", lambda: world.prometheus.exemplars(query))
    assert jaeger(world, found[-1]["labels"]["trace_id"])


@pytest.mark.parametrize("query", LOGS)
def test_a_log_query_finds_records(world: World, query: str) -> None:
    """There is no Loki here: what arrives is read as Loki keeps it (logql.py)."""

    def found() -> bool:
        kept = records(world.logs)
        traces = {labels["trace_id"] for labels in kept if "trace_id" in labels} if "$trace_id" in query else {""}
        return any(any(selected(substituted(query.replace("$trace_id", one)), kept)) for one in traces)

    assert wait_for(query, found)


def test_every_record_of_a_run_leads_to_its_trace(world: World) -> None:
    logs = wait_for("logs", world.logs.logs)
    assert all(log.trace_id for log in logs if log.event_name.startswith("otel_events.run."))
    assert {log.attributes["otel_events.source"] for log in logs} >= {"flyte", "prefect", "ray", "clearml"}


@pytest.mark.parametrize("query", TRACES)
def test_a_trace_query_finds_spans(world: World, query: str) -> None:
    """TraceQL needs a Tempo; Jaeger is asked for spans with the same attributes."""
    terms = re.findall(r'span\.([\w.]+) (=~?) "([^"]*)"', query)
    assert re.sub(r'span\.[\w.]+ =~? "[^"]*"|&&|[{} ]', "", query) == "", "more than attributes of spans"
    tags = json.dumps({key: value for key, operator, value in terms if operator == "="})
    path = f"/api/traces?{urlencode({'service': 'otel_events', 'tags': tags, 'limit': 200})}"

    def found() -> bool:
        told = httpx.get(world.stack.url("jaeger", path), timeout=30).json()["data"]
        spans = [{tag["key"] for tag in span["tags"]} for trace in told or [] for span in trace["spans"]]
        return any(span >= {key for key, _, _ in terms} for span in spans)

    assert wait_for(query, found)
