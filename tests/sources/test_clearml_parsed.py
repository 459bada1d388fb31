"""A call that was parsed already gives the same events and dead letters as its recorded bytes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events.intake.ingest import Batch, decode_parsed, decode_records
from otel_events.model.record import ParsedRecord, Record
from otel_events.sources.clearml.decode import AnsweredCall, decode, events_of, parsed_record, recorded

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "clearml"
CASES = sorted(path.name for path in GOLDEN.iterdir())


def unwrapped(part: Any) -> Any:
    """A part of a record that is an object, or a text with JSON or JSON lines."""
    if not isinstance(part, str):
        return part
    try:
        lines = [msgspec.json.decode(line) for line in part.split("\n") if line.strip()]
    except msgspec.DecodeError:
        return {}  # the capture has cut it
    return lines[0] if len(lines) == 1 else {"events": lines}


def calls(case: str) -> list[AnsweredCall]:
    records = map(msgspec.json.decode, (GOLDEN / case / "records.jsonl").read_bytes().splitlines())
    return [
        AnsweredCall(
            record["t"],
            record["endpoint"],
            unwrapped(record.get("body", {})),
            (unwrapped(record.get("resp", {})) or {}).get("data"),
            record.get("version", ""),
            record.get("worker", ""),
        )
        for record in records
        if record.get("status", 200) == 200
    ]


@pytest.mark.parametrize("case", CASES)
def test_captured_calls_give_the_same_either_way(case: str) -> None:
    events = [event for call in calls(case) for event in events_of(call)]
    assert events == [event for call in calls(case) for event in decode(recorded(call))]
    assert len(events) > 3


def both(call: AnsweredCall, keep: bool = False) -> tuple[Batch, Batch]:
    as_bytes = decode_records("clearml", decode, [Record(recorded(call), where=call.endpoint)], keep)
    return decode_parsed("clearml", [parsed_record(call)], keep), as_bytes


odd = st.one_of(st.none(), st.integers(-(2**63), 2**63), st.floats(), st.text("a1é", max_size=3), st.booleans())
names = st.sampled_from(("type", "metric", "variant", "iter", "timestamp", "ts", "value", "values", "msg", "level"))
reported = st.dictionaries(names, odd | st.lists(odd, max_size=2), max_size=8).map(
    lambda fields: {"task": "t", "type": "training_stats_scalar"} | fields
)
bodies = st.one_of(
    st.builds(lambda events: {"events": events}, st.lists(reported, max_size=6)),
    reported,
    st.dictionaries(st.sampled_from(("task", "name", "tags", "force")), odd | st.lists(odd, max_size=2)),
)
endpoints = st.sampled_from(("events.add", "events.add_batch", "tasks.started", "tasks.edit", "models.create", "x.y"))
answers = st.sampled_from(
    (None, {}, {"id": "t"}, {"updated": 0}, {"errors_info": {"why": 2}}, {"fields": {"status": "failed"}}, [1])
)


@given(st.builds(AnsweredCall, st.sampled_from((1.7e9, 0.0, math.nan)), endpoints, bodies, answers), st.booleans())
def test_any_call_gives_the_same_either_way(call: AnsweredCall, keep: bool) -> None:
    parsed, as_bytes = both(call, keep)
    if math.isnan(call.t):  # JSON has no such time, so only the reasons differ
        assert [letter.record for letter in parsed.dead] == [letter.record for letter in as_bytes.dead]
        assert parsed.events == as_bytes.events == []
    else:
        assert parsed == as_bytes


def test_secrets_are_redacted_in_events_kept_bytes_and_dead_letters() -> None:
    event = {"type": "log", "task": "t", "msg": "password=hunter22 x"}
    parsed, as_bytes = both(AnsweredCall(1.7e9, "events.add_batch", {"events": [event]}), keep=True)
    assert parsed == as_bytes
    assert "hunter22" not in repr(parsed)
    dead, _ = both(AnsweredCall(0.0, "events.add_batch", {"events": [event]}))
    assert len(dead.dead) == 1
    assert "hunter22" not in repr(dead)


def test_the_bytes_of_a_call_are_made_only_where_they_are_stored() -> None:
    encoded: list[bytes] = []

    def encode() -> bytes:
        encoded.append(b"{}")
        return encoded[-1]

    decode_parsed("clearml", [ParsedRecord(lambda: [], encode)], keep=True)
    assert encoded == []
    batch = decode_parsed("clearml", [ParsedRecord(lambda: [][0], encode)])
    assert [letter.record for letter in batch.dead] == encoded == [b"{}"]
