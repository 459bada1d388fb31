"""What the instrumentor costs a no-op local task of flytekit: processes with and without it, in turn, in one run.

    python -m benchmarks.bench_flytekit [ROUNDS]

Runs in the environment of the live tests (real flytekit). Each process makes the same calls; the receiver is a process
of its own. ``call``: wall time of one call while events are sent behind it; ``cpu``: all that the process used, sending
included, for one call. The figure is the median over the rounds of (with / without), and its quartiles.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import sink

CALLS = 1000
WARM = 100
SHAPES = ("task", "workflow")
PROGRAM = """
import json, sys, time
from flytekit import task, workflow

@task
def noop(a: int) -> int:
    return a

@workflow
def one(a: int) -> int:
    return noop(a=a)

call = {"task": noop, "workflow": one}[sys.argv[1]]
calls, warm = int(sys.argv[2]), int(sys.argv[3])
for number in range(warm):
    call(a=number)
began, used = time.perf_counter(), time.process_time()
for number in range(calls):
    call(a=number)
wall = time.perf_counter() - began
if sys.argv[4] == "with":
    from otel_events.pipeline import live
    assert live._live is not None, "not instrumented"
    live.shutdown()
print(json.dumps({"call": wall / calls * 1e6, "cpu": (time.process_time() - used) / calls * 1e6}))
"""


def measure(python: Path, program: Path, shape: str, environ: dict[str, str], how: str) -> dict[str, float]:
    """Microseconds for one call, of one process."""
    command = [str(python), str(program), shape, str(CALLS), str(WARM), how]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main(rounds: int) -> None:
    from tests.live.envs import python  # makes the environment, once

    interpreter = python("flytekit")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    with tempfile.TemporaryDirectory() as home, sink.running() as url:
        plain = clean | {"HOME": home}
        sending = plain | {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
        program = Path(home) / "program.py"  # flytekit reads the source of its tasks
        program.write_text(PROGRAM)
        for shape in SHAPES:
            pairs = [
                (
                    measure(interpreter, program, shape, plain, "without"),
                    measure(interpreter, program, shape, sending, "with"),
                )
                for _ in range(rounds)
            ]
            for figure in ("call", "cpu"):
                ratios = [ours[figure] / bare[figure] for bare, ours in pairs]
                low, middle, high = statistics.quantiles(ratios, n=4)
                bare = statistics.median(without[figure] for without, _ in pairs)
                print(
                    f"{shape:8} {figure:4} without {bare:7.0f} us  with/without {middle:.3f} ({low:.3f} to {high:.3f})"
                )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
