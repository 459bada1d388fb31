"""The entry point of the group ``prefect.plugins``: with ``PREFECT_PLUGINS_ENABLED=true`` Prefect calls it at its own
import, in scripts, workers and the processes of flow runs that workers start.

It does something only where the environment says that telemetry is wanted (a gateway, a journal or an endpoint is
named), and raises nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from prefect.plugins import SetupResult, register_hook

from otel_events.instrument.prefect import PrefectInstrumentor
from otel_events.instrument.start import configure, configured

GATEWAY, JOURNAL = "OTEL_EVENTS_GATEWAY", "OTEL_EVENTS_JOURNAL"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
TELEMETRY = "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY"
"""Whether Prefect makes spans of its own."""


def wanted(environ: Mapping[str, str]) -> bool:
    """Whether to instrument: asked for, and not switched off as OpenTelemetry's variables do."""
    off = environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").replace(" ", "").split(",")
    disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or {"prefect", "*"} & set(off)
    return not disabled and any(environ.get(name) for name in (GATEWAY, JOURNAL, *ENDPOINTS))


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables for Prefect: where only the gateway is named, spans of Prefect's own would go nowhere, so it makes none
    and the gateway sends those of the runs. What the user has set stays."""
    if environ.get(GATEWAY) and TELEMETRY not in environ and not any(environ.get(name) for name in ENDPOINTS):
        return {TELEMETRY: "false"}
    return {}


@register_hook  # type: ignore[untyped-decorator]  # of an untyped package
def setup_environment(*, ctx: Any) -> Any:  # pluggy hands over by name
    """Instrument, and configure this process unless something has."""
    try:
        if not wanted(os.environ):
            return None
        instrumentor = PrefectInstrumentor()
        if not instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.instrument()
        if not configured():
            configure()
        return SetupResult(env=settings(os.environ), note="otel-events")
    except Exception:
        logging.getLogger("otel_events").exception("prefect is not instrumented")
        return None
