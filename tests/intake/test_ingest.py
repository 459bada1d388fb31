"""Records to events that may reach the disk: a bad record costs itself only, and nothing secret is kept."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events.intake.ingest import decode_records
from otel_events.intake.records import Record, Refused
from otel_events.journal import Journal
from otel_events.model.errors import DecodeError
from otel_events.model.event import AnyEvent
from otel_events.sources.events.decode import decode
from tests.gateway.kit import World, change, line, recorded, run_of

SECRET = "hunter2-and-more"  # noqa: S105  # looked for in what is kept
KEY = "AKIAIOSFODNN7EXAMPLE"


def test_events_letters_and_records_come_out_in_order() -> None:
    run = run_of("w")
    good = recorded([change(run, "running", 1), line(run, "hello", 2)])
    batch = decode_records(
        "events", decode, [good[0], Record(b"{", "", "x:2"), Refused("x:3", "long", b"h", 7), good[1]]
    )
    assert batch.records == 4
    assert [event.id for event in batch.events] == ["w:1:running:1", "w:hello"]
    assert [(one.where, one.record, one.length) for one in batch.dead] == [("x:2", b"{", 1), ("x:3", b"h", 7)]
    assert batch.masked == []


def test_records_are_kept_masked_beside_the_first_of_their_events() -> None:
    def pairs(record: bytes, hint: str) -> list[AnyEvent]:
        return decode(record, hint) * 2

    event = line(run_of("w"), f"password={SECRET}", 1)
    none: list[AnyEvent] = []
    batch = decode_records("events", pairs, recorded([event]), keep=True)
    assert len(batch.events) == len(batch.masked) == 2
    assert batch.masked[0] is not None
    assert SECRET.encode() not in batch.masked[0]
    assert batch.masked[1] is None
    assert decode_records("events", lambda record, hint: none, recorded([event]), keep=True).masked == []


def test_a_fault_of_a_decoder_is_one_dead_letter() -> None:
    def faulty(record: bytes, hint: str) -> list[AnyEvent]:
        if b"hello" in record:
            raise KeyError("unforeseen")
        return decode(record, hint)

    run = run_of("w")
    batch = decode_records("events", faulty, recorded([line(run, "hello", 1), line(run, "there", 2)]))
    assert [event.id for event in batch.events] == ["w:there"]
    assert "KeyError" in batch.dead[0].reason
    assert "please report" in batch.dead[0].reason


def test_secrets_reach_neither_events_nor_letters_nor_reasons(world: World) -> None:
    run = run_of("w")
    event = msgspec.structs.replace(line(run, f"login with {KEY}", 1), attributes={"db_password": SECRET})
    bad = Record(b'{"id": 1, "password": "%s", "key": "%s"}' % (SECRET.encode(), KEY.encode()), "", "x:1")

    def quoting(record: bytes, hint: str) -> list[AnyEvent]:
        raise DecodeError(f"not ours: token={SECRET}")

    assert SECRET not in decode_records("events", quoting, [bad]).dead[0].reason
    gateway = world.open()
    gateway.ingest("events", [*recorded([event]), bad])
    world.wait(gateway, 1)
    gateway.drain_and_close(1)
    held = b"".join(path.read_bytes() for path in world.path.parent.iterdir() if path.is_file())
    sent = b"".join(request.body for request in world.collector.requests)
    assert b"login with" in sent
    for secret in (SECRET.encode(), KEY.encode()):
        assert secret not in held
        assert secret not in sent


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_no_bytes_raise(bodies: list[bytes]) -> None:
    batch = decode_records("events", decode, [Record(body, "", str(at)) for at, body in enumerate(bodies)])
    assert len(batch.dead) == len(bodies)
    assert [one.where for one in batch.dead] == [str(at) for at in range(len(bodies))]


def test_records_are_not_kept_unless_asked_for(tmp_path: Path, world: World) -> None:
    gateway = world.open()
    gateway.ingest("events", recorded([line(run_of("w"), "hello", 1)]))
    gateway.drain_and_close(1)
    with Journal.reader(world.path) as reader:
        [(_, chunks)] = reader.commits()
    assert [chunk.records for chunk in chunks.values()] == [[None]]


@pytest.mark.parametrize("count", [0, 1])
def test_an_empty_batch_is_nothing(count: int, world: World) -> None:
    gateway = world.open()
    taken = gateway.ingest("events", recorded([line(run_of("w"), "hello", 1)] * count))
    assert (taken.accepted, taken.duplicates, taken.refused) == (count, 0, [])
    assert gateway.health().last_seq == count
