"""Our distro, in processes of their own: what is set up once is global to a process."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]  # it is marked untyped
from opentelemetry.sdk.trace.id_generator import IdGenerator

from otel_events.instrument.ids import OsRandomIdGenerator
from otel_events.testing import CaptureServer
from tests.patience import HOURS, PATIENCE, PATIENT

JOB = f"""{PATIENT}
import random
import otel_events
from opentelemetry import _logs, metrics, trace

@otel_events.task(name="step")
def step(number):
    random.seed(42)
    with trace.get_tracer("mine").start_as_current_span(f"inner {{number}}"):
        metrics.get_meter("mine").create_counter("rows").add(number)
        _logs.get_logger("mine").emit(_logs.LogRecord(body="hello"))

def kinds():
    providers = trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider()
    print(*(type(provider).__name__ for provider in providers))
"""
PROXIES = ["ProxyTracerProvider", "_ProxyMeterProvider", "ProxyLoggerProvider"]
HASTY = "from otel_events.inprocess import process\nprocess.EXIT_SECONDS = 1.5\n"
CONFIGURED = JOB + "otel_events.configure()\nkinds()\nstep(1)\nstep(2)\n"


@pytest.fixture
def collector() -> Iterator[CaptureServer]:
    with CaptureServer() as server:
        yield server


def run(code: str, environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program, or with arguments before it, as they say. A request may take hours."""
    command = [*arguments, sys.executable, "-c", code]
    environ = os.environ | {"OTEL_EXPORTER_OTLP_TIMEOUT": str(round(HOURS))} | environ
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=PATIENCE)


def children(collector: CaptureServer) -> dict[str, str]:
    """Name of each span -> name of the one that it is in, in the same trace."""
    known = {(span.trace_id, span.span_id): span.name for span in collector.spans()}
    return {span.name: known.get((span.trace_id, span.parent_span_id), "") for span in collector.spans()}


def bodies(collector: CaptureServer) -> list[str]:
    return [log.body for log in collector.logs() if log.body == "hello"]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_what_users_make_goes_to_the_same_endpoint_as_children_of_their_runs(
    protocol: str, collector: CaptureServer
) -> None:
    done = run(CONFIGURED, collector.environ(protocol))  # type: ignore[arg-type]  # one of the two
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["TracerProvider", "MeterProvider", "LoggerProvider"]
    assert children(collector) == {"inner 1": "step", "inner 2": "step", "step": ""}
    assert "rows" in {metric.name for metric in collector.metrics()}
    assert bodies(collector) == ["hello", "hello"]
    assert len({span.span_id for span in collector.spans()}) == 4  # although the tasks seed ``random`` alike


def test_a_provider_that_the_user_has_set_stays(collector: CaptureServer) -> None:
    own = """
from opentelemetry.sdk.trace import TracerProvider
class Mine(TracerProvider):
    pass
trace.set_tracer_provider(Mine())
"""
    done = run(JOB + own + "otel_events.configure()\nkinds()\nstep(1)", collector.environ("http/protobuf"))
    assert (done.stdout.split(), done.stderr) == (["Mine", "MeterProvider", "LoggerProvider"], "")
    assert children(collector) == {"step": ""}
    assert bodies(collector) == ["hello"]
    all_set = (
        own + "metrics.set_meter_provider(m := MeterProvider())\n_logs.set_logger_provider(l := LoggerProvider())\n"
    )
    imports = (
        "from opentelemetry.sdk.metrics import MeterProvider\nfrom opentelemetry.sdk._logs import LoggerProvider\n"
    )
    check = "assert (metrics.get_meter_provider(), _logs.get_logger_provider()) == (m, l)"
    done = run(JOB + imports + all_set + "otel_events.configure()\n" + check, collector.environ("http/protobuf"))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_environment_decides_what_is_sent(collector: CaptureServer) -> None:
    environ = collector.environ("http/protobuf")
    assert run(CONFIGURED, environ | {"OTEL_TRACES_EXPORTER": "none"}).stderr == ""
    assert (len(collector.spans()), bodies(collector)) == (0, ["hello", "hello"])
    disabled = run(CONFIGURED, environ | {"OTEL_SDK_DISABLED": "true"})
    assert (disabled.stdout.split(), disabled.stderr) == (PROXIES, "")
    assert (len(collector.spans()), len(bodies(collector))) == (0, 2)


def test_a_setting_that_cannot_be_used_is_told_and_the_program_runs(collector: CaptureServer) -> None:
    done = run(CONFIGURED, collector.environ("http/protobuf") | {"OTEL_TRACES_EXPORTER": "nowhere"})
    assert (done.returncode, done.stdout.split()) == (0, PROXIES)
    assert "spans, metrics and logs made through OpenTelemetry are not all sent" in done.stderr
    assert "the runs of this process are not recorded: OTEL_TRACES_EXPORTER" in done.stderr


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("how", ["down", "silent"])
def test_the_end_does_not_wait_for_an_endpoint_that_is_not_there(how: str, protocol: str) -> None:
    """It comes, though a request may take hours, one of ours as well as one of the SDK's."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        if how == "silent":
            listening.listen()
        else:
            listening.close()
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
        done = run(CONFIGURED.replace(PATIENT, HASTY), environ)
    assert done.returncode == 0
    assert done.stdout.split() == ["TracerProvider", "MeterProvider", "LoggerProvider"]


def test_configured_twice_and_forked(collector: CaptureServer) -> None:
    code = (
        JOB
        + """
import os, sys
otel_events.configure()
otel_events.configure()
step(1)
if os.fork() == 0:
    with trace.get_tracer("mine").start_as_current_span("in the child"):
        pass
    sys.exit(0)
os.wait()
"""
    )
    done = run(code, collector.environ("http/protobuf"))
    assert (done.returncode, done.stderr) == (0, "")
    assert children(collector) == {"inner 1": "step", "step": "", "in the child": ""}
    assert bodies(collector) == ["hello"]


def test_opentelemetry_instrument_finds_all_that_is_ours(collector: CaptureServer) -> None:
    command = str(Path(sys.executable).with_name("opentelemetry-instrument"))
    patient = f"from otel_events.instrument import start\nstart._farewell._seconds = {PATIENCE}\n"  # it is made by now
    done = run(JOB + patient + "kinds()\nstep(1)", collector.environ("http/protobuf"), command)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["TracerProvider", "MeterProvider", "LoggerProvider"]
    assert children(collector) == {"inner 1": "step", "step": ""}
    help_text = subprocess.run([command, "--help"], capture_output=True, text=True, check=True).stdout
    assert "--events_journal" in help_text


def test_the_entry_points_are_of_the_kinds_that_the_loader_asks_for() -> None:
    def ours(group: str) -> object:
        (found,) = (point for point in entry_points(group=group) if point.name == "otel_events")
        return found.load()

    assert issubclass(ours("opentelemetry_distro"), BaseDistro)  # type: ignore[arg-type]  # it is a class
    assert issubclass(ours("opentelemetry_id_generator"), IdGenerator)  # type: ignore[arg-type]  # as above
    assert hasattr(ours("opentelemetry_configurator"), "configure")
    assert [name for name in dir(ours("opentelemetry_environment_variables")) if name.startswith("OTEL_")]


def test_ids_do_not_repeat_after_a_seed() -> None:
    ids = OsRandomIdGenerator()
    made = set()
    for _ in range(20):
        random.seed(42)
        made |= {ids.generate_span_id(), ids.generate_trace_id()}
    assert len(made) == 40
    assert all(0 < one < 2**128 for one in made)
