"""Flyte: flyteadmin's and flyte2's events, in every form in which they are recorded or sent."""

from __future__ import annotations

from otel_events.model.identity import digest
from otel_events.model.traits import KindTraits, Traits
from otel_events.sources.source import Source

_PERSON = b"flyte.otel.run.v"


def own_trace_id(root: str) -> bytes | None:
    """The trace id of a Flyte 2 root (``org/project/domain/name``), as flyteplugins-otel 2.12.1 derives it in
    ``_ids.py``: the spans of the SDK and ours are in one trace. None for a root of another form."""
    parts = root.split("/")
    return digest(parts, _PERSON) if len(parts) == 4 else None


SOURCE = Source(
    name="flyte",
    about="Flyte as a source: every form in which its events are recorded or sent, told apart by content and by hint.",
    decode="otel_events.sources.flyte.decode:decode",
    extra="flyte",
    docs="otel_events.sources.flyte.docs:section",
    cloudevents=("com.flyte.resource.",),
    traits=Traits(
        kinds={
            # flyteadmin accepts RUNNING -> QUEUED of nodes and tasks. `@task(timeout=)` shows as task ABORTED: no other
            # sign of the deadline comes from flyteplugins or propeller.
            "node": KindTraits(may_go_back=True),
            "task": KindTraits(may_go_back=True, abort_may_be_deadline=True),
        },
        trace_id=own_trace_id,
    ),
)
