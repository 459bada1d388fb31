"""The entry point of the group ``flytekit.plugins``: flytekit imports this module at the end of its own import, in pods
too, with no change of anybody's code.

It does something only where the environment says that telemetry is wanted (a gateway, a journal or an endpoint is
named), and raises nothing: an error here would make flytekit itself fail to import.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

WANTED = (
    "OTEL_EVENTS_GATEWAY",
    "OTEL_EVENTS_JOURNAL",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
)
"""Variables of which one says that telemetry is wanted."""


def wanted(environ: Mapping[str, str]) -> bool:
    """Whether to instrument: asked for, and not switched off as OpenTelemetry's variables do."""
    off = environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").replace(" ", "").split(",")
    disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or {"flytekit", "*"} & set(off)
    return not disabled and any(environ.get(name) for name in WANTED)


def start() -> None:
    """Instrument, and configure this process unless something has."""
    from otel_events.instrument.flytekit import FlytekitInstrumentor  # half a second that only the wanted need pay
    from otel_events.instrument.start import configure, configured

    instrumentor = FlytekitInstrumentor()
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument()
    if not configured():
        configure()


try:
    if wanted(os.environ):
        start()
except Exception:
    logging.getLogger("otel_events").exception("flytekit is not instrumented")
