"""ClearML: calls of its API, recorded traffic, offline sessions."""

from __future__ import annotations

from otel_events.model.traits import KindTraits, Traits
from otel_events.sources.source import Source

SOURCE = Source(
    name="clearml",
    about="ClearML: calls of its API as the gateway's own API and tee record them, recorded HTTP traffic, and offline "
    "sessions.",
    decode="otel_events.sources.clearml.decode:decode",
    extra="clearml",
    read="otel_events.sources.clearml.read:read",
    traits=Traits(
        kinds={
            "task": KindTraits(
                # A task that ended may be published, deleted, or stopped once more.
                echoes=frozenset(
                    {
                        ("succeeded", "cancelled"),
                        *((ended, later) for ended in ("failed", "cancelled") for later in ("succeeded", "cancelled")),
                    }
                ),
                next_only_after_run=True,
            )
        },
        # The server takes a task's stats once the task was made, with its name, so the name is known by then; without
        # it the stats of all tasks would be one series.
        stats_need_names=True,
    ),
)
