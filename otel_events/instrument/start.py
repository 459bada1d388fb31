"""``otel_events.configure()``: the runs of this process become telemetry, and what its user makes with the API too."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opentelemetry.sdk.environment_variables import OTEL_SDK_DISABLED

from otel_events.gateway.state import Timing
from otel_events.inprocess import process
from otel_events.inprocess import queue as live
from otel_events.inprocess.process import EXIT_SECONDS, IN_PROCESS
from otel_events.otlp.quiet import quiet_grpc
from otel_events.tasks import carry

_logger = logging.getLogger("otel_events")
_farewell: Any = None


def configure(
    journal: str | Path | None = None,
    *,
    gateway: str | None = None,
    timing: Timing = IN_PROCESS,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Let the runs of this process become telemetry (``pipeline.process.configure``), and what its user makes with the
    OpenTelemetry API too: the providers that nobody has set are set up from OTEL_*, once; those that are set stay.

    OTEL_SDK_DISABLED=true: neither. An ``environ`` of its own is for the runs alone: the SDK reads the process's.
    Raises nothing (law 5): what cannot be used is told in the log of the ``otel_events`` logger.
    """
    set_up("", journal, timing, environ, gateway)


def set_up(
    version: str,
    journal: str | Path | None,
    timing: Timing,
    environ: Mapping[str, str],
    gateway: str | None = None,
) -> None:
    """The same; ``version``: of ``opentelemetry-instrument``, where it is that asks."""
    if environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true":
        process.shutdown()
        return
    if environ is os.environ:
        _providers(version)
    process.configure(journal, gateway=gateway, timing=timing, environ=environ)
    process.at_shutdown(carry.install())
    if _farewell is not None:
        process.leave_with(process.Leaving(_farewell.begin, _farewell.wait))


def configured() -> bool:
    """Whether runs of this process are recorded."""
    return live._live is not None


def _providers(version: str) -> None:
    global _farewell
    try:
        from otel_events.instrument import providers  # 90 ms of imports, and the exporters that are asked for

        with quiet_grpc():  # the SDK's exporters may load it first
            made = providers.set_up(version)
        if made:
            _farewell = providers.Farewell(made, EXIT_SECONDS)
    except Exception:
        _logger.exception("spans, metrics and logs made through OpenTelemetry are not all sent")
