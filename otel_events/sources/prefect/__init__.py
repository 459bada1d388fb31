"""Prefect 3: events of its server and answers of its REST API."""

from __future__ import annotations

from otel_events.sources.source import Source

SOURCE = Source(
    name="prefect",
    about="Prefect 3: events as the server tells them (alone, in a websocket frame, as a page), and answers of its "
    "REST API.",
    decode="otel_events.sources.prefect.decode:decode",
    extra="prefect",
    docs="otel_events.sources.prefect.tables:families_table",
)
