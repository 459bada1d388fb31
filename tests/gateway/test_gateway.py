"""The gateway over its life: restarts at every commit, failures of the journal, several threads."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from otel_events.gateway.gateway import Every, Gateway, GatewayConfig, Unsent
from otel_events.intake.records import Record, Refused
from otel_events.journal import Journal
from otel_events.model.errors import ConfigError, JournalError
from otel_events.model.event import AnyEvent
from otel_events.sources import decoder
from otel_events.testing import CaptureServer
from tests.gateway import kit
from tests.gateway.kit import LONG, SECOND, World, change, golden, line, recorded, run_of, value
from tests.server.serving import serving

# --- restarts --------------------------------------------------------------------------------------------------------

SCENARIOS = (
    ("flyte", "retries_user_then_system"),
    ("flyte", "task_timeout_is_abort_then_retry"),
    ("flyte", "array_node_external_resources"),
    ("prefect", "s01_success"),
    ("prefect", "s17_sigterm_awaiting_retry"),
)


def planned(source: str, name: str) -> list[tuple[int, Record]]:
    """(time of its event, record) of a scenario, as things happened."""
    decode = decoder(source)
    timed = [(max(event.time for event in decode(one.body, one.hint)), one) for one in golden(source, name)]
    return sorted(timed, key=lambda pair: pair[0])


def go_to(world: World, gateway: Gateway, time: int) -> None:
    """Let the clock come to ``time``, with a tick every 5 seconds."""
    while world.now + 5 * SECOND < time:
        world.now += 5 * SECOND
        gateway.tick()
    world.now = max(world.now, time)


@pytest.mark.parametrize(("source", "name"), SCENARIOS)
def test_a_crash_after_any_commit_loses_nothing_and_repeats_the_same_bytes(
    source: str, name: str, tmp_path: Path, collector: CaptureServer
) -> None:
    """The journal's files as they are after each record go to another gateway, as kill -9 would leave them; it is given
    the last record once more, and the rest. Much of what was sent is sent again: the last checkpoint is 30 s old."""
    plan, every = planned(source, name), Every(checkpoint=30 * SECOND)
    kept, metrics, _ = kit.replayed(source, golden(source, name))
    world = World(tmp_path, collector)
    world.now = plan[0][0]
    gateway = world.open(every=every)
    repeated = 0
    with CaptureServer() as second:
        for at, (time, record) in enumerate(plan):
            go_to(world, gateway, time)
            gateway.ingest(source, [record])
            kit.settle(gateway)
            second.clear()
            other = world.copy(tmp_path / str(at), second)
            again = other.open(every=every)
            for later, rest in plan[at:]:
                go_to(other, again, later)
                again.ingest(source, [rest])
            other.wait(again, *LONG)
            before, after = kit.by_id(collector), kit.once(second)
            repeated += len({*kit.raw(collector, "logs")} & {*kit.raw(second, "logs")})
            assert {key: after.get(key, one) for key, one in before.items()} == before
            assert (before | after).keys() == kept.raw().keys()
            assert len({*kit.raw(collector, "logs"), *kit.raw(second, "logs")}) == len(kept.logs)
            assert kit.counted(again._metrics) == kit.counted(metrics)
            other.close()
    world.close()
    assert repeated


@pytest.mark.parametrize(("source", "name"), SCENARIOS)
def test_closing_and_opening_at_every_commit_changes_nothing(
    source: str, name: str, either: World, collector: CaptureServer
) -> None:
    kept, metrics, summary = kit.replayed(source, golden(source, name))
    plan = planned(source, name)
    either.now = plan[0][0]
    for time, record in plan:
        gateway = either.open()
        go_to(either, gateway, time)
        gateway.ingest(source, [record])
        kit.settle(gateway)
        before = counters(gateway)
        assert gateway.drain_and_close(5) == Unsent(0)
        gateway = either.open()
        assert counters(gateway) == before
        gateway.drain_and_close(5)
    gateway = either.open()
    either.wait(gateway, *LONG)
    assert kit.once(collector).keys() == kept.raw().keys()
    assert len(collector.logs()) == len(kept.logs)
    assert kit.counted(gateway._metrics) == kit.counted(metrics)
    assert value(gateway, "otel_events_events_accepted_total") == summary.events
    assert value(gateway, "otel_events_export_sent_total", signal="traces") == summary.spans


def counters(gateway: Gateway) -> dict[tuple[str, str], float]:
    """Every counter and bucket that /metrics shows, but for the points sent: the last request may be under way."""
    body = gateway.exposition("text/plain")[0].decode()
    return {
        (sample.name, json.dumps(sample.labels, sort_keys=True)): sample.value
        for family in text_string_to_metric_families(body)
        if family.type in ("counter", "histogram")
        for sample in family.samples
        if sample.labels.get("signal") != "metrics"
    }


@pytest.mark.parametrize(("source", "name"), SCENARIOS)
def test_with_the_collector_gone_every_start_keeps_all_for_the_next(
    source: str, name: str, tmp_path: Path, collector: CaptureServer
) -> None:
    kept, metrics, _ = kit.replayed(source, golden(source, name))
    plan = planned(source, name)
    with CaptureServer() as server:
        world = World(tmp_path, server)
        server.stop()
        world.now = plan[0][0]
        for time, record in plan:
            gateway = world.open()
            go_to(world, gateway, time)
            gateway.ingest(source, [record])
            gateway.tick()
            left = gateway.drain_and_close(0)
            assert left.commits == gateway._journal._seq > 0
        server.start()
        gateway = world.open()
        world.wait(gateway, *LONG)
        assert kit.once(server).keys() == kept.raw().keys()
        assert len(server.logs()) == len(kept.logs)
        assert kit.counted(gateway._metrics) == kit.counted(metrics)
        world.close()


def test_what_is_counted_is_counted_anew_where_the_snapshot_cannot_be_read(world: World) -> None:
    gateway = world.open()
    gateway.ingest("flyte", golden("flyte", "happy_path"))
    world.wait(gateway, 11, 61, 301)
    before = kit.counted(gateway._metrics)
    gateway.drain_and_close(1)
    with Journal.open(world.path) as journal:
        journal.set_snapshot(journal.last_seq, b"of another kind")
    again = world.open()
    assert kit.counted(again._metrics) == before


def test_an_ended_process_closes_what_has_its_outcome_at_once(world: World, collector: CaptureServer) -> None:
    gateway = world.open()
    root, task = run_of("w", kind="workflow"), run_of("w/t", "w")
    gateway.offer("batch", [change(root, "running", 1), change(task, "running", 2), change(task, "failed", 3)])
    gateway.offer("batch", [change(root, "failed", 4), change(run_of("v", kind="workflow"), "running", 5)])
    gateway.settle()
    gateway.drain_and_close(5)
    assert {one.attributes["otel_events.run.id"] for one in collector.spans()} == {"w", "w/t"}
    again = world.open()
    assert value(again, "otel_events_runs_total", outcome="failed") == 2
    assert value(again, "otel_events_runs_active") == 1
    world.wait(again, *LONG)
    assert len(kit.once(collector)) == 3


# --- the journal fails -----------------------------------------------------------------------------------------------


def test_a_journal_that_cannot_be_written_refuses_says_so_and_recovers(world: World, collector: CaptureServer) -> None:
    gateway = world.open()
    root, other = run_of("w", kind="workflow"), run_of("v", kind="workflow")
    gateway.offer("batch", [change(root, "running", 1), change(root, "succeeded", 2)])
    bad = Record(b"{", "", "line 1")
    with serving(gateway) as served:
        assert served.http.get("/readyz").status_code == 200
        with kit.no_room():
            for _ in range(3):
                with pytest.raises(JournalError, match=r"cannot append to .*journal\.db"):
                    gateway.ingest("events", [bad, *recorded([change(other, "running", 3)])])
            assert served.post(msgspec.json.encode(change(other, "running", 3))).status_code == 503
            assert not gateway.health().ready
            assert served.http.get("/readyz").status_code == 503
            for _ in range(3):  # the grace of the outcome ends meanwhile
                world.now += 11 * SECOND
                with pytest.raises(JournalError):
                    gateway.tick()
            answer = served.http.get("/readyz")
            assert answer.status_code == 503
            assert "journal.db" in answer.text
        assert collector.spans() == []
        world.wait(gateway, 0.2)
        assert served.http.get("/readyz").status_code == 200
        taken = gateway.ingest("events", [bad, *recorded([change(other, "running", 3)])])
        assert (taken.accepted, taken.duplicates, len(taken.refused)) == (1, 0, 1)
    world.wait(gateway, *LONG)
    assert {one.attributes["otel_events.run.id"] for one in collector.spans()} == {"w", "v"}
    kit.once(collector)
    assert value(gateway, "otel_events_records_received_total", source="events") == 2
    assert value(gateway, "otel_events_dead_letters_total", source="events") == 1
    with Journal.reader(world.path) as reader:
        assert [(one.where, one.record) for one in reader.dead_letters()] == [("line 1", b"{")]


def test_one_gateway_at_a_time_writes_a_journal(tmp_path: Path) -> None:
    config = GatewayConfig(journal=tmp_path / "journal.db", otlp=None)
    gateway = Gateway.open(config)
    with pytest.raises(JournalError, match="is locked"):
        Gateway.open(config)
    gateway.drain_and_close(0)
    Gateway.open(config).drain_and_close(0)


def test_a_closed_gateway_takes_nothing_and_says_so(world: World) -> None:
    gateway = world.open()
    gateway.drain_and_close(1)
    assert gateway.drain_and_close(1) == Unsent(0)
    with pytest.raises(JournalError, match="send the records again"):
        gateway.ingest("events", [])
    with pytest.raises(JournalError, match="send the records again"):
        gateway.offer("batch", [])
    gateway.tick()
    gateway.settle()
    assert gateway.health().reasons == ["draining"]
    assert b"otel_events_build_info" in gateway.exposition("text/plain")[0]


# --- what comes in ---------------------------------------------------------------------------------------------------


def test_each_record_is_accepted_or_repeated_or_refused(world: World) -> None:
    gateway = world.open()
    good = golden("flyte", "retries_user_then_system")
    bad: list[Record | Refused] = [
        Record(b"\xff\xff", "x.pb", "bad.pb"),
        Refused("long.jsonl:7", "over 16 bytes", b"long", 99),
    ]
    first = gateway.ingest("flyte", [*good[:5], *bad, *good[:2]])
    assert (first.accepted, first.duplicates) == (5, 2)
    assert [(one.source, one.where, one.length) for one in first.refused] == [
        ("flyte", "bad.pb", 2),
        ("flyte", "long.jsonl:7", 99),
    ]
    events = kit.replayed("flyte", good)[2].events
    second = gateway.ingest("flyte", [*good])
    assert (second.accepted, second.duplicates, second.refused) == (events - 5, 5, [])
    assert gateway.ingest("flyte", bad[:1]).accepted == 0
    found = {name: value(gateway, f"otel_events_{name}_total", source="flyte") for name in COUNTED}
    assert found == {
        "records_received": 10 + len(good),
        "events_accepted": events,
        "events_duplicate": 7,
        "dead_letters": 3,
    }
    with Journal.reader(world.path) as reader:
        letters = [(one.where, one.record) for one in reader.dead_letters()]
    assert letters == [("bad.pb", b"\xff\xff"), ("long.jsonl:7", b"long"), ("bad.pb", b"\xff\xff")]


COUNTED = ("records_received", "events_accepted", "events_duplicate", "dead_letters")


def test_an_unknown_source_is_told(world: World) -> None:
    with pytest.raises(ConfigError, match="no source named 'nobody'"):
        world.open().ingest("nobody", [Record(b"x")])


def test_threads_that_give_the_same_and_their_own_at_once(either: World, collector: CaptureServer) -> None:
    gateway = either.open()
    gateway.start()  # a ticking thread beside them
    shared = run_of("shared", kind="workflow")
    common: list[AnyEvent] = [line(shared, f"{number}", number) for number in range(30)]
    taken: list[int] = []

    def give(name: str) -> None:
        rng = random.Random(name)
        root = run_of(name, kind="workflow")
        own: list[AnyEvent] = [line(root, f"{n}", n) for n in range(30)]
        own += [change(root, "running", 1), change(root, "succeeded", 40)]
        mixed = rng.sample([*common, *own], 62)
        while mixed:
            size = rng.randrange(1, 9)
            taken.append(gateway.ingest("events", recorded(mixed[:size])).accepted)
            mixed = mixed[size:]

    threads = [threading.Thread(target=give, args=(f"thread {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    either.wait(gateway, *LONG)
    assert sum(taken) == 30 + 4 * 32
    assert len(kit.once(collector)) == 4
    assert len(collector.logs()) == 30 + 4 * 32
    assert value(gateway, "otel_events_runs_total", outcome="succeeded") == 4
    assert value(gateway, "otel_events_events_duplicate_total") == 3 * 30
