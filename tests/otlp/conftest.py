"""A collector and certificates for the tests of sending."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from otel_events.testing import CaptureServer
from tests.otlp.certificates import Files, make


@pytest.fixture
def collector() -> Iterator[CaptureServer]:
    with CaptureServer() as server:
        yield server


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Files:
    if not shutil.which("openssl"):
        pytest.skip("the openssl command makes the certificates, and is not here")
    return make(tmp_path_factory.mktemp("certificates"))
