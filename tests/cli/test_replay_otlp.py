"""``otel-events replay`` to a real OTLP receiver on loopback, over both protocols."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_events.otlp.config import Protocol
from otel_events.testing import CaptureServer
from tests.cli.conftest import Cli
from tests.cli.otlp_files import spans

RECORDS = Path(__file__).resolve().parents[1] / "golden" / "flyte" / "transports" / "grpc_requests.jsonl"


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_what_is_sent_is_what_would_be_written(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, protocol: Protocol
) -> None:
    with CaptureServer() as collector:
        for name, value in collector.environ(protocol).items():
            monkeypatch.setenv(name, value)
        ran = cli("replay", "flyte", RECORDS, RECORDS)
        assert ran.code == 0, ran.err
    assert "; sent" in ran.err
    assert cli("replay", "flyte", RECORDS, "--out", tmp_path).code == 0
    written = {(span["traceId"], span["spanId"], span["name"], span["endTimeUnixNano"]) for span in spans(tmp_path)}
    sent = [(span.trace_id.hex(), span.span_id.hex(), span.name, str(span.end)) for span in collector.spans()]
    assert len(sent) == len(set(sent))
    assert set(sent) == written
    assert collector.logs()
    assert "otel_events_runs_total" in {point.name for point in collector.metrics()}
