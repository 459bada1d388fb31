"""flytekit's monitoring guide, with its imports from here: its examples run with any Python, those too that flytekit
itself does not run as they are printed (tests/golden/flytekit/monitoring holds them as they are)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_events.testing import CaptureServer
from tests.patience import PATIENCE, PATIENT

GUIDE = Path(__file__).parent / "golden" / "flytekit" / "monitoring"
OURS = (
    ("from flytekit import task, current_context", "from otel_events import task, current_context"),
    ("from flytekit import task", "from otel_events import task"),
    ("from flytekit.deck import DeckField", "from otel_events import DeckField"),
    (
        "from flytekit.core.context_manager import OutputMetadata, SerializableToString",
        "from otel_events import OutputMetadata, SerializableToString",
    ),
)
"""(line of the guide, ours); nothing else of an example is changed."""


@pytest.fixture
def collector() -> Iterator[CaptureServer]:
    with CaptureServer() as server:
        yield server


def run(name: str, call: str, collector: CaptureServer, tmp_path: Path) -> str:
    """Standard output of an example and a call of it."""
    text = (GUIDE / f"{name}.txt").read_text()
    for theirs, ours in OURS:
        text = text.replace(f"{theirs}\n", f"{ours}\n")
    assert "flytekit" not in text.replace("Flytekit", "")
    program = tmp_path / "example.py"
    program.write_text(f"{PATIENT}import otel_events\notel_events.configure()\n{text}\n\nprint({call})\n")
    environ = os.environ | collector.environ("http/protobuf") | {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    command = [sys.executable, "-W", "error", str(program)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_decks(collector: CaptureServer, tmp_path: Path) -> None:
    assert run("deck", "my_monitored_task(a=1, b=2)", collector, tmp_path) == "3"
    [span] = collector.spans()
    assert (span.name, span.attributes["otel_events.outcome"]) == ("__main__.my_monitored_task", "succeeded")
    assert "otel_events.report" in {event.name for event in span.events}


def test_custom_metrics(collector: CaptureServer, tmp_path: Path) -> None:
    assert run("stats", "process_data(2)", collector, tmp_path) == "4.0"
    points = {one.name.removeprefix("otel_events_stat_"): one for one in collector.metrics() if "_stat_" in one.name}
    assert set(points) == {"data_processed_count_total", "current_data_size", "data_processing_time_seconds"}
    assert (points["data_processed_count_total"].value, points["current_data_size"].value) == (1, 2)
    assert points["data_processing_time_seconds"].sum >= 0.02
    assert {one.labels["name"] for one in points.values()} == {"__main__.process_data"}


def test_structured_logging(collector: CaptureServer, tmp_path: Path) -> None:
    run("logging", "analyze_results({'a': 1})", collector, tmp_path)
    [span] = collector.spans()
    lines = [one for one in collector.logs() if one.attributes.get("logger") == "otel_events.user"]
    assert [one.body for one in lines] == ["Starting analysis for results: dict_keys(['a'])", "Analysis complete."]
    assert {(one.trace_id, one.span_id) for one in lines} == {(span.trace_id, span.span_id)}
    assert {one.attributes["otel_events.run.id"] for one in lines} == {span.attributes["otel_events.run.id"]}


def test_output_metadata(collector: CaptureServer, tmp_path: Path) -> None:
    run("output_metadata", "generate_report({'x': 1})", collector, tmp_path)
    [span] = collector.spans()
    told = {key: value for key, value in span.attributes.items() if key.startswith("otel_events.output.report.")}
    told = {key.removeprefix("otel_events.output.report."): value for key, value in told.items()}
    assert told["partition.region"] == "us-east-1"
    assert told["data_quality_report_report"] == "Score: 0.95, Checks Passed: 10"
    assert set(told) == {"partition.region", "partition.date", "time_partition", "data_quality_report_report"}
    [moment] = [event for event in span.events if event.name == "otel_events.output"]
    assert moment.attributes["otel_events.output.name"] == "report"
    assert span.start <= moment.time <= span.end
