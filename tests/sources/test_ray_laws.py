"""Laws of the Ray decoder: any order, any repeats and any cut into records give the same bytes; nothing breaks it."""

from __future__ import annotations

import gzip
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_events.core.metrics import Metrics
from otel_events.intake.records import Record
from otel_events.journal import Journal
from otel_events.model.errors import DecodeError, PartlyDecoded
from otel_events.model.event import AnyEvent
from otel_events.otlp import from_env
from otel_events.replay.replay import replay
from otel_events.replay.sinks import FileSink
from otel_events.sources.ray.decode import decode

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "ray"
CASES = ["cancel", "job_submit", "mixed", "restart", "v2_49", "v2_52"]


def ray_events(case: str) -> list[dict[str, Any]]:
    with gzip.open(GOLDEN / case / "posts.jsonl.gz") as posts:
        return [event for post in posts for event in json.loads(post)["body"]]


EVENTS = {case: ray_events(case) for case in CASES}


def traces(bodies: list[bytes]) -> bytes:
    """traces.jsonl of a replay of these records."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        sink = FileSink(out, from_env({}))
        with Journal.temporary() as journal:
            replay("ray", map(Record, bodies), journal=journal, sink=sink, metrics=Metrics())
        sink.close()
        return (out / "traces.jsonl").read_bytes()


WHOLE = {case: traces([json.dumps(events).encode()]) for case, events in EVENTS.items()}


@settings(max_examples=15)
@given(st.data())
def test_any_order_any_repeats_and_any_cut_give_the_same_bytes(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(CASES))
    events = EVENTS[case]
    repeats = data.draw(st.lists(st.sampled_from(events), max_size=20))
    rng = data.draw(st.randoms(use_true_random=False))
    shuffled = events + repeats
    rng.shuffle(shuffled)
    bodies: list[bytes] = []
    while shuffled:
        size = rng.choice((1, 2, 5, 40))
        bodies.append(json.dumps(shuffled[:size]).encode())
        shuffled = shuffled[size:]
    assert traces(bodies) == WHOLE[case]


@pytest.mark.parametrize("case", CASES)
def test_doubled_event_by_event_and_backwards(case: str) -> None:
    single = [json.dumps(event).encode() for event in EVENTS[case]]
    assert traces((single + single)[::-1]) == WHOLE[case]


def snake(value: Any) -> Any:
    """The same with keys in snake_case, but those that are values."""
    if isinstance(value, dict):
        kept = ("metadata", "labels", "resources", "requiredResources", "labelSelector", "taskState", "refIds")
        return {
            re.sub("([A-Z])", r"_\1", key).lower(): member if key in kept else snake(member)
            for key, member in value.items()
        }
    return [snake(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", CASES)
def test_snake_case_tells_the_same(case: str) -> None:
    assert decode(json.dumps(snake(EVENTS[case])).encode()) == decode(json.dumps(EVENTS[case]).encode())
    assert decode(json.dumps(snake(EVENTS[case][0])).encode()) == decode(json.dumps(EVENTS[case][0]).encode())


texts = st.text(max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4))


def decoded(record: bytes) -> list[AnyEvent]:
    """What ``decode`` gives, in whole or in part; any exception but those it states fails the test."""
    try:
        return decode(record)
    except PartlyDecoded as error:
        return error.events
    except DecodeError:
        return []


@given(st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
def test_random_bytes_and_json_are_decoded_or_refused(record: bytes) -> None:
    decoded(record)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, member in members for found in paths(member, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = value.copy()
    changed[path[0]] = replaced(value[path[0]], path[1:], new)
    return changed


ONE_OF_EACH = {tuple(sorted(event)): event for case in CASES for event in EVENTS[case]}


@given(st.data())
def test_an_event_with_any_one_value_changed_costs_itself_at_most(data: st.DataObject) -> None:
    good, sample = data.draw(st.sampled_from(EVENTS["mixed"])), data.draw(st.sampled_from(list(ONE_OF_EACH.values())))
    path = data.draw(st.sampled_from(paths(sample)))
    changed = replaced(sample, path, data.draw(values))
    found = decoded(json.dumps([good, changed]).encode())
    assert {event.id for event in decode(json.dumps(good).encode())} <= {event.id for event in found}
    for event in found:
        assert msgspec.json.decode(msgspec.json.encode(event), type=AnyEvent) == event


def test_the_bad_ones_are_named_and_handed_back() -> None:
    events = EVENTS["cancel"][:3]
    record = json.dumps([events[0], {"eventId": 7}, events[1], "text", events[2]]).encode()
    with pytest.raises(PartlyDecoded) as caught:
        decode(record)
    assert [(where, part) for where, _, part in caught.value.refused] == [
        ("[1]", b'{"eventId": 7}'),
        ("[3]", b'"text"'),
    ]
    assert caught.value.events == decode(json.dumps(events).encode())
