"""``make bench``: ours against the naive baseline, on the same stream and the same loopback sink, in one run.

Ratios of process CPU time (all threads of this process, not the sink's), the median of interleaved rounds: the machine
may be slow or busy, the two sides are so alike. What a gate misses is printed, never hidden.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from benchmarks import bench_task, clearml, equality, ray, sink, store, workload
from benchmarks.naive import Naive
from benchmarks.ours import Replay, Streaming

RUNS = 1_000
"""Task runs a round: 5,000 events."""


class Side(Protocol):
    def take(self, stream: Sequence[bytes], /) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class Baseline(Naive):
    def take(self, stream: Sequence[bytes]) -> None:
        for raw in stream:
            self.handle(raw)

    def close(self) -> None:
        self.provider.shutdown()
        if self.logs:
            self.logs.shutdown()


Make = Callable[[str], Side]

CASES: tuple[tuple[str, Make, Make, float], ...] = (
    ("streaming: spans, logs, metrics", lambda url: Baseline(url), lambda url: Streaming(url), 10.0),
    ("streaming: spans, metrics", lambda url: Baseline(url, logs=False), lambda url: Streaming(url, logs=False), 8.0),
    ("replay: spans, logs, metrics", lambda url: Baseline(url), lambda url: Replay(url), 6.0),
)
"""(what, the baseline, ours, the gate: at least so many times less CPU)."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds of each comparison (7)")
    parser.add_argument("--quick", action="store_true", help="skip memory and growth")
    options = parser.parse_args()
    with sink.running() as url:
        print(f"equality: {equality.check()}", flush=True)
        for name, baseline, ours, gate in CASES:
            compare(name, baseline, ours, gate, url, options.rounds)
        bench_task.run(url, options.rounds)
        ray.run(url, options.rounds, options.quick)
        clearml.run(url, clearml.CALLS)
    if not options.quick:
        growth()
        memory()
        store.main()


def compare(name: str, baseline: Make, ours: Make, gate: float, url: str, rounds: int) -> None:
    """Print CPU per event of both sides and the median of the ratios, round by round."""
    sides = [baseline(url), ours(url)]
    spent: list[list[float]] = [[], []]
    for number in range(rounds + 1):
        for index, side in enumerate(sides):
            stream = workload.stream((2 * number + index) * RUNS, RUNS)
            spent[index].append(cpu(side, stream) / len(stream) * 1e6)
    for side in sides:
        side.close()
    pairs = list(zip(*spent, strict=True))[1:]  # the first round warms up
    ratios = sorted(theirs / mine for theirs, mine in pairs)
    ratio = statistics.median(ratios)
    theirs, mine = (statistics.median(column) for column in zip(*pairs, strict=True))
    verdict = "ok" if ratio >= gate else f"MISSED by {gate / ratio:.2f}x"
    print(
        f"{name}: naive {theirs:.1f} us/event, ours {mine:.1f}; ratio {ratio:.1f} "
        f"({ratios[0]:.1f}..{ratios[-1]:.1f}), gate {gate:g}: {verdict}",
        flush=True,
    )


def cpu(side: Side, stream: Sequence[bytes]) -> float:
    gc.collect()
    start = time.process_time()
    side.take(stream)
    side.flush()
    return time.process_time() - start


def growth() -> None:
    """Replay of ten times the events: time and peak memory, each in a process of its own."""
    small, large = (child("replay", runs) for runs in (8_000, 80_000))
    ratio = large[0] / small[0]
    verdict = "ok" if 9.5 <= ratio <= 11.0 else "MISSED (9.5 to 11 wanted)"
    print(f"replay of 10x the events: {ratio:.1f}x the CPU time: {verdict}")
    flat = "ok" if large[1] <= small[1] * 1.05 else "MISSED: it grows"
    print(f"  peak memory {small[1]:.0f} -> {large[1]:.0f} MB: {flat}")


def memory() -> None:
    """Bytes held for each attempt under way: 3 of the 5 events of 200,000 attempts, each side in its own process."""
    naive, ours = (child(f"open-{side}", 200_000)[1] for side in ("naive", "ours"))
    ratio = naive / ours
    verdict = "ok" if ratio >= 4 else f"MISSED by {4 / ratio:.2f}x"
    print(f"memory of an open attempt: naive {naive:.0f} B, ours {ours:.0f} B; ratio {ratio:.1f}, gate 4: {verdict}")


def child(job: str, runs: int) -> tuple[float, float]:
    """(CPU seconds, memory) that a child process prints for a job."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.child", job, str(runs)], check=True, stdout=subprocess.PIPE, text=True
    )
    seconds, held = done.stdout.split()[-2:]
    return float(seconds), float(held)


if __name__ == "__main__":
    main()
