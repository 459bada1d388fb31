"""Our own events as JSON."""

from __future__ import annotations

from otel_events.sources.source import Source

SOURCE = Source(
    name="events",
    about="Our own events as JSON objects, one a record: what POST /v1/events takes and `replay events` reads.",
    decode="otel_events.sources.events.decode:decode",
    docs="otel_events.sources.events.docs:section",
)
