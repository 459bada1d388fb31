"""``otel-events serve`` as a process of its own: start, limits on memory, SIGTERM, restart."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import Cli
from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
NDJSON = {"Content-Type": "application/x-ndjson"}
ENDPOINT = "http://127.0.0.1:9"
"""Nobody listens there: what is to be sent stays in the journal."""


def event(number: int, phase: str = "running") -> bytes:
    run = {"source": "batch", "kind": "workflow", "id": "nightly/1", "name": "nightly", "root": "nightly/1"}
    told = {"event": "phase", "id": str(number), "time": 10**18 + number, "run": run, "phase": phase, "native": phase}
    return json.dumps(told).encode()


class Process:
    """A running gateway: its process, and a client of it."""

    def __init__(self, process: subprocess.Popen[str], url: str, first: str) -> None:
        self.process, self.first = process, first
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """(exit code, what was on stderr after the start)."""
        self.process.send_signal(number)
        _, told = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, told

    def peak(self) -> int:
        """Largest resident size so far, in KiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


@contextmanager
def running(journal: Path, *arguments: str, **environment: str) -> Iterator[Process]:
    command = [sys.executable, "-m", "otel_events", "serve", "--port", "0", "--journal", str(journal), *arguments]
    env = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT} | environment
    process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        first = process.stderr.readline()
        found = re.search(r"listening on (http://\S+?),", first)
        assert found, first + process.stderr.read()
        served = Process(process, found[1], first)
        with served.http:
            yield served
    finally:
        process.kill()
        process.communicate()


def test_a_restart_goes_on_where_it_stopped(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with running(path, "--drain", "0") as first:
        assert first.http.get("/readyz").json()["status"] == "ready"
        assert first.http.post("/v1/events", content=event(1), headers=NDJSON).json()["accepted"] == 1
        assert 'otel_events_records_received_total{source="events"} 1' in first.http.get("/metrics").text
        code, told = first.stop()
        assert code == 0, told
        assert "the next start sends it" in told
    with running(path, "--drain", "0") as second:
        body = event(1) + b"\n" + event(2, "succeeded")
        answer = second.http.post("/v1/events", content=body, headers=NDJSON).json()
        assert (answer["accepted"], answer["duplicates"]) == (1, 1)
        assert second.stop(signal.SIGINT)[0] == 0
    (row,) = cli("runs", "--json", "--journal", path).out.splitlines()
    assert (json.loads(row)["id"], json.loads(row)["outcome"]) == ("nightly/1", "succeeded")


def test_what_was_acknowledged_survives_kill_9(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with running(path) as served:
        assert served.http.post("/v1/events", content=event(1), headers=NDJSON).json()["accepted"] == 1
        served.stop(signal.SIGKILL)
    assert "nightly/1" in cli("runs", "--journal", path).out


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_bombs_and_floods_leave_memory_bounded(tmp_path: Path) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _ in range(200)) + packer.flush()
    flood = b"{}\n" * 100_000
    with running(tmp_path / "runs.db") as served:
        assert served.http.post("/v1/events", content=event(1), headers=NDJSON).status_code == 200
        before = served.peak()
        for _ in range(3):
            refused = served.http.post("/v1/events", content=bomb, headers=NDJSON | {"Content-Encoding": "gzip"})
            assert refused.status_code == 413
        assert served.http.post("/v1/events", content=bytes(30_000_000), headers=NDJSON).status_code == 413
        told = served.http.post("/v1/events", content=flood, headers=NDJSON)
        assert (told.status_code, told.json()["refused_count"]) == (400, 100_000)
        assert served.http.get("/readyz").status_code == 200
        assert served.peak() - before < 2 * 20 * 1024


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--host", "0.0.0.0"), "OTEL_EVENTS_TOKEN or --token-file"),  # noqa: S104 - it is what must be refused
        (("--host", "::"), "bind to 127.0.0.1"),
        (("--token-file", "missing"), "--token-file missing"),
        (("--port", "70000"), "--port"),
        (("--grace", "-1"), "--grace"),
        (("--host", "192.0.2.1"), "--token-file"),
    ],
)
def test_a_wrong_call_ends_at_once_with_one_message(
    cli: Cli, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    ran = cli("serve", "--journal", tmp_path / "runs.db", *arguments)
    assert ran.code == 2
    assert told in ran.err
    assert "Traceback" not in ran.err
    assert not (tmp_path / "runs.db").exists()


TOKEN = "0123456789abcdef-token"  # noqa: S105 - made up


@pytest.mark.parametrize("way", ["file", "environment"])
def test_a_token_is_asked_for_once_it_is_set(tmp_path: Path, way: str) -> None:
    (tmp_path / "token").write_text(TOKEN)
    arguments = ["--token-file", str(tmp_path / "token")] if way == "file" else []
    environment = {"OTEL_EVENTS_TOKEN": TOKEN} if way == "environment" else {}
    with running(tmp_path / "runs.db", *arguments, **environment) as served:
        assert served.http.post("/v1/events", content=event(1), headers=NDJSON).status_code == 401
        known = NDJSON | {"Authorization": f"Bearer {TOKEN}"}
        assert served.http.post("/v1/events", content=event(1), headers=known).status_code == 200


def test_two_gateways_cannot_share_a_journal(cli: Cli, tmp_path: Path) -> None:
    with running(tmp_path / "runs.db"):
        ran = cli("serve", "--port", "0", "--journal", tmp_path / "runs.db")
    assert ran.code == 2
    assert "runs.db" in ran.err
