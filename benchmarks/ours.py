"""Our side: the gateway as ``serve`` runs it, and replay, both with a journal that fsyncs each batch."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from otel_events.core.metrics import Metrics
from otel_events.gateway.delivery import Delivery
from otel_events.gateway.gateway import Every, Gateway
from otel_events.gateway.state import Timing
from otel_events.intake.records import Record
from otel_events.journal import Journal
from otel_events.otlp import Config, from_env
from otel_events.replay.replay import replay
from otel_events.replay.sinks import OtlpSink

SECOND = 1_000_000_000
BATCH = 1_000
"""Records handed over at once: what a busy source's poll or POST brings."""

NO_LOGS = {"OTEL_LOGS_EXPORTER": "none"}


def config(url: str) -> Config:
    return from_env({"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"})


class Streaming:
    """The gateway. Its clock is ours: each batch takes a second of it, so the grace of 10 s runs as in life."""

    def __init__(self, url: str, logs: bool = True) -> None:
        self._folder = tempfile.mkdtemp(prefix="otel-events-bench-")
        self._now = 1_700_000_000 * SECOND
        self.metrics = Metrics()
        self.gateway = Gateway(
            Journal.open(Path(self._folder) / "journal.db", clock=self.clock),
            self.metrics,
            Delivery.open(config(url), {} if logs else NO_LOGS),
            timing=Timing(),
            clock=self.clock,
            every=Every(metrics=3600 * SECOND),
        )

    def clock(self) -> int:
        return self._now

    def take(self, stream: Sequence[bytes]) -> None:
        for start in range(0, len(stream), BATCH):
            self.gateway.ingest("flyte", [Record(body) for body in stream[start : start + BATCH]])
            self._now += SECOND
            self.gateway.tick()

    def flush(self) -> None:
        """Until everything is decided, out and acknowledged."""
        self._now += 11 * SECOND
        self.gateway.tick()
        self.gateway.tick()
        while (health := self.gateway.health()).sent_seq < health.last_seq:
            time.sleep(0.001)

    def close(self) -> None:
        self.gateway.drain_and_close()
        shutil.rmtree(self._folder)


class Replay:
    """A replay of each stream, from records to the collector's last yes, through a journal of its own."""

    def __init__(self, url: str) -> None:
        self._config = config(url)

    def take(self, stream: Iterable[bytes]) -> None:
        folder = tempfile.TemporaryDirectory(prefix="otel-events-bench-")
        with folder as path, Journal.open(Path(path) / "journal.db", seen_limit=10_000) as journal:
            sink = OtlpSink(self._config)
            replay("flyte", map(Record, stream), journal=journal, sink=sink, metrics=Metrics())
            sink.close()

    def flush(self) -> None:
        """Nothing is left after ``take``."""

    def close(self) -> None:
        """Nothing stays open."""
