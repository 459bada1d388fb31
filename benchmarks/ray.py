"""The receiver of Ray's event export, from POST to journal and to telemetry, against json.loads and the SDK's spans.

python -m benchmarks.ray [--rounds N] [--quick]    (also a part of ``make bench``)
"""

from __future__ import annotations

import argparse
import base64
import calendar
import gc
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from benchmarks import sink
from benchmarks.ours import SECOND, Streaming
from benchmarks.ray_workload import EVENTS, TASKS, count, posts
from otel_events.intake.ingest import decode_records
from otel_events.intake.records import Record
from otel_events.journal import Journal
from otel_events.sources.ray.decode import decode

FEW = 3_000
"""Tasks a round of a comparison."""
FLOOR = 25_000
"""Events a second that the receiver should take on one core."""
CLOCK = os.sysconf("SC_CLK_TCK")


class Naive:
    """json.loads, a span for each task from its definition to its end, each state a span event. No journal, no order,
    no names where the definition comes later."""

    def __init__(self, url: str) -> None:
        self.provider = TracerProvider(resource=Resource.create({"service.name": "ray"}))
        exporter = OTLPSpanExporter(endpoint=f"{url}/v1/traces")
        self.provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=2**20))
        self.tracer = self.provider.get_tracer("naive")
        self.open: dict[tuple[str, int], Any] = {}

    def take(self, stream: Sequence[bytes]) -> None:
        for body in stream:
            for event in json.loads(body):
                self._take_event(event)

    def _take_event(self, event: dict[str, Any]) -> None:
        body = event.get("taskDefinitionEvent") or event.get("taskLifecycleEvent") or event.get("taskProfileEvents")
        if body is None:
            return
        task = base64.b64decode(body["taskId"]).hex()
        key = task, body.get("taskAttempt", body.get("attemptNumber"))
        span = self.open.get(key)
        if span is None:
            attributes = {
                "ray.task_id": task,
                "ray.session": event["sessionName"],
                "ray.name": body.get("taskName", ""),
            }
            start = _nanoseconds(event["timestamp"])
            name = body.get("taskName") or "task"
            span = self.open[key] = self.tracer.start_span(name, start_time=start, attributes=attributes)
        for transition in body.get("stateTransitions", ()):
            at = _nanoseconds(transition["timestamp"])
            span.add_event(transition["state"], timestamp=at)
            if transition["state"] in ("FINISHED", "FAILED"):
                span.set_attribute("ray.node_id", base64.b64decode(body["nodeId"]).hex())
                span.end(at)

    def flush(self) -> None:
        self.provider.force_flush()
        self.open.clear()

    def close(self) -> None:
        self.provider.shutdown()


def _nanoseconds(text: str) -> int:
    return calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")) * SECOND + int(text[20:29])


class Ours(Streaming):
    """The gateway as ``serve`` runs it: journal, spans, logs and metrics."""

    def take(self, stream: Sequence[bytes]) -> None:
        for body in stream:
            assert not self.gateway.ingest("ray", [Record(body)]).refused
            self._now += SECOND
            self.gateway.tick()


class ToJournal:
    """What has to be done before Ray is answered: decode, redact, append with fsync."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="otel-events-bench-")
        self._journal = Journal.open(Path(self._folder) / "journal.db")

    def take(self, stream: Sequence[bytes]) -> None:
        for body in stream:
            batch = decode_records("ray", decode, [Record(body)])
            assert not batch.dead
            self._journal.append(batch.events)

    def flush(self) -> None:
        """All is on disk."""

    def close(self) -> None:
        self._journal.close()
        shutil.rmtree(self._folder)


def cpu(side: Any, stream: Sequence[bytes]) -> float:
    """Seconds of this process."""
    gc.collect()
    start = time.process_time()
    side.take(stream)
    side.flush()
    return time.process_time() - start


def compare(url: str, rounds: int) -> None:
    """Events a second of CPU of each side, and of json.loads alone, round by round on streams of their own."""
    sides: dict[str, Any] = {"naive": Naive(url), "ours": Ours(url), "journal": ToJournal()}
    rates: dict[str, list[float]] = {name: [] for name in ("loads", *sides)}
    for number in range(rounds + 1):
        for index, (name, side) in enumerate(sides.items()):
            stream = posts(number * len(sides) + index, FEW)
            rates[name].append(count(stream) / cpu(side, stream))
        start = time.process_time()
        for body in stream:
            json.loads(body)
        rates["loads"].append(count(stream) / (time.process_time() - start))
    for side in sides.values():
        side.close()
    naive, ours, journal, loads = (statistics.median(rates[n][1:]) for n in ("naive", "ours", "journal", "loads"))
    verdict = "ok" if journal >= FLOOR else f"MISSED by {FLOOR / journal:.2f}x"
    print(f"Ray, POST to journal: {journal:,.0f} events/s a core, at least {FLOOR:,}: {verdict}")
    print(
        f"  json.loads alone {loads:,.0f}, ratio {journal / loads:.2f}; with naive SDK spans {naive:,.0f}", flush=True
    )
    ratio = statistics.median(b / a for a, b in list(zip(rates["naive"], rates["ours"], strict=True))[1:])
    print(f"  to spans, logs and metrics over OTLP: ours {ours:,.0f}; {ratio:.1f} times the naive one's", flush=True)


# --- the process itself ----------------------------------------------------------------------------------------------


@contextmanager
def serving(url: str) -> Iterator[tuple[int, int]]:
    """(process id, port) of an ``otel-events serve`` that sends to the sink."""
    folder = tempfile.mkdtemp(prefix="otel-events-bench-")
    environ = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    command = [sys.executable, "-m", "otel_events", "serve", "--port", "0", "--grace", "1"]
    process = subprocess.Popen(
        [*command, "--journal", f"{folder}/journal.db"], env=environ, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        port = int(process.stderr.readline().split(",")[0].rpartition(":")[2])
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(60)
        process.stderr.close()
        shutil.rmtree(folder)


def spent(pid: int) -> float:
    """CPU seconds of a process so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK


