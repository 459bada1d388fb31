"""Jobs of the benchmark that want a process of their own, because they measure its memory.

python -m benchmarks.child replay RUNS        prints CPU seconds and peak memory in MB
python -m benchmarks.child open-ours RUNS     prints CPU seconds and bytes for each attempt under way
python -m benchmarks.child open-naive RUNS
"""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from benchmarks import sink, workload
from benchmarks.naive import Naive
from benchmarks.ours import BATCH, Replay, Streaming

CHUNK = 5_000
"""Task runs made at a time, so that the stream itself takes no memory to speak of."""


class Nowhere(SpanExporter):
    def export(self, spans: object) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def resident() -> int:
    """Bytes of this process in memory now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def peak() -> float:
    """MB at the most so far; not ru_maxrss, which a child takes over from its parent."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


class Stream:
    """A stream made as it is read."""

    def __init__(self, runs: int, steps: int = 5) -> None:
        self._runs, self._steps = runs, steps

    def __iter__(self) -> Iterator[bytes]:
        for first in range(0, self._runs, CHUNK):
            yield from workload.stream(first, min(CHUNK, self._runs - first), self._steps)


def replayed(runs: int) -> tuple[float, float]:
    with sink.running() as url:
        side = Replay(url)
        started = time.process_time()
        for _ in Stream(runs):
            pass
        start = time.process_time()
        side.take(Stream(runs))
        spent = (time.process_time() - start) - (start - started)  # less what making the stream costs
    return spent, peak()


def held_by_naive(runs: int) -> tuple[float, float]:
    side = Naive("http://127.0.0.1:9", logs=False, exporter=Nowhere())
    side.handle(workload.event(0, 0))
    before, start = resident(), time.process_time()
    for raw in Stream(runs, 3):
        side.handle(raw)
    return time.process_time() - start, (resident() - before) / runs


def held_by_ours(runs: int) -> tuple[float, float]:
    with sink.running() as url:
        side = Streaming(url)
        side.take(workload.stream(10**7, 500, 3))
        side.flush()
        before, start = resident(), time.process_time()
        for first in range(0, runs, CHUNK):
            stream = workload.stream(first, CHUNK, 3)
            for at in range(0, len(stream), BATCH):
                side.take(stream[at : at + BATCH])
        side.flush()
        spent, held = time.process_time() - start, (resident() - before) / runs
        side.close()
    return spent, held


JOBS = {"replay": replayed, "open-naive": held_by_naive, "open-ours": held_by_ours}

if __name__ == "__main__":
    print(*JOBS[sys.argv[1]](int(sys.argv[2])))
