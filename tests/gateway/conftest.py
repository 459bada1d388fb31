"""A collector for the module, and a world for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_events.otlp.config import Protocol
from otel_events.testing import CaptureServer
from tests.gateway.kit import World


@pytest.fixture(scope="module")
def shared_collector() -> Iterator[CaptureServer]:
    with CaptureServer() as collector:
        yield collector


@pytest.fixture
def collector(shared_collector: CaptureServer) -> CaptureServer:
    shared_collector.clear()
    shared_collector.answers.clear()
    return shared_collector


@pytest.fixture
def world(tmp_path: Path, collector: CaptureServer) -> Iterator[World]:
    made = World(tmp_path, collector)
    yield made
    made.close()


@pytest.fixture(params=["http/protobuf", "grpc"])
def either(request: pytest.FixtureRequest, tmp_path: Path, collector: CaptureServer) -> Iterator[World]:
    """A world for each protocol."""
    protocol: Protocol = request.param
    made = World(tmp_path, collector, protocol)
    yield made
    made.close()