def resident(pid: int) -> float:
    """MB of a process in memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def sample(port: int, name: str, **labels: str) -> float:
    """Sum of the series of /metrics of that name that have these labels."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    link.request("GET", "/metrics")
    lines = link.getresponse().read().decode().splitlines()
    link.close()
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    series = [line for line in lines if line.partition("{")[0].partition(" ")[0] == name]
    return sum(float(line.rpartition(" ")[2]) for line in series if all(pair in line for pair in wanted))


def post(port: int, bodies: Sequence[bytes]) -> None:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for body in bodies:
        link.request("POST", "/ray/v1/events", body, {"Content-Type": "application/json"})
        answer = link.getresponse()
        answered = json.loads(answer.read())
        assert (answer.status, answered["refused_count"]) == (200, 0), answered
    link.close()


def whole(url: str) -> None:
    """The capture of 12,201 tasks three times, each in a session of its own, through the real process."""
    memory = []
    with serving(url) as (pid, port):
        for number in range(1, 4):
            stream = posts(number)
            before, start = spent(pid), time.monotonic()
            post(port, stream)
            taken, seconds = spent(pid), time.monotonic() - start
            wait(port, number * TASKS)
            memory.append(resident(pid))
        events = count(stream)
        rate, done = events / (taken - before), events / (spent(pid) - before)
    print(
        f"serve, {events:,} events of {TASKS:,} tasks over HTTP: {rate:,.0f} events/s a core until all is kept, spans, "
        f"logs and metrics made meanwhile ({events / seconds:,.0f} of wall time), {done:,.0f} until all is out"
    )
    shown = ", ".join(f"{megabytes:.0f}" for megabytes in memory)
    print(f"  memory after one, two and three such jobs, all under way: {shown} MB", flush=True)


def replayed() -> None:
    """Peak memory of ``otel-events replay ray`` of one capture, and of three times as much."""
    peaks = [peak(number) for number in (1, 3)]
    flat = "ok" if peaks[1] <= peaks[0] * 1.15 else "MISSED: it grows"
    print(f"replay of {EVENTS:,} events: {peaks[0]:.0f} MB at most; of three times that: {peaks[1]:.0f} MB: {flat}")


def peak(captures: int) -> float:
    """MB."""
    with tempfile.TemporaryDirectory(prefix="otel-events-bench-") as folder:
        recorded = Path(folder) / "posts.jsonl"
        with recorded.open("wb") as file:
            for number in range(captures):
                file.writelines(body + b"\n" for body in posts(number))
        command = [sys.executable, "-m", "otel_events", "replay", "ray", str(recorded), "--out", f"{folder}/out"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return used.ru_maxrss / 1e3


def wait(port: int, tasks: int) -> None:
    """Until that many tasks are finished and the collector has all of it."""
    end = time.monotonic() + 300
    while sample(port, "otel_events_runs_total", kind="task", outcome="succeeded") < tasks:
        assert time.monotonic() < end, "not all tasks came out"
        time.sleep(0.2)
    while sample(port, "otel_events_journal_oldest_unacked_seconds"):
        assert time.monotonic() < end, "the collector did not get all"
        time.sleep(0.2)


def run(url: str, rounds: int, quick: bool) -> None:
    compare(url, rounds)
    if not quick:
        whole(url)
        replayed()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ray", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of the comparison (5)")
    parser.add_argument("--quick", action="store_true", help="skip the process of its own")
    options = parser.parse_args()
    with sink.running() as url:
        run(url, options.rounds, options.quick)


if __name__ == "__main__":
    main()
