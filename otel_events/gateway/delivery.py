"""Telemetry to the collector, and the number of the commit up to which all of it has been acknowledged.

Spans and logs of commits are gathered into requests of ``BATCH`` items and sent in order. A commit counts as sent when
every request that holds anything of it has been accepted, or refused for good and counted.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from otel_events.gateway.state import Telemetry
from otel_events.model.errors import ConfigError
from otel_events.model.telemetry import MetricData
from otel_events.model.version import version
from otel_events.otlp import (
    Batch,
    Config,
    Counts,
    Exporter,
    Result,
    Sender,
    Signal,
    encode_metric,
    logs_request,
    metrics_request,
    resource,
    scope,
    sender,
    traces_request,
)

BATCH = 512
"""Items a request: the SDK's own default for spans."""

SCOPE = ("otel_events", version())
"""Name and version of the instrumentation scope of all that we send."""

REQUESTS: dict[Signal, Callable[[Sequence[bytes], bytes, bytes], bytes]] = {
    "traces": traces_request,
    "logs": logs_request,
    "metrics": metrics_request,
}
EXPORTERS = ("otlp", "none")


def exported_signals(environ: Mapping[str, str]) -> list[Signal]:
    """The signals that are sent at all.

    Args:
        environ: ``OTEL_{TRACES,LOGS,METRICS}_EXPORTER`` may turn a signal off.

    Returns:
        Those that are on.

    Raises:
        ConfigError: A variable asks for an exporter that we do not have.

    >>> exported_signals({"OTEL_LOGS_EXPORTER": "none"})
    ['traces', 'metrics']
    """
    signals: list[Signal] = []
    for signal in REQUESTS:
        name = f"OTEL_{signal.upper()}_EXPORTER"
        value = environ.get(name, "").strip().lower() or "otlp"
        if value not in EXPORTERS:
            raise ConfigError(f"{name} is {value!r}; it takes {' or '.join(EXPORTERS)}: correct it or unset it")
        if value == "otlp":
            signals.append(signal)
    return signals


class _Lane(msgspec.Struct):
    """One signal.

    Attributes:
        items: What is gathered for the next requests.
        waiting: The first commit of each request that is not answered yet.
        first: The commit of the first of ``items``.
        last: The commit that was gathered last, from which every item comes that is not of the next request.
    """

    items: deque[bytes]
    waiting: deque[int]
    first: int = 0
    last: int = 0


