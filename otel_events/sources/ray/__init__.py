"""Ray: its event export, and what its dashboard answers."""

from __future__ import annotations

from otel_events.model.family import Family
from otel_events.model.traits import EndCounter, KindTraits, RunningGauge, Traits
from otel_events.sources.source import Source

NODE_NAME = "ray.node"
"""Name of every run that is a node of the cluster; all other runs of kind node are actors, named by their class, which
has no dot."""

ACTORS = Family("otel_events_ray_actors", "gauge", "Actors of Ray that are alive, by class.", "{actor}")
RESTARTS = Family(
    "otel_events_ray_actor_restarts_total",
    "counter",
    "Lives of Ray's actors that a restart ended.",
    "{restart}",
)
NODES = Family(
    "otel_events_ray_nodes", "gauge", "Nodes of Ray's clusters that came and have not been told dead.", "{node}", ()
)

# Of one task its owner reports the queue and the end, a worker the run, each by its own clock: the worker that its
# function was left or interrupted, the owner that the task is FINISHED. 2.52 reports the second creation of an actor as
# RUNNING of the first.
TASK = KindTraits(
    may_go_back=True,
    cancel_overrules_success=True,
    echoes=frozenset(
        {
            *((outcome, "finalizing") for outcome in ("succeeded", "failed", "crashed", "cancelled")),
            ("succeeded", "cancelled"),
            ("cancelled", "succeeded"),
            ("succeeded", "running"),
        }
    ),
)

SOURCE = Source(
    name="ray",
    about="Ray's event export (2.49 and later): one event, the array that Ray POSTs, or a recorded POST with its body; "
    "and, by hint, what its dashboard answers when it is asked (jobs, state).",
    decode="otel_events.sources.ray.decode:decode",
    extra="ray",
    serve="otel_events.sources.ray.serve:Options",
    docs="otel_events.sources.ray.tables:tables",
    traits=Traits(
        kinds={
            "task": TASK,
            # A job is FINISHED however it went: that is its last word where nobody asks the dashboard for its outcome.
            "workflow": KindTraits(finalizing_may_be_last=True),
        },
        workflow_from_root=True,
        namespace_is_session=True,
        gauges=(RunningGauge(NODES, "node", name=NODE_NAME), RunningGauge(ACTORS, "node")),
        endings=(EndCounter(RESTARTS, "RESTARTING"),),
    ),
)
