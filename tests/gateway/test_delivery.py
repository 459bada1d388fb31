"""From telemetry to the collector: gone, silent, busy or refusing, nothing is lost, and the one number stays true."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from otel_events.gateway.delivery import BATCH, Delivery, exported_signals
from otel_events.gateway.gateway import Every, Gateway, GatewayConfig
from otel_events.gateway.state import Telemetry
from otel_events.model.errors import ConfigError
from otel_events.model.event import AnyEvent
from otel_events.model.telemetry import SpanData
from otel_events.otlp import encode_span, from_env, sender
from otel_events.testing import Answer, CaptureServer, FakeClock
from tests.gateway import kit
from tests.gateway.kit import World, change, line, run_of, until, value
from tests.patience import HOURS, PATIENCE


def spans(first: int, count: int) -> list[bytes]:
    return [
        encode_span(SpanData(b"t" * 16, number.to_bytes(8, "big"), b"", "s", 1, 1, 2, {"number": number}))
        for number in range(first, first + count)
    ]


def delivery(collector: CaptureServer, **exporter: object) -> Delivery:
    config = from_env(collector.environ("http/protobuf") | {"OTEL_EXPORTER_OTLP_TIMEOUT": str(HOURS)})
    made = Delivery(
        [sender(one) for one in config.endpoints.values()], config.resource, **({"jitter": lambda: 0.01} | exporter)
    )
    made.start(0)
    return made


def numbers(collector: CaptureServer) -> list[object]:
    return [one.attributes["number"] for one in collector.spans()]


# --- one commit after the other --------------------------------------------------------------------------------------


def test_a_commit_counts_as_sent_when_all_of_it_was_answered(collector: CaptureServer) -> None:
    made = delivery(collector)
    made.offer(1, Telemetry(spans(1, 3), []))
    made.offer(2, Telemetry([], []))
    made.offer(3, Telemetry(spans(4, BATCH), []))  # its last three wait for more
    until(lambda: made.sent_seq == 2)
    made.offer(4, Telemetry([], []))
    assert made.sent_seq == 2
    made.flush()
    until(lambda: made.sent_seq == 4)
    assert numbers(collector) == list(range(1, 4 + BATCH))
    assert made.close(PATIENCE) == ""


def test_nothing_behind_an_unanswered_request_counts(collector: CaptureServer) -> None:
    made = delivery(collector)
    collector.answers.append(Answer(silent=True))
    made.offer(1, Telemetry(spans(1, BATCH), []))
    until(lambda: not collector.answers)
    for seq in (2, 3, 4):
        made.offer(seq, Telemetry([], [line_bytes(seq)]))
        made.flush()
    until(lambda: len(collector.logs()) == 3)  # the logs went through, beside the spans
    assert made.sent_seq == 0
    assert made.close(0.5) != ""  # which ends, though the answer would be waited for for hours
    assert made.sent_seq == 0


def line_bytes(number: int) -> bytes:
    from otel_events.core.logs import log
    from otel_events.otlp import encode_log

    return encode_log(log(line(run_of("w"), str(number), number), b"t" * 16, b"s" * 8, 1))


def test_a_commit_larger_than_the_queue_goes_out_whole_and_in_order(collector: CaptureServer) -> None:
    """The queue is full after its first request: the rest must wait, not be dropped."""
    made = delivery(collector, limit=1)
    count = 5 * BATCH + 7
    made.offer(1, Telemetry(spans(0, count), []))
    assert not made.has_room()
    assert made.sent_seq == 0
    until(made.has_room)
    made.offer(2, Telemetry(spans(count, 1), []))
    until(made.idle)
    assert numbers(collector) == list(range(count + 1))
    assert made.sent_seq == 2
    assert made.close(PATIENCE) == ""


def test_what_does_not_fit_is_unsent_when_it_closes(collector: CaptureServer) -> None:
    collector.answers.extend([Answer(http=503)] * 1000)
    made = delivery(collector, limit=1)
    made.offer(7, Telemetry(spans(0, 3 * BATCH), []))
    assert made.close(0.2) == "HTTP 503" or made.sent_seq == 6
    assert made.sent_seq == 6
    made.flush()  # after the end nothing is taken, and nothing forgotten
    assert made.sent_seq == 6


def test_a_refusal_for_good_is_counted_and_lets_the_rest_through(collector: CaptureServer) -> None:
    collector.answers.extend([Answer(http=400, message="no"), Answer(rejected=2, message="two were too old")])
    made = delivery(collector)
    for seq in (1, 2, 3):
        made.offer(seq, Telemetry(spans(seq * BATCH, BATCH), []))
    until(lambda: made.sent_seq == 3)
    counts = made.counts()["traces"]
    assert (counts.failed, counts.rejected, counts.sent) == (BATCH, 2, 2 * BATCH - 2)
    assert made.close(PATIENCE) == ""


def test_only_the_signals_that_are_asked_for(collector: CaptureServer) -> None:
    config = from_env(collector.environ("http/protobuf"))
    made = Delivery.open(config, {"OTEL_LOGS_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"})
    assert made.signals == {"traces"}
    made.start(0)
    made.offer(1, Telemetry(spans(0, 1), [line_bytes(1)]))
    made.metrics([])
    until(made.idle)
    assert (len(collector.spans()), collector.logs(), made.sent_seq) == (1, [], 1)
    made.close(1)
    nowhere = Delivery.open(None)
    nowhere.offer(5, Telemetry(spans(0, 1), []))
    assert (nowhere.sent_seq, nowhere.has_room(), nowhere.close(0)) == (5, True, "")
    with pytest.raises(ConfigError, match="OTEL_TRACES_EXPORTER is 'zipkin'"):
        exported_signals({"OTEL_TRACES_EXPORTER": "zipkin"})


# --- the gateway over it ---------------------------------------------------------------------------------------------


def feed(world: World, gateway: Gateway, roots: int, first: int = 0) -> None:
    """Whole runs, a commit each, with time between them."""
    for number in range(first, first + roots):
        root = run_of(f"w{number}", kind="workflow")
        events: list[AnyEvent] = [line(root, f"{root.id} line {at}", at) for at in range(20)]
        gateway.offer("batch", [change(root, "running", 1), *events, change(root, "succeeded", 30)])
        world.now += kit.SECOND // 10
        gateway.tick()


def complete(collector: CaptureServer, roots: int) -> None:
    """Each span and log record of ``feed`` once, the logs in the order of their events."""
    assert len(kit.once(collector)) == roots
    logs = kit.raw(collector, "logs")
    assert len(set(logs)) == len(logs) == roots * 22
    names = [one.attributes["otel_events.run.id"] for one in collector.logs()]
    assert names == sorted(names, key=lambda name: int(str(name)[1:]))


GONE = {
    "refused": [],
    "busy": [Answer(http=503, grpc="UNAVAILABLE")] * 20,
    "busy for a while": [Answer(http=503, retry_after="0", grpc="UNAVAILABLE", retry_info=0.0)] * 20,
    "partly": [Answer(rejected=1, message="one too many")] * 3,
}


@pytest.mark.parametrize("how", GONE)
def test_a_collector_that_is_back_gets_all_in_order(how: str, either: World, collector: CaptureServer) -> None:
    """The queue holds next to nothing, so the gateway falls behind and makes the rest again from the journal."""
    gateway = either.open(limit=2000)
    if how == "refused":
        collector.stop()
    collector.answers.extend(GONE[how])
    feed(either, gateway, 40)
    for _ in range(12):
        either.now += kit.SECOND
        gateway.tick()
    if how == "refused":
        assert gateway._outbox.behind
        assert gateway.health().sent_seq == 0
        held = gateway._delivery.counts()
        assert all(counts.queued_bytes < 2000 + 200_000 for counts in held.values())
        collector.start()
    either.wait(gateway, 11, 61)
    complete(collector, 40)
    if how == "partly":
        assert value(gateway, "otel_events_export_failed_total") == 3
    elif how != "refused":
        assert value(gateway, "otel_events_export_retried_total") == 20
    reference = kit.by_id(collector)
    gateway.drain_and_close(0)
    kit.unsend(either.path)
    collector.clear()
    again = either.open()
    either.wait(again, 1)
    assert kit.by_id(collector) == reference
    complete(collector, 40)


def test_retry_after_is_waited_for(tmp_path: Path, collector: CaptureServer) -> None:
    clock = FakeClock()
    with closing(World(tmp_path, collector)) as world:
        gateway = world.open(every=Every(metrics=10**6 * kit.SECOND), clock=clock)
        gateway._upkeep._next["metrics"] = world.now + 10**6 * kit.SECOND
        collector.answers.append(Answer(http=503, retry_after="30"))
        feed(world, gateway, 1)
        assert 29 < clock.until_asleep(PATIENCE) <= 30
        assert collector.logs() == []
        clock.advance(29.9)
        gateway.tick()
        assert gateway.health().sent_seq == 0
        clock.advance(0.2)
        world.wait(gateway, 11)
        complete(collector, 1)


@pytest.mark.parametrize("how", ["refused", "silent"])
def test_closing_does_not_wait_for_the_collector_and_the_next_start_sends_the_rest(
    how: str, tmp_path: Path, collector: CaptureServer
) -> None:
    with CaptureServer() as server:
        world = World(tmp_path, server)
        gateway = world.open()
        if how == "refused":
            server.stop()
        else:
            server.answers.extend([Answer(silent=True)] * 100)
        feed(world, gateway, 5)
        world.now += 11 * kit.SECOND
        gateway.tick()
        left = gateway.drain_and_close(0.5)  # which ends, though a request may take hours
        assert left.commits > 0
        assert left.reason
        if how == "refused":
            server.start()
        server.answers.clear()
        server.clear()
        gateway = world.open()
        world.wait(gateway, 1)
        complete(server, 5)
        world.close()


def test_metrics_are_pushed_as_they_stand_and_tell_of_ourselves(either: World, collector: CaptureServer) -> None:
    gateway = either.open()
    feed(either, gateway, 3)
    either.wait(gateway, 11, 61)
    until(lambda: gateway._delivery._exporter.idle("metrics"))  # all pushes of before have arrived
    collector.clear()
    either.wait(gateway, 61)
    until(lambda: collector.metrics())
    found = {(one.name, tuple(one.labels.values())): one for one in collector.metrics()}.values()
    assert sum(one.value for one in found if one.name == "otel_events_runs_total") == 3
    own = {(one.name, one.labels.get("signal")): one.value for one in found if "source" not in one.labels}
    assert own["otel_events_export_sent_total", "logs"] == 66
    assert own["otel_events_journal_events", None] == 66
    assert {scope for scope, _ in collector.scopes()} == {"otel_events"}


def test_the_last_metrics_go_out_though_earlier_ones_wait(tmp_path: Path) -> None:
    """Those of a process that ends while its first request is under way: nothing would make up for them."""
    with CaptureServer() as server:
        server.answers.append(Answer(http=503))
        config = GatewayConfig(journal=tmp_path / "journal.db", otlp=from_env(server.environ("http/protobuf")))
        gateway = Gateway.open(config)
        gateway.tick()
        until(lambda: gateway._delivery.counts()["metrics"].retried)
        gateway.offer("python", [line(run_of("w"), "one", 1)])
        gateway.drain_and_close(PATIENCE)
        accepted = [one.value for one in server.metrics() if one.name == "otel_events_events_accepted_total"]
    assert accepted[-1:] == [1]
