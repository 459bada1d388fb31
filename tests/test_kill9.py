"""kill -9 at random points: what was acknowledged becomes telemetry, once; what comes twice has the same bytes.

The processes are real: ``otel-events serve`` under a load of requests, and ``otel-events replay``. OTEL_EVENTS_SEED
sets another course (default 9).
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from otel_events.intake.records import Record
from otel_events.model.event import AnyEvent
from otel_events.testing import CaptureServer
from tests.gateway import kit
from tests.gateway.kit import GOLDEN, change, line, run_of
from tests.patience import PATIENCE

SEED = int(os.environ.get("OTEL_EVENTS_SEED", "9"))
KILLS = 15
RUNS = 10
"""Runs that come between two kills."""
SENDERS = 2
COMMAND = (sys.executable, "-m", "otel_events")
EVENTS = {"Content-Type": "application/x-ndjson"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}


def environ(collector: CaptureServer) -> dict[str, str]:
    """A request that is answered late is not sent again: what came twice did so because of a kill."""
    return os.environ | collector.environ("http/protobuf") | {"OTEL_EXPORTER_OTLP_TIMEOUT": str(PATIENCE)}


# --- serve -----------------------------------------------------------------------------------------------------------


@contextmanager
def served(journal: Path, collector: CaptureServer) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A gateway as a process, and its URL. It is killed at the end, if it still runs."""
    command = [*COMMAND, "serve", "--port", "0", "--journal", str(journal), "--grace", "0.2"]
    command += ["--drain", str(PATIENCE)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ(collector)) as process:
        try:
            yield process, listening(process)
        finally:
            process.kill()


