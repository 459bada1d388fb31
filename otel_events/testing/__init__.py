"""A kit to test telemetry with: our own tests use it, and yours can.

- ``CaptureServer``: a real OTLP receiver on loopback, HTTP and gRPC, that answers as a test says.
- ``capture()``: the same without sockets, for the Exporter.
- ``FakeClock``: a clock that stands still until a test moves it.

Both receivers decode with the official opentelemetry-proto messages, and give what they received as plain structs:

>>> from otel_events.otlp import Batch, Exporter, encode_span, resource, scope, traces_request
>>> from otel_events.model.telemetry import SpanData
>>> memory = capture()
>>> exporter = Exporter(memory.senders)
>>> span = SpanData(b"t" * 16, b"s" * 8, b"", "task", 1, 1, 2, {"k": "v"})
>>> payload = traces_request([encode_span(span)], resource({"service.name": "mine"}), scope("my tests"))
>>> exporter.offer(Batch("traces", payload, 1))
True
>>> exporter.close()  # what is left unsent
[]
>>> memory.spans() == [span]
True
>>> memory.resources()
[{'service.name': 'mine'}]
"""

from __future__ import annotations

from otel_events.testing.clock import FakeClock
from otel_events.testing.memory import Memory, capture
from otel_events.testing.received import MetricPoint, Received, Request
from otel_events.testing.server import Answer, CaptureServer, Certificates

__all__ = [
    "Answer",
    "CaptureServer",
    "Certificates",
    "FakeClock",
    "Memory",
    "MetricPoint",
    "Received",
    "Request",
    "capture",
]
