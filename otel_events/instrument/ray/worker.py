"""A worker of Ray: what its setup hook starts there."""

from __future__ import annotations

import os
from collections.abc import Mapping

DEFAULTS = {"OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_BLRP_SCHEDULE_DELAY": "200"}
"""Milliseconds between two looks of the SDK at spans and records that wait: workers are killed without notice."""
WANTED = "OTEL_EVENTS_GATEWAY", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


def start(settings: Mapping[str, str] | None = None) -> None:
    """Instrument this worker, and let what its tasks tell become telemetry: with ``settings``, variables for where the
    environment has none, or where the environment names a gateway or an endpoint."""
    from otel_events.instrument.ray import RayInstrumentor
    from otel_events.instrument.start import configure, configured

    instrumentor = RayInstrumentor()
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument()
    if settings is None and not any(os.environ.get(name) for name in WANTED):
        return
    for name, value in {**(settings or {}), **DEFAULTS}.items():
        os.environ.setdefault(name, value)
    if not configured():
        configure()
