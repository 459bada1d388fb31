"""Where a replay goes: files in the collector's own format, or the collector."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from otel_events.core.exposition import Writer
from otel_events.core.logs import log
from otel_events.core.metrics import COMMON, Metrics
from otel_events.core.spans import span
from otel_events.core.traces import Closed
from otel_events.gateway.delivery import SCOPE, Delivery
from otel_events.gateway.state import Telemetry
from otel_events.intake.ingest import DeadLetter
from otel_events.model.errors import ConfigError, ExportError
from otel_events.model.telemetry import LogData, SpanData
from otel_events.otlp import Config, logs_line, traces_line
from otel_events.otlp.fast import Logs, Spans
from otel_events.replay.replay import Line

LINE = 512
"""Spans or log records an export request, so a line."""

T = TypeVar("T")


def spans_of(closed: Iterable[Closed]) -> list[SpanData]:
    """The spans of closed attempts."""
    return [span(ended.attempt, ended.where, ended.outcome, ended.previous) for ended in closed]


def logs_of(lines: Iterable[Line]) -> list[LogData]:
    """The log records of lines."""
    return [log(x.event, x.where.trace_id, x.where.span_id, x.attempt, x.late, full=x.first) for x in lines]


class FileSink:
    """``traces.jsonl``, ``logs.jsonl`` (OTLP JSON, one export request a line), ``metrics.prom`` (exposition text, the
    families of runs) and ``dead_letters.jsonl``. The files appear, whole, when the replay is through."""

    NAMES = ("traces.jsonl", "logs.jsonl", "metrics.prom", "dead_letters.jsonl")

    def __init__(self, out: Path, config: Config) -> None:
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._files = {name: (out / f".{name}.part").open("wb") for name in self.NAMES}
        except OSError as error:
            raise ConfigError(f"cannot write to {out}: {error.strerror}; name a folder of yours with --out") from error
        self._out = out
        self._resource = config.resource

    def write(self, closed: list[Closed], lines: list[Line]) -> None:
        for some in _split(spans_of(closed)):
            self._files["traces.jsonl"].write(traces_line(some, self._resource, SCOPE))
        for group in _split(logs_of(lines)):
            self._files["logs.jsonl"].write(logs_line(group, self._resource, SCOPE))

    def finish(self, metrics: Metrics, dead: Sequence[DeadLetter]) -> None:
        self._files["metrics.prom"].write(_of_runs(metrics))
        for letter in dead:
            self._files["dead_letters.jsonl"].write(dead_letter_line(letter))
        self.close()
        for name in self._files:
            os.replace(self._out / f".{name}.part", self._out / name)

    def close(self) -> None:
        """Let go of the files; any number of times."""
        for file in self._files.values():
            file.close()


def _of_runs(metrics: Metrics) -> bytes:
    """The families that tell of runs, as text: what tells of ourselves depends on how often a record was given."""
    families = [family for family in metrics.collect(0) if family.label_names[: len(COMMON)] == COMMON]
    return Writer().write(families, False)


def dead_letter_line(letter: DeadLetter) -> bytes:
    """One JSON object: source, where, reason, length in bytes, and the record as text (what is none: escaped)."""
    fields = msgspec.structs.asdict(letter) | {"record": letter.record.decode("utf-8", "backslashreplace")}
    return msgspec.json.encode(fields) + b"\n"


def _split(items: list[T]) -> Iterator[list[T]]:
    for start in range(0, len(items), LINE):
        yield items[start : start + LINE]


class OtlpSink:
    """The collector. ``write`` waits while the queue is full, so memory stays flat; ``finish`` waits for the last yes.

    Raises ExportError when the collector takes nothing for ``patience`` seconds: with a journal of its own the input
    need not be read again.
    """

    def __init__(self, config: Config, patience: float = 30.0, environ: Mapping[str, str] = os.environ) -> None:
        self._delivery, self._patience = Delivery.open(config, environ), patience
        self._seq = 0
        self._spans, self._logs = Spans(), Logs()

    def write(self, closed: list[Closed], lines: list[Line]) -> None:
        self._wait(self._delivery.has_room)
        self._seq += 1
        spans = [self._spans.encode(ended.attempt, ended.where, ended.outcome, ended.previous) for ended in closed]
        logs = [self._logs.record(line.event, line.where, line.attempt, line.first, line.late) for line in lines]
        self._delivery.offer(self._seq, Telemetry(spans, logs))

    def finish(self, metrics: Metrics, dead: Sequence[DeadLetter]) -> None:
        self._delivery.metrics(metrics.collect(time.time_ns()))
        self._wait(self._delivery.idle)
        refused = sum(counts.failed + counts.rejected for counts in self._delivery.counts().values())
        if refused:
            raise ExportError(f"{refused:,} spans, log records or data points were refused for good: {self._reason()}")

    def close(self) -> None:
        """Let go of connections; any number of times."""
        self._delivery.close(0.5)

    def _wait(self, until: Callable[[], bool]) -> None:
        """Until it is so; patience begins anew with every request that is done."""
        waited, done = 0.0, -1
        while not until():
            now = sum(counts.sent + counts.failed + counts.rejected for counts in self._delivery.counts().values())
            waited = waited + 0.02 if now == done else 0.0
            done = now
            if waited >= self._patience:
                raise ExportError(f"gave up after {self._patience:g} s without an answer: {self._reason()}")
            time.sleep(0.02)

    def _reason(self) -> str:
        reasons = sorted({counts.reason for counts in self._delivery.counts().values() if counts.reason})
        self._delivery.close(0.5)
        return (
            f"{'; '.join(reasons) or 'no reason told'}; look at OTEL_EXPORTER_OTLP_ENDPOINT, or write files with --out"
        )
