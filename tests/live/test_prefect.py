"""The instrumentor on the real Prefect 3 with its ephemeral server: each run is one span, whoever made it."""

from __future__ import annotations

import ast
import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from otel_events.gateway.gateway import Gateway, GatewayConfig
from otel_events.model.identity import span_id, trace_id
from otel_events.otlp import from_env
from otel_events.sources import decoder
from otel_events.testing import CaptureServer
from tests.live.envs import ROOT, python
from tests.server.serving import serving

PROGRAMS = Path(__file__).parent / "prefect_programs"
EXAMPLE = ROOT / "examples" / "prefect_flow.py"
LONG = 400
"""Seconds: the ephemeral server alone takes half a minute to start on a slow machine."""
TASKS = {"plus": 5, "at_third": 1, "kept": 2, "outer": 1, "looks": 1, "plus_async": 2, "breaks": 1}
FLOWS = {"shapes": 1, "inner": 1, "fails-once": 1, "asynchronous": 1, "broken": 1}
PLUGIN = {"PREFECT_PLUGINS_ENABLED": "true"}
OWN = {"PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false"}
"""Prefect makes no spans, so ours are sent."""

pytestmark = pytest.mark.timeout(LONG)


class Played(NamedTuple):
    collector: CaptureServer
    seen: dict[str, Any]

    @property
    def spans(self) -> list[Any]:
        """Of runs: the server has spans of its own."""
        return [
            one
            for one in self.collector.spans()
            if "prefect.run.id" in one.attributes or "otel_events.kind" in one.attributes
        ]


