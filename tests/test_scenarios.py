"""Every Flyte scenario of the captured records, against what the reference says of it.

The table was reviewed row by row against the reference's rules (section 5 of the Flyte reference): the first
outcome wins; an aborted task is a deadline where a later attempt or the parent proves it; a cache hit is a node without
a task; array sub-tasks are runs of their own, by (index, attempt); what never ends is incomplete.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from otel_events.core.spans import span
from otel_events.core.traces import Closed, close_all
from otel_events.model.errors import DecodeError
from otel_events.model.event import AnyEvent
from otel_events.sources.flyte.decode import decode

from .corpus import CORPUS, needs_corpus

NOON = int(datetime(2026, 7, 1, 12, tzinfo=UTC).timestamp()) * 10**9

Row = tuple[str, int, str, float, float | None, float]

# (run, attempt, outcome or "" for incomplete, start, first running, end): seconds after noon. W: the workflow's
# execution, L: the one that its launch plan node starts, T: the task core.train.train_model.
SCENARIOS: dict[str, tuple[Row, ...]] = {
    "aborted": (
        ("W", 1, "cancelled", 1.123456, 1.123456, 31.123456),
        ("W/n0", 1, "cancelled", 1.323456, 1.623456, 30.323456),
        ("W/n0/T", 1, "cancelled", 1.523456, 3.123456, 30.123456),
    ),
    "aborting_then_running": (("W", 1, "cancelled", 1.123456, 1.123456, 7.123456),),
    "array_node_external_resources": (
        ("W", 1, "succeeded", 1.123456, 1.123456, 21.123456),
        ("W/n0", 1, "succeeded", 1.323456, 1.423456, 20.323456),
        ("W/n0/core.map.sq", 1, "succeeded", 1.523456, 3.123456, 20.123456),
        ("W/n0/core.map.sq/0", 1, "succeeded", 1.523456, 3.123456, 8.123456),
        ("W/n0/core.map.sq/1", 1, "succeeded", 1.523456, None, 3.123456),
        ("W/n0/core.map.sq/2", 1, "failed", 1.523456, 3.123456, 8.123456),
        ("W/n0/core.map.sq/3", 1, "succeeded", 1.523456, 8.123456, 12.123456),
        ("W/n0/core.map.sq/2", 2, "succeeded", 12.123456, 12.123456, 20.123456),
    ),
    "cache_hit_populated": (
        ("W", 1, "succeeded", 1.123456, 1.123456, 14.123456),
        ("W/n0", 1, "succeeded", 1.323456, 1.623456, 9.323456),
        ("W/n0/T", 1, "succeeded", 1.523456, 3.123456, 9.123456),
        ("W/n1", 1, "succeeded", 9.423456, None, 9.423456),
        ("W/n2", 1, "succeeded", 9.523456, None, 12.123456),
        ("W/n3", 1, "succeeded", 12.223456, None, 13.123456),
        ("W/n4", 1, "", 13.223456, None, 13.223456),
    ),
    "child_before_parent": (
        ("W", 1, "", 1.123456, 1.123456, 1.123456),
        ("W/n0", 1, "", 6.623456, 6.623456, 6.623456),
        ("W/n0-0-dn0", 1, "", 7.123456, 8.123456, 8.123456),
        ("W/n0-0-dn0/T", 1, "", 7.223456, None, 7.223456),
    ),
    "duplicates": (
        ("W", 1, "succeeded", 1.123456, 1.123456, 67.023456),
        ("W/start-node", 1, "succeeded", 1.223456, None, 1.223456),
        ("W/n0", 1, "succeeded", 1.423456, 1.723456, 66.623456),
        ("W/n0/T", 1, "succeeded", 1.623456, 6.123456, 66.123456),
        ("W/end-node", 1, "succeeded", 66.723456, None, 66.823456),
    ),
    "dynamic_node": (
        ("W", 1, "succeeded", 1.123456, 1.123456, 19.123456),
        ("W/n0", 1, "succeeded", 1.423456, 1.723456, 18.123456),
        ("W/n0/core.dyn.make", 1, "succeeded", 1.623456, 3.123456, 6.123456),
        ("W/n0-0-start-node", 1, "succeeded", 6.723456, None, 6.723456),
        ("W/n0-0-dn0", 1, "succeeded", 7.123456, 7.323456, 15.323456),
        ("W/n0-0-dn0/T", 1, "succeeded", 7.223456, 8.123456, 15.123456),
        ("W/n0-0-dn1", 1, "succeeded", 8.123456, 8.323456, 16.323456),
        ("W/n0-0-dn1/T", 1, "succeeded", 8.223456, 9.123456, 16.123456),
        ("W/fhr7kzya", 1, "succeeded", 17.123456, None, 17.123456),
    ),
    "happy_path": (
        ("W", 1, "succeeded", 1.123456, 1.123456, 67.023456),
        ("W/start-node", 1, "succeeded", 1.223456, None, 1.223456),
        ("W/n0", 1, "succeeded", 1.423456, 1.723456, 66.623456),
        ("W/n0/T", 1, "succeeded", 1.623456, 6.123456, 66.123456),
        ("W/end-node", 1, "succeeded", 66.723456, None, 66.823456),
    ),
    "huge_custom_info": (
        ("W", 1, "failed", 1.123456, 1.123456, 10.123456),
        ("W/n0", 1, "failed", 1.623456, 1.623456, 9.223456),
        ("W/n0/T", 1, "failed", 2.123456, 3.123456, 9.123456),
    ),
    "late_after_terminal": (
        ("W", 1, "succeeded", 1.123456, 1.123456, 67.023456),
        ("W/start-node", 1, "succeeded", 1.223456, None, 1.223456),
        ("W/n0", 1, "succeeded", 1.423456, 1.723456, 66.623456),
        ("W/n0/T", 1, "succeeded", 1.623456, 6.123456, 66.123456),
        ("W/end-node", 1, "succeeded", 66.723456, None, 66.823456),
    ),
    "malformed": (("W", 1, "succeeded", -99.876544, None, -99.876544),),
    "out_of_order": (
        ("W", 1, "succeeded", 1.123456, 1.123456, 67.023456),
        ("W/start-node", 1, "succeeded", 1.223456, None, 1.223456),
        ("W/n0", 1, "succeeded", 1.423456, 1.723456, 66.623456),
        ("W/n0/T", 1, "succeeded", 1.623456, 6.123456, 66.123456),
        ("W/end-node", 1, "succeeded", 66.723456, None, 66.823456),
    ),
    "phase_regression": (
        ("W", 1, "", 1.123456, 1.123456, 1.123456),
        ("W/n0", 1, "succeeded", 1.423456, 1.723456, 12.623456),
        ("W/n0/T", 1, "succeeded", 5.123456, 5.123456, 12.123456),
    ),
    "phase_version_bumps": (
        ("W", 1, "", 1.123456, 1.123456, 1.123456),
        ("W/n0", 1, "succeeded", 1.423456, 1.723456, 70.623456),
        ("W/n0/T", 1, "succeeded", 1.623456, 5.123456, 70.123456),
    ),
    "reasons_resourcepool_interruptible": (
        ("W", 1, "", 1.123456, 1.123456, 1.123456),
        ("W/n0", 1, "succeeded", 1.623456, 1.623456, 20.223456),
        ("W/n0/T", 1, "succeeded", 2.123456, 9.123456, 20.123456),
    ),
    "recovered_skipped": (
        ("W", 1, "succeeded", 1.123456, 1.123456, 3.123456),
        ("W/n0", 1, "succeeded", 1.323456, None, 1.323456),
        ("W/n1", 1, "succeeded", 1.423456, None, 2.123456),
        ("W/n1-0-b0", 1, "skipped", 1.523456, None, 1.523456),
    ),
    "retries_user_then_system": (
        ("W", 1, "succeeded", 1.123456, 1.123456, 52.123456),
        ("W/n0", 1, "succeeded", 1.423456, 1.723456, 50.623456),
        ("W/n0/T", 1, "failed", 2.123456, 5.123456, 10.123456),
        ("W/n0/T", 2, "crashed", 20.123456, 23.123456, 28.123456),
        ("W/n0/T", 3, "succeeded", 40.123456, 43.123456, 50.123456),
    ),
    "retryable_failed_enum": (
        ("W", 1, "", 1.123456, 1.123456, 1.123456),
        ("W/n0", 1, "", 1.723456, 1.723456, 1.723456),
        ("W/n0/T", 1, "failed", 2.123456, 3.123456, 8.123456),
        ("W/n0/T", 2, "succeeded", 20.123456, 21.123456, 25.123456),
    ),
    "subworkflow_and_launchplan": (
        ("W", 1, "succeeded", 1.123456, 1.123456, 9.823456),
        ("W/n0", 1, "succeeded", 1.323456, 1.423456, 5.423456),
        ("W/n0-0-n0", 1, "succeeded", 1.523456, 1.723456, 5.223456),
        ("W/n0-0-n0/T", 1, "succeeded", 1.623456, 2.123456, 5.123456),
        ("W/n1", 1, "succeeded", 5.523456, 5.623456, 9.623456),
        ("L", 1, "succeeded", 6.123456, 6.123456, 9.323456),
        ("L/n0", 1, "succeeded", 6.223456, 6.223456, 9.123456),
    ),
    "task_timeout_is_abort_then_retry": (
        ("W", 1, "failed", 1.123456, 1.123456, 130.623456),
        ("W/n0", 1, "failed", 1.423456, 1.723456, 129.023456),
        ("W/n0/T", 1, "timed_out", 2.123456, 4.123456, 64.123456),
        ("W/n0/T", 2, "timed_out", 67.123456, 69.123456, 129.123456),
    ),
    "timed_out": (
        ("W", 1, "failed", 1.123456, 1.123456, 62.623456),
        ("W/n0", 1, "timed_out", 1.323456, 1.623456, 61.123456),
        ("W/n0/T", 1, "timed_out", 1.523456, 3.123456, 61.623456),
    ),
    "workflow_failed_system_abort_exhausted": (
        ("W", 1, "crashed", 1.123456, 1.123456, 600.123456),
        ("W/n0", 1, "", 1.423456, 1.723456, 1.723456),
    ),
}

REFUSED = {"malformed": 5}
"""Scenario -> how many of its records cannot be events: empty, no ids, no time, unknown enum, epoch 0."""


def _events(folder: Path) -> tuple[dict[str, list[AnyEvent]], int]:
    by_root: dict[str, list[AnyEvent]] = {}
    refused = 0
    for path in sorted(folder.glob("*.pb")):
        try:
            found = decode(path.read_bytes(), path.name)
        except DecodeError:
            refused += 1
            continue
        for event in found:
            by_root.setdefault(event.run.root, []).append(event)
    return by_root, refused


def _row(closed: Closed) -> Row:
    attempt = closed.attempt
    name = attempt.run.id.removeprefix("flytesnacks/development/")
    for long, short in (("a7xk2p9qv5d8mzr3t6wb", "W"), ("fchild0exec0name0000", "L"), ("core.train.train_model", "T")):
        name = name.replace(long, short)
    running = _seconds(attempt.first_running) if attempt.first_running else None
    return name, attempt.run.attempt, closed.outcome, _seconds(attempt.start), running, _seconds(attempt.end)


def _seconds(time: int) -> float:
    return round((time - NOON) / 1e9, 6)


@needs_corpus
@pytest.mark.parametrize("name", SCENARIOS)
def test_runs_attempts_outcomes_and_times(name: str) -> None:
    by_root, refused = _events(CORPUS / "flyte" / "scenarios" / name)
    found = [_row(closed) for _, events in sorted(by_root.items()) for closed in close_all(events)[0]]
    assert found == list(SCENARIOS[name])
    assert refused == REFUSED.get(name, 0)


@needs_corpus
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_span_hangs_under_one_that_is_there(name: str) -> None:
    by_root, _ = _events(CORPUS / "flyte" / "scenarios" / name)
    for events in by_root.values():
        spans = [span(one.attempt, one.where, one.outcome, one.previous) for one in close_all(events)[0]]
        ids = {one.span_id for one in spans}
        assert {one.parent_span_id for one in spans} - {b""} <= ids
        assert all(one.end >= one.start for one in spans)


@needs_corpus
def test_the_table_names_every_scenario() -> None:
    assert set(SCENARIOS) == {path.name for path in (CORPUS / "flyte" / "scenarios").iterdir()}