class Delivery:
    """Sends telemetry. One thread at a time offers; answers come on the exporter's threads."""

    def __init__(self, senders: Sequence[Sender], resource_attributes: Mapping[str, Any], **exporter: Any) -> None:
        """Begin with nothing offered.

        Args:
            senders: One for each signal that goes out.
            resource_attributes: What the telemetry is of.
            exporter: More arguments of Exporter (clock, limit).
        """
        self._exporter = Exporter(senders, self._done, **exporter)
        self._resource = resource(resource_attributes)
        self._scope = scope(*SCOPE)
        self.signals = frozenset(sender.signal for sender in senders)
        self._lanes: dict[Signal, _Lane] = {sender.signal: _Lane(deque(), deque()) for sender in senders}
        self._lock = threading.Lock()
        self.offered_seq = 0

    @classmethod
    def open(cls, config: Config | None, environ: Mapping[str, str] = os.environ) -> Delivery:
        """A delivery to the endpoints of a configuration.

        Args:
            config: Where to; None: telemetry goes nowhere.
            environ: ``OTEL_{TRACES,LOGS,METRICS}_EXPORTER`` may turn a signal off.

        Returns:
            The delivery.

        Raises:
            ConfigError: Names the variable that is wrong.
        """
        if config is None:
            return cls([], {})
        senders = [sender(config.endpoints[signal]) for signal in exported_signals(environ)]
        return cls(senders, config.resource)

    def start(self, sent_seq: int) -> None:
        """Begin after the commit up to which the collector acknowledged all to an earlier process."""
        self.offered_seq = sent_seq

    def start_threads(self) -> None:
        """Start the sending threads now, not with the first request: a process that ends cannot start threads."""
        self._exporter.start()

    @property
    def sent_seq(self) -> int:
        """All telemetry of all commits up to this one is with the collector."""
        with self._lock:
            lanes = self._lanes.values()
            firsts = [lane.waiting[0] if lane.waiting else lane.first for lane in lanes if lane.waiting or lane.items]
            return min(firsts, default=self.offered_seq + 1) - 1

    def has_room(self) -> bool:
        """Whether the next commit may be offered. Queues what has been gathered, as far as the queue has room."""
        self._seal(BATCH)
        return self._exporter.has_room() and all(len(lane.items) < BATCH for lane in self._lanes.values())

    def offer(self, seq: int, telemetry: Telemetry) -> None:
        """Take the telemetry of the commit ``seq``; commits come in order. Ask ``has_room`` first."""
        for signal, items in (("traces", telemetry.spans), ("logs", telemetry.logs)):
            lane = self._lanes.get(signal)  # type: ignore[call-overload]  # a literal loses its type in a tuple
            if lane is not None and items:
                with self._lock:
                    lane.first = lane.first if lane.items else seq
                    lane.last = seq
                    lane.items += items
        self.offered_seq = seq
        self._seal(BATCH)

    def flush(self) -> None:
        """Send what has been gathered without waiting for a full request."""
        self._seal(1)
        self._exporter.resume()

    def _seal(self, least: int) -> None:
        """Queue requests while ``least`` items are gathered and the queue has room.

        One commit may give more than the queue holds; the rest of it waits in its lane.
        """
        for signal, lane in self._lanes.items():
            while len(lane.items) >= least and self._exporter.has_room():
                if not self._seal_one(signal, lane):
                    break

    def _seal_one(self, signal: Signal, lane: _Lane) -> bool:
        items = list(islice(lane.items, BATCH))
        payload = REQUESTS[signal](items, self._resource, self._scope)
        with self._lock:  # Before it is offered, because the answer may come at once.
            first = lane.first
            lane.waiting.append(first)
            lane.first = lane.last
            for _ in items:
                lane.items.popleft()
        if self._exporter.offer(Batch(signal, payload, len(items), signal)):
            return True
        with self._lock:  # The exporter is closing: put all back, so that it counts as unsent.
            lane.waiting.pop()
            lane.first = first
            lane.items.extendleft(reversed(items))
        return False

    def idle(self) -> bool:
        """Whether all that was offered is done; sends what has been gathered."""
        self.flush()
        return not any(lane.items for lane in self._lanes.values()) and not any(
            counts.queued for counts in self.counts().values()
        )

    def _done(self, token: Signal | None, result: Result) -> None:
        """The oldest request of a signal was answered: the collector has it, or refused it for good."""
        if token is not None:
            with self._lock:
                self._lanes[token].waiting.popleft()

    def metrics(self, families: Sequence[MetricData], last: bool = False) -> None:
        """Send the metric families as they stand.

        Args:
            families: All of them; those without points are left out.
            last: Send them even where an earlier request still waits. Otherwise they are skipped then, because later
                ones will show the same and more.
        """
        if "metrics" not in self.signals or not (last or self._exporter.idle("metrics")):
            return
        items = [encode_metric(family) for family in families if family.points]
        points = sum(len(family.points) for family in families)
        if items:
            self._exporter.offer(Batch("metrics", metrics_request(items, self._resource, self._scope), points, None))

    def counts(self) -> dict[Signal, Counts]:
        """Sent, failed, retried and so on so far, by signal."""
        return self._exporter.counts()

    def close(self, timeout: float) -> str:
        """Send what is gathered.

        Args:
            timeout: Seconds to wait for the collector's answers.

        Returns:
            Why something is left; "" where nothing is.
        """
        self.flush()
        left = self._exporter.close(timeout) or any(lane.items for lane in self._lanes.values())
        reasons = sorted({counts.reason for counts in self.counts().values() if counts.reason})
        return ("; ".join(reasons) or "no answer in time") if left else ""
