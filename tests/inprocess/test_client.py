"""Events of a process to a gateway: one run is one span, sent again until the gateway says yes, never in the way."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from otel_events.gateway.gateway import Gateway, GatewayConfig
from otel_events.inprocess import client
from otel_events.inprocess.client import endpoint
from otel_events.model.errors import ConfigError
from otel_events.model.event import Stat
from otel_events.otlp import from_env
from otel_events.server.auth import Access
from otel_events.testing import CaptureServer
from tests.gateway.kit import run_of
from tests.patience import HOURS, PATIENCE, PATIENT
from tests.server.serving import Served, serving

TOKEN = "a-token-of-16-characters"  # noqa: S105  # of this test
JOB = f"""{PATIENT}
import sys, time, otel_events
@otel_events.task(name="step")
def step(number):
    otel_events.current_context().stats.incr("rows", number)
    otel_events.current_context().logging.info("row %d", number)
    return number
@otel_events.workflow(name="job")
def job(count):
    return sum(step(number) for number in range(count))
otel_events.configure(sys.argv[1] or None)
"""


@pytest.fixture
def collector() -> Iterator[CaptureServer]:
    with CaptureServer() as server:
        yield server


@contextmanager
def gateway(path: Path, collector: CaptureServer, token: str = "") -> Iterator[Served]:
    """A gateway that sends to the collector; all of it is there afterwards."""
    made = Gateway.open(GatewayConfig(journal=path, otlp=from_env(collector.environ("http/protobuf"))))
    try:
        with serving(made, Access(token=token)) as served:
            yield served
        made.settle()
    finally:
        made.drain_and_close(PATIENCE)


HASTY = f"""
from otel_events.inprocess import client
process.EXIT_SECONDS = 1.5
client.TIMEOUT = {HOURS}
"""
"""Lines that begin a program whose gateway is not there."""
UNTIL_TOLD = f"""
import logging, threading
told = threading.Event()
logging.getLogger("otel_events").addFilter(lambda record: told.set() or True)
step(2)
assert told.wait({PATIENCE})
"""
"""A program that ends when something was logged."""


def run(code: str, url: str, journal: Path | str = "", **more: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"OTEL_EVENTS_GATEWAY": url} | more
    command = [sys.executable, "-c", JOB + code, str(journal)]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=PATIENCE)


@contextmanager
def nobody(listening: bool = False) -> Iterator[str]:
    """A URL where nothing listens, or something that never answers."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        if listening:
            held.listen()
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


# --- to a gateway that is there --------------------------------------------------------------------------------------


@pytest.mark.parametrize("journal", ["", "own.db"])
def test_runs_stats_and_logs_arrive_and_nothing_is_sent_from_here(
    journal: str, collector: CaptureServer, tmp_path: Path
) -> None:
    with gateway(tmp_path / "gateway.db", collector) as served:
        url = f"http://127.0.0.1:{served.port}"
        own = tmp_path / journal if journal else ""
        done = run("job(5)", url, own, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_TRACES_EXPORTER="none")
        assert (done.returncode, done.stderr) == (0, "")
    spans = collector.spans()
    assert Counter(one.name for one in spans) == {"RUN job": 1, "step": 5}
    [root] = [one for one in spans if one.name == "RUN job"]
    assert {one.parent_span_id for one in spans if one is not root} == {root.span_id}
    assert {one.name: one.value for one in collector.metrics()}["otel_events_stat_rows_total"] == 10
    assert sum(str(one.body).startswith("row ") for one in collector.logs()) == 5


def test_the_token_goes_along_and_is_told_to_nobody(collector: CaptureServer, tmp_path: Path) -> None:
    with gateway(tmp_path / "gateway.db", collector, TOKEN) as served:
        url = f"http://127.0.0.1:{served.port}"
        assert run("step(1)", url, OTEL_EVENTS_TOKEN=TOKEN).stderr == ""
        refused = run(UNTIL_TOLD, url, OTEL_EVENTS_TOKEN="another-" + TOKEN)
        assert refused.returncode == 0
        assert "HTTP 401" in refused.stderr
        assert TOKEN not in refused.stderr
    assert [one.name for one in collector.spans()] == ["step"]


def test_a_request_that_got_no_answer_is_sent_again_and_counts_once(collector: CaptureServer, tmp_path: Path) -> None:
    """The same events twice: the gateway knows them by their ids."""
    with gateway(tmp_path / "gateway.db", collector) as served:
        code = """
from otel_events.inprocess import process
to = process._active._destination
take = to.take
def twice(events):
    take(events)
    take(events)
to.take = twice
job(3)
"""
        assert run(code, f"http://127.0.0.1:{served.port}").stderr == ""
    assert Counter(one.name for one in collector.spans()) == {"RUN job": 1, "step": 3}
    assert {one.name: one.value for one in collector.metrics()}["otel_events_stat_rows_total"] == 3


