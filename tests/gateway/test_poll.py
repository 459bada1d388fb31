"""Polling: records into the gateway, moved on only once they are kept; trouble told once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from otel_events.gateway.gateway import Accepted, Gateway
from otel_events.gateway.poll import Poll
from otel_events.intake.records import Record, Refused
from otel_events.journal import Journal
from otel_events.model.errors import JournalError, SourceError
from otel_events.sources.source import Polled
from tests.gateway.kit import change, run_of
from tests.patience import PATIENCE
from tests.server.serving import gateway

EVENT = msgspec.json.encode(change(run_of("a", kind="workflow"), "running", 0))


class Place:
    """Gives what it is told to give, until that is kept."""

    def __init__(self, *given: tuple[str, bytes] | Exception) -> None:
        self.given, self.polled, self.seen = list(given), 0, threading.Event()

    def poll(self, now: int) -> Sequence[tuple[str, bytes]]:
        self.polled += 1
        self.seen.set()
        if self.given and isinstance(self.given[0], Exception):
            raise self.given.pop(0)  # type: ignore[misc]  # an exception, as checked
        return [one for one in self.given if isinstance(one, tuple)]

    def acknowledge(self) -> None:
        self.given = []


def kept(path: Path) -> int:
    with Journal.reader(path) as reader:
        return reader.stats().events


def test_records_are_kept_then_the_place_moves_on(tmp_path: Path) -> None:
    path, place = tmp_path / "j.db", Place(("here", EVENT))
    with gateway(path) as made:
        poll = Poll(made, [Polled("events", place, "here")], 1)
        poll.round()
        poll.round()
        assert (place.given, place.polled, kept(path)) == ([], 2, 1)


def test_what_the_journal_did_not_take_is_offered_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, place = tmp_path / "j.db", Place(("here", EVENT))
    with gateway(path) as made:
        poll = Poll(made, [Polled("events", place, "here")], 1)
        with monkeypatch.context() as full:

            def ingest(self: Gateway, source: str, records: Sequence[Record | Refused]) -> Accepted:
                raise JournalError("the disk is full")

            full.setattr(Gateway, "ingest", ingest)
            poll.round()
        assert place.given
        poll.round()
        assert (place.given, kept(path)) == ([], 1)


def test_trouble_of_a_place_is_told_once_and_costs_it_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "j.db"
    down = [SourceError("no answer"), SourceError("no answer"), SourceError("other"), ValueError("a fault")]
    bad, good = Place(*down, ("here", EVENT)), Place(("there", EVENT))
    with gateway(path) as made:
        poll = Poll(made, [Polled("events", bad, "bad"), Polled("events", good, "good")], 1)
        for _ in range(5):
            poll.round()
        assert kept(path) == 1  # the same event from both
    told = [record.getMessage() for record in caplog.records]
    assert told == ["polling bad: no answer", "polling bad: other", "polling bad failed; it is asked again"]


def test_the_thread_ends_when_stopped(tmp_path: Path) -> None:
    place = Place()
    with gateway(tmp_path / "j.db") as made:
        poll = Poll(made, [Polled("events", place, "here")], 3600)
        poll.start()
        assert place.seen.wait(PATIENCE)
        poll.stop()
        poll.stop()
    assert not [one for one in threading.enumerate() if one.name == "otel-events-poll"]


def test_a_gateway_that_closes_is_no_trouble(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with gateway(tmp_path / "j.db") as made:
        poll = Poll(made, [Polled("events", Place(("here", EVENT)), "here")], 1)
        made.drain_and_close(0)
        poll.round()
    assert caplog.records == []
