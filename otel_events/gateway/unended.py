"""What is closed without having ended: its root is over, or silent for too long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from otel_events.core.fold import Attempt, settled
from otel_events.core.traces import outcome_of, parent_id
from otel_events.gateway.state import OpenRoot
from otel_events.journal import Closing


def unended(root: OpenRoot, lookup: Callable[[str], Sequence[Attempt]]) -> Iterator[Closing]:
    """Closings of all that is open in a root: as incomplete what never ended, and as final each run's last attempt."""
    for run_id, open_run in root.runs.items():
        if not run_id or open_run.finished:
            continue
        run_attempts = [attempt for attempt in lookup(run_id) if attempt.start]
        for index, attempt in enumerate(run_attempts):
            number, last = attempt.run.attempt, index == len(run_attempts) - 1
            outcome = settled(attempt, not last, outcome_of(lookup, parent_id(attempt.run)))
            if number not in open_run.done():
                yield Closing(run_id, attempt.run.kind, number, not outcome, last, outcome)
            elif last:
                yield Closing(run_id, attempt.run.kind, 0, False, True, outcome)