def listening(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    said = []
    for text in process.stderr:
        said.append(text)
        if found := re.search(r"listening on (http://\S+?),", text):
            return found[1]
    raise AssertionError(f"the gateway did not come up: {said}")


class Load:
    """Senders that post as many runs as they are allowed, in pieces and out of order; each sends a request again until
    it is acknowledged, so what was cut off by a kill comes twice."""

    def __init__(self) -> None:
        self.url = ""
        self.runs: list[int] = []
        """Numbers of what is acknowledged whole: our own runs, and executions of Flyte."""
        self.flyte: list[int] = []
        self._allowed = self._begun = self._acknowledged = 0
        self._changed = threading.Condition()
        """Held to change what is above."""
        self._stopped = threading.Event()
        self._failed = False
        self._threads = [threading.Thread(target=self._send) for _ in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    def allow(self, runs: int) -> None:
        """Let the senders begin so many more."""
        with self._changed:
            self._allowed += runs
            self._changed.notify_all()

    def wait(self, requests: int) -> None:
        """Until so many more requests are acknowledged, or all runs that were allowed are."""
        with self._changed:
            aim = self._acknowledged + requests
            assert self._changed.wait_for(lambda: self._acknowledged >= aim or self._is_done(), PATIENCE)

    def finish(self) -> None:
        """Wait until all that was allowed is acknowledged."""
        with self._changed:
            assert self._changed.wait_for(self._is_done, PATIENCE)
        self.stop()
        assert not self._failed

    def stop(self) -> None:
        """End the senders, whatever they are at."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _is_done(self) -> bool:
        return len(self.runs) + len(self.flyte) == self._allowed

    def _next(self) -> int | None:
        """The number of the run to send, waited for; None when there is to be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._begun < self._allowed or self._stopped.is_set())
            self._begun += 1
            return None if self._stopped.is_set() else self._begun - 1

    def _send(self) -> None:
        with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
            while (number := self._next()) is not None:
                requests = list(requests_of(number))
                if all(self._until_taken(client, *request) for request in requests):
                    with self._changed:
                        (self.flyte if is_flyte(number) else self.runs).append(number)
                        self._changed.notify_all()

    def _until_taken(self, client: httpx.Client, path: str, body: bytes, headers: dict[str, str]) -> bool:
        """False where the senders were stopped before."""
        while not self._stopped.is_set():
            with suppress(httpx.HTTPError):  # killed amid it, or not up again: we do not know whether it was kept
                answer = client.post(self.url + path, content=body, headers=headers)
                if answer.status_code == 200:
                    with self._changed:
                        self._acknowledged += 1
                        self._changed.notify_all()
                    return True
                self._failed |= answer.status_code < 500
            time.sleep(0.03)
        return False


def is_flyte(number: int) -> bool:
    return number % 4 == 3


def requests_of(number: int) -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """(path, body, headers) of the requests that tell of a run: an execution of Flyte in one, our own in pieces."""
    if is_flyte(number):
        yield "/cloudevents", cloud_events(number), BATCH
        return
    rng, events = random.Random(f"{SEED} {number}"), run(number)[1]
    turned = rng.sample(events, len(events))
    while turned:
        size = rng.randrange(1, len(turned) + 1)
        yield "/v1/events", b"\n".join(msgspec.json.encode(event) for event in turned[:size]), EVENTS
        turned = turned[size:]


def run(number: int) -> tuple[str, list[AnyEvent]]:
    """A workflow with one task and three lines of log: always the same definitions, whose series are few."""
    root = run_of(f"run {number}", kind="workflow", name="nightly", workflow="nightly")
    task = run_of(f"run {number}/train", root.id, name="train", workflow="nightly")
    events: list[AnyEvent] = [line(root, f"{root.id} {at}", at) for at in range(3)]
    events += [change(root, "running", 1), change(root, "succeeded", 9)]
    return root.id, [*events, change(task, "pending", 2), change(task, "running", 3), change(task, "succeeded", 8)]


def captured() -> list[dict[str, object]]:
    """The happy path of a Flyte execution, as flyteadmin puts it on Kafka, as structured CloudEvents."""
    found = []
    for one in (GOLDEN / "flyte" / "transports" / "kafka_v2.jsonl").read_bytes().splitlines():
        message = json.loads(one)
        told = {name.removeprefix("ce_"): told for name, told in message["headers"].items() if name.startswith("ce_")}
        found.append(told | {"data": json.loads(message["value"])})
    return found


CAPTURED = json.dumps(captured())
EXECUTION = "a7xk2p9qv5d8mzr3t6wb"


def cloud_events(number: int) -> bytes:
    """A batch that tells of an execution of that number."""
    return CAPTURED.replace(EXECUTION, f"k{number:019d}").encode()


def flyte_records(numbers: Iterable[int]) -> list[Record]:
    return [
        Record(json.dumps(one).encode(), "application/cloudevents+json")
        for number in numbers
        for one in json.loads(cloud_events(number))
    ]


@pytest.mark.slow
def test_a_gateway_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    rng, journal, took = random.Random(SEED), tmp_path / "journal.db", 0.0
    with CaptureServer() as collector:
        load = Load()
        try:
            for number in range(KILLS):
                if number % 5 == 4:
                    kill_at_start(journal, collector, rng.uniform(0, 1.2) * took)
                    continue
                began = time.monotonic()
                with served(journal, collector) as (_, load.url):
                    took = time.monotonic() - began
                    at_some_point(rng, load, collector)
            with served(journal, collector) as (process, load.url):
                load.finish()
                judge(load, collector, load.url)
                process.terminate()
                assert process.wait(PATIENCE) == 0
        finally:
            load.stop()


def at_some_point(rng: random.Random, load: Load, collector: CaptureServer) -> None:
    """Let RUNS more runs come, and wait for the point of the kill: a number of requests that were acknowledged, or that
    came to the collector, and a moment, however much gets done in it."""
    seen = len(collector.requests)
    load.allow(RUNS)
    if rng.random() < 0.5:
        load.wait(rng.randrange(2 * RUNS))
    else:  # the new runs alone are a request of spans and one of logs
        more = rng.randrange(1, 3)
        kit.until(lambda: len(collector.requests) >= seen + more)
    time.sleep(rng.uniform(0, 0.1))


def kill_at_start(journal: Path, collector: CaptureServer, after: float) -> None:
    """While it starts, or goes through what the one before it left; ``after`` is a share of what a start took."""
    command = [*COMMAND, "serve", "--port", "0", "--journal", str(journal), "--grace", "0.2"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environ(collector)) as process:
        time.sleep(after)
        process.kill()


def judge(load: Load, collector: CaptureServer, url: str) -> None:
    """All that was acknowledged is with the collector, what came twice is the same, and nothing is counted twice."""
    made = [event for number in load.runs for event in run(number)[1]]
    kept, _, _ = kit.replayed("events", kit.recorded(made))
    flyte, metrics, _ = kit.replayed("flyte", flyte_records(load.flyte))
    assert len(load.runs) + len(load.flyte) == RUNS * (KILLS - KILLS // 5)
    assert min(len(load.runs), len(load.flyte)) > 20
    expected = kept.raw().keys() | flyte.raw().keys()
    kit.until(lambda: kit.by_id(collector).keys() >= expected)
    assert kit.by_id(collector).keys() == expected
    kit.until(lambda: len({*kit.raw(collector, "logs")}) >= len(kept.logs) + len(flyte.logs))
    assert len({*kit.raw(collector, "logs")}) == len(kept.logs) + len(flyte.logs)
    assert kit.told(collector.logs()) == kit.told([*kept.logs, *flyte.logs])
    counted = scraped(url)
    assert counted["batch", "workflow"] == counted["batch", "task"] == len(load.runs)
    runs = kit.counted(metrics)["otel_events_runs_total"]
    for kind in ("workflow", "node", "task"):
        assert counted["flyte", kind] == sum(one.value for one in runs if one.labels[3] == kind)


def scraped(url: str) -> Counter[tuple[str, str]]:
    """Finished runs by source and kind, as /metrics tells them."""
    found: Counter[tuple[str, str]] = Counter()
    page = httpx.get(url + "/metrics", trust_env=False, timeout=PATIENCE).text
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == "otel_events_runs_total":
                found[sample.labels["source"], sample.labels["kind"]] += int(sample.value)
    return found


# --- replay ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_replay_killed_and_begun_again_is_complete_and_the_same(tmp_path: Path) -> None:
    rng, path = random.Random(SEED), tmp_path / "records.jsonl"
    path.write_bytes(b"\n".join(record.body for record in flyte_records(range(150))))
    with CaptureServer() as reference:
        took = replayed(path, tmp_path / "whole.db", reference)
    with CaptureServer() as collector:
        for _ in range(5):
            replayed(path, tmp_path / "journal.db", collector, rng.uniform(0.2, 1.0) * took)
        replayed(path, tmp_path / "journal.db", collector)
    assert kit.by_id(collector) == kit.once(reference)
    assert len(kit.by_id(reference)) > 150
    assert {*kit.raw(collector, "logs")} == {*kit.raw(reference, "logs")}


def replayed(path: Path, journal: Path, collector: CaptureServer, kill_after: float | None = None) -> float:
    """Replay to the collector; seconds that it took. Killed after so many, if it still runs."""
    started = time.monotonic()
    command = [*COMMAND, "replay", "flyte", str(path), "--journal", str(journal)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environ(collector)) as process:
        try:
            _, said = process.communicate(timeout=kill_after or PATIENCE)
            assert process.returncode == 0, said
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    return time.monotonic() - started
