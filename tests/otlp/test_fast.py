"""The short ways to bytes give, byte for byte, what the long ones give."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events.core.logs import log
from otel_events.core.spans import Context, span
from otel_events.core.traces import close_all, log_events
from otel_events.model.errors import DecodeError
from otel_events.model.event import AnyEvent
from otel_events.otlp import encode_log, encode_span
from otel_events.otlp.fast import Logs, Spans
from otel_events.sources import decoder
from tests.gateway.kit import cases, records
from tests.strategies import roots


def compare(events: list[AnyEvent], spans: Spans, logs: Logs) -> None:
    closed, rest = close_all(events)
    for ended in closed:
        expected = encode_span(span(ended.attempt, ended.where, ended.outcome, ended.previous))
        assert spans.encode(ended.attempt, ended.where, ended.outcome, ended.previous) == expected
    nowhere = Context(b"t" * 16, b"s" * 8)
    for attempt, where in [(ended.attempt, ended.where) for ended in closed] + [(ended, nowhere) for ended in rest]:
        for event, late in log_events(attempt):
            for first in (True, False):
                expected = encode_log(log(event, where.trace_id, where.span_id, attempt.run.attempt, late, full=first))
                assert logs.record(event, where, attempt.run.attempt, first, late) == expected


@given(st.lists(roots(), min_size=1, max_size=3))
def test_any_events(several: list[list[AnyEvent]]) -> None:
    spans, logs = Spans(), Logs()
    for events in several * 2:
        compare(events, spans, logs)


@pytest.mark.parametrize(("source", "path"), cases())
def test_captured_events(source: str, path: Path) -> None:
    spans, logs, decode = Spans(), Logs(), decoder(source)
    by_root: dict[str, list[AnyEvent]] = {}
    for record in records(source, path):
        with suppress(DecodeError):
            for event in decode(record.body, record.hint):
                by_root.setdefault(event.run.root, []).append(event)
    for events in by_root.values():
        compare(events, spans, logs)
