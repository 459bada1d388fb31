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
from otel_events.inprocess.ending import ExitStep
from otel_events.inprocess.process import EXIT_SECONDS, IN_PROCESS
from otel_events.inprocess.queue import installed
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
    """Let the runs of this process become telemetry, and what its user makes with the OpenTelemetry API too.

    The SDK's providers that are not set are set up from OTEL_*, once; those that are set stay. With
    OTEL_SDK_DISABLED=true nothing is recorded. Raises nothing (law 5): what cannot be used is said in the log of the
    ``otel_events`` logger. Again: in place of what was configured before.

    Args:
        journal: File in which events wait, for this process and its children; else $OTEL_EVENTS_JOURNAL, else a
            temporary one: then what the other side has not taken by the end of the process is lost.
        gateway: URL of a gateway that makes telemetry of the events; else $OTEL_EVENTS_GATEWAY. "": none, telemetry is
            sent from here, as OTEL_EXPORTER_OTLP_* says.
        timing: How long late events are waited for.
        environ: Variables in place of the process's, for the runs alone: the SDK reads the process's.

    >>> configure(environ={"OTEL_SDK_DISABLED": "true"})  # nothing is recorded, nothing is sent
    """
    set_up("", journal, timing, environ, gateway)


def set_up(
    version: str,
    journal: str | Path | None,
    timing: Timing,
    environ: Mapping[str, str],
    gateway: str | None = None,
) -> None:
    """``configure``, with the ``version`` of ``opentelemetry-instrument`` where that asks, else ""."""
    if environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true":
        process.shutdown()
        return
    if environ is os.environ:
        _providers(version)
    process.configure(journal, gateway=gateway, timing=timing, environ=environ)
    process.at_shutdown(carry.install())
    if _farewell is not None:
        process.set_exit_steps(ExitStep(_farewell.begin, _farewell.wait))


def configured() -> bool:
    """Whether runs of this process are recorded."""
    return installed() is not None


def start_with(instrumentor: Any, configuring: bool = True) -> None:
    """Start an instrumentor and, unless the process is configured already, configure it.

    Args:
        instrumentor: Stays as it is where it is instrumented already.
        configuring: Whether to configure the process at all.
    """
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument()
    if configuring and not configured():
        configure()


def _providers(version: str) -> None:
    global _farewell
    try:
        from otel_events.instrument import providers  # 90 ms of imports, and the exporters that the environment names

        with quiet_grpc():  # the SDK's exporters may be the first to load gRPC
            created = providers.set_up(version)
        if created:
            _farewell = providers.Farewell(created, EXIT_SECONDS)
    except Exception:
        _logger.exception("spans, metrics and logs made through OpenTelemetry are not all sent")
