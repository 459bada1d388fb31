"""The laws of time: when the gateway closes an attempt, what comes after it, and what is under way meanwhile."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from otel_events.gateway.state import Memory, Timing
from otel_events.model.event import AnyEvent, PhaseChange, Stat
from otel_events.testing import CaptureServer
from tests.gateway import kit
from tests.gateway.kit import LONG, NOON, SECOND, World, change, golden, line, run_of, value


def outcomes(collector: CaptureServer) -> dict[str, str]:
    """run id#attempt -> outcome, "" where incomplete; each span that came, and none twice."""
    kit.once(collector)
    return {
        f"{one.attributes['otel_events.run.id']}#{one.attributes['otel_events.attempt']}": str(
            one.attributes.get("otel_events.outcome", "")
        )
        for one in collector.spans()
    }


def test_the_grace_is_kept_to_the_nanosecond(either: World, collector: CaptureServer) -> None:
    gateway = either.open(Timing(grace=10 * SECOND))
    gateway.offer("batch", [change(run_of("w", kind="workflow"), "succeeded", 2)])
    either.now += 10 * SECOND - 1
    gateway.tick()
    kit.settle(gateway)
    assert collector.spans() == []
    gateway.offer("batch", [change(run_of("w", kind="workflow"), "running", 1)])  # out of order, in time
    either.now += 1
    gateway.tick()
    kit.settle(gateway)
    [span] = collector.spans()
    assert (span.start, span.end) == (NOON + SECOND, NOON + 2 * SECOND)


def test_what_comes_after_the_span_is_a_marked_log_and_no_second_span(either: World, collector: CaptureServer) -> None:
    gateway, run = either.open(), run_of("w", kind="workflow")
    gateway.offer("batch", [change(run, "running", 1), change(run, "failed", 2)])
    either.wait(gateway, 11, 61)
    late: list[AnyEvent] = [line(run, "last words", 1.5), change(run, "succeeded", 3), change(run, "paused", 0.5)]
    stat = Stat(id="s", time=NOON, run=run, name="loss", value=0.5)
    gateway.offer("batch", [*late, stat])
    either.wait(gateway, *LONG)
    assert outcomes(collector) == {"w#1": "failed"}
    marked = [one.body for one in collector.logs() if one.attributes.get("otel_events.late")]
    assert sorted(marked) == ["PAUSED", "SUCCEEDED", "last words", "loss = 0.5"]
    assert value(gateway, "otel_events_events_late_total", source="batch") == 4
    assert value(gateway, "otel_events_runs_total") == 1
    assert value(gateway, "otel_events_stat_loss") == 0.5
    assert gateway.health().open_roots == 0


def test_a_new_attempt_after_the_outcome_opens_the_run_again(world: World, collector: CaptureServer) -> None:
    gateway = world.open()
    first, second = run_of("w", kind="workflow"), run_of("w", kind="workflow", attempt=2)
    gateway.offer("batch", [change(first, "running", 1), change(first, "failed", 2)])
    world.wait(gateway, 11)
    assert value(gateway, "otel_events_runs_active") == 0
    gateway.offer("batch", [change(second, "running", 20)])
    assert value(gateway, "otel_events_runs_active", phase="running") == 1
    assert gateway.health().open_roots == 1
    gateway.offer("batch", [change(second, "succeeded", 21)])
    world.wait(gateway, *LONG)
    assert outcomes(collector) == {"w#1": "failed", "w#2": "succeeded"}
    [again] = [one for one in collector.spans() if one.attributes["otel_events.attempt"] == 2]
    assert [one.attributes["otel_events.link"] for one in again.links] == ["retries"]
    assert value(gateway, "otel_events_attempts_total") == 2
    assert gateway.health().open_roots == 0


def test_attempts_that_come_in_the_wrong_order_leave_nothing_open(world: World, collector: CaptureServer) -> None:
    gateway = world.open()
    first, second = (run_of("w/t", "w", attempt=number) for number in (1, 2))
    gateway.offer("batch", [change(second, "running", 20), change(second, "succeeded", 21)])
    world.wait(gateway, 11)
    gateway.offer("batch", [change(first, "running", 1), change(first, "failed", 2)])
    world.wait(gateway, 11, 11)
    assert outcomes(collector) == {"w/t#1": "failed", "w/t#2": "succeeded"}
    assert gateway.health().open_roots == 0


def test_attempts_that_the_source_does_not_number_are_closed_in_any_order(
    world: World, collector: CaptureServer
) -> None:
    """Without waiting for the end of the root."""
    gateway, run = world.open(), run_of("w/t", "w", attempt=0)
    changes = [
        change(run, "running", 1),
        change(run, "failed", 2),
        change(run, "pending", 3, next_attempt=True),
        change(run, "running", 4),
        change(run, "succeeded", 5),
    ]
    for one in reversed(changes):
        gateway.offer("batch", [one])
    world.wait(gateway, 11, 11)
    assert outcomes(collector) == {"w/t#1": "failed", "w/t#2": "succeeded"}
    assert value(gateway, "otel_events_runs_total", outcome="succeeded") == 1
    assert gateway.health().open_roots == 0


