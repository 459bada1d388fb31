"""Our variables, for ``opentelemetry-instrument``: each is also an argument of it (``--events_journal FILE``)."""

from __future__ import annotations

OTEL_EVENTS_JOURNAL = "OTEL_EVENTS_JOURNAL"
"""File of the journal of this process; with it, kill -9 loses at most the last batch."""
OTEL_EVENTS_GATEWAY = "OTEL_EVENTS_GATEWAY"
"""URL of a gateway that this process's events go to, instead of a journal and a sender of its own."""
OTEL_EVENTS_CLEARML_REPORTS = "OTEL_EVENTS_CLEARML_REPORTS"
"""``false``: of ClearML's tasks only the phases become events; for where the gateway is their API server, or a tee."""
