"""What the setup hook starts in a worker of Ray."""

from __future__ import annotations

import os
from collections.abc import Mapping

from otel_events.instrument.ray import RayInstrumentor
from otel_events.instrument.start import start_with
from otel_events.instrument.wanted import ENDPOINTS, GATEWAY

DEFAULTS = {"OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_BLRP_SCHEDULE_DELAY": "200"}
"""Milliseconds between two exports of the SDK's batch processors: Ray kills workers without notice."""


def start(settings: Mapping[str, str] | None = None) -> None:
    """Instrument this worker, and let the events of its tasks become telemetry.

    Args:
        settings: Variables for those that the environment does not have. None: telemetry only where the environment
            names a gateway or an endpoint.
    """
    configuring = settings is not None or any(os.environ.get(name) for name in (GATEWAY, *ENDPOINTS))
    if configuring:
        for name, value in {**(settings or {}), **DEFAULTS}.items():
            os.environ.setdefault(name, value)
    start_with(RayInstrumentor(), configuring)
