"""A served gateway with the usual limits for a module, and one for a single test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_events.gateway.gateway import Gateway
from tests.server.serving import Served, gateway, serving


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Gateway]:
    with gateway(tmp_path / "journal.db") as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with gateway(tmp_path_factory.mktemp("shared") / "journal.db") as made, serving(made) as served:
        yield served
