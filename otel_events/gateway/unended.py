"""What is closed without having ended: its root is over, or silent for too long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from otel_events.core.fold import Attempt, settled
from otel_events.core.traces import outcome_of, parent_id
from otel_events.gateway.state import OpenRoot
from otel_events.journal import Closing


def unended(root: OpenRoot, lookup: Callable[[str], Sequence[Attempt]]) -> Iterator[Closing]:
    """Closings of all that is open in a root: as incomplete what never ended, and as final each run's last attempt."""
    for run_id, known in root.runs.items():
        if not run_id or known.finished:
            continue
        found = [one for one in lookup(run_id) if one.start]
        for index, one in enumerate(found):
            number, last = one.run.attempt, index == len(found) - 1
            outcome = settled(one, not last, outcome_of(lookup, parent_id(one.run)))
            if number not in known.done():
                yield Closing(run_id, one.run.kind, number, not outcome, last, outcome)
            elif last:
                yield Closing(run_id, one.run.kind, 0, False, True, outcome)
