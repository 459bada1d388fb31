"""kill -9 of ``serve`` and of ``replay`` at 20 random points: what was acknowledged arrives, and repeats are identical.

Real processes, a real collector on loopback. The points are drawn from a seed that a failure names.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_events.testing import CaptureServer
from tests.cli.test_serve import NDJSON, running

ROOT = Path(__file__).resolve().parents[1]
KILLS = int(os.environ.get("OTEL_EVENTS_KILLS", "10"))
"""Of each of the two commands."""
PHASES = ("pending", "running", "succeeded")
BEGIN = 1_790_000_000 * 10**9


def event(run: int, step: int) -> bytes:
    """Event ``step`` (0 to 2) of run ``run`` as a line."""
    name = f"job/{run}"
    told = {
        "event": "phase",
        "id": f"{name}:{step}",
        "time": BEGIN + run * 10**9 + step * 10**8,
        "run": {"source": "batch", "kind": "workflow", "id": name, "name": "job", "root": name},
        "phase": PHASES[step],
        "native": PHASES[step],
    }
    return json.dumps(told).encode()


def sent(server: CaptureServer) -> tuple[dict[bytes, set[bytes]], dict[tuple[str, str], set[bytes]]]:
    """(bytes of each span by id, bytes of each log record by run and event) of every request that was answered."""
    spans: dict[bytes, set[bytes]] = {}
    logs: dict[tuple[str, str], set[bytes]] = {}
    for message in _messages(server, "traces", ExportTraceServiceRequest):
        for scope in (scope for one in message.resource_spans for scope in one.scope_spans):
            for span in scope.spans:
                spans.setdefault(span.span_id, set()).add(span.SerializeToString())
    for message in _messages(server, "logs", ExportLogsServiceRequest):
        for scope in (scope for one in message.resource_logs for scope in one.scope_logs):
            for record in scope.log_records:
                found = {pair.key: pair.value.string_value for pair in record.attributes}
                key = found["otel_events.run.id"], record.event_name
                logs.setdefault(key, set()).add(record.SerializeToString())
    return spans, logs


def _messages(server: CaptureServer, signal_name: str, kind: Any) -> Iterator[Any]:
    for request in server.requests:
        if request.signal == signal_name:
            yield kind.FromString(request.body)


@pytest.mark.slow
def test_serve_killed_at_random_points_loses_nothing_acknowledged(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    points = random.Random(seed)
    with CaptureServer() as server:
        environment = server.environ("http/protobuf")
        acknowledged: set[tuple[int, int]] = set()
        run = 0
        for _ in range(KILLS):
            with running(tmp_path / "journal.db", "--grace", "0.1", **environment) as gateway:
                killer = threading.Timer(points.uniform(0.0, 0.6), gateway.process.send_signal, [signal.SIGKILL])
                killer.start()
                try:
                    while True:
                        given = [(run, step) for step in range(3)]
                        body = b"\n".join(event(*one) for one in given)
                        answer = gateway.http.post("/v1/events", content=body, headers=NDJSON)
                        assert answer.status_code == 200, answer.text
                        acknowledged.update(given)
                        run += 1
                except httpx.TransportError:
                    run += 1  # it may have been kept or not: nobody was told
                killer.join()
        # The last start is left in peace until everything is out.
        with running(tmp_path / "journal.db", "--grace", "0.1", **environment) as gateway:
            wait = threading.Event()
            wanted = {number for number, _ in acknowledged}
            for _ in range(200):
                if len(sent(server)[0]) >= len(wanted) and not _unsent(gateway.http):
                    break
                wait.wait(0.1)
            page = gateway.http.get("/metrics").text
        spans, logs = sent(server)
    told = {(int(name.split("/")[1]), PHASES.index(phase.rsplit(".", 1)[1])) for name, phase in logs}
    assert acknowledged, f"seed {seed}"
    assert acknowledged <= told, f"seed {seed}: {len(acknowledged - told)} acknowledged events are missing"
    assert len(spans) == len({number for number, _ in told}), f"seed {seed}"
    assert {len(found) for found in spans.values()} == {1}, f"seed {seed}: a span was sent with other content"
    assert {len(found) for found in logs.values()} == {1}, f"seed {seed}: a log record was sent with other content"
    counted = 'otel_events_runs_total{kind="workflow",name="job",namespace="",outcome="succeeded",source="batch",'
    (line,) = [line for line in page.splitlines() if line.startswith(counted)]
    assert float(line.rsplit(" ", 1)[1]) == len(spans), f"seed {seed}: runs were lost or counted twice"


def _unsent(client: httpx.Client) -> bool:
    return "otel_events_journal_oldest_unacked_seconds 0.0" not in client.get("/metrics").text


@pytest.mark.slow
def test_replay_killed_at_random_points_and_run_again_is_complete_and_identical(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    points = random.Random(seed)
    runs = 3_000
    records = tmp_path / "events.jsonl"
    records.write_bytes(b"\n".join(event(run, step) for run in range(runs) for step in range(3)) + b"\n")
    journal = tmp_path / "journal.db"
    command = [sys.executable, "-m", "otel_events", "replay", "events", str(records), "--journal", str(journal)]
    with CaptureServer() as server:
        environment = os.environ | server.environ("http/protobuf")
        for _ in range(KILLS):
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
            try:
                process.wait(timeout=points.uniform(0.3, 2.5))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        done = subprocess.run(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, check=False)
        spans, logs = sent(server)
    assert done.returncode == 0, done.stderr
    assert len(spans) == runs, f"seed {seed}"
    assert len(logs) == 3 * runs, f"seed {seed}"
    assert {len(found) for found in spans.values()} == {1}, f"seed {seed}: a span was sent with other content"
    assert {len(found) for found in logs.values()} == {1}, f"seed {seed}: a log record was sent with other content"
