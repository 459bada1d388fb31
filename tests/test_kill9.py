"""kill -9 at random points: what was acknowledged becomes telemetry, once; what comes twice has the same bytes.

The processes are real: ``otel-events serve`` under a load of requests, and ``otel-events replay``. OTEL_EVENTS_SEED
sets another course (default 9).
"""

from __future__ import annotations

import itertools
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

from otel_events.event import AnyEvent
from otel_events.pipeline.records import Record
from otel_events.testing import CaptureServer
from tests.pipeline import kit
from tests.pipeline.kit import GOLDEN, change, line, run_of

SEED = int(os.environ.get("OTEL_EVENTS_SEED", "9"))
KILLS = 15
SENDERS = 2
COMMAND = (sys.executable, "-m", "otel_events")
EVENTS = {"Content-Type": "application/x-ndjson"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}


def environ(collector: CaptureServer) -> dict[str, str]:
    return os.environ | collector.environ("http/protobuf")


# --- serve -----------------------------------------------------------------------------------------------------------


@contextmanager
def served(journal: Path, collector: CaptureServer) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A gateway as a process, and its URL. It is killed at the end, if it still runs."""
    command = [*COMMAND, "serve", "--port", "0", "--journal", str(journal), "--grace", "0.2", "--drain", "5"]
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
    """Senders that post runs, in pieces and out of order, until they are told to stop; each sends a request again until
    it is acknowledged, so what was cut off by a kill comes twice."""

    def __init__(self) -> None:
        self.url = ""
        self.runs: list[int] = []
        """Numbers of what is acknowledged whole: our own runs, and executions of Flyte."""
        self.flyte: list[int] = []
        self._numbers = itertools.count()
        self._stopped, self._abandoned = threading.Event(), threading.Event()
        self._failed = False
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends when all that was begun has been acknowledged."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()
        assert not self._failed

    def abandon(self) -> None:
        """Ends soon."""
        self._stopped.set()
        self._abandoned.set()
        for thread in self._threads:
            thread.join(10)

    def _send(self, sender: int) -> None:
        rng = random.Random(f"{SEED} {sender}")
        with httpx.Client(trust_env=False, timeout=5) as client:
            while not self._stopped.is_set():
                with self._lock:
                    number = next(self._numbers)
                if rng.random() < 0.25:
                    self._until_taken(client, "/cloudevents", cloud_events(number), BATCH)
                    self.flyte.append(number)
                else:
                    self._whole_run(client, rng, number)

    def _whole_run(self, client: httpx.Client, rng: random.Random, number: int) -> None:
        events = run(number)[1]
        turned = rng.sample(events, len(events))
        while turned:
            size = rng.randrange(1, len(turned) + 1)
            body = b"\n".join(msgspec.json.encode(event) for event in turned[:size])
            self._until_taken(client, "/v1/events", body, EVENTS)
            turned = turned[size:]
        self.runs.append(number)

    def _until_taken(self, client: httpx.Client, path: str, body: bytes, headers: dict[str, str]) -> None:
        while not self._abandoned.is_set():
            with suppress(httpx.HTTPError):  # killed amid it, or not up again: we do not know whether it was kept
                answer = client.post(self.url + path, content=body, headers=headers)
                if answer.status_code == 200:
                    return
                self._failed |= answer.status_code < 500
            time.sleep(0.03)


def run(number: int) -> tuple[str, list[AnyEvent]]:
    """A workflow with one task and three lines of log."""
    root = run_of(f"run {number}", kind="workflow", workflow="nightly")
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
    rng, journal = random.Random(SEED), tmp_path / "journal.db"
    with CaptureServer() as collector:
        load = Load()
        try:
            for number in range(KILLS):
                if number % 5 == 4:
                    kill_at_start(journal, collector, rng.uniform(0, 1.0))
                    continue
                with served(journal, collector) as (_, load.url):
                    time.sleep(rng.uniform(0, 0.5))  # the point of the kill
            with served(journal, collector) as (process, load.url):
                load.stop()
                judge(load, collector, load.url)
                process.terminate()
                assert process.wait(30) == 0
        finally:
            load.abandon()


def kill_at_start(journal: Path, collector: CaptureServer, after: float) -> None:
    """While it starts, or goes through what the one before it left."""
    command = [*COMMAND, "serve", "--port", "0", "--journal", str(journal), "--grace", "0.2"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environ(collector)) as process:
        time.sleep(after)
        process.kill()


def judge(load: Load, collector: CaptureServer, url: str) -> None:
    """All that was acknowledged is with the collector, what came twice is the same, and nothing is counted twice."""
    made = [event for number in load.runs for event in run(number)[1]]
    kept, _, _ = kit.replayed("events", kit.recorded(made))
    flyte, metrics, _ = kit.replayed("flyte", flyte_records(load.flyte))
    assert len(load.runs) > 20
    assert len(load.flyte) > 5
    expected = kept.raw().keys() | flyte.raw().keys()
    kit.until(lambda: kit.by_id(collector).keys() >= expected, 30)
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
    page = httpx.get(url + "/metrics", trust_env=False).text
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
            _, said = process.communicate(timeout=kill_after or 60)
            assert process.returncode == 0, said
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    return time.monotonic() - started
