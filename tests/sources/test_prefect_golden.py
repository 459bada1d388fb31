"""Captured records of Prefect 3.9.1 and the events that they are: records.* and events.jsonl of tests/golden/prefect.

OTEL_EVENTS_WRITE_GOLDEN=1 writes events.jsonl anew from what the code gives now; read the difference before committing.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import msgspec
import pytest

from otel_events.core.fold import Attempt
from otel_events.core.traces import Closed, close_all
from otel_events.model.event import AnyEvent
from otel_events.sources.prefect.decode import decode

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "prefect"
CASES = sorted(path.name for path in GOLDEN.iterdir())
WRITE = bool(os.environ.get("OTEL_EVENTS_WRITE_GOLDEN"))


def records(case: str) -> list[bytes]:
    """One a line of records.jsonl, or the whole of records.json."""
    lines = GOLDEN / case / "records.jsonl"
    return lines.read_bytes().splitlines() if lines.exists() else [(GOLDEN / case / "records.json").read_bytes()]


def decoded(case: str) -> list[AnyEvent]:
    return [event for record in records(case) for event in decode(record)]


@pytest.mark.parametrize("case", CASES)
def test_records_become_the_reviewed_events(case: str) -> None:
    found = decoded(case)
    path = GOLDEN / case / "events.jsonl"
    if WRITE:
        path.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in found))
    reviewed = [msgspec.json.decode(line, type=AnyEvent) for line in path.read_bytes().splitlines()]
    assert found == reviewed


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("rest")])
def test_frames_and_pages_tell_the_same_as_events_alone(case: str) -> None:
    alone = decoded(case)
    framed = [event for one in records(case) for event in decode(b'{"type":"event","event":' + one + b"}")]
    page = b'{"events":[' + b",".join(records(case)) + b'],"total":%d,"next_page":null}' % len(alone)
    assert framed == alone
    assert decode(page) == alone


def closed(*cases: str) -> list[Closed]:
    """Every attempt with a span, of all roots of the cases."""
    roots: dict[str, list[AnyEvent]] = defaultdict(list)
    for case in cases:
        for event in decoded(case):
            roots[event.run.root].append(event)
    return [one for events in roots.values() for one in close_all(events)[0]]


def told(attempt: Attempt) -> tuple[str, str, int]:
    return attempt.run.kind, attempt.run.name, attempt.run.attempt


def test_retries_become_attempts_whatever_run_count_says() -> None:
    assert sorted((*told(one.attempt), one.outcome) for one in closed("s03_retries")) == sorted(
        [
            ("workflow", "retry-flow", 1, "failed"),
            ("workflow", "retry-flow", 2, "succeeded"),
            ("task", "flaky_nodelay", 1, "failed"),
            ("task", "flaky_nodelay", 2, "failed"),
            ("task", "flaky_nodelay", 3, "succeeded"),
            ("task", "flaky_delay", 1, "failed"),
            ("task", "flaky_delay", 2, "succeeded"),
            ("task", "flaky_nodelay", 1, "succeeded"),  # a retried flow runs its tasks as new runs
            ("task", "flaky_delay", 1, "succeeded"),
        ]
    )


def test_a_pause_is_no_attempt_and_a_forced_restart_is_one() -> None:
    by_run = defaultdict(list)
    for one in closed("s08_timeouts_states"):
        by_run[one.attempt.run.id].append((one.attempt.run.attempt, one.outcome))
    assert by_run["dfdae058-3ad7-4f80-a56c-dc31fa0a8381"] == [(1, "cancelled")]  # Paused, Resumed: run-count 2
    assert by_run["0036d189-2e45-4018-bd0f-404c12a3a165"] == [(1, "crashed"), (2, "succeeded")]


def test_a_run_killed_while_it_waits_for_its_retry() -> None:
    ends = [(one.outcome, one.attempt.first_running > 0) for one in closed("s17_sigterm_awaiting_retry")]
    assert ("failed", True) in ends  # the first attempt of `waits`
    assert ("crashed", False) in ends  # its second, that never ran


def test_only_what_was_killed_by_force_stays_open() -> None:
    still = {told(one.attempt) for one in closed("s07_cancel_crash") if not one.outcome}
    assert still == {("workflow", "sleepy-flow", 1), ("task", "sleepy", 1)}


def test_a_rollback_comes_after_the_end_and_changes_nothing() -> None:
    rolled = [one for one in closed("s16_cache_rollback") if one.attempt.late]
    assert [(one.attempt.run.name, one.outcome, one.attempt.native) for one in rolled] == [
        ("w1", "succeeded", "Completed"),
        ("w2", "succeeded", "Completed"),
    ]
    assert all(one.attempt.run.root == "ff3e9820-3778-44da-8f82-224a497265f3" for one in rolled)


def test_the_span_that_prefect_itself_opens_is_adopted() -> None:
    rest = {event.run.id: event for event in decoded("rest_s12_otel_enabled")}
    flow = rest["20fe9147-d44e-4873-af72-ef13f64f684b"].attributes["traceparent"]
    pending, running = decoded("relations")[-2:]
    outer = pending.attributes["otel_events.parent.traceparent"]
    assert "traceparent" not in pending.attributes  # before it starts, a task tells the span of its flow
    assert outer == rest[pending.run.root].attributes["traceparent"] != flow
    assert running.run.id == pending.run.id
    assert running.attributes["traceparent"] != outer
    assert "otel_events.parent.traceparent" not in running.attributes
