"""What the gateway makes of events as they come: the same as replay makes of all at once, and the laws of time.

Where the laws let the two differ, and only there:

- A parent of which nothing ever came: replay, which knows that nothing will, hangs the child under the root; the
  gateway names the parent by its natural key.
- The mark ``late``: replay gives it to what the source dated after the outcome, the gateway to what came after the
  span went out.
- Logs go out at once. So where a source does not number attempts, a record out of order is told as one of the attempt
  counted so far; and before a run's own traceparent came, its records carry the derived ids.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from otel_events.core.fold import RESERVED
from otel_events.gateway.gateway import Gateway
from otel_events.gateway.state import Timing
from otel_events.intake.records import Record
from otel_events.model.event import AnyEvent
from otel_events.model.telemetry import LogData
from otel_events.sources import decoder
from otel_events.testing import CaptureServer
from tests.gateway import kit
from tests.gateway.kit import LONG, SECOND, World, change, golden, run_of, value


def given(order: str, records: list[Record], rng: random.Random) -> list[Record]:
    """The records in that order, and where it is not theirs, half of them again."""
    if order == "captured":
        return records
    turned = records[::-1] if order == "reversed" else rng.sample(records, len(records))
    return turned + rng.choices(records, k=len(records) // 2)


def stream(world: World, gateway: Gateway, source: str, records: list[Record], rng: random.Random) -> None:
    """In batches of any size, within the grace."""
    while records:
        size = rng.choice((1, 1, 2, 3, 7, 50))
        gateway.ingest(source, records[:size])
        records = records[size:]
        world.now += SECOND // 100
        if rng.random() < 0.5:
            gateway.tick()


def told(logs: list[LogData], exactly: bool) -> Counter[Any]:
    return Counter(
        (one.time, one.body, one.event_name, one.severity, one.attributes["otel_events.source"])
        + ((one.trace_id, one.span_id) if exactly else ())
        for one in logs
    )


def exact(source: str, records: list[Record], order: str) -> bool:
    """Whether logs cannot have other ids than in replay: see above."""
    events: list[AnyEvent] = []
    for record in records:
        try:
            events += decoder(source)(record.body, record.hint)
        except Exception:  # noqa: BLE001, S112  # a dead letter
            continue
    contexts = any(not set(RESERVED).isdisjoint(event.attributes) for event in events)
    return not contexts and (order == "captured" or all(event.run.attempt for event in events))


@pytest.mark.parametrize(("source", "path", "order"), kit.ordered_cases())
def test_streaming_gives_what_replay_gives(
    source: str, path: Path, order: str, tmp_path: Path, collector: CaptureServer
) -> None:
    records, rng = kit.records(source, path), random.Random(f"{path.name} {order}")
    kept, metrics, summary = kit.replayed(source, records)
    world = World(tmp_path, collector, "grpc" if order == "reversed" else "http/protobuf")
    gateway = world.open()
    try:
        offered = given(order, records, rng)
        stream(world, gateway, source, offered, rng)
        world.wait(gateway, *LONG)
        found, expected = kit.decoded(kit.once(collector).values()), kit.decoded(kept.raw().values())
        assert found == kit.less_parents(found, expected)
        assert kit.counted(gateway._metrics) == kit.counted(metrics)
        exactly = exact(source, records, order)
        assert told(collector.logs(), exactly) == told(kept.logs, exactly)
        assert gateway.health().open_roots == 0
        assert value(gateway, "otel_events_records_received_total") == len(offered)
        assert value(gateway, "otel_events_events_accepted_total") == summary.events - summary.duplicates
        if order == "captured":
            assert value(gateway, "otel_events_events_duplicate_total") == summary.duplicates
            assert value(gateway, "otel_events_dead_letters_total") == len(summary.dead)
    finally:
        world.close()


def paced(world: World, gateway: Gateway, source: str, records: list[Record]) -> None:
    """Each record when its event occurred, by the gateway's clock, with a tick every 5 seconds."""
    when = {id(record): max(event.time for event in decoder(source)(record.body, record.hint)) for record in records}
    world.now = min(when.values())
    for record in sorted(records, key=lambda one: when[id(one)]):
        while world.now + 5 * SECOND < when[id(record)]:
            world.now += 5 * SECOND
            gateway.tick()
        world.now = max(world.now, when[id(record)])
        gateway.ingest(source, [record])
    world.wait(gateway, *LONG)


PACED = (
    *(("flyte", name) for name in ("happy_path", "aborted", "array_node_external_resources", "timed_out")),
    *(("flyte", name) for name in ("retries_user_then_system", "task_timeout_is_abort_then_retry")),
    *(("flyte", name) for name in ("retryable_failed_enum", "subworkflow_and_launchplan", "recovered_skipped")),
    *(("prefect", name) for name in ("s01_success", "s03_retries", "s07_cancel_crash", "s15_names")),
)


@pytest.mark.parametrize(("source", "name"), PACED)
def test_as_things_happen_it_is_the_same_too(source: str, name: str, world: World, collector: CaptureServer) -> None:
    """Attempts are closed while others are still to begin: outcomes, links and counts come out as with hindsight."""
    records = golden(source, name)
    kept, metrics, _ = kit.replayed(source, records)
    gateway = world.open()
    paced(world, gateway, source, records)
    found, expected = kit.decoded(kit.once(collector).values()), kit.decoded(kept.raw().values())
    assert found == kit.less_parents(found, expected)
    assert kit.counted(gateway._metrics) == kit.counted(metrics)


def test_a_retried_flyte_task_is_one_run_with_the_outcome_of_its_last_attempt(world: World) -> None:
    gateway = world.open()
    paced(world, gateway, "flyte", golden("flyte", "retries_user_then_system"))
    assert value(gateway, "otel_events_runs_total", kind="task") == 1
    assert value(gateway, "otel_events_runs_total", kind="task", outcome="succeeded") == 1
    for outcome, kind in (("failed", "user"), ("crashed", "system"), ("succeeded", "")):
        assert value(gateway, "otel_events_attempts_total", kind="task", outcome=outcome, error_kind=kind) == 1


def test_an_abort_that_a_deadline_caused_is_told_as_one(world: World, collector: CaptureServer) -> None:
    gateway = world.open()
    paced(world, gateway, "flyte", golden("flyte", "task_timeout_is_abort_then_retry"))
    tasks = [one for one in collector.spans() if one.attributes["otel_events.kind"] == "task"]
    assert [one.attributes["otel_events.outcome"] for one in tasks] == ["timed_out", "timed_out"]
    assert value(gateway, "otel_events_runs_total", kind="task", outcome="timed_out") == 1


def test_an_abort_without_proof_stays_one_after_the_wait(world: World, collector: CaptureServer) -> None:
    gateway = world.open(Timing(neighbours=30 * SECOND))
    task = run_of("w/n0/t", "w", source="flyte", parent="w/n0", parent_kind="node")
    gateway.offer("flyte", [change(task, "running", 0), change(task, "cancelled", 1)])
    world.wait(gateway, 11)
    assert collector.spans() == []  # its parent may yet prove a deadline
    world.wait(gateway, 11, 11)
    assert [one.attributes["otel_events.outcome"] for one in collector.spans()] == ["cancelled"]
