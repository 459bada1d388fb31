"""The entry point of the group ``prefect.plugins``: with ``PREFECT_PLUGINS_ENABLED=true`` Prefect calls it at its own
import, in scripts, workers and the processes of flow runs that workers start.

It does something only where the environment asks for telemetry (a gateway, a journal or an endpoint is named), and
raises nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from prefect.plugins import SetupResult, register_hook

from otel_events.instrument.prefect import PrefectInstrumentor
from otel_events.instrument.start import start_with
from otel_events.instrument.wanted import ENDPOINTS, GATEWAY, telemetry_wanted

TELEMETRY = "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY"
"""Whether Prefect makes spans of its own."""


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables for Prefect: where only the gateway is named, spans of Prefect's own would go nowhere, so it makes none
    and the gateway sends those of the runs. A variable that the user has set stays."""
    if environ.get(GATEWAY) and TELEMETRY not in environ and not any(environ.get(name) for name in ENDPOINTS):
        return {TELEMETRY: "false"}
    return {}


@register_hook  # type: ignore[untyped-decorator]  # of an untyped package
def setup_environment(*, ctx: Any) -> Any:  # pluggy passes arguments by name
    """Instrument this process, and configure it unless something has."""
    try:
        if not telemetry_wanted("prefect", os.environ):
            return None
        start_with(PrefectInstrumentor())
        return SetupResult(env=settings(os.environ), note="otel-events")
    except Exception:
        logging.getLogger("otel_events").exception("prefect is not instrumented")
        return None
