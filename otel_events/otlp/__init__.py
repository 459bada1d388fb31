"""OTLP out: encoding (encode, wire, metrics), configuration (config), delivery (send, http, grpc, senders, export),
files (jsonlines), and fast encoders of common logs and spans (fast, compiled).

Each public name comes from its module when it is first asked for, so encoding alone loads no HTTP client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_events.otlp.config import SIGNALS, Config, Endpoint, Secret, Signal, from_env
    from otel_events.otlp.encode import (
        encode_log,
        encode_span,
        log_record,
        logs_request,
        metrics_request,
        resource,
        scope,
        span_event,
        traces_request,
    )
    from otel_events.otlp.export import Batch, Counts, Exporter
    from otel_events.otlp.jsonlines import logs_line, traces_line
    from otel_events.otlp.metrics import encode_metric
    from otel_events.otlp.send import Clock, Result, Sender, SystemClock
    from otel_events.otlp.senders import sender
    from otel_events.otlp.wire import attribute, attributes

_NAMES = {
    "config": ("SIGNALS", "Config", "Endpoint", "Secret", "Signal", "from_env"),
    "encode": (
        "encode_log",
        "encode_span",
        "log_record",
        "logs_request",
        "metrics_request",
        "resource",
        "scope",
        "span_event",
        "traces_request",
    ),
    "export": ("Batch", "Counts", "Exporter"),
    "jsonlines": ("logs_line", "traces_line"),
    "metrics": ("encode_metric",),
    "send": ("Clock", "Result", "Sender", "SystemClock"),
    "senders": ("sender",),
    "wire": ("attribute", "attributes"),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "SIGNALS",
    "Batch",
    "Clock",
    "Config",
    "Counts",
    "Endpoint",
    "Exporter",
    "Result",
    "Secret",
    "Sender",
    "Signal",
    "SystemClock",
    "attribute",
    "attributes",
    "encode_log",
    "encode_metric",
    "encode_span",
    "from_env",
    "log_record",
    "logs_line",
    "logs_request",
    "metrics_request",
    "resource",
    "scope",
    "sender",
    "span_event",
    "traces_line",
    "traces_request",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
