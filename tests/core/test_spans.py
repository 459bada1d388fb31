"""A closed attempt as a span: every name of the design's section 5, to the letter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from otel_events.core.fold import attempts
from otel_events.core.logs import log
from otel_events.core.spans import Context, span
from otel_events.model import telemetry
from otel_events.model.event import MOMENTS, PHASES, AnyEvent, Error, Link, Log, PhaseChange, Report, Run, Scalar
from otel_events.model.identity import span_id, trace_id
from otel_events.model.telemetry import SpanData, SpanEvent, SpanLink
from tests.strategies import SECOND, START

FLOW = Run("flyte", "workflow", "p/d/x", "my flow", "p/d/x", None, 1, "p/d", "my.flow")
NODE = Run("flyte", "node", "p/d/x/n0", "n0", "p/d/x", "p/d/x", 1, "p/d", "my.flow", "workflow")
TASK = Run("flyte", "task", "p/d/x/n0/t", "train", "p/d/x", "p/d/x/n0", 1, "p/d", "my.flow", "node")
HERE = Context(b"t" * 16, b"s" * 8, b"p" * 8)


def change(run: Run, phase: str, second: float, **more: Any) -> PhaseChange:
    more.setdefault("id", f"{phase}{second}")
    return PhaseChange(time=START + int(second * SECOND), run=run, phase=phase, native=phase.upper(), **more)


def span_of(events: Sequence[AnyEvent], outcome: str | None = None, previous: Context | None = None) -> SpanData:
    (attempt,) = attempts(events)
    return span(attempt, HERE, attempt.outcome if outcome is None else outcome, previous)


def whole(run: Run, outcome: str = "succeeded", **more: Any) -> list[AnyEvent]:
    attributes: dict[str, Scalar] = {"flyte.project": "p", "otel_events.run.url": "https://flyte/x"}
    return [
        change(run, "pending", 1, attributes=attributes),
        change(run, "running", 2.5),
        change(run, outcome, 7, **more),
    ]


def test_a_root_workflow() -> None:
    data = span_of(whole(FLOW))
    assert (data.name, data.kind, data.status) == ("RUN my.flow", telemetry.SERVER, telemetry.UNSET)
    assert (data.start, data.end) == (START + SECOND, START + 7 * SECOND)
    assert (data.trace_id, data.span_id, data.parent_span_id) == (b"t" * 16, b"s" * 8, b"p" * 8)
    assert data.attributes == {
        "flyte.project": "p",
        "cicd.pipeline.name": "my.flow",
        "cicd.pipeline.run.id": "p/d/x",
        "cicd.pipeline.action.name": "RUN",
        "cicd.pipeline.result": "success",
        "cicd.pipeline.run.url.full": "https://flyte/x",
        "otel_events.source": "flyte",
        "otel_events.kind": "workflow",
        "otel_events.namespace": "p/d",
        "otel_events.run.id": "p/d/x",
        "otel_events.attempt": 1,
        "otel_events.outcome": "succeeded",
        "otel_events.phase.native": "SUCCEEDED",
        "otel_events.queue.duration": 1.5,
        "otel_events.run.duration": 4.5,
    }


def test_a_task_attempt() -> None:
    error = Error("OOMKilled", "no memory left", "user", "Traceback ...")
    data = span_of(whole(TASK, "failed", error=error))
    assert (data.name, data.kind) == ("train", telemetry.INTERNAL)
    assert (data.status, data.status_message) == (telemetry.ERROR, "no memory left")
    assert data.attributes == {
        "flyte.project": "p",
        "cicd.pipeline.name": "my.flow",
        "cicd.pipeline.run.id": "p/d/x",
        "cicd.pipeline.task.name": "train",
        "cicd.pipeline.task.run.id": "p/d/x/n0/t",
        "cicd.pipeline.task.run.result": "failure",
        "cicd.pipeline.task.run.url.full": "https://flyte/x",
        "error.type": "OOMKilled",
        "otel_events.error.kind": "user",
        "otel_events.source": "flyte",
        "otel_events.kind": "task",
        "otel_events.namespace": "p/d",
        "otel_events.run.id": "p/d/x/n0/t",
        "otel_events.attempt": 1,
        "otel_events.outcome": "failed",
        "otel_events.phase.native": "FAILED",
        "otel_events.queue.duration": 1.5,
        "otel_events.run.duration": 4.5,
    }
    assert data.events[-1] == SpanEvent(
        START + 7 * SECOND,
        "exception",
        {
            "exception.type": "OOMKilled",
            "exception.message": "no memory left",
            "exception.stacktrace": "Traceback ...",
        },
    )


@pytest.mark.parametrize(
    ("run", "name", "kind"),
    [
        (FLOW, "RUN my.flow", telemetry.SERVER),
        (msgspec.structs.replace(FLOW, workflow=""), "RUN my flow", telemetry.SERVER),
        (msgspec.structs.replace(FLOW, workflow="", name=""), "RUN", telemetry.SERVER),
        (msgspec.structs.replace(FLOW, id="p/d/x/sub", parent="p/d/x/n0"), "RUN my.flow", telemetry.INTERNAL),
        (NODE, "n0", telemetry.INTERNAL),
        (msgspec.structs.replace(NODE, name=""), "node", telemetry.INTERNAL),
        (msgspec.structs.replace(TASK, name=""), "task", telemetry.INTERNAL),
        (msgspec.structs.replace(TASK, id="solo", root="solo", parent=None), "train", telemetry.INTERNAL),
    ],
)
def test_names_and_kinds(run: Run, name: str, kind: int) -> None:
    data = span_of(whole(run))
    assert (data.name, data.kind) == (name, kind)


@pytest.mark.parametrize(
    ("outcome", "result", "status"),
    [
        ("succeeded", "success", telemetry.UNSET),
        ("failed", "failure", telemetry.ERROR),
        ("crashed", "error", telemetry.ERROR),
        ("timed_out", "timeout", telemetry.ERROR),
        ("cancelled", "cancellation", telemetry.UNSET),
        ("skipped", "skip", telemetry.UNSET),
    ],
)
def test_each_outcome(outcome: str, result: str, status: int) -> None:
    task, flow = span_of(whole(TASK, outcome)), span_of(whole(FLOW, outcome))
    assert task.attributes["cicd.pipeline.task.run.result"] == flow.attributes["cicd.pipeline.result"] == result
    assert task.status == flow.status == status
    assert task.attributes["otel_events.outcome"] == outcome
    assert task.attributes.get("error.type") == ("_OTHER" if status else None)
    assert task.status_message == ""
    assert "otel_events.incomplete" not in task.attributes


def test_every_outcome_of_the_table_was_tried_above() -> None:
    assert {row.name for row in PHASES.values() if row.outcome} == {
        *("succeeded", "failed", "crashed", "timed_out", "cancelled", "skipped")
    }


def test_an_error_beside_an_outcome_that_is_none_is_no_failure() -> None:
    data = span_of(whole(TASK, "cancelled", error=Error("Task Aborted", "by you", "user")))
    assert (data.status, data.status_message) == (telemetry.UNSET, "")
    assert "error.type" not in data.attributes
    assert data.attributes["otel_events.error.kind"] == "user"
    assert [event.name for event in data.events] == [
        *("otel_events.run.pending", "otel_events.run.running", "otel_events.run.cancelled")
    ]


def test_the_settled_outcome_is_the_one_that_shows() -> None:
    data = span_of(whole(TASK, "cancelled", error=Error("Task Aborted", "deadline")), outcome="timed_out")
    assert data.attributes["otel_events.outcome"] == "timed_out"
    assert data.attributes["otel_events.phase.native"] == "CANCELLED"
    assert (data.status, data.status_message) == (telemetry.ERROR, "deadline")
    assert [event.name for event in data.events][-2:] == ["otel_events.run.timed_out", "exception"]


def test_an_incomplete_attempt_has_no_outcome_and_invents_none() -> None:
    alive = Log(id="l", time=START + 9 * SECOND, run=TASK, message="still here")
    data = span_of([change(TASK, "pending", 1), change(TASK, "running", 2), alive])
    assert data.attributes["otel_events.incomplete"] is True
    assert not {"otel_events.outcome", "cicd.pipeline.task.run.result", "error.type"} & set(data.attributes)
    assert data.status == telemetry.UNSET
    assert (data.start, data.end) == (START + SECOND, START + 9 * SECOND)
    assert data.attributes["otel_events.run.duration"] == 7.0


def test_durations_of_what_never_ran() -> None:
    queued = span_of([change(TASK, "pending", 1)])
    assert not {"otel_events.queue.duration", "otel_events.run.duration"} & set(queued.attributes)
    ended = span_of([change(TASK, "pending", 1), change(TASK, "cancelled", 4)])
    assert ended.attributes["otel_events.queue.duration"] == 3.0
    assert "otel_events.run.duration" not in ended.attributes


def test_disagreeing_clocks_are_flagged_and_the_span_is_no_shorter_than_nothing() -> None:
    data = span_of([change(TASK, "running", 5), change(TASK, "succeeded", 2)])
    assert data.start == data.end == START + 2 * SECOND
    assert data.attributes["otel_events.clock_skew"] is True


def test_what_a_source_says_does_not_override_what_we_say() -> None:
    claims: dict[str, Scalar] = {
        "otel_events.source": "evil",
        "cicd.pipeline.run.id": "other",
        "otel_events.attempt": 9,
    }
    data = span_of([change(TASK, "succeeded", 1, attributes=claims)]).attributes
    assert (data["otel_events.source"], data["cicd.pipeline.run.id"]) == ("flyte", "p/d/x")
    assert data["otel_events.attempt"] == 1


def test_contexts_are_no_attributes_and_the_attempt_keeps_its_own() -> None:
    carried: dict[str, Scalar] = {"traceparent": "x", "otel_events.parent.traceparent": "y", "otel_events.run.url": "u"}
    (attempt,) = attempts([change(TASK, "succeeded", 1, attributes=carried)])
    data = span(attempt, HERE, "succeeded")
    assert not {"traceparent", "otel_events.parent.traceparent", "otel_events.run.url"} & set(data.attributes)
    assert attempt.attributes == carried


def test_the_status_of_the_cache_comes_through() -> None:
    hit: dict[str, Scalar] = {"otel_events.cache.status": "hit", "otel_events.reused": True}
    (attempt,) = attempts([change(TASK, "succeeded", 1, attributes=hit)])
    assert attempt.reused
    assert span(attempt, HERE, "succeeded").attributes.items() >= hit.items()


def test_each_change_of_phase_is_an_event_and_a_log_of_one_name_at_one_time() -> None:
    changes = [change(TASK, phase, n) for n, phase in enumerate(PHASES, 1) if n < 6]
    data = span_of(changes)
    assert data.events == [
        SpanEvent(entered.time, f"otel_events.run.{entered.phase}", {"otel_events.phase.native": entered.native})
        for entered in changes
    ]
    records = [log(entered, b"", b"", 1) for entered in changes]
    assert [(record.event_name, record.time) for record in records] == [(e.name, e.time) for e in data.events]


def test_the_reason_of_a_change_is_said() -> None:
    (event,) = span_of([change(TASK, "pending", 1, reason="no GPU is free")]).events
    assert event.attributes == {"otel_events.phase.native": "PENDING", "otel_events.reason": "no GPU is free"}


def test_reports_are_events() -> None:
    deck = Report(
        id="r", time=START + SECOND, run=TASK, name="deck", media_type="text/html", uri="s3://d", step=3, content="<b>"
    )
    data = span_of([change(TASK, "running", 1), deck, change(TASK, "succeeded", 2)])
    assert data.events[-1] == SpanEvent(
        START + SECOND,
        "otel_events.report",
        {
            "otel_events.report.name": "deck",
            "otel_events.report.media_type": "text/html",
            "otel_events.report.uri": "s3://d",
            "otel_events.report.step": 3,
        },
    )


def test_links_to_the_attempt_before_and_to_other_runs() -> None:
    launched = Link("launched_by", "p/d/parent/n3", "node", "p/d/parent", 1)
    cached = Link("cached_from", "q/d/y/n0/t", "task", "q/d/y", 2, namespace="q/d")
    follows = Link("follows", "job-7", "task", "job-7", 1, source="ray", namespace="")
    before = Context(b"T" * 16, b"B" * 8, b"")
    data = span_of([change(TASK, "succeeded", 1, links=(launched, cached, follows))], previous=before)
    assert data.links == [
        SpanLink(b"T" * 16, b"B" * 8, {"otel_events.link": "retries"}),
        SpanLink(
            trace_id("flyte", "p/d", "p/d/parent"),
            span_id("flyte", "p/d", "p/d/parent/n3", 1, "node"),
            {"otel_events.link": "launched_by", "otel_events.link.run.id": "p/d/parent/n3"},
        ),
        SpanLink(
            trace_id("flyte", "q/d", "q/d/y"),
            span_id("flyte", "q/d", "q/d/y/n0/t", 2, "task"),
            {"otel_events.link": "cached_from", "otel_events.link.run.id": "q/d/y/n0/t"},
        ),
        SpanLink(
            trace_id("ray", "", "job-7"),
            span_id("ray", "", "job-7", 1, "task"),
            {"otel_events.link": "follows", "otel_events.link.run.id": "job-7"},
        ),
    ]


def test_moments_are_span_events_and_nothing_else() -> None:
    rows = [["flyte.timeit", START + 5 * SECOND, {"flyte.timeit.name": "load", "seconds": 0.5}], ["b", START, {}]]
    end = change(
        TASK, "failed", 7, error=Error("E"), attributes={MOMENTS: msgspec.json.encode(rows).decode(), "kept": 1}
    )
    data = span_of([change(TASK, "running", 2), end])
    assert [(event.name, event.time, event.attributes) for event in data.events[2:4]] == [tuple(row) for row in rows]
    assert (data.attributes["kept"], MOMENTS in data.attributes) == (1, False)
    fields = log(end, HERE.trace_id, HERE.span_id, 1).attributes
    assert (fields["kept"], MOMENTS in fields) == (1, False)


@pytest.mark.parametrize("rows", ["", "[", '[["a"]]', '[["a", 1, {"b": []}]]', '{"a": 1}', "[" * 100_000, 7])
def test_moments_that_cannot_be_read_leave_the_span_as_it_is(rows: Scalar) -> None:
    data = span_of([change(TASK, "running", 2), change(TASK, "succeeded", 7, attributes={MOMENTS: rows})])
    assert [event.name for event in data.events] == ["otel_events.run.running", "otel_events.run.succeeded"]


def test_moments_are_as_many_as_a_span_may_have() -> None:
    rows = msgspec.json.encode([["x", START + 1, {}]] * 500).decode()
    data = span_of([change(TASK, "running", 2), change(TASK, "succeeded", 7, attributes={MOMENTS: rows})])
    assert len(data.events) == 2 + 128
