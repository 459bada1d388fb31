"""The real ``opentelemetry-instrument`` in an environment where only otel-events was asked for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_events.otlp.config import Protocol
from otel_events.testing import CaptureServer
from tests.instrument.test_distro import children
from tests.live.envs import python

JOB = """
import sys
from importlib.metadata import PackageNotFoundError, version
import otel_events
from opentelemetry import metrics, trace

@otel_events.task(name="load")
def load(rows):
    with trace.get_tracer("job").start_as_current_span("read file"):
        metrics.get_meter("job").create_counter("rows").add(rows)
    return rows

@otel_events.workflow(name="nightly")
def nightly():
    return load(10) + load(20)

print(nightly())
try:
    version("opentelemetry-distro")
except PackageNotFoundError:
    print("no other distro")
"""


@pytest.fixture
def collector() -> Iterator[CaptureServer]:
    with CaptureServer() as server:
        yield server


def instrumented(tmp_path: Path, environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "job.py").write_text(JOB)
    interpreter = python("alone")
    command = [str(interpreter.with_name("opentelemetry-instrument")), *arguments, str(interpreter), "job.py"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTHON"))}
    return subprocess.run(
        command, env=clean | environ, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_job_is_seen_whole_with_only_otel_events_installed(
    protocol: Protocol, tmp_path: Path, collector: CaptureServer
) -> None:
    done = instrumented(tmp_path, collector.environ(protocol))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n")[:2] == ["30", "no other distro"]
    assert children(collector) == {"RUN nightly": "", "load": "RUN nightly", "read file": "load"}
    assert sorted(span.name for span in collector.spans()) == ["RUN nightly", "load", "load", "read file", "read file"]
    assert {"rows", "otel_events_runs_total"} <= {metric.name for metric in collector.metrics()}


def test_our_settings_are_arguments_of_the_command(tmp_path: Path, collector: CaptureServer) -> None:
    done = instrumented(tmp_path, collector.environ("http/protobuf"), "--events_journal", str(tmp_path / "j.db"))
    assert (done.returncode, done.stderr) == (0, "")
    listed = subprocess.run(
        [str(python("alone").with_name("otel-events")), "runs", "--journal", "j.db"],
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert "nightly" in listed.stdout
