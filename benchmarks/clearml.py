"""ClearML's events.add_batch over HTTP, from the request to journal and store, in a process of its own.

python -m benchmarks.clearml [--calls N]    (also a part of ``make bench``)

Beside it, in the same run: a plain receiver's least work on the same bytes, json.loads of each line and one upsert of
each point into SQLite.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks import sink
from benchmarks.ray import sample, spent

EVENTS = 1_000
"""Scalars a call: SERIES of them, EVENTS / SERIES iterations."""
SERIES = 10
FLOOR = 20_000
"""Events a second that one core should take."""
ROUNDS, CALLS = 5, 30
LINES = {"Content-Type": "application/json-lines"}


def batch(task: str, number: int) -> bytes:
    """One call's body, as the SDK joins it."""
    first = number * (EVENTS // SERIES)
    events = [
        {
            "type": "training_stats_scalar",
            "task": task,
            "metric": f"loss {series // 2}",
            "variant": ("train", "test")[series % 2],
            "iter": iteration,
            "value": 1 / (iteration + series + 1),
            "timestamp": 1_790_000_000_000 + iteration,
        }
        for iteration in range(first, first + EVENTS // SERIES)
        for series in range(SERIES)
    ]
    return "\n".join(json.dumps(event) for event in events).encode()


class Api:
    """A client of ClearML's API; one connection."""

    def __init__(self, port: int) -> None:
        self._link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        basic = b64encode(b"bench:bench").decode()
        token = self.call("auth.login", b"", {"Authorization": f"Basic {basic}"})["token"]
        self._bearer = {"Authorization": f"Bearer {token}"}

    def call(self, name: str, body: bytes, headers: dict[str, str] | None = None) -> Any:
        self._link.request("POST", f"/v2.23/{name}", body, headers or self._bearer)
        answer = json.loads(self._link.getresponse().read())
        assert answer["meta"]["result_code"] == 200, answer["meta"]
        return answer["data"]

    def task(self, name: str) -> str:
        """A new task that has started; its id."""
        task = self.call("tasks.create", json.dumps({"name": name, "type": "training", "project": None}).encode())
        self.call("tasks.started", json.dumps({"task": task["id"]}).encode())
        return str(task["id"])

    def add(self, body: bytes) -> None:
        answer = self.call("events.add_batch", body, self._bearer | LINES)
        assert (answer["added"], answer["errors"]) == (EVENTS, 0), answer

    def close(self) -> None:
        self._link.close()


@contextmanager
def serving(url: str) -> Iterator[tuple[int, int, int]]:
    """(process id, port, port of ClearML's API) of an ``otel-events serve --clearml`` that sends to the sink."""
    folder = tempfile.mkdtemp(prefix="otel-events-bench-")
    environ = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    free = ["--port", "0", "--clearml-port", "0", "--clearml-files-port", "0"]
    command = [sys.executable, "-m", "otel_events", "serve", "--clearml", *free, "--journal", f"{folder}/journal.db"]
    process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        first = process.stderr.readline()
        ports = [int(port) for port in re.findall(r"(?:127\.0\.0\.1:|on port )(\d+)", first)]
        yield process.pid, ports[0], ports[1]
    finally:
        process.terminate()
        process.wait(60)
        process.stderr.close()
        shutil.rmtree(folder)


def plain(bodies: list[bytes]) -> float:
    """CPU seconds of parsing each line and keeping each point, a transaction a call."""
    with tempfile.TemporaryDirectory(prefix="otel-events-bench-") as folder:
        db = sqlite3.connect(f"{folder}/plain.db")
        db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL")
        db.execute("CREATE TABLE p(task, metric, variant, iter, value, time, PRIMARY KEY(task, metric, variant, iter))")
        start = time.process_time()
        for body in bodies:
            rows = [json.loads(line) for line in body.splitlines()]
            points = [(e["task"], e["metric"], e["variant"], e["iter"], e["value"], e["timestamp"]) for e in rows]
            with db:
                db.executemany("INSERT OR REPLACE INTO p VALUES (?, ?, ?, ?, ?, ?)", points)
        took = time.process_time() - start
        db.close()
        return took


def run(url: str, calls: int) -> None:
    """Rounds of ``calls`` calls each on both sides in turn; the median."""
    ours, theirs = [], []
    with serving(url) as (pid, port, api_port):
        api = Api(api_port)
        task = api.task("bench")
        for number in range(ROUNDS + 1):
            bodies = [batch(task, number * calls + n) for n in range(calls)]
            before, start = spent(pid), time.monotonic()
            for body in bodies:
                api.add(body)
            ours.append(spent(pid) - before)
            seconds = time.monotonic() - start
            theirs.append(plain(bodies))
        received = sample(port, "otel_events_records_received_total", source="clearml")
        api.close()
    assert received >= (ROUNDS + 1) * calls, received
    events = calls * EVENTS
    rate, other = (events / statistics.median(side[1:]) for side in (ours, theirs))  # the first round warms up
    verdict = "ok" if rate >= FLOOR else f"MISSED by {FLOOR / rate:.2f}x"
    print(f"ClearML, add_batch of {EVENTS:,} over HTTP: {rate:,.0f} events/s a core, at least {FLOOR:,}: {verdict}")
    print(
        f"  journal, store and telemetry ({events / seconds:,.0f} of wall time); json.loads and one upsert each, "
        f"without any of it: {other:,.0f}, ratio {rate / other:.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clearml", description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS, help=f"calls of {EVENTS:,} events a round ({CALLS})")
    options = parser.parse_args()
    with sink.running() as url:
        run(url, options.calls)


if __name__ == "__main__":
    main()
