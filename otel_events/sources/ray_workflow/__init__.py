"""Ray's workflows (2.47 and earlier), out of their storage."""

from __future__ import annotations

from otel_events.sources.source import Source

SOURCE = Source(
    name="ray-workflow",
    about="Ray's workflows (2.47 and earlier) as events: a record is one workflow as its folder told it, made by the "
    "poller.",
    decode="otel_events.sources.ray_workflow.decode:decode",
    extra="ray",
    read="otel_events.sources.ray_workflow.read:read",
    serve="otel_events.sources.ray_workflow.serve:Options",
)
