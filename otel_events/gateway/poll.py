"""What is asked rather than sent: a thread that polls a place and gives its records to the gateway.

A place is moved on only once the gateway has its records on disk (law 4): an error of the journal, or of the place,
leaves it where it was, and the next round asks again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from otel_events.gateway.gateway import Gateway
from otel_events.intake.records import Record
from otel_events.model.errors import OtelEventsError
from otel_events.sources.source import Polled

_logger = logging.getLogger("otel_events")


class Poll:
    """Polls each place every ``seconds`` until stopped. An error of one place is told once, and costs it the round."""

    def __init__(
        self, gateway: Gateway, places: Sequence[Polled], seconds: float, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._gateway, self._places, self._seconds, self._clock = gateway, places, seconds, clock
        self._last_errors: dict[str, str] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="otel-events-poll", daemon=True)

    def start(self) -> None:
        if self._places:
            self._thread.start()

    def stop(self, patience: float = 5.0) -> None:
        """From any thread, any number of times; a request under way gets ``patience`` seconds to end."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(patience)

    def _work(self) -> None:
        while True:
            self.round()
            if self._stopped.wait(self._seconds):
                return

    def round(self) -> None:
        """Ask each place once."""
        for polled in self._places:
            if self._stopped.is_set():
                return
            try:
                self._ask(polled)
                self._last_errors.pop(polled.name, None)
            except OtelEventsError as error:
                if "draining" not in self._gateway.health().reasons:
                    self._tell(polled, str(error))
            except Exception as error:
                if self._last_errors.get(polled.name) != str(error):
                    _logger.exception("polling %s failed; it is asked again", polled.name)
                self._last_errors[polled.name] = str(error)

    def _ask(self, polled: Polled) -> None:
        records = [Record(body, polled.hint, where) for where, body in polled.place.poll(self._clock())]
        if records:
            self._gateway.ingest(polled.source, records)
        polled.place.acknowledge()

    def _tell(self, polled: Polled, error: str) -> None:
        if self._last_errors.get(polled.name) != error:
            _logger.warning("polling %s: %s", polled.name, error)
        self._last_errors[polled.name] = error
