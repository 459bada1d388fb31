"""From a call to the metrics and the trace of its task: the writing endpoints and captured calls over a gateway."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from otel_events.clearml_server.api.add import add_batch
from otel_events.clearml_server.api.base import Call, Service
from otel_events.gateway.gateway import Gateway, GatewayConfig
from otel_events.gateway.state import Timing
from otel_events.intake.records import Record
from tests.clearml_server.asking import NOW, asking, image, line, parts, plot, scalar

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "clearml"


class Live:
    """A gateway that waits for nothing: what is over is closed with the next tick."""

    def __init__(self, journal: Path) -> None:
        self.now = 1_800_000_000 * 10**9
        timing = Timing(grace=0, neighbours=0, orphans=0)
        self.gateway = Gateway.open(GatewayConfig(journal=journal, otlp=None, timing=timing), clock=lambda: self.now)

    def offer(self, record: Mapping[str, Any]) -> None:
        self.take(msgspec.json.encode(record))

    def take(self, *records: bytes) -> None:
        taken = self.gateway.ingest("clearml", [Record(body) for body in records])
        assert taken.refused == []

    def samples(self, family: str) -> dict[str, float]:
        """Of a family, by its labels but those that are the same for all."""
        self.now += 10**9
        self.gateway.tick()
        page = self.gateway.exposition("text/plain")[0].decode()
        samples = re.findall(rf"^{family}\{{(.*)\}} ([^ #\n]+)", page, re.MULTILINE)
        common = re.compile(r'(kind="task"|namespace=""|source="clearml"|workflow=""|error_kind="[a-z]*"),?')
        return {common.sub("", labels).strip(","): float(value) for labels, value in samples if "clearml" in labels}


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    running = Live(tmp_path / "journal.db")
    yield running
    running.gateway.drain_and_close(0)


def test_a_batch_reaches_the_metrics_under_the_tasks_name(live: Live) -> None:
    live.offer({"t": NOW / 1000, "endpoint": "tasks.create", "body": {"name": "train"}, "resp": {"data": {"id": "t"}}})
    with asking() as asked:
        service = Service(*parts(asked.store), "company", lambda: NOW, lambda: 0.0)
        events = [
            scalar(1, 0.5),
            scalar(2, 0.25),
            plot(1),
            image(1, "http://files/1.png"),
            line("hello"),
            scalar(1, 1.0, task="x"),
        ]
        call = Call("events.add_batch", (2, 34), {}, lines=events, now_ms=NOW)
        answer = add_batch(service, call)
        for _ in range(2):  # sent again, as the SDK does when it got no answer
            live.offer(
                {"t": NOW / 1000, "endpoint": call.endpoint, "body": {"events": call.lines}, "resp": {"data": answer}}
            )
    assert live.samples("otel_events_stat_m_v") == {'name="train"': 0.25}
    assert live.samples("otel_events_stat_clearml_scalars_total") == {'name="train"': 2}
    assert live.samples("otel_events_runs_active") == {'name="train",phase="pending"': 1}


def test_captured_tasks_end_as_they_did_in_any_order(live: Live) -> None:
    lines = (GOLDEN / "flows" / "records.jsonl").read_bytes().splitlines()
    random.Random(3).shuffle(lines)
    live.take(*lines, *lines[:7])
    attempts = {key: n for key, n in live.samples("otel_events_attempts_total").items() if n}
    assert attempts == {
        'name="clone",outcome="cancelled"': 1,
        'name="clone",outcome="succeeded"': 1,
        'name="failing",outcome="failed"': 1,
        'name="flows",outcome="succeeded"': 1,
    }
    runs = {key: n for key, n in live.samples("otel_events_runs_total").items() if n}
    assert runs == {
        'name="clone",outcome="succeeded"': 1,
        'name="failing",outcome="failed"': 1,
        'name="flows",outcome="succeeded"': 1,
    }


def call(second: int, endpoint: str, status: str) -> bytes:
    fields = {"status": status, "status_changed": f"2026-11-21T00:00:{second:02}+00:00"}
    return msgspec.json.encode(
        {
            "t": NOW / 1000,
            "endpoint": endpoint,
            "body": {"task": "t", "name": "n"},
            "resp": {"data": {"fields": fields}},
        }
    )


def test_a_task_that_goes_on_after_its_end_is_under_way_again(live: Live) -> None:
    live.take(call(1, "tasks.started", "in_progress"), call(2, "tasks.stopped", "stopped"))
    assert live.samples("otel_events_runs_total")['name="n",outcome="cancelled"'] == 1
    assert sum(live.samples("otel_events_runs_active").values()) == 0
    live.take(call(3, "tasks.started", "in_progress"))
    active = live.samples("otel_events_runs_active")
    assert {key for key, n in active.items() if n} == {'name="n",phase="running"'}
    live.take(call(4, "tasks.completed", "completed"))
    attempts = {key: n for key, n in live.samples("otel_events_attempts_total").items() if n}
    assert attempts == {'name="n",outcome="cancelled"': 1, 'name="n",outcome="succeeded"': 1}
