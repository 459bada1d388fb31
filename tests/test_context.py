"""``current_context()``: what a task tells of itself comes out as metrics, logs and attributes of its own run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

import otel_events
from otel_events import current_context, task
from otel_events.pipeline import live
from otel_events.testing import CaptureServer


@pytest.fixture(scope="module")
def receiver() -> Iterator[CaptureServer]:
    with CaptureServer() as server:
        yield server


@pytest.fixture
def collector(receiver: CaptureServer, tmp_path: Path) -> Iterator[CaptureServer]:
    receiver.clear()
    otel_events.configure(tmp_path / "journal.db", environ=receiver.environ("http/protobuf"))
    yield receiver
    live.shutdown()


def test_outside_of_any_run_it_is_harmless() -> None:
    context = current_context()
    assert (context.execution_id, context.task_id, context.attempt) == ("local", "local", 1)
    context.stats.incr("rows")
    context.logging.info("nobody's")
    assert context.decks == []


def test_ids_are_of_the_run(collector: CaptureServer) -> None:
    @task(name="step")
    def step() -> tuple[str, str, str, int]:
        context = current_context()
        assert current_context() is context
        return context.execution_id, context.task_id, context.run_id, context.attempt

    execution, name, run, attempt = step()
    assert (name, attempt) == ("step", 1)
    assert execution == run
    live.shutdown()
    assert collector.spans()[0].attributes["otel_events.run.id"] == run


def test_numbers_become_families_labelled_with_the_definition(collector: CaptureServer) -> None:
    @task(name="counts")
    def counts() -> None:
        stats = current_context().stats
        stats.incr("rows", 3)
        stats.incr("rows", tags={"region": "eu"})
        stats.decr("rows", 2)
        stats.gauge("depth", 4)
        stats.gauge("depth", -1, delta=True)
        stats.timing("took", 1500)
        for value in ("a", "b", "a"):
            stats.set("users", value)

    counts()
    live.shutdown()
    found = {one.name: one for one in collector.metrics() if one.labels.get("name") == "counts" and "stat" in one.name}
    assert {name.removeprefix("otel_events_stat_"): one.value or one.sum for name, one in found.items()} == {
        "rows_total": 4,
        "rows_decr_total": 2,
        "depth": 3,
        "took_seconds": 1.5,
        "users": 2,
    }


def test_lines_carry_their_run(collector: CaptureServer, caplog: pytest.LogCaptureFixture) -> None:
    @task(name="talks")
    def talks() -> None:
        current_context().logging.warning("read %s", "a.csv", extra={"rows": 3})
        current_context().logger.info("read", path="b.csv")

    talks()
    live.shutdown()
    [span] = collector.spans()
    plain, bound = (one for one in collector.logs() if one.attributes.get("logger") == "otel_events.user")
    assert (plain.body, plain.severity_text, plain.attributes["rows"]) == ("read a.csv", "WARN", 3)
    assert (bound.body, bound.severity_text, bound.attributes["path"]) == ("read", "INFO", "b.csv")
    assert {(one.trace_id, one.span_id) for one in (plain, bound)} == {(span.trace_id, span.span_id)}
    [record] = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert vars(record)["trace_id"] == span.trace_id.hex()
    assert vars(record)["span_id"] == span.span_id.hex()