def environ(place: Path, **more: str) -> dict[str, str]:
    clean = {
        key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PREFECT", "PYTHON"))
    }  # fmt: skip
    return clean | {
        "HOME": str(place),
        "PREFECT_HOME": str(place / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "200",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "DO_NOT_TRACK": "1",
        **more,
    }


def run(environ: dict[str, str], *command: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(part) for part in command],
        env=environ, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LONG,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done


def played(place: Path, **more: str) -> Played:
    collector = CaptureServer()
    with collector:
        done = run(
            environ(place, **collector.environ("http/protobuf"), **PLUGIN, **more),
            python("prefect"),
            PROGRAMS / "shapes.py",
        )
    (seen,) = (line for line in done.stdout.splitlines() if line.startswith("seen "))
    assert "shapes 39" in done.stdout
    assert "async 5" in done.stdout
    return Played(collector, ast.literal_eval(seen.removeprefix("seen ")))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return played(tmp_path_factory.mktemp("theirs"))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return played(tmp_path_factory.mktemp("ours"), **OWN)


def points(played: Played, name: str, *labels: str) -> Counter[tuple[Any, ...]]:
    """The last values of a counter's series, added up by ``labels``; zeros are left out."""
    last = {tuple(sorted(one.labels.items())): one for one in played.collector.metrics() if one.name == name}
    found: Counter[tuple[Any, ...]] = Counter()
    for point in last.values():
        found[tuple(point.labels.get(label) for label in labels)] += int(point.value)
    return +found


# --- Prefect's own spans ----------------------------------------------------------------------------------------------


def test_prefects_spans_are_the_runs_spans(theirs: Played) -> None:
    assert all("otel_events.kind" not in span.attributes for span in theirs.spans), "a run has two spans"
    assert Counter(span.attributes["prefect.run.type"] for span in theirs.spans) == {
        "task": sum(TASKS.values()),
        "flow": sum(FLOWS.values()),
    }


def test_the_task_at_hand_is_on_prefects_span(theirs: Played) -> None:
    run_id, name, root, span = theirs.seen["looks"]
    (own,) = (one for one in theirs.spans if one.attributes["prefect.run.id"] == run_id)
    assert (own.span_id.hex(), name) == (span, "looks")
    logs = {one.event_name: one for one in theirs.collector.logs() if one.span_id == own.span_id}
    assert set(logs) >= {"otel_events.run.running", "otel_events.run.succeeded"}  # pending: before there is a span
    assert all(one.trace_id == own.trace_id for one in logs.values())
    assert root in {one.attributes["prefect.run.id"] for one in theirs.spans}


@pytest.mark.parametrize("which", ["theirs", "ours"])
def test_runs_are_counted_once(which: str, request: pytest.FixtureRequest) -> None:
    played: Played = request.getfixturevalue(which)
    counted = points(played, "otel_events_runs_total", "kind", "outcome")
    assert counted == {
        ("task", "succeeded"): sum(TASKS.values()) - 1,
        ("task", "failed"): 1,
        ("workflow", "succeeded"): 4,
        ("workflow", "failed"): 1,
    }
    assert sum(points(played, "otel_events_stat_looked_total", "task").values()) == 1


# --- our own spans ----------------------------------------------------------------------------------------------------


def test_our_spans_have_the_gateways_ids(ours: Played) -> None:
    run_id, _, root, span = ours.seen["looks"]
    (own,) = (one for one in ours.spans if one.name == "looks")
    assert own.span_id.hex() == span == span_id("prefect", "", run_id, 1, "task").hex()
    assert own.trace_id == trace_id("prefect", "", root)
    assert own.parent_span_id == span_id("prefect", "", root, 1, "workflow")


def test_every_attempt_is_a_span_with_its_own_error(ours: Played) -> None:
    names = Counter(span.name.removeprefix("RUN ") for span in ours.spans)
    assert names == TASKS | FLOWS | {"at_third": 3, "fails-once": 2}
    tries = sorted((one for one in ours.spans if one.name == "at_third"), key=lambda one: one.start)
    assert [one.attributes["otel_events.outcome"] for one in tries] == ["failed", "failed", "succeeded"]
    for number, one in enumerate(tries[:2], 1):
        assert one.attributes["error.type"] == "ValueError"
        (thrown,) = (event for event in one.events if event.name == "exception")
        assert thrown.attributes["exception.message"] == f"try {number}"
        assert "in at_third" in str(thrown.attributes["exception.stacktrace"])
    (cached,) = (one for one in ours.spans if one.attributes.get("otel_events.reused"))
    assert cached.name == "kept"


def test_called_by_a_task_and_by_a_flow(ours: Played) -> None:
    spans = {one.span_id: one for one in ours.spans}
    callers = Counter(spans[one.parent_span_id].name for one in ours.spans if one.name == "plus")
    assert callers == {"RUN shapes": 3, "outer": 1, "RUN inner": 1}
    (inner,) = (one for one in ours.spans if one.name == "RUN inner")
    (shapes,) = (one for one in ours.spans if one.name == "RUN shapes")
    assert [link.span_id for link in inner.links] == [shapes.span_id]


def test_events_that_the_user_emits(ours: Played) -> None:
    (shapes,) = (one for one in ours.spans if one.name == "RUN shapes")
    (made,) = (one for one in ours.collector.logs() if one.event_name == "shapes.made")
    assert made.span_id == shapes.span_id


# --- by other ways ----------------------------------------------------------------------------------------------------


def test_one_span_for_each_attempt_whoever_saw_it(tmp_path: Path) -> None:
    """The plug-in switches Prefect's spans off where there is no endpoint for them, and the gateway is told of the same
    runs by Prefect's server, too."""
    with CaptureServer() as collector:
        config = GatewayConfig(journal=tmp_path / "gateway.db", otlp=from_env(collector.environ("http/protobuf")))
        gateway = Gateway.open(config)
        with serving(gateway) as served:
            where = environ(tmp_path, OTEL_EVENTS_GATEWAY=f"http://127.0.0.1:{served.port}", **PLUGIN)
            done = run(where, python("prefect"), PROGRAMS / "told_twice.py", EXAMPLE)
            told = [line.removeprefix("page ") for line in done.stdout.splitlines() if line.startswith("page ")]
            for page in told:
                gateway.offer("prefect", decoder("prefect")(page.encode(), ""))
            gateway.settle()
        gateway.drain_and_close(5)
    spans = Counter((span.name, span.attributes["otel_events.outcome"]) for span in collector.spans())
    assert spans == {
        ("RUN nightly", "succeeded"): 1,
        ("extract", "succeeded"): 2,
        ("load", "failed"): 2,
        ("load", "succeeded"): 2,
    }
    failed = [span for span in collector.spans() if span.attributes["otel_events.outcome"] == "failed"]
    assert {span.attributes["error.type"] for span in failed} == {"ConnectionError"}
    told_by_server = json.loads(told[0])["events"]
    assert {"prefect.flow-run.Completed", "prefect.task-run.Retrying"} <= {one["event"] for one in told_by_server}
    assert Counter(str(log.body) for log in collector.logs())["loaded 10 rows"] == 1


def test_uninstrument_restores_everything(tmp_path: Path) -> None:
    assert run(environ(tmp_path), python("prefect"), PROGRAMS / "restored.py").stdout == "restored True\n"


def test_with_no_collector_the_flow_is_unharmed(tmp_path: Path) -> None:
    nowhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    assert "loaded 30" in run(environ(tmp_path, **nowhere, **PLUGIN), python("prefect"), EXAMPLE).stdout
