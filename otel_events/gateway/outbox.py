"""The telemetry of commits on its way to the delivery, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from otel_events.gateway.delivery import Delivery
from otel_events.gateway.state import Telemetry
from otel_events.journal import Journal


class Outbox:
    """Hands telemetry to the delivery. Called under the gateway's lock.

    Where the delivery has no room, the outbox is *behind*: it drops what comes and makes it again from the journal,
    commit by commit, once there is room. So memory stays bounded however long the collector is down.
    """

    def __init__(
        self, journal: Journal, delivery: Delivery, refold: Callable[[int], Iterator[tuple[int, Telemetry]]]
    ) -> None:
        """``refold`` gives the telemetry of all commits after the one that it is called with."""
        self._journal, self._delivery, self._refold = journal, delivery, refold
        self._backlog: Iterator[tuple[int, Telemetry]] | None = None

    @property
    def behind(self) -> bool:
        """Whether telemetry of earlier commits has to go out first."""
        return self._backlog is not None

    def resume(self) -> None:
        """Go on where an earlier process stopped: with what the collector had not acknowledged."""
        sent = self._journal.sent_seq
        self._delivery.start(sent)
        if sent < self._journal.last_seq:
            self._backlog = self._refold(sent)

    def send(self, seq: int, telemetry: Telemetry) -> None:
        """Take the telemetry of the commit ``seq``."""
        if self._backlog is not None:
            return
        if self._delivery.has_room():
            self._delivery.offer(seq, telemetry)
        else:
            self._backlog = self._refold(self._delivery.offered_seq)

    def catch_up(self) -> None:
        """Hand on telemetry made again from the journal, as long as the delivery takes it."""
        while self._backlog is not None and self._delivery.has_room():
            step = next(self._backlog, None)
            if step is None:
                # Now all is offered, also the commits of which nothing is left because they were trimmed.
                self._backlog = None
                step = self._journal.last_seq, Telemetry([], [])
            self._delivery.offer(*step)
