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


def same(left: Any, right: Any) -> bool:
    """Equal in value and in type all the way down; NaN is itself."""
    if isinstance(left, msgspec.Struct):
        return type(left) is type(right) and same(msgspec.structs.asdict(left), msgspec.structs.asdict(right))
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    return bool(left == right)


def is_plain(value: Any) -> bool:
    """Whether msgpack holds the value as it is."""
    try:
        msgspec.msgpack.encode(value)
    except (UnicodeEncodeError, OverflowError):
        return False
    return True


@given(EVENTS)
def test_what_msgpack_can_hold_comes_back_as_it_was(original: AnyEvent) -> None:
    if is_plain(original):
        assert same(unpack(original.run, pack(original)), original)


@given(EVENTS)
def test_the_rest_is_made_plain_once_and_then_stays(original: AnyEvent) -> None:
    plain_copy = plain(original)
    assert is_plain(plain_copy)
    assert type(plain_copy) is type(original)
    assert same(unpack(plain_copy.run, pack(plain_copy)), plain_copy)
    assert same(plain(plain_copy), plain_copy)


@given(st.text(st.characters(exclude_categories=()), max_size=5), st.integers())
@example("\ud800", 2**64)
@example("plain", 10**5000)
def test_only_what_cannot_be_held_is_changed(text: str, number: int) -> None:
    original = Log(id="1", time=5, run=run(), message=text, attributes={"n": number, "t": True})
    plain_copy = plain(original)
    assert isinstance(plain_copy, Log)
    assert plain_copy.message == text.encode("utf-8", "replace").decode()
    packed_value = plain_copy.attributes["n"]
    assert (
        packed_value == number
        if -(2**63) <= number < 2**64
        else isinstance(packed_value, str) and int(packed_value, 0) == number
    )
    assert plain_copy.attributes["t"] is True


def test_numbers_that_must_stay_numbers_stop_at_64_bits() -> None:
    plain_copy = plain(Stat(id="1", time=2**70, run=run(), name="loss", value=10**400, step=-(2**70)))
    assert isinstance(plain_copy, Stat)
    assert (plain_copy.time, plain_copy.value, plain_copy.step) == (2**63 - 1, math.inf, -(2**63))


@given(RUNS)
def test_a_run_is_made_plain_only_where_it_must(original: Any) -> None:
    assert (plain_run(original) is original) == is_plain(original)
    assert is_plain(plain_run(original))


CHUNKS = st.lists(EVENTS.map(plain), max_size=4)


def sealed(events: list[AnyEvent], closings: list[Closing]) -> bytes:
    runs = list(dict.fromkeys(event.run for event in events))
    index = [runs.index(event.run) for event in events]
    return seal_chunk(7 << PLACE_BITS, key(), runs, index, pack_all(events), closings)


@given(CHUNKS, st.lists(st.builds(Closing, st.just("a"), st.just("task"), st.integers(0, 9)), max_size=2))
def test_a_chunk_comes_back_with_each_event_in_its_run(events: list[AnyEvent], closings: list[Closing]) -> None:
    records = [event.id.encode() if at % 2 else None for at, event in enumerate(events)]
    packed_value = seal_records(records)
    chunk = read_chunk(7, sealed(events, closings), None if packed_value is None else bytes(packed_value))
    assert (chunk.seq, chunk.key, chunk.closings) == (7, key(), closings)
    assert same(chunk.events, events)
    assert chunk.records == (records if packed_value else [None] * len(events))


@given(st.lists(st.none() | st.sampled_from([b"", b"a", b"b" * 300]), max_size=6))
def test_records_come_back_beside_their_events(records: list[bytes | None]) -> None:
    packed_value = seal_records(records)
    assert (packed_value is None) == (not any(record is not None for record in records))
    assert packed_value is None or open_records(bytes(packed_value)) == records


def test_a_record_that_neighbours_share_is_kept_once() -> None:
    record = bytes(10_000)
    packed_value = seal_records([record, record, None, record])
    assert packed_value is not None
    assert len(packed_value) < 11_000
    assert open_records(bytes(packed_value)) == [record, record, None, record]


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
    original, again, content, other_run = event(), event(), event(size=1), event("r2")
    runs = [e.run for e in (original, again, content, other_run)]
    numbers = marks(list(map(hash, runs)), pack_all([original, again, content, other_run]))
    assert numbers[0] == numbers[1]
    assert len(set(numbers)) == 3
