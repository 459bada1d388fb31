"""Ids of the spans that users start through the SDK (OTEL_PYTHON_ID_GENERATOR=otel_events)."""

from __future__ import annotations

from secrets import randbits

from opentelemetry.sdk.trace.id_generator import IdGenerator


class OsRandomIdGenerator(IdGenerator):
    """Ids from the operating system. The SDK's own come from ``random``: tasks that call ``random.seed(42)``, as much
    machine learning code does, would all make the same ones."""

    def generate_span_id(self) -> int:
        """A random id of 64 bits; 0 is not valid."""
        return randbits(64) or 1

    def generate_trace_id(self) -> int:
        """A random id of 128 bits; 0 is not valid."""
        return randbits(128) or 1

    def is_trace_id_random(self) -> bool:
        """True: of all bits (W3C Trace Context, level 2)."""
        return True