def test_a_silent_run_is_closed_as_incomplete_after_max_open(world: World, collector: CaptureServer) -> None:
    gateway = world.open(Timing(max_open=3600 * SECOND))
    gateway.offer(
        "batch", [change(run_of("w", kind="workflow"), "running", 1), change(run_of("w/t", "w"), "running", 2)]
    )
    world.wait(gateway, 3500)
    gateway.offer("batch", [line(run_of("w", kind="workflow"), "still here", 3)])
    world.wait(gateway, 3500, 31)
    assert collector.spans() == []
    world.wait(gateway, 101, 31)
    assert outcomes(collector) == {"w#1": "", "w/t#1": ""}
    assert all(one.attributes["otel_events.incomplete"] is True for one in collector.spans())
    assert value(gateway, "otel_events_runs_total", outcome="incomplete") == 2
    assert value(gateway, "otel_events_runs_active") == 0
    assert gateway.health().open_roots == 0


def test_silence_goes_on_over_a_restart(world: World, collector: CaptureServer) -> None:
    gateway = world.open(Timing(max_open=3600 * SECOND))
    gateway.offer("batch", [change(run_of("w", kind="workflow"), "running", 1)])
    for _ in range(4):
        world.wait(gateway, 1000, 31)
        gateway.drain_and_close(0)
        gateway = world.open(Timing(max_open=3600 * SECOND))
    world.wait(gateway, 31, 31)
    assert outcomes(collector) == {"w#1": ""}


def test_what_never_ended_is_closed_after_its_root(either: World, collector: CaptureServer) -> None:
    gateway = either.open(Timing(orphans=60 * SECOND))
    roots = [run_of(name, kind="workflow") for name in ("w1", "w2", "w3")]
    for root in roots:
        child = run_of(f"{root.id}/t", root.id)
        gateway.offer("batch", [change(root, "running", 1), change(child, "running", 2), change(root, "succeeded", 3)])
    either.wait(gateway, 11)
    assert outcomes(collector) == {"w1#1": "succeeded", "w2#1": "succeeded", "w3#1": "succeeded"}
    either.wait(gateway, 59)
    assert len(collector.spans()) == 3
    either.wait(gateway, 2)
    assert {k: v for k, v in outcomes(collector).items() if "/" in k} == {"w1/t#1": "", "w2/t#1": "", "w3/t#1": ""}
    assert gateway.health().open_roots == 0


def test_equal_run_ids_of_two_namespaces_are_two_runs(world: World, collector: CaptureServer) -> None:
    gateway = world.open()
    runs = [run_of("w", kind="workflow", namespace=name) for name in ("blue", "green")]
    gateway.offer("batch", [change(run, phase, at) for run in runs for phase, at in (("running", 1), ("succeeded", 2))])
    world.wait(gateway, 11)
    spans = {one.attributes["otel_events.namespace"]: (one.trace_id, one.span_id) for one in collector.spans()}
    logs = {(one.attributes["otel_events.namespace"], (one.trace_id, one.span_id)) for one in collector.logs()}
    assert set(spans) == {"blue", "green"}
    assert logs == set(spans.items())


STEPS: tuple[tuple[str, float, dict[str, int], float], ...] = (
    # phase of the task, when, runs active by phase, start of the oldest running
    ("pending", 2, {"running": 1, "pending": 1}, 1),
    ("running", 3, {"running": 2, "pending": 0}, 1),
    ("paused", 4, {"running": 1, "paused": 1}, 1),
    ("running", 5, {"running": 2, "paused": 0}, 1),
    ("finalizing", 6, {"running": 1, "finalizing": 1}, 1),
    ("succeeded", 7, {"running": 1, "finalizing": 0}, 1),
)


def test_gauges_tell_what_is_under_way_at_each_step(world: World) -> None:
    gateway, root, task = world.open(), run_of("w", kind="workflow"), run_of("w/t", "w")
    gateway.offer("batch", [change(root, "running", 1)])
    for phase, at, active, oldest in STEPS:
        gateway.offer("batch", [change(task, phase, at)])
        for name, number in active.items():
            assert value(gateway, "otel_events_runs_active", phase=name) == number, (phase, name)
        found = value(gateway, "otel_events_oldest_run_start_time_seconds", phase="running", kind="workflow")
        assert found == NOON / SECOND + oldest
    gateway.offer("batch", [change(root, "succeeded", 8)])
    for _ in range(2):
        assert value(gateway, "otel_events_runs_active") == 0
        assert value(gateway, "otel_events_oldest_run_start_time_seconds") == 0
        world.wait(gateway, *LONG)


