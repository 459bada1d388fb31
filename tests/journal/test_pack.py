"""An event that was packed is the same event; a chunk whose bytes changed says so."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_events.journal import pack, unpack
from otel_events.journal.pack import (
    Closing,
    UnreadableError,
    marks,
    open_records,
    pack_all,
    plain,
    plain_run,
    read_chunk,
    seal_chunk,
    seal_records,
)
from otel_events.journal.schema import PLACE_BITS
from otel_events.model.event import AnyEvent, Log, Stat
from tests.journal.make import EVENTS, RUNS, event, key, run


def same(one: Any, other: Any) -> bool:
    """Equal in value and in type all the way down; NaN is itself."""
    if isinstance(one, msgspec.Struct):
        return type(one) is type(other) and same(msgspec.structs.asdict(one), msgspec.structs.asdict(other))
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    return bool(one == other)


def is_plain(value: Any) -> bool:
    """Whether msgpack holds the value as it is."""
    try:
        msgspec.msgpack.encode(value)
    except (UnicodeEncodeError, OverflowError):
        return False
    return True


@given(EVENTS)
def test_what_msgpack_can_hold_comes_back_as_it_was(one: AnyEvent) -> None:
    if is_plain(one):
        assert same(unpack(one.run, pack(one)), one)


@given(EVENTS)
def test_the_rest_is_made_plain_once_and_then_stays(one: AnyEvent) -> None:
    made = plain(one)
    assert is_plain(made)
    assert type(made) is type(one)
    assert same(unpack(made.run, pack(made)), made)
    assert same(plain(made), made)


@given(st.text(st.characters(exclude_categories=()), max_size=5), st.integers())
@example("\ud800", 2**64)
@example("plain", 10**5000)
def test_only_what_cannot_be_held_is_changed(text: str, number: int) -> None:
    one = Log(id="1", time=5, run=run(), message=text, attributes={"n": number, "t": True})
    made = plain(one)
    assert isinstance(made, Log)
    assert made.message == text.encode("utf-8", "replace").decode()
    kept = made.attributes["n"]
    assert kept == number if -(2**63) <= number < 2**64 else isinstance(kept, str) and int(kept, 0) == number
    assert made.attributes["t"] is True


def test_numbers_that_must_stay_numbers_stop_at_64_bits() -> None:
    made = plain(Stat(id="1", time=2**70, run=run(), name="loss", value=10**400, step=-(2**70)))
    assert isinstance(made, Stat)
    assert (made.time, made.value, made.step) == (2**63 - 1, math.inf, -(2**63))


@given(RUNS)
def test_a_run_is_made_plain_only_where_it_must(one: Any) -> None:
    assert (plain_run(one) is one) == is_plain(one)
    assert is_plain(plain_run(one))


CHUNKS = st.lists(EVENTS.map(plain), max_size=4)


def sealed(events: list[AnyEvent], closings: list[Closing]) -> bytes:
    runs = list(dict.fromkeys(one.run for one in events))
    index = [runs.index(one.run) for one in events]
    return seal_chunk(7 << PLACE_BITS, key(), runs, index, pack_all(events), closings)


@given(CHUNKS, st.lists(st.builds(Closing, st.just("a"), st.just("task"), st.integers(0, 9)), max_size=2))
def test_a_chunk_comes_back_with_each_event_in_its_run(events: list[AnyEvent], closings: list[Closing]) -> None:
    records = [one.id.encode() if at % 2 else None for at, one in enumerate(events)]
    kept = seal_records(records)
    chunk = read_chunk(7, sealed(events, closings), None if kept is None else bytes(kept))
    assert (chunk.seq, chunk.key, chunk.closings) == (7, key(), closings)
    assert same(chunk.events, events)
    assert chunk.records == (records if kept else [None] * len(events))


@given(st.lists(st.none() | st.sampled_from([b"", b"a", b"b" * 300]), max_size=6))
def test_records_come_back_beside_their_events(records: list[bytes | None]) -> None:
    kept = seal_records(records)
    assert (kept is None) == (not any(record is not None for record in records))
    assert kept is None or open_records(bytes(kept)) == records


def test_a_record_that_neighbours_share_is_kept_once() -> None:
    record = bytes(10_000)
    kept = seal_records([record, record, None, record])
    assert kept is not None
    assert len(kept) < 11_000
    assert open_records(bytes(kept)) == [record, record, None, record]


@given(st.integers(0), st.integers(0, 7))
def test_one_changed_bit_of_a_chunk_is_noticed(at: int, bit: int) -> None:
    body = bytearray(sealed([event(size=40), event(number=1)], [Closing("r1/a", "task", 1)]))
    body[at % len(body)] ^= 1 << bit
    with pytest.raises(UnreadableError):
        read_chunk(7, bytes(body))


@pytest.mark.parametrize("body", [b"", b"\0\0\0\0", b"abc"])
def test_a_cut_chunk_is_noticed(body: bytes) -> None:
    with pytest.raises(UnreadableError):
        read_chunk(7, body)


def test_a_chunk_in_the_place_of_another_commit_is_noticed() -> None:
    with pytest.raises(UnreadableError, match="of commit 7 stands in the place of one of 8"):
        read_chunk(8, sealed([event()], []))


def test_marks_are_equal_for_exact_repeats_only() -> None:
    one, again, content, other_run = event(), event(), event(size=1), event("r2")
    runs = [e.run for e in (one, again, content, other_run)]
    found = marks(list(map(hash, runs)), pack_all([one, again, content, other_run]))
    assert found[0] == found[1]
    assert len(set(found)) == 3
