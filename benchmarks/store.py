"""The store of reported events: what a question and a deletion cost, each in a process of its own.

python -m benchmarks.store JOB    prints what the job measured; ``main`` runs them all and compares with the gates
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from otel_events.clearml_server.api.reads.intervals import intervals
from otel_events.clearml_server.store import SCALAR, Owner, SqliteStore

POINTS, BATCH, SAMPLES, METRICS = 1_000_000, 1_000, 6_000, 1_000
TASK = Owner("task")
_ROUNDS = 5


def peak() -> float:
    """MB of this process at the most so far; not ru_maxrss, which a child takes over from its parent."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def scalars(first: int, count: int, metric: str = "loss") -> list[dict[str, Any]]:
    """Events as the SDK sends them."""
    return [
        {
            "type": SCALAR,
            "task": TASK.id,
            "metric": metric,
            "variant": "train",
            "iter": n,
            "value": n * 0.1,
            "timestamp": 1_700_000_000_000 + n,
        }
        for n in range(first, first + count)
    ]


def filled(path: Path) -> tuple[SqliteStore, float]:
    """A store with one series of POINTS, and the CPU microseconds that adding an event took."""
    store, spent = SqliteStore(path), 0.0
    for first in range(0, POINTS, BATCH):
        batch = scalars(first, BATCH)
        start = time.process_time()
        store.events.add(batch, worker="bench", now_ms=1_700_000_000_000)
        spent += time.process_time() - start
    return store, spent / POINTS * 1e6


def fill(path: Path) -> list[float]:
    """CPU microseconds for each event added."""
    store, cost = filled(path)
    store.close()
    return [cost]


def histogram(path: Path) -> list[float]:
    """Seconds of a histogram of SAMPLES, and peak memory in MB of the process that asks."""
    store = SqliteStore(path)
    took = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        series = store.events.series([TASK], (SCALAR,))
        bounds = store.events.bounds(series, "iter")
        x, _ = store.events.histogram(series[0], "iter", intervals(bounds, SAMPLES)[0])
        took.append(time.perf_counter() - start)
        assert 0.9 * SAMPLES < len(x) <= SAMPLES
    store.close()
    return [statistics.median(took), peak()]


def latest(path: Path) -> list[float]:
    """Seconds of the latest values of METRICS metrics with 100 points each."""
    store = SqliteStore(path)
    for number in range(METRICS):
        store.events.add(scalars(0, 100, f"metric {number:04}"), worker="bench", now_ms=1_700_000_000_000)
    took = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        newest = store.events.points(store.events.series([TASK], (SCALAR,)))
        took.append(time.perf_counter() - start)
        assert len(newest) == METRICS
    store.close()
    return [statistics.median(took)]


def deletion(path: Path) -> list[float]:
    """Milliseconds that a batch of another task took at most while a task of POINTS went, without it, and steps."""
    store = SqliteStore(path)
    batch = [event | {"task": "other"} for event in scalars(0, 100)]

    def write(number: int) -> float:
        start = time.perf_counter()
        store.events.add([event | {"iter": event["iter"] + 100 * number} for event in batch], worker="b", now_ms=number)
        return (time.perf_counter() - start) * 1e3

    alone = max(write(number) for number in range(200))
    assert store.events.delete(TASK) == POINTS
    steps = 0

    def free() -> None:
        nonlocal steps
        while store.retention.collect():
            steps += 1
            time.sleep(0.001)  # as the keeper does: those who wait get their turn

    thread = threading.Thread(target=free)
    thread.start()
    worst, number = 0.0, 200
    while thread.is_alive():
        worst = max(worst, write(number))
        number += 1
    store.close()
    return [worst, alone, steps]


JOBS: dict[str, Callable[[Path], list[float]]] = {
    "fill": fill,
    "histogram": histogram,
    "latest": latest,
    "deletion": deletion,
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, other = Path(folder) / "store.db", Path(folder) / "latest.db"
        [cost] = child("fill", path)
        say("adding a scalar to the store", f"{cost:.1f} us of CPU", cost <= 30, "30 us")
        seconds, memory = child("histogram", path)
        say(f"histogram of {SAMPLES:,} samples of {POINTS:,} points", f"{seconds:.2f} s", seconds <= 0.5, "0.5 s")
        say("  peak memory", f"{memory:.0f} MB", memory <= 64, "64 MB")
        [seconds] = child("latest", other)
        say(f"latest values of {METRICS:,} metrics", f"{seconds * 1e3:.0f} ms", seconds <= 0.05, "50 ms")
        worst, alone, steps = child("deletion", path)
        waiting = f"a batch waits {worst:.0f} ms at most ({alone:.0f} ms without; {steps:.0f} steps)"
        say(f"deleting a task of {POINTS:,} events", waiting, worst <= 100, "100 ms")


def say(what: str, figures: str, met: bool, gate: str) -> None:
    print(f"{what}: {figures}, gate {gate}: {'ok' if met else 'MISSED'}", flush=True)


def child(job: str, path: Path) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.store", job, str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [float(word) for word in done.stdout.split()]


if __name__ == "__main__":
    print(*JOBS[sys.argv[1]](Path(sys.argv[2])))
