"""Laws of the Prefect decoder on any record, and a walk over every captured one."""

from __future__ import annotations

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events.model.errors import DecodeError
from otel_events.model.event import AnyEvent, PhaseChange
from otel_events.sources import decoder
from otel_events.sources.prefect.decode import decode
from otel_events.sources.prefect.fields import TAG, bare
from otel_events.sources.prefect.tables import WITHHELD, family
from tests.corpus import CORPUS, needs_corpus

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "prefect"
SAMPLES = [line for path in sorted(GOLDEN.glob("*/records.jsonl")) for line in path.read_bytes().splitlines()]
SAMPLES += [path.read_bytes() for path in sorted(GOLDEN.glob("*/records.json"))]

texts = st.text(max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4))


def decoded(record: bytes) -> list[AnyEvent] | None:
    """What ``decode`` gives, None where it refuses; any other exception fails the test."""
    try:
        return decode(record)
    except DecodeError:
        return None


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield from paths(member, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = value.copy()
    changed[path[0]] = replaced(value[path[0]], path[1:], new)
    return changed


@given(st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
def test_random_bytes_and_json_are_decoded_or_refused(record: bytes) -> None:
    decoded(record)


@given(st.data())
def test_a_record_with_any_one_value_changed_is_decoded_or_refused(data: st.DataObject) -> None:
    sample = json.loads(data.draw(st.sampled_from(SAMPLES)))
    path = data.draw(st.sampled_from(list(paths(sample))))
    record = json.dumps(replaced(sample, path, data.draw(values))).encode()
    for event in decoded(record) or ():
        assert msgspec.json.decode(msgspec.json.encode(event), type=AnyEvent) == event


@given(st.data())
def test_a_record_cut_or_with_bytes_changed_is_decoded_or_refused(data: st.DataObject) -> None:
    sample = data.draw(st.sampled_from(SAMPLES))
    start = data.draw(st.integers(0, len(sample)))
    decoded(sample[:start] + data.draw(st.binary(max_size=8)) + sample[data.draw(st.integers(start, len(sample))) :])


@given(st.sampled_from(SAMPLES), texts)
def test_the_same_record_gives_the_same_events_whatever_was_decoded_between(record: bytes, hint: str) -> None:
    first = decode(record)
    for other in SAMPLES[::20]:
        decode(other)
    again = decode(record, hint)
    assert again == first
    assert [msgspec.json.encode(one) for one in again] == [msgspec.json.encode(one) for one in first]


@given(st.sampled_from(SAMPLES))
def test_what_a_caller_does_to_attributes_touches_no_other_event(record: bytes) -> None:
    kept = [msgspec.json.encode(one) for one in decode(record)]
    for event in decode(record):
        event.attributes["mine"] = True
    assert [msgspec.json.encode(one) for one in decode(record)] == kept


def test_the_source_is_found_by_its_name() -> None:
    assert decoder("prefect") is decode


# --- the whole corpus ------------------------------------------------------------------------------------------------

FILES = sorted((CORPUS / "prefect").glob("*.jsonl*")) + sorted((CORPUS / "prefect" / "rest").glob("*.json"))

WITHHELD_PATHS: dict[str, str] = {
    r"received": "received",
    r"follows": "follows, of a state event",
    r"resource\.prefect\.state-timestamp": "resource: prefect.state-timestamp",
    r"payload\.(intended|initial_state)\..*": "payload.intended, .initial_state",
    r"payload\.validated_state\.(type|name|message)": "payload.validated_state.type, .name, .message",
    r"payload\.validated_state\.data\..*": "payload.validated_state.data",
    r"payload\.task_run\.(name|run_count|start_time|end_time)": (
        "payload.task_run.name, .run_count, .start_time, .end_time"
    ),
    r"payload\.task_run\.empirical_policy\.(max_retries|retry_delay_seconds)": (
        "payload.task_run.empirical_policy.max_retries, .retry_delay_seconds"
    ),
    r"payload\.task_run\.task_inputs\..*\.input_type": "payload.task_run.task_inputs without a run behind them",
}
"""Path in a state event -> the row of WITHHELD that excuses it from being put out."""


def lines(path: Path) -> list[bytes]:
    if path.suffix == ".json":
        return [path.read_bytes()]
    return (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).splitlines()


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield from leaves(member, f"{path}.{key}" if path else str(key))
    if not isinstance(value, dict | list) and value not in (None, ""):
        yield path, value


def untold(record: Any, event: AnyEvent) -> Iterator[str]:
    """Paths of a record whose value is neither in its event nor excused by a table."""
    told = json.dumps(msgspec.to_builtins(event), ensure_ascii=False).replace("\\\\", "\\").replace('\\"', '"')
    withholds = family(record["event"]).withholds
    is_state = isinstance(event, PhaseChange) or "prefect.state-type" in record["resource"]
    seen_roles: set[str] = set()
    for index, related in enumerate(record["related"]):
        name = related["prefect.resource.role"]
        if name in seen_roles and name in ("flow-run", "flow"):
            record["related"][index] = {}
        seen_roles.add(name)
    for path, value in leaves(record):
        if path == "occurred" or path.endswith("prefect.resource.role") or path == "event":
            continue
        if is_state and any(re.fullmatch(pattern, path) for pattern in WITHHELD_PATHS):
            continue
        if path == "received" or (path.startswith("payload.") and path.split(".")[1] in withholds):
            continue
        text = bare(value).removeprefix(TAG) if isinstance(value, str) else json.dumps(value)
        if json.dumps(text, ensure_ascii=False)[1:-1].replace('\\"', '"') not in told:
            yield path


def test_every_excuse_is_a_row_of_the_table() -> None:
    assert set(WITHHELD_PATHS.values()) <= {what for what, _ in WITHHELD}


@needs_corpus
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_captured_record_is_decoded_and_all_of_it_told(path: Path) -> None:
    missing: dict[str, set[str]] = defaultdict(set)
    for line in lines(path):
        events = decode(line)
        if path.suffix == ".json":
            answers = json.loads(line)
            alive = [one for kind in answers.values() for one in kind.values() if "_status" not in one]
            assert len(events) == len(alive)
            continue
        (event,) = events
        record = json.loads(line)
        assert event.id == record["id"]
        for where in untold(record, event):
            missing[record["event"]].add(where)
    assert dict(missing) == {}
