"""The instrumentor on ClearML's own SDK 2.1: offline, and with a gateway that is its API's server at the same time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_events.model.identity import span_id, trace_id
from otel_events.model.telemetry import SpanData
from otel_events.testing import CaptureServer
from tests.live import namespace, test_clearml_sdk
from tests.live.envs import ROOT, python

PROGRAM = Path(__file__).parent / "clearml_programs" / "instrumented.py"
EXAMPLE = ROOT / "examples" / "clearml_training.py"
LONG = 150.0


@pytest.fixture
def collector() -> Iterator[CaptureServer]:
    with CaptureServer() as server:
        yield server


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "CLEARML", "TRAINS"))}
    return clean | {"HOME": str(tmp_path), "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


def run(environ: dict[str, str], *command: object) -> subprocess.CompletedProcess[str]:
    words = [str(part) for part in (python("clearml"), *command)]
    return subprocess.run(
        words, env=environ, cwd=environ["HOME"], capture_output=True, text=True, check=False, timeout=LONG
    )


def own(task: str) -> tuple[bytes, bytes]:
    """Trace and span id that the gateway derives for a task."""
    return trace_id("clearml", "", task), span_id("clearml", "", task, 1, "task")


def span_of(collector: CaptureServer, task: str) -> SpanData:
    (found,) = (one for one in collector.spans() if one.attributes.get("otel_events.run.id") == task)
    assert (found.trace_id, found.span_id) == own(task)
    return found


def stats(collector: CaptureServer) -> dict[str, tuple[float, dict[str, Any]]]:
    """The last point of each family of what the task reports."""
    return {one.name: (one.value, one.labels) for one in collector.metrics() if "otel_events_stat_" in one.name}


def offline(environ: dict[str, str], folder: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    done = run(environ, PROGRAM, folder / "told.json", "offline", *words)
    return done.returncode, json.loads((folder / "told.json").read_text()), done.stderr


def test_an_offline_task_is_one_span_with_its_stats_and_lines(
    collector: CaptureServer, environ: dict[str, str], tmp_path: Path
) -> None:
    code, told, err = offline(environ | collector.environ("http/protobuf"), tmp_path, "fork")
    assert code == 0, err
    span = span_of(collector, told["task"])
    assert (span.name, span.attributes["otel_events.outcome"]) == ("instrumented", "succeeded")
    assert told["run"] == told["task"]
    by_name = {one.name: one for one in collector.spans()}
    for name in ("mine", "in the child"):
        assert (by_name[name].trace_id, by_name[name].parent_span_id) == own(told["task"]), name
    lines = {str(log.body): (log.trace_id, log.span_id) for log in collector.logs()}
    for line in ("a printed line", "from a child"):
        assert lines[line] == own(told["task"])
    reporter = [line for line in lines if "resource_monitor" in line or line.startswith("ClearML Monitor")]
    assert reporter, "the forked process of the SDK told nothing"
    assert {lines[line] for line in reporter} == {own(told["task"])}
    found = stats(collector)
    assert found["otel_events_stat_loss_train"][0] == pytest.approx(1 / 200)
    assert found["otel_events_stat_Summary_best"][0] == 0.5
    for _, labels in found.values():
        assert told["task"] not in json.dumps(labels)
        assert labels["name"] == "instrumented"
    assert found["otel_events_stat_clearml_scalars_total"][0] == 201
    assert told["after"]
    assert told["restored"]


def test_a_task_that_fails(collector: CaptureServer, environ: dict[str, str], tmp_path: Path) -> None:
    code, told, _ = offline(environ | collector.environ("http/protobuf"), tmp_path, "fail")
    assert code == 1
    span = span_of(collector, told["task"])
    assert span.attributes["otel_events.outcome"] == "failed"
    assert "the data is bad" in json.dumps(dict(span.attributes)) + span.status_message


def test_without_a_collector_the_task_is_what_it_is_without_us(environ: dict[str, str], tmp_path: Path) -> None:
    sessions = []
    for words in (["plain"], []):
        code, told, err = offline(environ, tmp_path, *words)
        assert code == 0, err
        lines = (Path(told["session"]) / "metrics.jsonl").read_text().splitlines()
        events = [event for line in lines for event in json.loads(line)]
        sessions.append(
            [
                (one["metric"], one["variant"], one["iter"], one.get("value"))
                for one in events
                if "monitor" not in one["metric"]
            ]
        )
    assert sorted(map(repr, sessions[0])) == sorted(map(repr, sessions[1]))
    assert len(sessions[0]) == 202


def test_the_example(collector: CaptureServer, environ: dict[str, str]) -> None:
    done = run(environ | collector.environ("http/protobuf"), EXAMPLE, "--offline")
    assert done.returncode == 0, done.stderr[-3000:]
    task = done.stdout.partition("\ntask ")[2].split()[0]
    span_of(collector, task)
    assert sum(one.name == "epoch" and one.parent_span_id == own(task)[1] for one in collector.spans()) == 3
    assert stats(collector)["otel_events_stat_accuracy_validation"][0] == 0.75


# --- with a gateway --------------------------------------------------------------------------------------------------


def scene(folder: Path, interpreter: Path) -> None:
    """A gateway that is the API's server, and is told by the process itself; ``folder/out.json``."""
    sdk, port = test_clearml_sdk.sdk(folder), test_clearml_sdk.GATEWAY
    with CaptureServer() as collector:
        gateway = test_clearml_sdk.serve(folder, collector, port, "--clearml")
        more = {"OTEL_EVENTS_GATEWAY": f"http://127.0.0.1:{port}", "OTEL_EVENTS_CLEARML_REPORTS": "false"}
        clean = sdk | collector.environ("http/protobuf") | more
        done = subprocess.run(
            [interpreter, PROGRAM, folder / "told.json"],
            env=clean, cwd=folder, capture_output=True, text=True, check=False, timeout=LONG,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        told = json.loads((folder / "told.json").read_text())
        wanted, end = own(told["task"])[1], time.monotonic() + LONG
        while wanted not in {one.span_id for one in collector.spans()} and time.monotonic() < end:
            time.sleep(0.1)
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
        gateway.send_signal(signal.SIGTERM)
        gateway.wait(30)
        spans = [test_clearml_sdk.told(one) | {"parent": one.parent_span_id.hex()} for one in collector.spans()]
        lines = [str(log.body) for log in collector.logs()]
    (folder / "out.json").write_text(json.dumps({"told": told, "spans": spans, "metrics": metrics, "lines": lines}))


def test_whoever_saw_what_the_task_is_one_span() -> None:
    interpreter = python("clearml")
    with tempfile.TemporaryDirectory(prefix="otel-events-") as name:
        done = namespace.run(__name__, name, str(interpreter), timeout=2 * LONG)
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        out = json.loads((Path(name) / "out.json").read_text())
    told = out["told"]
    trace, span = (part.hex() for part in own(told["task"]))
    (found,) = (one for one in out["spans"] if one["attributes"].get("otel_events.run.id") == told["task"])
    assert (found["trace"], found["span"]) == (trace, span)
    assert found["attributes"]["otel_events.outcome"] == "succeeded"
    (mine,) = (one for one in out["spans"] if one["name"] == "mine")
    assert (mine["trace"], mine["parent"]) == (trace, span)
    metrics = [line for line in out["metrics"].splitlines() if 'name="instrumented"' in line and line[0] != "#"]
    (runs,) = (line for line in metrics if line.startswith("otel_events_runs_total") and 'outcome="succeeded"' in line)
    assert float(runs.split(" # ")[0].rpartition(" ")[2]) == 1
    assert sum("a printed line" in line for line in out["lines"]) == 1


if __name__ == "__main__":
    namespace.loopback_up()
    scene(Path(sys.argv[1]), Path(sys.argv[2]))
