"""Captured calls of ClearML's SDK 2.1.12 against server 2.3.0 and the events that they are (tests/golden/clearml), and
laws on any record.

OTEL_EVENTS_WRITE_GOLDEN=1 writes events.jsonl anew from what the code gives now; read the difference before committing.
"""

from __future__ import annotations

import json
import os
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events.core.traces import Closed, close_all
from otel_events.model.errors import DecodeError
from otel_events.model.event import AnyEvent, Log, PhaseChange
from otel_events.sources.clearml.decode import decode, tells_of_runs
from tests.corpus import CORPUS, needs_corpus

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "clearml"
CASES = sorted(path.name for path in GOLDEN.iterdir())
WRITE = bool(os.environ.get("OTEL_EVENTS_WRITE_GOLDEN"))
SAMPLES = [line for path in sorted(GOLDEN.glob("*/records.jsonl")) for line in path.read_bytes().splitlines()]


def lines(case: str) -> list[bytes]:
    return (GOLDEN / case / "records.jsonl").read_bytes().splitlines()


def decoded(records: list[bytes]) -> list[AnyEvent]:
    return [event for record in records for event in decode(record)]


def closed(events: list[AnyEvent]) -> list[Closed]:
    roots: dict[str, list[AnyEvent]] = defaultdict(list)
    for event in events:
        roots[event.run.root].append(event)
    return [attempt for some in roots.values() for attempt in close_all(some)[0]]


def ends(events: list[AnyEvent]) -> list[tuple[str, int, str]]:
    return [(ended.attempt.run.name, ended.attempt.run.attempt, ended.outcome) for ended in closed(events)]


@pytest.mark.parametrize("case", CASES)
def test_records_become_the_reviewed_events(case: str) -> None:
    events = decoded(lines(case))
    path = GOLDEN / case / "events.jsonl"
    if WRITE:
        path.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in events))
    assert events == [msgspec.json.decode(line, type=AnyEvent) for line in path.read_bytes().splitlines()]


def test_each_way_that_a_task_ends() -> None:
    assert ends(decoded(lines("train"))) == [("corpus online", 1, "succeeded")]
    assert ends(decoded(lines("sys_exit"))) == [("train-exit3", 1, "failed")]
    assert ends(decoded(lines("aborted_by_other_client"))) == [("train-aborted-by-ui", 1, "cancelled")]
    assert sorted(ends(decoded(lines("flows")))) == [
        ("clone", 1, "cancelled"),  # stopped, and then failed: the first end is the end
        ("clone", 2, "succeeded"),  # reset and started again
        ("failing", 1, "failed"),
        ("flows", 1, "succeeded"),  # deleted later
    ]


def test_a_failure_keeps_its_text_and_a_transition_the_servers_time() -> None:
    (failing,) = [ended.attempt for ended in closed(decoded(lines("flows"))) if ended.attempt.run.name == "failing"]
    assert failing.error is not None
    assert (failing.error.type, failing.error.message, failing.error.kind) == ("Exception", "Exception boom", "user")
    assert failing.end == 1_795_220_729_747_311_000
    assert failing.illegal == 0


def test_traffic_as_it_went_over_the_wire_tells_the_same() -> None:
    recorded = {event.id: event for event in decoded(lines("sys_exit"))}
    wire = {event.id: event for event in decoded(lines("wire"))}
    for id_, event in recorded.items():
        if isinstance(event, Log):
            assert wire[id_] == event
    assert [event.phase for event in wire.values() if isinstance(event, PhaseChange)] == [
        "pending",
        "running",
        "failed",
    ]
    assert sum(event_name(event) == "clearml.tasks.get_by_id" for event in wire.values()) == 1


def event_name(event: AnyEvent) -> str:
    return event.event_name if isinstance(event, Log) else ""


# --- any order, any repeats -----------------------------------------------------------------------------------------


@given(st.randoms(use_true_random=False))
def test_any_order_and_any_repeats_of_records_are_the_same_trace(order: random.Random) -> None:
    records = lines("flows")
    shuffled = [*records, *order.sample(records, order.randint(0, len(records)))]
    order.shuffle(shuffled)
    assert encoded(decoded(shuffled)) == encoded(decoded(records))


def encoded(events: list[AnyEvent]) -> list[bytes]:
    attempts = sorted(closed(events), key=lambda ended: (ended.attempt.run.id, ended.attempt.run.attempt))
    return [msgspec.json.encode(ended) for ended in attempts]


def test_ids_are_unique_and_depend_on_the_content_alone() -> None:
    for case in CASES:
        events = decoded(lines(case))
        unique = {event.id: event for event in events}
        assert len(unique) == len(events) or case == "wire"
        assert decoded(lines(case)) == events


# --- any record ------------------------------------------------------------------------------------------------------

texts = st.text(max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))


def survives(record: bytes) -> None:
    try:
        for event in decode(record):
            assert msgspec.json.decode(msgspec.json.encode(event), type=AnyEvent) == event
    except DecodeError:
        pass


@given(st.binary(max_size=100) | values.map(lambda value: json.dumps(value).encode()))
def test_random_bytes_and_json_are_decoded_or_refused(record: bytes) -> None:
    survives(record)


def changed(value: Any, new: Any, order: random.Random) -> Any:
    """The same with one value somewhere replaced."""
    if isinstance(value, dict) and value and order.random() < 0.9:
        key = order.choice(sorted(value))
        return {**value, key: changed(value[key], new, order)}
    if isinstance(value, list) and value and order.random() < 0.9:
        at = order.randrange(len(value))
        return [*value[:at], changed(value[at], new, order), *value[at + 1 :]]
    return new


@given(st.sampled_from(SAMPLES), values, st.randoms(use_true_random=False))
def test_a_record_with_any_one_value_changed_is_decoded_or_refused(
    sample: bytes, new: Any, order: random.Random
) -> None:
    survives(json.dumps(changed(json.loads(sample), new, order)).encode())


CAPTURED = [CORPUS / "clearml" / "online" / f"{name}.jsonl" for name in ("train", "flows", "sys_exit")]


@needs_corpus
@pytest.mark.parametrize("path", CAPTURED, ids=lambda path: path.name)
def test_every_captured_call_is_decoded(path: Path) -> None:
    for line in path.read_bytes().splitlines():
        endpoint = json.loads(line)["endpoint"]
        events = decode(line)
        assert bool(events) == tells_of_runs(endpoint)
