"""The SDK's providers for what users make themselves, from OTEL_*, as the SDK's own auto-configuration reads it.

What differs on purpose: a provider that is set already stays; the exporter is ``otlp`` where none is named, as the
specification has it; ids do not come from ``random``; and the end of the process waits for them at most a stated time
(the SDK's own shutdown took 30 s with the collector down).
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry import _logs, metrics, trace
from opentelemetry.environment_variables import OTEL_PYTHON_ID_GENERATOR
from opentelemetry.sdk import _configuration as sdk
from opentelemetry.sdk.environment_variables import OTEL_CONFIG_FILE
from opentelemetry.sdk.resources import Resource

from otel_events.instrument.ids import OsRandomIdGenerator

_logger = logging.getLogger("otel_events")

PROVIDERS: dict[str, tuple[Callable[[], Any], str]] = {
    "traces": (trace.get_tracer_provider, "ProxyTracerProvider"),
    "metrics": (metrics.get_meter_provider, "_ProxyMeterProvider"),
    "logs": (_logs.get_logger_provider, "ProxyLoggerProvider"),
}
"""Signal -> (its global provider, class of the API's stand-in while none is set)."""


def unset() -> list[str]:
    """The signals whose provider is not set."""
    return [signal for signal, (get, proxy) in PROVIDERS.items() if type(get()).__name__ == proxy]


def set_up(version: str = "", environ: Mapping[str, str] = os.environ) -> list[Any]:
    """Set the providers that are not set.

    Args:
        version: Of ``opentelemetry-instrument``, where that asks.
        environ: The variables that are read.

    Returns:
        The providers that were set here.

    Raises:
        Exception: What the SDK raises for a setting that it cannot use.
    """
    signals = unset()
    if not signals:
        return []
    if environ.get(OTEL_CONFIG_FILE):
        sdk._OTelSDKConfigurator()._configure()  # type: ignore[no-untyped-call]  # the SDK's own
    elif len(signals) == len(PROVIDERS):
        spans, measures, records = (_default(signal, environ) for signal in PROVIDERS)
        sdk._initialize_components(version or None, spans, measures, records, id_generator=_ids(environ))
    else:
        _some(signals, environ)
    return [provider for signal in signals if hasattr(provider := PROVIDERS[signal][0](), "shutdown")]


def _default(signal: str, environ: Mapping[str, str]) -> list[str]:
    """Exporters beside those that the environment names, if it names any."""
    named = environ.get(f"OTEL_{signal.upper()}_EXPORTER", "")
    return [] if named else [sdk._get_exporter_entry_point("otlp", signal)]  # type: ignore[arg-type]  # a signal's name


def _ids(environ: Mapping[str, str]) -> OsRandomIdGenerator | None:
    return None if environ.get(OTEL_PYTHON_ID_GENERATOR) else OsRandomIdGenerator()


def _some(signals: list[str], environ: Mapping[str, str]) -> None:
    """Where the user has set some of them: only the others."""
    resource = Resource.create({})
    exporters = {
        signal: _default(signal, environ) + sdk._get_exporter_names(signal)  # type: ignore[arg-type]  # a signal's name
        for signal in PROVIDERS
        if signal in signals
    }
    spans, measures, records = sdk._import_exporters(*(exporters.get(signal, []) for signal in PROVIDERS))
    if "traces" in signals:
        ids = _ids(environ) or sdk._import_id_generator(sdk._get_id_generator())
        sdk._init_tracing(spans, ids, sdk._import_sampler(sdk._get_sampler()), resource)
    if "metrics" in signals:
        sdk._init_metrics(measures, resource)
    if "logs" in signals:
        sdk._init_logging(records, resource, setup_logging_handler=False)


class Farewell:
    """Shuts providers down at the end of the process, each in a thread of its own, and waits at most ``seconds`` for
    all. The threads are started at once and wait: since Python 3.12 none can be started when the interpreter ends."""

    def __init__(self, providers: list[Any], seconds: float) -> None:
        self._providers, self._seconds = providers, seconds
        for provider in providers:
            _forget_exit(provider)
        self._prepare()
        os.register_at_fork(after_in_child=self._prepare)
        self._end = 0.0

    def _prepare(self) -> None:
        self._leave = threading.Event()
        self._threads = [
            threading.Thread(target=self._close, args=(provider, self._leave), name="otel-events-exit", daemon=True)
            for provider in self._providers
        ]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _close(provider: Any, leave: threading.Event) -> None:
        leave.wait()
        try:
            provider.shutdown()
        except Exception:
            _logger.exception("the end of %s", type(provider).__name__)

    def begin(self) -> None:
        """Start all shutdowns; the time runs from here."""
        self._end = time.monotonic() + self._seconds
        self._leave.set()

    def wait(self) -> None:
        """Wait until they have ended, or the time is over."""
        for thread in self._threads:
            thread.join(max(0.0, self._end - time.monotonic()))


def _forget_exit(provider: Any) -> None:
    """Take back the unbounded shutdown that an SDK provider registers for the end of the process."""
    for name in ("_atexit_handler", "_at_exit_handler"):
        handler = getattr(provider, name, None)
        if handler is not None:
            atexit.unregister(handler)
            setattr(provider, name, None)