@pytest.mark.parametrize("order", ["reversed", "random"])
def test_gauges_are_right_when_events_come_in_any_order(order: str, world: World) -> None:
    """An earlier phase of the newest attempt does not put its outcome aside, nor does one of the same time."""
    gateway, rng = world.open(), random.Random(order)
    changes: list[PhaseChange] = []
    for number in (1, 2):
        task = run_of("w/t", "w", attempt=number)
        begin = 10.0 * number
        changes += [
            change(task, "pending", begin),
            change(task, "running", begin + 1),
            change(task, "failed", begin + 2),
        ]
    quick = run_of("w/q", "w")
    changes += [change(quick, phase, 5) for phase in ("pending", "running", "succeeded")]
    for _ in range(5):
        turned = changes[::-1] if order == "reversed" else rng.sample(changes, len(changes))
        for at, one in enumerate(turned):
            run = msgspec.structs.replace(one.run, root=f"w{_}", id=f"{one.run.id}-{_}", parent=f"w{_}")
            gateway.offer("batch", [msgspec.structs.replace(one, run=run, id=f"{at}-{_}")])
        assert value(gateway, "otel_events_runs_active") == 0


def test_a_run_without_phases_is_no_span_and_no_run_under_way(world: World, collector: CaptureServer) -> None:
    gateway, run = world.open(), run_of("w/t", "w")
    gateway.offer("batch", [line(run, "hello", 1)])
    world.wait(gateway, *LONG)
    assert collector.spans() == []
    assert [one.body for one in collector.logs()] == ["hello"]
    assert value(gateway, "otel_events_runs_active") == 0
    assert gateway.health().open_roots == 0


def test_facts_of_an_attempt_that_never_began_do_not_count_as_the_run(world: World) -> None:
    gateway = world.open()
    task = run_of("w/t", "w")
    gateway.offer("batch", [change(task, "running", 1), change(task, "failed", 3), line(run_of("w/t", "w", 2), "x", 2)])
    world.wait(gateway, *LONG)
    assert value(gateway, "otel_events_runs_total", outcome="failed") == 1
    assert value(gateway, "otel_events_run_duration_seconds_sum") == 2


def test_forgotten_roots_are_read_back_when_something_comes(world: World, collector: CaptureServer) -> None:
    gateway = world.open(Timing(forget=SECOND))
    run = run_of("w", kind="workflow")
    gateway.offer("batch", [change(run, "running", 1), change(run, "succeeded", 2)])
    world.wait(gateway, 11, 61, 61)
    assert gateway._engine._roots == {}
    gateway.offer("batch", [change(run, "paused", 1.5)])
    world.wait(gateway, *LONG)
    assert outcomes(collector) == {"w#1": "succeeded"}
    assert value(gateway, "otel_events_events_late_total") == 1


def test_cold_events_give_the_same_spans(tmp_path: Path, collector: CaptureServer) -> None:
    """Beyond a number of events in memory they are held packed."""
    found = []
    for hot in (50_000, 0):
        collector.clear()
        folder = tmp_path / str(hot)
        folder.mkdir()
        world = World(folder, collector)
        gateway = world.open()
        gateway._engine._memory = Memory(hot)
        gateway.ingest("flyte", golden("flyte", "array_node_external_resources"))
        world.wait(gateway, *LONG)
        found.append(kit.once(collector))
        world.close()
    assert found[0] == found[1]


def test_an_earlier_attempt_whose_end_is_all_that_comes_of_it_is_closed_after_a_crash(
    world: World, collector: CaptureServer, tmp_path: Path
) -> None:
    """Its run was finished and its root had nothing open: the restart has to know that this attempt is yet to close."""
    gateway = world.open()
    gateway.offer("batch", [change(run_of("w", kind="workflow"), "succeeded", 1)])
    gateway.offer("batch", [change(run_of("w/n", "w", kind="node", attempt=3), "cancelled", 1)])
    world.wait(gateway, 11, 61)
    assert outcomes(collector) == {"w#1": "succeeded", "w/n#3": "cancelled"}
    gateway.offer("batch", [change(run_of("w/n", "w", kind="node", attempt=1), "crashed", 1)])
    gateway.offer("batch", [change(run_of("x"), "running", 1)])  # the commit that says of the other root what is open
    world.wait(gateway, 1.0)
    collector.clear()
    crashed = world.copy(tmp_path / "crashed", collector)
    again = crashed.open()
    crashed.wait(again, *LONG)
    assert outcomes(collector)["w/n#1"] == "crashed"
    crashed.close()
