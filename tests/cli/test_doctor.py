"""``otel-events doctor``: each thing that can be wrong is told with what to do, and no secret is shown."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]  # as pytest has it
    """Something that answers on loopback, named as the OTLP endpoint."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        yield address


def test_all_is_well_where_the_endpoint_answers(cli: Cli, endpoint: str) -> None:
    ran = cli("doctor")
    assert ran.code == 0, ran.out
    assert ran.out.endswith("all is well\n")
    for told in ("otel-events ", "python ", "source flyte", "ready", "answers", "none yet"):
        assert told in ran.out


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_an_endpoint_that_does_not_answer_is_wrong(cli: Cli, monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    ran = cli("doctor")
    assert ran.code == 1
    (line,) = [line for line in ran.out.splitlines() if line.startswith("BAD")]
    assert f"127.0.0.1:{port}" in line
    assert "start the collector" in line
    assert ran.out.endswith("1 thing to mend\n")


def test_a_wrong_setting_is_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")
    ran = cli("doctor")
    assert ran.code == 1
    assert "OTEL_EXPORTER_OTLP_TIMEOUT" in ran.out


def test_secrets_are_not_shown(cli: Cli, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20canary-header,x-tenant=canary-tenant")
    monkeypatch.setenv("OTEL_EVENTS_TOKEN", "canary-token-0123456789")
    ran = cli("doctor")
    assert "canary" not in ran.out + ran.err
    assert "authorization=***" in ran.out
    assert ran.code == 0


def test_a_weak_token_is_wrong(cli: Cli, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EVENTS_TOKEN", "canary")
    ran = cli("doctor")
    assert ran.code == 1
    assert "openssl rand" in ran.out
    assert "canary" not in ran.out


def test_the_journal_is_told_in_figures(cli: Cli, endpoint: str, tmp_path: Path) -> None:
    records = GOLDEN / "flyte" / "transports" / "grpc_requests.jsonl"
    cli("replay", "flyte", records, "--journal", tmp_path / "j.db", "--out", tmp_path / "out")
    ran = cli("doctor", "--journal", tmp_path / "j.db")
    assert ran.code == 0, ran.out
    assert "15 events of 1 roots" in ran.out


def test_a_foreign_file_and_what_was_moved_aside_are_wrong(cli: Cli, endpoint: str, tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    path.write_text("not a journal")
    ran = cli("doctor", "--journal", path)
    assert ran.code == 1
    assert str(path) in ran.out
    records = GOLDEN / "flyte" / "transports" / "grpc_requests.jsonl"
    cli("replay", "flyte", records, "--journal", path, "--out", tmp_path / "out")
    ran = cli("doctor", "--journal", path)
    assert ran.code == 1
    (line,) = [line for line in ran.out.splitlines() if line.startswith("BAD")]
    assert "j.db.quarantined-1" in line
    assert "delete it" in line


@pytest.mark.parametrize(
    ("variable", "value"),
    [("OTEL_EXPORTER_OTLP_CERTIFICATE", "missing.pem"), ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "missing.pem")],
)
def test_a_certificate_that_is_not_there_is_wrong(
    cli: Cli, endpoint: str, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    ran = cli("doctor")
    assert ran.code == 1
    assert "no file missing.pem" in ran.out