def test_events_that_the_gateway_refuses_are_counted_and_the_others_arrive(
    collector: CaptureServer, tmp_path: Path
) -> None:
    code = """
step(1)
@otel_events.task(name="odd")
def odd():
    otel_events.current_context().stats.gauge("nan", float("nan"))
    otel_events.current_context().logging.info("\\ud800")
odd()
from otel_events.inprocess import process
from otel_events.inprocess.faults import faults
process.shutdown()
print(faults())
"""
    with gateway(tmp_path / "gateway.db", collector) as served:
        done = run(code, f"http://127.0.0.1:{served.port}")
    assert "'an event for the gateway': 1" in done.stdout
    assert {one.name for one in collector.spans()} == {"step", "odd"}


# --- to one that is away ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listening", [False, True], ids=["down", "silent"])
@pytest.mark.parametrize("journal", ["", "own.db"])
def test_the_end_does_not_wait_for_a_gateway_that_is_not_there(journal: str, listening: bool, tmp_path: Path) -> None:
    """It comes, though a request may take hours; that it takes EXIT_SECONDS at most is held in test_queue.py."""
    with nobody(listening) as url:
        done = run(HASTY + "print(job(100))", url, tmp_path / journal if journal else "")
    assert (done.returncode, done.stdout) == (0, f"{sum(range(100))}\n")


def test_with_a_journal_the_next_process_sends_what_was_left(collector: CaptureServer, tmp_path: Path) -> None:
    own = tmp_path / "own.db"
    with nobody() as url:
        assert run("job(3)", url, own).returncode == 0
    with gateway(tmp_path / "gateway.db", collector) as served:
        assert run("step(1)", f"http://127.0.0.1:{served.port}", own).stderr == ""
    assert Counter(one.name for one in collector.spans()) == {"RUN job": 1, "step": 4}


def test_a_process_that_is_killed_loses_at_most_what_was_not_committed(
    collector: CaptureServer, tmp_path: Path
) -> None:
    """With a journal file: all that was on disk arrives, in the order in which it happened."""
    own = tmp_path / "own.db"
    code = """
import os, signal
from pathlib import Path
from otel_events.journal import Journal
for number in range(100):
    otel_events.task(name=f"run {number}")(int)()
while len(list(Journal.reader(Path(sys.argv[1])).roots())) < 100:
    time.sleep(0.01)
for number in range(100, 150):
    otel_events.task(name=f"run {number}")(int)()
os.kill(os.getpid(), signal.SIGKILL)
"""
    environ = collector.environ("http/protobuf")
    assert run(code, "", own, **environ).returncode < 0
    assert run("step(1)", "", own, **environ).returncode == 0
    arrived = {int(one.name.removeprefix("run ")) for one in collector.spans() if one.name.startswith("run ")}
    assert len(arrived) >= 100
    assert arrived == set(range(len(arrived)))


# --- where it is -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://localhost:4319", "http://localhost:4319/v1/events"),
        ("https://gate.example/otel/", "https://gate.example/otel/v1/events"),
        ("http://[::1]:4319/v1/events", "http://[::1]:4319/v1/events"),
        ("http://:s3cret-s3cret-s3cret@gate.example", "http://gate.example/v1/events"),
    ],
)
def test_the_address_of_events(url: str, address: str) -> None:
    assert endpoint(url, {}).address == address
    assert "s3cret" not in repr(endpoint(url, {}))


@pytest.mark.parametrize(
    "url", ["localhost:4319", "ftp://gate", "http://", "http://gate:port", "http://gate:0", "http://[::1"]
)
def test_a_wrong_address_is_told_with_its_variable(url: str) -> None:
    with pytest.raises(ConfigError, match="OTEL_EVENTS_GATEWAY"):
        endpoint(url, {})


def test_a_token_that_no_header_can_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match="OTEL_EVENTS_TOKEN"):
        endpoint("http://gate", {"OTEL_EVENTS_TOKEN": "täglich-neue-tokens"})


def test_with_a_wrong_address_the_program_runs(tmp_path: Path) -> None:
    done = run("print(job(3))", "gate:4319")
    assert (done.returncode, done.stdout) == (0, "3\n")
    assert "OTEL_EVENTS_GATEWAY" in done.stderr


def test_requests_are_bounded() -> None:
    events = [Stat(id=str(number), time=1, run=run_of("w"), name="n" * 1000, value=1.0) for number in range(3000)]
    bodies = list(client._bodies(events))
    assert len(bodies) == 4
    assert max(map(len, bodies)) <= client.BODY
    assert sum(body.count(b"\n") for body in bodies) == 3000
