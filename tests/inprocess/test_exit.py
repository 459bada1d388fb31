"""What a program ran is sent before it ends, however it ends: on every Python that is promised, by both protocols, to a
collector or to a gateway, with a journal or without. Since Python 3.12 no thread can be started at the end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_events.gateway.gateway import Gateway, GatewayConfig
from otel_events.otlp import from_env
from otel_events.otlp.config import Protocol
from otel_events.server.auth import Access
from otel_events.testing import CaptureServer
from tests.patience import HOURS, PATIENCE
from tests.programs.ends import EXPECTED
from tests.server.serving import serving

PROGRAM = Path(__file__).parents[1] / "programs" / "ends.py"
PROTOCOLS: tuple[Protocol, ...] = ("grpc", "http/protobuf")
KEPT = ("returns", "raises", "handler_before", "daemon_thread", "fork", "spawn_process", "process_pool", "many")
"""Ways that are also tried with a journal of the program's own."""
PATIENT = {"ENDS_PATIENCE": str(PATIENCE)}
"""Of programs whose telemetry is to arrive, on however slow a machine."""
ENDLESS = {"OTEL_EXPORTER_OTLP_TIMEOUT": str(HOURS)}
"""How long a request may take: who waited for one at the end would not end within a test."""


@pytest.fixture
def collector() -> Iterator[CaptureServer]:
    with CaptureServer() as server:
        yield server


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EVENTS_CACHE", str(tmp_path / "cache"))


def run(way: str, *journal: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """A program; with Python's development mode, so that warnings of every kind are shown."""
    command = [sys.executable, "-X", "dev", str(PROGRAM), way, *map(str, journal)]
    return subprocess.run(
        command, env=os.environ | environ, capture_output=True, text=True, check=False, timeout=PATIENCE
    )


def names(collector: CaptureServer) -> list[str]:
    return sorted(span.name for span in collector.spans())


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What was written to stderr, less the traceback that the program asked for, and what has to be said: that a
    timeout cannot be held where no thread can be started."""
    if "on purpose" in done.stderr:
        return []
    return [line for line in done.stderr.splitlines() if not line.startswith("the timeout of a task failed")]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("way", EXPECTED)
def test_all_arrives_at_a_collector(way: str, protocol: Protocol, collector: CaptureServer) -> None:
    done = run(way, **PATIENT, **collector.environ(protocol))
    expected, code = EXPECTED[way]
    assert (done.returncode, complaints(done)) == (code, [])
    assert names(collector) == expected
    assert len({span.span_id for span in collector.spans()}) == len(expected)
    assert collector.metrics()


@pytest.mark.parametrize("way", KEPT)
def test_all_arrives_with_a_journal(way: str, collector: CaptureServer, tmp_path: Path) -> None:
    done = run(way, tmp_path / "runs.db", **PATIENT, **collector.environ("http/protobuf"))
    assert (done.returncode, complaints(done)) == (EXPECTED[way][1], [])
    assert names(collector) == EXPECTED[way][0]


@pytest.mark.parametrize(("way", "journal"), [*((way, "") for way in EXPECTED), *((way, "runs.db") for way in KEPT)])
def test_all_arrives_by_way_of_a_gateway(way: str, journal: str, collector: CaptureServer, tmp_path: Path) -> None:
    own = [tmp_path / journal] if journal else []
    made = Gateway.open(
        GatewayConfig(journal=tmp_path / "gateway.db", otlp=from_env(collector.environ("http/protobuf")))
    )
    try:
        with serving(made, Access()) as served:
            done = run(way, *own, OTEL_EVENTS_GATEWAY=f"http://127.0.0.1:{served.port}", **PATIENT, **nowhere())
        made.settle()
    finally:
        made.drain_and_close(PATIENCE)
    assert (done.returncode, complaints(done)) == (EXPECTED[way][1], [])
    assert names(collector) == EXPECTED[way][0]


def nowhere() -> dict[str, str]:
    """The SDK's own providers send nothing."""
    return {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}


# --- nobody takes it -------------------------------------------------------------------------------------------------

GONE = ("returns", "handler_before", "fork")


@pytest.fixture(params=["refused", "silent"])
def deaf(request: pytest.FixtureRequest) -> Iterator[str]:
    """A URL where nothing listens, or where nobody ever answers."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        if request.param == "silent":
            held.listen()
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("way", GONE)
def test_a_program_ends_though_nobody_answers_and_the_next_one_sends_all(
    way: str, protocol: Protocol, deaf: str, collector: CaptureServer, tmp_path: Path
) -> None:
    """That it ends at all is what is tested: a request would take hours. What is left is in the journal."""
    journal = tmp_path / "runs.db"
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": deaf, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol, **ENDLESS}
    done = run(way, journal, **environ)
    assert done.returncode == 0
    assert "was not sent" in done.stderr
    assert "Traceback" not in done.stderr
    assert run("returns", journal, **PATIENT, **collector.environ("http/protobuf")).stderr == ""
    assert names(collector) == sorted([*EXPECTED[way][0], "step"])


@pytest.mark.parametrize("journal", ["", "runs.db"])
@pytest.mark.parametrize("way", GONE)
def test_a_program_ends_though_no_gateway_answers(way: str, journal: str, deaf: str, tmp_path: Path) -> None:
    own = [tmp_path / journal] if journal else []
    done = run(way, *own, OTEL_EVENTS_GATEWAY=deaf, **nowhere())
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert ("runs.db" if journal else "events of this process were not sent") in done.stderr
