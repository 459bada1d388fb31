"""What the instrumentor costs a no-op local task of flytekit: processes with and without it, in turn, in one run.

    python -m benchmarks.bench_flytekit [ROUNDS]

Runs in the environment of the live tests (real flytekit). Each process makes the same calls and sends to a collector,
or to a gateway; both are processes of their own. ``call``: wall time of one call while events are sent behind it, the
figure of the gate; ``caller``: CPU time of the calling thread, the same where the thread behind has room;
``cpu``: all that the process used, sending included, for one call. Medians over the rounds of (with / without), and
their quartiles.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks import sink

CALLS = 1000
GATE = 1.10
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
began, used, own = time.perf_counter(), time.process_time(), time.thread_time()
for number in range(calls):
    call(a=number)
wall, own = time.perf_counter() - began, time.thread_time() - own
if sys.argv[4] == "with":
    from otel_events.inprocess import process
    from otel_events.inprocess import queue as live
    assert live.installed() is not None, "not instrumented"
    process.shutdown()
cpu = time.process_time() - used
print(json.dumps({name: value / calls * 1e6 for name, value in (("call", wall), ("caller", own), ("cpu", cpu))}))
"""


def measure(python: Path, program: Path, shape: str, environ: dict[str, str], how: str) -> dict[str, float]:
    """Microseconds for one call, of one process."""
    command = [str(python), str(program), shape, str(CALLS), str(WARM), how]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    seconds: dict[str, float] = json.loads(done.stdout)
    return seconds


@contextmanager
def served(environ: dict[str, str], home: Path) -> Iterator[str]:
    """The address of a gateway in a process of its own, that sends nothing on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    none = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    command = [sys.executable, "-m", "otel_events", "serve", "--port", str(port), "--journal", str(home / "gateway.db")]
    process = subprocess.Popen(command, env=environ | none, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def main(rounds: int) -> None:
    from tests.live.envs import python  # makes the environment, once

    interpreter = python("flytekit")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    with tempfile.TemporaryDirectory() as folder, sink.running() as url, served(clean, Path(folder)) as gateway:
        plain = clean | {"HOME": folder}
        ways = {
            "collector": {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "gateway": {"OTEL_EVENTS_GATEWAY": gateway},
        }
        program = Path(folder) / "program.py"  # flytekit reads the source of its tasks
        program.write_text(PROGRAM)
        for shape in SHAPES:
            for way, values in ways.items():
                pairs = [
                    (
                        measure(interpreter, program, shape, plain, "without"),
                        measure(interpreter, program, shape, plain | values, "with"),
                    )
                    for _ in range(rounds)
                ]
                show(f"{shape} to a {way}", pairs)


def show(what: str, pairs: Sequence[tuple[dict[str, float], dict[str, float]]]) -> None:
    for figure in ("call", "caller", "cpu"):
        ratios = [ours[figure] / bare[figure] for bare, ours in pairs]
        low, middle, high = statistics.quantiles(ratios, n=4)
        bare = statistics.median(without[figure] for without, _ in pairs)
        verdict = "" if figure != "call" else f", gate {GATE:g}: {'ok' if middle <= GATE else 'MISSED'}"
        print(
            f"{what:24} {figure:6} without {bare:5.0f} us, ratio {middle:.3f} ({low:.3f} to {high:.3f}){verdict}",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
