"""What the journal lets go while the gateway runs: counted, gone from memory too, and able to come again."""

from __future__ import annotations

from pathlib import Path

from otel_events.gateway.gateway import Gateway
from otel_events.gateway.state import Timing
from otel_events.journal import Journal
from otel_events.model.errors import JournalError
from otel_events.model.event import AnyEvent
from otel_events.testing import CaptureServer
from tests.gateway import kit
from tests.gateway.kit import LONG, SECOND, World, change, line, run_of, value


def test_a_trace_that_is_over_and_sent_goes_after_its_age_and_may_come_again(
    world: World, collector: CaptureServer
) -> None:
    gateway = world.open(max_age=3600)
    ended, open_run = run_of("w", kind="workflow"), run_of("v", kind="workflow")
    events = [change(ended, "running", 1), change(ended, "succeeded", 2)]
    gateway.offer("batch", [*events, change(open_run, "running", 1)])
    for seconds in (11, 61, 3600, 31):
        world.wait(gateway, seconds)
    assert value(gateway, "otel_events_dropped_total", reason="retention") == 2
    with Journal.reader(world.path) as reader:
        assert [row.root for row in reader.roots()] == ["v"]
    first = kit.once(collector)
    assert gateway.offer("batch", events).accepted == 2  # nothing is left to know them by
    world.wait(gateway, 11)
    assert kit.by_id(collector) == first  # sent again: the same bytes
    assert value(gateway, "otel_events_runs_total", outcome="succeeded") == 2


def test_what_comes_of_a_dropped_trace_is_told_from_the_journal_alone(tmp_path: Path, collector: CaptureServer) -> None:
    """Memory must not know more than the journal, or a restart would send other bytes for the same span."""
    world = World(tmp_path, collector)
    gateway = world.open(Timing(forget=7200 * SECOND), max_age=3600)
    run = run_of("w", kind="workflow")
    gateway.offer("batch", [change(run, "running", 1), change(run, "succeeded", 2)])
    for seconds in (11, 31, 3600, 31):
        world.wait(gateway, seconds)
    assert value(gateway, "otel_events_dropped_total", reason="retention") == 2
    gateway.offer("batch", [change(run, "failed", 3)])
    collector.clear()
    with CaptureServer() as second:
        other = world.copy(tmp_path / "copy", second)
        again = other.open()
        other.wait(again, *LONG)
        world.wait(gateway, *LONG)
        assert kit.once(second) == kit.once(collector) != {}
        other.close()
    world.close()


def test_a_full_journal_drops_counted_and_goes_on(tmp_path: Path) -> None:
    """With the collector gone nothing is sent, so what goes is unsent; what is left arrives when it is back."""
    with CaptureServer() as server:
        world = World(tmp_path, server)
        server.stop()
        gateway = world.open(Timing(grace=SECOND), max_bytes=1 << 20)
        given = 0
        for number in range(60):
            run = run_of(f"w{number}", kind="workflow")
            events: list[AnyEvent] = [line(run, f"{at} {'x' * 1000}", at) for at in range(40)]
            events += [change(run, "running", 50), change(run, "succeeded", 51)]
            given += offered(world, gateway, events)
        world.wait_not(gateway, 31)
        dropped = value(gateway, "otel_events_dropped_total", reason="journal_full_unsent")
        left = value(gateway, "otel_events_journal_events")
        assert dropped > 0
        assert left > 0
        assert dropped + left == given == 60 * 42
        assert value(gateway, "otel_events_journal_bytes") <= 1.25 * (1 << 20) + (4 << 20)
        gateway.drain_and_close(0)
        server.start()
        again = world.open()
        world.wait(again, *LONG)
        assert len(server.logs()) == left
        assert again.health().open_roots == 0
        assert value(again, "otel_events_journal_oldest_unacked_seconds") == 0
        world.close()


def offered(world: World, gateway: Gateway, events: list[AnyEvent]) -> int:
    """Offer until it is taken: a full journal makes room with the next tick."""
    for _ in range(50):
        try:
            return gateway.offer("batch", events).accepted
        except JournalError:
            world.wait_not(gateway, 1)
    raise AssertionError("the journal makes no room")
