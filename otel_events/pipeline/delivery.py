"""From telemetry to the collector and back to one number: up to which commit everything has been acknowledged.

Spans and logs of commits are encoded at once, gathered into requests of ``BATCH`` items, and sent in order. A commit
counts as sent when every request that holds anything of it was answered with yes (or refused for good, and counted).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from otel_events.otlp import Batch, Config, Counts, Exporter, Result, encode
from otel_events.pipeline.engine import Telemetry
from otel_events.telemetry import MetricData

BATCH = 512
"""Items a request: the SDK's own default for spans."""

SIGNALS = ("traces", "logs")
REQUESTS: dict[str, Callable[[Sequence[bytes], bytes, bytes], bytes]] = {
    "traces": encode.traces_request,
    "logs": encode.logs_request,
    "metrics": encode.metrics_request,
}


class _Lane(msgspec.Struct):
    """One signal: what is gathered for the next request, and the first commit of each request not yet answered."""

    items: list[bytes]
    first: int
    waiting: deque[int]


class Delivery:
    """Offered to by one thread; answers come on the exporter's threads."""

    def __init__(self, exporter: Exporter | None, config: Config, scope: tuple[str, str]) -> None:
        self._exporter = exporter
        self._resource = encode.resource(config.resource)
        self._scope = encode.scope(*scope)
        self._lanes = {signal: _Lane([], 0, deque()) for signal in SIGNALS}
        self._lock = threading.Lock()
        self._full = False
        self.offered_seq = 0

    def start(self, sent_seq: int) -> None:
        """Begin after what an earlier process had acknowledged."""
        self.offered_seq = sent_seq

    @property
    def sent_seq(self) -> int:
        """All telemetry of all commits up to this one is with the collector."""
        with self._lock:
            firsts = [lane.waiting[0] for lane in self._lanes.values() if lane.waiting]
            firsts += [lane.first for lane in self._lanes.values() if lane.items]
            return min(firsts, default=self.offered_seq + 1) - 1

    def has_room(self) -> bool:
        """Whether the next commit may be offered; False until the exporter's queue has room again."""
        return self._exporter is None or self._exporter.has_room()

    def offer(self, seq: int, made: Telemetry) -> None:
        """Take the telemetry of the commit ``seq``; commits come in order."""
        if self._exporter is not None:
            self._gather("traces", seq, [encode.encode_span(one) for one in made.spans])
            self._gather("logs", seq, [encode.encode_log(one) for one in made.logs])
        with self._lock:
            self.offered_seq = seq

    def _gather(self, signal: str, seq: int, items: list[bytes]) -> None:
        lane = self._lanes[signal]
        while items:
            with self._lock:
                if not lane.items:
                    lane.first = seq
                room = BATCH - len(lane.items)
                lane.items.extend(items[:room])
            items = items[room:]
            if len(lane.items) >= BATCH:
                self._seal(signal)

    def _seal(self, signal: str) -> None:
        lane = self._lanes[signal]
        with self._lock:
            if not lane.items or self._exporter is None:
                return
            items, lane.items = lane.items, []
            lane.waiting.append(lane.first)
        payload = REQUESTS[signal](items, self._resource, self._scope)
        self._exporter.offer(Batch(signal, payload, len(items), signal))

    def flush(self) -> None:
        """Send what has been gathered without waiting for a full request."""
        for signal in SIGNALS:
            self._seal(signal)

    def done(self, token: object, result: Result) -> None:
        """The exporter's answer for the oldest request of a signal: it is with the collector, or refused for good."""
        with self._lock:
            self._lanes[str(token)].waiting.popleft()

    def metrics(self, families: Sequence[MetricData]) -> None:
        """Send the metric families as they stand; skipped while an earlier request still waits."""
        if self._exporter is None or not self._exporter.idle("metrics"):
            return
        items = [encode.encode_metric(family) for family in families if family.points]
        if items:
            payload = encode.metrics_request(items, self._resource, self._scope)
            self._exporter.offer(Batch("metrics", payload, len(items), None))

    def counts(self) -> dict[str, Counts]:
        """Sent, failed and retried so far, by signal."""
        return self._exporter.counts() if self._exporter else {}

    def close(self, timeout: float) -> str:
        """Wait at most ``timeout`` seconds for the queue; returns why something is left, or ""."""
        return self._exporter.close(timeout) if self._exporter else ""
