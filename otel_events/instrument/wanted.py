"""Whether the environment asks for telemetry: for plug-ins that a system loads by itself.

This module imports nothing of weight: such a plug-in is loaded in every process of the system.
"""

from __future__ import annotations

from collections.abc import Mapping

GATEWAY, JOURNAL = "OTEL_EVENTS_GATEWAY", "OTEL_EVENTS_JOURNAL"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def telemetry_wanted(instrumentor: str, environ: Mapping[str, str]) -> bool:
    """Whether an instrumentor is to start by itself.

    Args:
        instrumentor: Its name, as OTEL_PYTHON_DISABLED_INSTRUMENTATIONS names it.
        environ: The variables of the process.

    Returns:
        True where a gateway, a journal or an endpoint is named, and nothing is switched off.

    >>> telemetry_wanted("prefect", {"OTEL_EVENTS_GATEWAY": "http://localhost:4319"})
    True
    >>> telemetry_wanted("prefect", {"OTEL_EVENTS_GATEWAY": "http://localhost:4319", "OTEL_SDK_DISABLED": "true"})
    False
    """
    off = environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").replace(" ", "").split(",")
    disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or {instrumentor, "*"} & set(off)
    return not disabled and any(environ.get(name) for name in (GATEWAY, JOURNAL, *ENDPOINTS))
