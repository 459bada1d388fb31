"""``current_context()``: what a task tells of itself comes out as metrics, logs and attributes of its own run."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog

import otel_events
from otel_events import OutputMetadata, SerializableToString, current_context, env_context, task
from otel_events.inprocess import process
from otel_events.inprocess.faults import faults
from otel_events.tasks import stats as stats_module
from otel_events.testing import CaptureServer
from tests.patience import PATIENCE


@pytest.fixture(scope="module")
def receiver() -> Iterator[CaptureServer]:
    with CaptureServer() as server:
        yield server


@pytest.fixture
def collector(receiver: CaptureServer, tmp_path: Path) -> Iterator[CaptureServer]:
    receiver.clear()
    otel_events.configure(tmp_path / "journal.db", environ=receiver.environ("http/protobuf"))
    yield receiver
    process.shutdown()


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
    process.shutdown()
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
    process.shutdown()
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
    process.shutdown()
    [span] = collector.spans()
    plain, bound = (one for one in collector.logs() if one.attributes.get("logger") == "otel_events.user")
    assert (plain.body, plain.severity_text, plain.attributes["rows"]) == ("read a.csv", "WARN", 3)
    assert (bound.body, bound.severity_text, bound.attributes["path"]) == ("read", "INFO", "b.csv")
    assert {(one.trace_id, one.span_id) for one in (plain, bound)} == {(span.trace_id, span.span_id)}
    [record] = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert vars(record)["trace_id"] == span.trace_id.hex()
    assert vars(record)["span_id"] == span.span_id.hex()


# --- stats -----------------------------------------------------------------------------------------------------------


def stats_of(collector: CaptureServer, name: str) -> dict[str, float]:
    """Family less what all have -> value, or sum of a histogram, of one definition."""
    process.shutdown()
    found = [one for one in collector.metrics() if one.labels.get("name") == name and "_stat_" in one.name]
    return {one.name.removeprefix("otel_events_stat_"): one.value or one.sum for one in found}


def test_timers_measure_blocks_functions_and_by_hand(collector: CaptureServer) -> None:
    @task(name="times")
    def times() -> None:
        stats = current_context().stats
        with stats.timer("block") as block:
            time.sleep(0)
        assert block.ms

        @stats.timer("function")
        def double(number: int) -> int:
            return number * 2

        assert (double(2), double(3), double.__name__) == (4, 6, "double")
        with pytest.raises(ValueError, match="within"), stats.timer("failed"):
            raise ValueError("within")
        by_hand = stats.timer("by.hand").start().stop(send=False)
        by_hand.send()
        by_hand.send()
        stats.timing("delta", timedelta(seconds=2))

    times()
    process.shutdown()
    counts = {one.name: one.count for one in collector.metrics() if one.labels.get("name") == "times" and one.count}
    told = {name.removeprefix("otel_events_stat_"): count for name, count in counts.items() if "_stat_" in name}
    assert told == {
        "block_seconds": 1,
        "function_seconds": 2,
        "failed_seconds": 1,
        "by_hand_seconds": 1,
        "delta_seconds": 1,
    }


def test_scopes_and_pipelines(collector: CaptureServer) -> None:
    @task(name="scoped")
    def scoped() -> None:
        stats = current_context().stats
        reader = stats.get_stats("reader")
        reader.incr("rows", 2)
        with stats.pipeline() as several:
            several.incr("rows")
            several.incr("rows")
            several.gauge("depth", 3)
        waits = reader.pipeline()
        waits.incr("rows", 100)  # never sent

    scoped()
    assert stats_of(collector, "scoped") == {"reader_rows_total": 2, "rows_total": 2, "depth": 3}


def test_tags_become_labels_where_they_are_allowed(receiver: CaptureServer, tmp_path: Path) -> None:
    receiver.clear()
    environ = receiver.environ("http/protobuf") | {"OTEL_EVENTS_STAT_TAGS": "region, stage"}
    otel_events.configure(tmp_path / "tags.db", environ=environ)

    @task(name="tagged")
    def tagged() -> None:
        stats = current_context().stats
        stats.extend_tags({"region": "eu", "user": "17"})
        stats.incr("rows", tags={"stage": 2})
        stats.clear_tags()
        stats.incr("rows")

    tagged()
    process.shutdown()
    points = [one for one in receiver.metrics() if one.name == "otel_events_stat_rows_total"]
    labels = [{key: one.labels.get(key, "") for key in ("region", "stage", "user")} for one in points]
    assert {"region": "eu", "stage": "2", "user": ""} in labels
    assert {"region": "", "stage": "", "user": ""} in labels
    assert len(labels) == 2


class Mute:
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __float__ = __hash__ = __str__  # type: ignore[assignment]  # whatever it is asked


def test_a_stats_call_that_fails_is_counted_and_logged_once(
    collector: CaptureServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_events.inprocess.faults._faults", {})
    mute: Any = Mute()

    @task(name="mistaken")
    def mistaken() -> str:
        stats = current_context().stats
        stats.incr("rows", mute)
        stats.gauge("rows", "many")  # type: ignore[arg-type]  # the mistake itself
        stats.timing("took", mute)
        stats.set("users", mute)
        stats.incr("rows", tags=7)  # type: ignore[arg-type]  # as above
        stats.extend_tags(mute)
        stats.incr(mute)
        return "whole"

    assert mistaken() == "whole"
    assert faults()[stats_module.FAULT] == 7
    assert len([one for one in caplog.records if stats_module.FAULT in one.getMessage()]) == 1
    process.shutdown()
    [span] = collector.spans()
    assert span.attributes["otel_events.outcome"] == "succeeded"
    counted = {one.labels["what"]: one.value for one in collector.metrics() if one.name == "otel_events_faults_total"}
    assert counted[stats_module.FAULT] == 7


# --- logging ---------------------------------------------------------------------------------------------------------


def test_a_handler_that_raises_is_counted_and_logged_once(
    collector: CaptureServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_events.inprocess.faults._faults", {})

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("no room")

    def broken(logger: object, method: str, event: Any) -> Any:
        raise OSError("no room")

    @task(name="talks")
    def talks() -> str:
        for number in range(3):
            current_context().logging.warning("line %d", number)
            current_context().logger.warning("bound", number=number)
        current_context().logging.warning("odd %d %s", "x", extra={"value": Mute()})
        return "whole"

    handler = Broken()
    logging.getLogger("otel_events.user").addHandler(handler)
    before = structlog.get_config()
    structlog.configure(processors=[broken])
    try:
        assert talks() == "whole"
    finally:
        structlog.configure(**before)
        logging.getLogger("otel_events.user").removeHandler(handler)
    assert faults()["a logging handler"] == 4
    assert faults()["a structlog processor"] == 3
    for what in ("a logging handler", "a structlog processor"):
        assert len([one for one in caplog.records if f"{what} failed" in one.getMessage()]) == 1
    process.shutdown()
    bodies = [one.body for one in collector.logs() if one.attributes.get("logger") == "otel_events.user"]
    assert bodies == [*["line 0", "bound", "line 1", "bound", "line 2", "bound"], "odd %d %s"]
    [span] = collector.spans()
    assert span.attributes["otel_events.outcome"] == "succeeded"


def test_the_level_is_that_of_the_loggers_name(collector: CaptureServer) -> None:
    user = logging.getLogger("otel_events.user")

    @task(name="talks")
    def talks() -> None:
        context = current_context()
        for level in (logging.WARNING, logging.DEBUG):
            user.setLevel(level)
            context.logging.info("plain at %d", level)
            context.logger.info(f"bound at {level}")

    before = user.level
    try:
        talks()
    finally:
        user.setLevel(before)
    process.shutdown()
    bodies = {one.body for one in collector.logs() if one.attributes.get("logger") == "otel_events.user"}
    assert bodies == {"plain at 10", "bound at 10"}


def test_an_exception_in_a_line_is_told_as_one(collector: CaptureServer) -> None:
    @task(name="talks")
    def talks() -> None:
        try:
            raise KeyError("lost")
        except KeyError:
            current_context().logging.exception("plain")
            current_context().logger.exception("bound")

    talks()
    process.shutdown()
    lines = [one for one in collector.logs() if one.body in ("plain", "bound")]
    assert [one.attributes["exception.type"] for one in lines] == ["KeyError", "KeyError"]
    assert all("lost" in str(one.attributes["exception.stacktrace"]) for one in lines)


# --- output metadata -------------------------------------------------------------------------------------------------


class Rows:
    def __init__(self, count: int) -> None:
        self.count = count

    def serialize_to_string(self, ctx: object, variable_name: str) -> tuple[str, str]:
        if self.count < 0:
            raise ValueError("no rows")
        return f"rows_{variable_name}", str(self.count)


def outputs(span: Any) -> dict[str, object]:
    prefix = "otel_events.output."
    return {key.removeprefix(prefix): value for key, value in span.attributes.items() if key.startswith(prefix)}


def test_what_is_said_of_outputs_is_on_the_span_by_variable(collector: CaptureServer) -> None:
    class Pair(NamedTuple):
        table: list[int]
        model: list[int]

    @task(name="one")
    def one() -> list[int]:
        made = [1]
        when = datetime(2026, 11, 21, tzinfo=UTC)
        said = OutputMetadata(dynamic_partitions={"region": "eu"}, time_partition=when, additional_items=[Rows(1)])
        current_context().output_metadata_tracker.add(made, said)
        assert current_context().output_metadata_tracker.get(made) is said
        return made

    @task(name="pair")
    def pair(kind: Any) -> Any:
        tracker, first, second, lost = current_context().output_metadata_tracker, [1], [2], [3]
        tracker.add(second, OutputMetadata(additional_items=[Rows(2)]))
        tracker.add(lost, OutputMetadata(dynamic_partitions={"kept": "no"}))
        return kind(first, second)

    one()
    pair(Pair)
    pair(lambda *both: both)
    pair(lambda first, second: {"a": first, "b": second})
    process.shutdown()
    assert isinstance(Rows(1), SerializableToString)
    alone, named, plain, mapped = sorted(collector.spans(), key=lambda span: span.start)
    assert outputs(alone) == {
        "o0.partition.region": "eu",
        "o0.time_partition": "2026-11-21T00:00:00+00:00",
        "o0.rows_o0": "1",
    }
    assert outputs(named) == {"model.rows_model": "2"}
    assert outputs(plain) == {"o1.rows_o1": "2"}
    assert outputs(mapped) == {"b.rows_b": "2"}
    moments = [event for event in named.events if event.name == "otel_events.output"]
    assert [dict(event.attributes).get("otel_events.output.name") for event in moments] == ["model", None]


def test_an_item_that_fails_is_left_out_and_counted(
    collector: CaptureServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_events.inprocess.faults._faults", {})

    @task(name="one")
    def one() -> list[int]:
        made = [1]
        said = OutputMetadata(additional_items=[Rows(-1), Rows(1), object()])  # type: ignore[list-item]  # the mistake
        current_context().output_metadata_tracker.add(made, said)
        return made

    assert one() == [1]
    process.shutdown()
    assert outputs(collector.spans()[0]) == {"o0.rows_o0": "1"}
    assert faults()["output metadata of a task"] == 2
    assert len([record for record in caplog.records if "output metadata" in record.getMessage()]) == 1


# --- other processes -------------------------------------------------------------------------------------------------


def test_variables_for_a_child_are_those_that_the_command_derives(collector: CaptureServer) -> None:
    @task(name="parent")
    def parent() -> dict[str, str]:
        return env_context()

    told = parent()
    process.shutdown()
    [span] = collector.spans()
    assert told["TRACEPARENT"] == f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01"
    run = json.loads(told["OTEL_EVENTS_PARENT"])
    command = [sys.executable, "-m", "otel_events", "context", "--json", "--source", "python", "--kind", "task"]
    done = subprocess.run([*command, "--id", run["id"]], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert json.loads(done.stdout)["TRACEPARENT"] == told["TRACEPARENT"]


def test_outside_of_any_run_there_is_nothing_to_pass_on() -> None:
    assert env_context() == {}
